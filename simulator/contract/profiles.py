"""What a rule rests on, and by which of the two measures a server is judged: the published API, or the whole contract.

A rule that no profile asks for is none: each rule of a checker (`simulator/judging/rules.py`) and each attack
(`simulator/attacks`) says what it rests on.
"""

from __future__ import annotations

from enum import StrEnum


class Basis(StrEnum):
    """What a rule rests on.

    PUBLISHED: the published API (v0.3) and what follows from it. RFC: a MUST of an RFC that the API is spoken by.
    HARDENED: the contract beyond both.
    """

    PUBLISHED = "published"
    RFC = "rfc"
    HARDENED = "hardened"


class Profile(StrEnum):
    """The measure: what of the contract a server claims to keep. HTTP is spoken under either."""

    PUBLISHED = "published"
    HARDENED = "hardened"

    def asks_for(self, basis: Basis) -> bool:
        """Return whether a server of this profile must keep a rule that rests on that."""
        return self is Profile.HARDENED or basis is not Basis.HARDENED


def farthest(*bases: Basis) -> Basis:
    """Return the basis that the fewest servers claim: what needs two rules rests on the one that is asked for less."""
    order = list(Basis)
    return max(bases, key=order.index)


def profile_of(asked: str | None, *, given_target: bool) -> Profile:
    """Return the profile that was asked for; else own servers keep the contract, and targets the published API."""
    if asked is not None:
        return Profile(asked)
    return Profile.PUBLISHED if given_target else Profile.HARDENED
