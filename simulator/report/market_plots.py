"""The market's plots: jobs by state over time, and what was paid for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from simulator.report.drawing import COLOURS, Caption, Panel, Plot, Shape, draw, draw_line
from simulator.report.over_time import Figure, RunTime
from simulator.report.plots import most_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulator.report.market import JobsOverTime

STYLES = {"queued": ("orange", "dotted"), "assigned": ("violet", "dashed"), "running": ("blue", "solid")}


def plot_jobs(jobs: JobsOverTime, time: RunTime) -> Plot:
    """Draw how many jobs were queued, assigned and running, how many had ended, and what had been paid."""

    def states(axes: Axes, _shape: Shape) -> None:
        for name, (colour, dash) in STYLES.items():
            draw_line(axes, jobs.at, jobs.in_state[name], name, colour, dash, drawstyle="steps-post")
        draw_line(axes, jobs.at, jobs.ended, "ended", "green", drawstyle="steps-post")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))

    def money(axes: Axes, _shape: Shape) -> None:
        axes.fill_between(jobs.at, jobs.paid, step="post", color=COLOURS["green"], alpha=0.25, linewidth=0)
        draw_line(axes, jobs.at, jobs.paid, "paid", "green", drawstyle="steps-post", linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(3))

    figures = [Figure(name, jobs.at, values, lambda value: f"{value:,.0f}")
               for name, values in [*jobs.in_state.items(), ("ended", jobs.ended)]]  # fmt: skip
    return draw(
        Caption(
            "Jobs",
            "As accounts were shown their jobs at the end; of a job that was given back, its last attempt alone.",
            f"Jobs by state over time: at most {most_of(jobs.in_state['queued']):.0f} queued and "
            f"{most_of(jobs.in_state['running']):.0f} running at once, {most_of(jobs.ended):.0f} ended, "
            f"{most_of(jobs.paid):.6f} USDT paid.",
        ),
        [Panel("Jobs", 150, states, 4), Panel("Paid for jobs, USDT", 70, money)],
        time.scale(),
        time.areas([*figures, Figure("paid, USDT", jobs.at, jobs.paid, lambda value: f"{value:.6f}")]),
    )
