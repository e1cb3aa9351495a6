"""Owner routes and the policy fetch refuse for the first of their checks that fails, in the contract's order (§3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.core.server_under_test import (
    CERTIFICATE_LIFE,
    RULES,
    TOKEN,
    UNKNOWN_WORKER,
    Answer,
    Server,
    canonical,
    hmac_base64,
    owner_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class World:
    """Two owners, each with a machine that consented to a policy and was heard from."""

    def __init__(self) -> None:
        self.server = Server()
        self.machine = self.server.register("ada")
        self.silent = self.server.register("ada")
        self.policy_id = self.server.policy("ada")
        self.draft_id = self.server.policy("ada", active=False)
        self.revoked_id = self.server.policy("ada")
        self.server.revoke("ada", self.server.consent(self.machine, self.revoked_id))
        self.consent_id = self.server.consent(self.machine, self.policy_id)
        self.foreign = self.server.register("bob")
        assert self.server.beat(self.machine, self.policy_id, "nonce").status == 200


@dataclass
class Draft:
    """A request in the making; `body` is signed when it is sent, unless a signature stands in it already."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None = None
    query: str = ""
    signed_fields: tuple[str, ...] = ()
    settle: list[Callable[[], None]] = field(default_factory=list)

    def send(self, server: Server, prefix: str) -> Answer:
        for step in self.settle:
            step()
        body = self.body
        if body is not None and self.signed_fields and "signature" not in body:
            parts = [canonical(body[name]) if name == "rules" else body[name] for name in self.signed_fields]
            body = {**body, "signature": hmac_base64(TOKEN, "|".join(parts))}
        return server.send(self.method, self.path, body, self.headers, prefix=prefix, query=self.query)


class Fault(NamedTuple):
    name: str
    commit: Callable[[World, Draft], object]
    status: int
    error: str


class Route(NamedTuple):
    draft: Callable[[World], Draft]
    status: int
    faults: list[Fault]


def header(name: str, value: str | None) -> Callable[[World, Draft], object]:
    """Set a header, or leave it out."""

    def commit(_world: World, draft: Draft) -> None:
        draft.headers.pop(name, None)
        if value is not None:
            draft.headers[name] = value

    return commit


def body_field(name: str, value: Any) -> Callable[[World, Draft], object]:
    def commit(_world: World, draft: Draft) -> None:
        assert draft.body is not None
        draft.body[name] = value

    return commit


def path_id(old: str, new: Callable[[World], str]) -> Callable[[World, Draft], object]:
    """Name another object in the path."""

    def commit(world: World, draft: Draft) -> None:
        named = getattr(world, old)
        parts = draft.path.split("/")
        parts[2] = new(world)
        assert parts[2] != getattr(named, "id", named)
        draft.path = "/".join(parts)

    return commit


def query(text: str) -> Callable[[World, Draft], object]:
    def commit(_world: World, draft: Draft) -> None:
        draft.query = "&".join(filter(None, (text, draft.query)))

    return commit


def expired(world: World, draft: Draft) -> None:
    draft.settle.append(lambda: world.server.pass_time(CERTIFICATE_LIFE))


def no_live_consent(world: World, draft: Draft) -> None:
    draft.settle.append(lambda: world.server.revoke("ada", world.consent_id))


def no_active_policy(world: World, draft: Draft) -> None:
    """Take the policy back, which no request can do."""

    def take_back() -> None:
        world.server.api.state.policies[world.policy_id].active = False

    draft.settle.append(take_back)


NO_BEARER = Fault("no bearer", header("authorization", None), 401, "unauthorized")
NO_OWNER_ID = Fault("no owner id", header("x-owner-id", None), 403, "forbidden")
NO_OWNER_AT_ALL = Fault("no owner id", header("x-owner-id", None), 401, "unauthorized")
NOT_THE_OWNER = Fault("not the owner", header("x-owner-id", "bob"), 403, "forbidden")
INVALID_BODY = Fault("unknown field", body_field("extra", 1), 400, "invalid request")
INVALID_OWNER_ID = Fault("owner id with a bar", body_field("owner_id", "a|b"), 400, "invalid owner_id")
PAGE_FAULTS = [
    Fault("limit", query("limit=0"), 400, "invalid limit"),
    Fault("offset", query("offset=-1"), 400, "invalid offset"),
]

ROUTES: dict[str, Route] = {
    "register": Route(
        lambda _: Draft("POST", "/machines/register", owner_headers("ada"), {"owner_id": "ada", "name": "new"}),
        201,
        [
            NO_BEARER,
            INVALID_BODY,
            Fault("no name", body_field("name", ""), 400, "owner_id and name are required"),
            INVALID_OWNER_ID,
            NOT_THE_OWNER,
        ],
    ),
    "rotate": Route(
        lambda world: Draft(
            "POST",
            f"/machines/{world.machine.id}/certificate",
            {**owner_headers("ada"), "x-machine-token": world.machine.token},
        ),
        200,
        [
            NO_BEARER,
            NO_OWNER_ID,
            Fault("no token", header("x-machine-token", None), 401, "unauthorized"),
            Fault("unknown", path_id("machine", lambda _: UNKNOWN_WORKER), 404, "machine not found"),
            NOT_THE_OWNER,
            Fault("wrong token", header("x-machine-token", "0" * 48), 401, "unauthorized"),
        ],
    ),
    "create policy": Route(
        lambda _: Draft(
            "POST",
            "/policies",
            owner_headers("ada"),
            {"owner_id": "ada", "rules": RULES},
            signed_fields=("owner_id", "rules"),
        ),
        201,
        [
            NO_BEARER,
            INVALID_BODY,
            Fault("no signature", body_field("signature", ""), 400, "owner_id and signature are required"),
            INVALID_OWNER_ID,
            NOT_THE_OWNER,
            Fault("no cpu rule", body_field("rules", {}), 400, "max_cpu_percent is required"),
            Fault("wrong signature", body_field("signature", "AAAA"), 401, "invalid policy signature"),
        ],
    ),
    "activate": Route(
        lambda world: Draft("POST", f"/policies/{world.draft_id}/activate", owner_headers("ada")),
        200,
        [
            NO_BEARER,
            Fault("unknown", path_id("draft_id", lambda _: "pol_unknown"), 404, "policy not found"),
            NO_OWNER_ID,
            NOT_THE_OWNER,
        ],
    ),
    "consent": Route(
        lambda world: Draft(
            "POST",
            "/consents",
            owner_headers("ada"),
            {"owner_id": "ada", "worker_id": world.silent.id, "policy_id": world.policy_id},
            signed_fields=("owner_id", "worker_id", "policy_id"),
        ),
        201,
        [
            NO_BEARER,
            INVALID_BODY,
            Fault(
                "no signature",
                body_field("signature", ""),
                400,
                "owner_id, worker_id, policy_id, signature are required",
            ),
            INVALID_OWNER_ID,
            NOT_THE_OWNER,
            Fault("wrong signature", body_field("signature", "AAAA"), 401, "invalid consent signature"),
            Fault(
                "another's worker",
                lambda world, draft: body_field("worker_id", world.foreign.id)(world, draft),
                400,
                "worker not found for owner",
            ),
            Fault(
                "draft policy",
                lambda world, draft: body_field("policy_id", world.draft_id)(world, draft),
                400,
                "active policy not found for owner",
            ),
            Fault(
                "revoked",
                lambda world, draft: [
                    body_field("worker_id", world.machine.id)(world, draft),
                    body_field("policy_id", world.revoked_id)(world, draft),
                ],
                409,
                "consent already revoked for this policy version",
            ),
        ],
    ),
    "revoke": Route(
        lambda world: Draft("POST", f"/consents/{world.consent_id}/revoke", owner_headers("ada")),
        200,
        [
            NO_BEARER,
            NO_OWNER_ID,
            Fault("unknown", path_id("consent_id", lambda _: "con_unknown"), 404, "consent not found"),
            NOT_THE_OWNER,
        ],
    ),
    "policy fetch": Route(
        lambda world: Draft("GET", f"/workers/{world.machine.id}/policy", dict(world.machine.headers)),
        200,
        [
            Fault("no certificate", header("x-machine-certificate-id", None), 401, "unauthorized"),
            Fault("wrong token", header("x-machine-token", "0" * 48), 401, "unauthorized"),
            Fault("expired", expired, 401, "unauthorized"),
            Fault("no consent", no_live_consent, 403, "no active consent"),
            Fault("no policy", no_active_policy, 403, "no active policy"),
        ],
    ),
    "status": Route(
        lambda world: Draft("GET", f"/workers/{world.machine.id}/status", owner_headers("ada")),
        200,
        [
            NO_BEARER,
            Fault("unknown", path_id("machine", lambda _: UNKNOWN_WORKER), 404, "worker not found"),
            NOT_THE_OWNER,
            Fault("silent", path_id("machine", lambda world: world.silent.id), 404, "worker status not found"),
        ],
    ),
    "summary": Route(
        lambda _: Draft("GET", "/workers/summary", owner_headers("ada")),
        200,
        [NO_BEARER, NO_OWNER_AT_ALL],
    ),
    "statuses": Route(
        lambda _: Draft("GET", "/workers/statuses", owner_headers("ada")),
        200,
        [NO_BEARER, NO_OWNER_AT_ALL, *PAGE_FAULTS],
    ),
    "audit": Route(
        lambda _: Draft("GET", "/audit/events", owner_headers("ada")),
        200,
        [NO_BEARER, NO_OWNER_ID, *PAGE_FAULTS],
    ),
    "metrics": Route(lambda _: Draft("GET", "/metrics", owner_headers()), 200, [NO_BEARER]),
}
CASES = [(route, at) for route in ROUTES for at in range(len(ROUTES[route].faults))]
NAMES = [f"{route}: {ROUTES[route].faults[at].name}" for route, at in CASES]
REASONS_OF_A_POLICY_FETCH = [
    "missing_worker_policy_auth_headers",
    "invalid_machine_token_policy_fetch",
    "invalid_or_expired_machine_cert_policy_fetch",
]


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
@pytest.mark.parametrize("name", ROUTES)
def test_a_request_without_a_fault_succeeds(name: str, prefix: str) -> None:
    world = World()
    assert ROUTES[name].draft(world).send(world.server, prefix).status == ROUTES[name].status


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
@pytest.mark.parametrize(("name", "at"), CASES, ids=NAMES)
def test_a_request_is_refused_for_its_first_fault(name: str, at: int, prefix: str) -> None:
    """Commit one fault alone, then it and every later one at once: the answer is the same."""
    route = ROUTES[name]
    for faults in (route.faults[at : at + 1], route.faults[at:]):
        world = World()
        draft = route.draft(world)
        # Backwards, so that where two faults change the same thing the earlier one stands.
        for fault in reversed(faults):
            fault.commit(world, draft)
        assert draft.send(world.server, prefix).error == (route.faults[at].status, route.faults[at].error)


@pytest.mark.parametrize("at", range(3))
def test_a_refused_policy_fetch_is_counted_for_its_first_fault(at: int) -> None:
    world = World()
    route = ROUTES["policy fetch"]
    draft = route.draft(world)
    for fault in reversed(route.faults[at:]):
        fault.commit(world, draft)
    draft.send(world.server, "/v1")
    counted = [name for name, count in world.server.api.state.failures.by_reason.items() if count]
    assert counted == [REASONS_OF_A_POLICY_FETCH[at]]


@pytest.mark.parametrize(
    "authorization",
    [
        f"bearer {TOKEN}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Bearer  {TOKEN}",
        f"Bearer {TOKEN}x",
        "Bearer é",
    ],
)
def test_only_the_exact_bearer_token_proves_an_owner(server: Server, authorization: str) -> None:
    answer = server.send("GET", "/workers/summary", None, {"authorization": authorization, "x-owner-id": "ada"})
    assert answer.error == (401, "unauthorized")
