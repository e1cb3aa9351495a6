"""The plots that are not of figures over time: what happened when, and how response times are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.limits import ATTACK_LANES_MAX
from simulator.platform.wording import plural
from simulator.report.drawing import COLOURS, DASHES, Caption, HoverArea, Panel, Plot, Scale, Shape, draw
from simulator.report.over_time import COLOURS as SPAN_COLOURS
from simulator.report.over_time import RunTime, written
from simulator.report.plots import milliseconds, short
from simulator.report.spans import SpanKind
from simulator.report.text import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from simulator.report.spans import Span
    from simulator.scenario.thresholds import Threshold

LANE = 32.0
"""Height of a lane in CSS pixels: a name, and below it a bar."""
SHORTEST = 0.004
"""Of the run that a bar is long at least, so that a moment is seen."""
LABEL_CHARACTERS = 40
"""Of a lane's name, which has to fit on a phone."""
BINS = 48
MARKED = (50, 99)
"""Percentiles that are marked in the distribution."""


def plot_spans(time: RunTime) -> Plot | None:
    """Draw what happened when, a lane for each thing; None where nothing did."""
    lanes = _lanes(time.spans)
    if not lanes:
        return None
    least = SHORTEST * time.end

    def paint(axes: Axes, shape: Shape) -> None:
        axes.grid(visible=False)
        axes.spines[["left"]].set_visible(False)
        axes.set_yticks([])
        axes.set_ylim(len(lanes), 0)
        for place, (title, spans) in enumerate(lanes):
            axes.text(
                0.002, place + 0.5, shortened(one_line(title), LABEL_CHARACTERS), transform=axes.get_yaxis_transform(),
                va="bottom", color=COLOURS["ink"], fontsize=shape.text * 0.95, parse_math=False,
            )  # fmt: skip
            colour = COLOURS[SPAN_COLOURS[spans[0].kind]]
            bars = [(one.start, max(one.end - one.start, least)) for one in spans]
            hatch = "////" if spans[0].kind in {SpanKind.FAULT, SpanKind.DEATH} else None
            axes.broken_barh([(0, time.end)], (place + 0.55, 0.32), color=COLOURS["grid"], alpha=0.35, linewidth=0)
            axes.broken_barh(
                bars, (place + 0.55, 0.32), facecolor=colour, edgecolor=COLOURS["paper"], hatch=hatch, linewidth=0
            )

    def areas(_most: int) -> list[HoverArea]:
        found = []
        for place, (_, spans) in enumerate(lanes):
            for one in spans:
                words = f"{one.title}\n{written(one.start)} to {written(one.end)}"
                wall = time.clock.text(int(one.start * 1e9))
                words += (f", from {wall}" if wall else "") + (f"\n{one.note}" if one.note else "")
                end = max(one.end, one.start + least)
                found.append(HoverArea(one.start, end, words, place / len(lanes), (place + 1) / len(lanes)))
        return found

    words = [f"{one.title} from {written(one.start)} to {written(one.end)}" for _, spans in lanes for one in spans]
    return draw(
        Caption(
            "What happened when",
            "All but alerts are shaded in every plot over time below.",
            f"{'; '.join(words)}.",
        ),
        [Panel("", LANE * len(lanes), paint)],
        time.scale(),
        areas,
    )


def _lanes(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """Return the spans by what they are of; attacks that are too many for lanes of their own share the last one."""
    lanes: dict[str, list[Span]] = {}
    attacks = list(dict.fromkeys(one.title for one in spans if one.kind is SpanKind.ATTACK))
    others = attacks[ATTACK_LANES_MAX:]
    for one in spans:
        title = f"attack: {plural(len(others), 'other')}" if one.title in others else one.title
        lanes.setdefault(title, []).append(one)
    return list(lanes.items())


def plot_distribution(taken: NDArray[np.float64], thresholds: Sequence[Threshold] = ()) -> Plot | None:
    """Draw how often which response time was seen, in seconds; None where there was none that came to an end."""
    taken = 1000 * np.maximum(taken[np.isfinite(taken)], 1e-6)
    if not len(taken):
        return None
    low, high = float(np.log10(taken.min())), float(np.log10(taken.max()))
    low, high = (low, high) if high - low > 0.01 else (low - 0.05, high + 0.05)  # noqa: PLR2004 - so that there is a bar
    edges = np.linspace(low, high, BINS + 1)
    counts = np.histogram(np.log10(taken), edges)[0]
    marked = {f"p{one}": float(np.percentile(taken, one, method="inverted_cdf")) for one in MARKED}

    def paint(axes: Axes, _shape: Shape) -> None:
        axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=COLOURS["blue"], alpha=0.6, linewidth=0)
        axes.yaxis.set_major_formatter(lambda value, _place: short(value))
        for place, (name, at) in enumerate(marked.items()):
            _upright(axes, float(np.log10(at)), name, "ink", 1 - 0.12 * place)
        for place, one in enumerate(thresholds):
            at = float(np.log10(max(1000 * one.bound, 1e-6)))
            if low <= at <= high:
                _upright(axes, at, one.expression, "red", 0.7 - 0.12 * place)

    def areas(_most: int) -> list[HoverArea]:
        until = np.cumsum(counts)
        return [
            HoverArea(
                float(start), float(end), _bin_text(float(start), float(end), int(count), int(so_far), len(taken))
            )
            for start, end, count, so_far in zip(edges[:-1], edges[1:], counts, until, strict=True)
        ]

    shown = ", ".join(f"{name} {milliseconds(at)}" for name, at in marked.items())
    return draw(
        Caption(
            "Distribution of response times",
            "How many honest heartbeats took how long; a logarithmic scale.",
            f"Response times of {plural(len(taken), 'honest heartbeat')}: {shown}, "
            f"from {milliseconds(float(taken.min()))} to {milliseconds(float(taken.max()))}.",
        ),
        [Panel("Heartbeats", 140, paint)],
        Scale(
            float(edges[0]), float(edges[-1]), lambda most: _powers(low, high, most), lambda at: milliseconds(10**at)
        ),
        areas,
    )


def _upright(axes: Axes, at: float, label: str, colour: str, height: float) -> None:
    axes.axvline(at, color=COLOURS[colour], linestyle=DASHES["dashed"], linewidth=1)
    left = at > sum(axes.get_xlim()) / 2
    axes.annotate(
        label, (at, height), xycoords=("data", "axes fraction"), xytext=(-4 if left else 4, -4),
        textcoords="offset points", ha="right" if left else "left", va="top", color=COLOURS[colour],
    )  # fmt: skip


def _bin_text(start: float, end: float, count: int, so_far: int, total: int) -> str:
    return (
        f"{milliseconds(10**start)} to {milliseconds(10**end)}\n{plural(count, 'heartbeat')}, {count / total:.2%}\n"
        f"{so_far / total:.2%} took no longer"
    )


def _powers(low: float, high: float, most: int) -> list[Any]:
    """Choose round milliseconds to label, as logarithms, at most so many."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            float(np.log10(step) + power)
            for power in range(int(np.floor(low)), int(np.ceil(high)) + 1)
            for step in steps
            if low <= np.log10(step) + power <= high
        ]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]
