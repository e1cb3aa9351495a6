"""Machines and the real decisions, one against the other: stepped instants, no sockets, no waiting."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.core.heartbeats import decode_heartbeat, malformed
from reference_server.http.plain_heads import plain_head
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply, Request
from simulator.fleet.clocks import ClockError
from simulator.fleet.machine import HOLD_NS, Action, Machine, heartbeat_request, signed_heartbeat
from tests.simulator.conftest import API_TOKEN, METRICS, WatchedApi, decoded
from tests.support.tiers import examples

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "signatures.json").read_text(encoding="utf-8"))
HEARTBEATS = [vector for vector in VECTORS if vector["kind"] == "heartbeat"]
WALL_NS = 1_790_000_000_000_000_000
STARTED = Instant(WALL_NS, 77 * SECOND_NS)
MINUTE_NS = 60 * SECOND_NS
ROTATION_NS = 12 * MINUTE_NS
hexadecimal = st.text("0123456789abcdef", min_size=1, max_size=48)


@pytest.mark.parametrize("vector", HEARTBEATS, ids=lambda vector: vector["worker_id"])
def test_a_signed_heartbeat_is_the_worked_one(vector: dict[str, str]) -> None:
    """Byte for byte what the contract's worked signatures give, also for texts a machine would not choose."""
    body = signed_heartbeat(
        vector["secret"].encode(),
        vector["worker_id"],
        vector["timestamp"],
        vector["nonce"],
        vector["policy_id"],
        METRICS,
    )
    assert msgspec.json.decode(body) == {
        "timestamp": vector["timestamp"],
        "nonce": vector["nonce"],
        "policy_id": vector["policy_id"],
        "metrics": {"cpu_percent": 12.5},
        "signature": vector["signature"],
    }


@given(
    token=hexadecimal,
    nonce=hexadecimal,
    wall_ns=st.integers(0, 4 * 10**18),
    error_ns=st.integers(-100_000, 100_000).map(lambda milliseconds: milliseconds * 1_000_000 + 1),
    elapsed_ns=st.integers(0, 10**14),
)
def test_a_heartbeat_reads_and_verifies_with_the_servers_own_wire_functions(
    token: str,
    nonce: str,
    wall_ns: int,
    error_ns: int,
    elapsed_ns: int,
) -> None:
    machine = Machine(0, "ada", SECOND_NS, ClockError(offset_ns=error_ns))
    machine.registered("wrk_0123456789abcdef", token, "mcert_1", 0)
    machine.fetched_policy("pol_0123456789abcdef", {}, 0)
    heartbeat = decode_heartbeat(machine.heartbeat(10**15 + wall_ns, elapsed_ns, nonce, METRICS))
    assert heartbeat is not None
    assert not malformed(heartbeat.nonce, heartbeat.policy_id, bytes(heartbeat.metrics))
    assert (heartbeat.nonce, heartbeat.policy_id) == (nonce, machine.policy_id)
    assert bytes(heartbeat.metrics) == METRICS.encode()
    text = f"{machine.worker_id}|{heartbeat.timestamp}|{nonce}|{machine.policy_id}"
    assert matches(sign_text(token.encode(), text), heartbeat.signature)
    stamped_ns = parse_timestamp(heartbeat.timestamp)
    assert stamped_ns is not None
    assert 0 <= 10**15 + wall_ns + error_ns - stamped_ns < 1_000_000, "its own clock's time, in whole milliseconds"


@given(body=st.binary(max_size=300), token=hexadecimal)
def test_its_request_is_one_the_express_lane_takes(body: bytes, token: str) -> None:
    request = heartbeat_request("127.0.0.1:8080", "wrk_1", token, "mcert_1", body)
    head, _, rest = request.partition(b"\r\n\r\n")
    plain = plain_head(head + b"\r\n\r\n")
    assert plain is not None
    assert (plain.worker_id, plain.token, plain.certificate_id) == ("wrk_1", token, "mcert_1")
    assert (plain.body_bytes, rest) == (len(body), body)


class Life:
    """A fleet that lives against the API on an event heap; every answer is kept by what was asked."""

    def __init__(self, api: WatchedApi, machines: list[Machine]) -> None:
        self.api = api
        self.machines = machines
        self.answers: dict[tuple[int, Action], list[tuple[int, Reply]]] = {}
        self.policies: dict[str, str] = {}
        self._nonces = SeededEntropy("nonces")
        self._jitter = np.random.default_rng(5)
        self._heap = [(machine.due_ns, machine.index) for machine in machines]
        for owner_id in sorted({machine.owner_id for machine in machines}):
            rules = '{"max_cpu_percent":50}'
            self.policies[owner_id] = self.owner(0, owner_id, "/policies", {
                "owner_id": owner_id,
                "rules": {"max_cpu_percent": 50},
                "signature": sign_text(API_TOKEN.encode(), f"{owner_id}|{rules}").decode(),
            })["id"]  # fmt: skip
            self.owner(0, owner_id, f"/policies/{self.policies[owner_id]}/activate")

    def instant(self, now_ns: int) -> Instant:
        return Instant(STARTED.wall_ns + now_ns, STARTED.monotonic_ns + now_ns)

    def ask(self, now_ns: int, request: Request) -> Reply:
        return self.api.handle(request, self.instant(now_ns))

    def owner(self, now_ns: int, owner_id: str, path: str, body: dict[str, Any] | None = None) -> Any:
        reply = self.ask(now_ns, self._post(owner_id, path, body))
        assert reply.status in {200, 201}, reply
        return decoded(reply)

    def _post(self, owner_id: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Request:
        headers: tuple[tuple[str, str], ...] = (("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", owner_id))
        if token:
            headers += (("x-machine-token", token),)
        client = f"10.0.0.{sum(owner_id.encode()) % 250}"
        payload = b"" if body is None else msgspec.json.encode(body)
        return Request("POST", f"/api/v1{path}", headers=headers, body=payload, client=client)

    def run(self, until_ns: int) -> None:
        """Have every machine do what it wants, in the order of its moments."""
        heapq.heapify(self._heap)
        while self._heap and self._heap[0][0] < until_ns:
            now_ns, index = heapq.heappop(self._heap)
            machine = self.machines[index]
            action = machine.action(now_ns)
            if action is not Action.WAIT:
                reply = self._do(machine, action, now_ns)
                self.answers.setdefault((index, action), []).append((now_ns, reply))
                if reply.status not in {200, 201}:
                    machine.refused(reply.status, now_ns, float(self._jitter.random()))
            heapq.heappush(self._heap, (machine.due_ns, index))

    def _do(self, machine: Machine, action: Action, now_ns: int) -> Reply:
        owner_id, worker_id, token = machine.owner_id, machine.worker_id, machine.token.decode()
        proof = (("x-machine-token", token), ("x-machine-certificate-id", machine.certificate_id))
        client = f"10.1.{machine.index // 250}.{machine.index % 250}"
        if action is Action.HEARTBEAT:
            instant = self.instant(now_ns)
            body = machine.heartbeat(instant.wall_ns, now_ns, self._nonces.hex(24), METRICS)
            reply = self.api.handle_heartbeat(worker_id, token, machine.certificate_id, body, client, instant)
            if reply.status == 200:
                machine.accepted(now_ns, machine.interval_ns)
            return reply
        if action is Action.FETCH_POLICY:
            path = f"/api/v1/workers/{worker_id}/policy"
            reply = self.ask(now_ns, Request("GET", path, headers=proof, client=client))
            if reply.status == 200:
                policy = decoded(reply)["policy"]
                machine.fetched_policy(policy["id"], policy["rules"], now_ns)
            return reply
        if action is Action.REGISTER:
            post = self._post(owner_id, "/machines/register", {"owner_id": owner_id, "name": machine.name})
        elif action is Action.CONSENT:
            policy_id = self.policies[owner_id]
            signature = sign_text(API_TOKEN.encode(), f"{owner_id}|{worker_id}|{policy_id}").decode()
            body_of = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
            post = self._post(owner_id, "/consents", body_of)
        else:
            post = self._post(owner_id, f"/machines/{worker_id}/certificate", token=token)
        reply = self.ask(now_ns, post)
        if reply.status in {200, 201}:
            data = decoded(reply)
            if action is Action.REGISTER:
                certificate_id = data["machine_certificate"]["certificate_id"]
                machine.registered(data["machine"]["id"], data["machine_token"], certificate_id, now_ns + ROTATION_NS)
            elif action is Action.CONSENT:
                machine.consented = True
            else:
                machine.rotated(data["certificate_id"], now_ns, now_ns + ROTATION_NS)
        return reply

    def statuses(self, action: Action, index: int | None = None) -> Counter[int]:
        """Count the answers to one kind of request by status, of one machine or of all."""
        return Counter(
            reply.status
            for (of, kind), replies in self.answers.items()
            if kind is action and index in {None, of}
            for _, reply in replies
        )

    def moments(self, action: Action, index: int) -> list[int]:
        return [now_ns for now_ns, _ in self.answers.get((index, action), [])]


def fleet(machines: int, interval_ns: int, **odd: Any) -> list[Machine]:
    made = [Machine(index, f"owner-{index % 3}", interval_ns, **odd) for index in range(machines)]
    for machine in made:
        machine.due_ns = interval_ns * machine.index // machines
    return made


def new_life(machines: list[Machine], **options: Any) -> Life:
    return Life(WatchedApi(STARTED, rate_limit_burst=1_000_000, **options), machines)


def audit_types(api: WatchedApi) -> Counter[str]:
    streams = [stream for owner in api.state.owners.values() for stream in (owner.notable, owner.refused)]
    return Counter(stream.type_of(at) for stream in streams for at in range(len(stream)))


def test_a_fleet_lives_for_an_hour_and_every_heartbeat_is_accepted() -> None:
    """Registration, consent, policy, heartbeats, rotation before the certificate's end: nothing is ever refused."""
    machines = fleet(24, 30 * SECOND_NS)
    life = new_life(machines)
    life.run(60 * MINUTE_NS)
    for action in (Action.REGISTER, Action.CONSENT, Action.FETCH_POLICY):
        assert life.statuses(action).total() == 24
    assert set(life.statuses(Action.HEARTBEAT)) == {200}
    assert all(life.statuses(Action.HEARTBEAT, machine.index).total() == 120 for machine in machines)
    assert all(life.statuses(Action.ROTATE, machine.index) == {200: 4} for machine in machines)
    assert life.api.heartbeats_accepted == 24 * 120
    assert life.api.state.failures.total == 0
    assert audit_types(life.api) == {
        "machine_registered": 24, "consent_created": 24, "machine_certificate_issued": 96,
        "policy_created": 3, "policy_activated": 3,
    }  # fmt: skip
    summary = life.api.state.fleet.summary(life.instant(60 * MINUTE_NS).monotonic_ns)
    assert (summary.fresh, summary.stale, summary.unknown) == (24, 0, 0)


@settings(deadline=None, max_examples=examples(15))
@given(
    offset_ns=st.integers(-89, 89).map(lambda seconds: seconds * SECOND_NS),
    drift_ppm=st.floats(-200, 200),
)
def test_a_clock_wrong_within_the_window_is_accepted(offset_ns: int, drift_ppm: float) -> None:
    life = new_life(fleet(2, 20 * SECOND_NS, clock=ClockError(offset_ns, drift_ppm)))
    life.run(10 * MINUTE_NS)
    assert set(life.statuses(Action.HEARTBEAT)) == {200}


@pytest.mark.parametrize("seconds", [-120, 92, 86_400])
def test_a_clock_outside_the_window_is_refused_and_costs_one_rotation_a_minute(seconds: int) -> None:
    life = new_life(fleet(1, 2 * SECOND_NS, clock=ClockError(offset_ns=seconds * SECOND_NS)))
    life.run(20 * MINUTE_NS)
    assert set(life.statuses(Action.HEARTBEAT)) == {401}
    rotations = life.moments(Action.ROTATE, 0)
    assert len(rotations) > 5
    assert all(later - earlier >= HOLD_NS for earlier, later in pairwise(rotations))
    beats = life.moments(Action.HEARTBEAT, 0)
    assert len(beats) < 20 * 60 / 45 + 8, "it backs off to about a minute"
    assert life.api.state.failures.by_reason["timestamp_out_of_window"] == len(beats)


def test_it_goes_stale_in_its_silence_and_only_then() -> None:
    """What a scenario's silence is for: the server's alert must come and go with it."""
    silence = ((10 * MINUTE_NS, 20 * MINUTE_NS),)
    machines = fleet(10, 15 * SECOND_NS, silence=silence) + fleet(10, 15 * SECOND_NS)
    for index, machine in enumerate(machines):
        machine.index, machine.name = index, f"machine {index}"
    life = new_life(machines)
    stale = []
    for minute in range(1, 31):
        life.run(minute * MINUTE_NS)
        stale.append(life.api.state.fleet.summary(life.instant(minute * MINUTE_NS).monotonic_ns).stale)
    assert stale == [0] * 10 + [10] * 10 + [0] * 10
    for machine in machines[:10]:
        sent = [now_ns for action in Action for now_ns in life.moments(action, machine.index)]
        assert not [now_ns for now_ns in sent if silence[0][0] <= now_ns < silence[0][1]]
        assert silence[0][1] in sent
    assert set(life.statuses(Action.HEARTBEAT)) == {200}


def test_a_certificate_that_is_taken_away_is_replaced_after_one_refusal() -> None:
    """Somebody else rotates it: the next heartbeat gets 401, the machine rotates, and is accepted again."""
    life = new_life(fleet(1, 10 * SECOND_NS))
    life.run(2 * MINUTE_NS)
    machine = life.machines[0]
    owner, token = machine.owner_id, machine.token.decode()
    taken = life._post(owner, f"/machines/{machine.worker_id}/certificate", token=token)
    assert life.ask(2 * MINUTE_NS, taken).status == 200
    before = life.statuses(Action.HEARTBEAT)[200]
    life.run(4 * MINUTE_NS)
    assert life.statuses(Action.HEARTBEAT)[401] == 1
    assert life.statuses(Action.ROTATE) == {200: 1}
    assert life.statuses(Action.HEARTBEAT)[200] >= before + 10


def test_a_new_policy_is_fetched_when_the_old_consent_ends() -> None:
    """After a revoke a machine gets 403, fetches what it has consent for now, and goes on under that."""
    life = new_life(fleet(1, 10 * SECOND_NS))
    life.run(2 * MINUTE_NS)
    (machine,) = life.machines
    owner, old = machine.owner_id, machine.policy_id
    (consent,) = life.api.state.consents.values()
    life.owner(2 * MINUTE_NS, owner, f"/consents/{consent.id}/revoke")
    life.run(3 * MINUTE_NS)
    forbidden = life.statuses(Action.HEARTBEAT)[403]
    assert forbidden == 1, "without a policy there is nothing to send heartbeats for"
    assert life.statuses(Action.FETCH_POLICY)[403] >= 2
    rules = '{"max_cpu_percent":40}'
    new = life.owner(3 * MINUTE_NS, owner, "/policies", {
        "owner_id": owner,
        "rules": {"max_cpu_percent": 40},
        "signature": sign_text(API_TOKEN.encode(), f"{owner}|{rules}").decode(),
    })["id"]  # fmt: skip
    life.owner(3 * MINUTE_NS, owner, f"/policies/{new}/activate")
    life.owner(3 * MINUTE_NS, owner, "/consents", {
        "owner_id": owner,
        "worker_id": machine.worker_id,
        "policy_id": new,
        "signature": sign_text(API_TOKEN.encode(), f"{owner}|{machine.worker_id}|{new}").decode(),
    })  # fmt: skip
    life.run(6 * MINUTE_NS)
    assert machine.policy_id == new != old
    assert machine.rules == {"max_cpu_percent": 40}
    assert life.statuses(Action.HEARTBEAT)[403] == forbidden
    (worker,) = life.api.state.workers.values()
    assert worker.policy_id == new
