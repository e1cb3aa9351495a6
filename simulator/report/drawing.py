"""Drawings as SVG that takes its colours from the page: panels over one scale, in two shapes, with words to hover over.

Each is drawn wide and narrow enough for a phone. Margins are fixed, so that all drawings of one scale line up below
each other. What is marked on the scale, a fault say, is marked in every panel.
"""

from __future__ import annotations

import logging
import re
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.limits import HOVER_AREAS_MAX
from simulator.report.text import one_line

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # what it does to its own caches is of no interest here

import matplotlib as mpl  # noqa: E402 - after its log is quiet
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}


class Shape(msgspec.Struct, frozen=True):
    """A drawing's width in CSS pixels, how large its text is, and how much room is left of its panels."""

    name: str
    width: int
    text: float
    left: int
    ticks: int
    areas: int


WIDE = Shape("wide", 940, 12, left=66, ticks=9, areas=HOVER_AREAS_MAX)
NARROW = Shape("narrow", 380, 11, left=56, ticks=5, areas=HOVER_AREAS_MAX // 3)
RIGHT = 28
"""Room right of the panels, for half of the last label below them."""
GAP = 6


class Plot(msgspec.Struct, frozen=True):
    """One plot in both shapes. `alternative` says in words what it shows."""

    title: str
    caption: str
    alternative: str
    wide: str
    narrow: str


class Caption(msgspec.Struct, frozen=True):
    """What a plot is called, what is to be known to read it, and what it shows, in words."""

    title: str
    text: str
    alternative: str


class Panel(msgspec.Struct, frozen=True):
    """One area of a drawing, of a height in CSS pixels. `entries` is how many its legend has."""

    title: str
    height: float
    paint: Callable[[Axes, Shape], None]
    entries: int = 0

    def head(self, shape: Shape) -> float:
        """Return how much room is above it, for its title and, where those do not fit beside it, its legend."""
        return shape.text * (1.75 + 1.5 * self._rows(shape))

    def _rows(self, shape: Shape) -> int:
        return 0 if shape is WIDE or not self.entries else -(-self.entries // 3)

    def write_head(self, axes: Axes, shape: Shape) -> None:
        """Put the title above the legend where they would not fit beside each other."""
        # At a given place: to look for one, Matplotlib measures all ticks, of which there are none above.
        axes.set_title(self.title, y=1.0, pad=4 + self._rows(shape) * shape.text * 1.5)
        if self.entries:
            _legend(axes, shape, self.entries)


class Mark(msgspec.Struct, frozen=True):
    """From where to where on the scale something is marked, in a colour of the page. A moment is a line."""

    start: float
    end: float
    colour: str


class Scale(msgspec.Struct, frozen=True):
    """What all panels of a drawing are over: from where to where, at most so many ticks, and what is marked."""

    start: float
    end: float
    ticks: Callable[[int], list[float]]
    label: Callable[[float], str]
    marks: Sequence[Mark] = ()


class HoverArea(msgspec.Struct, frozen=True):
    """Words that are shown over a part of the scale, from `top` to `bottom` of the drawing as shares of its height."""

    start: float
    end: float
    text: str
    top: float = 0.0
    bottom: float = 1.0


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
    caption: Caption,
    panels: Sequence[Panel],
    scale: Scale,
    areas: Callable[[int], list[HoverArea]],
) -> Plot:
    """Draw panels below each other over one scale. `areas` returns at most so many areas with words."""
    drawn = {shape.name: _drawn(caption.title, panels, scale, areas, shape) for shape in (WIDE, NARROW)}
    return Plot(caption.title, caption.text, caption.alternative, drawn["wide"], drawn["narrow"])


def _drawn(
    title: str, panels: Sequence[Panel], scale: Scale, areas: Callable[[int], list[HoverArea]], shape: Shape
) -> str:
    height = sum(one.head(shape) + one.height + GAP for one in panels) + 2.2 * shape.text
    with mpl.rc_context(style_of(shape, f"{title} {shape.name}")):
        figure = Figure(figsize=(shape.width / 72, height / 72))
        FigureCanvasSVG(figure)
        top = 0.0
        for place, panel in enumerate(panels):
            top += panel.head(shape)
            box = (shape.left, height - top - panel.height, shape.width - shape.left - RIGHT, panel.height)
            axes = figure.add_axes((box[0] / shape.width, box[1] / height, box[2] / shape.width, box[3] / height))
            panel.paint(axes, shape)
            panel.write_head(axes, shape)
            _put_scale(axes, scale, shape, labelled=place == len(panels) - 1)
            top += panel.height + GAP
        element = finish(figure).strip()
    hover = _hover(areas(shape.areas), scale, shape, (panels[0].head(shape), top - GAP))
    return element.removesuffix("</svg>") + hover + "</svg>"


def _put_scale(axes: Axes, scale: Scale, shape: Shape, *, labelled: bool) -> None:
    for mark in scale.marks:
        colour = COLOURS[mark.colour]
        if mark.end <= mark.start:
            axes.axvline(mark.start, color=colour, linestyle=DASHES["dashed"], linewidth=1.2, zorder=0.6)
        else:
            axes.axvspan(mark.start, mark.end, color=colour, alpha=0.09, linewidth=0, zorder=0.5)
    axes.set_xlim(scale.start, scale.end)
    axes.set_xticks(scale.ticks(shape.ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: scale.label(value)))
    axes.tick_params(labelbottom=labelled, length=0)
    axes.tick_params(axis="x", pad=7)


def _hover(areas: Sequence[HoverArea], scale: Scale, shape: Shape, rows: tuple[float, float]) -> str:
    """Return what shows words over a drawing whose panels begin and end at these rows, in CSS pixels."""
    if not areas:
        return ""
    across = (shape.width - shape.left - RIGHT) / (scale.end - scale.start)
    down = rows[1] - rows[0]
    parts = [
        f'<rect x="{shape.left + (one.start - scale.start) * across:.1f}" y="{rows[0] + one.top * down:.1f}" '
        f'width="{max(1.0, (one.end - one.start) * across):.1f}" height="{(one.bottom - one.top) * down:.1f}">'
        f"<title>{escape(chr(10).join(map(one_line, one.text.splitlines())))}</title></rect>"
        for one in areas
    ]
    return f'<g class="hover">{"".join(parts)}</g>'


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
