"""Reading audit lists: whole, cheaply, within the target's rate limit, and never longer than there is time."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import trio
import trio.testing

from reference_server.wire.values import Instant
from simulator.client.connection import LostError
from simulator.client.target import parse_target
from simulator.history.rows import History
from simulator.limits import AUDIT_READING_MIN_SECONDS
from simulator.worlds.players import auditing
from simulator.worlds.players.auditing import Auditor
from tests.simulator.conftest import (
    HANG_UP,
    SILENT,
    Reaction,
    ScriptedServer,
    WatchedApi,
    answer,
    serving,
    sockets_closed_after,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from simulator.client.target import Target

AUDITORS = "127.6."


@pytest.fixture
def patient_clock(autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A clock that jumps on when nothing happens, and leaves real sockets a moment to say something."""
    autojump_clock.autojump_threshold = 0.02
    return autojump_clock


def fill(api: WatchedApi, owner_id: str, heartbeats: int) -> None:
    """Have an owner have had a machine registered, and so many heartbeats accepted."""
    now = Instant(1_790_000_000_000_000_000, 1)
    owner = api.state.owner(owner_id)
    assert owner is not None
    api.state.audit(now, "machine_registered", f"owner:{owner_id}", "wrk_1", {}, (owner_id,))
    for number in range(heartbeats):
        owner.routine.append(f"{number:016x}", "wrk_1", "pol_1", now.wall_ns + number)


def auditor(target: Target, *owners: str, fleet: tuple[str, ...] = (), seconds: float = 10, **bounds: int) -> Auditor:
    history = History()
    history.owners += owners
    clock = iter(range(0, 1 << 40, 1000))
    return Auditor(target, history, lambda: next(clock), np.random.default_rng(3), fleet, seconds, **bounds)


async def test_whole_lists_are_read_page_by_page() -> None:
    async with sockets_closed_after(), serving() as (api, target):
        fill(api, "ada", 1200)
        fill(api, "ben", 3)
        reader = auditor(target, "ada", "ben", "never-seen")
        await reader.read()
    readings = reader.history.audit_readings
    shown = {owner_id: [one for one in readings if one.owner_id == owner_id] for owner_id in reader.history.owners}
    assert [(one.offset, len(one.events), one.total) for one in shown["ada"]] == [
        (0, 500, 1201),
        (500, 500, 1201),
        (1000, 201, 1201),
    ]
    assert [one.total for one in shown["ben"]] == [4]
    assert shown["ben"][0].heads["routine"]["sequence"] == 3
    assert [(one.total, one.events, one.heads) for one in shown["never-seen"]] == [(0, [], {})]
    assert all(one.sent_ns < one.answered_ns and one.status == 200 and not one.type for one in readings)
    ids = [event["id"] for one in shown["ada"] for event in one.events]
    assert len(set(ids)) == 1201


async def test_reading_stays_within_the_rate_limit_of_each_of_its_addresses() -> None:
    """By the contract's own limit, and with addresses that nobody else speaks from."""
    async with serving() as (api, target):
        owners = [f"owner-{number}" for number in range(45)]
        reader = auditor(target, *owners)
        await reader.read()
        clients = Counter(heard.client for heard in api.heard)
        assert {heard.status for heard in api.heard} == {200}
    assert len(clients) == 5
    assert max(clients.values()) == auditing.REQUESTS_PER_ADDRESS
    assert all(client.startswith(AUDITORS) for client in clients)
    assert len(reader.history.audit_readings) == 45


async def test_a_limit_tighter_than_that_is_kept_by_other_addresses() -> None:
    async with serving(rate_limit_burst=2, rate_limit_refill_per_second=0.01) as (_, target):
        reader = auditor(target, *(f"owner-{number}" for number in range(5)))
        await reader.read()
    assert [one.status for one in reader.history.audit_readings] == [200] * 5


@pytest.mark.parametrize("own", [False, True], ids=["all share one address", "a new address is refused"])
async def test_where_another_address_does_not_help_it_waits_as_long_as_it_is_told(
    scripted: ScriptedServer,
    patient_clock: trio.testing.MockClock,
    own: bool,  # noqa: FBT001 - a column of the table
) -> None:
    page = answer(200, b'{"data":{"events":[],"total":0,"heads":{}}}')
    scripted.script = [Reaction((answer(429, b"{}", "retry-after: 2"),)), Reaction((page,))]
    reader = auditor(scripted.target, "ada")
    reader.target = scripted.target if own else shared(scripted.target)
    before = patient_clock.current_time()
    await reader.read()
    assert patient_clock.current_time() - before == pytest.approx(2, abs=0.5)
    assert [one.status for one in reader.history.audit_readings] == [200]


def shared(target: Target) -> Target:
    """Return a target that sees one address for all."""
    return msgspec.structs.replace(target, own_addresses=False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"not found"),
        (200, b"{"),
        (200, b'{"data":{"events":{},"total":0}}'),
        (200, b'{"data":{"events":[1],"total":1}}'),
        (200, b'{"data":{"events":[],"total":"0"}}'),
        (200, b'{"data":{"events":[%b{}],"total":1}}' % (b"{}," * auditing.PAGE_EVENTS)),
        (200, b'{"data":{"events":[{"metadata":%b}],"total":1}}' % (b"[" * 16 + b"]" * 16)),
        (200, b'{"data":{"events":[],"total":0,"heads":%b' % (b"[" * 50_000)),
    ],
)
async def test_an_answer_that_is_no_page_is_recorded_as_none(
    scripted: ScriptedServer, status: int, body: bytes
) -> None:
    scripted.script = [Reaction((answer(status, body),))]
    reader = auditor(scripted.target, "ada")
    await reader.read()
    assert [(one.status, one.total, one.events) for one in reader.history.audit_readings] == [(status, -1, [])]


async def test_a_target_without_heads_is_read_all_the_same(scripted: ScriptedServer) -> None:
    event = {"id": "aud_1", "type": "policy_created"}
    body = json.dumps({"success": True, "data": {"events": [event], "total": 1, "limit": 500, "offset": 0}}).encode()
    scripted.script = [Reaction((answer(200, body),))]
    reader = auditor(scripted.target, "ada")
    await reader.read()
    assert [(one.events, one.heads) for one in reader.history.audit_readings] == [([event], {})]


async def test_a_list_that_changes_while_it_is_read_is_read_again(scripted: ScriptedServer) -> None:
    def page(count: int, total: int, head: int) -> Reaction:
        data = {"events": [{}] * count, "total": total, "heads": {"routine": {"sequence": head, "hash": "x"}}}
        return Reaction((answer(200, json.dumps({"data": data}).encode()),))

    changing, still = [page(2, 3, 3), page(1, 3, 4)], [page(2, 3, 5), page(1, 3, 5)]
    scripted.script = [*changing, *still]
    reader = auditor(scripted.target, "ada")
    await reader.read()
    readings = reader.history.audit_readings
    assert [(one.offset, one.heads["routine"]["sequence"]) for one in readings] == [(0, 5), (2, 5)]


async def test_a_list_that_ends_early_ends(scripted: ScriptedServer) -> None:
    """However many events it says there are."""
    full = Reaction((answer(200, b'{"data":{"events":[{}],"total":9,"heads":{}}}'),))
    scripted.script = [full, Reaction((answer(200, b'{"data":{"events":[],"total":9,"heads":{}}}'),))]
    reader = auditor(scripted.target, "ada")
    await reader.read()
    assert [(one.offset, len(one.events)) for one in reader.history.audit_readings] == [(0, 1), (1, 0)]


async def test_a_list_that_never_ends_is_not_read_for_ever(scripted: ScriptedServer) -> None:
    body = b'{"data":{"events":[{},{}],"total":%d,"heads":{}}}'
    scripted.script = [*(Reaction((answer(200, body % total),)) for total in range(3, 20))] * 3
    reader = auditor(scripted.target, "ada", events_max=20)
    await reader.read()
    assert len(scripted.arrivals) < 60


async def test_of_lists_past_the_bound_only_the_heads_are_read() -> None:
    async with serving() as (api, target):
        for owner_id, count in (("large", 200), ("small", 60), ("other", 60)):
            fill(api, owner_id, count)
        reader = auditor(target, "large", "small", "other", events_max=100)
        await reader.read()
    readings = reader.history.audit_readings
    whole = {one.owner_id for one in readings if not one.type}
    heads = {one.owner_id for one in readings if one.type}
    assert "large" in heads
    assert len(whole) == 1
    assert whole | heads == {"large", "small", "other"}
    assert sum(len(one.events) for one in readings) <= 100


async def test_no_target_fills_the_memory_with_what_its_events_hold(scripted: ScriptedServer) -> None:
    """Neither when whole lists are read, nor by looking at heads."""
    body = b'{"data":{"events":[{"id":"%b"}],"total":50,"heads":{}}}' % (b"x" * 60_000)
    scripted.script = [Reaction((answer(200, body),))]
    reader = auditor(scripted.target, "ada", "ben", "eve", bytes_max=100_000)
    await reader.read()
    assert len(scripted.arrivals) == 2
    (trouble,) = reader.history.troubles
    assert (trouble.what, trouble.why) == ("audit list", "its lists are longer than 0 MiB")
    with pytest.raises(LostError):
        await reader._look("ada")


async def test_owners_of_scripts_and_of_the_fleet_take_turns(scripted: ScriptedServer) -> None:
    page = answer(200, b'{"data":{"events":[],"total":0,"heads":{}}}')
    scripted.script = [Reaction((page,))]
    fleet, scripts = tuple(f"fleet-{number}" for number in range(9)), tuple(f"script-{number}" for number in range(3))
    readers = [auditor(scripted.target, *fleet, *scripts, fleet=fleet) for _ in range(2)]
    for reader in readers:
        await reader.read()
    orders = [[one.owner_id for one in reader.history.audit_readings] for reader in readers]
    assert orders[0] == orders[1]
    assert [owner_id.partition("-")[0] for owner_id in orders[0]] == ["script", "fleet"] * 3 + ["fleet"] * 6
    assert sorted(orders[0]) == sorted((*fleet, *scripts))
    assert orders[0] != [*fleet, *scripts]


@pytest.mark.parametrize("reaction", [HANG_UP, SILENT], ids=["hangs up", "is silent"])
async def test_a_target_that_does_not_answer_ends_the_reading(
    scripted: ScriptedServer, patient_clock: trio.testing.MockClock, reaction: Reaction
) -> None:
    """A dead server must not hold a run up."""
    scripted.script = [reaction]
    reader = auditor(scripted.target, *(f"owner-{number}" for number in range(50)))
    before = patient_clock.current_time()
    await reader.read()
    assert patient_clock.current_time() - before <= 2 * AUDIT_READING_MIN_SECONDS
    assert len(scripted.arrivals) <= 2 * auditing.LOST_MAX
    assert reader.history.audit_readings == []
    assert {trouble.what for trouble in reader.history.troubles} == {"audit list"}


async def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    patient_clock: trio.testing.MockClock,
) -> None:
    """The watch is cancelled as a run ends; what it had asked for may still be on its way."""
    del patient_clock
    totals = iter((77, 0))

    async def late(stream: trio.SocketStream) -> None:
        total = next(totals)
        await stream.receive_some(65_536)
        await trio.sleep(2)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(answer(200, b'{"data":{"events":[],"total":%d,"heads":{}}}' % total))
            await stream.receive_some(1)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, late, 0)
        port = listeners[0].socket.getsockname()[1]
        reader = auditor(parse_target(f"http://127.0.0.1:{port}", "token"), "ada")
        with trio.move_on_after(1):
            await reader.watch()
        await reader.read()
        nursery.cancel_scope.cancel()
    assert [(one.type, one.total) for one in reader.history.audit_readings] == [("", 0)]


async def test_during_a_run_heads_are_looked_at_in_turn() -> None:
    async with serving() as (api, target):
        fill(api, "ada", 5)
        fill(api, "ben", 7)
        reader = auditor(target, "ada", "ben", seconds=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.watch)
            await until(lambda: len(reader.history.audit_readings) >= 4)
            nursery.cancel_scope.cancel()
        await reader.read()
    readings = [one for one in reader.history.audit_readings if one.type]
    assert Counter(one.owner_id for one in readings[:4]) == {"ada": 2, "ben": 2}
    assert {one.heads["routine"]["sequence"] for one in readings} == {5, 7}
    assert all(not one.events for one in readings)


@pytest.mark.parametrize(
    ("took", "seconds", "own", "pause"),
    [
        (0.0, 10, True, 0.5),
        (0.05, 10, True, 2.5),
        (0.0, 3600, True, 1.8),
        (0.0, 10, False, 5.0),
    ],
)
async def test_looking_costs_the_target_a_small_share_of_its_time(
    patient_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    took: float,
    seconds: float,
    own: bool,  # noqa: FBT001 - a column of the table
    pause: float,
) -> None:
    """A fiftieth of the time its answers take; seldom in long runs, and hardly ever where one limit holds for all."""
    target = parse_target("http://127.0.0.1:1", "token")
    reader = auditor(target if own else shared(target), "ada", seconds=seconds)
    moments: list[float] = []

    async def look(_owner_id: str) -> None:
        moments.append(patient_clock.current_time())
        await trio.sleep(took)

    monkeypatch.setattr(reader, "_look", look)
    with trio.move_on_after(20 * pause):
        await reader.watch()
    assert np.diff(moments) == pytest.approx(pause + took, rel=0.01)


async def test_watching_survives_a_target_that_does_not_answer(
    scripted: ScriptedServer, patient_clock: trio.testing.MockClock
) -> None:
    del patient_clock
    scripted.script = [HANG_UP]
    reader = auditor(scripted.target, "ada")
    with trio.move_on_after(5):
        await reader.watch()
    assert len(scripted.arrivals) > 3
    assert reader.history.audit_readings == []
