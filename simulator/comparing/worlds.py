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
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.checkers.verdict import EXIT_CODES, Status, worst
from simulator.comparing.runs import Run, named_checks
from simulator.contract.answers import Answer, Operation, operation_name
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.fleet.requests import ROTATION_SHARE_MAX
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST
from simulator.history.starvation import Starvation
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
    figures = [
        *_campaigns(scenario, virtual, live), *_counts(scenario, virtual, live),
        *_alerts(scenario, virtual.history, live.history),
    ]  # fmt: skip
    lines = [*_verdicts(virtual, live), *_as_far_as_known(figures, scenario, live)]
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


def _as_far_as_known(figures: list[WorldLine], scenario: Scenario, live: Run) -> Iterator[WorldLine]:
    """Yield the lines; what differs is undecided where the live run's machine was too busy to play it in time.

    Alerts of a run with faults differ by what the faults hit, which is drawn as it comes in each world.
    """
    starved = Starvation(live.history).describe(0, live.record.elapsed_ns)
    for one in figures:
        if one.says is not Says.DIFFERS:
            yield one
        elif starved:
            yield msgspec.structs.replace(one, says=Says.UNDECIDED, why=starved)
        elif scenario.faults and one.name.startswith((STALE_ALERT, AUTH_ALERT)):
            yield msgspec.structs.replace(one, says=Says.EXPLAINED, why="faults hit what is under way in each world")
        else:
            yield one


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
            says, why = Says.EXPLAINED, ONLY_LIVE[metric]
            if status is Status.INCONCLUSIVE:
                says, why = Says.UNDECIDED, _reason(one, other)
            yield WorldLine("verdict", name, _value(one), _value(other), says, why=why)
        else:
            first, second = (None if each is None else each.status for each in (one, other))
            yield _status_line(name, first, second, _reason(one, other))


def _status_line(name: str, one: Status | None, other: Status | None, why: str) -> WorldLine:
    """Return the line of a check: what nobody could know in one world says nothing of the other."""
    virtual, live = (NOT_THERE if each is None else each.value for each in (one, other))
    if one is Status.INCONCLUSIVE or other is Status.INCONCLUSIVE:
        return WorldLine("verdict", name, virtual, live, Says.UNDECIDED, why=why)
    says = Says.AGREES if one is other else Says.DIFFERS
    return WorldLine("verdict", name, virtual, live, says, why=why if says is Says.DIFFERS else "")


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


def _campaigns(scenario: Scenario, virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Compare what campaigns sent, and what of it a server accepted."""
    others = {one.campaign: one for one in live.verdict.attacks}
    for one in virtual.verdict.attacks:
        other = others.get(one.campaign)
        if other is None:
            continue
        name = f"{one.attack} (campaign {one.campaign})"
        allowed = CROSS_CAMPAIGN_SPARE + math.ceil(CROSS_CAMPAIGN_SHARE * max(one.sent, other.sent))
        why = "a script goes on as it is answered, and attempts under way end with the run"
        options = scenario.attacks[one.campaign - 1]
        if issubclass(CATALOGUE[one.attack], ShotAttack) and _rotates(scenario):
            allowed = math.ceil(options.rate * options.duration_ns / SECOND_NS)
            why = "a shot needs a victim that does not rotate its certificate just then"
        yield _count_line(f"{name} sent", one.sent, other.sent, allowed, why)
        yield _count_line(f"{name} wrong", one.wrong, other.wrong, 0, "")


def _rotates(scenario: Scenario) -> bool:
    """Return whether certificates are rotated within the run, by age or for what is left of their lives."""
    life_ns = float(scenario.server.settings.get("MACHINE_CERT_TTL_SECONDS", math.inf)) * SECOND_NS
    return min(scenario.fleet.certificate_rotation_ns, ROTATION_SHARE_MAX * life_ns) < scenario.duration_ns


def _counts(scenario: Scenario, virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Compare what honest machines, owners and agents asked, by operation, and how many were answered as expected."""
    yield _count_line("machines connected", virtual.record.connected_max, live.record.connected_max, 0, "")
    ones, others = _honest(virtual.history), _honest(live.history)
    missed = _missed(live)
    for operation in sorted({*ones, *others}):
        asked, right = ones.get(operation, (0, 0))
        asked_live, right_live = others.get(operation, (0, 0))
        name, wrong, wrong_live = operation_name(operation), asked - right, asked_live - right_live
        allowed, why = _allowed(scenario, operation, missed)
        spare, reason = _spare(scenario, max(wrong, wrong_live))
        whys = "; ".join(filter(None, (why, reason)))
        yield _count_line(f"{name} asked", asked, asked_live, allowed + spare, whys)
        yield _count_line(f"{name} not as expected", wrong, wrong_live, spare, reason)


def _honest(history: History) -> dict[int, tuple[int, int]]:
    """Count honest requests by operation: all, and those that were answered as expected."""
    rows = history.rows()
    rows = rows[rows["campaign"] == HONEST]
    cause, _ = losses_of(rows["status"])
    rows = rows[(rows["got"] != Answer.LOST) | (cause != Loss.ENDED)]  # the end of a run cuts off what is under way
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
    fleet = scenario.fleet
    if operation == Operation.CERTIFICATE and (_rotates(scenario) or scenario.attacks):
        return fleet.machines, "a machine's last rotation falls within the run or not, and one that is refused rotates"
    if operation != Operation.HEARTBEAT:
        return 0, ""
    turns = 1 + len(fleet.stages) + len(fleet.silence)
    shifted = min(1.0, CROSS_SHIFT_SECONDS * SECOND_NS / max(1, fleet.heartbeat_interval_ns))
    by_chance = SPREAD * math.sqrt(fleet.machines * turns)
    why = f"machines begin and end up to {CROSS_SHIFT_SECONDS:g} s later, {plural(turns, 'time')}, and by chance"
    if missed:
        why += f"; {missed:,} starts were lost to the live run's schedule"
    return math.ceil(fleet.machines * turns * shifted + by_chance) + missed, why


def _spare(scenario: Scenario, wrong: int) -> tuple[int, str]:
    """Return by how many more requests two runs may differ whose faults hit whatever is under way, and why."""
    if not scenario.faults:
        return 0, ""
    return wrong + len(scenario.faults) * scenario.fleet.machines, "faults hit what is under way, and it is tried again"


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
