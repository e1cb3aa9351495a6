"""A run that Locust conducts, with everything in it: three witnesses count the same requests, and all checkers pass.

The witnesses are Locust's statistics, the history that the checkers judge, and the server's own metrics.
"""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.losses import TENTH_NS, Loss, losses_of
from simulator.history.rows import HONEST
from simulator.history.starvation import HARNESS
from simulator.history.tables import read_history
from simulator.limits import LAST_ANSWERS_SECONDS
from tests.cli.conftest import Hatchfarm, until_conclusive
from tests.load.conducted import EVERYTHING, MACHINES, MARKET, POLL_SECONDS, conducted, plain
from tests.support.waiting import until

if TYPE_CHECKING:
    from simulator.history.rows import History

WRONG_CLOCKS = '[[fleet.clocks]]\nshare = 0.1\noffset = "-5m"\n'
LOAD_LINES = [
    ("GET", "audit"), ("GET", "metrics"), ("GET", "statuses"), ("GET", "summary"), ("POST", "certificate"),
    ("POST", "consent create"), ("POST", "consent revoke"), ("POST", "policy activate"), ("POST", "policy create"),
    ("POST", "register"), ("POST", "agent register"), ("GET", "wallet read"), ("GET", "resources read"),
]  # fmt: skip


OWNERS_WHO_STOP = """
{ duration = "1s", target = 4 }, { duration = "3200ms", target = 4 }, { duration = "600ms", target = 0 }
"""
PAUSE = '[[faults]]\nkind = "server.pause"\nat = "4s"\nduration = "2s"\n'
BROKEN_FOR_WORKERS = """\
import os, sys
if "--worker" in sys.orig_argv:
    os.write(2, b"no room for workers\\n")
    os._exit(7)
"""


NOTHING_TO_CHECK = frozenset({"revocation", "durability", "nonces", "clock", "metering", "matching", "log"})
"""Checkers that have nothing to check where no fault is made, all is on one clock, revoked machines rest, jobs may not
have ended yet, and others know the secrets."""


class Whole(msgspec.Struct, frozen=True):
    """What is left of a run: how it ended, its verdict, and its history."""

    code: int
    output: str
    verdict: dict[str, Any]
    history: History

    @property
    def rows(self) -> Any:
        return self.history.rows()

    @property
    def refused_machines(self) -> set[int]:
        """Return the machines whose clocks are too wrong: the server never heard from them."""
        wrong = self.rows["got"] == Answer.TIMESTAMP_OUT_OF_WINDOW
        return set(self.rows["machine"][wrong].tolist())

    @property
    def shown(self) -> dict[str, float]:
        """What the server showed after the last answer."""
        return self.history.scrapes[-1].samples

    def locust(self, method: str, name: str) -> tuple[int, int]:
        """Return Locust's requests and failures of one line."""
        line = next(one for one in self.history.locust_counts if (one.method, one.name) == (method, name))
        return line.requests, line.failures


def left_of(hatchfarm: Hatchfarm, code: int, output: str) -> Whole:
    folder = hatchfarm.folder / "results" / "conducted" / "latest"
    return Whole(code, output, hatchfarm.verdict(scenario="conducted"), read_history(folder))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Run everything once, by two workers, to its end."""
    hatchfarm = Hatchfarm(tmp_path_factory.mktemp("whole"))
    (hatchfarm.folder / "conducted.toml").write_text(plain("6s") + WRONG_CLOCKS + EVERYTHING + MARKET, encoding="utf-8")
    finished = until_conclusive(lambda: hatchfarm.run("run", "conducted.toml", "--workers", "2", "--no-reports"))
    return left_of(hatchfarm, finished.code, finished.out + finished.err)


def test_every_checker_passes_that_of_the_statistics_among_them(whole: Whole) -> None:
    """But for those that such a run leaves without anything to check."""
    statuses = {one["name"]: one["status"] for one in whole.verdict["checkers"]}
    assert {status for name, status in statuses.items() if name not in NOTHING_TO_CHECK} == {"pass"}, whole.output
    assert set(statuses.values()) == {"pass", "n/a"}
    assert "statistics" in statuses
    assert (whole.code, whole.verdict["interrupted"]) == (0, None)
    assert "Reproduce with: hatchfarm run conducted.toml --seed 9 --workers 2" in whole.output.splitlines()


def test_heartbeats_are_as_many_in_locusts_statistics_in_the_history_and_in_the_servers_metrics(whole: Whole) -> None:
    """Sent, accepted and refused; those of attacks and of machines with wrong clocks among them."""
    heartbeats = whole.rows[whole.rows["operation"] == Operation.HEARTBEAT]
    honest = heartbeats[heartbeats["campaign"] == HONEST]
    requests, failures = whole.locust("POST", "heartbeat")
    assert requests == len(honest)
    assert failures == (honest["got"] != Answer.ACCEPTED).sum() > 0
    assert requests - failures == (honest["got"] == Answer.ACCEPTED).sum() > MACHINES
    attacks = [one for one in whole.history.locust_counts if one.method == "ATTACK"]
    assert {one.name for one in attacks} == {"replay.exact", "signature.forged"}
    assert sum(one.requests for one in attacks) == len(heartbeats) - len(honest) > 0
    assert sum(one.failures for one in attacks) == 0
    shown = {
        int(name.split('"')[1]): int(value)
        for name, value in whole.shown.items()
        if name.startswith("hatchfarm_heartbeats_total{") and value
    }
    assert shown == Counter(heartbeats["status"].tolist())
    assert sum(shown.values()) == requests + sum(one.requests for one in attacks)
    assert shown[200] == requests - failures


def test_refusals_are_as_many_by_their_reasons_in_the_history_and_in_the_servers_metrics(whole: Whole) -> None:
    got = Counter(whole.rows["got"].tolist())
    for answer, reason in REASONS.items():
        shown = whole.shown[f'hatchfarm_worker_auth_failures_by_reason_total{{reason="{reason}"}}']
        assert shown == got[answer], reason
    assert got[Answer.TIMESTAMP_OUT_OF_WINDOW] > 0
    assert whole.shown["hatchfarm_worker_auth_failures_total"] == sum(got[answer] for answer in REASONS)
    assert whole.shown["hatchfarm_rate_limited_total"] == got[Answer.RATE_LIMITED] == 0


def test_machines_are_those_that_the_fleet_and_the_owners_registered(whole: Whole) -> None:
    registered, failures = whole.locust("POST", "register")
    assert (registered, failures) == (len(whole.history.machines), 0)
    assert whole.shown["hatchfarm_workers_total"] == registered > MACHINES
    assert whole.shown["hatchfarm_workers_unknown_total"] == registered - (MACHINES - len(whole.refused_machines))
    assert 0 < len(whole.refused_machines) < MACHINES // 2


def test_both_workers_played_and_the_fleet_was_as_large_as_the_scenario_says(whole: Whole) -> None:
    heartbeats = whole.rows[(whole.rows["operation"] == Operation.HEARTBEAT) & (whole.rows["campaign"] == HONEST)]
    beating = set(heartbeats["machine"].tolist())
    assert len(beating) == MACHINES
    played = [
        sum(part.first_machine <= machine < part.first_machine + part.machines for machine in beating)
        for part in whole.history.parts
    ]
    # The others are the conductor's own part and those of owners, whose machines send none.
    assert sorted(played) == [0, 0, 0, MACHINES // 2, MACHINES // 2]


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel counts no waits")
def test_what_each_process_waited_for_a_cpu_is_known(whole: Whole) -> None:
    """Of this one, and of two shards and two of Locust's, each of which the harness's lateness may be of."""
    waited = {(one.who, one.process) for one in whole.history.cpu_waits}
    assert len([who for who, _ in waited if who == HARNESS]) == 5
    assert [who for who, _ in waited if who != HARNESS] == ["the server"]


def test_owners_did_all_that_they_do_without_a_refusal(whole: Whole) -> None:
    for method, name in LOAD_LINES:
        requests, failures = whole.locust(method, name)
        assert requests > 0, name
        assert failures == 0, name


async def test_ctrl_c_ends_a_conducted_run_in_order_with_nothing_lost(tmp_path: Path) -> None:
    """Whatever was told is told by all: statistics are those of the history, and no part is unknown.

    Nor do owners who stop lose what they have asked for: here they stop while the server is paused.
    """
    hatchfarm = Hatchfarm(tmp_path)
    async with conducted(hatchfarm, plain("10m", OWNERS_WHO_STOP) + EVERYTHING + PAUSE, "--workers", "2") as run:
        await run.until_at_work()
        # Those who onboard go on. On a busy machine others may have come too late to be stopped: it ends all the same.
        with suppress(trio.TooSlowError):
            await until(lambda: run.owners() <= 2, seconds_max=15, poll_seconds=POLL_SECONDS)
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 3
        await run.nothing_is_left()
    assert run.err == ""
    left = left_of(hatchfarm, 3, run.out)
    assert left.verdict["interrupted"].startswith("SIGINT after ")
    checkers = {one["name"]: one for one in left.verdict["checkers"]}
    assert checkers["statistics"]["status"] == "pass", checkers["statistics"]
    assert "part-lost" not in str(left.verdict)
    heartbeats = left.rows[left.rows["operation"] == Operation.HEARTBEAT]
    accepted = int((heartbeats["got"] == Answer.ACCEPTED).sum())
    assert accepted == left.shown['hatchfarm_heartbeats_total{status="200"}'] >= 5 * MACHINES
    # Nor is anything else lost, but what a busy machine did not answer within the last answers' time, and what an owner
    # was about to ask: Locust kills at once whom it sees waiting, also where that wait has ended meanwhile.
    lost = left.rows[left.rows["got"] == Answer.LOST]
    cause, waited_ns = losses_of(lost["status"])
    assert (cause == Loss.ENDED).all()
    about_to_ask = (lost["operation"] != Operation.HEARTBEAT) & (waited_ns <= 10 * TENTH_NS)
    assert ((waited_ns >= LAST_ANSWERS_SECONDS * 1e9) | about_to_ask).all()


async def test_ctrl_c_while_locust_starts_ends_the_run_with_what_is_known_which_is_nothing(tmp_path: Path) -> None:
    hatchfarm = Hatchfarm(tmp_path)
    async with conducted(hatchfarm, plain("10m"), "--workers", "2") as run:
        await until(lambda: len(run.workers) == 2, poll_seconds=POLL_SECONDS)
        run.process.send_signal(signal.SIGINT)
        assert await run.end() == 3
        await run.nothing_is_left()
    assert run.err == ""
    verdict = hatchfarm.verdict(scenario="conducted")
    assert verdict["interrupted"].startswith("SIGINT after ")
    assert verdict["requests"]["heartbeats_accepted"] == 0


def test_a_worker_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    """An environment in which only workers break, as where something they import is missing."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN_FOR_WORKERS, encoding="utf-8")
    hatchfarm = Hatchfarm(tmp_path)
    (tmp_path / "conducted.toml").write_text(plain("5s"), encoding="utf-8")
    finished = hatchfarm.run("run", "conducted.toml", "--workers", "2", env={"PYTHONPATH": str(tmp_path)})
    first = "hatchfarm run: Locust's worker {} ended with exit code 7; its last words: no room for workers\n"
    assert finished.code == 2
    assert finished.err in {first.format(1), first.format(2)}, "either may be seen to end first"
    assert list((tmp_path / "results").rglob("verdict.json")) == []
