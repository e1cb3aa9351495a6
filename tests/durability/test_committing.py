"""What is answered, shown and changed while storage works, fails and comes back (contract §7)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
import trio.testing

from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.threads import Result, offload
from reference_server.core.recovery import begin, recover
from reference_server.core.snapshots import snapshot
from reference_server.operations.outcomes import Deferred
from reference_server.pipeline import committing
from reference_server.pipeline.resolving import Resolver
from reference_server.ports import JournalError
from reference_server.wire.values import Request
from tests.http.serving import Answer, Server, serving
from tests.http.twins import OWNER, START, Machine, as_owner, data_of, enrol, make_api
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reference_server.operations.api import Api

HEALTH = Request("GET", "/health")
SUMMARY = Request("GET", "/api/v1/workers/summary", headers=OWNER)
AUDIT = Request("GET", "/api/v1/audit/events", headers=OWNER)
REGISTRATION = as_owner("/machines/register", {"owner_id": "ada", "name": "another"})
WRONG = Request("GET", "/api/v1/workers/wrk_unknown/policy")


class GatedJournal(MemoryJournal):
    """A journal whose appends wait for a gate, in their worker thread."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000) -> None:
        super().__init__(storage, due_after)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        self.appended: list[int] = []

    async def offload(self, call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
        """Wait in a thread, as a journal in files does."""
        return await offload(call, abandon_on_cancel=abandon_on_cancel)

    def append(self, group: bytes) -> None:
        """Wait, then append."""
        self.waiting.set()
        assert self.gate.wait(20)
        super().append(group)
        self.appended.append(len(msgspec.msgpack.decode(group)))


class Kept:
    """An API with a journal, one machine enrolled and durable."""

    def __init__(self, journal: type[GatedJournal] = GatedJournal, due_after: int = 1_000_000) -> None:
        self.api: Api = make_api()
        self.journal = journal(Storage(), due_after)
        begin(self.api.state)
        self.machine: Machine = enrol(self.api)
        self.journal.start()
        self.journal.begin_snapshot(snapshot(self.api.state, START, self.journal.segment))()
        self.journal.publish()
        self.api.state.changes = []
        self.api.journal = self.journal

    def durable(self) -> Any:
        """Recover what is durable, and show its summary and its audit as the API does."""
        again = make_api()
        recover(again.state, self.journal, START)
        return [data_of(200, again.handle(question, START).body) for question in (SUMMARY, AUDIT)]


@pytest.fixture
async def kept() -> Kept:
    return Kept()


async def ask(server: Server, request: Request) -> Answer:
    async with server.client() as client:
        return await client.ask(request)


def error_of(answer: Answer) -> tuple[int, str]:
    return answer.status, msgspec.json.decode(answer.body)["error"]


PERSISTENCE_FAILED = (500, "state persistence failed")


async def until_waiting(journal: GatedJournal) -> None:
    with trio.fail_after(60):
        await trio.to_thread.run_sync(journal.waiting.wait, 20)
    journal.waiting.clear()


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
        raise OSError(11, "Resource temporarily unavailable")

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


class HangingJournal(GatedJournal):
    """A journal whose next snapshots hang until they are given up."""

    def __init__(self, storage: Storage, due_after: int = 1_000_000) -> None:
        super().__init__(storage, due_after)
        self.hanging = 0
        self.hangs = threading.Event()
        self.given_up = threading.Event()

    def begin_snapshot(self, pieces: Any) -> Any:
        """Hang, or do it."""
        wait = super().begin_snapshot(pieces)
        if not self.hanging:
            return wait
        self.hanging -= 1

        def hang() -> None:
            self.hangs.set()
            assert self.given_up.wait(2 * PATIENCE_SECONDS)
            raise JournalError("cannot write a snapshot (it was not waited for, and was ended)")

        return hang

    def end_snapshot(self) -> None:
        """Give up."""
        self.given_up.set()


FASTER = 20


@pytest.mark.parametrize("begun", ["before", "for the end", "after a failure"])
async def test_stopping_waits_for_snapshots_no_longer_than_it_says(
    begun: str, mock_clock: trio.testing.MockClock
) -> None:
    """One that is being written when it begins, the last one, and one that is to mend what failed.

    The server's time goes by faster than that of the threads, which no clock of the loop waits for.
    """
    mock_clock.rate = FASTER
    kept = Kept(HangingJournal, due_after=0 if begun == "before" else 1_000_000)
    assert isinstance(kept.journal, HangingJournal)
    kept.journal.hanging = 1
    clock = SetClock()
    resolver = Resolver(kept.api, clock)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        if begun != "for the end":
            kept.journal.failures = int(begun == "after a failure")
            deferred = kept.api.handle(REGISTRATION, clock.now())
            assert (await resolver.resolved(deferred)).status == (500 if begun == "after a failure" else 201)
            assert await trio.to_thread.run_sync(kept.journal.hangs.wait, PATIENCE_SECONDS)
        with trio.fail_after(FASTER * PATIENCE_SECONDS):  # the journal hangs for longer
            await resolver.stop()
        nursery.cancel_scope.cancel()
    assert kept.journal.given_up.is_set()
    again = make_api()
    recover(again.state, kept.journal, START)
    assert len(again.state.workers) == (2 if begun == "before" else 1)


class CountingJournal(GatedJournal):
    """A journal that counts the snapshots that were begun."""

    begun = 0

    def begin_snapshot(self, pieces: Iterable[bytes]) -> Callable[[], None]:
        """Begin one."""
        self.begun += 1
        return super().begin_snapshot(pieces)


ANOTHER = as_owner("/machines/register", {"owner_id": "ada", "name": "a third"})


async def test_what_is_committed_while_the_server_is_cancelled_is_answered_and_kept_and_it_ends() -> None:
    """Who was to put the snapshot in place that this commit begins has ended before."""
    kept, clock = Kept(CountingJournal, due_after=0), SetClock()
    assert isinstance(kept.journal, CountingJournal)
    resolver = Resolver(kept.api, clock)
    answers: list[int] = []
    kept.journal.gate.clear()
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        reply = kept.api.handle(REGISTRATION, clock.now())
        assert isinstance(reply, Deferred)
        resolver.defer(reply, lambda answer: answers.append(answer.status))
        await until_waiting(kept.journal)
        another = kept.api.handle(ANOTHER, clock.now())
        assert isinstance(another, Deferred)
        resolver.defer(another, lambda answer: answers.append(answer.status))
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            kept.journal.gate.set()
    assert answers == [201, 201]
    # The first one, that of the commit and the last: none was left behind half written.
    assert kept.journal.begun == kept.journal.snapshots == 3
    again = make_api()
    recover(again.state, kept.journal, START)
    assert len(again.state.workers) == 3


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


async def test_a_server_that_stops_leaves_a_snapshot_of_everything(kept: Kept) -> None:
    async with serving(kept.api, SetClock(), express_lane=True) as server:
        assert (await ask(server, kept.machine.heartbeat("a"))).status == 200
    assert kept.journal.storage.segments == {"00000002": []}
