"""The plots of a report, as SVG that takes its colours from the page: one wide, one narrow enough for a phone.

Nothing is told by colour alone: lines differ in dash and carry their names, states have words.
"""

from __future__ import annotations

import logging
import re
from io import StringIO
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.report import series
from simulator.report.series import thinned

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # what it does to its own caches is of no interest here

import matplotlib as mpl  # noqa: E402 - after its log is quiet
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

COLOURS = {
    "ink": "#000001",
    "muted": "#000002",
    "grid": "#000003",
    "paper": "#000004",
    "blue": "#000005",
    "green": "#000006",
    "orange": "#000007",
    "red": "#000008",
    "violet": "#000009",
}
"""Names of the page's colours, each with the one that stands for it until the drawing is done."""
_PLACEHOLDER = re.compile("|".join(COLOURS.values()))  # backtracking: words without a loop
_NAMES = {value: name for name, value in COLOURS.items()}
_UNUSED_ID = re.compile(r' id="(?!(?:p|m|C|h)[0-9a-f]{6,})[^"]*"')
_FONT = re.compile(r"font-family:[^;\"]*;? ?")
_DECIMALS = re.compile(r"(\.[0-9]{2})[0-9]+")
"""A hundredth of a pixel is finer than any screen."""
_TAG = re.compile(r"<[^>]*>")  # backtracking: on our own drawing
STEPS_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}


class Shape(msgspec.Struct, frozen=True):
    """A drawing's width in CSS pixels, and how large its text is."""

    name: str
    width: int
    text: float


WIDE = Shape("wide", 940, 12)
NARROW = Shape("narrow", 380, 11)


class Plot(msgspec.Struct, frozen=True):
    """One plot in both shapes. `alternative` says in words what it shows."""

    title: str
    caption: str
    alternative: str
    wide: str
    narrow: str


def style_of(shape: Shape, salt: str) -> Any:
    """Return Matplotlib's settings for a drawing; of the same `salt` it gives its parts the same names each time."""
    ink, muted, grid = COLOURS["ink"], COLOURS["muted"], COLOURS["grid"]
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "path.simplify": True,
        "font.size": shape.text,
        "text.color": ink,
        "axes.edgecolor": grid,
        "axes.labelcolor": muted,
        "axes.titlecolor": ink,
        "axes.titlesize": shape.text,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": grid,
        "grid.linewidth": 0.8,
        "xtick.color": grid,
        "ytick.color": grid,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "lines.linewidth": 1.6,
        "lines.solid_joinstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": shape.text,
        "hatch.linewidth": 0.8,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "date.epoch": "1970-01-01T00:00:00",
    }


def draw(
    title: str,
    caption: str,
    alternative: str,
    panels: list[tuple[float, Callable[[Axes, Shape], None]]],
    seconds: float,
) -> Plot:
    """Draw panels below each other, of these heights in CSS pixels, over the same time. Return both shapes."""
    drawn = {}
    for shape in (WIDE, NARROW):
        with mpl.rc_context(style_of(shape, f"{title} {shape.name}")):
            heights = [height for height, _ in panels]
            layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.06)
            figure = Figure(figsize=(shape.width / 72, (sum(heights) + 44 * len(heights)) / 72), layout=layout)
            FigureCanvasSVG(figure)
            axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
            for place, (one, (_, paint)) in enumerate(zip(axes, panels, strict=True)):
                paint(one, shape)
                one.set_xlim(0, max(seconds, 1))
                one.set_xticks(_moments(seconds, 9 if shape is WIDE else 5))
                one.xaxis.set_major_formatter(FuncFormatter(_clock))
                one.tick_params(labelbottom=place == len(panels) - 1, length=0)
                one.tick_params(axis="x", pad=7)
            layout.execute(figure)
            figure.set_layout_engine(None)  # to save with one draws all twice: once for the layout, which is done
            drawn[shape.name] = finish(figure)
    return Plot(title, caption, alternative, drawn["wide"], drawn["narrow"])


def finish(figure: Figure) -> str:
    """Return the drawing as an element of a page: its colours by name, its size the page's, without what is unused."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(  # backtracking: on our own drawing
        r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r' (?:xmlns(?::xlink)?|version|width|height)="[^"]*"', "", text, count=5)
    text = text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).replace("xlink:href", "href")
    text = _FONT.sub("", _UNUSED_ID.sub("", text))
    text = re.sub(r"\s*\n\s*", " ", text)  # backtracking: on our own drawing
    text = _TAG.sub(lambda match: _DECIMALS.sub(r"\1", match[0]), text)
    return _PLACEHOLDER.sub(lambda match: f"var(--{_NAMES[match[0]]})", text)


def _moments(seconds: float, most: int) -> list[float]:
    """Choose round moments to label, at most so many."""
    step = next((step for step in STEPS_SECONDS if seconds / step < most), max(seconds, 1.0))
    return [place * step for place in range(int(max(seconds, 1) // step) + 1)]


def _clock(seconds: float, _place: object = None) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"


def draw_line(axes: Axes, at: Any, values: Any, label: str, colour: str, dash: str = "solid", **more: Any) -> None:
    """Draw one line in a colour of the page."""
    axes.plot(at, values, color=COLOURS[colour], linestyle=DASHES[dash], label=label, **more)


def _legend(axes: Axes, shape: Shape, entries: int) -> None:
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=entries if shape is WIDE else min(entries, 3),
        borderaxespad=0,
        handlelength=1.6,
        columnspacing=1,
        handletextpad=0.5,
    )


def put_title(axes: Axes, shape: Shape, title: str, entries: int) -> None:
    """Put the title above the legend where they would not fit beside each other."""
    rows = 0 if shape is WIDE or not entries else -(-entries // 3)
    axes.set_title(title, pad=4 + rows * shape.text * 1.5)
    if entries:
        _legend(axes, shape, entries)


def plot_rates(rates: series.Rates, seconds: float) -> Plot:
    """Draw what was sent each second and what became of it."""
    unwanted = [
        one
        for one in (("refused", rates.refused, "red", "dashed"), ("no answer", rates.lost, "orange", "dotted"))
        if one[1].any()
    ]
    missing = "" if unwanted else " None was refused, and none left without an answer."

    def honest(axes: Axes, shape: Shape) -> None:
        draw_line(axes, rates.at, rates.sent, "sent", "muted", "dotted", drawstyle="steps-post")
        draw_line(axes, rates.at, rates.accepted, "accepted", "green", drawstyle="steps-post")
        for label, values, colour, dash in unwanted:
            draw_line(axes, rates.at, values, label, colour, dash, drawstyle="steps-post")
        axes.set_ylim(bottom=0)
        put_title(axes, shape, "Honest heartbeats a second", 2 + len(unwanted))

    def hostile(axes: Axes, shape: Shape) -> None:
        axes.fill_between(rates.at, rates.attacks, step="post", color=COLOURS["violet"], alpha=0.25, linewidth=0)
        draw_line(axes, rates.at, rates.attacks, "sent", "violet", drawstyle="steps-post", linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        put_title(axes, shape, "Hostile requests a second", 0)

    return draw(
        "Rate",
        f"Counted over {rates.width:g} s, by when they were sent.{missing}",
        f"Honest heartbeats: at most {most_of(rates.sent):.0f} a second sent, {most_of(rates.accepted):.0f} accepted, "
        f"{most_of(rates.refused):.0f} refused. Hostile requests: at most {most_of(rates.attacks):.0f} a second.",
        [(150, honest), (70, hostile)],
        seconds,
    )


def plot_latencies(latencies: series.Latencies, seconds: float) -> Plot:
    """Draw percentiles of the response time, on a logarithmic scale."""
    values = latencies.percentiles * 1000

    def paint(axes: Axes, shape: Shape) -> None:
        styles = (("blue", "dotted"), ("blue", "dashed"), ("red", "solid"))
        for row, percentile, (colour, dash) in zip(values, series.LATENCY_PERCENTILES, styles, strict=True):
            draw_line(axes, latencies.at, np.maximum(row, 1e-3), f"p{percentile}", colour, dash)
        if np.isfinite(values).any():
            axes.set_yscale("log")
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            axes.set_ylim(10 ** np.floor(np.log10(max(low, 1e-3))), 10 ** np.ceil(np.log10(max(high, 2e-3) * 1.01)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g} ms"))
        axes.minorticks_off()
        put_title(axes, shape, "Percentiles", 3)

    worst = f"at worst p99 {most_of(values[-1]):.1f} ms" if np.isfinite(values).any() else "nothing was answered"
    return draw(
        "Response time",
        "Of honest heartbeats, from the moment each was due to its answer; a logarithmic scale.",
        f"Response times of honest heartbeats over time: {worst}.",
        [(170, paint)],
        seconds,
    )


def plot_freshness(fresh: dict[str, series.Counted], seconds: float) -> Plot:
    """Draw how many workers the server called fresh, stale and unknown, over what was possible."""

    def paint(axes: Axes, shape: Shape) -> None:
        styles = {"fresh": ("green", "solid"), "stale": ("red", "dashed"), "unknown": ("violet", "dotted")}
        for name, one in fresh.items():
            colour, dash = styles[name]
            _band(axes, one, name, colour, dash)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        put_title(axes, shape, "Workers", 3)

    outside = sum(int(one.outside.sum()) for one in fresh.values())
    return draw(
        "Fleet freshness",
        "Lines: what the server showed. Bands: what was possible. A cross marks a value outside its band.",
        f"Fresh, stale and unknown workers over time; {outside} values were impossible.",
        [(180, paint)],
        seconds,
    )


def _band(axes: Axes, one: series.Counted, label: str, colour: str, dash: str = "solid") -> None:
    outside = one.outside
    drawn = thinned(one.at, one.value, outside)
    at, value = one.at[drawn], one.value[drawn]
    axes.fill_between(at, one.low[drawn], one.ceiling[drawn], color=COLOURS[colour], alpha=0.22, linewidth=0)
    draw_line(axes, at, value, label, colour, dash)
    wrong = outside[drawn]
    axes.plot(at[wrong], value[wrong], "x", color=COLOURS["red"], markersize=7, markeredgewidth=2)


def plot_alert(title: str, noun: str, one: series.Alert, seconds: float) -> Plot:
    """Draw an alert: its count over what was possible, and below when its gauge was on and when it had to be."""

    def count(axes: Axes, shape: Shape) -> None:
        _band(axes, one.count, "shown", "blue")
        axes.axhline(one.threshold, color=COLOURS["muted"], linestyle=DASHES["dashed"], linewidth=1)
        axes.annotate(
            f"alert from {one.threshold}",
            (1, one.threshold),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            color=COLOURS["muted"],
        )
        axes.set_ylim(bottom=0, top=max(1.25 * one.threshold, axes.get_ylim()[1]))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        put_title(axes, shape, noun, 0)

    def strip(axes: Axes, _shape: Shape) -> None:
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.broken_barh([(0, seconds)], (1.15, 0.7), color=COLOURS["grid"], alpha=0.5, linewidth=0)
        axes.broken_barh(one.strip.shown_on, (1.15, 0.7), color=COLOURS["orange"], linewidth=0)
        axes.broken_barh([(0, seconds)], (0.15, 0.7), color=COLOURS["grid"], alpha=0.5, linewidth=0)
        axes.broken_barh(one.strip.must_be_on, (0.15, 0.7), color=COLOURS["blue"], linewidth=0)
        axes.broken_barh(
            one.strip.either, (0.15, 0.7), facecolor="none", edgecolor=COLOURS["blue"], hatch="////", linewidth=0
        )
        axes.set_ylim(0, 2)
        axes.set_yticks([0.5, 1.5], ["had to be on", "was on"])

    impossible = int(one.count.outside.sum())
    on = sum(length for _, length in one.strip.shown_on)
    return draw(
        title,
        "Line: what the server showed. Band: what was possible. A cross marks a value outside its band. Below: the "
        "gauge; hatched where on and off were both right.",
        f"{noun} over time; {impossible} values were impossible. The alert was on for {on:.0f} s.",
        [(120, count), (44, strip)],
        seconds,
    )


def plot_health(health: series.Health, seconds: float) -> Plot:
    """Draw the harness's own lag and load."""

    def lag(axes: Axes, shape: Shape) -> None:
        drawn = thinned(health.at, health.lag, health.dropped > 0)
        draw_line(axes, health.at[drawn], health.lag[drawn] * 1000, "loop lag", "blue")
        late = health.dropped[drawn] > 0
        axes.plot(
            health.at[drawn][late],
            health.lag[drawn][late] * 1000,
            "x",
            color=COLOURS["red"],
            markersize=7,
            markeredgewidth=2,
        )
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g} ms"))
        put_title(axes, shape, "Worst loop lag a second", 0)

    def load(axes: Axes, shape: Shape) -> None:
        drawn = thinned(health.at, health.cpu)
        axes.fill_between(health.at[drawn], health.cpu[drawn] * 100, color=COLOURS["violet"], alpha=0.25, linewidth=0)
        draw_line(axes, health.at[drawn], health.cpu[drawn] * 100, "CPU", "violet", linewidth=1.2)
        axes.set_ylim(0, max(100.0, 100 * most_of(health.cpu)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}%"))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        put_title(axes, shape, "CPU, of one core", 0)

    return draw(
        "Generator health",
        "A cross marks a second in which planned requests could not be started.",
        f"The harness stood still for at most {1000 * most_of(health.lag):.1f} ms and used at most "
        f"{100 * most_of(health.cpu):.0f}% of a core.",
        [(90, lag), (90, load)],
        seconds,
    )


def most_of(values: Any) -> float:
    """Return the largest of values that has an end."""
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.max()) if len(finite) else 0.0
