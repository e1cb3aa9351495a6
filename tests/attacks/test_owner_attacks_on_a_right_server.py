"""Every attack by owners against an API in process that is right: refused, and with exactly the effects recorded."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.operations import audit, consents, machines, policies, service, workers
from reference_server.wire.canonical_json import canonical_json
from simulator.attacks import CATALOGUE
from simulator.attacks.acting import heartbeat
from simulator.attacks.audit import DRAFTS, OWNER_SHARE
from simulator.attacks.canonical_forms import FORMS
from simulator.attacks.json_bodies import wrong_bodies
from simulator.attacks.parties import OwnerAttack
from simulator.attacks.policy import wrong_rules
from simulator.attacks.routes import ROUTES, Who
from simulator.contract.answers import Answer, Operation
from simulator.limits import ADDRESS_BURST_REQUESTS, AUDIT_NOISE_EVENTS
from tests.attacks.effects import reasons_counted, reasons_of_rows, unattributed_rows
from tests.attacks.owner_effects import compare
from tests.attacks.playing import World

if TYPE_CHECKING:
    from simulator.attacks.script import Outcome, Send

pytestmark = pytest.mark.long
MINE = [name for name, attack in CATALOGUE.items() if issubclass(attack, OwnerAttack)]
CLAIMS = {
    "rotate.no-token": ["keeps-its-certificate", "keeps-its-certificate"],
    "rotate.wrong-owner": ["keeps-its-certificate"],
    "rotate.wrong-token": ["keeps-its-certificate"],
    "owner.header-mismatch": ["nothing-made"],
    "owner.idor": ["own-workers", "own-events", "nobody-made"],
    "owner.no-auth": ["nothing-made"],
    "owner.verbs": ["allow", "head"],
    "owner.foreign-origin": ["not-let-in"],
    "page.extremes": ["limit", "walk", "past-the-end"] * 2,
    "policy.canonical": ["rules-kept"],
    "audit.evict": ["nothing-lost", "nobody-made"],
    "audit.inject": ["one-event-each", "as-sent", "chain"],
    "metrics.inject": ["parses", "parses", "closed-reasons", "no-marks", "no-growth"],
    "strain.audit-turn": ["nothing-lost"],
}
NOISE = AUDIT_NOISE_EVENTS // OWNER_SHARE + DRAFTS
FAILURES = {
    "owner.idor": {
        "invalid_machine_token": 2,
        "invalid_or_expired_machine_cert": 1,
        "invalid_machine_token_policy_fetch": 2,
        "invalid_or_expired_machine_cert_policy_fetch": 1,
    },
    "owner.no-auth": {"missing_heartbeat_fields": 2, "missing_worker_policy_auth_headers": 2},
    "audit.evict": {"missing_heartbeat_fields": AUDIT_NOISE_EVENTS - NOISE},
    "metrics.inject": {
        "missing_heartbeat_fields": 40,
        "malformed_heartbeat_fields": 80,
        "invalid_timestamp": 40,
        "invalid_machine_token": 40,
        "missing_worker_policy_auth_headers": 40,
        "invalid_machine_token_policy_fetch": 40,
    },
    "strain.audit-turn": {"missing_heartbeat_fields": AUDIT_NOISE_EVENTS},
}
"""The worker auth failures that one attempt leaves."""
UNSAID = {
    "owner.unknown-id": {"owner_access_denied": 4, "machine_certificate_issue_denied": 1},
    "audit.inject": {"owner_access_denied": 14},
}
"""Consents to what is nobody's, and an escaped id: if they are audited the contract does not say; this server does."""
CONTRACT_LIMIT = {"rate_limit_burst": 20, "rate_limit_refill_per_second": 5.0}
CONTROL_PLANE = (machines, policies, consents, workers, audit, service)
OPERATIONS = [operation for domain in CONTROL_PLANE for operation in domain.OPERATIONS]
"""What the attacks of owners and machines are on."""


def test_the_families_of_owners_are_all_there() -> None:
    assert len(MINE) == 19
    assert {name.partition(".")[0] for name in MINE} == {
        "rotate",
        "owner",
        "json",
        "page",
        "policy",
        "audit",
        "metrics",
        "strain",
    }


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_attempt_plays_to_its_end_and_leaves_exactly_what_it_says(name: str, seed: int) -> None:
    world = World({"audit_events_per_stream": 10_000}, seed=seed)
    performance = world.play(name)
    assert performance.unsettled == ""
    assert not performance.wrong
    assert [stated.rule for stated in performance.stated] == [*CLAIMS.get(name, []), "no-breakdown"]
    assert all(stated.held is True for stated in performance.stated), performance.stated
    assert reasons_counted(world) == reasons_of_rows(world) == FAILURES.get(name, {})
    assert world.api.state.failures.unattributed == unattributed_rows(world)
    unexplained: Counter[str] = Counter()
    for owner_id in world.history.owners:
        missing, extra = compare(world, owner_id)
        assert not missing
        unexplained.update(event[0] for event in extra.elements())
    assert unexplained == UNSAID.get(name, {})


def test_a_stream_that_keeps_fewer_events_than_were_made_is_no_finding() -> None:
    """Its size is a setting; the audit checker knows whether an event was due to go."""
    stated = {one.rule: one.held for one in World({"audit_events_per_stream": 20}).play("audit.inject").stated}
    assert stated == {"one-event-each": None, "as-sent": True, "chain": True, "no-breakdown": True}


@pytest.mark.parametrize("name", MINE)
def test_no_address_asks_for_more_than_the_contracts_burst(name: str) -> None:
    """What is limited is not judged, so an attack that limits itself proves nothing."""
    world = World(CONTRACT_LIMIT)
    performance = world.play(name)
    assert all(outcome.got is not Answer.RATE_LIMITED for outcome in performance.outcomes)
    sources = world.history.rows()["source"].tolist()
    assert max(map(sources.count, set(sources))) <= ADDRESS_BURST_REQUESTS


@pytest.mark.parametrize("name", MINE)
def test_machines_that_were_heard_from_go_on_as_honest_ones(name: str) -> None:
    """Else they would fall silent, and the stale alert would be the harness's doing."""
    world = World()
    performance = world.play(name)
    workers = world.api.state.workers.values()
    heard = {worker.id for worker in workers if worker.heard_monotonic_ns is not None}
    assert heard == {machine.worker_id for machine in performance.joined}
    assert bool(heard) is (name == "json.strict")
    for machine in performance.joined:
        assert world.send(heartbeat(world.context, machine, Answer.ACCEPTED, "it is honest", client=9999)).right


@pytest.mark.parametrize("name", MINE)
def test_rows_say_what_was_asked_and_of_whom(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alerts are judged by the operation and the machine of each row."""
    world = World()
    sent: list[Send] = []
    send = world.send

    def watched(step: Send, *, at_once: bool = False) -> Outcome:
        sent.append(step)
        return send(step, at_once=at_once)

    monkeypatch.setattr(world, "send", watched)
    world.play(name)
    machines = {record.worker_id: number for number, record in world.history.machines.items()}
    for step in sent:
        if step.request.startswith(b"OPTIONS "):  # asks for nothing to be done
            assert step.operation is Operation.OTHER
            continue
        target = step.request.split(b" ", 2)[1].decode().partition("?")[0].removeprefix("/api").removeprefix("/v1")
        parts = target.split("/")
        if parts[1] == "workers" and parts[-1] in {"heartbeat", "policy"}:
            assert step.operation is (Operation.HEARTBEAT if parts[-1] == "heartbeat" else Operation.POLICY_FETCH)
            assert step.machine == machines.get(parts[2], -1)
        elif target == "/machines/register":
            assert step.operation is Operation.REGISTER
        elif parts[1] in {"policies", "consents", "machines"}:
            assert step.operation not in {Operation.OTHER, Operation.HEARTBEAT, Operation.REGISTER}
        else:
            assert step.operation in {Operation.OTHER, Operation.METRICS}


def test_the_table_of_routes_is_the_servers() -> None:
    assert {(one.method, one.path, one.rooted, one.who.name) for one in ROUTES} == {
        (one.method, one.path, one.rooted, one.principal.name.upper()) for one in OPERATIONS
    }
    assert [one.path for one in ROUTES if one.who is Who.SCRAPER] == ["/metrics", "/metrics"]
    assert len(ROUTES) == len(OPERATIONS)


VECTORS: list[dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "canonical_rules.json").read_bytes()
)
RULE_FIELDS = {"max_cpu_percent", "max_memory_percent", "max_gpu_percent", "timezone", "allowed_hours"}


def test_every_vector_that_is_rules_is_tried() -> None:
    applying = [one for one in VECTORS if json.loads(one["input"]).keys() <= RULE_FIELDS]
    assert len(applying) == 17
    for vector in applying:
        spellings = FORMS[vector["canonical"]]
        assert vector["input"] == vector["canonical"] or vector["input"] in spellings


@pytest.mark.parametrize("canonical", FORMS)
def test_every_spelling_means_the_same_and_differs(canonical: str) -> None:
    spellings = FORMS[canonical]
    assert len({canonical, *spellings}) == len(spellings) + 1
    for spelling in (canonical, *spellings):
        assert canonical_json(json.loads(spelling)) == canonical


def test_wrong_rules_are_wrong_in_every_field_and_each_only_once() -> None:
    rules = [json.dumps(one) for one, _ in wrong_rules()]
    assert len(set(rules)) == len(rules)
    named = {error for _, error in wrong_rules() if not error.startswith("unsupported")} - {""}
    assert named == RULE_FIELDS
    assert sum(error.startswith("unsupported policy field: ") for _, error in wrong_rules()) >= 10


def test_no_wrong_body_is_right_and_each_is_another() -> None:
    right = b'{"owner_id":"ada","rules":{"max_cpu_percent":50},"signature":"c2ln"}'
    bodies = [one.body for one in wrong_bodies(right)]
    assert len(set(bodies)) == len(bodies)

    def strict(body: bytes) -> Any:
        return json.loads(body.decode(), parse_constant=int)

    fields = {"owner_id": str, "rules": dict, "signature": str}
    for body in bodies:
        try:
            value = strict(body)
            value["owner_id"].encode()
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
            continue
        wrong = value.keys() != fields.keys() or any(type(value[name]) is not kind for name, kind in fields.items())
        assert wrong, body


@pytest.mark.parametrize("name", ["metrics.read", "key.as-owner"])
@pytest.mark.parametrize("public", [True, False])
def test_metrics_are_open_to_all_just_where_the_run_set_them_so(name: str, public: bool) -> None:  # noqa: FBT001
    for known in (True, False, None):
        world = World({"metrics_public": public})
        world.context.metrics_public = known
        assert bool(world.play(name).wrong) is (known not in {None, public})


def test_public_metrics_leave_nothing_to_try() -> None:
    performance = World({"metrics_public": True}).play("metrics.read")
    assert [(stated.rule, stated.held) for stated in performance.stated] == [("public", None), ("no-breakdown", True)]
    assert not performance.wrong
