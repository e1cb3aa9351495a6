"""Errors planted in what a server writes to an audit that is otherwise right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.fleet.machine import Action
from simulator.fleet.requests import revoke_call
from tests.checkers.audited_world import AuditedWorld, eventful
from tests.core.server_under_test import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    Event = dict[str, Any]
    Errs = Callable[[AuditedWorld], None]


# --- a server that writes what did not happen, or does not write what did


def rewriting(changes: Callable[[str, list[Any]], list[list[Any]]]) -> Errs:
    """Have a server write other notable events than those that happen: for each, a list of what it writes."""

    def err(world: AuditedWorld) -> None:
        state = world.server.api.state
        right = state.audit

        def audit(now: Any, kind: str, *rest: Any) -> None:
            for wrong_kind, *wrong in changes(kind, list(rest)):
                right(now, wrong_kind, *wrong)

        vars(state)["audit"] = audit

    return err


def without(kind: str) -> Errs:
    return rewriting(lambda what, rest: [] if what == kind else [[what, *rest]])


def twice(kind: str) -> Errs:
    return rewriting(lambda what, rest: [[what, *rest]] * (2 if what == kind else 1))


def changed(kind: str, at: int, value: Any) -> Errs:
    """Replace a field of each event of a type: 0 the actor, 1 the object, 2 the metadata, 3 who is shown it."""

    def change(what: str, rest: list[Any]) -> list[list[Any]]:
        if what == kind:
            rest[at] = value(rest[at]) if callable(value) else value
        return [[what, *rest]]

    return rewriting(change)


def also(kind: str, other: str) -> Errs:
    """Write an event of another type beside each of one."""
    return rewriting(lambda what, rest: [[what, *rest], *([[other, *rest]] if what == kind else [])])


def routine(changes: Callable[[AuditedWorld, str, str], list[tuple[str, str]]]) -> Errs:
    """Have a server write other accepted heartbeats than those there are: (worker, policy) for each."""

    def err(world: AuditedWorld) -> None:
        for owner in world.server.api.state.owners.values():
            right = owner.routine.append

            def append(event_hex: str, worker: str, policy: str, created_ns: int, right: Any = right) -> None:
                for number, wrong in enumerate(changes(world, worker, policy)):
                    right(f"{number}{event_hex[1:]}", *wrong, created_ns)

            vars(owner.routine)["append"] = append

    return err


def first(world: AuditedWorld, worker: str) -> bool:
    """Return whether a worker is the first of the world's machines; the second has the same owner."""
    return worker == world.machines[0].worker_id


def second_for_first(world: AuditedWorld, worker: str) -> str:
    return world.machines[1].worker_id if first(world, worker) else worker


SERVERS: dict[str, tuple[Errs, set[str]]] = {
    "registrations are not audited": (without("machine_registered"), {"missing"}),
    "new policies are not audited": (without("policy_created"), {"missing"}),
    "activations are not audited": (without("policy_activated"), {"missing"}),
    "consents are not audited": (without("consent_created"), {"missing"}),
    "revokes are not audited": (without("consent_revoked"), {"missing"}),
    "rotations are not audited": (without("machine_certificate_issued"), {"missing"}),
    "denied rotations are not audited": (without("machine_certificate_issue_denied"), {"missing-refusal"}),
    "denied owners are not audited": (without("owner_access_denied"), {"missing"}),
    "auth failures are not audited": (without("worker_auth_failed"), {"missing-refusal"}),
    "registrations are audited twice": (twice("machine_registered"), {"duplicate"}),
    "policies are audited twice": (twice("policy_created"), {"unexplained"}),
    "revokes are audited twice": (twice("consent_revoked"), {"duplicate"}),
    "rotations are audited twice": (twice("machine_certificate_issued"), {"duplicate"}),
    "auth failures are audited twice": (twice("worker_auth_failed"), {"duplicate"}),
    "denials are audited twice": (twice("owner_access_denied"), {"unexplained"}),
    "a wrong reason is given": (
        changed("worker_auth_failed", 2, {"reason": "invalid_heartbeat_signature"}),
        {"misattributed"},
    ),
    "a reason of its own is given": (changed("worker_auth_failed", 2, {"reason": "odd"}), {"misattributed"}),
    "no reason is given": (changed("machine_certificate_issue_denied", 2, {}), {"misattributed"}),
    "a worker gets another's failures": (
        changed("worker_auth_failed", 0, lambda actor: actor[:-1] + ("0" if actor[-1] != "0" else "1")),
        {"misattributed"},
    ),
    "an owner gets another's rotation": (changed("machine_certificate_issued", 0, "owner:ben"), {"misattributed"}),
    "a change is audited as of another object": (
        changed("consent_revoked", 1, "con_0000000000000000"),
        {"misattributed"},
    ),
    "a refusal is only shown to whom it was tried on": (
        changed("owner_access_denied", 3, lambda owners: list(owners)[:1]),
        {"missing"},
    ),
    "a refusal is only shown to who tried": (
        changed("owner_access_denied", 3, lambda owners: list(owners)[1:]),
        {"missing"},
    ),
    "a refusal names whom it was tried on as who tried": (
        changed("owner_access_denied", 2, lambda metadata: {**metadata, "actor_owner_id": "ada"}),
        {"metadata"},
    ),
    "a refusal does not name who tried": (
        changed("owner_access_denied", 2, lambda metadata: {"reason": metadata["reason"]}),
        {"metadata"},
    ),
    "everybody sees every failure": (changed("worker_auth_failed", 3, ("ada", "ben")), {"foreign"}),
    "everybody sees every rotation": (changed("machine_certificate_issued", 3, ("ada", "ben")), {"foreign"}),
    "a refused rotation is audited as done": (
        also("machine_certificate_issue_denied", "machine_certificate_issued"),
        {"foreign", "unexplained"},
    ),
    "a rotation is audited as a revoke too": (also("machine_certificate_issued", "consent_revoked"), {"unexplained"}),
    "some heartbeats are not audited": (
        routine(lambda world, worker, policy: [] if first(world, worker) else [(worker, policy)]),
        {"missing"},
    ),
    "heartbeats are audited twice": (
        routine(lambda _, worker, policy: [(worker, policy)] * 2),
        {"duplicate"},
    ),
    "a heartbeat is audited as another worker's": (
        routine(lambda world, worker, policy: [(second_for_first(world, worker), policy)]),
        {"misattributed"},
    ),
    "heartbeats name no policy": (routine(lambda _, worker, _policy: [(worker, "")]), {"metadata"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", SERVERS)
def test_a_server_that_writes_what_did_not_happen_is_caught(fault: str) -> None:
    err, rules = SERVERS[fault]
    world = AuditedWorld()
    owners = [world.owner("ada"), world.owner("ben")]
    world.machines = [world.machine(owner_id, index) for index, owner_id in enumerate((*owners, *owners))]
    world.machines = sorted(world.machines, key=lambda machine: machine.owner_id)
    err(world)
    other = world.owner("carol")
    world.machines.append(world.machine(other, 9))
    for machine in world.machines[:4]:
        world.beat(machine)
        world.beat(machine, token="0" * 48, expected=Answer.INVALID_TOKEN, campaign=1)
        world.act(machine, Action.ROTATE)
    world.denied("ben", world.machines[0])
    world.rotation_denied("ben", world.machines[0])
    world.revoke(world.machines[4])
    world.read_all()
    verdict = world.audit()
    assert verdict.status is Status.FAIL, verdict.summary
    assert world.rules() == rules
    assert verdict.figures["errors"] >= len(rules)
    assert verdict.findings[0].message in verdict.summary


def test_a_revoke_that_is_repeated_leaves_one_event() -> None:
    """The contract says that repeating it changes nothing, so a server that audits it again is caught."""
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    world.revoke(machine)
    world.revoke(machine)
    world.read_all()
    assert world.rules() == set()
    consent = world.history.consents[0].consent_id
    world.server.api.state.audit(world.server.now, "consent_revoked", "owner:ada", consent, {}, ("ada",))
    world.read_all()
    assert world.rules() == {"duplicate"}


def test_what_unknown_workers_do_is_in_nobodys_list() -> None:
    world = AuditedWorld()
    eventful(world)
    state = world.server.api.state
    metadata = {"reason": "invalid_machine_token"}
    unknown = "wrk_0123456789abcdef"
    state.audit(world.server.now, "worker_auth_failed", f"worker:{unknown}", unknown, metadata, ("ada",))
    world.read_all()
    assert world.rules() == {"unexplained-refusal"}


def test_every_fault_has_evidence_that_names_owner_and_times() -> None:
    world = AuditedWorld()
    without("worker_auth_failed")(world)
    eventful(world)
    world.read_all()
    for finding in world.audit().findings:
        assert finding.evidence["owner"] in {"ada", "ben"}
        assert finding.evidence["read_from_ns"] <= finding.evidence["read_to_ns"]
        assert finding.evidence["owner"] in finding.message


def test_one_finding_of_each_rule_comes_first() -> None:
    world = AuditedWorld()
    for number in range(30):
        world.machine(world.owner(f"owner-{number}"), number)
    without("consent_created")(world)
    world.beat(world.machine(world.owner("last"), 99))
    revoke = revoke_call(TOKEN, "last", world.history.consents[-1].consent_id)
    world.server.send(revoke.method, revoke.path, None, {name.lower(): value for name, value in revoke.headers.items()})
    world.read_all()
    assert world.rules() == {"missing", "unexplained"}
