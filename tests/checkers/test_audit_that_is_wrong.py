"""Errors planted in an audit that is otherwise right: in what a server writes, in what it shows, and in its chains."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.canonical_json import canonical_json
from simulator.checkers.verdict import Status
from simulator.fleet.machine import Action
from simulator.fleet.requests import revoke_call
from simulator.history import Answer
from tests.checkers.audited_world import SECOND_NS, AuditedWorld, Span, eventful
from tests.core.server_under_test import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.records import AuditReading

    Event = dict[str, Any]
    Errs = Callable[[AuditedWorld], None]
    Changes = Callable[[list[Event]], object]


AFTERWARDS = Span(before_ns=0)

# --- a server that writes what did not happen, or does not write what did


def rewriting(changes: Callable[[str, list[Any]], list[list[Any]]]) -> Errs:
    """Let a server write other notable events than those that happen: for each, a list of what it writes."""

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
    """Let a server write other accepted heartbeats than those there are: (worker, policy) for each."""

    def err(world: AuditedWorld) -> None:
        for owner in world.server.api.state.owners.values():
            right = owner.routine.append

            def append(event_hex: str, worker: str, policy: str, created_ns: int, right: Any = right) -> None:
                for number, wrong in enumerate(changes(world, worker, policy)):
                    right(f"{number}{event_hex[1:]}", *wrong, created_ns)

            vars(owner.routine)["append"] = append

    return err


def first(world: AuditedWorld, worker: str) -> bool:
    """Say whether a worker is the first of the world's machines; the second has the same owner."""
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
    "denied rotations are not audited": (without("machine_certificate_issue_denied"), {"missing"}),
    "denied owners are not audited": (without("owner_access_denied"), {"missing"}),
    "auth failures are not audited": (without("worker_auth_failed"), {"missing"}),
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
    assert world.rules() == {"unexplained"}


# --- a server that shows its lists wrongly, or changes what it has written


def shown(changes: Changes, owner_id: str = "ada") -> Callable[[AuditReading], AuditReading]:
    """Change a whole list as it is shown."""

    def change(reading: AuditReading) -> AuditReading:
        if reading.owner_id != owner_id or reading.type:
            return reading
        events = [dict(event) for event in reading.events]
        changes(events)
        return msgspec.structs.replace(reading, events=events)

    return change


def rechained(changes: Changes) -> Callable[[AuditReading], AuditReading]:
    """Change what was written, and make every chain and head right again, as one who can write would."""

    def change(reading: AuditReading) -> AuditReading:
        if reading.owner_id != "ada" or reading.type:
            return reading
        events = [dict(event) for event in reading.events]
        changes(events)
        heads: dict[str, Any] = {}
        for event in events:
            head = heads.get(event["stream"], {"sequence": 0, "hash": "0" * 64})
            event["sequence"], event["previous_hash"] = head["sequence"] + 1, head["hash"]
            bare = {key: value for key, value in event.items() if key != "hash"}
            event["hash"] = sha256(canonical_json(bare).encode()).hexdigest()
            heads[event["stream"]] = {"sequence": event["sequence"], "hash": event["hash"]}
        return msgspec.structs.replace(reading, events=events, heads=heads, total=len(events))

    return change


def heads(**changes: Any) -> Callable[[AuditReading], AuditReading]:
    def change(reading: AuditReading) -> AuditReading:
        shown = {stream: {**head, **changes} for stream, head in reading.heads.items()}
        return reading if reading.type else msgspec.structs.replace(reading, heads=shown)

    return change


def swap(events: list[Event]) -> None:
    """Exchange two events of one stream."""
    first, second = [at for at, event in enumerate(events) if event["stream"] == "notable"][:2]
    events[first], events[second] = events[second], events[first]


def late(events: list[Event]) -> None:
    """Show all notable events after all routine ones, however old they are."""
    events.sort(key=lambda event: event["stream"] == "notable")


def nth(stream: str, number: int) -> Callable[[list[Event]], Event]:
    return lambda events: [event for event in events if event["stream"] == stream][number]


def edit(**changes: Any) -> Changes:
    return lambda events: nth("notable", 2)(events).update(changes)


SHOWN: dict[str, tuple[Callable[[AuditReading], AuditReading], set[str]]] = {
    "newest first": (shown(list.reverse), {"order"}),
    "two in the wrong order": (shown(swap), {"order", "chain"}),
    "streams are not merged": (shown(late), {"order"}),
    "one is left out": (shown(lambda events: events.pop(3)), {"total", "chain", "missing"}),
    "the first is left out": (shown(lambda events: events.pop(0)), {"total", "evicted"}),
    "the last is left out": (shown(lambda events: events.pop()), {"total", "head", "missing"}),
    "one is shown twice": (shown(lambda events: events.insert(3, events[3])), {"total", "duplicate", "order"}),
    "an actor is edited": (shown(edit(actor="owner:eve")), {"hash", "misattributed"}),
    "metadata are edited": (shown(edit(metadata={"version": 7})), {"hash"}),
    "an event has no time": (shown(edit(created_at=None)), {"shape", "hash"}),
    "metadata are no object": (shown(edit(metadata=[])), {"shape", "hash"}),
    "an event has a number past any double": (shown(edit(odd=10**400)), {"hash"}),
    "an event has no hash": (shown(lambda events: events[4].pop("hash")), {"chain"}),
    "an event is in the wrong stream": (shown(edit(stream="routine")), {"chain", "hash"}),
    "the total is another": (lambda one: msgspec.structs.replace(one, total=1), {"total"}),
    "heads are old": (heads(sequence=1), {"head"}),
    "heads are others": (heads(hash="0" * 64), {"head", "rewritten"}),
    "heads are no heads": (heads(sequence="1"), {"head"}),
    "an old event was edited, and all after it hashed anew": (rechained(edit(metadata={"version": 7})), {"rewritten"}),
    "an old event was removed, and all after it numbered anew": (
        rechained(lambda events: events.remove(nth("routine", 0)(events))),
        {"rewritten", "missing"},
    ),
    "the end was cut off": (rechained(lambda events: events.__delitem__(slice(6, None))), {"head", "missing"}),
}  # fmt: skip


@pytest.mark.parametrize("fault", SHOWN)
def test_a_list_that_is_shown_wrongly_is_caught(fault: str) -> None:
    change, rules = SHOWN[fault]
    world = AuditedWorld()
    eventful(world)
    world.wait(SECOND_NS)
    world.read_all()
    world.history.audit_readings[:] = map(change, world.history.audit_readings)
    assert world.audit().status is Status.FAIL
    assert world.rules() == rules


def test_an_event_that_was_a_head_once_must_stay_what_it_was() -> None:
    """Also when it is no longer kept: the one after it holds its hash."""
    world = AuditedWorld(audit_events_per_stream=3)
    machine = world.machine(world.owner("ada"), 0)
    world.beat(machine)
    world.look("ada")
    for _ in range(3):
        world.beat(machine)
    world.read_all()
    assert world.rules() == set()
    look = world.history.audit_readings[0]
    changed_heads = {**look.heads, "routine": {"sequence": 1, "hash": "f" * 64}}
    world.history.audit_readings[0] = msgspec.structs.replace(look, heads=changed_heads)
    assert world.rules() == {"rewritten"}


def test_a_tenant_loses_no_event_to_others() -> None:
    """One stream for all tenants: what one does evicts what another must still see."""
    world = AuditedWorld(audit_events_per_stream=20)
    quiet, loud = world.machine(world.owner("ada"), 0), world.machine(world.owner("ben"), 1)
    world.beat(quiet)
    for _ in range(30):
        world.beat(loud, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
    world.read_all()
    assert world.rules() == set()
    notable = world.server.api.state.owners["ada"].notable
    notable._base_digest = notable._events[2][1]
    del notable._events[:3]
    world.read_all()
    assert world.rules() == {"evicted"}
    assert "keeps none before 4" in world.audit().summary


@pytest.mark.parametrize("lost", [1, 20])
def test_events_missing_from_a_stream_that_was_evicted_are_counted_by_its_head(lost: int) -> None:
    world = AuditedWorld(audit_events_per_stream=5)
    machine = world.machine(world.owner("ada"), 0)
    stream = world.server.api.state.owners["ada"].routine
    right, skipped = stream.append, list[Any]()

    def append(*event: Any) -> None:
        if len(skipped) < lost:
            skipped.append(event)
        else:
            right(*event)

    vars(stream)["append"] = append
    for _ in range(40):
        world.beat(machine)
    world.read_all()
    assert world.rules() == {"missing"}
    assert f"has had {40 - lost} events, too few: possible is 40 to 40" in world.audit().summary


def test_of_owners_whose_lists_were_not_read_the_events_are_counted() -> None:
    """By the number of the last event of each stream."""
    world = AuditedWorld()
    machines = eventful(world)
    world.settle()
    world.read("ada")
    world.look("ben", AFTERWARDS)
    verdict = world.audit()
    assert (verdict.status, verdict.figures["owners_read"], verdict.figures["owners_counted"]) == (Status.PASS, 1, 1)
    assert "of 1 more owner the number of events is right" in verdict.summary
    state = world.server.api.state
    state.audit(world.server.now, "worker_auth_failed", f"worker:{machines[2].worker_id}", "", {}, ("ben",))
    state.owners["ben"].routine.append("0" * 16, machines[2].worker_id, machines[2].policy_id, 1)
    world.read("ada")
    world.look("ben", AFTERWARDS)
    assert [finding.rule for finding in world.audit().findings] == ["audit.unexplained"] * 2


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
