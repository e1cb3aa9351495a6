"""Signatures in requests: which key made one over which text, and making it again with another key. No I/O."""

from __future__ import annotations

import base64
import re
from binascii import a2b_base64
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FIELD = re.compile(r'"signature"\s*:\s*"((?:[^"\\]|\\.)*)"')
_WORKER = re.compile(r"/workers/([^/?]+)/heartbeat")
_FORM = re.compile(r"\{([a-z0-9-]+)(?::([0-9]+))?\}")
_TRUNCATED_MIN = 8
ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "base64": lambda digest: base64.b64encode(digest).decode(),
    "base64url": lambda digest: base64.urlsafe_b64encode(digest).decode(),
    "base64-unpadded": lambda digest: base64.b64encode(digest).decode().rstrip("="),
    "base64url-unpadded": lambda digest: base64.urlsafe_b64encode(digest).decode().rstrip("="),
    "hex": lambda digest: digest.hex(),
    "hex-upper": lambda digest: digest.hex().upper(),
}
"""The ways to write a digest that requests are known to use, the right one first."""


class Explained(msgspec.Struct, frozen=True):
    """What a signature is: its JSON text in the body, the key that made it, the fields it is over, and its form."""

    value: str
    key: str
    over: tuple[str, ...]
    form: str


class Explainer:
    """Knows whose token is whose, and every signature it has explained: a captured one is explained where it was made.

    `tokens` are machine tokens by worker id, and `owner_token` signs what owners sign.
    """

    def __init__(self, tokens: dict[str, str], owner_token: str) -> None:
        self._tokens = tokens
        self._owner_token = owner_token
        self._seen: dict[str, Explained] = {}

    def explain(self, path: str, body: str, sent_token: str) -> Explained | None:
        """Explain the signature of a request, if it has one and a known key made it; `sent_token` is its own."""
        found = _FIELD.search(body)
        if found is None:
            return None
        try:
            fields = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return None
        given = fields.get("signature") if isinstance(fields, dict) else None
        if not isinstance(given, str) or not given:
            return None
        seen = self._seen.get(given)
        if seen is not None:
            return Explained(found[1], seen.key, seen.over, seen.form)
        for key, over in self._candidates(path, fields, sent_token):
            form = _form(given, key, over)
            if form:
                explained = self._seen[given] = Explained(found[1], key, over, form)
                return explained
        return None

    def _candidates(self, path: str, fields: dict[str, Any], sent_token: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the keys and texts that a request's kind allows (contract §5)."""

        def text(name: str) -> str:
            value = fields.get(name)
            return value if isinstance(value, str) else ""

        worker = _WORKER.search(path)
        if worker is not None:
            over = (worker[1], text("timestamp"), text("nonce"), text("policy_id"))
            own = self._tokens.get(worker[1], "")
            yield from ((key, over) for key in dict.fromkeys((own, sent_token)) if key)
        elif self._owner_token and isinstance(fields.get("rules"), dict):
            try:
                yield self._owner_token, (text("owner_id"), canonical_json(fields["rules"]))
            except (ValueError, TypeError, RecursionError, OverflowError):
                return
        elif self._owner_token and "worker_id" in fields:
            yield self._owner_token, (text("owner_id"), text("worker_id"), text("policy_id"))


def _form(given: str, key: str, over: tuple[str, ...]) -> str:
    """Return how a given signature writes the digest that a key makes; empty when it is not of that digest."""
    try:
        digest = a2b_base64(sign_text(key.encode(), "|".join(over)))
    except UnicodeEncodeError:
        return ""
    for name, encode in ENCODINGS.items():
        whole = encode(digest)
        if whole in given:
            return given.replace(whole, f"{{{name}}}", 1)
    for name, encode in ENCODINGS.items():
        if len(given) >= _TRUNCATED_MIN and encode(digest).startswith(given):
            return f"{{{name}:{len(given)}}}"
    return ""


def make(key: str, over: tuple[str, ...], form: str) -> str:
    """Sign anew, and write the signature as JSON text without its quotes. Unknown forms stay as they stand."""
    digest = a2b_base64(sign_text(key.encode(), "|".join(over)))

    def write(match: re.Match[str]) -> str:
        encode = ENCODINGS.get(match[1])
        if encode is None:
            return match.group()
        return encode(digest)[: int(match[2])] if match[2] else encode(digest)

    return msgspec.json.encode(_FORM.sub(write, form, count=1)).decode()[1:-1]
