"""Who is calling (contract §2): what proves an owner, and what may be said once only."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from reference_server.wire.signing import matches

if TYPE_CHECKING:
    from reference_server.core.state import State

SINGLE_HEADERS = frozenset({"authorization", "x-owner-id", "x-machine-token", "x-machine-certificate-id"})
"""Headers that say who calls; sent twice, it is not known who does."""


class Principal(Enum):
    """Who may call an operation. A machine proves itself inside its operation, in the order the contract gives."""

    ANYONE = 1
    OWNER = 2
    MACHINE = 3


def is_owner(state: State, headers: dict[str, str]) -> bool:
    """Return whether the request carries the owners' bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return scheme == "Bearer" and matches(state.api_token, token)


def as_utf8(value: str) -> str | None:
    """Read a header's value, whose bytes transports show as Latin-1 (RFC 9110 §5.5), as the UTF-8 that clients mean.

    Return None where they are no UTF-8: read in another way, two different values would mean one owner.
    """
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except ValueError:
        return None
