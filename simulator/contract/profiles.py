"""The basis of each rule, and the two profiles by which a server is judged: the published API, or the whole contract.

Each rule of a checker (`simulator/judging/rules.py`) and each attack (`simulator/attacks`) states its basis.
"""

from __future__ import annotations

from enum import StrEnum


class Basis(StrEnum):
    """The source that a rule follows from.

    PUBLISHED: the published API (v0.3) and what follows from it. RFC: a MUST of an RFC that the API is spoken by.
    HARDENED: the contract beyond both.
    """

    PUBLISHED = "published"
    RFC = "rfc"
    HARDENED = "hardened"


class Profile(StrEnum):
    """The part of the contract that a server claims to keep. Rules of HTTP (`Basis.RFC`) hold under either profile."""

    PUBLISHED = "published"
    HARDENED = "hardened"

    def asks_for(self, basis: Basis) -> bool:
        """Return whether a server of this profile must keep a rule with this basis."""
        return self is Profile.HARDENED or basis is not Basis.HARDENED


def farthest(*bases: Basis) -> Basis:
    """Return the basis that the fewest servers claim: something that needs two rules holds only if both are claimed."""
    order = list(Basis)
    return max(bases, key=order.index)


def profile_of(asked: str | None, *, given_target: bool) -> Profile:
    """Return the profile `asked` for; the default is `PUBLISHED` for a given target, and `HARDENED` for own servers."""
    if asked is not None:
        return Profile(asked)
    return Profile.PUBLISHED if given_target else Profile.HARDENED
