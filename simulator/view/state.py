"""The state of a run at one moment, as plain values that can be drawn, printed and exported without the run."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a Struct resolves its annotations

import msgspec

from simulator.checkers.verdict import Status  # noqa: TC001 - as above
from simulator.history.counting import BUCKETS_NS
from simulator.worlds.progress import Happening, Phase  # noqa: TC001 - as above


class ThresholdNow(msgspec.Struct, frozen=True):
    """A threshold's status now: `status` is None if it is known only at the end, or if there is no answer yet.

    `measured` is a text, `value` the number in the metric's own unit, or None. `may_hold_later` says that a threshold
    that does not hold now may hold at the end.
    """

    metric: str
    expression: str
    status: Status | None = None
    measured: str = ""
    value: float | None = None
    may_hold_later: bool = False


class ViewState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run. Times are nanoseconds since its start, in virtual time if it is played in virtual time.

    `rates` are heartbeats accepted in each second so far. `answers` are counts by operation and status, those to
    attacks (`attack_answers`) by attack and status; status 0 stands for no answer. `thresholds_at_ns` is the time of
    their last evaluation, or None. `times_as_fast` is the speed of virtual time relative to real time.
    """

    name: str
    seed: int
    phase: Phase
    elapsed_ns: int = 0
    duration_ns: int = 0
    machines_connected: int = 0
    machines_wanted: int = 0
    in_flight: int = 0
    held_up: int = 0
    dropped_starts: int = 0
    accepted: int = 0
    refused: int = 0
    lost: int = 0
    rate: float = 0.0
    rates: tuple[int, ...] = ()
    p50_ms: float | None = None
    p99_ms: float | None = None
    attacks_refused: int = 0
    attacks_accepted: int = 0
    attacks_other: int = 0
    jobs_posted: int = 0
    jobs_ended: int = 0
    withdrawals_asked: int = 0
    withdrawals_settled: int = 0
    requests: int = 0
    under_way: tuple[Happening, ...] = ()
    alerts_raised: Mapping[str, int] = {}
    thresholds: tuple[ThresholdNow, ...] = ()
    thresholds_at_ns: int | None = None
    last_problem: str = ""
    times_as_fast: float | None = None
    answers: Mapping[tuple[str, int], int] = {}
    attack_answers: Mapping[tuple[str, int], int] = {}
    buckets: tuple[int, ...] = (0,) * (len(BUCKETS_NS) + 1)
    response_total_ns: int = 0
