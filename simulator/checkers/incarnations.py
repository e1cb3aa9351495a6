"""A server's incarnations, when it is killed or restarted during a run, and what each may have forgotten.

A connection ends with the process behind it, and the next process listens anew. So what was sent before a process had
ended was done by that process or never, and what was sent after it, by a later one.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import ALTERNATIVES, REASONS, Answer, Operation
from simulator.history.rows import HONEST, NO_MACHINE, History
from simulator.limits import EXCHANGES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import ClaimRecord, Fault

KILL, RESTART = "server.kill", "server.restart"
UNPROMISED_NS = 2 * SECOND_NS
"""How long before a kill a refusal may have been answered that the next incarnation knows nothing of. What the contract
promises to keep (§7) is what was accepted."""
BAD_REQUEST, UNAUTHORIZED = HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED
EARLIER_CHECKS = (Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.POLICY_MISSING_HEADERS)
"""Refusals with 401 for reasons that are looked at before whether the worker is known."""
_ID = re.compile(rb"/([a-z]{3,5}_[0-9a-f]{8,40})")
"""What a server gave out, in a path."""


def restarts_of(history: History) -> list[Fault]:
    """Return the faults that ended an incarnation of the server, in order."""
    return sorted((one for one in history.faults if one.kind in {KILL, RESTART}), key=lambda one: one.began_to_ns)


def incarnation_of(history: History, sent_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return in which incarnation of the server, counted from 0, requests were served, if at all."""
    ends = np.array([one.began_to_ns for one in restarts_of(history)], dtype=np.int64)
    return np.searchsorted(ends, sent_ns, side="right").astype(np.int64)


def forgets(history: History, facts: Facts) -> bool:
    """Return whether the server began anew in this run without anything that it knew before."""
    return not facts.durable and bool(restarts_of(history))


def each_incarnation(history: History, facts: Facts) -> Iterator[tuple[History, Facts]]:
    """Yield the history and the facts of each incarnation of a server that forgets; of another server, its only one."""
    if not forgets(history, facts):
        yield history, facts
        return
    rows = history.rows()
    incarnation = incarnation_of(history, rows["sent_ns"])
    for number in range(len(restarts_of(history)) + 1):
        own = history.with_rows(rows[incarnation == number])
        for table in ("scrapes", "effects", "audit_readings"):
            records = getattr(history, table)
            sent_ns = np.array([one.sent_ns for one in records], dtype=np.int64)
            chosen = np.flatnonzero(incarnation_of(history, sent_ns) == number).tolist()
            setattr(own, table, [records[at] for at in chosen])
        yield own, facts if number == 0 else msgspec.structs.replace(facts, baseline={})


def excuse_restarts(history: History, facts: Facts) -> History:
    """Return a history that accuses no server of what a restart rightly changes; the same one where there was none.

    A server that keeps its state may have lost what it refused just before a kill. One that keeps none has forgotten
    every machine: it refuses them as unknown, until they register anew. How much a client used none keeps.
    """
    if not restarts_of(history):
        return history
    rows = history.rows().copy()
    if facts.durable:
        _doubt_last_refusals(history, rows)
        excused = history.with_rows(rows)
        excused.claims = [
            msgspec.structs.replace(one, held=one.held or None) if _counted_anew(history, one) else one
            for one in history.claims
        ]
        excused.effects = [
            msgspec.structs.replace(one, sure=one.sure and not (one.reason and _just_before_kill(history, one)))
            for one in history.effects
        ]
        return excused
    _forget_machines(history, rows)
    excused = history.with_rows(rows)
    excused.claims = [
        msgspec.structs.replace(one, held=one.held or None) if _after_restart(history, one.at_ns) else one
        for one in history.claims
    ]
    return excused


def _just_before_kill(history: History, one: Any) -> bool:
    return any(
        kill.began_from_ns - UNPROMISED_NS <= one.answered_ns and one.sent_ns <= kill.began_to_ns
        for kill in restarts_of(history)
        if kill.kind == KILL
    )


def _counted_anew(history: History, claim: ClaimRecord) -> bool:
    """Return whether what was served between the two moments of a claim may have been served by two processes.

    While one of several instances is away, another one serves its clients.
    """
    first_ns, last_ns = (claim.evidence.get(name) for name in ("first_sent_ns", "last_answered_ns"))
    return (first_ns is not None and last_ns is not None) and any(
        first_ns <= one.ended_to_ns and one.began_from_ns <= last_ns for one in restarts_of(history)
    )


def _after_restart(history: History, at_ns: int) -> bool:
    return at_ns >= restarts_of(history)[0].began_from_ns


def _doubt_last_refusals(history: History, rows: NDArray[Any]) -> None:
    """Mark refusals just before a kill as such that nobody knows whether they were counted and audited."""
    failed = np.isin(rows["got"], list(REASONS))
    for kill in restarts_of(history):
        if kill.kind == KILL:
            late = (rows["answered_ns"] >= kill.began_from_ns - UNPROMISED_NS) & (rows["sent_ns"] <= kill.began_to_ns)
            rows["got"] = np.where(failed & late, Answer.UNAVAILABLE, rows["got"])


def _forget_machines(history: History, rows: NDArray[Any]) -> None:
    """Expect that machines of an earlier incarnation were refused as a server refuses strangers."""
    incarnation = incarnation_of(history, rows["sent_ns"])
    unknown = (incarnation > 0) & (rows["machine"] != NO_MACHINE) & (incarnation > _registered_in(rows, incarnation))
    operation, status, expected = rows["operation"], rows["status"], rows["expected"]
    stranger = unknown & (status == UNAUTHORIZED) & ~np.isin(expected, EARLIER_CHECKS)
    open_question = stranger & np.isin(expected, list(ALTERNATIVES))
    for operations, answer in (
        (Operation.HEARTBEAT, Answer.INVALID_TOKEN),
        (Operation.POLICY_FETCH, Answer.POLICY_INVALID_TOKEN),
    ):
        refused = stranger & (operation == operations)
        rows["got"] = np.where(refused, np.where(open_question, Answer.UNAVAILABLE, answer), rows["got"])
        rows["expected"] = np.where(refused & ~open_question, answer, rows["expected"])
    # What was accepted all the same is nobody else's: no restart excuses a replay.
    rows["machine"] = np.where(unknown & (rows["got"] != Answer.ACCEPTED), NO_MACHINE, rows["machine"])
    # Owners' policies and consents are gone as well, and what scripts had set up.
    machines_own = (operation == Operation.HEARTBEAT) | (operation == Operation.POLICY_FETCH)
    gone = (incarnation > 0) & ~machines_own & (status >= BAD_REQUEST) & (rows["got"] == Answer.UNEXPECTED)
    of_machines = unknown | (operation == Operation.CONSENT_CREATE)
    gone &= of_machines | (rows["campaign"] != HONEST) | _names_gone(history, rows, incarnation)
    rows["got"] = np.where(gone, Answer.REFUSED, rows["got"])
    rows["expected"] = np.where(gone, Answer.REFUSED, rows["expected"])


def _names_gone(history: History, rows: NDArray[Any], incarnation: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which honest requests were not found by an id in their path that a process before may have given out.

    Past the exchanges that are kept nobody knows what was named.
    """
    accepted = np.flatnonzero((rows["operation"] == Operation.REGISTER) & (rows["got"] == Answer.ACCEPTED))
    registered = dict(zip(rows["machine"][accepted].tolist(), incarnation[accepted].tolist(), strict=True))
    given_out_in = {record.worker_id: registered.get(number, -1) for number, record in history.machines.items()}
    asked = [(one, name) for one in history.exchanges if one.campaign == HONEST and (name := _named(one.request))]
    asked_in = incarnation_of(history, np.array([one.sent_ns for one, _ in asked], dtype=np.int64)).tolist()
    named = {
        (one.sent_ns, one.answered_ns)
        for (one, name), number in zip(asked, asked_in, strict=True)
        if given_out_in.get(name, -1) < number
    }
    all_kept = len(history.exchanges) < EXCHANGES_MAX
    found: NDArray[np.bool_] = (rows["campaign"] == HONEST) & (rows["status"] == HTTPStatus.NOT_FOUND)
    for at in np.flatnonzero(found) if all_kept else ():
        found[at] = (int(rows["sent_ns"][at]), int(rows["answered_ns"][at])) in named
    return found


def _named(request: bytes) -> str:
    """Return the id in a request's path; empty without one."""
    path = request.partition(b"\r")[0].partition(b" ")[2].partition(b" ")[0].partition(b"?")[0]
    ids = _ID.search(path)
    return ids[1].decode() if ids else ""


def _registered_in(rows: NDArray[Any], incarnation: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row in which incarnation its machine had last been registered when it was sent; -1 for never."""
    registered = np.flatnonzero((rows["operation"] == Operation.REGISTER) & (rows["got"] == Answer.ACCEPTED))
    order = np.lexsort((rows["sent_ns"][registered], rows["machine"][registered]))
    registered = registered[order]
    machine, sent_ns = rows["machine"][registered], rows["sent_ns"][registered]
    first = np.searchsorted(machine, rows["machine"], side="left")
    found = np.full(len(rows), -1, dtype=np.int64)
    # Among the few registrations of one machine, the last that was sent before; one an incarnation at most.
    for step in range(int(np.unique(machine, return_counts=True)[1].max(initial=0))):
        at = np.minimum(first + step, len(registered) - 1)
        fits = (machine[at] == rows["machine"]) & (sent_ns[at] <= rows["sent_ns"]) & (first + step < len(registered))
        found = np.where(fits, incarnation[registered[at]], found)
    return found
