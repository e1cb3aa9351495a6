"""What is answered, shown and changed while storage works, fails and comes back (contract §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from reference_server.adapters.memory.clocks import SetClock
from reference_server.pipeline import committing
from reference_server.ports import JournalError
from reference_server.wire.values import Request
from tests.durability.kept import AUDIT, REGISTRATION, SUMMARY, Kept, ask, until_waiting
from tests.http.serving import Answer, Server, serving
from tests.http.twins import OWNER, data_of
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from reference_server.operations.api import Api

HEALTH = Request("GET", "/health")
WRONG = Request("GET", "/api/v1/workers/wrk_unknown/policy")


@pytest.fixture
async def kept() -> Kept:
    return Kept()


def error_of(answer: Answer) -> tuple[int, str]:
    return answer.status, msgspec.json.decode(answer.body)["error"]


PERSISTENCE_FAILED = (500, "state persistence failed")


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
async def test_what_is_answered_is_durable(kept: Kept, *, express_lane: bool) -> None:
    async with serving(kept.api, SetClock(), express_lane=express_lane) as server:
        assert (await ask(server, kept.machine.heartbeat("a"))).status == 200
        assert (await ask(server, REGISTRATION)).status == 201
        assert (await ask(server, WRONG)).status == 401
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
        assert kept.durable() == shown
    assert kept.durable() == shown


async def test_nothing_that_is_not_durable_is_shown(kept: Kept) -> None:
    """Neither its own answer nor anybody's reading tells of a change while its commit is under way."""
    async with serving(kept.api, SetClock(), express_lane=True) as server, trio.open_nursery() as nursery:
        kept.journal.gate.clear()
        answers: list[int] = []

        async def keep(request: Request) -> None:
            answers.append((await ask(server, request)).status)

        nursery.start_soon(keep, kept.machine.heartbeat("a"))
        await until_waiting(kept.journal)
        nursery.start_soon(keep, SUMMARY)
        assert (await ask(server, HEALTH)).status == 200, "what says nothing of the state never waits"
        assert answers == []
        kept.journal.gate.set()
    assert sorted(answers) == [200, 200]


async def test_what_comes_during_a_commit_shares_the_next(kept: Kept) -> None:
    async with serving(kept.api, SetClock(), express_lane=True) as server, trio.open_nursery() as nursery:
        kept.journal.gate.clear()
        nursery.start_soon(ask, server, kept.machine.heartbeat("0"))
        await until_waiting(kept.journal)
        for number in range(1, 6):
            nursery.start_soon(ask, server, kept.machine.heartbeat(str(number)))
        with trio.fail_after(60):
            while len(kept.api.state.nonces) < 6:
                await trio.lowlevel.checkpoint()
        kept.journal.gate.set()
    assert kept.journal.appended == [1, 5]


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
async def test_a_commit_that_fails_refuses_all_that_waited_and_undoes_it(kept: Kept, *, express_lane: bool) -> None:
    before = kept.durable()
    beat = kept.machine.heartbeat("a")
    async with serving(kept.api, SetClock(), express_lane=express_lane) as server:
        kept.journal.failures = 1_000_000
        kept.journal.gate.clear()
        answers: list[Answer] = []

        async def keep(request: Request) -> None:
            answers.append(await ask(server, request))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, beat)
            await until_waiting(kept.journal)
            nursery.start_soon(keep, SUMMARY)
            nursery.start_soon(keep, REGISTRATION)
            with trio.fail_after(60):
                while len(kept.api.state.workers) < 2:
                    await trio.lowlevel.checkpoint()
            kept.journal.gate.set()
        assert [error_of(answer) for answer in answers] == [PERSISTENCE_FAILED] * 3
        await until_usable(kept.api)
        assert error_of(await ask(server, REGISTRATION)) == PERSISTENCE_FAILED
        assert error_of(await ask(server, beat)) == PERSISTENCE_FAILED
        assert error_of(await ask(server, WRONG)) == PERSISTENCE_FAILED, "a refusal is audited, which is a change"
        assert msgspec.json.decode((await ask(server, HEALTH)).body)["status"] == "degraded"
        assert await figure(server, "hatchfarm_state_durable") == 0
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
        assert shown == before, "reading goes on, without what was refused"
        kept.journal.failures = 0
        await until_healthy(server)
        assert await figure(server, "hatchfarm_state_durable") == 1
        assert await figure(server, "hatchfarm_state_snapshots_total") == 1
        assert (await ask(server, beat)).status == 200, "its nonce was not burnt"
        assert (await ask(server, beat)).status == 401
        assert (await ask(server, REGISTRATION)).status == 201
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
    assert kept.durable() == shown


async def figure(server: Server, name: str) -> float:
    text = (await ask(server, Request("GET", "/metrics", headers=OWNER))).body.decode()
    (value,) = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)


async def until_usable(api: Api) -> None:
    with trio.fail_after(60):
        while api.unusable:
            await trio.lowlevel.checkpoint()


async def until_healthy(server: Server) -> None:
    with trio.fail_after(60):
        while msgspec.json.decode((await ask(server, HEALTH)).body)["status"] != "healthy":
            pass


async def test_a_fault_of_ours_while_committing_is_treated_like_one_of_the_storage(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept.durable()

    def broken(_changes: object) -> bytes:
        raise RuntimeError("a fault")

    async with serving(kept.api, SetClock(), express_lane=True) as server:
        with monkeypatch.context() as patch:
            patch.setattr(committing, "encode_changes", broken)
            assert error_of(await ask(server, REGISTRATION)) == PERSISTENCE_FAILED
        await until_healthy(server)
        assert data_of(200, (await ask(server, SUMMARY)).body) == before[0]
        assert (await ask(server, REGISTRATION)).status == 201


async def test_rate_limits_and_counters_outlive_a_failure(kept: Kept) -> None:
    async with serving(kept.api, SetClock(), express_lane=True) as server:
        await ask(server, SUMMARY)
        buckets = kept.api.state.buckets
        kept.journal.failures = 2
        assert error_of(await ask(server, REGISTRATION)) == PERSISTENCE_FAILED
        await until_usable(kept.api)
        assert kept.api.state.buckets is buckets
        await until_healthy(server)


async def test_a_snapshot_takes_the_place_of_a_journal_that_has_grown() -> None:
    kept = Kept(due_after=3)
    async with serving(kept.api, SetClock(), express_lane=True) as server:
        for number in range(12):
            assert (await ask(server, kept.machine.heartbeat(str(number)))).status == 200
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
        assert kept.durable() == shown
    assert kept.journal.snapshots > 2
    assert kept.durable() == shown


async def test_a_snapshot_that_fails_costs_no_answer() -> None:
    kept = Kept(due_after=1)
    tried: list[object] = []

    def failing_snapshot(pieces: object) -> Any:
        tried.append(pieces)
        raise JournalError("no process can be started to write a snapshot (Resource temporarily unavailable)")

    kept.journal.begin_snapshot = failing_snapshot  # type: ignore[method-assign]
    clock = SetClock()
    async with serving(kept.api, clock, express_lane=True) as server:
        for number in range(6):
            assert (await ask(server, kept.machine.heartbeat(str(number)))).status == 200
        assert len(tried) == 1, "not at every commit"
        clock.advance(5)
        for number in range(6, 9):
            assert (await ask(server, kept.machine.heartbeat(str(number)))).status == 200
        assert len(tried) == 2, "but again"
        assert msgspec.json.decode((await ask(server, HEALTH)).body)["status"] == "healthy"
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
    assert kept.durable() == shown


async def test_a_snapshot_that_hangs_is_said_costs_no_answer_and_holds_up_no_stop() -> None:
    """The one that stopping leaves is not tried then: it could hang as long. The journal has all of it."""
    kept = Kept(due_after=1)
    begun: list[object] = []

    def hanging_snapshot(pieces: object) -> Any:
        begun.append(pieces)

        def wait() -> None:
            raise JournalError("cannot write a snapshot (it hung for 60 s, and was ended)")

        return wait

    kept.journal.begin_snapshot = hanging_snapshot  # type: ignore[method-assign]
    async with serving(kept.api, SetClock(), express_lane=True) as server:
        for number in range(3):
            assert (await ask(server, kept.machine.heartbeat(str(number)))).status == 200
        with trio.fail_after(PATIENCE_SECONDS):  # it is given up in a thread of its own
            while (health := msgspec.json.decode((await ask(server, HEALTH)).body))["status"] != "degraded":
                await trio.testing.wait_all_tasks_blocked()
        assert health["reason"] == "snapshot failed"
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
    assert len(begun) == 1
    assert kept.durable() == shown


async def test_a_snapshot_that_failed_is_tried_again_though_nothing_is_changed() -> None:
    """After five seconds, and twice as long each time, by the server's clock; then health says that all is well."""
    kept = Kept(due_after=0)
    clock = SetClock()
    tried: list[int] = []
    begin_snapshot, fails = kept.journal.begin_snapshot, [True, True, True]

    def failing_snapshot(pieces: Any) -> Any:
        tried.append(clock.now().monotonic_ns)
        wait = begin_snapshot(pieces)

        def fail() -> None:
            if fails:
                fails.pop()
                raise JournalError("cannot write a snapshot (No space left on device)")
            wait()

        return fail

    kept.journal.begin_snapshot = failing_snapshot  # type: ignore[method-assign]
    async with serving(kept.api, clock, express_lane=True) as server:
        assert (await ask(server, kept.machine.heartbeat("a"))).status == 200
        for number, seconds in enumerate((5, 10, 20), 1):
            with trio.fail_after(60):
                while kept.api.state.compacting or len(fails) > 3 - number:
                    await trio.lowlevel.checkpoint()
            assert len(tried) == number
            assert msgspec.json.decode((await ask(server, HEALTH)).body)["reason"] == "snapshot failed"
            clock.advance(seconds)
        await until_healthy(server)
        assert kept.journal.storage.segments == {kept.journal.segment: []}
        shown = [data_of(200, (await ask(server, question)).body) for question in (SUMMARY, AUDIT)]
        assert kept.durable() == shown
    assert [(at - tried[0]) // 1_000_000_000 for at in tried[:4]] == [0, 5, 15, 35]
