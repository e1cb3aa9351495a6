"""Audit streams: what is kept, what cannot push it out, and that the chain proves it (contract §3)."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server import limits
from reference_server.core.audit import (
    FIRST_PREVIOUS_HASH,
    SEGMENT_EVENTS,
    Event,
    EventStream,
    Room,
    RoutineStream,
    event_hash,
)
from reference_server.wire.canonical_json import canonical_json
from tests.core.server_under_test import RULES, STARTED, UNKNOWN_WORKER, Machine, Server, canonical, owner_headers
from tests.support.tiers import examples

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MOMENT = st.integers(STARTED.wall_ns, STARTED.wall_ns + 10**12)
STREAMS = ("routine", "notable", "refused")


def roomy() -> Room:
    """Return room for all there will be."""
    return Room(1 << 40, tuple)


def independent_hash(event: dict[str, Any]) -> str:
    return hashlib.sha256(canonical({name: event[name] for name in event if name != "hash"}).encode()).hexdigest()


def assert_chained(events: list[dict[str, Any]], head: dict[str, Any] | None) -> None:
    """The events of one stream, oldest first, are gapless, linked, hashed as they are shown, and end in the head."""
    for event in events:
        assert event["hash"] == independent_hash(event) == event_hash(event)
    for earlier, later in pairwise(events):
        assert later["sequence"] == earlier["sequence"] + 1
        assert later["previous_hash"] == earlier["hash"]
    if events:
        assert events[0]["sequence"] > 1 or events[0]["previous_hash"] == FIRST_PREVIOUS_HASH
        assert head == {"sequence": events[-1]["sequence"], "hash": events[-1]["hash"]}


def streams_of(server: Server, owner_id: str) -> dict[str, list[dict[str, Any]]]:
    """List an owner's events by stream, after a check of all chains."""
    data = server.audit(owner_id)
    streams = {name: [event for event in data["events"] if event["stream"] == name] for name in STREAMS}
    for name, events in streams.items():
        assert_chained(events, data["heads"].get(name))
    return streams


@settings(max_examples=examples(100), deadline=None)
@given(
    events=st.lists(st.tuples(TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), MOMENT), max_size=20),
    events_max=st.integers(1, 6),
    name=st.sampled_from(("notable", "refused")),
)
def test_events_of_any_text_are_hashed_as_they_are_shown(
    events: list[tuple[str, str, dict[str, str], int]],
    events_max: int,
    name: str,
) -> None:
    stream = EventStream(name, events_max, roomy())
    shown_before: dict[int, dict[str, Any]] = {}
    for number, (actor, object_id, metadata, created_ns) in enumerate(events):
        stream.append(
            Event(f"aud_{number:016x}", "owner_access_denied", actor, object_id, canonical_json(metadata), created_ns),
        )
        assert len(stream) == min(number + 1, events_max)
        shown = [stream.event(at) for at in range(len(stream))]
        assert_chained(shown, {"sequence": stream.sequence, "hash": stream.hash})
        assert (shown[-1]["actor"], shown[-1]["object_id"]) == (actor, object_id)
        assert shown[-1]["metadata"] == metadata
        # Every event shown before is shown unchanged, or was evicted.
        for event in shown:
            assert shown_before.setdefault(event["sequence"], event) == event
        assert [moment for moment, _ in stream.moments()] == [event[3] for event in events[: number + 1]][-events_max:]


@settings(max_examples=examples(100), deadline=None)
@given(
    beats=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), MOMENT), max_size=20),
    events_max=st.integers(1, 6),
)
def test_routine_events_are_hashed_as_they_are_shown(beats: list[tuple[int, int, int]], events_max: int) -> None:
    stream = RoutineStream(events_max, roomy())
    shown_before: dict[int, dict[str, Any]] = {}
    for number, (worker, policy, created_ns) in enumerate(beats):
        stream.append(f"{number:016x}", f"wrk_{worker}", f"pol_{policy}", created_ns)
        assert len(stream) == min(number + 1, events_max)
        shown = [stream.event(at) for at in range(len(stream))]
        assert_chained(shown, {"sequence": stream.sequence, "hash": stream.hash})
        assert shown[-1]["object_id"] == f"wrk_{worker}"
        assert shown[-1]["metadata"] == {"policy_id": f"pol_{policy}"}
        for event in shown:
            assert shown_before.setdefault(event["sequence"], event) == event
        kept = beats[: number + 1][-events_max:]
        assert list(stream.moments()) == [(moment, at) for at, (_, _, moment) in enumerate(kept)]


@pytest.mark.parametrize("events_max", [SEGMENT_EVENTS - 1, SEGMENT_EVENTS, SEGMENT_EVENTS + 1, 2 * SEGMENT_EVENTS + 7])
def test_routine_events_keep_their_order_across_the_ends_of_segments_and_of_the_ring(events_max: int) -> None:
    stream = RoutineStream(events_max, roomy())
    checked = {1, SEGMENT_EVENTS, SEGMENT_EVENTS + 1, events_max, events_max + 1, events_max + SEGMENT_EVENTS + 1}
    total = 2 * events_max + SEGMENT_EVENTS + 3
    for number in range(1, total + 1):
        stream.append(f"{number:016x}", f"wrk_{number:016x}", f"pol_{number:016x}", number)
        if number in checked or number == total:
            shown = [stream.event(position) for _, position in stream.moments()]
            kept = range(max(1, number - events_max + 1), number + 1)
            assert [event["id"] for event in shown] == [f"aud_{kept_number:016x}" for kept_number in kept]
            assert [event["object_id"] for event in shown] == [f"wrk_{kept_number:016x}" for kept_number in kept]
            assert_chained(shown, {"sequence": stream.sequence, "hash": stream.hash})


@pytest.mark.parametrize("field", ["id", "type", "actor", "object_id", "metadata", "created_at", "sequence"])
def test_an_edited_event_does_not_fit_its_hash(server: Server, field: str) -> None:
    server.register()
    (event,) = server.audit("ada")["events"]
    assert event_hash(event) == event["hash"]
    assert event_hash({**event, field: "edited"}) != event["hash"]


# -- retention

KEPT = 5


class Fleet:
    """Two owners with a consented machine each, and streams of five events."""

    def __init__(self) -> None:
        self.server = Server(audit_events_per_stream=KEPT)
        self.policies = {owner_id: self.server.policy(owner_id) for owner_id in ("ada", "bob")}
        self.machines: dict[str, Machine] = {}
        for owner_id, policy_id in self.policies.items():
            self.machines[owner_id] = self.server.register(owner_id)
            self.server.consent(self.machines[owner_id], policy_id)
        self._beats = 0

    def beat(self, owner_id: str) -> None:
        self._beats += 1
        answer = self.server.beat(self.machines[owner_id], self.policies[owner_id], f"{self._beats}")
        assert answer.status == 200

    def forge(self, worker_id: str) -> None:
        assert self.server.lane(worker_id, "", "", b"{}").status == 400


def test_each_stream_keeps_its_newest_and_still_verifies() -> None:
    fleet = Fleet()
    for _ in range(3 * KEPT):
        fleet.beat("ada")
        fleet.forge(fleet.machines["ada"].id)
        fleet.server.policy("ada", active=False)
        fleet.server.pass_time(1)
    streams = streams_of(fleet.server, "ada")
    numbers = {name: [event["sequence"] for event in events] for name, events in streams.items()}
    last = list(range(2 * KEPT + 1, 3 * KEPT + 1))
    assert numbers == {"routine": last, "refused": last, "notable": [number + 4 for number in last]}
    assert fleet.server.audit("ada")["total"] == 3 * KEPT


def test_a_kept_head_proves_what_followed_it_until_it_is_evicted() -> None:
    """An older head is the previous hash of the event after it, as long as that one is kept."""
    fleet = Fleet()
    heads = []
    for _ in range(3 * KEPT):
        fleet.beat("ada")
        heads.append(fleet.server.audit("ada")["heads"]["routine"])
        kept = streams_of(fleet.server, "ada")["routine"]
        following = {event["sequence"] - 1: event["previous_hash"] for event in kept}
        proven = [head for head in heads if head["sequence"] in following]
        assert [following[head["sequence"]] for head in proven] == [head["hash"] for head in proven]
        assert len(proven) == min(KEPT, len(heads) - 1)


def test_own_heartbeats_evict_nothing_notable() -> None:
    fleet = Fleet()
    before = streams_of(fleet.server, "ada")["notable"]
    assert [event["type"] for event in before] == [
        "policy_created",
        "policy_activated",
        "machine_registered",
        "consent_created",
    ]
    for _ in range(4 * KEPT):
        fleet.beat("ada")
    assert streams_of(fleet.server, "ada")["notable"] == before


def test_strangers_evict_nothing_but_what_strangers_caused() -> None:
    """Requests without any credential that name an owner's machine, many times as many as its streams keep."""
    fleet = Fleet()
    fleet.beat("ada")
    before = streams_of(fleet.server, "ada")
    machine = fleet.machines["ada"]
    for number in range(4 * KEPT):
        fleet.forge(machine.id)
        assert fleet.server.lane(machine.id, "t", "c", b'{"timestamp":"x","nonce":"n"}').status == 400
        assert fleet.server.send("GET", f"/workers/{machine.id}/policy").status == 401
        assert fleet.server.send("GET", f"/workers/wrk_{number:016x}/policy").status == 401
    after = streams_of(fleet.server, "ada")
    assert {name: after[name] for name in ("routine", "notable")} == {
        name: before[name] for name in ("routine", "notable")
    }
    assert {event["type"] for event in after["refused"]} == {"worker_auth_failed"}
    assert after["refused"][-1]["sequence"] == 12 * KEPT


def test_a_tenants_refused_requests_evict_refusals_alone() -> None:
    """Of another tenant, and of one whose name was made up, with a right token."""
    fleet = Fleet()
    fleet.beat("ada")
    before = streams_of(fleet.server, "ada")
    machine = fleet.machines["ada"]
    draft = fleet.server.policy("ada", active=False)
    for number in range(2 * KEPT):
        for actor in ("bob", f"nobody {number}"):
            headers = owner_headers(actor)
            assert fleet.server.send("POST", f"/policies/{draft}/activate", None, headers).status == 403
            assert fleet.server.send("GET", f"/workers/{machine.id}/status", None, headers).status == 403
            assert fleet.server.send("POST", f"/machines/{machine.id}/certificate", None, headers).status == 401
    after = streams_of(fleet.server, "ada")
    assert after["routine"] == before["routine"]
    assert after["notable"][:-1] == before["notable"]
    assert after["refused"][-1]["sequence"] == 12 * KEPT
    assert streams_of(fleet.server, "bob")["refused"][-1]["sequence"] == 6 * KEPT
    assert set(fleet.server.api.state.owners) == {"ada", "bob"}


REFUSALS: list[tuple[str, str, Any, bool]] = [
    ("POST", "/machines/register", {"owner_id": "other", "name": "m"}, True),
    ("POST", "/machines/{machine}/certificate", None, True),
    ("POST", f"/machines/{UNKNOWN_WORKER}/certificate", None, True),
    ("POST", "/policies", {"owner_id": "other", "rules": RULES, "signature": "s"}, True),
    ("POST", "/policies", {"owner_id": "nobody", "rules": RULES, "signature": "s"}, True),
    ("POST", "/policies", {"owner_id": "nobody", "rules": RULES, "signature": "s"}, False),
    ("POST", "/policies/{draft}/activate", None, True),
    ("POST", "/consents", {"owner_id": "other", "worker_id": "w", "policy_id": "p", "signature": "s"}, True),
    ("POST", "/consents", {"owner_id": "nobody", "worker_id": "w", "policy_id": "p", "signature": "s"}, False),
    ("POST", "/consents/{consent}/revoke", None, True),
    ("GET", "/workers/{machine}/status", None, True),
    ("GET", "/workers/summary", None, True),
    ("GET", "/workers/statuses", None, True),
    ("GET", "/audit/events", None, True),
]


@pytest.mark.parametrize(("method", "path", "body", "named"), REFUSALS)
def test_no_request_that_grants_nothing_makes_an_owner(
    server: Server, method: str, path: str, body: Any, *, named: bool
) -> None:
    policy_id, machine = server.policy("ada"), server.register("ada")
    ids = {"machine": machine.id, "draft": policy_id, "consent": server.consent(machine, policy_id)}
    headers = owner_headers("nobody" if named else "")
    answer = server.send(method, path.format(**ids), body, headers)
    assert answer.status >= 400 or "data" in answer.json
    assert set(server.api.state.owners) == {"ada"}
    assert server.audit("nobody")["heads"] == {}


def test_a_neighbours_noise_evicts_nothing() -> None:
    fleet = Fleet()
    fleet.beat("ada")
    before = streams_of(fleet.server, "ada")
    for _ in range(2 * KEPT):
        fleet.beat("bob")
        fleet.forge(fleet.machines["bob"].id)
        fleet.server.register("bob")
        fleet.server.send("POST", "/consents/con_unknown/revoke", None, owner_headers("bob"))
        fleet.server.send("POST", f"/machines/{UNKNOWN_WORKER}/certificate", None, owner_headers("bob"))
    assert streams_of(fleet.server, "ada") == before


def test_noise_that_names_unknown_workers_reaches_no_owner_and_is_bounded() -> None:
    fleet = Fleet()
    before = {owner_id: streams_of(fleet.server, owner_id) for owner_id in fleet.policies}
    owners = set(fleet.server.api.state.owners)
    for number in range(limits.UNATTRIBUTED_EVENTS_MAX + 10):
        fleet.forge(f"wrk_{number}")
    assert {owner_id: streams_of(fleet.server, owner_id) for owner_id in fleet.policies} == before
    assert set(fleet.server.api.state.owners) == owners
    unattributed = fleet.server.api.state.unattributed
    assert len(unattributed) == limits.UNATTRIBUTED_EVENTS_MAX
    last = unattributed.event(len(unattributed) - 1)
    assert last["object_id"] == f"wrk_{limits.UNATTRIBUTED_EVENTS_MAX + 9}"
    assert last["metadata"] == {"reason": "missing_heartbeat_fields"}


def test_of_an_unknown_id_only_the_beginning_is_kept(server: Server) -> None:
    server.lane("w" * 10_000, "", "", b"{}")
    event = server.api.state.unattributed.event(0)
    assert event["object_id"] == "w" * limits.UNKNOWN_ID_MAX_CHARACTERS
    assert event["actor"] == "worker:" + "w" * limits.UNKNOWN_ID_MAX_CHARACTERS
    server.register("ada")
    server.send("POST", f"/machines/{'m' * 10_000}/certificate", None, owner_headers("ada"))
    (event,) = streams_of(server, "ada")["refused"]
    assert event["object_id"] == "m" * limits.UNKNOWN_ID_MAX_CHARACTERS


# -- who sees what


def test_a_denied_action_is_seen_by_who_tried_and_by_whom_it_was_tried_on(server: Server) -> None:
    policy_id = server.policy("ada", active=False)
    server.register("eve")
    assert server.send("POST", f"/policies/{policy_id}/activate", None, owner_headers("eve")).status == 403
    seen = [server.audit(owner_id, "type=owner_access_denied")["events"] for owner_id in ("ada", "eve", "bob")]
    (by_ada,), (by_eve,), by_bob = seen
    assert by_bob == []
    shared = ("id", "type", "actor", "object_id", "metadata", "created_at")
    assert {name: by_ada[name] for name in shared} == {name: by_eve[name] for name in shared}
    assert by_ada["metadata"] == {"reason": "not_the_owner", "actor_owner_id": "eve"}
    assert (by_ada["actor"], by_ada["object_id"]) == ("owner:eve", policy_id)
    assert [(event["stream"], event["sequence"]) for event in (by_ada, by_eve)] == [("refused", 1)] * 2


def test_who_was_refused_first_and_granted_later_sees_what_came_after_that(server: Server) -> None:
    policy_id = server.policy("ada", active=False)
    path = f"/policies/{policy_id}/activate"
    assert server.send("POST", path, None, owner_headers("eve")).status == 403
    server.register("eve")
    assert server.send("POST", path, None, owner_headers("eve")).status == 403
    assert [event["sequence"] for event in streams_of(server, "ada")["refused"]] == [1, 2]
    assert len(streams_of(server, "eve")["refused"]) == 1


def test_an_event_that_concerns_one_owner_twice_is_kept_once(server: Server) -> None:
    machine = server.register("ada")
    headers = {**owner_headers("ada"), "x-machine-token": "0" * 48}
    assert server.send("POST", f"/machines/{machine.id}/certificate", None, headers).status == 401
    kinds = [event["type"] for event in server.audit("ada")["events"]]
    assert kinds == ["machine_registered", "machine_certificate_issue_denied"]


def test_reading_the_audit_leaves_no_trace(server: Server) -> None:
    server.register("ada")
    before = server.audit("ada")
    server.audit("nobody")
    assert server.audit("ada") == before
    assert server.audit("nobody") == {"events": [], "total": 0, "limit": 500, "offset": 0, "heads": {}}
    assert set(server.api.state.owners) == {"ada"}


def test_each_event_is_in_the_stream_of_its_kind() -> None:
    fleet = Fleet()
    fleet.beat("ada")
    fleet.forge(fleet.machines["ada"].id)
    streams = streams_of(fleet.server, "ada")
    assert [event["type"] for event in streams["routine"]] == ["worker_heartbeat"]
    assert [event["type"] for event in streams["refused"]] == ["worker_auth_failed"]
    assert streams["refused"][0]["actor"] == f"worker:{fleet.machines['ada'].id}"
    assert not {event["type"] for event in streams["notable"]} & {"worker_heartbeat", "worker_auth_failed"}
    for kind in ("worker_heartbeat", "worker_auth_failed", "consent_created", "no_such_type"):
        listed = fleet.server.audit("ada", f"type={kind}")
        assert [event["type"] for event in listed["events"]] == [kind] * listed["total"]
        assert listed["total"] == (kind != "no_such_type")
        assert listed["heads"] == fleet.server.audit("ada")["heads"]
