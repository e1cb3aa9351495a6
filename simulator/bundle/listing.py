"""Listing the runs in a folder of results, newest first, one line each."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from simulator.bundle.verify import VERDICT
from simulator.limits import BUNDLE_RECORD_MAX_BYTES, RESULTS_READ_MAX

if TYPE_CHECKING:
    from pathlib import Path


class ResultLine(msgspec.Struct, frozen=True):
    """One run: its start (ISO 8601, in UTC), its scenario and verdict, and the path of its folder.

    `rate` is the accepted heartbeats per second over the whole run, `p99_ms` the 99th percentile of honest heartbeats'
    response times; None if the verdict has none.
    """

    started_at: str
    scenario: str
    verdict: str
    rate: float | None
    p99_ms: float | None
    path: str


class Listing(msgspec.Struct, frozen=True):
    """Runs, newest first, the number of unreadable folders, and the number left out because there are too many."""

    lines: list[ResultLine]
    unreadable: int
    left_out: int


class _Summary(msgspec.Struct, frozen=True):
    """The fields read from a verdict, which may be of an earlier version."""

    scenario: str
    status: str
    started_at: datetime
    duration_s: float = 0.0
    requests: dict[str, int] = {}
    latency_s: dict[str, float | None] = {}


def list_results(out: Path, read_max: int = RESULTS_READ_MAX) -> Listing:
    """Return the runs of a folder of results. Symlinks such as `latest` are left out.

    If there are more than `read_max`, only those with the last folder names are read: folders are named by time.
    """
    try:
        paths = [path for path in out.glob(f"*/*/{VERDICT}") if not path.parent.is_symlink()]
    except OSError:
        paths = []
    paths.sort(key=lambda path: path.parent.name, reverse=True)
    found: list[tuple[datetime, str, ResultLine]] = []
    unreadable = 0
    for path in islice(paths, read_max):
        summary = _read(path)
        if summary is None:
            unreadable += 1
        else:
            line = _line(summary, path.parent)
            found.append((summary.started_at.astimezone(UTC), line.path, line))
    found.sort(key=lambda one: one[:2], reverse=True)
    return Listing([line for _, _, line in found], unreadable, max(0, len(paths) - read_max))


def _read(path: Path) -> _Summary | None:
    try:
        if path.stat().st_size > BUNDLE_RECORD_MAX_BYTES:
            return None
        summary = msgspec.json.decode(path.read_bytes(), type=_Summary)
        summary.started_at.astimezone(UTC)
    except (OSError, ValueError, OverflowError, RecursionError):
        return None
    return summary


def _line(summary: _Summary, folder: Path) -> ResultLine:
    accepted, p99 = summary.requests.get("heartbeats_accepted"), summary.latency_s.get("p99")
    return ResultLine(
        started_at=summary.started_at.astimezone(UTC).isoformat(timespec="milliseconds"),
        scenario=summary.scenario,
        verdict=summary.status,
        rate=None if accepted is None or summary.duration_s <= 0 else accepted / summary.duration_s,
        p99_ms=None if p99 is None else 1000 * p99,
        path=str(folder),
    )
