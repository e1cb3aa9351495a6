"""The nonce store by itself, against a plain list of what it reserved (contract §4, replay horizon)."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_server.core.bounds import StateBounds
from reference_server.core.nonces import NonceMemory, nonce_key
from reference_server.limits import (
    NONCE_GENERATIONS,
    NONCE_STRETCHES_MAX,
    NONCES_A_MACHINE_MAX,
    NONCES_ASIDE_MAX,
    NONCES_MAX,
)
from reference_server.ports import Reservation
from reference_server.wire.values import Instant
from tests.core.server_under_test import CERTIFICATE_LIFE, SECOND, Machine, Server, owner_headers
from tests.support.tiers import examples

TTL, SKEW = 300 * SECOND, 90 * SECOND
START = Instant(1_790_000_000 * SECOND, 5_000 * SECOND)
DAY_SECONDS = 86_400
NEVER = -(1 << 63)


class Use(NamedTuple):
    """A nonce is used: after a wait, and after the wall clock was set, by a machine that is so much off that clock."""

    wait: int
    step: int
    key: int
    stamp_offset: int


WAITS = st.one_of(st.integers(0, 20), st.sampled_from([74, 75, 76, 150, 225, 299, 300, 301, 375, 376, 1500]))
STEPS = st.one_of(st.just(0), st.sampled_from([-2, 2, -60, 60, -200, 200, -3600, 3600, -DAY_SECONDS, DAY_SECONDS]))
USES = st.lists(st.builds(Use, WAITS, STEPS, st.integers(0, 5), st.integers(-90, 90)), max_size=30)


class World:
    """A nonce memory behind the check of the window, as a heartbeat meets it, and a list of all it has accepted."""

    def __init__(self, nonces_max: int = 1_000, aside_max: int = NONCES_ASIDE_MAX) -> None:
        self._aside_max = aside_max
        self.memory = NonceMemory(TTL, SKEW, nonces_max, aside_max)
        self.now = START
        self.accepted: list[tuple[int, int, int]] = []

    def wait(self, seconds: int, step: int = 0) -> None:
        """Have time pass, and then set the wall clock."""
        passed = seconds * SECOND
        self.now = Instant(self.now.wall_ns + passed + step * SECOND, self.now.monotonic_ns + passed)

    def send(self, key: int, stamp_ns: int) -> Reservation | None:
        """Send a heartbeat; None where it is stamped outside of the window."""
        self.memory.expire(self.now)
        if abs(self.now.wall_ns - stamp_ns) > SKEW or self.memory.may_have_forgotten(stamp_ns):
            return None
        outcome = self.memory.reserve(key, stamp_ns, self.now)
        if outcome is Reservation.RESERVED:
            self.accepted.append((key, stamp_ns, self.now.monotonic_ns))
        return outcome

    def restart(self) -> None:
        """Take what is kept over into a new memory, by way of the wall clock, as a state file does."""
        old, shift = self.memory, self.now.wall_ns - self.now.monotonic_ns
        kept = [one._replace(since_ns=one.since_ns + shift) for one in old.dump() if one.nonces]
        lag_ns = old.lag_ns(self.now)
        self.now = Instant(self.now.wall_ns + 5 * SECOND, 7 * SECOND)
        self.memory = NonceMemory(TTL, SKEW, 1_000, self._aside_max)
        back = self.now.wall_ns - self.now.monotonic_ns
        again = [one._replace(since_ns=one.since_ns - back) for one in kept]
        self.memory.load(self.now, old.horizon_ns, again, old.forgotten, lag_ns)
        self.accepted = [(key, stamp_ns, 0) for key, stamp_ns, _ in self.accepted]


@settings(max_examples=examples(150), deadline=None)
@example(uses=[Use(0, 0, 1, 0), Use(75, 0, 2, 0), Use(301, -376, 1, 0)], aside_max=3, restart_at=30)
@example(uses=[Use(0, DAY_SECONDS, 1, 0), Use(10, -DAY_SECONDS, 2, 0), Use(1500, 0, 3, 0)], aside_max=3, restart_at=30)
@given(uses=USES, aside_max=st.integers(0, 3), restart_at=st.integers(0, 30))
def test_no_heartbeat_is_accepted_twice_whatever_the_wall_clock_is_set_to(
    uses: list[Use], aside_max: int, restart_at: int
) -> None:
    """Each that was ever accepted is sent again and again; over a restart, and when few may be kept aside."""
    world = World(aside_max=aside_max)
    for at, use in enumerate(uses):
        if at == restart_at:
            world.restart()
        world.wait(use.wait, use.step)
        horizon_before = world.memory.horizon_ns
        for key, stamp_ns, _ in [*world.accepted]:
            assert world.send(key, stamp_ns) is not Reservation.RESERVED
        assert world.send(use.key, world.now.wall_ns + use.stamp_offset * SECOND) is not Reservation.UNAVAILABLE
        assert world.memory.horizon_ns >= horizon_before
        assert world.memory.horizon_ns in {NEVER, *(stamp_ns for _, stamp_ns, _ in world.accepted)}
        for key, stamp_ns, accepted_ns in world.accepted:
            if world.now.monotonic_ns - accepted_ns <= TTL and abs(world.now.wall_ns - stamp_ns) <= SKEW:
                assert world.send(key, stamp_ns) is Reservation.REPLAYED or restart_at <= at


@settings(max_examples=examples(200), deadline=None)
@given(
    ahead=st.sampled_from([200, 3600, DAY_SECONDS, 30 * DAY_SECONDS]),
    before=st.integers(0, 1000),
    beats_ahead=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    after=st.lists(st.integers(0, 400), max_size=30),
    aside_max=st.sampled_from([0, 3, 1000]),
    restarts=st.booleans(),
)
def test_a_clock_that_ran_ahead_and_came_back_locks_nobody_out(
    ahead: int, before: int, beats_ahead: list[int], after: list[int], aside_max: int, *, restarts: bool
) -> None:
    """However long it was ahead: a machine with the right time is accepted 2 x skew after it came back, and on.

    When the time comes that the clock ran ahead to, so it is as well if all nonces of then could be kept.
    """
    world = World(aside_max=aside_max)
    assert world.send(0, world.now.wall_ns) is Reservation.RESERVED
    world.wait(before, ahead)
    for key, wait in enumerate(beats_ahead, 1):
        world.wait(wait)
        world.send(key, world.now.wall_ns)
    if restarts:
        world.restart()
    world.wait(0, -ahead)
    world.wait(180)
    for key, wait in enumerate(after, 1_000):
        world.wait(wait)
        kept = aside_max == 1000
        if kept or world.now.wall_ns < START.wall_ns + before * SECOND + (ahead - 90) * SECOND:
            assert world.send(key, world.now.wall_ns) is Reservation.RESERVED
    world.wait(ahead)
    if aside_max == 1000:
        assert world.send(5_000, world.now.wall_ns) is Reservation.RESERVED
    for key, stamp_ns, _ in [*world.accepted]:
        assert world.send(key, stamp_ns) is not Reservation.RESERVED


def test_what_a_clock_that_ran_ahead_left_behind_gives_way_to_what_is_accepted_now() -> None:
    """The memory's bound is never reached on account of stamps that only a clock which is gone may judge."""
    world = World(nonces_max=10)
    world.wait(0, DAY_SECONDS)
    assert [world.send(key, world.now.wall_ns) for key in range(10)] == [Reservation.RESERVED] * 10
    world.wait(10, -DAY_SECONDS)
    assert world.send(11, world.now.wall_ns) is Reservation.UNAVAILABLE
    world.wait(400)
    assert [world.send(key, world.now.wall_ns) for key in range(20, 30)] == [Reservation.RESERVED] * 10
    world.wait(DAY_SECONDS - 410)
    assert world.send(40, world.now.wall_ns) is None


def test_what_two_clocks_stamped_is_kept_apart_and_what_lies_between_is_not_refused() -> None:
    """The one that ran a day ahead and the one that ran ten may both be forgotten; the days between never were."""
    world = World(nonces_max=10)
    for days in (1, 10):
        world.wait(0, days * DAY_SECONDS)
        assert world.send(days, world.now.wall_ns) is Reservation.RESERVED
        world.wait(400, -days * DAY_SECONDS)
        assert world.send(100 + days, world.now.wall_ns) is Reservation.RESERVED
    world.wait(400)
    assert Reservation.UNAVAILABLE in [world.send(key, world.now.wall_ns) for key in range(200, 211)]
    assert len(world.memory.forgotten) == 2
    world.wait(2 * DAY_SECONDS)
    assert world.send(300, world.now.wall_ns) is Reservation.RESERVED
    for key, stamp_ns, _ in [*world.accepted]:
        world.now = Instant(stamp_ns, world.now.monotonic_ns)
        assert world.send(key, stamp_ns) is not Reservation.RESERVED


def test_stretches_of_time_that_are_refused_are_bounded() -> None:
    """The two that are nearest become one; none of what was accepted is accepted again."""
    world = World(aside_max=0)
    world.send(0, world.now.wall_ns)
    for number in range(1, 4 * NONCE_STRETCHES_MAX):
        ahead = number * number * DAY_SECONDS
        world.wait(0, ahead)
        assert world.send(number, world.now.wall_ns) is Reservation.RESERVED
        world.wait(400, -ahead)
        assert world.send(100 + number, world.now.wall_ns) is Reservation.RESERVED
        assert len(world.memory.forgotten) <= NONCE_STRETCHES_MAX
    for key, stamp_ns, _ in [*world.accepted]:
        world.now = Instant(stamp_ns, world.now.monotonic_ns)
        assert world.send(key, stamp_ns) is not Reservation.RESERVED


@settings(max_examples=examples(200), deadline=None)
@given(uses=USES, nonces_max=st.integers(1, 5))
def test_a_full_store_says_so_rather_than_forget(uses: list[Use], nonces_max: int) -> None:
    world = World(nonces_max)
    reserved: dict[int, int] = {}
    for use in uses:
        world.wait(use.wait)
        outcome = world.send(use.key, world.now.wall_ns)
        assert len(world.memory) <= nonces_max
        live = {key for key, at in reserved.items() if world.now.monotonic_ns - at <= TTL}
        assert (use.key not in live) or outcome is Reservation.REPLAYED
        if len(live) == nonces_max and use.key not in live:
            assert outcome is Reservation.UNAVAILABLE
        if outcome is Reservation.RESERVED:
            reserved[use.key] = world.now.monotonic_ns


def test_a_full_store_heals_when_its_nonces_have_lived() -> None:
    world = World(2)
    assert [world.send(key, START.wall_ns) for key in (1, 2)] == [Reservation.RESERVED] * 2
    world.wait(1)
    assert world.send(3, world.now.wall_ns) is Reservation.UNAVAILABLE
    # A generation is closed a quarter of the time to live after it began, and lives the whole of it from then on.
    world.wait(74)
    assert world.send(3, world.now.wall_ns) is Reservation.UNAVAILABLE
    world.wait(301)
    assert world.send(3, world.now.wall_ns) is Reservation.RESERVED
    assert (len(world.memory), world.memory.horizon_ns) == (1, START.wall_ns)


@settings(max_examples=examples(100), deadline=None)
@given(waits=st.lists(st.integers(1, 75), min_size=1, max_size=60))
def test_under_traffic_a_nonce_is_forgotten_within_twice_its_life(waits: list[int]) -> None:
    world = World(10_000)
    for key, wait in enumerate(waits):
        world.wait(wait)
        world.send(key, world.now.wall_ns)
        accepted = [at for _, _, at in world.accepted]
        assert len(world.memory) <= sum(world.now.monotonic_ns - at <= 2 * TTL for at in accepted)


@given(first=st.tuples(st.integers(0, 10**6), st.text()), second=st.tuples(st.integers(0, 10**6), st.text()))
def test_the_name_of_a_nonce_is_its_own_and_its_workers(first: tuple[int, str], second: tuple[int, str]) -> None:
    assert (nonce_key(*first) == nonce_key(*second)) is (first == second)
    assert nonce_key(first[0], second[1]) != nonce_key(first[0] + 1, second[1])


def test_expiring_raises_the_horizon_without_a_new_nonce() -> None:
    world = World()
    world.send(1, first := START.wall_ns)
    world.wait(80)
    world.send(2, world.now.wall_ns)
    world.wait(300)
    world.memory.expire(world.now)
    assert (world.memory.horizon_ns, len(world.memory)) == (NEVER, 2)
    world.wait(1)
    world.memory.expire(world.now)
    assert (world.memory.horizon_ns, len(world.memory)) == (first, 1)


# -- through the API


def rotated(server: Server, machine: Machine) -> Machine:
    headers = {**owner_headers(machine.owner_id), "x-machine-token": machine.token}
    certificate = server.send("POST", f"/machines/{machine.id}/certificate", None, headers).data
    return machine._replace(certificate=certificate)


@pytest.mark.parametrize("wait", [0, 60, 90, 225, 299, 300, 301, 376, 600, 1200])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_replay_is_refused_when_the_wall_clock_steps_back_to_it(server: Server, wait: int, *, quiet: bool) -> None:
    """Above all by the very request on whose account its nonce is forgotten."""
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    captured = server.heartbeat_body(machine, policy_id, "victim")
    taken_at = server.now.wall_ns
    assert server.send("POST", f"/workers/{machine.id}/heartbeat", captured, machine.headers).status == 200
    server.pass_time(80 * SECOND)
    assert server.beat(machine, policy_id, "next").status == 200
    for beat in range(0 if quiet else 10):
        server.pass_time(wait * SECOND // 10)
        if server.now.monotonic_ns % 2 == 0 and wait * SECOND < CERTIFICATE_LIFE:
            assert server.beat(machine, policy_id, f"{beat}").status == 200
    server.pass_time(wait * SECOND if quiet else 0)
    machine = rotated(server, machine)
    server.step_wall(taken_at - server.now.wall_ns)
    for _ in range(2):
        answer = server.send("POST", f"/workers/{machine.id}/heartbeat", captured, machine.headers)
        assert answer.error == (401, "invalid heartbeat auth")


def test_the_same_nonce_is_free_for_another_machine(server: Server) -> None:
    policy_id = server.policy()
    for _ in range(3):
        machine = server.register()
        server.consent(machine, policy_id)
        assert server.beat(machine, policy_id, "1|").status == 400
        assert server.beat(machine, policy_id, "1").status == 200
        assert server.beat(machine, policy_id, "1").status == 401


def test_a_nonce_stays_used_after_a_rotation_and_a_new_policy(server: Server) -> None:
    machine = server.register()
    first, second = server.policy(), server.policy()
    server.consent(machine, first)
    server.consent(machine, second)
    assert server.beat(machine, first, "nonce").status == 200
    machine = rotated(server, machine)
    assert server.beat(machine, first, "nonce").error == (401, "invalid heartbeat auth")
    assert server.beat(machine, second, "nonce").error == (401, "invalid heartbeat auth")
    assert server.api.state.failures.by_reason["nonce_replayed"] == 2


# -- one machine that sends without end


def test_a_machine_that_uses_up_its_share_is_told_to_wait_and_others_are_not() -> None:
    """Nothing of it is kept then, and it is accepted again when the time has passed that it was told."""
    server = Server(bounds=StateBounds(nonces_a_machine_max=3))
    policy_id = server.policy()
    greedy, honest = server.register(), server.register()
    for machine in (greedy, honest):
        server.consent(machine, policy_id)
    assert [server.beat(greedy, policy_id, f"{number}").status for number in range(3)] == [200] * 3
    server.pass_time(10 * SECOND)
    kept = len(server.api.state.nonces)
    answer = server.beat(greedy, policy_id, "4")
    assert answer.error == (429, "rate limit exceeded")
    assert dict(answer.headers)["retry-after"] == "65"
    assert len(server.api.state.nonces) == kept
    assert server.beat(honest, policy_id, "4").status == 200
    server.pass_time(65 * SECOND)
    assert server.beat(greedy, policy_id, "4").status == 200


def test_one_machine_has_a_hundredth_of_the_whole_memory_at_most() -> None:
    generations_that_live_together = NONCE_GENERATIONS + 2
    assert generations_that_live_together * NONCES_A_MACHINE_MAX <= NONCES_MAX // 80
