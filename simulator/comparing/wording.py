"""A comparison's numbers in words, for a terminal and for a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.comparing.deciding import Decision
    from simulator.comparing.outcome import Line


def value_text(line: Line, value: float | None) -> str:
    """Return a value with its unit, as `28,300/s`."""
    return "endless" if value is None else f"{value:,.4g}{line.unit}"


def change_text(share: float | None) -> str:
    """Return a change as `+3.1%`, above zero for faster."""
    return "unknown" if share is None else f"{share:+.1%}"


def interval_text(decision: Decision) -> str:
    """Return where the true change lies."""
    if decision.low is None or decision.high is None:
        return "anywhere"
    return f"{change_text(decision.low)} to {change_text(decision.high)}"


def smallest_text(decision: Decision) -> str:
    """Return the smallest change that would have been seen."""
    return "none" if decision.smallest is None else f"{decision.smallest:.1%}"


def rounds_text(line: Line) -> str:
    """Return how many values a line rests on, and whether it was measured again."""
    one, other = line.rounds
    return f"{one if one == other else f'{one} and {other}'}{', measured again' if line.confirmed else ''}"
