"""The picture of a comparison, for the docs: `python -m benchmarks.rivals.picture RESULT.json PICTURE.svg`.

Bars are medians by CPU time with the intervals of their medians. It is an image of its own, which takes light or dark
colours as its reader does, and says in words what it shows.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import msgspec
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.rivals.measured import ROUTES, SERVERS
from benchmarks.shard import BY_CPU, CLIENTS
from benchmarks.suite import Suite
from simulator.platform.output_files import write_whole
from simulator.report.drawing import COLOURS, WIDE, finish, style_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from benchmarks.measuring import Measured

STYLE = Path(sys.modules[finish.__module__].__file__ or "").with_name("templates") / "report.css"
ROW, HEAD = 21, 46
"""Heights in CSS pixels: of a bar, and of what stands around the bars of a panel."""
TITLES = {
    "own": "Accepted heartbeats, each machine on a connection of its own",
    "mixed": "Accepted heartbeats, 1,000 machines mixed on 64 connections",
    "status": "A worker's status",
    "policy": "A worker's policy, fetched by itself",
    "statuses": "First page of an owner's workers",
    "clients": "Clients that send heartbeats",
}
Panel = dict[str, "Measured"]


def panels_of(figures: Mapping[str, Measured]) -> dict[str, Panel]:
    """Return what each panel shows: figures by the names of who they are of, ours first."""
    panels: dict[str, Panel] = {}
    for route in ROUTES:
        names = {title: f"{kind}_{route}{BY_CPU}" for kind, title in SERVERS.items()}
        panels[route] = {title: figures[name] for title, name in names.items() if name in figures}
    panels["clients"] = {title: figures[f"{name}{BY_CPU}"] for name, title in CLIENTS.items()}
    return panels


def describe(panels: Mapping[str, Panel]) -> str:
    """Say in words what the picture shows."""
    lines = []
    for name, panel in panels.items():
        rates = (f"{title} {one.median:,.0f} ({one.low:,.0f} to {one.high:,.0f})" for title, one in panel.items())
        lines.append(f"{TITLES[name]}: {', '.join(rates)}.")
    return "Answers a second of one core. " + " ".join(lines)


def _paint(axes: Axes, panel: Panel, title: str) -> None:
    rows = list(enumerate(panel.values()))
    ours = next(iter(panel.values())).median
    most = max(one.high for one in panel.values())
    axes.barh(
        [at for at, _ in rows],
        [one.median for _, one in rows],
        height=0.7,
        color=[COLOURS["blue" if at == 0 else "grid"] for at, _ in rows],
        linewidth=0,
    )
    for at, one in rows:
        low, high = one.median - one.low, one.high - one.median
        axes.errorbar(one.median, at, xerr=[[low], [high]], color=COLOURS["ink"], capsize=3, linewidth=1.2)
        share = f" · ours x {ours / one.median:.2g}" if at else ""
        axes.annotate(
            f"{one.median:,.0f}{share}",
            (one.high, at),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS["ink"],
        )
    axes.set_yticks([at for at, _ in rows], list(panel))
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.3)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(b=True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.0f}"))
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(title)


def draw(figures: Mapping[str, Measured]) -> str:
    """Draw what was measured, as an SVG file."""
    panels = panels_of(figures)
    heights = [ROW * len(panel) for panel in panels.values()]
    height = sum(heights) + HEAD * len(panels)
    with mpl.rc_context(style_of(WIDE, "rivals")):
        figure = Figure(figsize=(WIDE.width / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for one, (name, panel) in zip(axes, panels.items(), strict=True):
            _paint(one, panel, TITLES[name])
        element = finish(figure)
    palette = STYLE.read_text(encoding="utf-8").partition("* {")[0]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDE.width}" height="{height}" '
        f'style="background: var(--paper)" font-family="system-ui, sans-serif"'
    )
    inside = f"<title>{escape(describe(panels))}</title><style>{palette}</style>"
    begin, end, rest = element.replace('<svg aria-hidden="true" focusable="false"', head, 1).partition(">")
    return f"{begin}{end}{inside}{rest}\n"


def main(result: Path, picture: Path) -> None:
    """Draw the picture of what a suite measured. Raises SystemExit where it could not be measured."""
    suite = msgspec.json.decode(result.read_bytes(), type=Suite)
    figures = next((one.figures for one in suite.benchmarks if one.name == "rivals"), {})
    if not figures:
        raise SystemExit(f"{result} has no figures of rivals: there is nothing to draw")
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_whole(picture, [draw(figures).encode()])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
