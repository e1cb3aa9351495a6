"""Recorded requests for another server: the same bytes, or rebuilt with the same intent for principals made anew.

What a server gave out when the trace was made, ids and tokens, is mapped to what the new one gives out for the same
request: both answers are read side by side. So nothing here knows which routes there are. No I/O.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from simulator.traces import signatures
from simulator.traces.format import Exchange, Header, HttpRequest
from simulator.traces.messages import (
    LENGTH,
    HttpText,
    Reference,
    references,
    resolve,
    to_request,
    to_text,
    unescape,
    with_length_grown,
)
from simulator.traces.principals import OWNER_TOKEN, data_of
from simulator.traces.redaction import Secrets, near_miss

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTIFIER = re.compile(
    r"(?<![A-Za-z0-9])(?:wrk|mcert|pol|con|aud|agt|job|post|cmt|txn|wdr)_[0-9a-f]{8,40}(?![0-9a-f])"
)
_TIMESTAMP = re.compile(r'("timestamp"\s*:\s*")([^"\\]*)(")')
_LOCAL_SECONDS = len("2026-01-01T00:00:00")
_OWNER_FIELD = re.compile(r'("owner_id"\s*:\s*)("(?:[^"\\]|\\.)*")')
_OWNER_HEADER = re.compile(r"(\r\nx-owner-id: )([^\r\n]*)", re.IGNORECASE)
_FALL_BACK = re.compile(r"secret\.[0-9]+")
OWNER_MAX_CHARACTERS = 64
"""Owner names longer than this are cut before their suffix, lest they grow out of a server's bounds."""
_AGENT_ROUTE = re.compile(r"(?:POST [^ ]*/agents/register|PUT [^ ]*/agents/me)[ ?]")
_AGENT_NAME = re.compile(r'("name"\s*:\s*)("(?:[^"\\]|\\.)*")')
AGENT_NAME_MAX_CHARACTERS = 64
"""Names of agents are unique, and no longer than this (contract: Agents)."""
_MAKING = frozenset({"POST", "PUT"})
"""What makes something, or gives out a new key: answers to other methods show what was there."""
_SUCCESS = range(200, 300)


class MissingPrerequisiteError(Exception):
    """A request needs what no answer has given yet; the message names it."""


def recorded_bytes(exchange: Exchange) -> bytes:
    """Return a request as the trace has it: as it was sent, with its references as they stand where it is redacted."""
    return to_request(_text_of(exchange), lambda text: resolve(text, lambda _: None))


def _text_of(exchange: Exchange) -> str:
    request = exchange.request
    if isinstance(request, HttpRequest):
        return str(HttpText(request.method, request.path, request.headers, request.body))
    return to_text(base64.b64decode(request.base64))


class Resigner:
    """Rebuilds requests for a target, and takes from its answers what later ones need.

    `suffix` makes the trace's owners new to the target, and `shift_seconds` moves every timestamp: a whole number, so
    that each keeps its form, and one for all, so that copies stay copies and wrong clocks as wrong.
    """

    def __init__(
        self, header: Header, exchanges: tuple[Exchange, ...], owner_token: str, authority: str, suffix: str
    ) -> None:
        self._header = header
        self._suffix = suffix
        self._authority = authority
        self.shift_seconds = 0
        self._secrets = Secrets()
        for name, secret in header.secrets.items():
            self._secrets.add(name, secret)
        self._tokens = {OWNER_TOKEN: owner_token}
        self._ids: dict[str, str] = {}
        self._owners = {owner for exchange in exchanges for owner in self._owners_made_by(exchange)}

    # --- what answers say

    def apply_answer(self, exchange: Exchange, status: int, body: bytes) -> None:
        """Take what the target gave out for a request that made something, when the trace was made and now."""
        if status not in _SUCCESS:
            return
        for recorded, now in _side_by_side(self._made(exchange), data_of(body)):
            found = references(recorded)
            if now and found:
                self._tokens.setdefault(found[0].name, now)
            elif now:
                self._ids.setdefault(recorded, now)

    def _made(self, exchange: Exchange) -> dict[str, Any]:
        """Return the data of a recorded answer to a request that made something, with references for secrets."""
        response, request = exchange.response, exchange.request
        if response is None or response.base64 or response.status not in _SUCCESS:
            return {}
        if not isinstance(request, HttpRequest) or request.method not in _MAKING:
            return {}
        return data_of(self._hidden(response.body))

    def gives(self, exchange: Exchange) -> set[str]:
        """Name what an exchange's answer gave out: ids, and names of secrets."""
        return {name for text, _ in _side_by_side(self._made(exchange), None) for name in (_names(text) or [text])}

    def needs(self, exchange: Exchange) -> set[str]:
        """Name what a request holds: ids, and names of secrets."""
        text = self._text_of(exchange)
        key = self._key_of(exchange)
        return set(IDENTIFIER.findall(text)) | set(_names(text)) | set(_names(key))

    def _owners_made_by(self, exchange: Exchange) -> set[str]:
        """Return the owners for whom a request made something; those of refused requests may be anything.

        A body says whose it is, or the head alone, as it does of jobs and money.
        """
        request = exchange.request
        if not self._made(exchange) or not isinstance(request, HttpRequest):
            return set()
        texts = [_decoded(match[2]) for match in _OWNER_FIELD.finditer(unescape(request.body))]
        texts += [unescape(value) for name, value in request.headers if name.lower() == "x-owner-id"]
        return {text for text in texts if text}

    # --- what is rebuilt

    def rebuild(self, exchange: Exchange) -> bytes:
        """Return a request with the same intent for this target. Raises UnlearnedError."""
        text = self._mapped(self._text_of(exchange), exchange)
        message = self._resolved(self._renamed(text))
        if f": {LENGTH}" in text.partition("\r\n\r\n")[0]:
            return message
        return with_length_grown(message, self._resolved(text))

    def _resolved(self, text: str) -> bytes:
        return to_request(text, lambda part: resolve(part, self._value))

    def _text_of(self, exchange: Exchange) -> str:
        """Return a request as one text with references, whether the trace has them or not."""
        request = exchange.request
        if isinstance(request, HttpRequest):
            return str(HttpText(request.method, request.path, request.headers, request.body).map(self._hidden))
        return LENGTH.join(map(self._hidden, _text_of(exchange).split(LENGTH, 1)))

    def _hidden(self, text: str) -> str:
        return text if self._header.redacted else self._secrets.hide(unescape(text))

    def _key_of(self, exchange: Exchange) -> str:
        signature = exchange.signature
        if signature is None:
            return ""
        known = self._header.redacted or _names(signature.key)
        return signature.key if known else self._secrets.hide_credential(unescape(signature.key))

    def _mapped(self, text: str, exchange: Exchange) -> str:
        signature = exchange.signature
        if signature is not None:
            key = resolve(self._key_of(exchange), self._value)
            over = tuple(self._field(part, index) for index, part in enumerate(signature.over))
            made = signatures.make(key, over, signature.form)
            text = text.replace(f'"{self._hidden(signature.value)}"', f'"{made}"')
        text = text.replace(f"\r\nHost: {self._header.authority}\r\n", f"\r\nHost: {self._authority}\r\n")
        text = _TIMESTAMP.sub(lambda match: match[1] + shifted(match[2], self.shift_seconds) + match[3], text)
        return IDENTIFIER.sub(lambda match: self._ids.get(match.group(), match.group()), text)

    def _renamed(self, text: str) -> str:
        """Put in the new names of owners and agents, which may be longer."""
        text = _OWNER_HEADER.sub(lambda match: match[1] + self._owner(match[2]), text)
        text = _OWNER_FIELD.sub(lambda match: match[1] + self._owner_json(match[2]), text)
        if _AGENT_ROUTE.match(text):
            text = _AGENT_NAME.sub(lambda match: match[1] + self._agent_json(match[2]), text)
        return text

    def _field(self, part: str, index: int) -> str:
        """Map one field of what a signature is over: an owner, a timestamp in its place, or text with ids."""
        text = resolve(self._hidden(part), self._value)
        if index == 0 and text in self._owners:
            return self._owner(text)
        if index == 1:
            text = shifted(text, self.shift_seconds)
        return IDENTIFIER.sub(lambda match: self._ids.get(match.group(), match.group()), text)

    def _owner(self, owner: str) -> str:
        return fresh_owner(owner, self._suffix) if owner in self._owners else owner

    def _owner_json(self, text: str) -> str:
        owner = _decoded(text)
        return msgspec.json.encode(self._owner(owner)).decode() if owner in self._owners else text

    def _agent_json(self, text: str) -> str:
        name = _decoded(text)
        fresh = fresh_name(name, self._suffix)
        return text if fresh == name else msgspec.json.encode(fresh).decode()

    def _value(self, reference: Reference) -> str:
        secret = self._tokens.get(reference.name)
        if secret is None and _FALL_BACK.fullmatch(reference.name):
            secret = self._header.secrets.get(reference.name)
        if secret is None:
            raise MissingPrerequisiteError(f"{reference} is not known: no answer has given it out")
        if reference.near:
            return near_miss(secret, reference.near)
        return secret[reference.start : reference.end] if reference.end else secret


def fresh_owner(owner: str, suffix: str) -> str:
    """Return an owner of a trace a name that the target has not met: the same for the same suffix."""
    if len(owner) <= OWNER_MAX_CHARACTERS:
        return f"{owner}.{suffix}"
    digest = hashlib.sha256(f"{suffix}|{owner}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{owner[: OWNER_MAX_CHARACTERS - 17]}.{digest}"


def fresh_name(name: str, suffix: str) -> str:
    """Return an agent of a trace a name that the target has not met. What no agent can be called stays as it is."""
    if not 0 < len(name) <= AGENT_NAME_MAX_CHARACTERS or name != name.strip():
        return name
    if len(name) + 1 + len(suffix) <= AGENT_NAME_MAX_CHARACTERS:
        return f"{name}.{suffix}"
    digest = hashlib.sha256(f"{suffix}|{name}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: AGENT_NAME_MAX_CHARACTERS - 17]}.{digest}"


def shifted(text: str, seconds: int) -> str:
    """Move a timestamp, keeping its form to the letter; a text that is no timestamp stays as it is."""
    if parse_timestamp(text) is None:
        return text
    local = datetime.fromisoformat(text[:_LOCAL_SECONDS])
    try:
        moved = local + timedelta(seconds=seconds)
    except OverflowError:
        return text
    return moved.isoformat().rjust(_LOCAL_SECONDS, "0") + text[_LOCAL_SECONDS:]


def _decoded(text: str) -> str:
    """Return the text that a JSON string stands for; empty for none that is right."""
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.DecodeError, UnicodeError):
        return ""


def _names(text: str) -> list[str]:
    return [reference.name for reference in references(text)]


def _side_by_side(recorded: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Yield what stands at one place in two JSON values where the first has an id or a secret; `now` may be None."""
    if isinstance(recorded, dict):
        for key, value in recorded.items():
            yield from _side_by_side(value, now.get(key) if isinstance(now, dict) else None)
    elif isinstance(recorded, list):
        for index, value in enumerate(recorded):
            inside = isinstance(now, list) and index < len(now)
            yield from _side_by_side(value, now[index] if inside else None)
    elif isinstance(recorded, str) and (IDENTIFIER.fullmatch(recorded) or _whole_secret(recorded)):
        yield recorded, now if isinstance(now, str) else ""


def _whole_secret(text: str) -> bool:
    found = references(text)
    return len(found) == 1 and str(found[0]) == text and not found[0].near and not found[0].end
