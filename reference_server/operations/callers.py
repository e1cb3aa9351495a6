"""Who may call (contract §2): one row for each kind of principal, with what proves it.

A new kind is a row more, used by operations; nothing else knows which kinds there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.calls import AGENT as AGENT_KIND
from reference_server.core.calls import OWNER as OWNER_KIND
from reference_server.core.calls import Caller
from reference_server.core.community.agents import KEY_PREFIX
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.core.market.wallet import ensure_account
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.signing import matches
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.inquiry import Inquiry
    from reference_server.core.state import State
    from reference_server.wire.values import Instant


class Credential(msgspec.Struct, frozen=True):
    """A header that says who calls: sent twice, it is not known who does. `scheme` is its OpenAPI security scheme."""

    name: str
    header: str
    scheme: dict[str, Any]


class Principal(msgspec.Struct, frozen=True):
    """A kind of caller.

    `admit` looks at the head alone, before a body is read: it returns whom the request names, or refuses it. Whatever
    needs the state is left to `prove`, which is asked when the request is decided, so that it sees what other
    instances have changed; where it has to ask outside, its inquiry decides who calls. `refusals` are the answers of
    both. `ways` are the sets of credentials of which each is enough, where not all of them are needed.
    """

    name: str
    credentials: tuple[Credential, ...]
    admit: Callable[[State, dict[str, str]], Caller | Reply]
    prove: Callable[[State, Instant, Caller, dict[str, str]], Caller | Reply | Inquiry] | None = None
    refusals: tuple[Reply, ...] = ()
    ways: tuple[tuple[Credential, ...], ...] = ()


def is_owner(state: State, headers: dict[str, str]) -> bool:
    """Return whether the request carries the owners' bearer token."""
    token = _bearer(headers)
    return token is not None and matches(state.api_token, token)


def _bearer(headers: dict[str, str]) -> str | None:
    """Return the token that the request carries, whosever it is; None where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _has_key(headers: dict[str, str]) -> bool:
    """Return whether the request carries what looks like an agent's key; `prove` looks whose it is."""
    return (_bearer(headers) or "").startswith(KEY_PREFIX)


def _refuse_bearer(state: State, headers: dict[str, str]) -> Reply:
    """Refuse what proves nothing: the same for all of it, and counted where anything was shown."""
    if "authorization" in headers:
        state.auth_failures["agent" if _has_key(headers) else "session"] += 1
    return UNAUTHORIZED


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
        return Caller(AGENT_KIND) if _has_key(headers) else _refuse_bearer(state, headers)
    owner_id = as_utf8(headers.get("x-owner-id", ""))
    if owner_id is None or not valid_owner_id(owner_id):
        return INVALID_OWNER_ID  # nobody is registered as it, and it may end up in audit events
    return Caller(OWNER.name, owner_id)


def _prove_owner(state: State, _now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply:
    """Refuse agents, with 403 where they are such."""
    if caller.kind == OWNER_KIND:
        return caller
    proven = _prove_key(state, headers)
    return proven if isinstance(proven, Reply) else FORBIDDEN


def _prove_key(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Return the agent whose key the request carries. Bad, unknown and replaced ones are refused alike."""
    agent = state.agents.with_key(_bearer(headers) or "")
    return _refuse_bearer(state, headers) if agent is None else Caller(AGENT_KIND, agent.id)


def _admit_agent(state: State, headers: dict[str, str]) -> Caller | Reply:
    if is_owner(state, headers):
        return FORBIDDEN
    return Caller(AGENT_KIND) if _has_key(headers) else _refuse_bearer(state, headers)


def _admit_account(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit an owner that names itself, or whoever has a key."""
    caller = _admit_owner(state, headers)
    return FORBIDDEN if isinstance(caller, Caller) and caller == Caller(OWNER_KIND) else caller


def _prove_account(state: State, now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply:
    """Return whose account it is, which begins when it is first seen (contract: Principals and accounts)."""
    proven = caller if caller.kind == OWNER_KIND else _prove_key(state, headers)
    if isinstance(proven, Reply):
        return proven
    return ensure_account(state.market, now, proven.account) or proven


def _admit_machine(_state: State, _headers: dict[str, str]) -> Caller:
    """Admit anybody: a machine proves itself inside its operations, in the order that the contract gives (§4)."""
    return Caller(MACHINE.name)


def _header(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name}


OWNER_TOKEN = Credential("ownerToken", "Authorization", {"type": "http", "scheme": "bearer"})
OWNER_ID = Credential("ownerId", "X-Owner-ID", _header("X-Owner-ID"))
MACHINE_TOKEN = Credential("machineToken", "X-Machine-Token", _header("X-Machine-Token"))
MACHINE_CERTIFICATE = Credential("machineCertificate", "X-Machine-Certificate-Id", _header("X-Machine-Certificate-Id"))
AGENT_KEY = Credential("agentKey", "Authorization", {"type": "http", "scheme": "bearer"})
ANYONE = Principal("anyone", (), _admit_anyone)
SCRAPER = Principal("scraper", (OWNER_TOKEN,), _admit_scraper, refusals=(UNAUTHORIZED,), ways=((OWNER_TOKEN,), ()))
OWNER = Principal(
    OWNER_KIND,
    (OWNER_TOKEN, OWNER_ID),
    _admit_owner,
    _prove_owner,
    (UNAUTHORIZED, INVALID_OWNER_ID, FORBIDDEN),
    ways=((OWNER_TOKEN, OWNER_ID), (OWNER_TOKEN,)),
)
AGENT = Principal(AGENT_KIND, (AGENT_KEY,), _admit_agent, _prove_account, (UNAUTHORIZED, FORBIDDEN, FULL))
ACCOUNT = Principal(
    "account",
    (OWNER_TOKEN, OWNER_ID, AGENT_KEY),
    _admit_account,
    _prove_account,
    (UNAUTHORIZED, INVALID_OWNER_ID, FORBIDDEN, FULL),
    ways=((OWNER_TOKEN, OWNER_ID), (AGENT_KEY,)),
)
"""Whoever has an account: an owner, or an agent."""
MACHINE = Principal("machine", (MACHINE_TOKEN, MACHINE_CERTIFICATE), _admit_machine)
