"""Every attack against the real decisions: refused for its reason, with no effect, and the victim is none the worse."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.core.machines import issue_certificate
from reference_server.core.records import Consent, Policy, Worker
from reference_server.http.plain_heads import plain_head
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply
from simulator.attacks import CATALOGUE, shot_attack
from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, Moment, Shot, ShotAttack
from simulator.attacks.replay import FRESH_NS
from simulator.client.answers import HttpAnswer, classify_heartbeat
from simulator.contract.answers import REASONS
from simulator.fleet.clocks import TOLERANCE_NS
from simulator.fleet.machine import Machine, heartbeat_request
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.worlds.playing import SWEEP_NS
from tests.simulator.conftest import METRICS, WatchedApi
from tests.support.tiers import examples

NAMES = sorted(name for name, attack in CATALOGUE.items() if issubclass(attack, ShotAttack))
"""Attacks of single heartbeats; what scripts do is tested where they are played."""
REPLAYS = ["replay.exact", "replay.tampered-metrics"]
STRANGERS = ["credential.unknown-worker"]
STARTED = Instant(1_790_000_000_000_000_000, 9 * SECOND_NS)
HOST = "127.0.0.1:8080"
ROTATION_NS = 720 * SECOND_NS
LATEST_NS = int(2 * ANSWER_TIMEOUT_SECONDS * SECOND_NS) + 2 * SWEEP_NS
POLICY_ID = "pol_0123456789abcdef"


class Stage:
    """An API with two enrolled machines, one of which is attacked."""

    def __init__(self) -> None:
        self.api = WatchedApi(STARTED, rate_limit_burst=1_000_000)
        self.now_ns = 0
        self.nonces = SeededEntropy("nonces")
        self.victim, self.bystander = (self._enrolled(index) for index in range(2))
        assert self.beat(self.victim).status == self.beat(self.bystander).status == 200

    @property
    def moment(self) -> Moment:
        return Moment(self.now_ns, STARTED.wall_ns + self.now_ns, HOST)

    @property
    def instant(self) -> Instant:
        return Instant(STARTED.wall_ns + self.now_ns, STARTED.monotonic_ns + self.now_ns)

    def _enrolled(self, index: int) -> Machine:
        state = self.api.state
        owner = state.owner("ada")
        assert owner is not None
        worker_id, token = f"wrk_{state.entropy.hex(16)}", state.entropy.hex(48)
        certificate = issue_certificate(state, self.instant, worker_id)
        worker = Worker(worker_id, owner, "rack", token.encode(), STARTED.wall_ns, index, certificate)
        state.workers[worker_id] = worker
        state.fleet.add(worker)
        state.policies[POLICY_ID] = Policy(POLICY_ID, "ada", 1, "{}", "", True, 0, 0)  # noqa: FBT003 - a record's field
        worker.consents[POLICY_ID] = Consent(f"con_{index}", "ada", worker_id, POLICY_ID, "", 0)
        machine = Machine(index, "ada", SECOND_NS)
        machine.registered(worker_id, token, certificate.certificate_id, ROTATION_NS)
        machine.consented = True
        machine.fetched_policy(POLICY_ID, {}, 0)
        return machine

    def beat(self, machine: Machine) -> Reply:
        """Send the honest machine's next heartbeat, and let it learn of the answer as a world does."""
        body = machine.heartbeat(self.instant.wall_ns, self.now_ns, self.nonces.hex(24), METRICS)
        request = heartbeat_request(HOST, machine.worker_id, machine.token.decode(), machine.certificate_id, body)
        reply = self.send(request)
        if reply.status == 200:
            machine.last_accepted, machine.last_accepted_ns = request, self.now_ns
        return reply

    def rotate(self, machine: Machine) -> None:
        worker = self.api.state.workers[machine.worker_id]
        worker.certificate = issue_certificate(self.api.state, self.instant, machine.worker_id)
        machine.rotated(worker.certificate.certificate_id, self.now_ns, self.now_ns + ROTATION_NS)

    def send(self, request: bytes, at: Instant | None = None) -> Reply:
        """Return the API a request as the express lane would."""
        end = request.index(b"\r\n\r\n") + 4
        head, body = plain_head(request[:end]), request[end:]
        assert head is not None
        assert head.body_bytes == len(body)
        now = at or self.instant
        return self.api.handle_heartbeat(head.worker_id, head.token, head.certificate_id, body, "10.9.9.9", now)

    def prepared(self, attack: ShotAttack) -> None:
        """Bring about what the attack waits for."""
        attack.prepare(self.victim)
        if self.victim.rotate_due:
            assert not attack.ready(self.victim, self.moment)
            self.rotate(self.victim)

    def effects(self) -> Any:
        """Everything a heartbeat could change, but the record of failures."""
        state = self.api.state
        summary = state.fleet.summary(self.instant.monotonic_ns)
        return (
            summary,
            [
                (worker.id, worker.heard_ns, worker.heard_monotonic_ns, worker.policy_id, worker.fresh,
                 worker.certificate, tuple(worker.consents))
                for worker in state.workers.values()
            ],
            len(state.nonces),
            [(owner.id, owner.routine.sequence, owner.notable.sequence) for owner in state.owners.values()],
            len(state.policies),
            len(state.consents),
        )  # fmt: skip


def shot_of(attack: ShotAttack, stage: Stage, seed: int) -> Shot:
    return attack.shot(stage.victim, stage.moment, np.random.default_rng(seed))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=examples(12))
@given(seed=st.integers(0, 2**32), passed_ns=st.integers(0, 50).map(lambda seconds: seconds * SECOND_NS))
def test_an_attack_is_refused_for_its_reason_and_changes_nothing(name: str, seed: int, passed_ns: int) -> None:
    attack, stage = shot_attack(name), Stage()
    stage.prepared(attack)
    stage.now_ns += passed_ns
    if name in REPLAYS:
        assert stage.beat(stage.victim).status == 200
        stage.now_ns += passed_ns // 2
    assert attack.ready(stage.victim, stage.moment)
    victim_before = {field: getattr(stage.victim, field) for field in Machine.__slots__}
    effects, failures = stage.effects(), dict(stage.api.state.failures.by_reason)
    events = sum(owner.refused.sequence for owner in stage.api.state.owners.values())
    shot = shot_of(attack, stage, seed)
    reply = stage.send(shot.request)

    status, message = attack.verdict.partition(", or")[0].split(" ", 1)
    assert (reply.status, msgspec.json.decode(reply.body)) == (int(status), {"success": False, "error": message})
    got = classify_heartbeat(HttpAnswer(reply.status, b"", reply.body, keep=True), shot.expected)
    assert got is shot.expected
    reason = REASONS[shot.expected]
    assert stage.api.state.failures.by_reason == {**failures, reason: failures[reason] + 1}
    assert shot.known is (name not in STRANGERS)
    assert stage.api.state.failures.unattributed == (not shot.known)
    assert attack.effect.startswith(f"one worker_auth_failed event, reason {reason}")
    assert sum(owner.refused.sequence for owner in stage.api.state.owners.values()) == events + shot.known
    assert stage.effects() == effects
    assert {field: getattr(stage.victim, field) for field in Machine.__slots__} == victim_before

    assert stage.beat(stage.victim).status == 200
    assert stage.beat(stage.bystander).status == 200


@pytest.mark.parametrize("name", NAMES)
def test_a_shots_nonce_is_the_one_its_request_carries(name: str) -> None:
    attack, stage = shot_attack(name), Stage()
    stage.prepared(attack)
    assert stage.beat(stage.victim).status == 200
    shot = shot_of(attack, stage, 1)
    assert len(shot.nonce) == 12
    (nonce,) = re.findall(rb'"nonce":"([^"]*)"', shot.request)
    assert shot.nonce.hex().encode() in nonce if name == "nonce.delimiter" else shot.nonce.hex().encode() == nonce


@pytest.mark.parametrize("name", NAMES)
def test_shots_follow_from_the_seed(name: str) -> None:
    attack, stage = shot_attack(name), Stage()
    stage.prepared(attack)
    assert shot_of(attack, stage, 3) == shot_of(attack, stage, 3)
    if name not in REPLAYS:
        assert shot_of(attack, stage, 3) != shot_of(attack, stage, 4)


@pytest.mark.parametrize("name", NAMES)
def test_no_attack_is_ready_for_a_machine_that_is_not_through_with_onboarding(name: str) -> None:
    stage = Stage()
    fresh = Machine(2, "ada", SECOND_NS)
    assert not shot_attack(name).ready(fresh, stage.moment)


@pytest.mark.parametrize("name", NAMES)
def test_no_attack_shoots_while_its_victim_is_about_to_rotate(name: str) -> None:
    """Which certificate is dead by the time the server judges is not certain then."""
    attack, stage = shot_attack(name), Stage()
    stage.prepared(attack)
    assert stage.beat(stage.victim).status == 200
    assert attack.ready(stage.victim, stage.moment)
    stage.victim.rotate_due = True
    assert not attack.ready(stage.victim, stage.moment)


@pytest.mark.parametrize("name", [*REPLAYS, "signature.forged", "signature.encoding"])
def test_an_attack_that_needs_a_live_certificate_keeps_off_one_that_is_due_for_rotation(name: str) -> None:
    """The certificate is judged first; after a rotation the reason would be another than the attack's own."""
    attack, stage = shot_attack(name), Stage()
    stage.victim.certificate_until_ns = CERTIFICATE_MARGIN_NS + 1
    assert attack.ready(stage.victim, stage.moment)
    stage.victim.certificate_until_ns = CERTIFICATE_MARGIN_NS
    assert not attack.ready(stage.victim, stage.moment)


@pytest.mark.parametrize(
    ("passed_ns", "ready"),
    [(0, True), (FRESH_NS - 1, True), (FRESH_NS, False), (10 * FRESH_NS, False)],
)
def test_only_what_was_captured_lately_is_replayed(passed_ns: int, ready: bool) -> None:  # noqa: FBT001 - a table
    stage = Stage()
    stage.now_ns += passed_ns
    assert shot_attack("replay.exact").ready(stage.victim, stage.moment) is ready


def test_nothing_is_replayed_that_was_sent_under_an_older_certificate() -> None:
    stage = Stage()
    stage.rotate(stage.victim)
    assert not shot_attack("replay.exact").ready(stage.victim, stage.moment)
    assert stage.beat(stage.victim).status == 200
    assert shot_attack("replay.exact").ready(stage.victim, stage.moment)


class Drawing(np.random.Generator):
    """A generator whose numbers between 0 and 1 are all the one given, so that extremes are met."""

    def __init__(self, drawn: float) -> None:
        super().__init__(np.random.PCG64(1))
        self._drawn = drawn

    def random(self, *_args: Any, **_options: Any) -> Any:
        return self._drawn


@pytest.mark.parametrize("name", ["skew.ahead", "skew.behind"])
@settings(deadline=None, max_examples=examples(40))
@given(
    drawn=st.sampled_from([0.0, 1 - 2**-53]) | st.floats(0, 1, exclude_max=True),
    late_ns=st.sampled_from([0, LATEST_NS // 2, LATEST_NS]),
    difference_ns=st.sampled_from([-TOLERANCE_NS, TOLERANCE_NS]),
)
def test_a_skewed_shot_stays_outside_the_window_however_late_it_is_judged(
    name: str,
    drawn: float,
    late_ns: int,
    difference_ns: int,
) -> None:
    """As late as the wait for a connection and then for an answer can be, on a clock as different as is tolerated."""
    stage = Stage()
    shot = shot_attack(name).shot(stage.victim, stage.moment, Drawing(drawn))
    judged = Instant(stage.instant.wall_ns + late_ns + difference_ns, stage.instant.monotonic_ns + late_ns)
    assert stage.send(shot.request, judged).status == 401
    assert stage.api.state.failures.by_reason["timestamp_out_of_window"] == 1


def test_wrong_tokens_are_random_and_near_misses() -> None:
    """Half of them differ from the victim's own in one digit, at any place; none is the victim's own."""
    stage = Stage()
    attack, rng = shot_attack("credential.wrong-token"), np.random.default_rng(11)
    true = stage.victim.token.decode()
    near: list[int] = []
    for _ in range(600):
        request = attack.shot(stage.victim, stage.moment, rng).request.decode()
        (token,) = re.findall(r"X-Machine-Token: (\S+)\r\n", request)
        assert re.fullmatch("[0-9a-f]{48}", token)
        wrong = [at for at in range(48) if token[at] != true[at]]
        assert wrong
        near += wrong if len(wrong) == 1 else []
    assert 200 < len(near) < 400
    assert len(set(near)) > 40


def test_the_catalogue_is_told_apart_and_explained() -> None:
    assert len({attack.shape for attack in CATALOGUE.values()}) == len(CATALOGUE)
    for name, attack in CATALOGUE.items():
        assert attack.name == name
        assert re.fullmatch(r"[a-z-]+\.[a-z0-9-]+", name)
        assert attack.verdict
        assert name not in NAMES or HTTPStatus(int(attack.verdict[:3]))
        assert 0 < attack.severity <= 10
        assert attack.anchor
