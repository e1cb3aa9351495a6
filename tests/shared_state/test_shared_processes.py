"""Three servers as processes of their own that act as one: copies thrown at all of them, and ends without warning."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.clock import SystemClock
from reference_server.wire.values import Request
from tests.http.processes import running
from tests.http.twins import OWNER, as_owner, written
from tests.shared_state.instances import enrol_over, instances, shared_settings
from tests.shared_state.members import revocation, rotation
from tests.support.redis_servers import redis_server
from tests.support.tiers import SOAK
from tests.support.waiting import PATIENCE_SECONDS, TURNS_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.twins import Machine
    from tests.shared_state.instances import Instance

NONCES = 100_000 if SOAK else 500
COPIES = 8
AT_ONCE = 50
SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)


async def _copies(some: list[Instance], machine: Machine, names: list[str]) -> list[list[int]]:
    """Send each nonce's copies over all instances at once; give what the copies of each were answered."""
    answers: list[list[int]] = [[] for _ in names]

    async def sender(at: int, requests: list[bytes]) -> None:
        async with some[at % len(some)].server.client() as client:
            await client.send(b"".join(requests))
            for statuses in answers:
                statuses.append((await client.answer("POST")).status)

    now_ns = SystemClock().now().wall_ns
    requests = [written(machine.heartbeat(name, now_ns)) for name in names]
    async with trio.open_nursery() as nursery:
        for at in range(COPIES):
            nursery.start_soon(sender, at, requests)
    return answers


async def test_three_processes_accept_each_nonce_once_and_end_a_right_everywhere(tmp_path: Path) -> None:
    """And whichever ends or stops without warning, in a turn or not: the others go on, and all agree afterwards."""
    async with redis_server() as redis, instances(shared_settings(redis.port, tmp_path), 3) as some:
        machine = await enrol_over(some, "rack 1")
        accepted = 0
        start = -AT_ONCE
        # A busy machine refuses many of them.
        while (start := start + AT_ONCE) < NONCES or accepted <= NONCES // 2:
            names = [f"n{number}" for number in range(start, start + AT_ONCE)]
            for statuses in await _copies(some, machine, names):
                assert statuses.count(200) <= 1
                assert set(statuses) <= {200, 401, 503}
                accepted += statuses.count(200)
        audits = [await one.audit() for one in some]
        assert audits[0] == audits[1] == audits[2]
        assert audits[0]["heads"]["routine"]["sequence"] >= accepted

        killed, stopped, left = some
        async with trio.open_nursery() as nursery:
            others = [await enrol_over([left], f"rack {number}") for number in range(2, 5)]
            for number in range(20):
                nursery.start_soon(_asked_and_cut_off, killed, f"killed {number}")
                nursery.start_soon(_asked_and_cut_off, stopped, f"stopped {number}")
            await stopped.served(SUMMARY)
            killed.process.process.kill()
            stopped.process.process.send_signal(signal.SIGSTOP)
            for other in others:
                assert (await left.served(revocation(other))).status == 200
                assert (await left.served(rotation(other))).status == 200
            stopped.process.process.send_signal(signal.SIGCONT)
            with trio.fail_after(PATIENCE_SECONDS):
                for number, other in enumerate(others):
                    beat = other.heartbeat(f"m{number}", SystemClock().now().wall_ns)
                    assert (await stopped.served(beat)).status == 401
            nursery.cancel_scope.cancel()
        assert await stopped.audit() == await left.audit()


async def _asked_and_cut_off(one: Instance, name: str) -> None:
    async with one.server.client() as client:
        await client.send(written(as_owner("/machines/register", {"owner_id": "ada", "name": name})))
        await trio.sleep_forever()


async def test_a_server_with_another_price_refuses_to_start_while_one_lives_and_starts_once_all_have_ended(
    tmp_path: Path,
) -> None:
    """Each would bill by its own. The state of before is taken on with the new price.

    Nobody is held to what an instance was set to that has stood still for six seconds: where the machine kept it from
    running for so long, it is tried again.
    """
    async with redis_server() as redis:
        settings = shared_settings(redis.port, tmp_path)
        dearer = {**settings, "PRICE_CPU_HOUR": "0.02", "PLATFORM_FEE_BASIS_POINTS": "100"}
        async with instances({**settings, "PRICE_CPU_HOUR": "0.0100"}, 1) as some:
            machine = await enrol_over(some, "rack 1")
            for _ in range(TURNS_MAX):
                await some[0].served(SUMMARY)
                async with running(settings=dearer) as other:
                    if not await other.starts():
                        break
            assert await other.ended() == 2
            assert (
                "HATCHFARM_SHARED_STATE: the instances that share this Redis have another PRICE_CPU_HOUR "
                "(0.02 here, 0.01 there), PLATFORM_FEE_BASIS_POINTS (100 here, 0 there): give"
            ) in other.stderr.text
        async with instances(dearer, 1) as (after,):
            beat = machine.heartbeat("n1", SystemClock().now().wall_ns)
            assert (await after.served(beat)).status == 200


async def test_a_server_with_another_owner_token_refuses_to_start(tmp_path: Path) -> None:
    async with redis_server() as redis:
        settings = shared_settings(redis.port, tmp_path)
        async with (
            instances(settings, 1),
            running(settings={**settings, "HATCHFARM_API_TOKEN": "another-token"}) as other,
        ):
            assert await other.ended() == 2
            assert "HATCHFARM_SHARED_STATE: the instances that share this Redis have another" in other.stderr.text
