"""A run over several hosts, for real: each in a network namespace, with its own address and, for some, clock."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from shutil import which
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.bundle.verify import read_bundle
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import HONEST, NEVER_NS, NO_SOURCE, History, at_host
from simulator.load.messages import Joined
from tests.load.network_of_workers import ACCEPTED, Plan, Played
from tests.load.processes import ROOT, conclusively
from tests.support.alone import INCONCLUSIVE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRESH = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
TRIED = "mount -t tmpfs names /run && ip netns add host && ip link add hub type bridge"
TIMEOUT_SECONDS = 400.0
MACHINES = 40
AHEAD_SECONDS = 1000
REGISTERED = "hatchfarm_workers_total"
TIGHT = {"RATE_LIMIT_BURST": "150", "RATE_LIMIT_REFILL_PER_SECOND": "40"}
"""Enough for the machines of one host, and soon too little for all machines at one address."""
AMPLE = {"RATE_LIMIT_BURST": "2000", "RATE_LIMIT_REFILL_PER_SECOND": "1000"}
SCENARIO = """\
version = 1
name = "hosts"
seed = 6
duration = "{duration}"
[server.settings]
RATE_LIMIT_BURST = {burst}
RATE_LIMIT_REFILL_PER_SECOND = {refill}
[fleet]
machines = 40
owners = 4
heartbeat_interval = "600ms"
stages = [{{ duration = "1s", target = 40 }}]
[[load]]
user = "owner-onboarding"
rate = 2
stages = [{{ duration = "1s", target = 4 }}]
[[attacks]]
name = "replay.exact"
start = "2s"
duration = "2s"
rate = 10
[thresholds]
"heartbeat.accepted" = ["rate>0.999"]
"attacks.accepted" = ["count==0"]
"""


@pytest.fixture(scope="module")
def fresh() -> tuple[str, ...]:
    """What runs a program in namespaces of its own, as root or where others may."""
    for program in ("unshare", "nsenter", "ip", "mount"):
        if which(program) is None:
            pytest.skip(f"{program} is not installed")
    problem = ""
    for command in (FRESH, (*FRESH, "--map-root-user")):
        tried = subprocess.run([*command, "sh", "-c", TRIED], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return command
        problem = tried.stderr.strip()
    pytest.skip(f"no network can be made here: {problem}")


class Run:
    """What came of a run: to the programs, and in its bundle."""

    def __init__(self, folder: Path, played: Played) -> None:
        self.played = played
        bundle = (folder / "results" / "hosts" / "latest").resolve()
        _, self.history = read_bundle(bundle)
        self.verdict: dict[str, Any] = msgspec.json.decode((bundle / "verdict.json").read_bytes())
        lines = (folder / "joined.jsonl").read_bytes().splitlines()
        self.joined = [msgspec.json.decode(line, type=Joined) for line in lines]

    def judged(self) -> dict[str, str]:
        """Return what each checker says."""
        return {one["name"]: one["status"] for one in self.verdict["checkers"]}

    def machines_at(self, host: int, from_ns: int = 0, to_ns: int = NEVER_NS) -> set[int]:
        """Return the machines of a host of which a heartbeat was accepted within a time."""
        rows = heartbeats(self.history)
        rows = rows[(rows["sent_ns"] >= from_ns) & (rows["sent_ns"] < to_ns)]
        return {row["machine"] for row in rows if at_host(int(row["source"]))[1] == host}

    def machines_of(self, owner: str) -> list[int]:
        """Return an owner's machines."""
        return [number for number, one in self.history.machines.items() if one.owner_id == owner]

    def part_of(self, machine: int) -> Joined:
        """Return the part that a machine's number belongs to."""
        return next(one for one in self.joined if 0 <= machine - one.first_machine < one.machines)


def heartbeats(history: History) -> NDArray[Any]:
    rows = history.rows()
    mine = (rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED) & (rows["campaign"] == HONEST)
    return np.asarray(rows[mine])


def play(fresh: tuple[str, ...], folder: Path, duration: str, settings: dict[str, str], **plan: Any) -> Run:
    """Play a run in a folder, again when the machine was too busy to tell."""
    burst, refill = settings.values()
    runs: list[Run] = []

    def once() -> int:
        own = folder / f"try-{len(runs)}"
        own.mkdir()
        text = SCENARIO.format(duration=duration, burst=burst, refill=refill)
        (own / "scenario.toml").write_text(text, encoding="utf-8")
        planned = msgspec.json.encode(Plan(str(own), settings, **plan)).decode()
        done = subprocess.run(
            [*fresh, sys.executable, "-m", "tests.load.network_of_workers", planned],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        played = msgspec.json.decode(done.stdout, type=Played)
        assert (own / "joined.jsonl").exists(), played.output
        runs.append(Run(own, played))
        return played.code

    if plan.get("kill_at"):
        once()
    else:
        conclusively(once)
    return runs[-1]


def see_that_nothing_collides(run: Run) -> None:
    """See that the workers' machines and owners are apart, and that no two machines have one id on the server."""
    numbers = sorted((one.first_machine, one.first_machine + one.machines) for one in run.joined)
    assert len(numbers) == 4
    assert all(one[1] <= other[0] for one, other in pairwise(numbers))
    machines = run.history.machines
    assert all(any(first <= number < end for first, end in numbers) for number in machines)
    assert len({machine.worker_id for machine in machines.values()}) == len(machines)
    of_users = {machine.owner_id for machine in machines.values() if machine.owner_id.count("-") > 2}
    assert {owner.split("-")[2] for owner in of_users} == {"o1", "o2"}
    for owner in of_users:
        assert len({run.part_of(number).part for number in run.machines_of(owner)}) == 1


def test_machines_are_split_over_hosts_of_which_each_is_a_client(fresh: tuple[str, ...], tmp_path: Path) -> None:
    """Two hosts play half of the fleet each; what both sent is one history, in which the server is right."""
    run = play(fresh, tmp_path, "5s", TIGHT)
    assert (run.played.code, run.played.workers) == (0, [0, 0]), run.played.output
    assert set(run.judged().values()) == {"pass", "n/a"}
    assert [len(run.machines_at(host)) for host in (0, 1, 2)] == [0, 20, 20]
    see_that_nothing_collides(run)
    assert run.played.metrics[REGISTERED] == len(run.history.machines)
    assert run.played.metrics[ACCEPTED] == len(heartbeats(run.history))
    assert {one.offset_ns for one in run.joined} == {(0, 0)}
    sources = run.history.rows()["source"]
    assert {at_host(int(source)) for source in np.unique(sources)} >= {(NO_SOURCE, 1), (NO_SOURCE, 2)}
    assert "per-IP limits count each host as one client" in " ".join(run.verdict["warnings"])


def test_a_lost_host_loses_its_share_and_the_other_takes_over(fresh: tuple[str, ...], tmp_path: Path) -> None:
    """The verdict is open, and says of how many machines it does not know from when on what they sent."""
    run = play(fresh, tmp_path, "34s", AMPLE, kill_at=200)
    assert (run.played.code, run.played.workers) == (INCONCLUSIVE, [0, -9]), run.played.output
    lost = [one for one in run.history.parts if one.known_until_ns != NEVER_NS]
    (lost_host,) = {one.host for one in lost}
    (other,) = {1, 2} - {lost_host}
    assert len(lost) == 2
    assert all(one.known_until_ns >= 0 for one in lost)
    last_ns = max(row["sent_ns"] for row in heartbeats(run.history) if run.part_of(row["machine"]).host == lost_host)
    assert len(run.machines_at(lost_host)) == MACHINES // 2
    assert len(run.machines_at(other, to_ns=last_ns)) == MACHINES // 2
    assert len(run.machines_at(other, from_ns=last_ns)) == MACHINES
    see_that_nothing_collides(run)
    assert run.played.metrics[REGISTERED] >= len(run.history.machines)
    known = {name: status for name, status in run.judged().items() if status != "inconclusive"}
    assert known == {"features": "pass", "clock": "pass"}, "neither is known by what a host sent"
    reported = sum(lost_host == run.part_of(number).host for number in run.history.machines)
    assert f"What {reported} machines, and whoever else was played by the processes that were lost, sent from " in (
        run.played.output
    )


def test_hosts_with_clocks_of_their_own_play_by_bounds_that_hold_the_truth(
    fresh: tuple[str, ...], tmp_path: Path
) -> None:
    """Of two hosts that were started at another time one has the same monotonic clock, and one is far ahead of it."""
    run = play(fresh, tmp_path, "5s", TIGHT, boots={"host-0": 0, "host-1": AHEAD_SECONDS})
    assert (run.played.code, run.played.workers) == (0, [0, 0]), run.played.output
    assert set(run.judged().values()) == {"pass", "n/a"}
    ahead = {round(sum(one.offset_ns) / 2 / SECOND_NS): one.offset_ns for one in run.joined}
    assert sorted(ahead) == [0, AHEAD_SECONDS]
    for seconds, (low_ns, high_ns) in ahead.items():
        assert low_ns < seconds * SECOND_NS < high_ns
        assert high_ns - low_ns < SECOND_NS
    widths = [one.clock_width_ns for one in run.history.parts if one.host]
    assert len(widths) == 4
    assert all(0 < width < SECOND_NS for width in widths)
    assert all(len(run.machines_at(host, 0, 10 * SECOND_NS)) == MACHINES / 2 for host in (1, 2))
    see_that_nothing_collides(run)
