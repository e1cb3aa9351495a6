"""A campaign's own time line: what became of its requests, piece by piece, and what it found out when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.attacks import short_of_plan
from simulator.checkers.judging import Ruling, judge
from simulator.contract.answers import Answer
from simulator.limits import CAMPAIGN_BARS_ALL_MAX, CAMPAIGN_BARS_MAX
from simulator.report.over_time import RunClock, written
from simulator.report.wording import moment_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from simulator.history.records import CampaignRecord, ClaimRecord
    from simulator.report.report_input import ReportInput

WIDTH, HEIGHT = 600.0, 48.0
"""Of a time line in its own units."""
KINDS = ("wrong", "refused", "accepted", "unjudged")
"""What a request came to, in the order in which bars are piled up."""
CLAIMS_SHOWN_MAX = 20


class Bar(msgspec.Struct, frozen=True):
    """One piece of a bar: where it is drawn, what its requests came to, and words to hover over."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    words: str


class CampaignTime(msgspec.Struct, frozen=True):
    """One campaign over time: `first` and `last` say when it sent, `events` what it found out, each when and what."""

    first: str
    last: str
    shots: str
    bars: list[Bar]
    events: list[tuple[str, str]]
    alternative: str


def campaign_times(report_input: ReportInput, clock: RunClock) -> dict[int, CampaignTime]:
    """Follow every campaign that sent anything, or found anything out, over the time of the whole run."""
    history, elapsed_ns = report_input.history, max(report_input.record.elapsed_ns, 1)
    rows = history.rows()
    records = {one.number: one for one in history.campaigns}
    kinds = _kinds(report_input)
    pieces = min(CAMPAIGN_BARS_MAX, max(1, CAMPAIGN_BARS_ALL_MAX // max(1, len(report_input.verdict.attacks))))
    found = {}
    for one in report_input.verdict.attacks:
        mine = rows["campaign"] == one.campaign
        claims = [claim for claim in history.claims if claim.campaign == one.campaign]
        if not mine.any() and not claims:
            continue
        sent_ns = rows["sent_ns"][mine]
        bars = _bars(sent_ns, kinds[mine], elapsed_ns, pieces)
        first, last = (int(sent_ns.min()), int(sent_ns.max())) if len(sent_ns) else (0, 0)
        found[one.campaign] = CampaignTime(
            _when(first, clock), _when(last, clock), _shots(records.get(one.campaign)), bars, _events(claims, clock),
            f"{one.attack}: {one.sent:,} requests from {written(first / SECOND_NS)} to {written(last / SECOND_NS)}, "
            f"{one.wrong:,} of them wrong",
        )  # fmt: skip
    return found


def _kinds(report_input: ReportInput) -> NDArray[np.int64]:
    """Return what each row came to, as a place in `KINDS`; the matrix counts wrong ones among the others as well."""
    rows = report_input.history.rows()
    ruling = judge(report_input.history, report_input.record.facts)[0]
    got = rows["got"]
    unjudged = np.isin(got, (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST))
    kinds = np.where(unjudged, 3, np.where(got == Answer.ACCEPTED, 2, 1))
    return np.where(np.isin(ruling, (Ruling.WRONG, Ruling.FAILED)), 0, kinds)


def _bars(sent_ns: NDArray[np.int64], kinds: NDArray[np.int64], elapsed_ns: int, pieces: int) -> list[Bar]:
    place = np.clip(sent_ns * pieces // elapsed_ns, 0, pieces - 1)
    counts = np.zeros((pieces, len(KINDS)), dtype=np.int64)
    np.add.at(counts, (place, kinds), 1)
    most = int(counts.sum(axis=1).max(initial=1))
    seconds, width = elapsed_ns / SECOND_NS / pieces, WIDTH / pieces
    bars = []
    for piece in np.flatnonzero(counts.sum(axis=1)).tolist():
        words = f"{written(piece * seconds)} to {written((piece + 1) * seconds)}\n" + "\n".join(
            f"{counts[piece, kind]:,} {name}" for kind, name in enumerate(KINDS) if counts[piece, kind]
        )
        base = HEIGHT
        for kind, name in enumerate(KINDS):
            height = float(counts[piece, kind]) / most * HEIGHT
            if height:
                base -= height
                bars.append(Bar(piece * width, base, width, height, name, words))
    return bars


def _events(claims: Sequence[ClaimRecord], clock: RunClock) -> list[tuple[str, str]]:
    """Return what did not hold or could not be known first, each kind in the order of time."""
    order = sorted(claims, key=lambda one: (one.held is True, one.at_ns))
    shown = sorted(order[:CLAIMS_SHOWN_MAX], key=lambda one: one.at_ns)
    events = [(_when(one.at_ns, clock), f"{_held(one.held)}: {one.message}") for one in shown]
    left = len(claims) - len(shown)
    return [*events, *([("", f"and {left:,} more in the history")] if left else [])]


def _held(held: bool | None) -> str:  # noqa: FBT001 - as it is recorded
    return {True: "held", False: "did not hold", None: "could not be known"}[held]


def _when(at_ns: int, clock: RunClock) -> str:
    return ", ".join(filter(None, (moment_text(at_ns), clock.text(at_ns))))


def _shots(record: CampaignRecord | None) -> str:
    if record is None:
        return "nothing is recorded of how much was begun"
    what = "attempts" if record.scripted else "shots"
    return short_of_plan(record) or f"{record.completed:,} of {record.attempts:,} {what} played to their end"


def scale_marks(elapsed_ns: int) -> Iterator[tuple[float, str]]:
    """Return what stands below each time line: where, as a share of its width, and the moment."""
    seconds = elapsed_ns / SECOND_NS
    for share in (0.0, 0.5, 1.0):
        yield share, written(share * seconds)
