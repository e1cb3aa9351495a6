"""A real Prometheus, loaded with the printed rules, watches a run; its alerts are held against the checkers' truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from simulator.checkers.alerts import check_alerts
from simulator.checkers.facts import Facts
from simulator.checkers.verdict import Status
from simulator.client.checking import check_target
from simulator.client.target import parse_target
from simulator.deployment.server_process import own_server
from simulator.history.rows import History
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario
from simulator.worlds.live.world import LIVE
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.progress import Progress
from tests.prometheus.agreement import (
    AUTH_GAUGE,
    STALE_GAUGE,
    ClockReading,
    Judged,
    RunClock,
    judge,
    possible_at,
    seen_at,
    turns,
)
from tests.prometheus.conftest import needs_prometheus
from tests.prometheus.prometheus import INTERVAL_MS, Evaluations, Scraped, prometheus_watching

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "token-that-prometheus-reads-from-a-file"
SEED = 8
ATTEMPTS = 3
CERTAIN = 3
"""Evaluations of certain truth that each part of a run must have; on a machine too busy for that it proves nothing."""
SCENARIO = msgspec.convert(
    {
        "version": 1,
        "name": "watched-by-prometheus",
        "duration": "12s",
        "server": {
            "settings": {
                "WORKER_STATUS_STALE_SECONDS": 2,
                "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS": 3,
                "WORKER_AUTH_FAIL_ALERT_THRESHOLD": 5,
            },
        },
        "fleet": {
            "machines": 20,
            "owners": 10,
            "heartbeat_interval": "400ms",
            "stages": [{"duration": "300ms", "target": 20}],
            "silence": [{"share": 0.25, "at": "3s", "duration": "6s"}],
        },
        "attacks": [{"name": "credential.wrong-token", "start": "3s", "duration": "4s", "rate": 4}],
    },
    Scenario,
    dec_hook=decode_value,
)
ALERTS = {
    "HatchFarmStaleWorkers": (STALE_GAUGE, 1, "warning"),
    "HatchFarmWorkerAuthFailures": (AUTH_GAUGE, 5, "critical"),
}


class Watched(NamedTuple):
    """A run, and what Prometheus saw of it: its evaluations within the run, its scrapes also after that."""

    history: History
    facts: Facts
    clock: RunClock
    ended_ms: int
    scrapes: list[Scraped]
    evaluations: Evaluations
    missed: int

    def judged(self, alert: str) -> list[Judged]:
        """Judge an alert at every evaluation."""
        gauge, threshold, _ = ALERTS[alert]
        seen = [(at_ms, seen_at(at_ms, self.scrapes, self.missed)) for at_ms in self.evaluations.at_ms]
        seen = [(at_ms, scrapes) for at_ms, scrapes in seen if scrapes]
        possible = possible_at(gauge, seen, self.history, self.facts, self.clock)
        return judge(gauge, threshold, self.evaluations.firing_ms.get(alert, set()), seen, possible)

    @property
    def conclusive(self) -> bool:
        """Return whether each alert was certainly off, on and off again, for long enough each time."""
        return all(
            turns(judged) == [False, True, False]
            and all(
                sum(one.truth is truth for one in part) >= CERTAIN
                for part, truth in zip(parts(judged), (False, True, False), strict=True)
            )
            for judged in map(self.judged, ALERTS)
        )


def parts(judged: list[Judged]) -> tuple[list[Judged], list[Judged], list[Judged]]:
    """Cut the evaluations of an alert where its truth was first certainly on and last certainly on."""
    on = [index for index, one in enumerate(judged) if one.truth is True]
    return judged[: on[0]], judged[on[0] : on[-1] + 1], judged[on[-1] + 1 :]


def read_clocks() -> ClockReading:
    """Read both clocks; the system's gives the wall clock first."""
    clock = SystemClock()
    before, after = clock.now(), clock.now()
    return ClockReading(before.monotonic_ns, after.wall_ns, after.monotonic_ns)


async def watch_a_run(rules: Path, folder: Path) -> Watched:
    """Run the scenario against a server of its own while a Prometheus watches."""
    history = History()
    async with own_server(SCENARIO.server.environ(), TOKEN) as server:
        target = parse_target(server.url, TOKEN)
        facts = Facts(stale_seconds=2, auth_window_seconds=3, auth_threshold=5, baseline=await check_target(target))
        async with prometheus_watching(server.url, TOKEN, rules, folder) as prometheus:
            run = FleetRun(LIVE, SCENARIO, SEED, target, history, Progress())
            began = read_clocks()
            await run.run()
            before, now_ns, ended = read_clocks(), run.now(), read_clocks()
            clock = RunClock.of([began, ended], (before.before_ns - now_ns, ended.after_ns - now_ns))
            from_ms, to_ms = began.wall_ns // 1_000_000, ended.wall_ns // 1_000_000
            await prometheus.until_evaluated(to_ms + 2 * INTERVAL_MS)
            return Watched(
                history,
                facts,
                clock,
                to_ms,
                [one for one in await prometheus.scrapes() if one.start_ms >= from_ms],
                await prometheus.evaluations(from_ms, to_ms),
                await prometheus.missed_evaluations(),
            )


@needs_prometheus
async def test_prometheus_alerts_when_the_checkers_know_it_must_and_never_else(
    printed_rules: Path, tmp_path: Path
) -> None:
    """At every evaluation: fires where the truth is certainly on, is quiet where it is certainly off.

    A run on a machine so busy that too little was certain is made again.
    """
    for attempt in range(ATTEMPTS):
        with trio.fail_after(120):
            watched = await watch_a_run(printed_rules, tmp_path / str(attempt))
        if watched.conclusive:
            break
    else:
        pytest.fail(f"too little was certain in {ATTEMPTS} runs")
    for alert, (_, _, severity) in ALERTS.items():
        wrong = [one for one in watched.judged(alert) if one.wrong]
        assert not wrong, f"{alert} was wrong at {len(wrong)} evaluations, among them {wrong[:3]}"
        labels = watched.evaluations.labels[alert]
        assert (labels["severity"], labels["job"], labels["alertstate"]) == (severity, "hatchfarm", "firing")
    assert set(watched.evaluations.firing_ms) == set(ALERTS)

    # What Prometheus read is a second, independent series of scrapes: the checker of every run judges it too.
    own = watched.history.scrapes[0]
    watched.history.scrapes[:] = [
        msgspec.structs.replace(own, sent_ns=sent_ns, answered_ns=answered_ns, samples=one.samples)
        for one in watched.scrapes
        if one.samples and one.end_ms <= watched.ended_ms
        for sent_ns, answered_ns in [watched.clock.during(one.start_ms, one.end_ms)]
    ]
    verdict = check_alerts(watched.history, watched.facts)
    assert verdict.status is Status.PASS, verdict.summary
    assert [verdict.figures[name]["fired"] for name in ("stale_workers", "worker_auth_failures")] == [1, 1]

    # And the comparison can fail: each alert is found wrong when held against the other's truth or five seconds late.
    late = Evaluations(
        watched.evaluations.at_ms,
        {name: {at_ms + 5000 for at_ms in firing} for name, firing in watched.evaluations.firing_ms.items()},
        {},
    )
    assert all(any(one.wrong for one in watched._replace(evaluations=late).judged(alert)) for alert in ALERTS)
