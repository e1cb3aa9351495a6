"""What a run can tell while it goes on: plain counters that the terminal polls."""

from __future__ import annotations

from simulator.contract.answers import ALTERNATIVES, Answer
from simulator.limits import LATENCIES_KEPT

MARKET_COUNTERS = ("jobs_posted", "jobs_ended", "withdrawals_asked", "withdrawals_settled")
"""What those who play agents count."""


class Progress:
    """Counters of one run, which began at `started_ns` of the system's monotonic clock.

    `latencies_ns` are response times since somebody last took them.
    """

    def __init__(self) -> None:
        self.phase = "starting"
        self.machines_wanted = 0
        self.machines_running = 0
        self.connected = 0
        self.connected_max = 0
        self.memory_max_bytes: int | None = None
        self.sent = 0
        self.in_flight = 0
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.connect_failures = 0
        self.onboarding_failures = 0
        self.dropped_starts = 0
        self.held_up = 0
        self.attacks_refused = 0
        self.attacks_accepted = 0
        self.attacks_other = 0
        self.attempts_skipped = 0
        self.jobs_posted = 0
        self.jobs_ended = 0
        self.withdrawals_asked = 0
        self.withdrawals_settled = 0
        self.elapsed_ns = 0
        self.started_ns = 0
        self.stale_alert = False
        self.auth_alert = False
        self.scrape_failures = 0
        self.last_problem = ""
        self._latencies_ns: list[int] = []

    def answered(self, got: Answer, latency_ns: int) -> None:
        """Count an honest heartbeat's answer."""
        if got is Answer.ACCEPTED:
            self.accepted += 1
        else:
            self.refused += 1
        if len(self._latencies_ns) < LATENCIES_KEPT:
            self._latencies_ns.append(latency_ns)

    def attacked(self, got: Answer, expected: Answer) -> None:
        """Count a hostile request's answer."""
        allowed = got is expected or got in ALTERNATIVES.get(expected, ())
        if got is Answer.ACCEPTED and not allowed:
            self.attacks_accepted += 1
        elif got in {Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST}:
            self.attacks_other += 1
        else:
            self.attacks_refused += 1

    def took(self, latencies_ns: list[int]) -> None:
        """Note response times that were counted elsewhere."""
        self._latencies_ns += latencies_ns[: max(0, LATENCIES_KEPT - len(self._latencies_ns))]

    def take_latencies_ns(self) -> list[int]:
        """Return the response times since the last call."""
        taken, self._latencies_ns = self._latencies_ns, []
        return taken
