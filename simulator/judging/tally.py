"""Rows of a history as lines of Locust's statistics: the one place where either becomes the other.

Statistics are a function of the same rows that the checkers judge, so that the two cannot disagree. A heartbeat of the
fleet succeeds when it is accepted; every other request, an owner's, an agent's or a hostile one, when it is answered as
a right server answers it: an agent that asks for what is another's is to be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.checkers.judging import judge_answers
from simulator.checkers.wording import contract_words
from simulator.contract.answers import ALTERNATIVES, Answer, Operation, operation_name
from simulator.history.histogram import Histogram
from simulator.history.rows import HONEST, NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ATTACK = "ATTACK"
"""The method that hostile requests are shown with."""
UNKNOWN = "unknown: no whole answer came"
"""What is said of a lost answer: the request took effect, or it did not."""
METHODS = {
    **dict.fromkeys(
        (
            Operation.POLICY_FETCH,
            Operation.METRICS,
            Operation.OTHER,
            Operation.RESOURCES_READ,
            Operation.PRICES_READ,
            Operation.JOB_READ,
            Operation.WALLET_READ,
            Operation.FORUM_READ,
        ),
        "GET",
    ),
    Operation.AGENT_UPDATE: "PUT",
    Operation.JOB_CANCEL: "DELETE",
}
"""The methods of operations; those that are not here are posted."""


class Tally(msgspec.Struct, frozen=True):
    """One line of Locust's statistics over some time: `answered` is a `Histogram` of response times, as it is written.

    `lost` requests got no answer. `failures` counts those that did not succeed, by what is said of them; lost ones are
    among them.
    """

    method: str
    name: str
    answered: bytes
    lost: int
    failures: dict[str, int]


def name_of(operation: int) -> tuple[str, str]:
    """Return an honest operation's method and name in the statistics."""
    return METHODS.get(Operation(operation), "POST"), operation_name(operation)


def tally(rows: NDArray[Any], attacks: Sequence[str]) -> list[Tally]:
    """Count rows of dtype `ROW` by line of the statistics. `attacks` are the campaigns' names, in their order."""
    if not len(rows):
        return []
    _, allowed = judge_answers(rows)
    honest = rows["campaign"] == HONEST
    beats = honest & (rows["operation"] == Operation.HEARTBEAT)
    right = np.where(beats, rows["got"] == Answer.ACCEPTED, allowed)
    lost = rows["answered_ns"] == NEVER_NS
    lines = np.where(honest, rows["operation"].astype(np.int32), 256 + rows["campaign"].astype(np.int32))
    tallies = []
    for line in np.unique(lines).tolist():
        mine = lines == line
        method, name = (ATTACK, _attack_name(line - 256, attacks)) if line >= 256 else name_of(line)  # noqa: PLR2004 - as above
        answered = Histogram()
        whole = rows[mine & ~lost]
        answered.record(np.maximum(whole["answered_ns"] - whole["planned_ns"], 0))
        failures = {}
        wrong = rows[mine & ~lost & ~right]
        for got, count in zip(*np.unique(wrong["got"], return_counts=True), strict=True):
            failures[_in_words(got)] = int(count)
        gone = int((mine & lost).sum())
        if gone:
            failures[UNKNOWN] = gone
        tallies.append(Tally(method, name, answered.to_wire(), gone, failures))
    return tallies


def _attack_name(campaign: int, attacks: Sequence[str]) -> str:
    """Return a campaign's name. One whose process was lost may have left rows, and no record of itself."""
    return attacks[campaign - 1] if campaign <= len(attacks) else f"campaign {campaign}"


def failure_of(expected: Answer, got: Answer) -> str | None:
    """Return what is said of an owner's request that got another answer than a right server's, as `tally` counts it."""
    if got is Answer.LOST:
        return UNKNOWN
    return None if got is expected or got in ALTERNATIVES.get(expected, ()) else _in_words(got)


def _in_words(got: int) -> str:
    """Return what is said of an answer that is no success."""
    return f"{'accepted' if got == Answer.ACCEPTED else 'refused'}: {_answer_name(got)}"


def _answer_name(got: int) -> str:
    """Return an answer's name in the statistics."""
    if got == Answer.UNEXPECTED:
        return contract_words(Answer.UNEXPECTED)
    return Answer(got).name.lower().replace("_", " ")
