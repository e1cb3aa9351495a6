"""Who outside vouches for people and for agents, as ports: what they are asked, and what they may answer.

Nobody here is trusted with more than that: an answer is a value, and whoever cannot be reached vouches for nobody.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import msgspec


class Identify(msgspec.Struct, frozen=True):
    """Which person a code is for, that a provider gave out at the end of a login.

    `verifier` is of PKCE (RFC 7636), `nonce` is what the ID token has to have, and `redirect_uri` is where the code
    came.
    """

    provider: str
    code: str
    verifier: str
    nonce: str
    redirect_uri: str

    def __repr__(self) -> str:
        """Hide what redeems the code."""
        return f"Identify({self.provider})"


class VerifyAgent(msgspec.Struct, frozen=True):
    """Which agent a Moltbook identity token is of."""

    token: str

    def __repr__(self) -> str:
        """Hide the token."""
        return "VerifyAgent()"


Question = Identify | VerifyAgent


class Unavailable(Enum):
    """That nobody can tell: whoever would know is not reached, answers nonsense, or answers too late."""

    UNAVAILABLE = "unavailable"


UNAVAILABLE = Unavailable.UNAVAILABLE


class Person(msgspec.Struct, frozen=True):
    """Somebody whom a provider vouches for: `subject` is never given to another there; the address is verified."""

    subject: str
    email: str


class Denied(msgspec.Struct, frozen=True):
    """That a provider vouches for nobody, or that what it sent may not be believed.

    `reason` is one of a closed set of words, for the audit. `subject` is who it named, if that is known for certain.
    """

    reason: str
    subject: str = ""


class AgentIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who Moltbook says that an agent is."""

    id: str
    name: str
    karma: int
    is_claimed: bool


class NoAgent(Enum):
    """That Moltbook does not know the token, or not any more."""

    INVALID = "invalid"


NO_AGENT = NoAgent.INVALID
Answered = Person | Denied | AgentIdentity | NoAgent | Unavailable


class IdentityProvider(Protocol):
    """A provider that people log in with."""

    async def identify(self, question: Identify) -> Person | Denied | Unavailable:
        """Redeem a code and return who logged in. Never raises for what is wrong outside."""
        ...


class MoltbookIdentity(Protocol):
    """Moltbook, which knows agents."""

    async def verify(self, token: str) -> AgentIdentity | NoAgent | Unavailable:
        """Return which agent a token is of. Never raises for what is wrong outside."""
        ...
