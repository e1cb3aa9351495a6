"""One scenario played virtually and live: whether both say the same, line by line, within bounds that say their reason.

Times of answers are not compared: they are what differs between two worlds.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import EXIT_CODES, Status, worst
from simulator.comparing.runs import Run, named_checks
from simulator.contract.answers import Operation, operation_name
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.history.rows import HONEST
from simulator.limits import CROSS_CAMPAIGN_SHARE, CROSS_CAMPAIGN_SPARE, CROSS_LATE_SECONDS, CROSS_SHIFT_SECONDS
from simulator.platform.wording import plural
from simulator.scenario.metrics import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.verdict import Verdict
    from simulator.history.rows import History
    from simulator.judging.verdict_file import AttackSummary
    from simulator.scenario.values import Scenario

SCHEMA_VERSION = 1
DIFFER, UNDECIDED_CODE = EXIT_CODES[Status.FAIL], EXIT_CODES[Status.INCONCLUSIVE]
NOT_THERE = "-"
SPREAD = 3.0
"""Standard deviations by which counts may differ by chance: each machine has a heartbeat more or less by its phase."""
ONLY_LIVE = {
    "generator": "in virtual time the harness is never late",
    "log": "a server in memory writes no log",
    MEMORY: "in virtual time the server has the harness's own memory",
}
"""What virtual time has nothing to judge of, with the reason."""


class Says(StrEnum):
    """What is said of a line: `explained` differs for a reason that is no fault, `undecided` cannot be known."""

    AGREES = "agrees"
    EXPLAINED = "explained"
    UNDECIDED = "undecided"
    DIFFERS = "differs"


class WorldLine(msgspec.Struct, frozen=True):
    """One thing that both worlds say: `bound` is how far apart they may be, and `why` says what stands behind it."""

    kind: str
    name: str
    virtual: str
    live: str
    says: Says
    bound: str = "the same"
    why: str = ""


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a cross-check says. `virtual` and `live` are the folders of the two runs."""

    schema_version: int = SCHEMA_VERSION
    scenario: str
    seed: int
    checked_at: str
    virtual: str
    live: str
    exit_code: int
    summary: str
    lines: list[WorldLine]


def cross_check_schema() -> dict[str, Any]:
    """Return the JSON Schema of `cross-check.json`."""
    draft, title = "https://json-schema.org/draft/2020-12/schema", "HatchFarm Harness cross-check"
    return {"$schema": draft, "title": title, **msgspec.json.schema(CrossCheck)}


def compare_worlds(
    scenario: Scenario, virtual: Run, live: Run, folders: tuple[str, str], checked_at: str
) -> CrossCheck:
    """Compare the two runs of a scenario."""
    lines = [
        *_verdicts(virtual, live), *_campaigns(virtual, live), *_counts(scenario, virtual, live),
        *_alerts(scenario, virtual.history, live.history),
    ]  # fmt: skip
    statuses = [virtual.verdict.status, live.verdict.status]
    if any(one.says is Says.DIFFERS for one in lines) or Status.FAIL in statuses:
        code = DIFFER
    elif any(one.says is Says.UNDECIDED for one in lines) or worst(statuses) is not Status.PASS:
        code = UNDECIDED_CODE
    else:
        code = EXIT_CODES[Status.PASS]
    return CrossCheck(
        scenario=live.verdict.scenario, seed=live.verdict.seed, checked_at=checked_at, virtual=folders[0],
        live=folders[1], exit_code=code, summary=_summary(lines, virtual, live), lines=lines,
    )  # fmt: skip


def _summary(lines: list[WorldLine], virtual: Run, live: Run) -> str:
    parts = [
        f"the {name} run is {one.verdict.status.value}"
        for name, one in (("virtual", virtual), ("live", live))
        if one.verdict.status is not Status.PASS
    ]
    for says in (Says.DIFFERS, Says.UNDECIDED):
        found = [one.name for one in lines if one.says is says]
        parts += [f"{says.value}: {', '.join(found)}"] if found else []
    return "; ".join(parts) or f"both worlds say the same in {len(lines)} lines"


# --- verdicts


def _verdicts(virtual: Run, live: Run) -> Iterator[WorldLine]:
    yield _status_line("whole run", virtual.verdict.status, live.verdict.status, _interruption(virtual, live))
    ones, others = named_checks(virtual.verdict), named_checks(live.verdict)
    for name in dict.fromkeys([*ones, *others]):
        one, other = ones.get(name), others.get(name)
        metric = name.partition(":")[0]
        if metric in ONLY_LIVE and (one is None or one.status is Status.NOT_APPLICABLE):
            status = Status.NOT_APPLICABLE if other is None else other.status
            says = Says.UNDECIDED if status is Status.INCONCLUSIVE else Says.EXPLAINED
            yield WorldLine("verdict", name, _value(one), _value(other), says, why=ONLY_LIVE[metric])
        else:
            statuses = [None if each is None else each.status for each in (one, other)]
            yield _status_line(name, *statuses, _reason(one, other))


def _status_line(name: str, one: Status | None, other: Status | None, why: str) -> WorldLine:
    """Return the line of a check: what nobody could know in one world says nothing of the other."""
    values = [NOT_THERE if each is None else each.value for each in (one, other)]
    if one is Status.INCONCLUSIVE or other is Status.INCONCLUSIVE:
        return WorldLine("verdict", name, *values, Says.UNDECIDED, why=why)
    says = Says.AGREES if one is other else Says.DIFFERS
    return WorldLine("verdict", name, *values, says, why=why if says is Says.DIFFERS else "")


def _interruption(virtual: Run, live: Run) -> str:
    ended = [str(one.verdict.interrupted or one.verdict.ended_early or "") for one in (virtual, live)]
    return "; ".join(f"{name}: {text}" for name, text in zip(("virtual", "live"), ended, strict=True) if text)


def _value(one: Verdict | AttackSummary | None) -> str:
    return NOT_THERE if one is None else one.status.value


def _reason(one: Verdict | AttackSummary | None, other: Verdict | AttackSummary | None) -> str:
    """Return what the worse of two checks says."""
    chosen = other if one is None or (other is not None and other.status.is_problem) else one
    return str(getattr(chosen, "summary", "") or getattr(chosen, "note", ""))


# --- counts


def _campaigns(virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Compare what campaigns sent, and what of it a server accepted."""
    lives = {one.campaign: one for one in live.verdict.attacks}
    for one in virtual.verdict.attacks:
        other = lives.get(one.campaign)
        if other is None:
            continue
        name = f"{one.attack} (campaign {one.campaign})"
        allowed = CROSS_CAMPAIGN_SPARE + math.ceil(CROSS_CAMPAIGN_SHARE * max(one.sent, other.sent))
        why = "a script goes on as it is answered, and attempts under way end with the run"
        yield _count_line(f"{name} sent", one.sent, other.sent, allowed, why)
        yield _count_line(f"{name} wrong", one.wrong, other.wrong, 0, "")


def _counts(scenario: Scenario, virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Compare what honest machines, owners and agents asked, by operation, and how many were answered as expected."""
    yield _count_line("machines connected", virtual.record.connected_max, live.record.connected_max, 0, "")
    ones, others = _honest(virtual.history), _honest(live.history)
    missed = _missed(live)
    for operation in sorted({*ones, *others}):
        asked, as_expected = ones.get(operation, (0, 0))
        asked_live, as_expected_live = others.get(operation, (0, 0))
        name = operation_name(operation)
        allowed, why = _allowed(scenario, operation, missed)
        yield _count_line(f"{name} asked", asked, asked_live, allowed, why)
        yield _count_line(f"{name} not as expected", asked - as_expected, asked_live - as_expected_live, 0, "")


def _honest(history: History) -> dict[int, tuple[int, int]]:
    """Count honest requests by operation: all, and those that were answered as expected."""
    rows = history.rows()
    rows = rows[rows["campaign"] == HONEST]
    right = rows["got"] == rows["expected"]
    return {
        operation: (int(mine.sum()), int((mine & right).sum()))
        for operation in np.unique(rows["operation"]).tolist()
        for mine in [rows["operation"] == operation]
    }


def _missed(live: Run) -> int:
    """Count the starts that the live run's own schedule lost, for whatever reason."""
    return sum(one.dropped_starts + one.held_up for one in live.history.generator)


def _allowed(scenario: Scenario, operation: int, missed: int) -> tuple[int, str]:
    """Return how far apart two counts may be, and why."""
    if operation != Operation.HEARTBEAT:
        return 0, ""
    fleet = scenario.fleet
    turns = 1 + len(fleet.stages) + len(fleet.silence)
    shifted = min(1.0, CROSS_SHIFT_SECONDS * SECOND_NS / max(1, fleet.heartbeat_interval_ns))
    by_chance = SPREAD * math.sqrt(fleet.machines * turns)
    why = f"machines begin and end up to {CROSS_SHIFT_SECONDS:g} s later, {plural(turns, 'time')}, and by chance"
    if missed:
        why += f"; {missed:,} starts were lost to the live run's schedule"
    return math.ceil(fleet.machines * turns * shifted + by_chance) + missed, why


def _count_line(name: str, one: int, other: int, allowed: int, why: str) -> WorldLine:
    says = Says.AGREES if abs(one - other) <= allowed else Says.DIFFERS
    bound = f"±{allowed:,}" if allowed else "the same"
    return WorldLine("count", name, f"{one:,}", f"{other:,}", says, bound, why)


# --- alerts


def _alerts(scenario: Scenario, virtual: History, live: History) -> Iterator[WorldLine]:
    """Compare when each alert fired and cleared, as scrapes showed it."""
    interval = scenario.metrics_interval_ns / SECOND_NS
    beat = scenario.fleet.heartbeat_interval_ns / SECOND_NS * (1 + scenario.fleet.jitter)
    allowed = interval + beat + CROSS_LATE_SECONDS
    why = f"a scrape each {interval:g} s, a machine's next heartbeat within {beat:g} s, a busy machine"
    for gauge in (STALE_ALERT, AUTH_ALERT):
        ones, others = _turns(virtual, gauge), _turns(live, gauge)
        yield _count_line(f"{gauge} turned", len(ones), len(others), 0, "")
        if len(ones) != len(others):
            continue
        for number, (one, other) in enumerate(zip(ones, others, strict=True)):
            says = Says.AGREES if abs(one - other) <= allowed else Says.DIFFERS
            what = "cleared" if number % 2 else "fired"
            yield WorldLine(
                "alert", f"{gauge} {what}", f"{one:.1f} s", f"{other:.1f} s", says, f"±{allowed:.1f} s", why
            )


def _turns(history: History, gauge: str) -> list[float]:
    """Return when an alert was first seen on, then off, and so on, in seconds."""
    turns: list[float] = []
    for one in history.scrapes:
        if gauge in one.samples and (one.samples[gauge] > 0) is not bool(len(turns) % 2):
            turns.append(one.sent_ns / SECOND_NS)
    return turns
