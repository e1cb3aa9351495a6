"""The table of a run's requests: for each operation and status how many, how many a second, and how long they took."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import ALTERNATIVES, operation_name
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST, NEVER_NS
from simulator.history.schedule import seconds_to_answer
from simulator.judging.thresholds import percentile_of
from simulator.limits import REQUEST_LINES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.history.rows import History

PERCENTILES = (50, 90, 99)
LOST = {
    Loss.UNKNOWN: "no answer",
    Loss.ENDED: "given up",
    Loss.UNSENT: "not sent",
    Loss.CLOSING: "closed at rest",
    Loss.TIMED_OUT: "timed out",
    Loss.CUT: "cut off",
    Loss.GARBAGE: "no HTTP",
}
"""What stands in place of a status, by why there is none."""


class RequestLine(msgspec.Struct, frozen=True):
    """One operation and status: how many requests, `rate` of them a second, and their percentiles in seconds.

    `status` is empty in the line of all of an operation's. Percentiles are of what was answered, from when it was due;
    they are empty where nothing was. `most` is the longest.
    """

    operation: str
    hostile: bool
    status: str
    count: int
    rate: float
    percentiles: tuple[float, ...]
    most: float | None
    is_error: bool = False


def request_lines(history: History, elapsed_ns: int) -> list[RequestLine]:
    """Count a run's requests: honest ones first, of each kind the most frequent operation first."""
    rows = history.rows()
    if not len(rows):
        return []
    taken = seconds_to_answer(history, rows, "planned_ns")
    hostile = rows["campaign"] != HONEST
    causes, _ = losses_of(rows["status"])
    status = np.where(rows["answered_ns"] == NEVER_NS, -causes, np.maximum(rows["status"], 0)).astype(np.int64)
    wrong = ~_are_right(rows)
    seconds = max(elapsed_ns, 1) / SECOND_NS
    lines: list[RequestLine] = []
    for is_hostile in (False, True):
        kinds, counts = np.unique(rows["operation"][hostile == is_hostile], return_counts=True)
        for kind in kinds[np.argsort(-counts, kind="stable")].tolist():
            mine = (rows["operation"] == kind) & (hostile == is_hostile)
            lines += _of_operation(kind, status[mine], taken[mine], wrong[mine], seconds, hostile=is_hostile)
    return lines[:REQUEST_LINES_MAX]


def _of_operation(
    operation: int,
    status: NDArray[np.int64],
    taken: NDArray[np.float64],
    wrong: NDArray[np.bool_],
    seconds: float,
    *,
    hostile: bool,
) -> Iterator[RequestLine]:
    codes, counts = np.unique(status, return_counts=True)
    order = codes[np.argsort(-counts, kind="stable")].tolist()
    groups: list[tuple[str, Any, bool]] = [] if len(order) == 1 else [("", np.ones(len(status), bool), False)]
    groups += [(_status_text(code), status == code, _is_error(code, wrong[status == code])) for code in order]
    for text, mine, is_error in groups:
        answered = taken[mine][np.isfinite(taken[mine])]
        some = len(answered) > 0
        yield RequestLine(
            operation_name(operation), hostile, text, int(mine.sum()), float(mine.sum()) / seconds,
            tuple(percentile_of(answered, one) for one in PERCENTILES) if some else (),
            float(answered.max()) if some else None, is_error and not hostile,
        )  # fmt: skip


def _are_right(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each row got an answer that a correct server may give."""
    expected, got = rows["expected"], rows["got"]
    right: NDArray[np.bool_] = expected == got
    for open_question, answers in ALTERNATIVES.items():
        right |= (expected == open_question) & np.isin(got, list(answers))
    return right


def _is_error(code: int, wrong: NDArray[np.bool_]) -> bool:
    """Return whether answers of a status are errors: refusals that were expected are not."""
    return (
        code <= 0 or code >= HTTPStatus.INTERNAL_SERVER_ERROR or (code >= HTTPStatus.BAD_REQUEST and bool(wrong.any()))
    )


def _status_text(code: int) -> str:
    if code <= 0:
        return LOST.get(Loss(-code), "no answer") if -code in list(Loss) else "no answer"
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)
