"""Errors planted in a server that is otherwise right: each is proven, with its own rule, in every seeded run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers import run_checkers
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.records import Scrape
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkers.conftest import ModelServer, Story

MACHINES, SILENT = 20, 4
INTERVAL_SECONDS, STALE_SECONDS, WINDOW_SECONDS, THRESHOLD = 2, 6, 8, 10
SILENCE, CAMPAIGN, END = (12, 26), (8, 20), 45
REASONS = (Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED, Answer.INVALID_TOKEN)
SEEDS = (1, 2, 3)
each_seed = pytest.mark.parametrize("seed", SEEDS)
FAILURES = "hatchfarm_worker_auth_failures_total"
STALE_ALERT, AUTH_ALERT = "hatchfarm_alert_stale_workers", "hatchfarm_alert_worker_auth_failures"
RECENT = "hatchfarm_worker_auth_failures_recent"
UNKNOWN, STALE = "hatchfarm_workers_unknown_total", "hatchfarm_workers_stale_total"


def play(story: Story, server: ModelServer, seed: int, lost_share: float = 0) -> None:
    """Run a fleet of which a fifth falls silent while a campaign attacks it; some answers of the rest may be lost."""
    rng = np.random.default_rng(seed)
    happenings: list[tuple[int, Operation, int, Answer]] = []
    for machine in range(MACHINES):
        registered = int(rng.integers(0, 2 * SECOND_NS))
        happenings.append((registered, Operation.REGISTER, machine, Answer.ACCEPTED))
        beat_ns = registered + SECOND_NS
        while beat_ns < END * SECOND_NS:
            if machine >= SILENT or not SILENCE[0] <= beat_ns / SECOND_NS < SILENCE[1]:
                happenings.append((beat_ns, Operation.HEARTBEAT, machine, Answer.ACCEPTED))
            beat_ns += int(INTERVAL_SECONDS * SECOND_NS * rng.uniform(0.9, 1.1))
    for number, attacked_ns in enumerate(range(CAMPAIGN[0] * SECOND_NS, CAMPAIGN[1] * SECOND_NS, SECOND_NS // 3)):
        happenings.append((attacked_ns, Operation.HEARTBEAT, number % (2 * SILENT), REASONS[number % len(REASONS)]))
    happenings += [(half * SECOND_NS // 2, Operation.METRICS, -1, Answer.ACCEPTED) for half in range(1, 2 * END)]
    for at_ns, operation, machine, answer in sorted(happenings):
        sent_ns = at_ns - int(rng.integers(0, 10 * MILLISECOND_NS))
        answered_ns = at_ns + int(rng.integers(0, 10 * MILLISECOND_NS))
        if operation is Operation.METRICS:
            story.history.scrapes.append(Scrape(sent_ns, answered_ns, server.page(at_ns)))
            continue
        if operation is Operation.REGISTER:
            server.register(machine)
        elif answer is Answer.ACCEPTED:
            server.accept(machine, at_ns)
        else:
            server.refuse(machine, answer, at_ns)
        lost = operation is Operation.HEARTBEAT and machine >= SILENT and rng.random() < lost_share
        story.history.append(
            sent_ns,
            sent_ns,
            NEVER_NS if lost else answered_ns,
            len(story.history).to_bytes(12, "big"),
            machine,
            0,
            operation,
            answer,
            Answer.LOST if lost else answer,
            int(answer is not Answer.ACCEPTED),
        )


@pytest.fixture
def run(new_story: type[Story]) -> Story:
    return new_story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS, threshold=THRESHOLD)


@pytest.fixture
def server(run: Story, model_server: type[ModelServer]) -> ModelServer:
    return model_server(run.facts)


class Planted:
    """A server's own methods, and the means to put others in their place."""

    def __init__(self, server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.accept, self.refuse, self.page = server.accept, server.refuse, server.page
        self.stale, self.recent = server.stale, server.recent
        self._monkeypatch = monkeypatch

    def put(self, method: str, error: Callable[..., object]) -> None:
        """Replace a method of the server."""
        self._monkeypatch.setattr(self.server, method, error)

    def show(self, change: Callable[[dict[str, float], int], dict[str, float]]) -> None:
        """Change what every page shows."""
        self.put("page", lambda at_ns: {**self.page(at_ns), **change(self.page(at_ns), at_ns)})


def stale_an_interval_late(planted: Planted) -> None:
    planted.put("stale", lambda at_ns: planted.stale(at_ns - INTERVAL_SECONDS * SECOND_NS))


def stale_an_interval_early(planted: Planted) -> None:
    planted.put("stale", lambda at_ns: planted.stale(at_ns + INTERVAL_SECONDS * SECOND_NS))


def stale_never_clears(planted: Planted) -> None:
    most = [0]

    def stale(at_ns: int) -> int:
        most[0] = max(most[0], planted.stale(at_ns))
        return most[0]

    planted.put("stale", stale)


def stale_instead_of_unknown(planted: Planted) -> None:
    """Counts whoever was never heard from as stale, and nobody as unknown."""
    planted.show(
        lambda page, _: {UNKNOWN: 0.0, STALE: page[STALE] + page[UNKNOWN], STALE_ALERT: float(page[STALE] > 0)}
    )


def accepted_heartbeats_do_not_refresh(planted: Planted) -> None:
    def accept(machine: int, at_ns: int) -> None:
        if machine not in planted.server.heard:
            planted.accept(machine, at_ns)

    planted.put("accept", accept)


def refused_heartbeats_refresh(planted: Planted) -> None:
    def refuse(machine: int, reason: Answer, at_ns: int) -> None:
        planted.refuse(machine, reason, at_ns)
        planted.accept(machine, at_ns)

    planted.put("refuse", refuse)


def failures_counted_twice(planted: Planted) -> None:
    def refuse(machine: int, reason: Answer, at_ns: int) -> None:
        planted.refuse(machine, reason, at_ns)
        planted.refuse(machine, reason, at_ns)

    planted.put("refuse", refuse)


def one_failure_in_ten_not_counted(planted: Planted) -> None:
    seen = [0]

    def refuse(machine: int, reason: Answer, at_ns: int) -> None:
        seen[0] += 1
        if seen[0] % 10:
            planted.refuse(machine, reason, at_ns)

    planted.put("refuse", refuse)


def replays_counted_as_forgeries(planted: Planted) -> None:
    def refuse(machine: int, reason: Answer, at_ns: int) -> None:
        counted = Answer.INVALID_SIGNATURE if reason is Answer.NONCE_REPLAYED else reason
        planted.refuse(machine, counted, at_ns)

    planted.put("refuse", refuse)


def window_that_never_slides(planted: Planted) -> None:
    planted.put("recent", lambda _: len(planted.server.failures))


def window_half_as_long(planted: Planted) -> None:
    half_ns = WINDOW_SECONDS * SECOND_NS // 2
    planted.put("recent", lambda at_ns: sum(at_ns - failed_ns < half_ns for failed_ns, _ in planted.server.failures))


def window_a_little_too_long(planted: Planted) -> None:
    planted.put("recent", lambda at_ns: planted.recent(at_ns - WINDOW_SECONDS * SECOND_NS // 25))


def tumbling_window(planted: Planted) -> None:
    """Starts counting anew every window instead of sliding."""
    window_ns = WINDOW_SECONDS * SECOND_NS
    planted.put(
        "recent",
        lambda at_ns: sum(failed_ns // window_ns == at_ns // window_ns for failed_ns, _ in planted.server.failures),
    )


def alert_above_the_threshold_only(planted: Planted) -> None:
    planted.show(lambda page, _: {AUTH_ALERT: float(page[RECENT] > THRESHOLD)})


def alert_on_the_total(planted: Planted) -> None:
    planted.show(lambda page, _: {AUTH_ALERT: float(page[FAILURES] >= THRESHOLD)})


def alert_a_scrape_behind(planted: Planted) -> None:
    before = [0.0]

    def change(page: dict[str, float], _: int) -> dict[str, float]:
        shown, before[0] = before[0], page[STALE_ALERT]
        return {STALE_ALERT: shown}

    planted.put("page", lambda at_ns: (page := planted.page(at_ns)) | change(page, at_ns))


def counters_reset(planted: Planted) -> None:
    def page(at_ns: int) -> dict[str, float]:
        if at_ns == 30 * SECOND_NS:
            planted.server.counted.clear()
        return planted.page(at_ns)

    planted.put("page", page)


def page_ten_seconds_old(planted: Planted) -> None:
    """Sends a cached page, whose uptime alone is new."""
    planted.put(
        "page",
        lambda at_ns: {
            **planted.page(at_ns // (10 * SECOND_NS) * 10 * SECOND_NS),
            "hatchfarm_uptime_seconds": planted.page(at_ns)["hatchfarm_uptime_seconds"],
            "hatchfarm_workers_total": len(planted.server.registered),
            UNKNOWN: len(planted.server.registered) - len(planted.server.heard),
        },
    )


ERRORS: dict[Callable[[Planted], None], str] = {
    stale_an_interval_late: "alerts.stale",
    stale_an_interval_early: "alerts.stale",
    stale_never_clears: "alerts.stale",
    stale_instead_of_unknown: "alerts.unknown",
    accepted_heartbeats_do_not_refresh: "alerts.stale",
    refused_heartbeats_refresh: "alerts.stale",
    failures_counted_twice: "alerts.failures",
    one_failure_in_ten_not_counted: "alerts.failures",
    replays_counted_as_forgeries: "alerts.by-reason",
    window_that_never_slides: "alerts.recent",
    window_half_as_long: "alerts.recent",
    window_a_little_too_long: "alerts.recent",
    tumbling_window: "alerts.recent",
    alert_above_the_threshold_only: "alerts.auth-gauge",
    alert_on_the_total: "alerts.auth-gauge",
    alert_a_scrape_behind: "alerts.stale-gauge",
    counters_reset: "alerts.backwards",
    page_ten_seconds_old: "alerts.recent",
}


def judged(run: Story) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in run_checkers(run.history, run.facts)}


@each_seed
@pytest.mark.parametrize("lost_share", [0, 0.02, 0.5])
def test_without_an_error_the_run_passes(run: Story, server: ModelServer, seed: int, lost_share: float) -> None:
    """Both alerts fire and clear, so that every error has something to spoil."""
    play(run, server, seed, lost_share)
    alerts = judged(run)["alerts"]
    assert (alerts.status, alerts.findings) == (Status.PASS, ())
    assert {alert: (alerts.figures[alert]["fired"], alerts.figures[alert]["cleared"]) for alert in alerts.figures
            if alert in {"stale_workers", "worker_auth_failures"}} == {
        "stale_workers": (1, 1),
        "worker_auth_failures": (1, 1),
    }  # fmt: skip


@each_seed
@pytest.mark.parametrize(("error", "rule"), ERRORS.items(), ids=[error.__name__ for error in ERRORS])
def test_each_error_is_proven(
    run: Story,
    server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[Planted], None],
    rule: str,
    seed: int,
) -> None:
    error(Planted(server, monkeypatch))
    play(run, server, seed)
    alerts = judged(run)["alerts"]
    assert alerts.status is Status.FAIL
    assert rule in {finding.rule for finding in alerts.findings}
