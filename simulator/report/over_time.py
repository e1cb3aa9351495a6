"""The one scale of time that all plots of a run are over, what is marked on it, and figures to hover over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.judging.market_shown import unix_offset_ns
from simulator.report.drawing import HoverArea, Mark, Scale
from simulator.report.spans import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simulator.report.report_input import ReportInput
    from simulator.report.spans import Span

    Floats = NDArray[np.float64]

STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
COLOURS = {
    SpanKind.FAULT: "red",
    SpanKind.SILENCE: "muted",
    SpanKind.ATTACK: "violet",
    SpanKind.ALERT: "orange",
    SpanKind.DEATH: "red",
    SpanKind.END: "red",
}
UNMARKED = frozenset({SpanKind.ALERT})
"""What has plots of its own, and is marked in no other."""


class RunClock(msgspec.Struct, frozen=True):
    """What the wall clock showed at the start of a run's time; `exact` where it was read during the run."""

    started: datetime | None
    exact: bool = False

    def at(self, at_ns: int) -> datetime | None:
        """Return what it showed then; None where nobody knows."""
        try:
            return None if self.started is None else self.started + timedelta(microseconds=at_ns // 1000)
        except OverflowError:
            return None

    def text(self, at_ns: int) -> str:
        """Write what it showed then, as `17:40:16.123 UTC`; nothing where nobody knows."""
        moment = self.at(at_ns)
        about = "" if self.exact else "about "
        return "" if moment is None else f"{about}{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def clock_of(report_input: ReportInput) -> RunClock:
    """Return the run's clock: as it was read during the run, else by when the run says it was started."""
    offset_ns = unix_offset_ns(report_input.history)
    try:
        if offset_ns is not None:
            return RunClock(datetime.fromtimestamp(offset_ns / SECOND_NS, UTC), exact=True)
        return RunClock(datetime.fromisoformat(report_input.record.started_at).astimezone(UTC))
    except (ValueError, OverflowError, OSError):
        return RunClock(None)


class Figure(msgspec.Struct, frozen=True):
    """Values over time that are shown as words: what they are, when, and how one is written."""

    name: str
    at: Floats
    values: Floats
    write: Callable[[float], str]


class RunTime(msgspec.Struct, frozen=True):
    """A run's time: how long it took, what happened when, and what the wall clock showed."""

    seconds: float
    spans: Sequence[Span]
    clock: RunClock

    @property
    def end(self) -> float:
        """Return where drawings of it end."""
        return max(self.seconds, 1.0)

    def scale(self) -> Scale:
        """Return the scale that every plot over time has."""
        return Scale(0, self.end, lambda most: _ticks(self.end, most), written, self._marks())

    def _marks(self) -> list[Mark]:
        """Return what is marked in every plot: of what overlaps and is of one kind, one."""
        marks: list[Mark] = []
        for kind in SpanKind:
            mine = [one for one in self.spans if one.kind is kind and kind not in UNMARKED]
            for one in mine:
                last = marks[-1] if marks and marks[-1].colour == COLOURS[kind] else None
                if last is not None and last.end > last.start and last.start <= one.start <= last.end < self.end:
                    marks[-1] = Mark(last.start, max(last.end, one.end), last.colour)
                else:
                    marks.append(Mark(one.start, one.end, COLOURS[kind]))
        return marks

    def areas(self, figures: Sequence[Figure]) -> Callable[[int], list[HoverArea]]:
        """Return what says, for each piece of time, between what the figures were and what happened meanwhile."""

        def cut(most: int) -> list[HoverArea]:
            pieces = min(most, max(1, int(np.ceil(self.end))))
            texts: list[list[str]] = [[] for _ in range(pieces)]
            for figure in figures:
                for piece, words in _words(figure, self.end, pieces):
                    texts[piece].append(words)
            width = self.end / pieces
            return [
                HoverArea(piece * width, (piece + 1) * width, self._text(piece * width, (piece + 1) * width, lines))
                for piece, lines in enumerate(texts)
                if lines
            ]

        return cut

    def _text(self, start: float, end: float, lines: list[str]) -> str:
        wall = self.clock.text(int(start * SECOND_NS))
        head = f"{written(start)} to {written(end)}" + (f", {wall}" if wall else "")
        during = [f"during {one.title}" for one in self.spans if one.start < end and one.end >= start]
        return "\n".join([head, *lines, *during])


def _words(figure: Figure, end: float, pieces: int) -> list[tuple[int, str]]:
    """Return the pieces of time in which a figure has values, each with the least and the most of them in words."""
    known = np.isfinite(figure.values)
    at, values = figure.at[known], figure.values[known]
    place = np.clip((at * pieces / end).astype(np.int64), 0, pieces - 1)
    order = np.argsort(place, kind="stable")
    place, values = place[order], values[order]
    firsts = np.flatnonzero(np.diff(place, prepend=-1))
    if not len(firsts):
        return []
    low, high = np.minimum.reduceat(values, firsts), np.maximum.reduceat(values, firsts)
    return [
        (int(piece), f"{figure.name} {_range(figure.write(float(least)), figure.write(float(most)))}")
        for piece, least, most in zip(place[firsts], low, high, strict=True)
    ]


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _ticks(seconds: float, most: int) -> list[float]:
    """Choose round moments to label, at most so many."""
    step = next((step for step in STEPS_SECONDS if seconds / step < most), seconds)
    return [place * step for place in range(int(seconds // step) + 1)]


def written(seconds: float) -> str:
    """Write a moment of the run, as `0:12` or `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"
