"""Comparing a scenario's virtual run with its live run, line by line, within bounds that state their reasons.

Response times are not compared: they must differ between the two worlds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.checkers.verdict import EXIT_CODES, Status, worst
from simulator.comparing.alert_turns import alert_lines
from simulator.comparing.fault_reach import (
    Missed,
    Reach,
    abandoned_turns,
    forgets,
    honest_reach,
    losing_faults,
    missed_turns,
    sent_within,
)
from simulator.comparing.load_reach import load_allows
from simulator.comparing.market_reach import abandons, market_allows
from simulator.comparing.runs import Run, named_checks
from simulator.comparing.world_lines import Says, WorldLine, count_line
from simulator.contract.answers import Operation, operation_name
from simulator.fleet.requests import ROTATION_SHARE_MAX
from simulator.history.starvation import Starvation
from simulator.limits import (
    CROSS_CAMPAIGN_SHARE,
    CROSS_CAMPAIGN_SPARE,
    CROSS_LOCUST_SHIFT_SECONDS,
    CROSS_SHIFT_SECONDS,
)
from simulator.platform.wording import plural
from simulator.scenario.metrics import MEMORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.checkers.verdict import Verdict
    from simulator.history.rows import History
    from simulator.judging.verdict_file import AttackSummary
    from simulator.scenario.values import Scenario

SCHEMA_VERSION = 1
DIFFER, UNDECIDED_CODE = EXIT_CODES[Status.FAIL], EXIT_CODES[Status.INCONCLUSIVE]
NOT_THERE = "-"
SPREAD = 3.0
"""Standard deviations by which counts may differ by chance: a machine's phase gives it a heartbeat more or less."""
ONLY_LIVE = {
    "generator": "in virtual time the harness is never late",
    "log": "a server in memory writes no log",
    MEMORY: "in virtual time the server has the harness's own memory",
    "statistics": "in virtual time Locust counts nothing",
}
"""Checkers and metrics that are not judged in virtual time, with the reason."""
OPEN = (Says.DIFFERS, Says.UNDECIDED)
"""The results of lines on which the two worlds do not agree."""


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a cross-check. `virtual` and `live` are the folders of the two runs."""

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
    """Compare the virtual and the live run of a scenario, whose results are in `folders` in this order."""
    figures = [
        *_campaigns(scenario, virtual, live), *_counts(scenario, virtual, live),
        *alert_lines(scenario, virtual.history, live.history),
    ]  # fmt: skip
    lines = [*_verdicts(virtual, live), *_as_far_as_known(figures, live)]
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


def _as_far_as_known(figures: list[WorldLine], live: Run) -> Iterator[WorldLine]:
    """Yield the lines; those that differ are undecided if the live run's computer was too busy to play it in time."""
    starved = Starvation(live.history).describe(0, live.record.elapsed_ns)
    for one in figures:
        differs = one.says is Says.DIFFERS and starved
        yield msgspec.structs.replace(one, says=Says.UNDECIDED, why=starved) if differs else one


def _summary(lines: list[WorldLine], virtual: Run, live: Run) -> str:
    """Return a summary that begins with whether both worlds agree: two runs that fail in the same way do."""
    parts = []
    for says in (Says.DIFFERS, Says.UNDECIDED):
        found = [one.name for one in lines if one.says is says]
        parts += [f"{says.value}: {', '.join(found)}"] if found else []
    statuses = [one.verdict.status for one in (virtual, live)]
    if statuses[0] is not statuses[1]:
        names = zip(("virtual", "live"), statuses, strict=True)
        parts += [f"the {name} run is {status.value}" for name, status in names if status is not Status.PASS]
    elif statuses[0] is not Status.PASS:
        parts.append(f"both runs are {statuses[0].value}")
    agreed = f"both worlds say the same in {plural(len(lines), 'line')}"
    return "; ".join(parts if any(one.says in OPEN for one in lines) else [agreed, *parts])


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
    """Return the line of a check: if it is inconclusive in one world, the worlds cannot be compared by it."""
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
    """Return the explanation of the worse of two checks."""
    chosen = other if one is None or (other is not None and other.status.is_problem) else one
    return str(getattr(chosen, "summary", "") or getattr(chosen, "note", ""))


# --- counts


def _campaigns(scenario: Scenario, virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Yield lines that compare how many requests each campaign sent, and how many of them were answered wrongly."""
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
        within = [sent_within(run.history, one.campaign) for run in (virtual, live)]
        if within[0] != within[1]:
            allowed += abs(within[0] - within[1])
            why += f"; {within[0]:,} and {within[1]:,} were sent within faults' windows"
        yield count_line(f"{name} sent", one.sent, other.sent, allowed, why)
        yield count_line(f"{name} wrong", one.wrong, other.wrong, 0, "")


def _rotates(scenario: Scenario) -> bool:
    """Return whether machines rotate certificates within the run, by the scenario or because they expire soon."""
    life_ns = float(scenario.server.settings.get("MACHINE_CERT_TTL_SECONDS", math.inf)) * SECOND_NS
    return min(scenario.fleet.certificate_rotation_ns, ROTATION_SHARE_MAX * life_ns) < scenario.duration_ns


def _counts(scenario: Scenario, virtual: Run, live: Run) -> Iterator[WorldLine]:
    """Yield lines that compare honest requests by operation: how many were sent, and how many answered unexpectedly.

    Requests whose answers faults prevented are a line of their own: they may differ by as many as the faults can reach.
    """
    yield _connected(scenario, virtual.record.connected_max, live.record.connected_max)
    ones, others = honest_reach(scenario, virtual.history), honest_reach(scenario, live.history)
    missed = _missed(live)
    for operation in sorted({*ones, *others}):
        one, other = ones.get(operation, Reach()), others.get(operation, Reach())
        name = operation_name(operation)
        allowed, why = _allowed(scenario, operation, missed)
        drawn = [
            allows(scenario, operation, (one.asked, other.asked), SPREAD) for allows in (load_allows, market_allows)
        ]
        more, reason = max(drawn)  # both include the same allowance for chance
        allowed, why = allowed + more, "; ".join(filter(None, (why, reason)))
        if abandons(scenario) and operation == Operation.HEARTBEAT:
            more, reason = _missed_turns(scenario, abandoned_turns, virtual, live)
            allowed, why = allowed + more, f"{why}; {reason} jobs that they abandoned"
        if scenario.faults:
            more, reason = _asked_for_faults(scenario, operation, (virtual, one), (live, other))
            allowed, why = allowed + more, "; ".join(filter(None, (why, reason if more else "")))
        yield count_line(f"{name} asked", one.asked, other.asked, allowed, why)
        yield count_line(f"{name} not as expected", one.wrong, other.wrong, 0, "")
        if one.kept or other.kept:
            yield count_line(f"{name} kept by faults", one.kept, other.kept, *_kept(scenario, live, one, other))


def _connected(scenario: Scenario, one: int, other: int) -> WorldLine:
    """Compare the most connections of machines at once: a machine that changes instances may briefly have two."""
    if scenario.server.instances == 1:
        return count_line("machines connected", one, other, 0, "")
    allowed = math.ceil(SPREAD * math.sqrt(max(0, one - scenario.fleet.machines, other - scenario.fleet.machines)))
    why = "machines that move between instances have two connections for a moment"
    return count_line("machines connected", one, other, allowed, why)


def _asked_for_faults(
    scenario: Scenario, operation: int, virtual: tuple[Run, Reach], live: tuple[Run, Reach]
) -> tuple[int, str]:
    """Return by how many more requests two runs may differ because of their faults, and why."""
    if operation == Operation.HEARTBEAT:
        more, reason = _missed_turns(scenario, missed_turns, virtual[0], live[0])
        return more, f"{reason} faults"
    more = max(reach.kept for _, reach in (virtual, live))
    if forgets(scenario):  # a machine that its server has forgotten is set up again
        within = max(reach.within for _, reach in (virtual, live))
        more += min(within, len(losing_faults(live[0].history)) * scenario.fleet.machines)
    return more, "what faults kept from its answer is asked again"


def _missed_turns(
    scenario: Scenario, missed: Callable[[Scenario, History], Missed], virtual: Run, live: Run
) -> tuple[int, str]:
    """Return by how many heartbeats two runs may differ because machines missed some, and the start of the reason."""
    one, other = (missed(scenario, run.history) for run in (virtual, live))
    more = math.ceil(abs(one.turns - other.turns) + SPREAD * math.sqrt(one.times + other.times))
    return more, f"machines missed {one.turns:,.0f} and {other.turns:,.0f} turns for"


def _kept(scenario: Scenario, live: Run, one: Reach, other: Reach) -> tuple[int, str]:
    """Return how far apart the counts of requests whose answers faults prevented may be, and why."""
    under_way = min(max(one.within, other.within), len(losing_faults(live.history)) * scenario.fleet.machines)
    longer = abs(one.within - other.within)
    by_chance = math.ceil(SPREAD * math.sqrt(one.kept + other.kept))
    within = f"{one.within:,} and {other.within:,} were asked within faults' windows"
    return under_way + longer + by_chance, f"{within}, one a machine under way as each began, and by chance"


def _missed(live: Run) -> int:
    """Return the number of starts that the live run's schedule lost, for any reason."""
    return sum(one.dropped_starts + one.held_up for one in live.history.generator)


def _allowed(scenario: Scenario, operation: int, missed: int) -> tuple[int, str]:
    """Return how far apart the counts of an operation may be without faults, users and agents, and why."""
    fleet = scenario.fleet
    if operation == Operation.CERTIFICATE and (_rotates(scenario) or scenario.attacks):
        return fleet.machines, "a machine's last rotation falls within the run or not, and one that is refused rotates"
    if operation != Operation.HEARTBEAT:
        return 0, ""
    turns = 1 + len(fleet.stages) + len(fleet.silence)
    seconds = CROSS_LOCUST_SHIFT_SECONDS if scenario.load or fleet.processes > 1 else CROSS_SHIFT_SECONDS
    shifted = min(1.0, seconds * SECOND_NS / max(1, fleet.heartbeat_interval_ns))
    by_chance = SPREAD * math.sqrt(fleet.machines * turns)
    why = f"machines begin and end up to {seconds:g} s later, {plural(turns, 'time')}, and by chance"
    if missed:
        why += f"; {missed:,} starts were lost to the live run's schedule"
    return math.ceil(fleet.machines * turns * shifted + by_chance) + missed, why
