"""What is well-formed of faults of servers' clocks and makes no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.limits import SERVER_CLOCK_OFF_MAX_SECONDS, SHARED_CLOCKS_OFF_MAX_MS
from simulator.scenario.values import CLOCK_FAULT, READING_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.scenario.values import FaultOptions, Scenario

MARKET_ATTACKS = ("wallet.", "job.", "forum.")
"""How the names of attacks on a market begin."""
WINDOW_ATTACKS = ("skew.", "replay.ttl-edge")
"""How the names of attacks begin that try the edges of a window, which lie elsewhere for a clock that is wrong."""


def clock_problems(scenario: Scenario, fault: FaultOptions) -> Iterator[tuple[str, str]]:
    """Find what is wrong with the keys of one fault that are for a server's clock, by key."""
    if fault.kind != CLOCK_FAULT:
        given = {"by": fault.by_ns, "drift_ppm": fault.drift_ppm}
        yield from ((key, f"is for {CLOCK_FAULT} alone: remove it") for key, value in given.items() if value)
        return
    yield from _off_too_far(scenario, fault)
    yield from (("kind", problem) for problem in _beside(scenario, fault))


def _off_too_far(scenario: Scenario, fault: FaultOptions) -> Iterator[tuple[str, str]]:
    """Find a clock that is not wrong at all, or so wrong that a right server would not do what checkers expect."""
    if not fault.by_ns and not fault.drift_ppm:
        yield "by", f"{CLOCK_FAULT} needs one, or `drift_ppm`"
    low_ns, high_ns = fault.clock_bounds_ns
    farthest_ns = max(-low_ns, high_ns)
    if scenario.server.instances > 1 and farthest_ns > SHARED_CLOCKS_OFF_MAX_MS * MILLISECOND_NS:
        most = f"{SHARED_CLOCKS_OFF_MAX_MS}ms"
        yield "by", f"is more than {most} in all: what instances share has times by their clocks, which must agree"
    elif farthest_ns > SERVER_CLOCK_OFF_MAX_SECONDS * SECOND_NS:
        yield "by", f"is more than {SERVER_CLOCK_OFF_MAX_SECONDS}s in all: right machines would be refused"


def _beside(scenario: Scenario, fault: FaultOptions) -> Iterator[str]:
    """Find what cannot be judged in one scenario with a server whose clock is wrong."""
    if scenario.market is not None or any(one.name.startswith(MARKET_ATTACKS) for one in scenario.attacks):
        yield "what a market lists is in the order of a clock that goes on: leave one of them out"
    if scenario.fleet.clocks:
        yield "of two wrong clocks nobody could tell whose a refusal is: take `clocks` out of [fleet]"
    for attack in scenario.attacks:
        if attack.name.startswith(WINDOW_ATTACKS):
            yield f"{attack.name} proves nothing of a server whose clock is wrong: leave one of them out"
    if scenario.server.command:
        yield "only the reference server's clock can be set: take `command` out of [server]"
    if any(one.kind in READING_FAULTS and one.instance == fault.instance for one in scenario.faults):
        yield "what it kept by a wrong clock it reads by a right one: leave out its kills, restarts and full disks"
