"""Who vouches for people and agents, in memory: the twins of the providers outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.adapters.memory.pauses import Pause, at_once
from reference_server.identity_ports import NO_AGENT, UNAVAILABLE, Denied

if TYPE_CHECKING:
    from reference_server.identity_ports import AgentIdentity, Identify, NoAgent, Person, Unavailable


class MemoryProvider:
    """`identity_ports.IdentityProvider`. It gives `people` for codes, each once; while it is `down` it answers nothing.

    `asked` has every question, in order.
    """

    def __init__(self, pause: Pause = at_once) -> None:
        self.people: dict[str, Person | Denied] = {}
        self.asked: list[Identify] = []
        self.down = False
        self._pause = pause

    async def identify(self, question: Identify) -> Person | Denied | Unavailable:
        """Redeem a code."""
        self.asked.append(question)
        await self._pause()
        return UNAVAILABLE if self.down else self.people.pop(question.code, Denied("code_refused"))


class MemoryMoltbook:
    """`identity_ports.MoltbookIdentity`. It knows `agents` by token; while it is `down` it answers nothing."""

    def __init__(self, pause: Pause = at_once) -> None:
        self.agents: dict[str, AgentIdentity] = {}
        self.down = False
        self._pause = pause

    async def verify(self, token: str) -> AgentIdentity | NoAgent | Unavailable:
        """Look a token up."""
        await self._pause()
        return UNAVAILABLE if self.down else self.agents.get(token, NO_AGENT)
