"""What goes wrong with a network in memory: a right server passes, the rows say what happened, and bugs are found."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.deployment.conditions import Conditions
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST, MIDDLEBOX, History
from simulator.scenario.kinds import Duration
from simulator.scenario.values import LATE_NETWORK_FAULTS, NETWORK_FAULTS, SHARED_NETWORK_FAULTS, FaultOptions
from simulator.worlds.virtual.end_stream import EndStream
from simulator.worlds.virtual.network import MemoryNetwork, ShortWay
from simulator.worlds.virtual.network_faults import TroubledEnd
from simulator.worlds.virtual.scheduling import JumpingClock, run_seeded
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import planted
from tests.virtual.small_run import Played, play

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCENARIO = (Path(__file__).parents[1] / "faults/scenarios/network.toml").read_text(encoding="utf-8")
SCENARIO = SCENARIO.replace('name = "network"', 'name = "small"')
NEVER_USED_UP = Edit("reference_server.core.nonces", "NonceMemory.reserve", "if key in current:", "if key == current:")

PEACE = """
version = 1
name = "small"
duration = "12s"
[server.settings]
WORKER_STATUS_STALE_SECONDS = 2
[fleet]
machines = 10
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "1s", target = 10 }]
silence = [{ share = 0.2, at = "3500ms", duration = "5s" }]
[[attacks]]
name = "signature.forged"
start = "4s"
duration = "5s"
rate = 4
share = 1
"""


@pytest.fixture(scope="module")
def right() -> Played:
    """Return what came of a run against the right server."""
    return play(1, SCENARIO)


def beats_within(history: History, kind: str) -> NDArray[Any]:
    """Return the honest heartbeats that were sent while a fault surely lasted."""
    (fault,) = [one for one in history.faults if one.kind == f"network.{kind}"]
    rows = history.rows()
    rows = rows[(rows["campaign"] == HONEST) & (rows["operation"] == Operation.HEARTBEAT)]
    beats: NDArray[Any] = rows[(rows["sent_ns"] > fault.began_to_ns) & (rows["sent_ns"] < fault.ended_from_ns)]
    return beats


def causes(rows: NDArray[Any]) -> set[int]:
    lost = rows[rows["got"] == Answer.LOST]
    return set(losses_of(lost["status"])[0].tolist())


def test_a_right_server_passes_all_of_them(right: Played) -> None:
    assert right.code == 0, right.printed
    assert right.verified
    assert {one.kind for one in right.history.faults} == NETWORK_FAULTS


@pytest.mark.parametrize(("kind", "known"), [("loss", {Loss.CUT, Loss.CLOSING}), ("cut", {Loss.CUT})])
def test_what_is_lost_and_cut_has_no_answer(kind: str, known: set[Loss], right: Played) -> None:
    beats = beats_within(right.history, kind)
    share = (beats["got"] == Answer.LOST).mean()
    assert 0.1 < share < 0.6
    assert causes(beats) <= known


@pytest.mark.parametrize("kind", ["latency", "reordering", "duplication", "partition"])
def test_nothing_is_lost_by_the_others(kind: str, right: Played) -> None:
    beats = beats_within(right.history, kind)
    assert len(beats) > 10
    assert set(np.unique(beats["got"])) == {int(Answer.ACCEPTED)}


def test_latency_is_there_and_back_and_a_partition_lasts_to_its_end(right: Played) -> None:
    beats = beats_within(right.history, "latency")
    taken = (beats["answered_ns"] - beats["sent_ns"]) / MILLISECOND_NS
    inside = beats["sent_ns"] < 3 * SECOND_NS
    assert 100 <= taken[inside].min() < taken[inside].max() <= 302
    beats = beats_within(right.history, "partition")
    assert beats["answered_ns"].min() >= 13.5 * SECOND_NS


def test_requests_overtake_others(right: Played) -> None:
    beats = beats_within(right.history, "reordering")
    beats = beats[np.argsort(beats["sent_ns"])]
    assert (np.diff(beats["answered_ns"]) < -10 * MILLISECOND_NS).any()


def test_copies_are_refused_as_replays_and_are_rows_of_their_own(right: Played) -> None:
    rows = right.history.rows()
    copies = rows[rows["campaign"] == MIDDLEBOX]
    assert len(copies) > 5
    assert set(np.unique(copies["got"])) == {int(Answer.NONCE_REPLAYED)}
    beats = beats_within(right.history, "duplication")
    assert set(map(bytes, copies["nonce"])) <= {bytes(one) for one in beats["nonce"]}


def test_the_same_seed_plays_the_same_troubles(right: Played) -> None:
    assert play(1, SCENARIO).digest == right.digest


def test_a_server_that_takes_a_copy_is_found_without_any_attack() -> None:
    with planted((NEVER_USED_UP,)):
        played = play(1, SCENARIO[: SCENARIO.index("[[attacks]]")])
    assert played.code == 1
    assert "had nonce" in played.printed


GIVEN_UP = """
version = 1
name = "small"
duration = "40s"
[fleet]
machines = 12
owners = 3
heartbeat_interval = "1500ms"
certificate_rotation = "4s"
[[faults]]
kind = "network.partition"
at = "5s"
duration = "20s"
"""
RESTARTED = """
version = 1
name = "small"
duration = "20s"
metrics_interval = "1s"
[fleet]
machines = 6
owners = 2
heartbeat_interval = "1s"
[[faults]]
kind = "network.latency"
at = "3s"
duration = "10s"
latency = "1900ms"
[[faults]]
kind = "server.kill"
at = "8s"
"""


def test_a_rotation_that_was_given_up_does_not_come_behind_the_next() -> None:
    """It would supersede the certificate that its machine has just been given."""
    played = play(1, GIVEN_UP)
    assert played.code == 0, played.printed
    lost = played.history.rows()
    lost = lost[(lost["operation"] == Operation.CERTIFICATE) & (lost["got"] == Answer.LOST)]
    assert len(lost)


@pytest.mark.parametrize("durable", [False, True])
def test_a_restart_behind_latency_explains_what_is_read_again(durable: bool) -> None:  # noqa: FBT001 - a table's column
    """A scrape whose connection was lost is sent once more, and the second time another process answers it."""
    played = play(7, RESTARTED + ("[server]\ndurable = true\n" if durable else ""))
    assert played.code == 0, played.printed


def test_a_long_answer_is_late_by_the_latency_and_no_more() -> None:
    clock, answer = JumpingClock(), bytes(2_000_000)
    network = MemoryNetwork(clock, *map(ShortWay, np.random.default_rng(1).spawn(2)))

    async def read() -> float:
        conditions = Conditions(np.random.default_rng(1))
        make = partial(TroubledEnd, network=network, conditions=conditions, port=1)
        network.make_ends[1] = partial(make, of_client=True), partial(make, of_client=False)
        async with trio.open_nursery() as nursery:
            network.listen(1, lambda end: nursery.start_soon(EndStream(end).send_all, answer))
            stream = EndStream(network.dial(None, 1, lambda _taken: None))
            conditions.begin(
                FaultOptions(
                    kind="network.latency",
                    at_ns=Duration(0),
                    duration_ns=Duration(SECOND_NS * 60),
                    latency_ns=Duration(SECOND_NS * 2),
                )
            )
            came = 0
            while came < len(answer):
                came += len(await stream.receive_some())
        return trio.current_time()

    assert run_seeded(read, seed=1, clock=clock) == pytest.approx(2, abs=0.1)


FORGED = Edit("reference_server.core.heartbeats", "verify", '|{policy_id}"), heartbeat.signature):',
              '|{policy_id}")[:8], heartbeat.signature[:8]):')  # fmt: skip
STALE = Edit(
    "reference_server.core.fleet", "FleetIndex.is_stale", "> self._stale_ns", "> self._stale_ns + 1_500_000_000"
)


@pytest.mark.parametrize("kind", sorted(NETWORK_FAULTS))
def test_a_bug_is_found_while_the_network_is_at_fault(kind: str) -> None:
    """Both the attack and the silence are in the fault's time alone."""
    late = 'latency = "200ms"' if kind in LATE_NETWORK_FAULTS else ""
    share = "share = 0.1" if kind in SHARED_NETWORK_FAULTS else ""
    lasts = "1s" if kind == "network.partition" else "7s"
    text = PEACE + f'[[faults]]\nkind = "{kind}"\nat = "3s"\nduration = "{lasts}"\n{late}\n{share}\n'
    assert play(1, text).code == 0
    for edit, named in ((FORGED, "signature.forged"), (STALE, "stale")):
        with planted((edit,)):
            played = play(1, text)
        assert played.code == 1
        assert named in " ".join(line for line in played.printed.splitlines() if "FAILED" in line)
