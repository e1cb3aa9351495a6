"""The durability checker: what was acknowledged before a fault is there after it, and what was refused is not (§7).

It looks at three things: what owners were shown of their machines once the server answered again, what the server said
from then on to those it had registered, and whether anything it had used up or ended came to life again.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import clocks_apart_ns, slack_ns_of
from simulator.checkers.excused import LOSES_NOTHING, SLOW, healed_ns, refused_after
from simulator.checkers.forgotten import perhaps_forgotten
from simulator.checkers.incarnations import incarnation_of, restarts_of
from simulator.checkers.judging import SILENT
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.unknown import perhaps_sent, unknown_from_ns
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, NONE, History
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Fault, StatusReading

UNKNOWN_OUTCOME = (Answer.LOST, Answer.UNEXPECTED)
UNSERVED = (Answer.UNAVAILABLE, Answer.FAILED)
"""How a request is refused that changes nothing (§7)."""
STRANGERS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""How a server refuses a machine or a consent that it does not know (contract §3, §4)."""
AGE_STEP_NS = SECOND_NS
"""A server may show ages in whole seconds."""
SENT_MIN = 10
"""Honest heartbeats after a fault that say whether a server has healed."""
DISK_FULL = "disk.full"
"""The scenario's name of the fault in which nothing can be written."""
LISTENING = "cannot listen"
"""What a server says whose port somebody else holds."""


def check_durability(history: History, facts: Facts) -> Verdict:
    """Hold what a server knew and did after each fault against what it had acknowledged before."""
    if not history.faults:
        return Verdict("durability", Status.NOT_APPLICABLE, "No fault was part of this run.", (), {"violations": 0})
    rows = history.rows()
    findings = [*_not_started(history), *_not_healed(history, rows)]
    looked: set[str] = set()
    tried_again = 0
    if facts.durable:
        findings += _used_up(history, rows)
        findings += _strangers(history, rows)
        known = np.concatenate([rows, perhaps_sent(history)])
        for reading in history.status_readings:
            findings += _shown(history, known, reading, facts)
            looked |= reading.ages.keys()
        tried_again = _tried_again(history, rows)
    findings.sort(key=lambda finding: finding.at_ns)
    figures: dict[str, Any] = {
        "violations": len(findings),
        "faults": len(history.faults),
        "restarts": len(restarts_of(history)),
        "machines_looked_at": len(looked),
        "nonces_tried_again": tried_again,
    }
    if findings:
        shown = one_of_each_first(findings, lambda finding: finding.rule)
        summary = f"{plural(len(findings), 'breach', 'breaches')} of what was acknowledged; {shown[0].message}."
        return Verdict("durability", Status.FAIL, summary, kept(shown), figures, len(findings))
    problems = [one for one in history.faults if one.problem]
    if problems:
        summary = f"A fault did not happen as it should: {problems[0].kind}: {problems[0].problem}."
        return Verdict("durability", Status.INCONCLUSIVE, summary, (), figures)
    if not facts.durable:
        anew = "" if not restarts_of(history) else ", and began anew with nothing, as a server without a state file may"
        keeping = sum(one.kind not in LOSES_NOTHING for one in history.faults)
        summary = f"The server answered again after each of {plural(keeping, 'fault')}{anew}."
        if not keeping:
            what = "the network" if all(one.kind in SLOW for one in history.faults) else "networks and clocks"
            summary = f"{plural(len(history.faults), 'fault')} of {what} kept no answer away."
        return Verdict("durability", Status.PASS, summary, (), figures)
    unasked = next((one for one in history.faults if one.kind == DISK_FULL and not _answered_within(rows, one)), None)
    if unasked is not None:
        summary = (
            f"The disk was full from {_seconds(unasked.began_to_ns)} to {_seconds(unasked.ended_from_ns)}, and no "
            "request got an answer meanwhile, so nobody knows what the server would have kept of it."
        )
        return Verdict("durability", Status.INCONCLUSIVE, summary, (), figures)
    if restarts_of(history) and not looked:
        summary = "No owner was shown its machines after a restart, so nobody knows what the server still knew."
        return Verdict("durability", Status.INCONCLUSIVE, summary, (), figures)
    summary = (
        f"After {len(history.faults)} faults the server knew all {len(looked)} machines that were looked at and "
        f"nothing that it had refused; {tried_again} of the nonces accepted before a restart were tried again."
    )
    return Verdict("durability", Status.PASS, summary, (), figures)


def _answered_within(rows: NDArray[Any], fault: Fault) -> bool:
    """Return whether any request of machines was sent and answered while a fault surely lasted."""
    within = (rows["sent_ns"] >= fault.began_to_ns) & (rows["answered_ns"] <= fault.ended_from_ns)
    return bool((within & ~np.isin(rows["got"], (Answer.LOST, Answer.RATE_LIMITED))).any())


def _not_started(history: History) -> Iterator[Finding]:
    """Find restarts after which the server did not come up, or Redis faults that the server did not survive."""
    for one in restarts_of(history):
        if one.problem and LISTENING not in one.problem:
            message = f"after {one.kind} at {_seconds(one.began_from_ns)} {one.problem}"
            yield Finding("durability.not-started", message, one.ended_to_ns, {"kind": one.kind, "said": one.problem})


def _not_healed(history: History, rows: NDArray[Any]) -> Iterator[Finding]:
    """Find faults after which honest heartbeats were sent in time and not one was accepted."""
    beats = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST)]
    beats = beats[(beats["expected"] == Answer.ACCEPTED) & ~refused_after(history, beats)]
    faults = sorted(history.faults, key=lambda one: one.began_from_ns)
    for number, one in enumerate(faults):
        until_ns = faults[number + 1].began_from_ns if number + 1 < len(faults) else NEVER_NS
        whole_ns = max(map(healed_ns, faults[: number + 1]))  # one before it may outlast it, as a flush does
        sent = beats[(beats["sent_ns"] > whole_ns) & (beats["answered_ns"] < until_ns)]
        if unknown_from_ns(history) < until_ns:
            continue  # what a lost process sent may have been accepted
        if len(sent) >= SENT_MIN and not (sent["got"] == Answer.ACCEPTED).any() and not one.problem:
            message = (
                f"{one.kind} was over at {_seconds(one.ended_to_ns)}, and of {len(sent)} honest heartbeats from "
                f"{_seconds(whole_ns)} on none was accepted"
            )
            evidence = {
                "kind": one.kind,
                "sent": len(sent),
                "statuses": sorted({max(0, status) for status in sent["status"].tolist()}),
            }
            yield Finding("durability.not-healed", message, whole_ns, evidence)


def _used_up(history: History, rows: NDArray[Any]) -> Iterator[Finding]:
    """Find nonces and revoked consents that were good again in a later incarnation."""
    accepted = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    accepted = accepted[np.argsort(accepted["sent_ns"], kind="stable")]
    incarnation = incarnation_of(history, accepted["sent_ns"])
    which = _nonces(accepted)
    first = np.full(len(accepted), len(accepted), dtype=np.int64)
    np.minimum.at(first, which, np.arange(len(accepted)))
    before = first[which]
    for at in np.flatnonzero(incarnation[before] < incarnation).tolist():
        one, again = accepted[before[at]], accepted[at]
        message = (
            f"machine {again['machine']} had nonce {bytes(again['nonce']).hex()} accepted at "
            f"{_seconds(one['sent_ns'])}, and after a restart again at {_seconds(again['sent_ns'])}"
        )
        yield Finding("durability.nonce", message, int(again["sent_ns"]), _requests(one, again))
    for revocation in history.revocations:
        # One without answer was acknowledged in no life, so none is later.
        ended = incarnation_of(history, np.array([revocation.answered_ns]))[0]
        under = accepted[(accepted["consent"] == revocation.consent) & (incarnation > ended)]
        if revocation.consent != NONE and len(under):
            consent = history.consents[revocation.consent - 1]
            message = (
                f"consent {consent.consent_id} was revoked by {_seconds(revocation.answered_ns)}, and after a restart "
                f"a heartbeat under it was accepted at {_seconds(under['sent_ns'][0])}"
            )
            evidence = {"consent": consent.consent_id, "revoked_ns": revocation.answered_ns, **_requests(under[0])}
            yield Finding("durability.revocation", message, int(under["sent_ns"][0]), evidence)


def _strangers(history: History, rows: NDArray[Any]) -> Iterator[Finding]:
    """Find honest machines that a later incarnation refused as one refuses a stranger, and what it had granted them."""
    honest = rows[(rows["campaign"] == HONEST) & (rows["machine"] != NO_MACHINE)]
    incarnation = incarnation_of(history, honest["sent_ns"])
    refused = (honest["got"] == Answer.UNEXPECTED) & np.isin(honest["status"], STRANGERS)
    registered = honest[(honest["operation"] == Operation.REGISTER) & (honest["got"] == Answer.ACCEPTED)]
    born = dict(zip(registered["machine"].tolist(), registered, strict=True))
    accused: set[int] = set()
    for row, number in zip(honest[refused], incarnation[refused].tolist(), strict=True):
        machine = int(row["machine"])
        granted = born.get(machine)
        if granted is None or machine in accused or incarnation_of(history, granted["sent_ns"].reshape(1))[0] >= number:
            continue
        accused.add(machine)
        record = history.machines.get(machine)
        operation = Operation(int(row["operation"])).name.lower().replace("_", " ")
        message = (
            f"machine {machine}, registered by {_seconds(granted['answered_ns'])}, had a {operation} refused with HTTP "
            f"{row['status']} at {_seconds(row['sent_ns'])}, after a restart"
        )
        evidence = {"worker_id": record.worker_id if record else "", **_requests(granted, row)}
        yield Finding("durability.forgotten", message, int(row["sent_ns"]), evidence)


def _shown(history: History, rows: NDArray[Any], reading: StatusReading, facts: Facts) -> Iterator[Finding]:
    """Hold what an owner was shown after a fault against what its machines had been granted, and had sent."""
    registered = rows[(rows["operation"] == Operation.REGISTER) & (rows["got"] == Answer.ACCEPTED)]
    beats = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["sent_ns"] <= reading.answered_ns)]
    beats = beats[np.argsort(beats["machine"], kind="stable")]
    for row in registered[registered["answered_ns"] < reading.sent_ns]:
        machine = int(row["machine"])
        record = history.machines.get(machine)
        if record is None or record.owner_id != reading.owner_id:
            continue
        age = reading.ages.get(record.worker_id)
        evidence = {"worker_id": record.worker_id, "owner": record.owner_id, "read_ns": reading.sent_ns}
        if age is None:
            message = (
                f"{record.worker_id}, registered by {_seconds(row['answered_ns'])}, was not shown at {_when(reading)}"
            )
            yield Finding("durability.machine", message, reading.sent_ns, {**evidence, **_requests(row)})
            continue
        mine = beats[(beats["machine"] == machine) & (beats["sent_ns"] <= reading.answered_ns)]
        # What instances that share their state had accepted they may have refused, for want of Redis's answer.
        unknown = UNKNOWN_OUTCOME if facts.instances == 1 else (*UNKNOWN_OUTCOME, *UNSERVED)
        forgotten, apart_ns = perhaps_forgotten(history, mine, facts), clocks_apart_ns(history, facts)
        yield from _aged(mine, forgotten, age, reading, evidence, unknown, apart_ns)


def _aged(
    beats: NDArray[Any],
    forgotten: NDArray[np.bool_],
    age: float,
    reading: StatusReading,
    evidence: dict[str, Any],
    unknown: tuple[Answer, ...],
    apart_ns: int,
) -> Iterator[Finding]:
    """Find a last heartbeat that is older than one that was accepted, or newer than any that can have been.

    By one clock it was taken, and by another, so far apart, it is so old.
    """
    accepted = beats[(beats["got"] == Answer.ACCEPTED) & (beats["answered_ns"] < reading.sent_ns) & ~forgotten]
    if len(accepted):
        last = accepted[np.argmax(accepted["sent_ns"])]
        most_ns = reading.answered_ns - int(last["sent_ns"])
        if age < 0 or age * SECOND_NS > most_ns + AGE_STEP_NS + slack_ns_of(most_ns) + apart_ns:
            message = (
                f"{evidence['worker_id']} had a heartbeat accepted that was sent at {_seconds(last['sent_ns'])}, and "
                f"at {_when(reading)} its last one was {'none' if age < 0 else f'{age:g} s old'}"
            )
            yield Finding("durability.heartbeat", message, reading.sent_ns, {**evidence, "age": age, **_requests(last)})
    done = beats[(beats["got"] == Answer.ACCEPTED) | np.isin(beats["got"], unknown)]
    newest_ns = int(done["answered_ns"].max(initial=-1))
    least_ns = reading.sent_ns - newest_ns
    refused = beats[np.isin(beats["got"], UNSERVED) & (beats["answered_ns"] < reading.sent_ns)]
    if age >= 0 and len(refused) and age * SECOND_NS < least_ns - AGE_STEP_NS - slack_ns_of(abs(least_ns)) - apart_ns:
        last = refused[-1]
        message = (
            f"{evidence['worker_id']} had a heartbeat refused with HTTP {last['status']} that was sent at "
            f"{_seconds(last['sent_ns'])}, and at {_when(reading)} its last accepted one was {age:g} s old"
        )
        yield Finding("durability.refused", message, reading.sent_ns, {**evidence, "age": age, **_requests(last)})


def _tried_again(history: History, rows: NDArray[Any]) -> int:
    """Count the nonces that were accepted in one incarnation and sent again in a later one."""
    beats = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["machine"] != NO_MACHINE)]
    incarnation = incarnation_of(history, beats["sent_ns"])
    which = _nonces(beats)
    judged = ~np.isin(beats["got"], SILENT)
    first = np.full(len(beats), NEVER_NS, dtype=np.int64)
    accepted = beats["got"] == Answer.ACCEPTED
    np.minimum.at(first, which[accepted], incarnation[accepted])
    last = np.full(len(beats), -1, dtype=np.int64)
    np.maximum.at(last, which[judged], incarnation[judged])
    return int((first < last).sum())


def _nonces(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Number the nonces of rows, each machine's its own."""
    keys = np.empty(len(rows), dtype=[("machine", "<i4"), ("high", "<u8"), ("low", "<u4")])
    keys["machine"] = rows["machine"]
    words = np.frombuffer(np.ascontiguousarray(rows["nonce"]).tobytes(), dtype=[("high", "<u8"), ("low", "<u4")])
    keys["high"], keys["low"] = words["high"], words["low"]
    _, which = np.unique(keys, return_inverse=True)
    return which.astype(np.int64)


def _requests(*rows: Any) -> dict[str, Any]:
    """Name requests as evidence: by machine, nonce and times; the acknowledged one first."""
    return {
        "requests": [
            {
                "machine": int(row["machine"]),
                "operation": Operation(int(row["operation"])).name.lower(),
                "nonce": bytes(row["nonce"]).hex(),
                "status": max(0, int(row["status"])),
                "sent_ns": int(row["sent_ns"]),
                "answered_ns": int(row["answered_ns"]),
                "campaign": int(row["campaign"]),
            }
            for row in rows
        ],
    }


def _when(reading: StatusReading) -> str:
    return _seconds(reading.sent_ns)


def _seconds(moment_ns: Any) -> str:
    return f"{int(moment_ns) / SECOND_NS:.3f}s"
