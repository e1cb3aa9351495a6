"""What checkers know besides the history: the server's settings and the harness's own budgets."""

from __future__ import annotations

import msgspec


class Facts(msgspec.Struct, frozen=True):
    """Settings of the server under test, in seconds, and what its metrics were before the run.

    `baseline` is a scrape from before the first request of the run. Budgets are what the harness may use up before it
    no longer trusts itself. None stands for a setting that is not known; `only_client` says that nobody but this run
    talks to the server.
    """

    stale_seconds: float
    auth_window_seconds: float
    auth_threshold: int
    baseline: dict[str, float]
    lag_budget_seconds: float = 0.5
    slip_budget_seconds: float = 0.5
    dropped_share_budget: float = 0.001
    bad_seconds_share_budget: float = 0.05
    rate_limit_refill_per_second: float | None = None
    rate_limit_burst: int | None = None
    audit_events_per_stream: int | None = None
    only_client: bool = False
