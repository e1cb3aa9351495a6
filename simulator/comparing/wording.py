"""The numbers of a comparison as text, for the terminal and the HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.comparing.deciding import Says
from simulator.comparing.outcome import Kind
from simulator.platform.wording import four_digits

if TYPE_CHECKING:
    from simulator.comparing.deciding import Decision
    from simulator.comparing.outcome import Comparison, Line

_ROUNDS = {
    Kind.COMMITS: "rounds",
    Kind.RESULTS: "rounds",
    Kind.RUNS: "parts that each run is cut into",
}
_WHAT_TO_DO = {
    Kind.COMMITS: "compare again where nothing else runs, or with a larger --rounds-max or --seconds",
    Kind.RESULTS: "measure both again where nothing else runs, with more --rounds, or compare the commits themselves, "
    "which are measured in alternation",
    Kind.RUNS: "run both again where nothing else runs, with the same scenario and seed, for longer or with more "
    "machines",
}


def legend(comparison: Comparison) -> str:
    """Return an explanation of the figures; empty if there are none."""
    if not comparison.lines:
        return ""
    return (
        "A change is in percent of how fast the first was, and + is always the better: more a second, or less time or "
        "memory, where half of it is +100%. It is "
        f"estimated from all {_ROUNDS[comparison.kind]}, not from the two medians shown. The true change lies between "
        "the ends (49 times of 50); one for the worse as large as the smallest would have been seen (19 times of 20)."
    )


def advice(comparison: Comparison) -> str:
    """Return advice if the comparison cannot tell of some line or check; empty otherwise."""
    sentences = []
    if any(one.decision.says is Says.CANNOT_TELL for one in comparison.lines):
        sentences.append(
            "A figure of which it cannot be told may be worse, and noise hides whether and how much: "
            f"{_WHAT_TO_DO[comparison.kind]}; or accept what may stay hidden with a larger --see."
        )
    if any(one.unknown for one in comparison.checks):
        sentences.append(
            "A check of which it cannot be told is inconclusive in the second run, or not in it: its line says why."
        )
    return " ".join(sentences)


def value_text(line: Line, value: float | None) -> str:
    """Return a value with its unit, such as `28,300/s`; `endless` for None."""
    return "endless" if value is None else f"{four_digits(value)}{line.unit}"


def change_text(share: float | None) -> str:
    """Return a change as a text such as `+3.1%`, above zero for faster; `unknown` for None."""
    return "unknown" if share is None else f"{share:+.1%}"


def interval_text(decision: Decision) -> str:
    """Return the confidence interval of the change as text; `anywhere` if an end of it is infinite."""
    if decision.low is None or decision.high is None:
        return "anywhere"
    return f"{change_text(decision.low)} to {change_text(decision.high)}"


def smallest_text(decision: Decision) -> str:
    """Return the smallest change that would have been detected as text; `none` if none would."""
    return "none" if decision.smallest is None else f"{decision.smallest:.1%}"


def rounds_text(line: Line) -> str:
    """Return the number of values of a line as text, and whether the line was measured again."""
    one, other = line.rounds
    return f"{one if one == other else f'{one} and {other}'}{', measured again' if line.confirmed else ''}"
