"""The answers checker: each attack was refused, and each honest request got what a correct server must say.

What an answer is, and what excuses it, stands in the table of `judging`. Where one was refused, or lost, and took
effect all the same, both are said.
"""

from __future__ import annotations

from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.checkers.copies import ended_for_nothing
from simulator.checkers.effects import done_unanswered, heard_unanswered
from simulator.checkers.judging import PROVEN, UNSURE, Circumstance, Ruling, judge, judge_answers
from simulator.checkers.keeping import kept
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import in_words
from simulator.history.evidence import shown
from simulator.history.losses import Loss, describe_loss, losses_of
from simulator.history.rows import HONEST, NO_MACHINE, NO_SOURCE, ROW, History
from simulator.history.starvation import Starvation
from simulator.limits import ERROR_SHOWN_MAX_CHARACTERS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from simulator.checkers.effects import Heard
    from simulator.checkers.facts import Facts
    from simulator.history.records import FailedExchange

BAD_REQUEST, SERVER_ERROR = HTTPStatus.BAD_REQUEST, 500
TOOK_EFFECT = "answers.took-effect"
TOO_BUSY = "answers.machine-too-busy"
RULES = {Ruling.WRONG: "answers.wrong", Ruling.FAILED: "answers.failed", Ruling.LOST: "answers.lost"}
_COUNTED = {Ruling.WRONG: "wrong", Ruling.FAILED: "failed with 5xx", Ruling.LOST: "lost"}


def check_answers(history: History, facts: Facts) -> Verdict:
    """Compare what each request got with what it had to get, and with what it did."""
    rows = np.concatenate([history.rows(), _unserved(history)])
    rows["expected"][ended_for_nothing(history, rows)] = Answer.NONCE_REPLAYED
    got, hostile = rows["got"], rows["campaign"] != HONEST
    rulings, under = judge(history, facts, rows)
    judged, right = judge_answers(rows)
    proven = np.isin(rulings, PROVEN)
    heard, done = heard_unanswered(history, facts), done_unanswered(history, facts)
    sure = under != Circumstance.FAULT
    # Where instances share their state, what they had accepted is accepted though its answer was lost on its way.
    heard_surely = _silently_heard(rows, heard) & (sure | (facts.instances == 1))
    silent = ~proven & (heard_surely | (_silently_done(rows, done) & sure))
    figures: dict[str, Any] = {
        "requests": len(rows),
        "attacks": int(hostile.sum()),
        "attacks_accepted": int((hostile & (got == Answer.ACCEPTED) & ~right).sum()),
        "wrong": int(proven.sum()),
        "failed": int((rulings == Ruling.FAILED).sum()),
        "lost": int((rulings == Ruling.LOST).sum()),
        "took_effect": sum(one.refused_at_least for one in _apart(heard, done)),
        "unjudged": int((rulings == Ruling.UNDECIDED).sum()),
        "outages": int(((rulings == Ruling.UNDECIDED) & (under == Circumstance.OUTAGE)).sum()),
        "closing": int(((rulings == Ruling.UNDECIDED) & (under == Circumstance.CLOSING)).sum()),
        "starved": int(((rulings == Ruling.UNDECIDED) & (under == Circumstance.STARVED)).sum()),
    }
    wrong = proven | silent
    if wrong.any():
        describer = _Describer(history, heard, done)
        order = _one_of_each_first(rows[wrong])
        kinds, accused = rulings[wrong], rows[wrong]
        findings = kept(describer.finding(accused[at], Ruling(int(kinds[at]))) for at in order)
        counts = [f"{count} {what}" for one, what in _COUNTED.items() if (count := int((rulings == one).sum()))]
        if figures["took_effect"]:
            counts.append(f"{figures['took_effect']} refused and done all the same")
        summary = f"Of {len(rows)} answers {', '.join(counts)}; {findings[0].message}."
        return Verdict("answers", Status.FAIL, summary, findings, figures, int(wrong.sum()))
    if figures["starved"]:
        late = rows[(rulings == Ruling.UNDECIDED) & (under == Circumstance.STARVED)]
        return _too_busy(history, late, figures)
    if not judged.any():
        return Verdict("answers", Status.INCONCLUSIVE, "No request got an answer that says anything.", (), figures)
    summary = (
        f"All {int(judged.sum()):,} judged answers were right; {figures['attacks']:,} hostile requests, none accepted."
    )
    if figures["outages"]:
        summary += f" {figures['outages']} were refused for an outage that the contract allows to be told."
    if figures["closing"]:
        summary += f" {figures['closing']} crossed the close of a connection that had rested."
    return Verdict("answers", Status.PASS, summary, (), figures)


def _too_busy(history: History, late: NDArray[Any], figures: dict[str, Any]) -> Verdict:
    """Judge answers of which all were right that came, where some did not for want of a CPU."""
    starvation, describer = Starvation(history), _Describer(history, {}, {})
    sent_ns = late["sent_ns"]
    until_ns = sent_ns + losses_of(late["status"])[1]

    def finding(at: int) -> Finding:
        found = describer.finding(late[at], Ruling.LOST)
        message = f"{found.message}, while {starvation.describe(int(sent_ns[at]), int(until_ns[at]))}"
        return msgspec.structs.replace(found, rule=TOO_BUSY, message=message)

    findings = kept(finding(at) for at in _one_of_each_first(late))
    summary = f"The machine was too busy to blame anybody for {plural(len(late), 'answer')} that did not come in time"
    return Verdict("answers", Status.INCONCLUSIVE, f"{summary}: {findings[0].message}.", findings, figures, len(late))


def _silently_heard(rows: NDArray[Any], heard: dict[int, Heard]) -> NDArray[np.bool_]:
    """Return which honest heartbeats were refused, or may have been, of those whose refusal surely took effect."""
    machines = [number for number, one in heard.items() if one.refused_at_least]
    refused = np.isin(rows["got"], [one for one in UNSURE if one is not Answer.LOST])
    honest = (rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST)
    silently: NDArray[np.bool_] = honest & refused & np.isin(rows["machine"], machines)
    return silently


def _silently_done(rows: NDArray[Any], done: Mapping[tuple[Operation, int], Heard]) -> NDArray[np.bool_]:
    """Return which honest changes were refused, of those of which refused ones surely took effect."""
    silently = np.zeros(len(rows), dtype=np.bool_)
    refused = (rows["campaign"] == HONEST) & np.isin(rows["got"], [Answer.UNAVAILABLE, Answer.FAILED])
    for at in np.flatnonzero(refused) if done else ():
        found = done.get((Operation(int(rows["operation"][at])), int(rows["sent_ns"][at])))
        silently[at] = found is not None and found.refused_at_least > 0
    return silently


def _apart(*heard: Mapping[Any, Heard]) -> Iterator[Heard]:
    """Yield each once: several requests may share one."""
    yield from {id(one): one for one in chain.from_iterable(some.values() for some in heard)}.values()


def _unserved(history: History) -> NDArray[Any]:
    """Return what was asked in vain and has no row, as rows."""
    rows = np.zeros(len(history.unserved), dtype=ROW)
    for name in ("sent_ns", "answered_ns", "operation", "status", "got"):
        rows[name] = [getattr(one, name) for one in history.unserved]
    rows["planned_ns"] = rows["sent_ns"]
    rows["machine"], rows["source"] = NO_MACHINE, NO_SOURCE
    rows["expected"], rows["campaign"] = Answer.ACCEPTED, HONEST
    return rows


def _one_of_each_first(rows: NDArray[Any]) -> Iterator[int]:
    """Yield where rows are, one of each kind first: a thousand like the first would hide the second."""
    _, firsts = np.unique(rows[["operation", "expected", "got", "campaign"]], return_index=True)
    kinds = set(firsts.tolist())
    return chain(sorted(kinds), (index for index in range(len(rows)) if index not in kinds))


def _refused_otherwise(row: NDArray[Any]) -> bool:
    """Return whether a hostile request was refused all the same, in other words than the contract's."""
    hostile = row["campaign"] != HONEST and row["expected"] != Answer.ACCEPTED
    return bool(hostile and BAD_REQUEST <= row["status"] < SERVER_ERROR)


class _Describer:
    """Puts rows into words, with what the side tables know of each."""

    def __init__(self, history: History, heard: dict[int, Heard], done: Mapping[tuple[Operation, int], Heard]) -> None:
        self._machines = history.machines
        self._heard, self._done = heard, done
        self._exchanges = {(one.sent_ns, one.campaign): one for one in history.exchanges}
        self._attacks = {one.number: one.attack for one in history.campaigns}

    def finding(self, row: NDArray[Any], ruling: Ruling) -> Finding:
        """Return what is wrong with one row."""
        got, operation, campaign = Answer(int(row["got"])), Operation(int(row["operation"])), int(row["campaign"])
        attack = self._attacks.get(campaign, "")
        exchange = self._exchanges.get((int(row["sent_ns"]), campaign))
        expected, came, error = self._wanted(row, exchange), _came(row, exchange), _error_of(exchange)
        evidence: dict[str, Any] = {
            "machine": int(row["machine"]),
            "campaign": campaign,
            "nonce": bytes(row["nonce"]).hex(),
            "status": max(0, int(row["status"])),
            "sent_ns": int(row["sent_ns"]),
            "answered_ns": int(row["answered_ns"]),
            "expected": expected,
            "got": came,
        }
        if attack:
            evidence["attack"] = attack
        if error:
            evidence["error"] = error
        if exchange is not None:
            evidence |= {
                "request": shown(exchange.request),
                "answer": shown(exchange.answer),
                "reasoning": exchange.reasoning,
            }
        rule = RULES.get(ruling, TOOK_EFFECT)
        if campaign != HONEST and got is Answer.ACCEPTED:
            rule = "answers.attack-accepted"
        elif _refused_otherwise(row):
            rule = "answers.refused-otherwise"
        message = f"{self._who(row, attack)}: expected {expected}, got {came}"
        if campaign == HONEST and operation != Operation.HEARTBEAT and 0 < row["status"] < BAD_REQUEST and exchange:
            message += f": {exchange.reasoning}"
        heard = self._heard.get(int(row["machine"])) if campaign == HONEST else None
        if heard is not None and operation == Operation.HEARTBEAT and got in UNSURE:
            message += f", and {heard}"
            evidence["effect"] = msgspec.to_builtins(heard)
            rule = TOOK_EFFECT if heard.refused_at_least and got is not Answer.LOST else rule
        change = self._done.get((operation, int(row["sent_ns"]))) if campaign == HONEST and got in UNSURE else None
        if change is not None:
            message += f", and {change}"
            evidence["effect"] = msgspec.to_builtins(change)
            rule = TOOK_EFFECT if change.refused_at_least and got is not Answer.LOST else rule
        return Finding(rule, message, int(row["sent_ns"]), evidence)

    def _who(self, row: NDArray[Any], attack: str) -> str:
        operation = Operation(int(row["operation"]))
        what = "request" if operation is Operation.OTHER else operation.name.lower().replace("_", " ")
        who = (
            f"{attack}: a hostile {what}" if attack else f"a hostile {what}" if row["campaign"] else f"an honest {what}"
        )
        number = int(row["machine"])
        if number == NO_MACHINE:
            return who
        record = self._machines.get(number)
        return f"{who} of machine {number}" if record is None else f"{who} of worker {record.worker_id}"

    @staticmethod
    def _wanted(row: NDArray[Any], exchange: FailedExchange | None) -> str:
        if exchange is not None and exchange.expected:
            return exchange.expected
        return in_words(Answer(int(row["expected"])), Operation(int(row["operation"])))


def _came(row: NDArray[Any], exchange: FailedExchange | None) -> str:
    """Return what came, in the server's own words where they are known, else in the contract's."""
    got, operation, status = Answer(int(row["got"])), Operation(int(row["operation"])), int(row["status"])
    if got is Answer.LOST:
        causes, waited_ns = losses_of(row["status"].reshape(1))
        return describe_loss(Loss(int(causes[0])), int(waited_ns[0]))
    error = _error_of(exchange)
    if error:
        return f"{status} {error}"
    if got is Answer.ACCEPTED and operation is Operation.HEARTBEAT:
        return in_words(got, operation)
    words = in_words(got, operation) if got not in UNSURE and exchange is None else ""
    return words if words.startswith(str(status)) else str(status)


def _error_of(exchange: FailedExchange | None) -> str:
    """Return the message of a refusal that was kept; empty for what is none."""
    if exchange is None:
        return ""
    _, _, body = exchange.answer.partition(b"\r\n\r\n")
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error[:ERROR_SHOWN_MAX_CHARACTERS] if isinstance(error, str) else ""
