"""What is wrong with thresholds that are well-formed: unknown metrics, what always holds, attacks that are absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.scenario.thresholds import KNOWN_AT_ONCE, ThresholdError, parse_threshold, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario.values import Scenario


def threshold_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Find what makes no sense, each with its place."""
    for metric, expressions in scenario.thresholds.items():
        place = f'thresholds."{metric}"'
        if not expressions:
            yield place, "an empty list checks nothing: add an expression, or remove it"
        for expression in expressions:
            yield from ((place, problem) for _, problem in _problems(scenario, metric, expression))
    for number, one in enumerate(scenario.abort_on_fail):
        place = f"abort_on_fail[{number}]"
        problems = [*_problems(scenario, one.metric, one.threshold)]
        yield from ((f"{place}.{key}", problem) for key, problem in problems)
        if not problems and not one.metric.startswith(KNOWN_AT_ONCE):
            yield (
                f"{place}.metric",
                f"{one.metric} is known at the end of a run only: put it into [thresholds], where it ends none early",
            )
        if one.delay_ns >= scenario.duration_ns:
            yield f"{place}.delay", "ends after the run has ended"


def _problems(scenario: Scenario, metric: str, expression: str) -> Iterator[tuple[str, str]]:
    """Find what is wrong with one expression, each with whether it is the metric's or the expression's fault."""
    try:
        threshold = parse_threshold(metric, expression)
    except ThresholdError as error:
        yield ("metric" if str(error).startswith("unknown metric") else "threshold"), str(error)
        return
    if threshold.checks_nothing():
        yield "threshold", f"{expression!r} checks nothing: it holds whatever happens"
    part = part_of(metric)
    if part is None:
        return
    if part.kind == "attack" and part.name not in {one.name for one in scenario.attacks}:
        yield "metric", f"no [[attacks]] of the scenario is {part.name}"
    if part.kind == "campaign" and int(part.name) > len(scenario.attacks):
        yield "metric", f"the scenario has {len(scenario.attacks)} [[attacks]]; campaigns count from 1"
