"""Whether owners are shown their machines as they are: every one, how old its last heartbeat is, and how many (§3).

Only of a server that did not start anew: what one may have forgotten, and what it must not, is judged elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.audit_expected import single_policies
from simulator.checkers.bounds import Range, clocks_apart_ns, slack_ns_of
from simulator.checkers.forgotten import perhaps_forgotten
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.possible import unexplained
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.shown_times import ServerClock
    from simulator.history.records import StatusReading, StatusShown, SummaryReading

AGE_STEP_NS = SECOND_NS
"""A server may show ages in whole seconds."""


def check_statuses(history: History, facts: Facts) -> Iterator[Finding]:
    """Hold every list of statuses, and every summary, against what was registered and accepted."""
    readings = [one for one in history.status_readings if one.statuses or not one.ages]
    if restarts_of(history) or lost_parts(history) or not (readings or history.summary_readings):
        return
    if unexplained(history, facts):
        return
    heard = _Heard(history, facts)
    policy_of, apart_ns = single_policies(history), clocks_apart_ns(history, facts)
    for reading in readings:
        yield from _list(history, heard, reading)
        for worker_id, age in reading.ages.items():
            shown = reading.statuses.get(worker_id)
            if shown is not None:
                yield from _one(reading, worker_id, age, shown, heard, policy_of, facts, apart_ns)
    for summary in history.summary_readings:
        yield from _summary(history, heard, summary, facts)


def check_last_heartbeats(history: History, clock: ServerClock) -> Iterator[Finding]:
    """Find times of last heartbeats that are not as long ago as the age that is shown beside them."""
    for reading in history.status_readings:
        wrong: list[tuple[str, float, str]] = []
        for worker_id, shown in reading.statuses.items():
            age, moments = reading.ages[worker_id], clock.between(shown.last_heartbeat)
            if age < 0 or moments is None:
                continue
            age_ns = int(age * SECOND_NS)
            apart_ns = AGE_STEP_NS + slack_ns_of(age_ns)
            first_ns, last_ns = reading.sent_ns - age_ns - apart_ns, reading.answered_ns - age_ns + apart_ns
            if moments[0] > last_ns or moments[1] < first_ns:
                wrong.append((worker_id, age, shown.last_heartbeat))
        if wrong:
            worker_id, age, at = wrong[0]
            message = (
                f"is shown of {worker_id} that its last heartbeat was {age:g} s ago, and was at {at}, which by the "
                f"server's clock is another time{_more([one for one, _, _ in wrong])}"
            )
            evidence = {"worker_id": worker_id, "age": age, "last_heartbeat": at, "count": len(wrong)}
            yield _finding("status-age", reading, message, **evidence)


class _Heard:
    """When each worker was heard from, surely and perhaps, and when it was registered."""

    def __init__(self, history: History, facts: Facts) -> None:
        rows = history.rows()
        rows = rows[rows["machine"] != NO_MACHINE]
        beats = rows[rows["operation"] == Operation.HEARTBEAT]
        beats = beats[np.argsort(beats["machine"], kind="stable")]
        self._kept = ~perhaps_forgotten(history, beats, facts)
        registered = rows[(rows["operation"] == Operation.REGISTER) & (rows["got"] == Answer.ACCEPTED)]
        self._beats = beats
        self._machines = beats["machine"].astype(np.int64)  # else each search makes a copy of the column
        self._numbers = {record.worker_id: number for number, record in history.machines.items()}
        self.registered = dict(zip(registered["machine"].tolist(), registered["answered_ns"].tolist(), strict=True))

    def surely(self, worker_id: str, before_ns: int) -> Any:
        """Return the last-sent heartbeat that was accepted before a moment; None without one."""
        mine = self._beats[self._of(worker_id)][self._kept[self._of(worker_id)]]
        mine = mine[(mine["got"] == Answer.ACCEPTED) & (mine["answered_ns"] < before_ns)]
        return mine[np.argmax(mine["sent_ns"])] if len(mine) else None

    def latest_ns(self, worker_id: str, until_ns: int) -> int | None:
        """Return the last moment by which one may have been accepted; None where that cannot be."""
        mine = self._beats[self._of(worker_id)]
        mine = mine[(mine["sent_ns"] <= until_ns)]
        refused = (mine["status"] >= 400) & (mine["status"] < 500)  # noqa: PLR2004 - as HTTP has it
        mine = mine[~refused]
        if not len(mine):
            return None
        sure = mine["got"] == Answer.ACCEPTED
        return int(np.where(sure, mine["answered_ns"], NEVER_NS).max())

    def _of(self, worker_id: str) -> slice:
        number = self._numbers.get(worker_id, NO_MACHINE - 1)
        return slice(*self._machines.searchsorted([number, number + 1]))


def _list(history: History, heard: _Heard, reading: StatusReading) -> Iterator[Finding]:
    """Find machines that are not shown, and another owner's that are."""
    missing, foreign = [], []
    for number, record in history.machines.items():
        mine = record.owner_id == reading.owner_id
        if mine and heard.registered.get(number, NEVER_NS) < reading.sent_ns and record.worker_id not in reading.ages:
            missing.append(record.worker_id)
        elif not mine and record.worker_id in reading.ages:
            foreign.append(record.worker_id)
    if missing:
        message = f"is not shown {missing[0]}, which was registered before{_more(missing)}"
        yield _finding("status-missing", reading, message, worker_id=missing[0], count=len(missing))
    if foreign:
        message = f"is shown {foreign[0]}, which is another owner's{_more(foreign)}"
        yield _finding("status-foreign", reading, message, worker_id=foreign[0], count=len(foreign))


def _one(
    reading: StatusReading,
    worker_id: str,
    age: float,
    shown: StatusShown,
    heard: _Heard,
    policy_of: dict[str, str],
    facts: Facts,
    apart_ns: int,
) -> Iterator[Finding]:
    """Hold one status against the heartbeats of its machine, and against itself.

    By one clock a heartbeat was taken, and by another, so far apart, it is so old.
    """
    last = heard.surely(worker_id, reading.sent_ns)
    latest_ns = heard.latest_ns(worker_id, reading.answered_ns)
    words = "it was never heard from" if age < 0 else f"its last heartbeat was {age:g} s ago"
    if last is not None:
        most_ns = reading.answered_ns - int(last["sent_ns"])
        if age < 0 or age * SECOND_NS > most_ns + AGE_STEP_NS + slack_ns_of(most_ns) + apart_ns:
            message = (
                f"is shown of {worker_id} that {words}, and one was accepted {most_ns / SECOND_NS:.1f} s ago at most"
            )
            evidence = {"age": age, "accepted_sent_ns": int(last["sent_ns"]), "nonce": bytes(last["nonce"]).hex()}
            yield _finding("status-age", reading, message, worker_id=worker_id, **evidence)
    if age >= 0:
        least_ns = NEVER_NS if latest_ns is None else reading.sent_ns - latest_ns
        if latest_ns is None or age * SECOND_NS < least_ns - AGE_STEP_NS - slack_ns_of(abs(least_ns)) - apart_ns:
            known = "none was accepted" if latest_ns is None else f"none was sent for {least_ns / SECOND_NS:.1f} s"
            message = f"is shown of {worker_id} that {words}, and {known}"
            yield _finding("status-age", reading, message, worker_id=worker_id, age=age)
    threshold = reading.stale_seconds if reading.stale_seconds >= 0 else facts.stale_seconds
    shown_stale = shown.stale
    if (
        threshold is not None
        and shown_stale is not None
        and shown_stale is not _stale(age, threshold, otherwise=shown_stale)
    ):
        state = "stale" if shown.stale else "not stale"
        message = f"is shown of {worker_id} that {words}, as {state}, which begins at {threshold:g} s"
        yield _finding("status-stale", reading, message, worker_id=worker_id, age=age, threshold=threshold)
    right = policy_of.get(worker_id)
    if right and shown.policy_id and shown.policy_id != right:
        message = f"is shown {worker_id} under policy {shown.policy_id}, and only {right} was consented to"
        yield _finding("status-policy", reading, message, worker_id=worker_id, policy_id=shown.policy_id)


def _stale(age: float, threshold: float, *, otherwise: bool) -> bool:
    """Return whether a machine of an age, perhaps cut to whole seconds, is stale; otherwise where it may be either."""
    if age < 0 or age > threshold:
        return True
    return False if age + 1 <= threshold else otherwise


def _summary(history: History, heard: _Heard, reading: SummaryReading, facts: Facts) -> Iterator[Finding]:
    """Hold a summary's numbers against what was registered and heard, and against one another."""
    parts = reading.fresh + reading.stale + reading.unknown
    if reading.total != parts:
        message = f"is shown {reading.total} machines in all, and {parts} by their state"
        yield _finding("summary", reading, message, total=reading.total, parts=parts)
        return
    made = [
        one
        for one in history.effects
        if one.type == "machine_registered" and reading.owner_id in one.owners and one.sent_ns <= reading.answered_ns
    ]
    total = Range(sum(one.sure and one.answered_ns < reading.sent_ns for one in made), len(made))
    workers = [one.worker_id for one in history.machines.values() if one.owner_id == reading.owner_id]
    surely = [last for one in workers if (last := heard.surely(one, reading.sent_ns)) is not None]
    latest = [at for one in workers if (at := heard.latest_ns(one, reading.answered_ns)) is not None]
    fresh_now = stale_now = 0
    if facts.stale_seconds is not None:
        stale_ns = facts.stale_seconds * SECOND_NS
        slack_ns = AGE_STEP_NS + slack_ns_of(int(stale_ns))
        fresh_now = sum(reading.answered_ns - int(last["sent_ns"]) < stale_ns - slack_ns for last in surely)
        stale_now = sum(at != NEVER_NS and reading.sent_ns - at > stale_ns + slack_ns for at in latest)
    for name, number, bound in (
        ("machines in all", reading.total, total),
        ("never heard from", reading.unknown, Range(max(0, total.low - len(latest)), total.high - len(surely))),
        ("stale", reading.stale, Range(0 if len(surely) < len(latest) else stale_now, len(latest) - fresh_now)),
    ):
        if number not in bound:
            message = f"is shown {number} {name}, possible is {bound}"
            yield _finding("summary", reading, message, value=number, low=bound.low, high=bound.high)


def _more(found: list[str]) -> str:
    return f" ({len(found):,} such machines)" if len(found) > 1 else ""


def _finding(rule: str, reading: StatusReading | SummaryReading, message: str, **evidence: Any) -> Finding:
    window = {"owner": reading.owner_id, "read_from_ns": reading.sent_ns, "read_to_ns": reading.answered_ns}
    when = f"{reading.sent_ns / SECOND_NS:.3f}s"
    return Finding(
        f"contents.{rule}", f"at {when} {reading.owner_id} {message}", reading.sent_ns, {**window, **evidence}
    )
