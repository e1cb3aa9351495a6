"""What servers of a run's own have logged, kept within bounds, and looking in it for the secrets they were told."""

from __future__ import annotations

import base64
import binascii
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from simulator.checkers.server_log import Leak, LogSearch
from simulator.limits import LEAKS_SHOWN_MAX, LOG_KEPT_MAX_BYTES, SECRET_LOOKED_FOR_MIN_BYTES
from simulator.platform.secret_names import SECRET_NAME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from simulator.client.known_secrets import KnownSecrets

API_TOKEN = "HATCHFARM_API_TOKEN"  # noqa: S105 - a setting's name
_NO_SECRET = ("_URL", "_FILE", "_SECONDS")
"""How the names of settings end that only speak of secrets: where tokens are asked for, and how long one is good."""
_KEY_FILE = re.compile("_KEY_FILE$")
_KEY_FILE_MAX_BYTES = 1 << 16
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----([^-]{0,65536})-----END ")
"""What stands between the two marks of a private key (RFC 7468 §2); certificates beside it in its file are public."""
_KEY_LINE_MIN_CHARACTERS = 32
"""Of a line that is looked for by itself: the last of a key may be as short as a word."""
_ED25519 = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the 32 bytes of a key in PKCS #8 (RFC 8410 §7)."""
_ALWAYS_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]+")
"""What is written alike everywhere: the unreserved characters of a URL (RFC 3986 §2.3)."""
_PERCENT = re.compile(rb"%[0-9A-F]{2}")


class ServerLog:
    """What one server has written, its beginning where that is too much; `more_bytes` is how much was not kept.

    `open_ends` counts its outputs that were not read to their end, so far or for good.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self.more_bytes = 0
        self.open_ends = 0

    @property
    def kept(self) -> bytes:
        """Return what was kept."""
        return bytes(self._kept)

    def take(self, part: bytes | bytearray) -> None:
        """Keep a part as far as there is room."""
        room = LOG_KEPT_MAX_BYTES - len(self._kept)
        self._kept += part[:room]
        self.more_bytes += max(0, len(part) - room)


def secrets_of(environ: Mapping[str, str]) -> dict[bytes, str]:
    """Return the secrets of a server's settings, its private keys among them, and what each of them is."""
    found: dict[bytes, str] = {}
    for name, value in environ.items():
        if len(value) < SECRET_LOOKED_FOR_MIN_BYTES and name != API_TOKEN:
            continue
        if SECRET_NAME.search(name) and not name.endswith(_NO_SECRET):
            found[value.encode("utf-8", "surrogateescape")] = f"value of {name}"
        elif _KEY_FILE.search(name):
            found |= dict.fromkeys(_keys_in(Path(value)), f"private key of {name}")
        found |= dict.fromkeys(_passwords_in(value), f"password in {name}")
    return found


def _passwords_in(value: str) -> Iterator[bytes]:
    """Yield the password of a URL, as it stands there and as it is (RFC 3986 §3.2.1)."""
    if "://" not in value or "@" not in value:
        return
    try:
        password = (urlsplit(value).password or "").encode("utf-8", "surrogateescape")
    except ValueError:
        return  # it only looks like a URL
    if len(password) >= SECRET_LOOKED_FOR_MIN_BYTES:
        yield from (password, unquote_to_bytes(password))


def _keys_in(path: Path) -> Iterator[bytes]:
    """Yield the private keys of a PEM file, whole and, of the kind that signs certificates, what is secret of them."""
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_FILE_MAX_BYTES)
    except OSError:
        return  # the server will say what is wrong with it
    for body in _PRIVATE_KEY.findall(text):
        yield from (line for line in map(bytes.strip, body.splitlines()) if len(line) >= _KEY_LINE_MIN_CHARACTERS)
        try:
            key = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error:
            continue
        yield key
        if key.startswith(_ED25519):
            yield key[len(_ED25519) :]


def forms_of(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each form in which a log may hold a secret.

    As it is, in hex, in base64 at any offset, in a URL, and escaped as JSON and Python do.
    """
    yield "as it is", secret
    yield "in hex", secret.hex().encode()
    yield "in hex", secret.hex().upper().encode()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret)
        sure = whole[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        yield "in base64", sure
        yield "in base64", sure.translate(bytes.maketrans(b"+/", b"-_"))
    if _ALWAYS_PLAIN.fullmatch(secret):
        return  # nothing escapes any of it
    for safe in ("", "/"):
        quoted = quote_from_bytes(secret, safe=safe).encode()
        for text in (quoted, quoted.replace(b"%20", b"+")):
            yield "in a URL", text
            yield "in a URL", _PERCENT.sub(lambda found: found[0].lower(), text)
    for text in _escaped(secret):
        yield "escaped", text


def _escaped(secret: bytes) -> Iterator[bytes]:
    """Yield a secret as JSON has it within a string, and Python, whose choice of quotes depends on what is around."""
    quotes = "'\""  # with both of them in a text, Python writes one kind with a backslash
    written = [repr(quotes.encode() + secret)[5:-1]]
    with suppress(UnicodeDecodeError):
        text = secret.decode()
        written += [repr(quotes + text)[4:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]]
    for one in written:
        for form in (one, one.replace("\\'", "'"), one.replace("/", "\\/")):
            yield form.encode()


def search_logs(
    servers: Sequence[tuple[str, ServerLog, Mapping[bytes, str]]], known: KnownSecrets, unknown: str = ""
) -> LogSearch:
    """Look for every known secret, and those of their settings, in the logs of servers, which have names.

    `unknown` says which of the run's secrets nobody here knows. What is found says which kind of secret stands in which
    line and form, never the secret.
    """
    for secret, kind in {secret: kind for _, _, settings in servers for secret, kind in settings.items()}.items():
        known.add_chosen(secret, kind)
    needles: dict[bytes, tuple[str, str]] = {}
    lengths: dict[bytes, set[int]] = {}
    for secret, kind in known.kinds.items():
        for form, text in forms_of(secret):
            if needles.setdefault(text, (kind, form)) == (kind, form):
                lengths.setdefault(text[:SECRET_LOOKED_FOR_MIN_BYTES], set()).add(len(text))
    leaks: list[Leak] = []
    for name, log, _ in servers:
        leaks += leaks_in(name, log.kept, needles, lengths)
    return LogSearch(
        servers=len(servers),
        bytes_read=sum(len(log.kept) for _, log, _ in servers),
        bytes_left_out=sum(log.more_bytes for _, log, _ in servers),
        ends_left_out=sum(log.open_ends > 0 for _, log, _ in servers),
        secrets=len(known.kinds),
        secrets_left_out=known.left_out + known.too_short,
        unknown=unknown,
        leaks=tuple(leaks[:LEAKS_SHOWN_MAX]),
        found=len(leaks),
    )


def leaks_in(
    name: str, text: bytes, needles: Mapping[bytes, tuple[str, str]], lengths: Mapping[bytes, Collection[int]]
) -> Iterator[Leak]:
    """Yield where secrets stand, once for each kind and form, the first place of each.

    `lengths` says by how a needle begins how long those are that begin so. As many as begin alike are looked up at
    once, so that it takes what the log has, however many secrets there are and whatever they have in common.
    """
    size, seen = SECRET_LOOKED_FOR_MIN_BYTES, set()
    for at in range(len(text) - size + 1):
        for length in lengths.get(text[at : at + size], ()):
            found = needles.get(text[at : at + length])
            if found is not None and found not in seen:
                seen.add(found)
                yield Leak(name, *found, text.count(b"\n", 0, at) + 1)
