"""When alerts fired and cleared in two worlds, according to scrapes, and whether a fault can explain a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.comparing.fault_reach import alert_spans, script_spans
from simulator.comparing.market_reach import abandons
from simulator.comparing.world_lines import Says, WorldLine, count_line
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.limits import CROSS_LATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.comparing.fault_reach import Span
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario


class Alone(NamedTuple):
    """A period in which an alert was on in only one of the worlds, in seconds of the run.

    `shifted` is true if the other world's alert turned at its end: both worlds had the turn, at different times.
    """

    since: float
    until: float
    shifted: bool


def alert_lines(scenario: Scenario, virtual: History, live: History) -> Iterator[WorldLine]:
    """Yield lines that compare when each alert fired and cleared; differences that faults can cause are explained."""
    interval = scenario.metrics_interval_ns / SECOND_NS
    beat = scenario.fleet.heartbeat_interval_ns / SECOND_NS * (1 + scenario.fleet.jitter)
    allowed = interval + beat + CROSS_LATE_SECONDS
    why = f"a scrape each {interval:g} s, a machine's next heartbeat within {beat:g} s, a busy machine"
    for gauge in (STALE_ALERT, AUTH_ALERT):
        ones, others = _turns(virtual, gauge), _turns(live, gauge)
        lines = [count_line(f"{gauge} turned", len(ones), len(others), 0, "")]
        if len(ones) == len(others):
            for number, (one, other) in enumerate(zip(ones, others, strict=True)):
                says = Says.AGREES if abs(one - other) <= allowed else Says.DIFFERS
                name, bound = f"{gauge} {'cleared' if number % 2 else 'fired'}", f"±{allowed:.1f} s"
                lines.append(WorldLine("alert", name, f"{one:.1f} s", f"{other:.1f} s", says, bound, why))
        spans = [span for history in (virtual, live) for span in alert_spans(scenario, history, gauge)]
        longer = script_spans(scenario, virtual, live, allowed) if gauge == AUTH_ALERT else []
        what = _what(scenario, longer)
        says, moved = _moved(
            what, [*_alone(ones, others, scenario.duration_ns / SECOND_NS)], [*spans, *longer], allowed
        )
        for line in lines:
            differs = line.says is Says.DIFFERS and what
            yield msgspec.structs.replace(line, says=says, why=moved) if differs else line


def _turns(history: History, gauge: str) -> list[float]:
    """Return the times, in seconds, at which scrapes first saw an alert on, then off, then on again, and so on."""
    turns: list[float] = []
    for one in history.scrapes:
        if gauge in one.samples and (one.samples[gauge] > 0) is not bool(len(turns) % 2):
            turns.append(one.sent_ns / SECOND_NS)
    return turns


def _alone(ones: list[float], others: list[float], end: float) -> Iterator[Alone]:
    """Yield each period in which an alert was on in only one world: every turn of either alert begins or ends one."""
    began: tuple[float, bool] | None = None
    for at, first in sorted([*((at, True) for at in ones), *((at, False) for at in others)]):
        if began is None:
            began = at, first
        else:
            yield Alone(began[0], at, began[1] is not first)
            began = None
    if began is not None:
        yield Alone(began[0], max(began[0], end), shifted=False)


def _moved(what: str, alone: list[Alone], spans: list[Span], allowed: float) -> tuple[Says, str]:
    """Return whether `spans` explain all periods in `alone`, and a sentence with the time that they do or do not."""
    for one in alone:
        reached = [span for span in spans if one.shifted or span.sets_off]
        outside = _outside(one, reached)
        if outside > allowed or not (one.shifted or any(span.since <= one.since <= span.until for span in reached)):
            return Says.DIFFERS, f"it was on in one world alone for {outside:.1f} s where nothing can have moved it"
    total = sum(one.until - one.since for one in alone)
    return Says.EXPLAINED, f"it was on in one world alone for {total:.1f} s, where {what} can have moved it"


def _what(scenario: Scenario, longer: list[Span]) -> str:
    """Return the names of everything that can have moved an alert; empty if nothing can."""
    found = (
        (scenario.faults, "faults"),
        (abandons(scenario), "machines that abandon jobs"),
        (longer, "scripts that went on for longer in one world"),
    )
    return ", or ".join(name for there, name in found if there)


def _outside(one: Alone, spans: Iterable[Span]) -> float:
    """Return how many seconds of the period are in none of the spans."""
    outside, at = 0.0, one.since
    for span in sorted(spans):
        if span.until > at:
            outside += max(0.0, min(span.since, one.until) - at)
            at = max(at, min(span.until, one.until))
    return outside + one.until - at
