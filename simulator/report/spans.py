"""What a run went through and when: faults, silences, attacks, alerts, deaths and an early end, in seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.limits import SPANS_DRAWN_MAX
from simulator.platform.wording import plural
from simulator.report import series
from simulator.report.scenario_tables import table_of
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import SilenceOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.checkers.bounds import ScrapeBounds
    from simulator.report.report_input import ReportInput


class SpanKind(StrEnum):
    """What kind of thing a span is of, as people are told."""

    FAULT = "fault"
    SILENCE = "silence"
    ATTACK = "attack"
    ALERT = "alert on"
    DEATH = "server died"
    END = "ended early"


class Span(msgspec.Struct, frozen=True):
    """One thing and when it was, in seconds from the start of the run; `note` says more in words."""

    kind: SpanKind
    name: str
    start: float
    end: float
    note: str = ""

    @property
    def title(self) -> str:
        """Return what it is called beside others."""
        return f"{self.kind.value}: {self.name}"


def spans_of(report_input: ReportInput, bounds: Sequence[ScrapeBounds]) -> list[Span]:
    """Return all spans by kind and in order of time, each within the run."""
    seconds = report_input.record.elapsed_ns / SECOND_NS
    found = [
        *_faults(report_input), *_silences(report_input), *_attacks(report_input), *_alerts(bounds),
        *_deaths(report_input), *_end(report_input),
    ]  # fmt: skip
    kinds = list(SpanKind)
    within = [
        msgspec.structs.replace(one, start=min(max(one.start, 0.0), seconds), end=min(max(one.end, 0.0), seconds))
        for one in found
        if one.start <= seconds and one.end >= 0
    ]
    return sorted(within, key=lambda one: (kinds.index(one.kind), one.start))[:SPANS_DRAWN_MAX]


def _faults(report_input: ReportInput) -> Iterator[Span]:
    for one in report_input.history.faults:
        note = f"could not be carried out: {one.problem}" if one.problem else ""
        yield Span(SpanKind.FAULT, one.kind, one.began_from_ns / SECOND_NS, one.ended_to_ns / SECOND_NS, note)


def _silences(report_input: ReportInput) -> Iterator[Span]:
    """Read the silences of the scenario that was run: a history has none of them. Nothing where it cannot be read."""
    machines = report_input.record.machines
    for one in _silence_options(report_input):
        start, length = one.at_ns / SECOND_NS, one.duration_ns / SECOND_NS
        share = f"{one.share:.0%} of {plural(machines, 'machine')}"
        yield Span(SpanKind.SILENCE, share, start, start + length)


def _silence_options(report_input: ReportInput) -> list[SilenceOptions]:
    fleet = table_of(report_input, "fleet") or {}
    try:
        return msgspec.convert(fleet.get("silence", []), list[SilenceOptions], dec_hook=decode_value)
    except ValueError:
        return []


def _attacks(report_input: ReportInput) -> Iterator[Span]:
    rows = report_input.history.rows()
    for one in report_input.verdict.attacks:
        sent_ns = rows["sent_ns"][rows["campaign"] == one.campaign]
        if len(sent_ns):
            note = f"{one.sent:,} sent, {one.refused:,} refused, {one.wrong:,} wrong"
            start, end = float(sent_ns.min()) / SECOND_NS, float(sent_ns.max()) / SECOND_NS
            yield Span(SpanKind.ATTACK, one.attack, start, end, note)


def _alerts(bounds: Sequence[ScrapeBounds]) -> Iterator[Span]:
    for name, gauge in (("stale workers", STALE_ALERT), ("worker auth failures", AUTH_ALERT)):
        for start, length in series.shown_on(bounds, gauge):
            yield Span(SpanKind.ALERT, name, start, start + length)


def _deaths(report_input: ReportInput) -> Iterator[Span]:
    for one in report_input.history.deaths:
        yield Span(SpanKind.DEATH, one.server, one.died_from_ns / SECOND_NS, one.died_to_ns / SECOND_NS)


def _end(report_input: ReportInput) -> Iterator[Span]:
    ended = report_input.record.ended_early
    if ended is not None:
        at = ended.at_ns / SECOND_NS
        yield Span(SpanKind.END, f"{ended.metric} {ended.threshold}", at, at, f"measured {ended.measured}")
