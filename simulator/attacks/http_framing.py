"""Ambiguous framing: messages whose end two readers may see in different places (RFC 9112 §6, §11.2)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from simulator.attacks.raw import BEHIND, START, Form, RawAttack
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from collections.abc import Iterable

CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: <n>"
EMPTY_CHUNKS = b"\r\n\r\n0\r\n\r\n<hidden>"
ONE_CHUNK = b"\r\n\r\n<hex>\r\n<hidden>\r\n0\r\n\r\n"


def _form(what: str, *lines: bytes, then: bytes = BEHIND) -> Form:
    return Form(what, START + b"\r\n".join(lines) + then)


class LengthAndCoding(RawAttack):
    """A length and a transfer coding in one message."""

    name = "http.cl-te"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"one-answer": Basis.RFC, "no-effect": Basis.RFC})
    shape = "Content-Length beside Transfer-Encoding, and codings that only some readers take for chunked"
    anchor = "RFC 9112 §6.1, §6.3; contract §6"

    def forms(self) -> Iterable[Form]:
        """Return requests where either of the two decides, in either order."""
        yield _form("the length covers what the coding leaves behind", LENGTH, CHUNKED, then=EMPTY_CHUNKS)
        yield _form("the coding comes first", CHUNKED, LENGTH, then=EMPTY_CHUNKS)
        yield _form("the coding covers what the length leaves behind", b"Content-Length: 0", CHUNKED, then=ONE_CHUNK)
        yield _form("a length beside another coding", LENGTH, b"Transfer-Encoding: gzip")
        yield _form("two codings", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", then=EMPTY_CHUNKS)
        yield _form("chunked is not the last coding", b"Transfer-Encoding: chunked, identity", then=EMPTY_CHUNKS)
        yield _form("a coding nearly chunked", b"Transfer-Encoding: xchunked", then=EMPTY_CHUNKS)
        yield _form("a control character before chunked", b"Transfer-Encoding: \x0bchunked", then=EMPTY_CHUNKS)
        yield _form("a chunk with a signed size", CHUNKED, then=b"\r\n\r\n+0\r\n\r\n<hidden>")


class TwoLengths(RawAttack):
    """More than one length."""

    name = "http.two-cl"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"one-answer": Basis.RFC, "no-effect": Basis.RFC})
    shape = "two Content-Length headers, alike or not, or one with two values"
    anchor = "RFC 9112 §6.3; contract §6"

    def forms(self) -> Iterable[Form]:
        """Return requests where either length decides."""
        yield _form("the second length covers more", b"Content-Length: 0", LENGTH)
        yield _form("the first length covers more", LENGTH, b"Content-Length: 0")
        yield _form("two equal lengths", LENGTH, LENGTH)
        yield _form("names in different case", LENGTH, b"content-length: 0")
        yield _form("a list of lengths", b"Content-Length: 0, <n>")
        yield _form("a list of equal lengths", b"Content-Length: <n>, <n>")


class BadLength(RawAttack):
    """A length that is no plain number."""

    name = "http.bad-length"
    basis = Basis.RFC
    claim_bases = MappingProxyType({"closed": Basis.HARDENED})
    shape = "lengths with signs, underscores, spaces, quotes, fractions, other bases, or none at all"
    anchor = "RFC 9110 §8.6; contract §6"

    def forms(self) -> Iterable[Form]:
        """Write the length as some number parsers take it."""
        for length in (
            b"+<n>", b"-<n>", b"<n_>", b"+<n_>", b"0x<n>", b"<n>.0", b"<n>e0", b"<n> <n>", b'"<n>"', b"", b"<n>;",
            b"\xd9\xa2", b"9" * 30,
        ):  # fmt: skip
            yield _form(f"a length of {length.decode('utf-8')!r}", b"Content-Length: " + length)


class BareLineFeed(RawAttack):
    """Line ends that only some readers take for line ends."""

    name = "http.bare-lf"
    basis = Basis.HARDENED
    shape = "lines that end with LF or CR alone, in heads and between chunks"
    anchor = "RFC 9112 §2.2; contract §6"

    def forms(self) -> Iterable[Form]:
        """Use them for all lines, for one, inside a value, and for the empty line."""
        yield Form("LF alone ends every line", START.replace(b"\r\n", b"\n") + b"\n<hidden>")
        yield Form("CR alone ends every line", START.replace(b"\r\n", b"\r") + b"\r<hidden>")
        yield _form("LF alone ends one line", b"A: b\nC: d")
        yield _form("CR alone ends one line", b"A: b\rC: d")
        yield _form("a length behind LF alone", b"A: b\nContent-Length: <n>")
        yield _form("a length behind CR alone", b"A: b\rContent-Length: <n>")
        yield _form("LF alone makes the empty line", b"A: b", then=b"\r\n\n<hidden>")
        yield _form("LF alone behind a chunk's size", CHUNKED, then=b"\r\n\r\n0\n\r\n<hidden>")
        yield _form("LF alone in a chunk's extension", CHUNKED, then=b"\r\n\r\n0;a\n\r\n\r\n<hidden>")


class FoldedHeader(RawAttack):
    """A header over two lines."""

    name = "http.obs-fold"
    basis = Basis.HARDENED
    shape = "headers that go on in a line that begins with a space or a tab"
    anchor = "RFC 9112 §5.2; contract §6"

    def forms(self) -> Iterable[Form]:
        """Fold what matters and what does not."""
        yield _form("folded with a space", b"A: b", b" c")
        yield _form("folded with a tab", b"A: b", b"\tc")
        yield _form("a folded length", b"Content-Length:", b" <n>")
        yield _form("a folded coding", b"Transfer-Encoding:", b" chunked", then=EMPTY_CHUNKS)
        yield _form("a length inside a fold", b"A: b", b" Content-Length: <n>")
        yield Form("white space before the first header", START.replace(b"\r\nHost", b"\r\n Host") + BEHIND[2:])
        yield _form("a folded trailer", CHUNKED, then=b"\r\n\r\n0\r\na: b\r\n c\r\n\r\n<hidden>")


class SpaceBeforeColon(RawAttack):
    """A header whose name ends with white space."""

    name = "http.space-colon"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"one-answer": Basis.RFC, "no-effect": Basis.RFC})
    shape = "white space between a header's name and its colon, or no name, or no colon"
    anchor = "RFC 9112 §5.1; contract §6"

    def forms(self) -> Iterable[Form]:
        """Put it where it hides a header from some readers."""
        yield _form("a space before the colon", b"A : b")
        yield _form("a tab before the colon", b"A\t: b")
        yield _form("a length with a space before its colon", b"Content-Length : <n>")
        yield _form("a coding with a space before its colon", b"Transfer-Encoding : chunked", then=EMPTY_CHUNKS)
        yield _form("no name", b": b")
        yield _form("no colon", b"Content-Length <n>")
        yield _form("a space in the name", b"A Content-Length: <n>")
        yield _form("a trailer with a space", CHUNKED, then=b"\r\n\r\n0\r\na : b\r\n\r\n<hidden>")


class NulByte(RawAttack):
    """NUL and other control characters in a head."""

    name = "http.nul"
    basis = Basis.HARDENED
    shape = "NUL bytes, and other control characters, in the request line, in names and in values"
    anchor = "RFC 9110 §5.5; contract §6"

    def forms(self) -> Iterable[Form]:
        """Put them where a reader in C would stop."""
        yield _form("NUL in a value", b"A: b\0c")
        yield _form("NUL in a name", b"A\0: b")
        yield _form("NUL behind a length", b"Content-Length: <n>\0")
        yield _form("NUL before a coding", b"Transfer-Encoding: \0chunked", then=EMPTY_CHUNKS)
        yield Form("NUL in the path", START.replace(b"<path>", b"<path>\0") + BEHIND[2:])
        yield Form("NUL in the method", START.replace(b"<method>", b"<method>\0") + BEHIND[2:])
        yield _form("a bell in a value", b"A: b\x07c")
        yield _form("a delete character in a value", b"A: b\x7fc")
        yield _form("NUL in a trailer", CHUNKED, then=b"\r\n\r\n0\r\na: \0\r\n\r\n<hidden>")
