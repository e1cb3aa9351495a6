"""What the accounts that were read at the end say: how long jobs and withdrawals waited, and how many ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.contract.market import MARKET_OPERATIONS
from simulator.history.rows import HONEST, NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from simulator.history.rows import History

FINISHED = frozenset({"succeeded", "failed"})


class MarketShown(msgspec.Struct, frozen=True):
    """Seconds by the server's own times, endless where what was waited for did not come; and what came to an end."""

    start_seconds: NDArray[np.float64]
    settle_seconds: NDArray[np.float64]
    finished: int
    settled: int


def unix_offset_ns(history: History) -> int | None:
    """Return what makes a time of the run Unix time, by the harness's own clock; None where nobody read it."""
    readings = history.wall_readings
    if not readings:
        return None
    middle = readings[len(readings) // 2]
    return middle.unix_ns - (middle.sent_ns + middle.answered_ns) // 2


def shown_of(history: History) -> MarketShown:
    """Read the times of all jobs and withdrawals that accounts were shown at the end."""
    offset_ns = unix_offset_ns(history)
    starts: list[float] = []
    settles: list[float] = []
    finished = settled = 0
    for account in history.accounts_shown:
        read_ns = None if offset_ns is None else account.answered_ns + offset_ns
        for job in account.jobs:
            finished += job.get("state") in FINISHED
            starts += _start_seconds(job, read_ns)
        for withdrawal in account.withdrawals:
            settled += withdrawal.get("state") == "settled"
            done = withdrawal.get("state") != "pending"
            settles += _seconds(withdrawal, "updated_at" if done else "", read_ns)
    return MarketShown(np.array(starts), np.array(settles), finished, settled)


def market_seconds(history: History) -> NDArray[np.float64]:
    """Return how long each honest request to the market took, in seconds; without end where no answer came."""
    rows = history.rows()
    asked = np.isin(rows["operation"], sorted(MARKET_OPERATIONS)) & (rows["campaign"] == HONEST)
    mine = rows[asked]
    lost = (mine["answered_ns"] == NEVER_NS) | (mine["got"] == Answer.LOST)
    taken = np.where(lost, 0, mine["answered_ns"] - mine["planned_ns"]) / SECOND_NS
    seconds: NDArray[np.float64] = np.where(lost, np.inf, taken)
    return seconds


def _start_seconds(job: Mapping[str, Any], read_ns: int | None) -> Iterator[float]:
    """Return how long a job waited for its start. One that its agent cancelled before waited for nothing."""
    if job.get("started_at") is not None:
        yield from _seconds(job, "started_at", read_ns)
    elif job.get("state") == "expired":
        yield float("inf")
    elif job.get("state") in {"queued", "assigned"}:
        yield from _seconds(job, "", read_ns)


def _seconds(shown: Mapping[str, Any], until: str, read_ns: int | None) -> Iterator[float]:
    """Return the seconds from when something was made until a time that it shows, or until it was read."""
    made_ns = moment_of(shown, "created_at")
    until_ns = moment_of(shown, until) if until else read_ns
    if made_ns is not None and until_ns is not None:
        yield max(0, until_ns - made_ns) / SECOND_NS


def moment_of(shown: Mapping[str, Any], name: str) -> int | None:
    """Return a time that an object shows, in Unix nanoseconds; None where it shows none."""
    value = shown.get(name)
    return parse_timestamp(value) if isinstance(value, str) else None
