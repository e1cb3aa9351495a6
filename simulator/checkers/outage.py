"""The outage checker: whether the target went on answering, and if not, what was asked first in vain, and what answers.

A server of the run's own that ended by itself is one, at once: how it ended is known, and what it said last.
It is the root of what other checkers find then: answers that are missing, scrapes that failed, claims that broke.
Times are those of sending. What the run's own faults kept from an answer is nobody's outage.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.excused import HEALED_AFTER_NS, IN_FLIGHT_NS, Excused
from simulator.checkers.keeping import kept
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.history.schedule import unseen
from simulator.history.starvation import Starvation
from simulator.limits import ANSWER_TIMEOUT_SECONDS, LAST_WORDS_SHOWN_MAX_CHARACTERS
from simulator.platform.wording import how_it_ended, sentence, signal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Death

PATIENCE_NS = int(ANSWER_TIMEOUT_SECONDS * SECOND_NS)
MISSING_MIN = 3
"""Requests in a row that go unanswered before it is an outage, and no lost answer."""
TOGETHER_NS = 100 * MILLISECOND_NS
"""What was sent so soon after the last request that was answered was under way when the target stopped."""
STOOD_STILL_SECONDS = 2.0
"""A harness that stood still for so long may have taken for lost what it did not read in time."""
SET_UP = (Operation.POLICY_CREATE, Operation.POLICY_ACTIVATE)
TOO_BUSY = "outage.machine-too-busy"
CONNECTING, SCRAPE = "connecting", "scrape"
KILLED = "SIGKILL"
MEGABYTE_BYTES = 1_000_000


class Outage(msgspec.Struct, frozen=True):
    """A time in which nothing was answered: `missing` requests from `first_ns` on, until an answer came or the end.

    `last_ns` is the last answer before it, None for none. `what` was asked first. `campaigns` are the attacks of which
    something was under way when it began. `starved` says who waited for a CPU meanwhile: then it proves nothing. It
    is empty for nobody, and where the health page answered again and again, for which somebody must have run.
    """

    last_ns: int | None
    first_ns: int
    until_ns: int
    over: bool
    missing: int
    what: str
    campaigns: tuple[int, ...]
    starved: str = ""


def outages(history: History) -> list[Outage]:
    """Find the times in which the target answered nothing but perhaps its health page."""
    rows = history.rows()
    lost = rows[rows["got"] == Answer.LOST]
    excused, starvation = Excused(history), Starvation(history)
    blind = unseen(history, lost["sent_ns"], lost["answered_ns"], STOOD_STILL_SECONDS)
    cause, patience_ns = losses_of(lost["status"])
    blind |= (cause == Loss.ENDED) & (patience_ns < HEALED_AFTER_NS)  # the run itself had no patience
    lost = lost[~excused.covers(lost["sent_ns"]) & ~blind]
    lost = lost[np.argsort(lost["sent_ns"], kind="stable")]
    # Why the others have no answer nobody knows, so they prove nothing.
    known = lost[(losses_of(lost["status"])[0] != Loss.UNKNOWN) | _of_the_set_up(lost)]
    vain_ns, waited_until_ns, refused = _asked_in_vain(history, excused, known)
    if not len(vain_ns):
        return []
    signs_ns, asked_ns = _signs_of_life(history)
    served_ns = np.maximum.accumulate(asked_ns)
    ends_ns = np.append(signs_ns, _last_known_ns(history))
    # What was asked between the same two answers, `first` to `last`, was asked in vain together.
    gap = np.searchsorted(signs_ns, vain_ns, side="right")
    numbers, first = np.unique(gap, return_index=True)
    last = np.append(first[1:], len(gap))
    long_enough = ends_ns[numbers] - vain_ns[first] >= HEALED_AFTER_NS
    if _of_the_set_up(lost).any():
        long_enough[-1:] = True
    found = []
    for number, start, end in zip(numbers[long_enough], first[long_enough], last[long_enough], strict=True):
        over = bool(number < len(signs_ns))
        last_ns = int(signs_ns[number - 1]) if number else None
        until_ns, first_ns = int(ends_ns[number]), int(vain_ns[start])
        # What the server stopped at may have been sent before the last request that it still answered.
        last_sent_ns = int(served_ns[number - 1]) if number else first_ns
        from_ns = min(first_ns, last_sent_ns - IN_FLIGHT_NS)
        under_way = lost[slice(*np.searchsorted(lost["sent_ns"], (from_ns, until_ns)))]
        asked_until_ns = max(int(waited_until_ns[start:end].max()), _asked_for_health_ns(history, first_ns, until_ns))
        if not over or asked_ns[number] > asked_until_ns:
            until_ns = min(until_ns, asked_until_ns)  # of a time in which nobody waited for an answer nobody knows
        missing = max(int(end - start), len(under_way))
        certain = not over or bool(refused[start:end].any())
        proven = missing >= MISSING_MIN and until_ns - first_ns >= (HEALED_AFTER_NS if certain else PATIENCE_NS)
        if proven or _of_the_set_up(under_way).any():
            until_stopped_ns = max(first_ns, last_sent_ns) + TOGETHER_NS
            first_ns, what, campaigns = _beginning(history, under_way, first_ns, until_stopped_ns)
            outage = Outage(last_ns, first_ns, until_ns, over, missing, what, campaigns)
            if sum(one.status > 0 for one in _readings(history, outage)) < MISSING_MIN:
                starved = starvation.describe(first_ns, until_ns)
                outage = msgspec.structs.replace(outage, starved=starved)
            found.append(outage)
    return found


def check_outage(history: History, _facts: Facts) -> Verdict:
    """Find outages, and say how each began and what still answered.

    From where a process of the run was lost on, what it was answered is not known: nothing is an outage that reaches
    beyond.
    """
    known_until_ns = min((one.known_until_ns for one in lost_parts(history)), default=NEVER_NS)
    known = [one for one in outages(history) if one.until_ns <= known_until_ns]
    found, doubtful = [one for one in known if not one.starved], [one for one in known if one.starved]
    attacks = {one.number: one.attack for one in history.campaigns}
    deaths = sorted(history.deaths, key=lambda one: one.died_from_ns)
    figures: dict[str, Any] = {
        "outages": len(found),
        "deaths": len(deaths),
        "health_readings": len(history.health_readings),
        "health_answered": sum(one.status > 0 for one in history.health_readings),
    }
    if doubtful and not found and not deaths:
        findings = kept(_doubt(history, one, attacks) for one in doubtful)
        summary = f"The machine was too busy to tell why nothing was answered: {findings[0].message}."
        return Verdict("outage", Status.INCONCLUSIVE, summary, findings, figures, len(doubtful))
    if not found and not deaths:
        if not len(history):
            return Verdict("outage", Status.INCONCLUSIVE, "Nothing was asked.", (), figures)
        return Verdict("outage", Status.PASS, "The target never stopped answering.", (), figures)
    ended = (_death_finding(history, one, attacks) for one in deaths)
    findings = kept(chain(ended, (_finding(history, one, attacks) for one in found)))
    times = f", {len(found)} times; the first" if len(found) > 1 else ""
    summary = f"The target stopped answering{times}: {findings[0].message}."
    if deaths:
        summary = f"{sentence(findings[0].message)}."
    return Verdict("outage", Status.FAIL, summary, findings, figures, len(deaths) + len(found))


def judge_deaths(deaths: Sequence[Death]) -> Verdict:
    """Judge the ends of servers that ended by themselves, one at least, where no history tells more of them."""
    findings = kept(Finding("outage.server-died", _describe_death(one), one.died_to_ns) for one in deaths)
    return Verdict("outage", Status.FAIL, f"{sentence(findings[0].message)}.", findings, {"deaths": len(deaths)})


def blamed(history: History) -> dict[int, str]:
    """Return by number how the target stopped at what a campaign sent, of those of which this is known."""
    proven = [one for one in outages(history) if not one.starved]
    stopped = {one.campaigns[0]: describe(history, one) for one in proven if len(one.campaigns) == 1}
    for one in history.deaths:
        under_way = _attacks_at(history, one)
        if len(under_way) == 1:
            stopped[under_way[0]] = _describe_death(one)
    return stopped


def describe(history: History, outage: Outage) -> str:
    """Describe an outage in words."""
    until = f"{outage.until_ns / SECOND_NS:.3f}s"
    until = f"until {until}" if outage.over else f"to the end ({until})"
    since = "from the start" if outage.last_ns is None else f"after {outage.last_ns / SECOND_NS:.3f}s"
    more = f", and {outage.missing - 1:,} more after it" if outage.missing > 1 else ""
    first = f"the first without an answer was {outage.what}, sent at {outage.first_ns / SECOND_NS:.3f}s"
    return f"{since} nothing was answered {until}; {first}{more}; {_health(history, outage)}"


def _blame(campaigns: Sequence[int], attacks: dict[int, str]) -> dict[str, Any]:
    """Return the evidence of which attacks were under way: one is to blame."""
    if len(campaigns) == 1:
        return {"campaign": campaigns[0], "attack": attacks.get(campaigns[0], "")}
    return {"under_way": [attacks.get(number, str(number)) for number in campaigns]}


def _describe_death(death: Death) -> str:
    """Describe how a server ended by itself, and when."""
    how = how_it_ended(death.exit_code)
    if signal_of(death.exit_code) == KILLED:
        took = "" if death.memory_bytes is None else f": it had taken {death.memory_bytes / MEGABYTE_BYTES:.0f} MB"
        how += f", which came from outside, perhaps from a system that ran out of memory{took}"
    when = f"between {death.died_from_ns / SECOND_NS:.3f}s and {death.died_to_ns / SECOND_NS:.3f}s"
    if death.died_to_ns <= 0:
        when = "before the run began"
    lines = death.words.splitlines()
    last = _escaped(lines[-1])[:LAST_WORDS_SHOWN_MAX_CHARACTERS] if lines else ""
    words = f"its last words: {last}" if last else "it said nothing"
    return f"{death.server} ended by itself {when} ({how}); {words}"


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _attacks_at(history: History, death: Death) -> list[int]:
    """Return the campaigns of which something was under way when a server ended, or had just been answered."""
    rows = history.rows()
    rows = rows[(rows["campaign"] != HONEST) & (rows["sent_ns"] <= death.died_to_ns)]
    waited_ns = losses_of(rows["status"])[1]
    lost = rows["answered_ns"] == NEVER_NS
    until_ns = np.where(lost, rows["sent_ns"] + waited_ns, rows["answered_ns"])
    return [int(one) for one in np.unique(rows["campaign"][until_ns >= death.died_from_ns - TOGETHER_NS])]


def _death_finding(history: History, death: Death, attacks: dict[int, str]) -> Finding:
    campaigns = _attacks_at(history, death)
    names = [attacks.get(number, str(number)) for number in campaigns]
    under_way = f"; under way was {' and '.join(names)}" if names else ""
    evidence = {
        **_blame(campaigns, attacks),
        "server": death.server,
        "exit_code": death.exit_code,
        "signal": signal_of(death.exit_code),
        "died_from_ns": death.died_from_ns,
        "died_to_ns": death.died_to_ns,
        "memory_bytes": death.memory_bytes,
        "last_words": [_escaped(line) for line in death.words.splitlines()],
    }
    return Finding("outage.server-died", f"{_describe_death(death)}{under_way}", death.died_from_ns, evidence)


def _finding(history: History, outage: Outage, attacks: dict[int, str]) -> Finding:
    blame = _blame(outage.campaigns, attacks)
    return Finding(
        "outage.stopped-answering",
        describe(history, outage),
        outage.first_ns,
        {
            **blame,
            "last_answered_ns": outage.last_ns,
            "first_unanswered_ns": outage.first_ns,
            "until_ns": outage.until_ns,
            "answered_again": outage.over,
            "unanswered": outage.missing,
            "health": [msgspec.to_builtins(one) for one in _readings(history, outage)],
        },
    )


def _doubt(history: History, outage: Outage, attacks: dict[int, str]) -> Finding:
    """Return what was found of an outage in which somebody starved."""
    found = _finding(history, outage, attacks)
    return msgspec.structs.replace(found, rule=TOO_BUSY, message=f"{found.message}; {outage.starved}")


def _readings(history: History, outage: Outage) -> list[Any]:
    return [one for one in history.health_readings if outage.first_ns <= one.sent_ns <= outage.until_ns]


def _health(history: History, outage: Outage) -> str:
    """Return what the health page answered meanwhile, on connections of its own."""
    readings = _readings(history, outage)
    if not readings:
        return "nobody asked for /health meanwhile"
    statuses = sorted({one.status for one in readings if one.status})
    times = ", ".join(f"{one.sent_ns / SECOND_NS:.1f}s" for one in readings[:MISSING_MIN])
    times += f" and {len(readings) - MISSING_MIN} more" if len(readings) > MISSING_MIN else ""
    if not statuses:
        return f"/health did not answer on a fresh connection either (asked at {times}: {readings[-1].problem})"
    answered = sum(one.status > 0 for one in readings)
    always = "" if answered == len(readings) else f", {answered} of {len(readings)} times"
    return f"/health still answered {' or '.join(map(str, statuses))} on a fresh connection (asked at {times}){always}"


def _beginning(history: History, lost: NDArray[Any], first_ns: int, until_ns: int) -> tuple[int, str, tuple[int, ...]]:
    """Return what an outage began at: when that was sent, what it was, and which attacks were under way.

    `lost` are the requests without an answer that have a row, in order; until the last of the two times they can have
    been under way when the target stopped.
    """
    lost = lost[lost["sent_ns"] <= until_ns]
    if not len(lost):
        return first_ns, "a connection", ()
    hostile = lost[lost["campaign"] != HONEST]
    campaigns = tuple(np.unique(hostile["campaign"]).tolist())
    # Rather the one attack's request than a heartbeat that was under way beside it: thousands like it were answered.
    first = (hostile if len(campaigns) == 1 else lost)[0]
    return int(first["sent_ns"]), _named(history, first), campaigns


def _named(history: History, row: NDArray[Any]) -> str:
    """Name a request by what it asked for, and for whom."""
    operation = Operation(int(row["operation"]))
    wanted = "request" if operation is Operation.OTHER else operation.name.lower().replace("_", " ")
    if row["campaign"] != HONEST:
        attacks = {one.number: one.attack for one in history.campaigns}
        return f"a {wanted} of {attacks.get(int(row['campaign']), 'an attack')}"
    return f"a {wanted}" if row["machine"] == NO_MACHINE else f"a {wanted} of machine {row['machine']}"


def _asked_in_vain(
    history: History, excused: Excused, lost: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return when something was asked that every target answers at once, in order.

    And until when an answer was waited for at the latest, and which were not even connected.
    """
    plain = lost[lost["operation"] != Operation.OTHER]
    waited_ns = np.where(_of_the_set_up(plain), NEVER_NS - plain["sent_ns"], losses_of(plain["status"])[1])
    troubles = list(_moments(history))
    others = np.array([at_ns for at_ns, _ in troubles], dtype=np.int64)
    unsent = np.array([what == CONNECTING for _, what in troubles], dtype=np.bool_)
    counted = ~excused.covers(others) & ~unseen(history, others, others + PATIENCE_NS, STOOD_STILL_SECONDS)
    moments = np.concatenate([plain["sent_ns"], others[counted]])
    until_ns = np.concatenate([plain["sent_ns"] + waited_ns, others[counted] + PATIENCE_NS])
    order = np.argsort(moments, kind="stable")
    unsent = np.concatenate([np.zeros(len(plain), dtype=np.bool_), unsent[counted]])
    return moments[order], until_ns[order], unsent[order]


def _asked_for_health_ns(history: History, first_ns: int, until_ns: int) -> int:
    """Return until when between two moments the health page was waited for in vain; 0 for never."""
    unanswered = (one for one in history.health_readings if not one.status and first_ns <= one.sent_ns <= until_ns)
    return max((one.sent_ns + PATIENCE_NS for one in unanswered), default=0)


def _moments(history: History) -> Iterator[tuple[int, str]]:
    """Yield a moment for each second in which connections or scrapes failed; what else is lost has a row."""
    for one in history.troubles:
        if one.what in {CONNECTING, SCRAPE}:
            for second, count in one.seconds.items():
                at_ns = min(max(one.first_ns, second * SECOND_NS), one.last_ns)
                yield from [(at_ns, one.what)] * min(count, MISSING_MIN)


def _signs_of_life(history: History) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when anything was answered but what may come from a health page, or from a server beside the target.

    In order; with each when it was asked for.
    """
    rows = history.rows()
    rows = rows[(rows["operation"] != Operation.OTHER) & (rows["answered_ns"] != NEVER_NS)]
    read = [(one.answered_ns, one.sent_ns) for one in history.scrapes]
    read += [(one.answered_ns, one.sent_ns) for one in history.audit_readings]
    read += [(one.answered_ns, one.sent_ns) for one in history.status_readings]
    readings = np.array(read, dtype=np.int64).reshape(-1, 2)
    answered_ns = np.concatenate([rows["answered_ns"], readings[:, 0]])
    sent_ns = np.concatenate([rows["sent_ns"], readings[:, 1]])
    order = np.argsort(answered_ns, kind="stable")
    return answered_ns[order], sent_ns[order]


def _last_known_ns(history: History) -> int:
    rows = history.rows()
    answered = rows["answered_ns"][rows["answered_ns"] != NEVER_NS]
    return max(
        int(rows["sent_ns"].max(initial=0)),
        int(answered.max(initial=0)),
        *(one.at_ns for one in history.generator[-1:]),
        *(one.sent_ns for one in history.health_readings),
        *(one.last_ns for one in history.troubles),
    )


def _of_the_set_up(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are owners' policies, without which no run begins: they have rows only where it did not."""
    honest = (rows["campaign"] == HONEST) & (rows["machine"] == NO_MACHINE)
    chosen: NDArray[np.bool_] = honest & np.isin(rows["operation"], SET_UP)
    return chosen
