"""The PROXY protocol's header as it comes: whole, byte by byte, with what follows it, and malformed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.http.proxy_header import ProxyHeader, ProxyHeaderError
from reference_server.limits import PROXY_HEADER_MAX_BYTES
from tests.support.tiers import examples

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BEHIND = b"GET / HTTP/1.1\r\n\r\n"


def fields(kind: bytes, rest: bytes) -> bytes:
    """Write a header of version 2, its version, command and family given."""
    return SIGNATURE + kind + len(rest).to_bytes(2, "big") + rest


def addresses(source: str, target: str) -> bytes:
    """Write two addresses with their ports."""
    return ip_address(source).packed + ip_address(target).packed + b"\x12\x34\x00\x50"


IPV4, IPV6 = addresses("203.0.113.9", "192.0.2.1"), addresses("2001:db8::9", "2001:db8::1")
RIGHT = {
    b"PROXY TCP4 203.0.113.9 192.0.2.1 4660 80\r\n": "203.0.113.9",
    b"PROXY TCP6 2001:db8::9 2001:db8::1 0 65535\r\n": "2001:db8::9",
    b"PROXY TCP6 " + 2 * (b"ffff:" * 7 + b"ffff ") + b"65535 65535\r\n": ":".join(["ffff"] * 8),
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff:: :: 1 2\r\n": "",
    fields(b"\x21\x11", IPV4): "203.0.113.9",
    fields(b"\x21\x21", IPV6): "2001:db8::9",
    fields(b"\x21\x11", IPV4 + b"\x04\x00\x03abc"): "203.0.113.9",
    fields(b"\x21\x31", bytes(216)): "",
    fields(b"\x21\x00", b""): "",
    fields(b"\x20\x00", b""): "",
    fields(b"\x20\x11", IPV4): "",
    fields(b"\x21\x11", IPV4 + bytes(PROXY_HEADER_MAX_BYTES - 28)): "203.0.113.9",
}
WRONG = (
    BEHIND,
    b"PROXY  TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
    b"proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 1\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 \r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 1 65536\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 01 2\r\n",
    b"PROXY TCP4 203.0.113.999 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n",
    b"PROXY TCP5 203.0.113.9 192.0.2.1 1 2\r\n",
    b"PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n" + BEHIND,
    b"PROXY \r\n",
    b"PROXY " + b"x" * 110,
    SIGNATURE[:-1] + b"\r" + b"\x21\x11\x00\x0c" + IPV4,
    fields(b"\x11\x11", IPV4),
    fields(b"\x22\x11", IPV4),
    fields(b"\x21\x12", IPV4),
    fields(b"\x21\x41", IPV4),
    fields(b"\x21\x11", IPV4[:-1]),
    fields(b"\x21\x21", IPV6[:-1]),
    fields(b"\x21\x11", IPV4 + bytes(PROXY_HEADER_MAX_BYTES - 27)),
    fields(b"\x20\x00", bytes(65_535)),
)


def read(pieces: list[bytes]) -> tuple[str, int]:
    """Feed pieces; return the client named, and how many bytes were taken."""
    header, taken = ProxyHeader(), 0
    for piece in pieces:
        part = header.take(piece)
        taken += part
        if header.done:
            return header.client, taken
        assert part == len(piece)
    raise AssertionError("there is no end")


@pytest.mark.parametrize("header", RIGHT)
def test_a_right_header_is_read_alike_however_it_is_cut(header: bytes) -> None:
    whole = header + BEHIND
    meant = (RIGHT[header], len(header))
    assert read([whole]) == meant
    assert read([bytes([byte]) for byte in whole]) == meant
    for at in range(len(header) + 1):
        assert read([part for part in (whole[:at], whole[at:]) if part]) == meant


@pytest.mark.parametrize("header", WRONG)
def test_a_wrong_header_is_refused_however_it_is_cut(header: bytes) -> None:
    """At once where it can no longer become right, and never later than the bytes there may be."""
    with pytest.raises(ProxyHeaderError):
        read([header])
    with pytest.raises(ProxyHeaderError):
        read([bytes([byte]) for byte in header[: PROXY_HEADER_MAX_BYTES + 1]])


@settings(deadline=None, max_examples=examples(100))
@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_alike_however_they_are_cut(start: bytes, rest: bytes) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bool, str, int]:
        header, taken = ProxyHeader(), 0
        try:
            for piece in pieces:
                if header.done:
                    break
                taken += header.take(piece)
        except ProxyHeaderError:
            return False, "refused", 0
        return header.done, header.client, taken

    data = start + rest
    assert outcome([data] if data else []) == outcome([bytes([byte]) for byte in data])
