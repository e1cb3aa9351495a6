"""What a right scenario says and a run will not do: what the end cuts, has no effect, or cannot hold. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.platform.wording import plural
from simulator.scenario.market_problems import market_remarks
from simulator.scenario.source_lines import Problem, line_at, lines_of
from simulator.scenario.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.scenario.values import Scenario, Stage

CONNECTED = "machines.connected"
CUT = "the run ends before it does, and cuts it"
NOBODY = "nobody: of all machines it is not one"


def remarks(scenario: Scenario, source: bytes) -> list[Problem]:
    """Return the remarks on a scenario, each with its place and its line in the `source` it was read from."""
    lines = lines_of(source.decode("utf-8", "replace").removeprefix("\ufeff"))
    return [Problem(line_at(lines, place), f"beware: {place}: {what}") for place, what in _remarks(scenario)]


def _remarks(scenario: Scenario) -> Iterator[tuple[str, str]]:
    fleet, end_ns, settings = scenario.fleet, scenario.duration_ns, scenario.server.environ()
    yield from _late_stages("fleet", fleet.stages, end_ns)
    if not fleet.stages and fleet.own_ramp_ns > end_ns:
        seconds = fleet.own_ramp_ns / SECOND_NS
        yield "fleet.machines", f"the run ends before all are up: without `stages` they start over {seconds:g} s"
    for number, attack in enumerate(scenario.attacks):
        if attack.start_ns + attack.duration_ns > end_ns:
            yield f"attacks[{number}]", CUT
        needed_ns, left_ns = CATALOGUE[attack.name].needed_ns(settings), end_ns - attack.start_ns
        if needed_ns > left_ns:
            needed, left = -(-needed_ns // SECOND_NS), left_ns // SECOND_NS
            why = f"it takes {needed} s, and {left} s of the run are left when it begins"
            yield f"attacks[{number}]", f"{attack.name} proves nothing: {why}"
    for number, silence in enumerate(fleet.silence):
        if silence.at_ns + silence.duration_ns > end_ns:
            yield f"fleet.silence[{number}]", CUT
        if not round(silence.share * fleet.machines):
            yield f"fleet.silence[{number}].share", NOBODY
    for number, clock in enumerate(fleet.clocks):
        step_ns = 0 if clock.step is None else clock.step.by_ns
        if not (clock.offset_ns or clock.drift_ppm or step_ns):
            yield f"fleet.clocks[{number}]", "without effect: no offset, no drift and no step"
        if not round(clock.share * fleet.machines):
            yield f"fleet.clocks[{number}].share", NOBODY
    yield from market_remarks(scenario)
    for number, load in enumerate(scenario.load):
        yield from _late_stages(f"load[{number}]", load.stages, end_ns)
    yield from _out_of_reach(scenario)


def _out_of_reach(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Find thresholds on connected machines that a fleet is too small for, as where `--machines` made it so."""
    if scenario.attacks:
        return  # whose machines may join it
    machines = scenario.fleet.machines
    for expression in scenario.thresholds.get(CONNECTED, ()):
        threshold = parse_threshold(CONNECTED, expression)
        if not any(threshold.holds(count) for count in (0, machines, min(threshold.bound, machines))):
            yield f'thresholds."{CONNECTED}"', f"{expression} cannot hold: the fleet has {plural(machines, 'machine')}"


def _late_stages(place: str, stages: Sequence[Stage], end_ns: int) -> Iterator[tuple[str, str]]:
    at_ns = 0
    for number, stage in enumerate(stages):
        at_ns += stage.duration_ns
        if at_ns > end_ns:
            yield f"{place}.stages[{number}]", CUT
