"""What of an audit cannot be known: lists that were not shown, and events whose requests the history half knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.core.audit import EventStream, Room, RoutineStream
from reference_server.wire.units import SECOND_NS
from simulator.checkers.audit_chain import event_hash
from simulator.checkers.audit_lists import OwnerAudit, gather
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action
from simulator.fleet.requests import note
from simulator.history.records import AuditReading, Scrape
from simulator.history.rows import NEVER_NS, NO_MACHINE
from tests.checkers.audited_world import AuditedWorld, Fate, Span, eventful

if TYPE_CHECKING:
    from collections.abc import Callable


def read(world: AuditedWorld, change: Callable[[AuditReading], AuditReading | None]) -> AuditedWorld:
    """Read every list, and change what was read."""
    world.read_all()
    changed = [one for one in map(change, world.history.audit_readings) if one is not None]
    world.history.audit_readings[:] = changed
    return world


@pytest.fixture
def world() -> AuditedWorld:
    world = AuditedWorld()
    world.machines = eventful(world)
    return world


# --- lists that were not shown


def test_a_run_without_owners_has_nothing_to_audit() -> None:
    assert AuditedWorld().audit().status is Status.NOT_APPLICABLE
    assert AuditedWorld().audit().figures == {"errors": 0}


@pytest.mark.parametrize(
    ("status", "stated"),
    [(404, "has no audit list"), (405, "has no audit list"), (401, "HTTP 401"), (500, "HTTP 500")],
)
def test_a_target_that_shows_no_list_is_not_judged(world: AuditedWorld, status: int, stated: str) -> None:
    read(world, lambda one: AuditReading(one.owner_id, one.sent_ns, one.answered_ns, status, 0, -1))
    verdict = world.audit()
    assert (verdict.status, verdict.figures) == (Status.INCONCLUSIVE, {})
    assert stated in verdict.summary


def test_what_is_no_list_in_an_answer_of_success_is_proven_wrong(world: AuditedWorld) -> None:
    read(world, lambda one: AuditReading(one.owner_id, one.sent_ns, one.answered_ns, 200, 0, -1))
    verdict = world.audit()
    assert verdict.status is Status.FAIL
    assert {finding.rule for finding in verdict.findings} == {"audit.no-list"}


def test_owners_whose_lists_nobody_read_are_not_judged(world: AuditedWorld) -> None:
    world.history.audit_readings.clear()
    assert world.audit().status is Status.INCONCLUSIVE
    assert world.audit().summary == "No owner's audit list could be read."


def test_one_owner_without_an_answer_leaves_the_audit_open(world: AuditedWorld) -> None:
    def refuse(one: AuditReading) -> AuditReading:
        if one.owner_id != "ben":
            return one
        return AuditReading(one.owner_id, one.sent_ns, one.answered_ns, 403, 0, -1)

    verdict = read(world, refuse).audit()
    assert verdict.status is Status.INCONCLUSIVE
    assert "answered with HTTP 403" in verdict.summary


def test_heads_from_the_midst_of_a_run_are_no_count_at_its_end(world: AuditedWorld) -> None:
    """What was still under way then would seem to be missing."""
    world.beat(world.machines[0])
    read(world, lambda one: None if not one.type and one.owner_id == "ada" else one)
    verdict = world.audit()
    assert (verdict.status, verdict.figures["owners_read"], verdict.figures["owners_counted"]) == (Status.PASS, 1, 0)


def without_chain(one: AuditReading) -> AuditReading:
    """Show a list as the published API v0.3 does."""
    fields = ("id", "type", "actor", "object_id", "metadata", "created_at")
    events = [{name: event[name] for name in fields} for event in one.events]
    return msgspec.structs.replace(one, events=events, heads={})


def test_a_target_without_chains_is_judged_by_its_events_alone(world: AuditedWorld) -> None:
    """The contract demands the chain, but the published API does not have it: neither right nor proven wrong."""
    verdict = read(world, without_chain).audit()
    assert verdict.status is Status.INCONCLUSIVE
    assert "shows no hash chain" in verdict.summary
    assert "Else all holds: None of 45 events due to 2 owners is missing." in verdict.summary


def test_an_event_missing_from_a_list_without_chain_is_found(world: AuditedWorld) -> None:
    def drop(one: AuditReading) -> AuditReading:
        one = without_chain(one)
        kept = [event for event in one.events if event["type"] != "consent_revoked"]
        return one if one.type else msgspec.structs.replace(one, events=kept, total=len(kept))

    assert read(world, drop).rules() == {"missing"}


def test_a_full_list_without_chain_may_have_been_evicted() -> None:
    world = AuditedWorld(audit_events_per_stream=4)
    machine = world.machine(world.owner("ada"), 0)
    for _ in range(9):
        world.beat(machine)
    assert read(world, without_chain).rules() == set()


def test_a_server_that_started_anew_may_have_forgotten_events(world: AuditedWorld) -> None:
    """Durability is not judged here: without its restart, the same is a loss."""
    room = Room(1 << 30, tuple)
    for owner in world.server.api.state.owners.values():
        owner.routine, owner.notable = RoutineStream(5000, room), EventStream("notable", 5000, room)
        owner.refused = EventStream("refused", 5000, room)
    world.beat(world.machines[0])
    world.read_all()
    assert world.rules() == {"head", "missing", "missing-refusal"}
    uptime = "hatchfarm_uptime_seconds"
    for at, shown in ((1, 100.0), (50, 1.0)):
        world.history.scrapes.append(Scrape(at * SECOND_NS, at * SECOND_NS + 1, {uptime: shown}))
    verdict = world.audit()
    assert (verdict.status, verdict.findings) == (Status.INCONCLUSIVE, ())
    assert "started anew" in verdict.summary


def test_what_nothing_explains_is_found_in_a_server_that_started_anew(world: AuditedWorld) -> None:
    uptime = "hatchfarm_uptime_seconds"
    for at, shown in ((1, 100.0), (50, 1.0)):
        world.history.scrapes.append(Scrape(at * SECOND_NS, at * SECOND_NS + 1, {uptime: shown}))
    assert unsettled(world, "policy_created") == {"unexplained"}


def test_a_list_that_changes_while_it_is_read_is_not_held_to_be_one() -> None:
    """Its pages may overlap or leave something out, as events are evicted between them."""
    world = AuditedWorld(audit_events_per_stream=600)
    machine = world.machine(world.owner("ada"), 0)
    for _ in range(700):
        world.beat(machine)
    world.settle()
    world.read("ada")
    first = world.history.audit_readings[0]
    for _ in range(40):
        world.beat(machine)
    world.read("ada")
    assert world.rules() == set()
    second = world.history.audit_readings[-1]
    world.history.audit_readings[:] = [first, second]
    verdict = world.audit()
    assert verdict.findings == ()
    assert verdict.status is Status.INCONCLUSIVE
    assert "changed while it was read" in verdict.summary


def test_pages_that_do_not_follow_each_other_are_no_list(world: AuditedWorld) -> None:
    world.read_all()
    page = world.history.audit_readings[-1]
    odd = msgspec.structs.replace(page, offset=page.offset + 3, owner_id="carol")
    world.history.audit_readings.append(odd)
    owners = gather(world.history)
    assert owners["carol"].events is None
    assert owners["ben"].events is not None


# --- events of requests that the history half knows


def unsettled(world: AuditedWorld, event: str, owner_id: str = "ada") -> set[str]:
    """Have an event be there that no note explains."""
    state = world.server.api.state
    metadata = {"reason": "odd", "actor_owner_id": owner_id}
    state.audit(world.server.now, event, f"owner:{owner_id}", "an-id", metadata, (owner_id,))
    world.read_all()
    return world.rules()


def row(
    world: AuditedWorld,
    operation: Operation,
    got: Answer,
    *,
    machine: int = NO_MACHINE,
    expected: Answer = Answer.ACCEPTED,
    status: int = 200,
) -> None:
    sent_ns = world.now_ns + 77
    answered_ns = NEVER_NS if got is Answer.LOST else sent_ns + 1
    world.history.append(sent_ns, sent_ns, answered_ns, bytes(12), machine, status, operation, expected, got, 1)
    world.wait(1000)


def test_an_event_that_nothing_explains_is_found(world: AuditedWorld) -> None:
    assert unsettled(world, "policy_created") == {"unexplained"}


@pytest.mark.parametrize("got", [Answer.LOST, Answer.UNAVAILABLE, Answer.ACCEPTED])
@pytest.mark.parametrize("machine", [0, 77], ids=["known", "never registered"])
def test_a_script_that_was_cut_off_may_have_left_the_event_of_its_request(
    world: AuditedWorld, got: Answer, machine: int
) -> None:
    """Its row is there, but not the note of its event."""
    row(world, Operation.CONSENT_CREATE, got, machine=machine)
    assert unsettled(world, "consent_created") == set()


def test_it_may_have_left_no_other_event(world: AuditedWorld) -> None:
    row(world, Operation.CONSENT_CREATE, Answer.LOST, machine=0)
    assert unsettled(world, "policy_created") == {"unexplained"}


def test_it_may_have_left_none_for_another_owner(world: AuditedWorld) -> None:
    row(world, Operation.CONSENT_CREATE, Answer.LOST, machine=0)
    assert unsettled(world, "consent_created", "ben") == {"unexplained"}


def test_a_noted_request_explains_one_event_and_no_second(world: AuditedWorld) -> None:
    note(world.history, world.now_ns + 77, NEVER_NS, "consent_created", "ada", sure=False)
    row(world, Operation.CONSENT_CREATE, Answer.LOST, machine=0)
    state = world.server.api.state
    state.audit(world.server.now, "consent_created", "owner:ada", "con_1", {}, ("ada",))
    assert unsettled(world, "consent_created") == {"unexplained"}


@pytest.mark.parametrize("got", [Answer.UNEXPECTED, Answer.ACCEPTED])
def test_after_a_wrong_answer_any_event_may_be_there(world: AuditedWorld, got: Answer) -> None:
    """Wrong answers are judged elsewhere; that one was audited as what it did is right."""
    row(world, Operation.OTHER, got, expected=Answer.REFUSED)
    assert unsettled(world, "policy_activated") == set()


def test_whether_a_refusal_is_audited_as_denied_is_not_always_said(world: AuditedWorld) -> None:
    row(world, Operation.OTHER, Answer.REFUSED, expected=Answer.REFUSED, status=404)
    assert unsettled(world, "owner_access_denied") == set()
    assert unsettled(world, "owner_access_denied") == {"unexplained"}


def test_a_refusal_leaves_no_other_event(world: AuditedWorld) -> None:
    row(world, Operation.OTHER, Answer.REFUSED, expected=Answer.REFUSED, status=404)
    assert unsettled(world, "policy_activated") == {"unexplained"}


def test_a_type_that_the_contract_does_not_have_is_nobodys_error(world: AuditedWorld) -> None:
    assert unsettled(world, "job_created") == set()


def test_consenting_and_activating_again_may_be_audited_again(world: AuditedWorld) -> None:
    """Or not: the contract does not say, and the reference server does not."""
    world.act(world.machines[0], Action.CONSENT)
    world.read_all()
    assert world.rules() == set()
    consent = world.history.consents[0].consent_id
    state = world.server.api.state
    state.audit(world.server.now, "consent_created", "owner:ada", consent, {}, ("ada",))
    world.read_all()
    assert world.rules() == set()
    state.audit(world.server.now, "consent_created", "owner:ada", consent, {}, ("ada",))
    world.read_all()
    assert world.rules() == {"duplicate"}


def test_an_owner_with_a_consent_that_was_lost_may_have_heartbeats_under_its_policy() -> None:
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    note(world.history, world.now_ns, NEVER_NS, "consent_created", "ada", sure=False)
    stream = world.server.api.state.owners["ada"].routine
    right = stream.append
    vars(stream)["append"] = lambda digits, worker, _policy, created_ns: right(digits, worker, "pol_other", created_ns)
    world.beat(machine)
    world.read_all()
    assert world.rules() == set()
    world.history.effects.pop()
    assert world.rules() == {"metadata"}


def test_a_request_that_was_lost_accuses_nobody_whether_it_took_effect_or_not() -> None:
    fates: tuple[Fate, ...] = ("lost after", "lost before")
    for fate in fates:
        world = AuditedWorld()
        machine = world.machine(world.owner("ada"), 0)
        span = Span(fate=fate)
        world.beat(machine, span)
        world.beat(machine, span, token="0" * 48, expected=Answer.INVALID_TOKEN, campaign=1)
        world.act(machine, Action.ROTATE, span)
        world.revoke(machine, span)
        world.read_all()
        assert world.rules() == set()


@pytest.mark.parametrize("fate", ["lost after", "failed after"])
def test_a_rotation_without_answer_may_have_killed_the_certificate_of_what_came_later(fate: Fate) -> None:
    """A replay is then refused for its certificate, by the same answer; without that rotation it is a wrong reason."""
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    nonce = world.beat(machine)
    world.act(machine, Action.ROTATE, Span(fate=fate))
    world.beat(machine, nonce=nonce, expected=Answer.NONCE_REPLAYED, campaign=1)
    world.beat(machine, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
    world.beat(machine, expected=Answer.EITHER)
    world.beat(machine, Span(fate="failed after"))
    world.act(machine, Action.FETCH_POLICY, Span(fate="failed after"))
    world.read_all()
    assert world.rules() == set()
    rows = world.history.rows()
    rows["operation"][rows["operation"] == Operation.CERTIFICATE] = Operation.METRICS
    assert world.rules() == {"misattributed", "unexplained-refusal"}


def test_a_consent_that_came_too_late_may_have_been_denied() -> None:
    """Its revoke overtook it, so that a right server answered 409 to nobody."""
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    world.revoke(machine)
    world.act(machine, Action.CONSENT, Span(fate="lost after"))
    world.read_all()
    assert world.rules() == set()


def test_what_was_answered_after_the_lists_were_read_need_not_be_in_them() -> None:
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    world.wait(SECOND_NS)
    world.read("ada")
    world.beat(machine, Span(before_ns=SECOND_NS, after_ns=SECOND_NS))
    assert world.rules() == set()


# --- hashes, by worked examples


@pytest.mark.parametrize(
    ("event", "digest"),
    [
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        ({"hash": "left out"}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        (
            {"b": [1.0, 1e21, True, None], "a": "<é\u2028>", "hash": ""},
            # sha256 of {"a":"\u003cé\u2028\u003e","b":[1,1e+21,true,null]}
            "e28138eeab355eb2c02e58ad8dab88327fb820a2f033ad83e6db7e764bd4630a",
        ),
    ],
)
def test_an_events_hash_is_that_of_its_canonical_json(event: dict[str, Any], digest: str) -> None:
    assert event_hash(event) == digest


def test_an_owner_that_was_never_seen_has_no_heads() -> None:
    assert OwnerAudit("ada", [], []).heads == {}
