"""What checkers know besides the history: the server's settings and the harness's own budgets."""

from __future__ import annotations

import msgspec


class ClockFacts(msgspec.Struct, frozen=True):
    """What the target's wall clock showed beyond this machine's, in nanoseconds: a lower and an upper bound each.

    `before` and `after` the run; None where it was not shown. `used_ns` is what was added to this machine's clock so
    that machines went by the target's.
    """

    before: tuple[int, int] | None = None
    after: tuple[int, int] | None = None
    used_ns: int = 0


APART, SHARED, UNKNOWN = "apart", "shared", "unknown"


class MarketFacts(msgspec.Struct, frozen=True):
    """Settings of the market: money in the smallest units of its asset, an hour's base prices in micro-USDT.

    Each is the setting of the same name (contract: Wallet, Jobs, Capacity). `payout_seconds` is how long the payout
    gateway takes at most until it says what became of a withdrawal.
    """

    fee_basis_points: int = 0
    dev_credit: int = 0
    cooldown_seconds: float = 86_400
    withdrawals_per_hour: int = 10
    daily_limit_usdt: int = 10_000 * 1_000_000
    daily_limit_btc: int = 100_000_000
    queue_timeout_seconds: float = 3_600
    price_cpu_hour: int = 10_000
    price_memory_gb_hour: int = 1_000
    price_gpu_hour: int = 500_000
    payout_seconds: float = 1


class Facts(msgspec.Struct, frozen=True):
    """Settings of the server under test, in seconds, and what its metrics were before the run.

    `baseline` is a scrape from before the first request of the run. Budgets are what the harness may use up before it
    no longer trusts itself, and how much may stay unanswered before a run says too little. None stands for a setting
    that is not known; `only_client` says that nobody but this run talks to the server. `clock` is None for a server on
    this machine's own clock. A `durable` server keeps its state over restarts; with `nonce_fallback` it goes
    on with nonces of its own while Redis is away. Several `instances` share all but their rate limits. `stands_on` are
    the things outside of itself that it may refuse requests for with 5xx, "redis" and "disk"; None where nobody knows.
    `lacks` is what the target was found not to have (`Feature`), None where nobody looked. A certificate lives for one
    of `certificate_seconds`.

    `addresses` says whether the server tells the addresses of the run's clients apart, sees all at one, or may do
    either. A request that takes longer than `request_seconds` to come is closed by a deadline (contract §6); None where
    nothing stands between the run and its server that could delay one. `unsure_settings` names settings of the server
    that are assumed: it may have been started with others. `market` is None where nobody knows how a market is set.
    """

    stale_seconds: float | None
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
    unanswered_share_budget: float = 0.05
    clock: ClockFacts | None = None
    durable: bool = False
    nonce_fallback: bool = False
    instances: int = 1
    stands_on: tuple[str, ...] | None = None
    lacks: tuple[str, ...] | None = None
    certificate_seconds: tuple[float, ...] = (900.0,)
    addresses: str = APART
    request_seconds: float | None = None
    unsure_settings: tuple[str, ...] = ()
    market: MarketFacts | None = None
    virtual: bool = False
    """Whether time was virtual: then the harness is never late, and nothing is told of how it did."""
