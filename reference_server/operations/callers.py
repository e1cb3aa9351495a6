"""Who may call (contract §2): one row for each kind of principal, with what proves it.

A new kind is a row more, used by operations; nothing else knows which kinds there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.calls import OWNER as OWNER_KIND
from reference_server.core.calls import Caller
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.wire.replies import UNAUTHORIZED
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.signing import matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.state import State
    from reference_server.wire.values import Instant, Reply


class Credential(msgspec.Struct, frozen=True):
    """A header that says who calls: sent twice, it is not known who does. `scheme` is its OpenAPI security scheme."""

    name: str
    header: str
    scheme: dict[str, Any]


class Principal(msgspec.Struct, frozen=True):
    """A kind of caller.

    `admit` looks at the head alone, before a body is read: it returns whom the request names, or refuses it. Whatever
    needs the state is left to `prove`, which is asked when the request is decided, so that it sees what other
    instances have changed. `refusals` are the answers of both. `ways` are the sets of credentials of which each is
    enough, where not all of them are needed.
    """

    name: str
    credentials: tuple[Credential, ...]
    admit: Callable[[State, dict[str, str]], Caller | Reply]
    prove: Callable[[State, Instant, Caller, dict[str, str]], Caller | Reply] | None = None
    refusals: tuple[Reply, ...] = ()
    ways: tuple[tuple[Credential, ...], ...] = ()


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


def _admit_anyone(state: State, headers: dict[str, str]) -> Caller:
    return Caller(ANYONE.name, proven=is_owner(state, headers))  # whoever shows the owners' token is known


def _admit_scraper(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit owners, and anybody where the settings make the metrics public."""
    owner = is_owner(state, headers)
    return Caller(SCRAPER.name, proven=owner) if owner or state.settings.metrics_public else UNAUTHORIZED


def _admit_owner(state: State, headers: dict[str, str]) -> Caller | Reply:
    if not is_owner(state, headers):
        return UNAUTHORIZED
    owner_id = as_utf8(headers.get("x-owner-id", ""))
    if owner_id is None or not valid_owner_id(owner_id):
        return INVALID_OWNER_ID  # nobody is registered as it, and it may end up in audit events
    return Caller(OWNER.name, owner_id)


def _admit_machine(_state: State, _headers: dict[str, str]) -> Caller:
    """Admit anybody: a machine proves itself inside its operations, in the order that the contract gives (§4)."""
    return Caller(MACHINE.name)


def _header(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name}


OWNER_TOKEN = Credential("ownerToken", "Authorization", {"type": "http", "scheme": "bearer"})
OWNER_ID = Credential("ownerId", "X-Owner-ID", _header("X-Owner-ID"))
MACHINE_TOKEN = Credential("machineToken", "X-Machine-Token", _header("X-Machine-Token"))
MACHINE_CERTIFICATE = Credential("machineCertificate", "X-Machine-Certificate-Id", _header("X-Machine-Certificate-Id"))
ANYONE = Principal("anyone", (), _admit_anyone)
SCRAPER = Principal("scraper", (OWNER_TOKEN,), _admit_scraper, refusals=(UNAUTHORIZED,), ways=((OWNER_TOKEN,), ()))
OWNER = Principal(
    OWNER_KIND,
    (OWNER_TOKEN, OWNER_ID),
    _admit_owner,
    refusals=(UNAUTHORIZED, INVALID_OWNER_ID),
    ways=((OWNER_TOKEN, OWNER_ID), (OWNER_TOKEN,)),
)
MACHINE = Principal("machine", (MACHINE_TOKEN, MACHINE_CERTIFICATE), _admit_machine)
