"""What a conductor knows while a run goes on: each process tells of its own by its own clock, a second at a time."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing

from reference_server.wire.units import SECOND_NS
from simulator.client.target import parse_target
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, History
from simulator.judging.parts import heartbeat_rates
from simulator.load.conductor import Conductor
from simulator.load.deltas import Cursor
from simulator.load.messages import Frames, Halt, Joined, Left, PartReport, Report, Started
from simulator.load.options import ConductorOptions
from simulator.scenario.loading import parse_scenario
from simulator.worlds.progress import Happening, Kind, Phase, Progress
from tests.load.conducted import plain

BEGAN_NS = 1000 * SECOND_NS


class Shard:
    """One part of a run: ten heartbeats a second, from its start on, told of until a moment of the run."""

    def __init__(self, conductor: Conductor, part: int, offset_ns: tuple[int, int] = (0, 0)) -> None:
        self._conductor = conductor
        self._part = part
        self._history = History()
        self._cursor = Cursor(self._history)
        self._counted = 0
        conductor._receive(Joined(part, f"w{part}", part * 5, 5, BEGAN_NS, offset_ns=offset_ns))

    def tell(self, until_seconds: float, *changes: Happening, last: bool = False) -> None:
        until_ns = round(until_seconds * SECOND_NS)
        while (at_ns := self._counted * SECOND_NS // 10) < until_ns:
            beat = (Operation.HEARTBEAT, Answer.ACCEPTED, Answer.ACCEPTED, 0)
            self._history.append(at_ns, at_ns, at_ns + 1, b"abcdefghijkl", self._part * 5, 200, *beat)
            self._counted += 1
        delta = self._cursor.delta(self._cursor.rows())
        report = Report(BEGAN_NS + until_ns, [], {}, delta, last, [*changes])
        self._conductor._receive(PartReport(self._part, report))


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def conductor(progress: Progress) -> Conductor:
    text = plain("60s")
    target = parse_target("http://127.0.0.1:1", "x" * 40)
    options = ConductorOptions(master="127.0.0.1")
    made = Conductor(parse_scenario(text), text, 1, target, History(), progress, options, {})
    made._receive(Started(BEGAN_NS))
    return made


def rates(conductor: Conductor) -> list[float]:
    return [float(one) for one in heartbeat_rates(*conductor.known())]


def test_a_second_counts_once_each_process_has_told_of_all_of_it(conductor: Conductor) -> None:
    one, other = Shard(conductor, 0), Shard(conductor, 1)
    one.tell(4.3)
    assert rates(conductor) == []
    other.tell(3.6)
    assert rates(conductor) == [20, 20]
    one.tell(9.3)
    assert rates(conductor) == [20, 20]
    other.tell(6.5, last=True)
    assert rates(conductor) == [20, 20, 20, 20, 20, 15, 10, 10]


def test_a_process_that_is_gone_keeps_nobody_waiting(conductor: Conductor) -> None:
    one, other = Shard(conductor, 0), Shard(conductor, 1)
    other.tell(2)
    one.tell(5.2)
    conductor._receive(Left("w1", "it died"))
    assert rates(conductor) == [20, 10, 10, 10]
    assert conductor.known()[1] == 5.2 * SECOND_NS


def test_a_clock_that_is_known_within_bounds_is_taken_at_its_earliest(conductor: Conductor) -> None:
    Shard(conductor, 0, (-SECOND_NS // 2, SECOND_NS // 4)).tell(5)
    assert conductor.known()[1] == 4.75 * SECOND_NS


def test_all_is_known_where_nobody_has_more_to_tell(conductor: Conductor) -> None:
    assert conductor.known()[1] == NEVER_NS
    Shard(conductor, 0).tell(3, last=True)
    assert conductor.known()[1] == NEVER_NS


def test_attacks_of_a_process_that_is_gone_go_on_no_longer(conductor: Conductor, progress: Progress) -> None:
    one, other = Shard(conductor, 0), Shard(conductor, 1)
    first, second, third = (Happening(Kind.ATTACK, "replay.exact", number, SECOND_NS) for number in (1, 2, 3))
    one.tell(2, first)
    other.tell(2, second, third)
    other.tell(3, msgspec.structs.replace(second, ended_ns=2 * SECOND_NS, note="9 sent"))
    assert [number for _, number, _ in progress.under_way] == [1, 3]
    conductor._receive(Left("w1", "it died"))
    assert [number for _, number, _ in progress.under_way] == [1]
    *_, last = progress.take_changes()
    assert (last.number, last.note) == (3, "its worker says no more")
    assert last.ended_ns is not None
    one.tell(4, msgspec.structs.replace(first, ended_ns=3 * SECOND_NS), last=True)
    assert progress.under_way == {}


async def test_a_master_is_told_to_halt_also_where_the_wait_for_it_is_given_up(
    conductor: Conductor, progress: Progress
) -> None:
    """Two signals that come at once give it up before it has begun."""
    conductor._playing = True
    progress.ending.give_up()
    ours, theirs = trio.testing.memory_stream_pair()
    await conductor._end(ours)  # type: ignore[arg-type]  # its twin
    assert [*Frames().feed(bytes(await theirs.receive_some(1000)))] == [Halt()]
    assert progress.phase is Phase.DONE
