"""The plots of a report: what was sent and answered, what the server showed against what was possible, and the harness.

Nothing is told by colour alone: lines differ in dash and carry their names, states have words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simulator.checkers.bounds import UNBOUNDED
from simulator.report import series
from simulator.report.drawing import COLOURS, DASHES, Caption, Panel, Plot, Shape, draw, draw_line
from simulator.report.over_time import Figure, RunTime
from simulator.report.series import thinned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from simulator.scenario.thresholds import Threshold


def plot_rates(rates: series.Rates, time: RunTime, thresholds: Sequence[Threshold] = ()) -> Plot:
    """Draw what was sent each second and what became of it. `thresholds` are those on the rate."""
    unwanted = [
        one
        for one in (("refused", rates.refused, "red", "dashed"), ("no answer", rates.lost, "orange", "dotted"))
        if one[1].any()
    ]
    missing = "" if unwanted else " None was refused, and none left without an answer."

    def honest(axes: Axes, _shape: Shape) -> None:
        draw_line(axes, rates.at, rates.sent, "sent", "muted", "dotted", drawstyle="steps-post")
        draw_line(axes, rates.at, rates.accepted, "accepted", "green", drawstyle="steps-post")
        for label, values, colour, dash in unwanted:
            draw_line(axes, rates.at, values, label, colour, dash, drawstyle="steps-post")
        for one in thresholds:
            draw_bound(axes, one.bound, one.expression)
        _from_zero(axes)

    def hostile(axes: Axes, _shape: Shape) -> None:
        axes.fill_between(rates.at, rates.attacks, step="post", color=COLOURS["violet"], alpha=0.25, linewidth=0)
        draw_line(axes, rates.at, rates.attacks, "sent", "violet", drawstyle="steps-post", linewidth=1.2)
        _from_zero(axes, 3)

    figures = [("sent", rates.sent), ("accepted", rates.accepted), ("refused", rates.refused),
               ("no answer", rates.lost), ("hostile", rates.attacks)]  # fmt: skip
    return draw(
        Caption(
            "Rate",
            f"Counted over {rates.width:g} s, by when they were sent.{missing}",
            f"Honest heartbeats: at most {most_of(rates.sent):.0f} a second sent, {most_of(rates.accepted):.0f} "
            f"accepted, {most_of(rates.refused):.0f} refused. Hostile requests: at most {most_of(rates.attacks):.0f} "
            "a second.",
        ),
        [
            Panel("Honest heartbeats a second", 150, honest, 2 + len(unwanted)),
            Panel("Hostile requests a second", 70, hostile),
        ],
        time.scale(),
        time.areas([Figure(name, rates.at, values, lambda value: f"{value:,.4g}/s") for name, values in figures]),
    )


def plot_latencies(latencies: series.Latencies, time: RunTime, thresholds: Sequence[Threshold] = ()) -> Plot:
    """Draw percentiles of the response time, on a logarithmic scale. `thresholds` are those on it."""
    values = latencies.percentiles * 1000
    named = [f"p{percentile}" for percentile in series.LATENCY_PERCENTILES]

    def paint(axes: Axes, _shape: Shape) -> None:
        styles = (("blue", "dotted"), ("blue", "dashed"), ("red", "solid"))
        for row, name, (colour, dash) in zip(values, named, styles, strict=True):
            draw_line(axes, latencies.at, np.maximum(row, 1e-3), name, colour, dash)
        if np.isfinite(values).any():
            axes.set_yscale("log")
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            high = max([high, *(1000 * one.bound for one in thresholds if one.bound > 0)])
            axes.set_ylim(10 ** np.floor(np.log10(max(low, 1e-3))), 10 ** np.ceil(np.log10(max(high, 2e-3) * 1.01)))
        for one in thresholds:
            draw_bound(axes, max(1000 * one.bound, 1e-3), one.expression)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: milliseconds(value)))
        axes.minorticks_off()

    worst = f"at worst p99 {most_of(values[-1]):.1f} ms" if np.isfinite(values).any() else "nothing was answered"
    return draw(
        Caption(
            "Response time",
            "Of honest heartbeats, from the moment each was due to its answer; a logarithmic scale.",
            f"Response times of honest heartbeats over time: {worst}.",
        ),
        [Panel("Percentiles", 170, paint, 3)],
        time.scale(),
        time.areas([Figure(name, latencies.at, row, milliseconds) for name, row in zip(named, values, strict=True)]),
    )


def plot_freshness(fresh: dict[str, series.Counted], time: RunTime) -> Plot:
    """Draw how many workers the server called fresh, stale and unknown, over what was possible."""

    def paint(axes: Axes, _shape: Shape) -> None:
        styles = {"fresh": ("green", "solid"), "stale": ("red", "dashed"), "unknown": ("violet", "dotted")}
        for name, one in fresh.items():
            colour, dash = styles[name]
            _band(axes, one, name, colour, dash)
        _from_zero(axes, 5)

    outside = sum(int(one.outside.sum()) for one in fresh.values())
    return draw(
        Caption(
            "Fleet freshness",
            "Lines: what the server showed. Bands: what was possible. A cross marks a value outside its band.",
            f"Fresh, stale and unknown workers over time; {outside} values were impossible.",
        ),
        [Panel("Workers", 180, paint, 3)],
        time.scale(),
        time.areas([figure for name, one in fresh.items() for figure in _counted(name, one)]),
    )


def _counted(name: str, one: series.Counted) -> list[Figure]:
    return [
        Figure(name, one.at, one.value, _count),
        Figure(f"{name}, possible from", one.at, one.low, _count),
        Figure(f"{name}, possible to", one.at, np.where(one.high < UNBOUNDED // 2, one.high, np.nan), _count),
    ]


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _band(axes: Axes, one: series.Counted, label: str, colour: str, dash: str = "solid") -> None:
    outside = one.outside
    drawn = thinned(one.at, one.value, outside)
    at, value = one.at[drawn], one.value[drawn]
    axes.fill_between(at, one.low[drawn], one.ceiling[drawn], color=COLOURS[colour], alpha=0.22, linewidth=0)
    draw_line(axes, at, value, label, colour, dash)
    wrong = outside[drawn]
    axes.plot(at[wrong], value[wrong], "x", color=COLOURS["red"], markersize=7, markeredgewidth=2)


def plot_alert(title: str, noun: str, one: series.Alert, time: RunTime) -> Plot:
    """Draw an alert: its count over what was possible, and below when its gauge was on and when it had to be."""

    def count(axes: Axes, _shape: Shape) -> None:
        _band(axes, one.count, "shown", "blue")
        draw_bound(axes, one.threshold, f"alert from {one.threshold}")
        axes.set_ylim(bottom=0, top=max(1.25 * one.threshold, axes.get_ylim()[1]))
        _from_zero(axes, 4)

    def was_on(axes: Axes, _shape: Shape) -> None:
        _bar(axes, time.end)
        axes.broken_barh(one.strip.shown_on, (0, 1), color=COLOURS["orange"], linewidth=0)

    def had_to_be_on(axes: Axes, _shape: Shape) -> None:
        _bar(axes, time.end)
        axes.broken_barh(one.strip.must_be_on, (0, 1), color=COLOURS["blue"], linewidth=0)
        axes.broken_barh(
            one.strip.either, (0, 1), facecolor="none", edgecolor=COLOURS["blue"], hatch="////", linewidth=0
        )

    impossible = int(one.count.outside.sum())
    on = sum(length for _, length in one.strip.shown_on)
    return draw(
        Caption(
            title,
            "Line: what the server showed. Band: what was possible. A cross marks a value outside its band. Below: the "
            "gauge; hatched where on and off were both right.",
            f"{noun} over time; {impossible} values were impossible. The alert was on for {on:.0f} s.",
        ),
        [Panel(noun, 120, count), Panel("Gauge was on", 14, was_on), Panel("Gauge had to be on", 14, had_to_be_on)],
        time.scale(),
        time.areas(_counted(noun.lower(), one.count)),
    )


def _bar(axes: Axes, end: float) -> None:
    """Draw the grey bar on which times are shown as bars of a colour."""
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.broken_barh([(0, end)], (0, 1), color=COLOURS["grid"], alpha=0.5, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([])


def plot_health(health: series.Health, time: RunTime) -> Plot:
    """Draw the harness's own lag and load."""

    def lag(axes: Axes, _shape: Shape) -> None:
        drawn = thinned(health.at, health.lag, health.dropped > 0)
        at, values = health.at[drawn], health.lag[drawn] * 1000
        draw_line(axes, at, values, "loop lag", "blue")
        late = health.dropped[drawn] > 0
        axes.plot(at[late], values[late], "x", color=COLOURS["red"], markersize=7, markeredgewidth=2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: milliseconds(value)))

    def load(axes: Axes, _shape: Shape) -> None:
        drawn = thinned(health.at, health.cpu)
        axes.fill_between(health.at[drawn], health.cpu[drawn] * 100, color=COLOURS["violet"], alpha=0.25, linewidth=0)
        draw_line(axes, health.at[drawn], health.cpu[drawn] * 100, "CPU", "violet", linewidth=1.2)
        axes.set_ylim(0, max(100.0, 100 * most_of(health.cpu)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}%"))
        axes.yaxis.set_major_locator(MaxNLocator(3))

    return draw(
        Caption(
            "Generator health",
            "A cross marks a second in which planned requests could not be started.",
            f"The harness stood still for at most {1000 * most_of(health.lag):.1f} ms and used at most "
            f"{100 * most_of(health.cpu):.0f}% of a core.",
        ),
        [Panel("Worst loop lag a second", 90, lag), Panel("CPU, of one core", 90, load)],
        time.scale(),
        time.areas(
            [
                Figure("loop lag", health.at, health.lag * 1000, milliseconds),
                Figure("CPU", health.at, health.cpu, lambda value: f"{value:.0%}"),
                Figure("starts dropped", health.at, health.dropped, _count),
            ]
        ),
    )


def draw_bound(axes: Axes, bound: float, label: str) -> None:
    """Draw a bound that a threshold or an alert sets, with what it says at its right end."""
    axes.axhline(bound, color=COLOURS["muted"], linestyle=DASHES["dashed"], linewidth=1)
    axes.annotate(
        label,
        (1, bound),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        color=COLOURS["muted"],
        parse_math=False,
    )


def _from_zero(axes: Axes, ticks: int = 5) -> None:
    """Have a scale of counts: from zero, at whole numbers, written as short as they can be."""
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: short(value)))


def short(value: float) -> str:
    """Write a count with few characters: `950`, `12k`, `1.5M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def milliseconds(value: float) -> str:
    """Write milliseconds, as seconds where there are ten or more of those."""
    return f"{value / 1000:.4g} s" if value >= 10_000 else f"{value:.4g} ms"  # noqa: PLR2004 - as said


def most_of(values: Any) -> float:
    """Return the largest of values that has an end."""
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.max()) if len(finite) else 0.0
