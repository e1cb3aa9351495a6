"""What must hold when the shared journal, or its snapshot, has become as large as it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.wire.values import Request
from tests.http.twins import OWNER, as_owner
from tests.shared_state.members import enrol_at, members
from tests.support.patience import PATIENT
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)
NEVER = str(1 << 40)


def registration(number: int) -> Request:
    """Register a machine of owner `ada`."""
    return as_owner("/machines/register", {"owner_id": "ada", "name": f"rack {number}"})


async def test_a_full_journal_takes_nothing_more_until_a_snapshot_takes_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is only read is answered all the while; what was refused is not there."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = msgspec.structs.replace(PATIENT, journal_bytes_max=6_000)
        one = await group.join(HATCHFARM_JOURNAL_BYTES=NEVER)
        machine = await enrol_at([one], "rack")
        made = 0
        while (await one.served(SUMMARY)).status == 200 and (await one.ask(registration(made))).status == 201:
            made += 1
        assert 0 < made < 30
        assert "no snapshot took their place" in caplog.text
        before = await one.audit()
        assert before["heads"]["notable"]["sequence"] == 4 + made
        other = await group.join(HATCHFARM_JOURNAL_BYTES="4096")
        await other.served(registration(made))
        assert (await one.served(machine.heartbeat("n1", one.clock.now().wall_ns))).status == 200
        assert await one.audit() == await other.audit()


async def test_a_state_too_large_for_a_snapshot_is_told_of_and_served_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = msgspec.structs.replace(
            PATIENT, snapshot_bytes_max=2_000
        )  # a new state has a little over half of it
        one = await group.join(HATCHFARM_JOURNAL_BYTES="4096")
        number = 0
        with trio.fail_after(PATIENCE_SECONDS):
            while "too large to be shared" not in caplog.text:
                await one.served(registration(number))
                number += 1
                await trio.sleep(POLL_SECONDS)
        await one.served(registration(number))
