"""The secrets that a run's clients come to know: what servers give out, and what they let somebody in by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from simulator.limits import SECRET_LOOKED_FOR_MIN_BYTES, SECRET_WORD_MAX_BYTES, SECRETS_KNOWN_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.attacks.script import WireAnswer
    from simulator.client.answers import HttpAnswer

_GIVEN = re.compile(rb'"(machine_token|api_key|token)"[ \t\r\n]*:[ \t\r\n]*"((?:[^"\\]|\\.){1,4096})"')
_SHOWN = re.compile(rb"\b(hf[sk]_[0-9a-f]{64})\b")
_COOKIE = re.compile(rb"(?im)^set-cookie:([^\r\n]{1,8192})")
_SECRET_COOKIE = re.compile(rb"(?i)[^=;]*(?:session|token)|.*;[ \t]*httponly[ \t]*(?:;|$)")
"""A cookie by which somebody is let in: its name says so, or no script may read it (RFC 6265 §4.1.2.6)."""
_IDENTITY = re.compile(rb"(?im)^x-moltbook-identity:[ \t]*([^\r\n]{1,8192})")
_SUCCESS = range(200, 300)
_KINDS = {b"machine_token": "machine token", b"api_key": "API key", b"token": "session token"}


class KnownSecrets:
    """Secrets with what each of them is, up to a bound; `left_out` says how many more there were.

    `too_short` counts those that are like a word, which a log may hold without anybody having written the secret there.
    """

    def __init__(self) -> None:
        self._kinds: dict[bytes, str] = {}
        self.left_out = 0
        self.too_short = 0

    @property
    def kinds(self) -> Mapping[bytes, str]:
        """Return what each secret is."""
        return self._kinds

    def add(self, secret: bytes, kind: str) -> None:
        """Know a secret. One that is as short as a word is counted only: it would be found in any text."""
        if not secret or secret in self._kinds:
            return
        if len(secret) < SECRET_LOOKED_FOR_MIN_BYTES:
            self.too_short += 1
        elif len(self._kinds) >= SECRETS_KNOWN_MAX:
            self.left_out += 1
        else:
            self._kinds[secret] = kind

    def add_chosen(self, secret: bytes, kind: str) -> None:
        """Know a secret that somebody has chosen. `development` is a word, as often as it is a token."""
        if secret.isalpha() and len(secret) <= SECRET_WORD_MAX_BYTES:
            self.too_short += 1
        else:
            self.add(secret, kind)

    def see(self, request: bytes, answer: HttpAnswer | WireAnswer) -> None:
        """Learn from one exchange: what the answer gives out, and an identity that a server believed."""
        body = answer.body
        if b"_token" in body or b"api_key" in body or b'"token"' in body:
            for name, secret in _GIVEN.findall(body):
                self.add(_unescaped(secret), _KINDS[name])
        if b"hfk_" in body or b"hfs_" in body:
            for secret in _SHOWN.findall(body):
                self.add(secret, "API key" if secret.startswith(b"hfk_") else "session token")
        for cookie in _COOKIE.findall(answer.head):
            if _SECRET_COOKIE.match(cookie):
                self.add(cookie.partition(b"=")[2].partition(b";")[0].strip(b' "'), "cookie")
        if answer.status in _SUCCESS:
            for secret in _IDENTITY.findall(request):
                self.add(secret.strip(), "Moltbook identity")


def _unescaped(text: bytes) -> bytes:
    """Return what a string of JSON stands for (RFC 8259 §7); of what is none, how it is written."""
    if b"\\" not in text:
        return text
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str).encode()
    except (msgspec.DecodeError, UnicodeError):
        return text
