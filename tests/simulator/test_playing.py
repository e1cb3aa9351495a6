"""What a shard's machines send and what is made of the answers, against a plain model and without a socket."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.client.answers import HttpAnswer
from simulator.client.link import LinkState
from simulator.client.target import parse_target
from simulator.client.witness import Witness
from simulator.contract.answers import Answer
from simulator.fleet.machine import HOLD_NS, Machine
from simulator.history.losses import Loss
from simulator.history.rows import NEVER_NS, History
from simulator.worlds.playing import Playing
from simulator.worlds.progress import Progress
from tests.simulator.conftest import API_TOKEN, METRICS, POLICY_ID, WORKER_TOKEN

if TYPE_CHECKING:
    from simulator.client.link import Link

MACHINES = 3
INTERVAL_NS = SECOND_NS
PATIENCE_NS = 10 * SECOND_NS
WALL_START_NS = 1_790_000_000 * SECOND_NS
ACCEPTED = b'{"success":true,"data":{"accepted":true}}'
REFUSALS = {401: b"invalid heartbeat auth", 403: b"no active consent for worker/policy", 429: b"rate limit exceeded"}
MOMENTS = st.sampled_from([1, 300, 1_000, 2_500, 12_000]).map(lambda count: count * MILLISECOND_NS)


class Fleet(RuleBasedStateMachine):
    """Machines that are started, stopped, answered, refused and lost in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = SECOND_NS
        self.history, self.progress = History(), Progress()
        witness = Witness(self.history, lambda: self.now_ns)
        self.calling: list[Machine] = []
        target = parse_target("http://127.0.0.1:1", API_TOKEN)
        rng = np.random.default_rng(1)
        self.playing = Playing(
            target, self.history, self.progress, rng, witness, lambda _: METRICS, self.calling.append, jitter=0.0
        )
        self.machines = [Machine(index, "ada", INTERVAL_NS) for index in range(MACHINES)]
        for machine in self.machines:
            machine.registered(f"wrk_{machine.index:016x}", WORKER_TOKEN, f"mcert_{machine.index:020x}", 1 << 62)
            machine.consented = machine.stopped = True
            machine.fetched_policy(POLICY_ID, {}, -HOLD_NS)
        self.waiting: dict[int, Link] = {}
        self.nonces: set[bytes] = set()
        self.ended_rows = 0
        for index in range(MACHINES):
            self._start(index)

    def _start(self, index: int) -> None:
        machine = self.machines[index]
        machine.stopped = False
        machine.due_ns = self.now_ns
        self.playing.resume(machine, self.now_ns)
        self._run()

    def _run(self) -> None:
        """Do what a shard does: take what is due, and send it."""
        due = self.playing.due
        while due and due[0][0] <= self.now_ns:
            planned_ns, _, turn = heapq.heappop(due)
            assert isinstance(turn, Machine)
            link = self.playing.next_heartbeat(turn, planned_ns, self.now_ns, WALL_START_NS + self.now_ns)
            if link is not None:
                assert turn.index not in self.waiting, "one request at a time"
                assert not turn.stopped
                assert self.now_ns - INTERVAL_NS < link.planned_ns <= self.now_ns
                assert link.nonce not in self.nonces
                self.nonces.add(link.nonce)
                link.state, link.sent_ns, link.rested_ns = LinkState.WAITING, self.now_ns, -1
                self.waiting[turn.index] = link

    @rule(passed_ns=MOMENTS)
    def time_passes(self, passed_ns: int) -> None:
        self.now_ns += passed_ns
        self._run()

    @rule(index=st.integers(0, MACHINES - 1))
    def one_starts_again(self, index: int) -> None:
        if self.machines[index].stopped and self.machines[index] not in self.calling:
            self._start(index)

    @rule(index=st.integers(0, MACHINES - 1))
    def one_stops(self, index: int) -> None:
        link = self.playing.stop_machine(self.machines[index])
        assert link is None or index not in self.waiting

    @precondition(lambda self: self.calling)
    @rule()
    def the_control_plane_is_done(self) -> None:
        machine = self.calling.pop(0)
        machine.rotated(f"mcert_{self.now_ns:020x}", self.now_ns, 1 << 62)
        machine.fetched_policy(POLICY_ID, {}, self.now_ns)
        if not machine.stopped:
            self.playing.resume(machine, self.now_ns)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0), status=st.sampled_from([200, 200, 200, 401, 403, 429, 500]), after_ns=MOMENTS)
    def an_answer_comes(self, pick: int, status: int, after_ns: int) -> None:
        self.now_ns += after_ns
        index = sorted(self.waiting)[pick % len(self.waiting)]
        link, machine = self.waiting.pop(index), self.machines[index]
        error = REFUSALS.get(status, b"internal server error")
        body = ACCEPTED if status == 200 else b'{"success":false,"error":"%b"}' % error
        planned_ns, failures = link.planned_ns, machine.failures
        keep = self.playing.answered(link, HttpAnswer(status, b"HTTP/1.1 %d X" % status, body, keep=True), self.now_ns)
        self.ended_rows += 1
        assert keep != machine.stopped
        if machine.stopped:
            return
        if status == 200:
            assert (machine.due_ns - planned_ns) % INTERVAL_NS == 0, "its rhythm is kept"
            assert machine.due_ns > self.now_ns - INTERVAL_NS
        else:
            assert machine.failures == failures + 1
        self._run()

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0))
    def an_answer_is_lost(self, pick: int) -> None:
        index = sorted(self.waiting)[pick % len(self.waiting)]
        link = self.waiting.pop(index)
        link.state = LinkState.CLOSED
        self.playing.lost(link, self.now_ns, "", Loss.CUT, sent=True)
        self.ended_rows += 1
        assert self.history.rows()[-1]["answered_ns"] == NEVER_NS
        assert self.machines[index].stopped or self.machines[index].due_ns > self.now_ns

    @rule()
    def what_is_overdue_has_waited_too_long(self) -> None:
        overdue = {link.subject for link in self.playing.overdue(self.now_ns, PATIENCE_NS)}
        late = {index for index, link in self.waiting.items() if self.now_ns - link.sent_ns > PATIENCE_NS}
        assert overdue == late

    @invariant()
    def every_request_is_counted_once(self) -> None:
        progress = self.progress
        assert progress.in_flight == len(self.waiting)
        assert progress.accepted + progress.refused + progress.lost == self.ended_rows == len(self.history)
        got = self.history.rows()["got"]
        assert progress.accepted == int((got == Answer.ACCEPTED).sum())
        assert progress.lost == int((got == Answer.LOST).sum())

    @invariant()
    def whoever_takes_part_has_a_turn_to_come(self) -> None:
        turns = {(planned_ns, turn.index) for planned_ns, _, turn in self.playing.due if isinstance(turn, Machine)}
        for machine in self.machines:
            if not machine.stopped and machine.index not in self.waiting and machine not in self.calling:
                assert (machine.due_ns, machine.index) in turns


Fleet.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestFleet = Fleet.TestCase
