"""The control plane as one table (contract §3), and requests made from it: right, but for what an attack replaces."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.attacks.acting import RULES
from simulator.attacks.catalogue import NONCE_BYTES, random_hex
from simulator.attacks.script import NO_NONCE, Expect, ExpectedEvent, ScriptContext, Send
from simulator.contract.answers import Operation
from simulator.contract.features import Feature
from simulator.fleet.machine import signed_heartbeat
from simulator.fleet.requests import consent_call, http_message, machine_headers, owner_headers, policy_call
from simulator.history.rows import NO_MACHINE, NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from simulator.attacks.parties import Party

PREFIXES = ("/api/v1", "/v1")
"""Under which every route answers the same (contract §1)."""
BEARER, OWNER_ID = "Authorization", "X-Owner-ID"
MACHINE_TOKEN, MACHINE_CERTIFICATE = "X-Machine-Token", "X-Machine-Certificate-Id"


def prefixes(context: ScriptContext) -> tuple[str, ...]:
    """Return the prefixes under which a target answers at all; the first is what requests are made under."""
    return PREFIXES[:1] if Feature.V1 in context.lacks else PREFIXES


class Who(Enum):
    """Who may call a route (contract §2). A scraper needs the owners' token, unless metrics are public (§10)."""

    ANYONE = 1
    OWNER = 2
    MACHINE = 3
    SCRAPER = 4


class Route(msgspec.Struct, frozen=True):
    """One route. `path` has `{id}` for a variable; a rooted one stands outside the prefixes.

    `body` makes the body of a right request, where there is one. `feature` is what a target has it by, where it is none
    of the published API.
    """

    operation: Operation
    method: str
    path: str
    who: Who
    body: Callable[[ScriptContext, Party, bytes], bytes] | None = None
    rooted: bool = False
    feature: Feature | None = None

    def paths(self, context: ScriptContext) -> tuple[str, ...]:
        """Return every path it answers at on the target, with the variable still in it."""
        return (self.path,) if self.rooted else tuple(prefix + self.path for prefix in prefixes(context))

    @property
    def machine_facing(self) -> bool:
        """Return whether what it refuses may count as a worker auth failure."""
        return self.operation in {Operation.HEARTBEAT, Operation.POLICY_FETCH}


def _registration(_context: ScriptContext, party: Party, _nonce: bytes) -> bytes:
    return msgspec.json.encode({"owner_id": party.owner_id, "name": "another machine"})


def _policy(context: ScriptContext, party: Party, _nonce: bytes) -> bytes:
    return msgspec.json.encode(policy_call(context.token, party.owner_id, dict(RULES)).body)


def _consent(context: ScriptContext, party: Party, _nonce: bytes) -> bytes:
    wanted = consent_call(context.token, party.owner_id, party.machine.worker_id, party.policy_id)
    return msgspec.json.encode(wanted.body)


def _heartbeat(context: ScriptContext, party: Party, nonce: bytes) -> bytes:
    timestamp = format_timestamp(context.wall() // MILLISECOND_NS * MILLISECOND_NS)
    machine = party.machine
    return signed_heartbeat(machine.token, machine.worker_id, timestamp, nonce.hex(), party.policy_id, "{}")


REGISTER = Route(Operation.REGISTER, "POST", "/machines/register", Who.OWNER, _registration)
CERTIFICATE = Route(Operation.CERTIFICATE, "POST", "/machines/{id}/certificate", Who.OWNER)
POLICY_CREATE = Route(Operation.POLICY_CREATE, "POST", "/policies", Who.OWNER, _policy)
POLICY_ACTIVATE = Route(Operation.POLICY_ACTIVATE, "POST", "/policies/{id}/activate", Who.OWNER)
CONSENT_CREATE = Route(Operation.CONSENT_CREATE, "POST", "/consents", Who.OWNER, _consent)
CONSENT_REVOKE = Route(Operation.CONSENT_REVOKE, "POST", "/consents/{id}/revoke", Who.OWNER)
POLICY_FETCH = Route(Operation.POLICY_FETCH, "GET", "/workers/{id}/policy", Who.MACHINE)
STATUS = Route(Operation.OTHER, "GET", "/workers/{id}/status", Who.OWNER)
SUMMARY = Route(Operation.OTHER, "GET", "/workers/summary", Who.OWNER)
STATUSES = Route(Operation.OTHER, "GET", "/workers/statuses", Who.OWNER)
AUDIT = Route(Operation.OTHER, "GET", "/audit/events", Who.OWNER)
HEARTBEAT = Route(Operation.HEARTBEAT, "POST", "/workers/{id}/heartbeat", Who.MACHINE, _heartbeat)
METRICS = Route(Operation.METRICS, "GET", "/metrics", Who.SCRAPER, rooted=True)
API_METRICS = Route(Operation.METRICS, "GET", "/metrics", Who.SCRAPER, feature=Feature.API_METRICS)

ROUTES: tuple[Route, ...] = (
    REGISTER,
    CERTIFICATE,
    POLICY_CREATE,
    POLICY_ACTIVATE,
    CONSENT_CREATE,
    CONSENT_REVOKE,
    POLICY_FETCH,
    STATUS,
    SUMMARY,
    STATUSES,
    AUDIT,
    HEARTBEAT,
    METRICS,
    API_METRICS,
    Route(Operation.OTHER, "GET", "/status", Who.ANYONE, feature=Feature.STATUS),
    Route(Operation.OTHER, "GET", "/health", Who.ANYONE, rooted=True, feature=Feature.HEALTH),
    Route(Operation.OTHER, "GET", "/.well-known/hatchfarm-keys", Who.ANYONE, rooted=True, feature=Feature.KEYS),
)
"""Every route of contract §3 and §10."""

WITH_BODY = tuple(route for route in ROUTES if route.body is not None)
OF_OWNERS = tuple(route for route in ROUTES if route.who is Who.OWNER)


def routes_of(context: ScriptContext) -> tuple[Route, ...]:
    """Return the routes that the target has."""
    return tuple(route for route in ROUTES if route.feature not in context.lacks)


def variable(route: Route, party: Party) -> str:
    """Return what stands for `{id}` when a party asks for what is its own; empty when the path has no variable."""
    if "{id}" not in route.path:
        return ""
    if route.operation is Operation.POLICY_ACTIVATE:
        return party.draft_id
    return party.consent_id if route.operation is Operation.CONSENT_REVOKE else party.machine.worker_id


def credentials(context: ScriptContext, route: Route, party: Party) -> dict[str, str]:
    """Return the headers with which a party's request is right."""
    if route.who is Who.MACHINE:
        return machine_headers(party.machine)
    if route.who is Who.SCRAPER:
        return owner_headers(context.token)
    if route.who is Who.ANYONE:
        return {}
    headers = owner_headers(context.token, party.owner_id)
    if route.operation is Operation.CERTIFICATE:
        headers[MACHINE_TOKEN] = party.machine.token.decode()
    return headers


def wrong_bearers(context: ScriptContext, party: Party) -> tuple[str, ...]:
    """Return values of `Authorization` that are not the owners', many of them nearly."""
    token = context.token
    bearers = (
        f"Bearer {random_hex(context.rng, 48)}",
        f"Bearer {token[:-1]}",
        f"Bearer {token}0",
        f"Bearer {token.swapcase()}",
        "Bearer",
        token,
        f"Basic {token}",
        f"Bearer {party.machine.token.decode()}",
    )
    # A token of digits alone is the same in either case.
    return tuple(one for one in bearers if one != f"Bearer {token}")


def send(
    context: ScriptContext,
    route: Route,
    party: Party,
    expect: Expect,
    *,
    client: int,
    method: str | None = None,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Iterable[tuple[str, str]] = (),
    payload: bytes | None = None,
    nonce: bytes = NO_NONCE,
    expected_events: tuple[ExpectedEvent, ...] = (),
    known: bool = True,
) -> Send:
    """Make a party's request to a route, right in all that is not given.

    `path` is a whole path, with `{id}` where the party's own belongs; `extra` headers come in addition, even to their
    own likes; `nonce` is the one in a heartbeat's `payload`. `known` says whether a machine route names the party's
    machine, or a worker that never was.
    """
    if payload is None:
        nonce = context.rng.bytes(NONCE_BYTES) if route.operation is Operation.HEARTBEAT else NO_NONCE
        payload = b"" if route.body is None else route.body(context, party, nonce)
    headers = credentials(context, route, party) if headers is None else headers
    target = (path or route.paths(context)[0]).replace("{id}", variable(route, party))
    message = http_message(method or route.method, target, context.host, headers, payload)
    line, _, rest = message.partition(b"\r\n")
    added = "".join(f"{name}: {value}\r\n" for name, value in extra).encode()
    machine = party.machine
    named = known and (route.machine_facing or route.operation is Operation.CERTIFICATE)
    own_certificate = headers.get(MACHINE_CERTIFICATE) == machine.certificate_id
    return Send(
        line + b"\r\n" + added + rest,
        expect,
        route.operation,
        machine=machine.index if named else NO_MACHINE,
        nonce=nonce,
        certificate=machine.certificate_number if named and own_certificate else NONE,
        consent=machine.consent_number if named else NONE,
        client=client,
        expected_events=expected_events,
    )
