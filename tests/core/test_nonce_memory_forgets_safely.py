"""The nonce store by itself, against a plain list of what it reserved (contract §4, replay horizon)."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_server.core.nonces import NonceMemory, nonce_key
from reference_server.ports import Reservation
from tests.core.server_under_test import CERTIFICATE_LIFE, SECOND, Machine, Server, owner_headers

TTL = 100
NEVER = -(1 << 63)


class Use(NamedTuple):
    """A nonce is used: after a wait, by a heartbeat stamped so much off the monotonic clock."""

    wait: int
    key: int
    stamp_offset: int


USES = st.lists(
    st.builds(
        Use,
        st.one_of(st.integers(0, 5), st.sampled_from([24, 25, 26, 50, 75, 99, 100, 101, 125, 126, 500])),
        st.integers(0, 5),
        st.one_of(st.integers(-20, 20), st.sampled_from([-200, -1000, 1000])),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@example(uses=[Use(0, 1, 0), Use(25, 2, 0), Use(101, 1, -126)])
@given(uses=USES)
def test_no_nonce_is_reserved_twice_for_heartbeats_it_could_replay(uses: list[Use]) -> None:
    """A replay has the stamp it had: it is known, or at or before the horizon; whatever the wall clock did."""
    memory = NonceMemory(TTL, 1_000)
    now = 1_000
    reserved: list[tuple[int, int, int]] = []
    for use in uses:
        now += use.wait
        stamp = now + use.stamp_offset
        horizon_before = memory.horizon_ns
        outcome = memory.reserve(use.key, stamp, now)
        earlier = [(at, stamped) for key, at, stamped in reserved if key == use.key]
        forgettable = [stamped for _, at, stamped in reserved if now - at > TTL]

        assert memory.horizon_ns >= horizon_before
        assert memory.horizon_ns in {NEVER, *forgettable}
        if any(now - at <= TTL for at, _ in earlier):
            assert outcome is Reservation.REPLAYED
        if any(stamp <= stamped for _, stamped in earlier):
            assert outcome is not Reservation.RESERVED
        if outcome is Reservation.UNAVAILABLE:
            assert stamp <= memory.horizon_ns
        if outcome is Reservation.REPLAYED:
            assert earlier
        if outcome is Reservation.RESERVED:
            assert stamp > memory.horizon_ns
            reserved.append((use.key, now, stamp))
        assert sum(now - at <= TTL for _, at, _ in reserved) <= len(memory) <= len(reserved)


@settings(max_examples=200, deadline=None)
@given(uses=USES, nonces_max=st.integers(1, 5))
def test_a_full_store_says_so_rather_than_forget(uses: list[Use], nonces_max: int) -> None:
    memory = NonceMemory(TTL, nonces_max)
    now = 0
    reserved: dict[int, int] = {}
    for use in uses:
        now += use.wait
        outcome = memory.reserve(use.key, now, now)
        assert len(memory) <= nonces_max
        live = {key for key, at in reserved.items() if now - at <= TTL}
        assert (use.key not in live) or outcome is Reservation.REPLAYED
        if len(live) == nonces_max and use.key not in live:
            assert outcome is Reservation.UNAVAILABLE
        if outcome is Reservation.RESERVED:
            reserved[use.key] = now


def test_a_full_store_heals_when_its_nonces_have_lived() -> None:
    memory = NonceMemory(TTL, 2)
    assert [memory.reserve(key, 0, 0) for key in (1, 2)] == [Reservation.RESERVED] * 2
    assert memory.reserve(3, 1, 1) is Reservation.UNAVAILABLE
    # A generation is closed a quarter of the time to live after it began, and lives the whole of it from then on.
    assert memory.reserve(3, 25, 25) is Reservation.UNAVAILABLE
    assert memory.reserve(3, 126, 126) is Reservation.RESERVED
    assert (len(memory), memory.horizon_ns) == (1, 0)


@settings(max_examples=100, deadline=None)
@given(waits=st.lists(st.integers(1, TTL // 4), min_size=1, max_size=60))
def test_under_traffic_a_nonce_is_forgotten_within_twice_its_life(waits: list[int]) -> None:
    memory = NonceMemory(TTL, 10_000)
    now = 0
    used = []
    for key, wait in enumerate(waits):
        now += wait
        memory.reserve(key, now, now)
        used.append(now)
        assert len(memory) <= sum(now - when <= 2 * TTL for when in used)


@given(first=st.tuples(st.integers(0, 10**6), st.text()), second=st.tuples(st.integers(0, 10**6), st.text()))
def test_the_name_of_a_nonce_is_its_own_and_its_workers(first: tuple[int, str], second: tuple[int, str]) -> None:
    assert (nonce_key(*first) == nonce_key(*second)) is (first == second)
    assert nonce_key(first[0], second[1]) != nonce_key(first[0] + 1, second[1])


def test_expiring_raises_the_horizon_without_a_new_nonce() -> None:
    memory = NonceMemory(TTL, 10)
    memory.reserve(1, 7, 0)
    memory.reserve(2, 9, 30)
    memory.expire(130)
    assert (memory.horizon_ns, len(memory)) == (NEVER, 2)
    memory.expire(131)
    assert (memory.horizon_ns, len(memory)) == (7, 1)


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
