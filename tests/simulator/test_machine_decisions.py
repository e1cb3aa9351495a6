from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reference_server.wire.units import SECOND_NS
from simulator.fleet.machine import (
    BACK_OFF_DOUBLINGS_MAX,
    BACK_OFF_MAX_NS,
    HOLD_NS,
    Action,
    Machine,
    back_off_ns,
)
from tests.support.tiers import examples

MINUTE_NS = 60 * SECOND_NS
HEARTBEATS = st.sampled_from([SECOND_NS // 10, SECOND_NS, 5 * SECOND_NS, 30 * SECOND_NS, 90 * SECOND_NS])
JITTERS = st.floats(0, 1, exclude_max=True)
MENDABLE = (401, 403)
OTHER_FAILURES = (0, 429, 500, 503)


def lengths(longest_ns: int) -> st.SearchStrategy[int]:
    """Lengths of time spread over their whole range; plain integers would nearly all be close to zero."""
    return st.integers(0, 1000).map(lambda share: longest_ns * share // 1000) | st.integers(0, longest_ns)


silences = st.lists(
    st.tuples(lengths(5 * MINUTE_NS), lengths(5 * MINUTE_NS)).map(lambda one: (one[0], sum(one) + 1)),
    max_size=3,
).map(tuple)


def within_spread(wait_ns: int, base_ns: int) -> bool:
    """Return whether a wait is a base, spread by a quarter to both sides."""
    return Fraction(3, 4) * base_ns - 1 <= wait_ns <= Fraction(5, 4) * base_ns


class MachineLife(RuleBasedStateMachine):
    """Drives one machine as a world does, against a plain model of what it owes the server."""

    @initialize(interval_ns=HEARTBEATS, silence=silences)
    def start(self, interval_ns: int, silence: tuple[tuple[int, int], ...]) -> None:
        self.machine = Machine(0, "ada", interval_ns, silence=silence)
        self.interval_ns = interval_ns
        self.silence = silence
        self.now_ns = 0
        self.due_ns = 0
        self.step = Action.REGISTER
        self.failures = 0
        self.certificate_until_ns = 0
        self.must_rotate = False
        self.healed_ns: dict[int, int] = {}
        self.certificates = 0

    def expected(self) -> Action:
        """What a machine that is due has to do, by the design's words."""
        if self.quiet_until(self.now_ns) is not None:
            return Action.WAIT
        if self.step is Action.HEARTBEAT and (self.must_rotate or self.now_ns >= self.certificate_until_ns):
            return Action.ROTATE
        return self.step

    def quiet_until(self, moment_ns: int) -> int | None:
        for start_ns, end_ns in self.silence:
            if start_ns <= moment_ns < end_ns:
                return end_ns
        return None

    def turn(self) -> Action:
        """Ask a due machine what it does."""
        expected = self.expected()
        action = self.machine.action(self.now_ns)
        assert action is expected
        return action

    def may_heal(self, status: int) -> bool:
        """Return whether a hold is over: nothing was mended for this reason within the last minute."""
        return self.now_ns - self.healed_ns.get(status, -HOLD_NS) >= HOLD_NS

    @rule(step_ns=lengths(90 * SECOND_NS))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule(late_ns=lengths(SECOND_NS))
    def its_time_comes(self, late_ns: int) -> None:
        self.now_ns = max(self.now_ns, self.due_ns + late_ns)

    @precondition(lambda self: self.now_ns < self.due_ns)
    @rule()
    def nothing_is_done_before_it_is_due(self) -> None:
        assert self.machine.action(self.now_ns) is Action.WAIT
        assert self.machine.due_ns == self.due_ns

    @precondition(lambda self: self.now_ns >= self.due_ns)
    @rule(life_ns=lengths(3 * MINUTE_NS).map(lambda life_ns: life_ns + SECOND_NS))
    def it_acts_and_succeeds(self, life_ns: int) -> None:
        machine, now_ns, planned_ns = self.machine, self.now_ns, self.due_ns
        match self.turn():
            case Action.REGISTER:
                self.certificates = 1
                self.certificate_until_ns = now_ns + life_ns
                machine.registered("wrk_1", "aa", "mcert_1", self.certificate_until_ns)
                self.step = Action.CONSENT
            case Action.CONSENT:
                machine.consented = True
                self.step = Action.FETCH_POLICY
            case Action.FETCH_POLICY:
                machine.fetched_policy("pol_1", {"max_cpu_percent": 50}, now_ns)
                self.healed_ns[403] = now_ns
                self.step = Action.HEARTBEAT
            case Action.ROTATE:
                self.certificates += 1
                self.certificate_until_ns = now_ns + life_ns
                machine.rotated(f"mcert_{self.certificates}", now_ns, self.certificate_until_ns)
                self.healed_ns[401] = now_ns
                self.must_rotate = False
            case Action.HEARTBEAT:
                machine.accepted(planned_ns, self.interval_ns)
                self.failures = 0
                self.due_ns = planned_ns + self.interval_ns
            case Action.WAIT:
                self.due_ns = self.quiet_until(now_ns) or 0
        assert machine.due_ns == self.due_ns

    @precondition(lambda self: self.now_ns >= self.due_ns)
    @rule(
        status=st.sampled_from([*MENDABLE, *OTHER_FAILURES]),
        jitter=JITTERS,
        retry_after_ns=st.just(0) | lengths(3 * MINUTE_NS),
    )
    def it_acts_and_is_refused(self, status: int, jitter: float, retry_after_ns: int) -> None:
        machine, now_ns = self.machine, self.now_ns
        if self.turn() is Action.WAIT:
            self.due_ns = self.quiet_until(now_ns) or 0
            return
        machine.refused(status, now_ns, jitter, retry_after_ns)
        if status in MENDABLE and self.may_heal(status):
            self.healed_ns[status] = now_ns
            if status == 401:
                self.must_rotate = True
            elif self.step is Action.HEARTBEAT:
                self.step = Action.FETCH_POLICY
        base_ns = min(max(self.interval_ns, SECOND_NS) * 2 ** min(self.failures, BACK_OFF_DOUBLINGS_MAX), MINUTE_NS)
        wait_ns = machine.due_ns - now_ns
        assert wait_ns >= retry_after_ns
        assert wait_ns == retry_after_ns or within_spread(wait_ns, base_ns)
        self.failures += 1
        self.due_ns = machine.due_ns

    @precondition(lambda self: self.step is Action.HEARTBEAT)
    @rule()
    def its_owner_has_it_rotate(self) -> None:
        self.machine.rotate_due = True
        self.must_rotate = True

    @invariant()
    def it_knows_its_certificates(self) -> None:
        """The certificate before the newest one is remembered, so that an attack can try it."""
        if getattr(self, "certificates", 0):
            assert self.machine.certificate_id == f"mcert_{self.certificates}"
            before = f"mcert_{self.certificates - 1}" if self.certificates > 1 else ""
            assert self.machine.previous_certificate_id == before


TestMachineLife = MachineLife.TestCase
MachineLife.TestCase.settings = settings(deadline=None, max_examples=examples(80), stateful_step_count=60)


def enrolled(interval_ns: int = SECOND_NS, silence: tuple[tuple[int, int], ...] = ()) -> Machine:
    machine = Machine(0, "ada", interval_ns, silence=silence)
    machine.registered("wrk_1", "aa", "mcert_1", 10**18)
    machine.consented = True
    machine.fetched_policy("pol_1", {}, -HOLD_NS)
    return machine


@given(moments=st.lists(lengths(90 * SECOND_NS), min_size=2, max_size=40))
def test_however_often_it_is_refused_it_rotates_at_most_once_a_minute(moments: list[int]) -> None:
    """Rotating is what a 401 asks for, but a machine that a 401 cannot help must not wear its server out."""
    machine = enrolled()
    rotations: list[int] = []
    now_ns = 0
    for passed_ns in moments:
        now_ns += passed_ns
        machine.refused(401, now_ns, 0.5)
        if machine.rotate_due:
            rotations.append(now_ns)
            machine.rotated("mcert_2", now_ns, 10**18)
    assert all(later - earlier >= MINUTE_NS for earlier, later in pairwise(rotations))
    assert rotations[0] == moments[0]


@given(moments=st.lists(lengths(90 * SECOND_NS), min_size=2, max_size=40))
def test_however_often_it_is_forbidden_it_refetches_its_policy_at_most_once_a_minute(moments: list[int]) -> None:
    machine = enrolled()
    fetches: list[int] = []
    now_ns = 0
    for passed_ns in moments:
        now_ns += passed_ns
        machine.refused(403, now_ns, 0.5)
        if not machine.policy_id:
            fetches.append(now_ns)
            machine.fetched_policy("pol_2", {}, now_ns)
    assert all(later - earlier >= MINUTE_NS for earlier, later in pairwise(fetches))
    assert fetches[0] == moments[0]


@pytest.mark.parametrize(("after_ns", "heals"), [(0, False), (HOLD_NS - 1, False), (HOLD_NS, True)])
def test_what_was_renewed_for_any_reason_is_not_renewed_again_within_the_hold(
    after_ns: int,
    heals: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A certificate that was rotated because its time had come is as fresh as one that was rotated after a 401."""
    machine = enrolled()
    machine.rotated("mcert_2", 7 * MINUTE_NS, 10**18)
    machine.refused(401, 7 * MINUTE_NS + after_ns, 0.5)
    assert machine.rotate_due is heals
    machine.fetched_policy("pol_2", {}, 7 * MINUTE_NS)
    machine.refused(403, 7 * MINUTE_NS + after_ns, 0.5)
    assert (machine.policy_id == "") is heals


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_other_failures_mend_nothing(status: int) -> None:
    machine = enrolled()
    machine.refused(status, 0, 0.5)
    assert machine.action(machine.due_ns) is Action.HEARTBEAT


@given(interval_ns=lengths(10 * MINUTE_NS), jitter=JITTERS)
def test_back_off_doubles_up_to_a_minute_and_stays_there(interval_ns: int, jitter: float) -> None:
    """With equal jitter each wait is twice the one before, until the cap."""
    waits = [back_off_ns(interval_ns, failures, jitter) for failures in range(40)]
    assert all(earlier <= later for earlier, later in pairwise(waits))
    assert within_spread(waits[0], min(max(interval_ns, SECOND_NS), BACK_OFF_MAX_NS))
    assert within_spread(waits[-1], MINUTE_NS)
    for earlier, later in pairwise(waits):
        assert later == waits[-1] or abs(later - 2 * earlier) <= 2


@given(failures=st.integers(0, 10_000), low=JITTERS, high=JITTERS)
def test_jitter_spreads_a_fleet_over_half_of_its_wait(failures: int, low: float, high: float) -> None:
    assume(low < high)
    spread_ns = back_off_ns(SECOND_NS, failures, high) - back_off_ns(SECOND_NS, failures, low)
    base_ns = back_off_ns(SECOND_NS, failures, 0.5)
    assert abs(spread_ns - Fraction(base_ns, 2) * (Fraction(high) - Fraction(low))) <= 2


@given(lateness=st.lists(lengths(3 * SECOND_NS), min_size=1, max_size=30))
def test_its_schedule_counts_from_planned_starts_however_late_it_comes_to_act(lateness: list[int]) -> None:
    """A slow answer must not push later heartbeats back, or waiting in a queue would hide in the schedule."""
    machine = enrolled()
    for number, late_ns in enumerate(lateness):
        planned_ns = machine.due_ns
        assert planned_ns == number * SECOND_NS
        assert machine.action(planned_ns + late_ns) is Action.HEARTBEAT
        machine.accepted(planned_ns, SECOND_NS)


SILENCE = (20 * SECOND_NS, 40 * SECOND_NS)
EDGES = [edge_ns + off_ns for edge_ns in SILENCE for off_ns in (-1, 0, 1)]


@given(before_ns=lengths(MINUTE_NS), moment_ns=lengths(MINUTE_NS) | st.sampled_from(EDGES), rotating=st.booleans())
def test_silence_is_kept_to_the_nanosecond(before_ns: int, moment_ns: int, *, rotating: bool) -> None:
    """In a silence it sends nothing at all, not even what keeps its certificate alive; at its end it is due."""
    start_ns, end_ns = SILENCE
    for machine in (
        enrolled(silence=((start_ns, end_ns),)),
        Machine(1, "ada", SECOND_NS, silence=((start_ns, end_ns),)),
    ):
        machine.rotate_due = rotating
        machine.due_ns = min(before_ns, moment_ns)
        acted = machine.action(moment_ns)
        if start_ns <= moment_ns < end_ns:
            assert acted is Action.WAIT
            assert machine.due_ns == end_ns
            assert machine.action(end_ns - 1) is Action.WAIT
            assert machine.action(end_ns) is not Action.WAIT
        else:
            assert acted is not Action.WAIT
