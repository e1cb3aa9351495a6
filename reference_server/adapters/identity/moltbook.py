"""Moltbook, which says which agent an identity token is of; it is asked once for a token in some minutes."""

from __future__ import annotations

import logging
from collections import OrderedDict
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from reference_server.identity_ports import NO_AGENT, UNAVAILABLE, AgentIdentity
from reference_server.limits import (
    KARMA_MAX,
    MOLTBOOK_KEPT_MAX,
    MOLTBOOK_KEPT_SECONDS,
    MOLTBOOK_TOKEN_MAX_CHARACTERS,
    SUBJECT_MAX_CHARACTERS,
)
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.adapters.identity.fetching import Fetcher
    from reference_server.identity_ports import NoAgent, Unavailable
    from reference_server.ports import Clock

_PATH = "/api/v1/agents/verify-identity"
_log = logging.getLogger("hatchfarm")


class _Agent(msgspec.Struct, frozen=True):
    id: str
    name: str
    karma: int = 0
    is_claimed: bool = False


class _Verified(msgspec.Struct, frozen=True):
    success: bool = False
    valid: bool = False
    agent: _Agent | None = None
    error: str = ""


class _Kept(NamedTuple):
    identity: AgentIdentity
    until_ns: int


class _Asking:
    """A token that is asked about now, and what is said of it; nothing where who asked gave up."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.answer: AgentIdentity | NoAgent | Unavailable | None = None


class Moltbook:
    """`identity_ports.MoltbookIdentity` over HTTP.

    Who shows a token that is asked about already is told what is said of it then. A refusal is told to nobody who comes
    later: a token that is none now may be one in a moment.
    """

    def __init__(
        self, fetcher: Fetcher, clock: Clock, base_url: str, app_key: str, kept_max: int = MOLTBOOK_KEPT_MAX
    ) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._url = base_url.rstrip("/") + _PATH
        self._headers = {"x-moltbook-app-key": app_key} if app_key else {}
        self._kept_max = kept_max
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._asking: dict[bytes, _Asking] = {}

    async def verify(self, token: str) -> AgentIdentity | NoAgent | Unavailable:
        """Return which agent a token is of, as it was said a few minutes ago at most."""
        if not (0 < len(token) <= MOLTBOOK_TOKEN_MAX_CHARACTERS and token.isascii() and token.isprintable()):
            return NO_AGENT
        digest = sha256(token.encode()).digest()
        kept = self._kept.get(digest)
        if kept is not None and self._clock.now().monotonic_ns < kept.until_ns:
            return kept.identity
        while (asking := self._asking.get(digest)) is not None:
            await asking.over.wait()
            if asking.answer is not None:
                return asking.answer
        asking = self._asking[digest] = _Asking()
        try:
            asking.answer = await self._verify(token, digest)
        finally:
            del self._asking[digest]
            asking.over.set()
        return asking.answer

    async def _verify(self, token: str, digest: bytes) -> AgentIdentity | NoAgent | Unavailable:
        asked_ns = self._clock.now().monotonic_ns
        answer = await self._ask(token)
        if isinstance(answer, AgentIdentity):
            self._kept[digest] = _Kept(answer, asked_ns + MOLTBOOK_KEPT_SECONDS * SECOND_NS)
            self._kept.move_to_end(digest)
            if len(self._kept) > self._kept_max:
                self._kept.popitem(last=False)
        else:
            self._kept.pop(digest, None)
        return answer

    async def _ask(self, token: str) -> AgentIdentity | NoAgent | Unavailable:
        fetched = await self._fetcher.fetch("POST", self._url, json={"token": token}, headers=self._headers)
        verified = None if fetched is None else fetched.read(_Verified)
        if fetched is None or verified is None or fetched.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return UNAVAILABLE
        if fetched.status == HTTPStatus.TOO_MANY_REQUESTS or verified.error.endswith("app_key"):
            _log.error("Moltbook refuses this server: %s", verified.error or fetched.status)
            return UNAVAILABLE
        agent = verified.agent
        if not (fetched.status == HTTPStatus.OK and verified.success and verified.valid and agent is not None):
            return NO_AGENT
        if not (0 < len(agent.id) <= SUBJECT_MAX_CHARACTERS and len(agent.name) <= SUBJECT_MAX_CHARACTERS):
            return NO_AGENT
        if not ((agent.id + agent.name).isprintable() and abs(agent.karma) <= KARMA_MAX):
            return NO_AGENT
        return AgentIdentity(agent.id, agent.name, agent.karma, agent.is_claimed)
