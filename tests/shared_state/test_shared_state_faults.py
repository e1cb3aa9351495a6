"""What must hold of instances that share all state when one of them, or Redis, fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.redis.journal import GROUPS, LEASE, META, WAITING
from tests.shared_state.members import HEALTH, SUMMARY, enrol_at, members, names_at, registration, revocation
from tests.support.patience import PATIENT, SHARED_IN_TIME, SHARED_SOON_ANEW, SOON_LOST
from tests.support.redis_servers import EVERY_SECOND, EVERY_WRITE, MEMORY_ONLY, proxy_to, redis_server
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS, TURNS_MAX, TURNS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reference_server.ports import Accepted, JournalPosition, NonceRequest, ReadResult
    from reference_server.wire.values import Reply, Request
    from tests.shared_state.members import Member

REFUSED_SECONDS = 0.25


async def refused_in_time(one: Member, request: Request) -> None:
    """Ask until one answer comes in time: a busy machine is not too slow each time."""
    took: list[float] = []
    while len(took) < TURNS_MIN or (len(took) < TURNS_MAX and min(took) >= REFUSED_SECONDS):
        began = trio.current_time()
        assert (await one.ask(request)).status == 503
        took.append(trio.current_time() - began)
    assert min(took) < REFUSED_SECONDS


def stop_before_giving(one: Member) -> tuple[trio.Event, trio.Event]:
    """Have an instance stop under its next lease, once all is decided; gives what says so, and what lets it go on."""
    journal = one.api.shared
    assert journal is not None
    release, stopped, go_on = journal.release, trio.Event(), trio.Event()

    async def late(place: JournalPosition, lease: str, changes: bytes, *, fencing: bool) -> ReadResult:
        journal.release = release  # type: ignore[method-assign]
        stopped.set()
        await go_on.wait()
        return await release(place, lease, changes, fencing=fencing)

    journal.release = late  # type: ignore[method-assign]
    return stopped, go_on


async def test_what_was_decided_in_a_turn_that_was_lost_is_refused_and_seen_nowhere(tmp_path: Path) -> None:
    """One instance is stopped while it has the lease; the other waits for a lease's time at most, and then goes on."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = SOON_LOST
        here, there = [await group.join() for _ in range(2)]
        await here.served(registration("first"))
        stopped, go_on = stop_before_giving(here)
        late: list[Reply] = []

        async def register() -> None:
            late.append(await here.ask(registration("lost")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register)
            await stopped.wait()
            await there.served(registration("second"))
            go_on.set()
        assert [reply.status for reply in late] == [503]
        await here.served(registration("third"))
        assert await names_at(here) == await names_at(there) == ["first", "second", "third"]
        assert await here.audit() == await there.audit()


async def test_while_another_instance_has_the_turn_changes_are_refused_in_time_and_all_else_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        here = await group.join()
        group.bounds = msgspec.structs.replace(SHARED_IN_TIME, lease_seconds=PATIENCE_SECONDS)
        there = await group.join()
        machine = await enrol_at([here, there], "rack 1")
        stopped, go_on = stop_before_giving(here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, registration("slow"))
            await stopped.wait()
            await refused_in_time(there, registration("refused"))
            assert (await there.served(SUMMARY)).status == 200
            assert (await there.served(machine.heartbeat("n1", there.clock.now().wall_ns))).status == 200
            with trio.fail_after(PATIENCE_SECONDS):
                while msgspec.json.decode((await there.ask(HEALTH)).body)["status"] != "healthy":  # noqa: ASYNC110 - Redis gives no event
                    await trio.sleep(POLL_SECONDS)
            go_on.set()
        assert "another instance" not in caplog.text
        assert await names_at(there) == ["rack 1", "slow"]


async def test_an_instance_that_dies_in_its_turn_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        here, there = [await group.join() for _ in range(2)]
        stopped, go_on = stop_before_giving(here)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.ask, registration("lost"))
            await stopped.wait()
            assert await redis.says("PEXPIRE", LEASE, "100") == "1", "it has no lease"
            await there.served(registration("second"))
            go_on.set()
        assert await names_at(there) == ["second"]


async def test_while_redis_is_down_all_that_needs_it_is_refused_in_time_and_then_all_is_as_before(
    tmp_path: Path,
) -> None:
    """With every write kept nothing was forgotten, so heartbeats are accepted at once."""
    async with redis_server(*EVERY_WRITE) as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(2)]
        machine = await enrol_at(some, "rack 1")
        assert await some[0].beat(machine, "n1") == 200
        before = await some[0].audit()
        await redis.kill()
        for one in some:
            for request in (registration("no"), SUMMARY, machine.heartbeat("n2", one.clock.now().wall_ns)):
                await refused_in_time(one, request)
            health = await one.ask(HEALTH)
            assert health.status == 200
            assert msgspec.json.decode(health.body)["status"] == "degraded"
        await redis.start()
        assert [await one.audit() for one in some] == [before] * 2
        assert (await some[1].served(machine.heartbeat("n1", some[1].clock.now().wall_ns))).status == 401
        assert (await some[1].served(machine.heartbeat("n2", some[1].clock.now().wall_ns))).status == 200
        assert msgspec.json.decode((await some[0].ask(HEALTH)).body)["status"] == "healthy"


async def test_a_redis_that_hangs_is_refused_for_in_time(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = SHARED_IN_TIME
        one = await group.join()
        await one.served(SUMMARY)
        redis.pause()
        for request in (registration("no"), SUMMARY):
            await refused_in_time(one, request)
        redis.resume()
        await one.served(registration("yes"))


@pytest.mark.parametrize("options", [MEMORY_ONLY, EVERY_SECOND], ids=["memory only", "every second"])
async def test_a_redis_that_may_have_forgotten_is_given_the_state_anew(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Nobody can tell which nonces it had, so heartbeats are refused meanwhile; what was acknowledged is all there."""
    async with redis_server(*options) as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(3)]
        machine = await enrol_at(some, "rack 1")
        assert await some[0].beat(machine, "n1") == 200
        await some[2].served(revocation(await enrol_at(some, "rack 2")))
        before = await some[1].audit()
        await redis.kill()
        await redis.start()
        assert [await one.audit() for one in some] == [before] * 3
        for one in some:
            assert await one.beat(machine, "n1") in {401, 503}
            assert await one.beat(machine, "n2") == 503
        await some[0].served(registration("rack 3"))
        late = await group.join()
        assert await names_at(late) == await names_at(some[2]) == ["rack 1", "rack 2", "rack 3"]


async def test_a_redis_that_was_emptied_is_given_the_state_anew(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        some = [await group.join() for _ in range(2)]
        machine = await enrol_at(some, "rack 1")
        assert await some[0].beat(machine, "n1") == 200
        assert await redis.says("FLUSHALL") == "OK"
        await some[0].served(registration("rack 2"))
        assert await names_at(some[0]) == await names_at(some[1]) == ["rack 1", "rack 2"]
        assert await some[1].beat(machine, "n1") == 503


async def test_the_instance_that_knows_most_founds_a_lost_journal(tmp_path: Path) -> None:
    """One of two never hears of a registration, because Redis is emptied before it reads on."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        knows, lags = [await group.join() for _ in range(2)]
        await knows.served(registration("first"))
        await lags.served(SUMMARY)
        emptied = hold_back(lags)
        await knows.served(registration("second"))
        assert await redis.says("FLUSHALL") == "OK"
        emptied.set()
        assert await names_at(lags) == await names_at(knows) == ["first", "second"]


async def test_an_accepted_heartbeat_outlives_a_flush_that_comes_right_after_its_answer(tmp_path: Path) -> None:
    """Neither instance reads on before Redis is emptied: whoever was asked had read it when it answered."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        one, other = some = [await group.join() for _ in range(2)]
        machine = await enrol_at(some, "rack 1")
        assert one.api.shared is not None
        accept, emptied = one.api.shared.accept, [hold_back(other)]

        async def the_last(place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
            emptied.append(hold_back(one))
            return await accept(place, asked)

        one.api.shared.accept = the_last  # type: ignore[method-assign]
        assert await one.beat(machine, "n1") == 200
        assert await redis.says("FLUSHALL") == "OK"
        for event in emptied:
            event.set()
        assert [(await each.audit())["heads"]["routine"]["sequence"] for each in some] == [1, 1]


async def test_what_is_in_redis_survives_all_instances(tmp_path: Path) -> None:
    """Redis restarts without having kept every write for sure: what it has is more than a new instance has."""
    async with redis_server(*EVERY_SECOND) as redis, members(redis.port, tmp_path) as group:
        one = await group.join()
        await one.served(registration("first"))
        before = await one.audit()
        await one.leave()
        await redis.has_written()
        await redis.kill()
        await redis.start()
        other = await group.join()
        assert await other.audit() == before


async def test_the_journal_is_compacted_and_whoever_was_away_meanwhile_loads_the_snapshot(tmp_path: Path) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        busy = await group.join(HATCHFARM_JOURNAL_BYTES="4096")
        away = await group.join()
        await away.served(SUMMARY)
        back = hold_back(away)
        number = 0
        with trio.fail_after(PATIENCE_SECONDS):
            # No more than is enough: what came while the snapshot is written would rightly stay in the journal.
            while await redis.says("HGET", META, "snapshot") == "0":
                if int(await redis.says("HGET", META, "bytes")) > 4096:
                    await trio.sleep(POLL_SECONDS)
                    continue
                await busy.served(registration(f"rack {number}"))
                number += 1
        assert int(await redis.says("XLEN", GROUPS)) < number
        assert int(await redis.says("HGET", META, "bytes")) < 4096
        assert len((await redis.says("KEYS", "hf:state:snapshot:*")).splitlines()) == 1
        back.set()
        assert await away.audit() == await busy.audit()
        assert await (await group.join()).audit() == await busy.audit()


async def test_an_instance_that_knew_what_redis_forgot_takes_over_what_the_others_have_now(tmp_path: Path) -> None:
    """Redis comes back as it was a while ago, and goes on past where that instance was before it looks again."""
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        knew, goes_on = [await group.join() for _ in range(2)]
        await knew.served(registration("first"))
        await goes_on.served(SUMMARY)
        assert await redis.says("SAVE") == "OK"
        going_on = hold_back(goes_on)
        await knew.served(registration("forgotten"))
        knowing = hold_back(knew)
        await redis.kill()
        await redis.start()
        going_on.set()
        for name in ("second", "third", "fourth"):
            await goes_on.served(registration(name))
        knowing.set()
        assert await names_at(knew) == await names_at(goes_on) == ["first", "second", "third", "fourth"]
        assert await knew.audit() == await goes_on.audit()


def hold_back(one: Member) -> trio.Event:
    """Keep an instance from reading on, until the event that this gives."""
    journal = one.api.shared
    assert journal is not None
    read, back = journal.read, trio.Event()

    async def late(place: JournalPosition, within: float) -> ReadResult:
        await back.wait()
        return await read(place, within)

    journal.read = late  # type: ignore[method-assign]
    return back


async def test_a_heartbeat_that_was_journalled_but_not_answered_is_accepted_once_more_and_audited_once(
    tmp_path: Path,
) -> None:
    """Redis answers nothing for a while; what it did meanwhile is found out with the next connection."""
    async with redis_server() as redis, proxy_to(redis) as proxy, members(proxy.port, tmp_path) as group:
        other = await group.join(redis.port)
        group.bounds = SHARED_SOON_ANEW
        one = await group.join()
        machine = await enrol_at([one], "rack 1")
        journal = one.api.shared
        assert journal is not None
        accept = journal.accept

        async def unheard(place: JournalPosition, asked: Sequence[NonceRequest]) -> Accepted:
            proxy.swallow = 1_000
            return await accept(place, asked)

        journal.accept = unheard  # type: ignore[method-assign]
        beat = machine.heartbeat("n1", one.clock.now().wall_ns)
        with trio.fail_after(PATIENCE_SECONDS):  # on a busy machine it may be refused before it is journalled
            while "routine" not in (await other.audit())["heads"]:
                proxy.swallow = 0
                await one.served(SUMMARY)
                assert (await one.ask(beat)).status == 503
        assert proxy.swallowed > 0
        assert (await other.audit())["heads"]["routine"]["sequence"] == 1
        proxy.swallow = 0
        journal.accept = accept  # type: ignore[method-assign]
        await one.served(SUMMARY)
        assert [(await asked.served(beat)).status for asked in (other, one, other)] == [200, 401, 401]
        assert (await one.audit())["heads"]["routine"]["sequence"] == 1
        assert await one.audit() == await other.audit()


async def test_instances_have_the_turn_in_the_order_in_which_they_asked_for_it(
    tmp_path: Path,
) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        group.bounds = msgspec.structs.replace(PATIENT, lease_place_seconds=PATIENCE_SECONDS)
        first, second, third = [await group.join() for _ in range(3)]
        stopped, go_on = stop_before_giving(first)
        served: list[str] = []

        async def register(one: Member, name: str) -> None:
            await one.ask(registration(name))
            served.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register, first, "first")
            await stopped.wait()
            for one, name in ((second, "second"), (third, "third")):
                nursery.start_soon(register, one, name)
                while int(await redis.says("ZCARD", WAITING)) < 1 + (name == "third"):
                    pass
            go_on.set()
        assert await names_at(first) == ["first", "second", "third"]


async def test_an_instance_with_another_owner_token_is_refused_the_state(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        await group.join()
        monkeypatch.setattr("reference_server.pipeline.sharing.START_SECONDS", 0.1)  # it would wait in vain for so long
        other = await group.join(HATCHFARM_API_TOKEN="another-token")
        assert (await other.ask(SUMMARY)).status == 401
        headers: Any = (("authorization", "Bearer another-token"), ("x-owner-id", "ada"))
        assert (await other.ask(msgspec.structs.replace(SUMMARY, headers=headers))).status == 503
        with trio.fail_after(PATIENCE_SECONDS):
            while "give all of them the same" not in caplog.text:  # noqa: ASYNC110 - a log gives no event
                await trio.sleep(POLL_SECONDS)
