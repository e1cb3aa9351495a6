"""Lines of Locust's statistics are what counting each row by itself gives, and pieces add up to the whole."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.history.histogram import Histogram
from simulator.history.rows import HONEST, NEVER_NS, ROW
from simulator.judging.tally import ATTACK, UNKNOWN, failure_of, name_of, tally
from tests.load.parts import anything
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.judging.tally import Tally

READS = ("GET", "wallet read")
ATTACKS = ["replay.exact", "signature.forged", "skew.ahead"]
Line = tuple[str, str]


@st.composite
def many_rows(draw: st.DrawFn) -> NDArray[Any]:
    """Make up rows of every operation, campaign, expectation and answer, some of them lost."""
    size = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    rows = np.zeros(size, dtype=ROW)
    rows["planned_ns"] = rng.integers(0, 10_000 * MILLISECOND_NS, size)
    rows["sent_ns"] = rows["planned_ns"] + rng.integers(0, 100 * MILLISECOND_NS, size)
    rows["answered_ns"] = rows["planned_ns"] + rng.integers(-5, 1 << rng.integers(3, 40), size)
    rows["operation"] = rng.choice(list(Operation), size)
    rows["campaign"] = rng.choice([HONEST, HONEST, 1, 2, 3], size)
    rows["expected"] = rng.choice(list(Answer), size)
    rows["got"] = np.where(rng.random(size) < 0.5, rows["expected"], rng.choice(list(Answer), size))
    lost = rng.random(size) < 0.2
    rows["got"][lost] = Answer.LOST
    rows["answered_ns"][rows["got"] == Answer.LOST] = NEVER_NS
    return rows


def of(durations_ns: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(np.array(durations_ns, dtype=np.int64))
    return histogram


def read(*written: bytes) -> tuple[Counter[int], int, int, int]:
    """Add up what histograms have written: how many are in each bucket, the shortest, the longest and the sum."""
    buckets: Counter[int] = Counter()
    shortest, longest, total = [], [], 0
    for wire in written:
        low, high, upper, lower = struct.unpack_from("<qqQQ", wire, 8)
        entries = dict(struct.iter_unpack("<Hq", wire[40:]))
        buckets.update(entries)
        shortest += [low] if entries else []
        longest += [high] if entries else []
        total += (upper << 64) + lower
    return buckets, min(shortest, default=0), max(longest, default=0), total


def counted(rows: NDArray[Any]) -> dict[Line, tuple[Any, int, Counter[str]]]:
    """Count rows one by one: by line, the times of those that were answered, those that were not, and what failed."""
    times: defaultdict[Line, list[int]] = defaultdict(list)
    lost: Counter[Line] = Counter()
    failures: defaultdict[Line, Counter[str]] = defaultdict(Counter)
    for row in rows:
        expected, got = Answer(int(row["expected"])), Answer(int(row["got"]))
        line = name_of(int(row["operation"]))
        right = got is expected or got in ALTERNATIVES.get(expected, ())
        if row["campaign"] != HONEST:
            line = (ATTACK, ATTACKS[int(row["campaign"]) - 1])
        elif row["operation"] == Operation.HEARTBEAT:
            right = got is Answer.ACCEPTED
        if row["answered_ns"] == NEVER_NS:
            times[line] += []
            lost[line] += 1
            failures[line][UNKNOWN] += 1
            continue
        times[line].append(max(0, int(row["answered_ns"]) - int(row["planned_ns"])))
        if not right:
            what = "accepted" if got is Answer.ACCEPTED else "refused"
            named = "an answer that the contract does not have here" if got is Answer.UNEXPECTED else got.name.lower()
            failures[line][f"{what}: {named.replace('_', ' ')}"] += 1
    return {line: (read(of(times[line]).to_wire()), lost[line], failures[line]) for line in times}


def shown(tallies: Iterable[Tally]) -> dict[Line, tuple[Any, int, Counter[str]]]:
    """Add tallies up by line."""
    times: defaultdict[Line, list[bytes]] = defaultdict(list)
    lost: Counter[Line] = Counter()
    failures: defaultdict[Line, Counter[str]] = defaultdict(Counter)
    for one in tallies:
        line = one.method, one.name
        times[line].append(one.answered)
        lost[line] += one.lost
        failures[line].update(one.failures)
    return {line: (read(*times[line]), lost[line], failures[line]) for line in times}


@settings(deadline=None, max_examples=examples(150))
@given(rows=many_rows())
def test_a_tally_is_what_counting_every_row_gives(rows: NDArray[Any]) -> None:
    tallies = tally(rows, ATTACKS)
    assert shown(tallies) == counted(rows)
    assert len(tallies) == len({(one.method, one.name) for one in tallies})


@settings(deadline=None)
@given(rows=many_rows(), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_pieces_add_up_to_the_whole_however_it_is_cut(rows: NDArray[Any], cuts: list[int]) -> None:
    ends = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    pieces = [one for start, end in pairwise(ends) for one in tally(rows[start:end], ATTACKS)]
    assert shown(pieces) == shown(tally(rows, ATTACKS))


def test_a_history_of_everything_that_can_go_wrong_is_counted_too() -> None:
    rows = anything(7).rows()
    assert shown(tally(rows, ATTACKS)) == counted(rows)


def test_no_rows_are_no_lines() -> None:
    assert tally(np.empty(0, dtype=ROW), ATTACKS) == []


def one_row(**fields: int) -> NDArray[Any]:
    """Return one row: a heartbeat accepted after 20 ms unless said."""
    rows = np.zeros(1, dtype=ROW)
    rows["answered_ns"] = 20 * MILLISECOND_NS
    for name, value in fields.items():
        rows[name] = value
    return rows


@pytest.mark.parametrize(
    ("fields", "line", "failures"),
    [
        ({}, ("POST", "heartbeat"), {}),
        ({"operation": Operation.POLICY_FETCH}, ("GET", "policy fetch"), {}),
        ({"operation": Operation.METRICS}, ("GET", "metrics"), {}),
        ({"operation": Operation.OTHER}, ("GET", "other"), {}),
        ({"operation": Operation.CONSENT_REVOKE}, ("POST", "consent revoke"), {}),
        ({"got": Answer.RATE_LIMITED}, ("POST", "heartbeat"), {"refused: rate limited": 1}),
        # A machine with a wrong clock is refused as it must be, which is no success of its heartbeat.
        (
            {"expected": Answer.TIMESTAMP_OUT_OF_WINDOW, "got": Answer.TIMESTAMP_OUT_OF_WINDOW},
            ("POST", "heartbeat"),
            {"refused: timestamp out of window": 1},
        ),
        # An agent asked for what is another's, and has to be refused.
        ({"operation": Operation.WALLET_READ, "expected": Answer.REFUSED, "got": Answer.REFUSED}, READS, {}),
        ({"operation": Operation.WALLET_READ, "expected": Answer.REFUSED}, READS, {"accepted: accepted": 1}),
        ({"operation": Operation.WALLET_READ, "got": Answer.REFUSED}, READS, {"refused: refused": 1}),
        (
            {"campaign": 1, "expected": Answer.NONCE_REPLAYED, "got": Answer.NONCE_REPLAYED},
            (ATTACK, "replay.exact"),
            {},
        ),
        ({"campaign": 1, "expected": Answer.NONCE_REPLAYED}, (ATTACK, "replay.exact"), {"accepted: accepted": 1}),
        ({"campaign": 3, "expected": Answer.EITHER}, (ATTACK, "skew.ahead"), {}),
        (
            {"campaign": 2, "expected": Answer.INVALID_SIGNATURE, "got": Answer.NO_CONSENT},
            (ATTACK, "signature.forged"),
            {"refused: no consent": 1},
        ),
    ],
    ids=lambda value: None if isinstance(value, tuple) else ", ".join(map(str, value)) or "none",
)
def test_what_fails_is_said_and_what_a_right_server_refuses_is_a_success(
    fields: dict[str, int], line: Line, failures: dict[str, int]
) -> None:
    (one,) = tally(one_row(**fields), ATTACKS)
    assert ((one.method, one.name), one.lost, one.failures) == (line, 0, failures)
    assert read(one.answered)[3] == 20 * MILLISECOND_NS


@pytest.mark.parametrize("expected", Answer)
def test_what_owners_tell_of_an_answer_at_once_is_what_its_row_counts_as(expected: Answer) -> None:
    for got in Answer:
        lost = NEVER_NS if got is Answer.LOST else 1
        (one,) = tally(one_row(operation=Operation.OTHER, expected=expected, got=got, answered_ns=lost), ATTACKS)
        failure = failure_of(expected, got)
        assert one.failures == ({} if failure is None else {failure: 1}), got


def test_a_lost_answer_is_a_failure_without_a_time() -> None:
    (one,) = tally(one_row(answered_ns=NEVER_NS, got=Answer.LOST), ATTACKS)
    assert (one.lost, one.failures) == (1, {UNKNOWN: 1})
    assert Histogram.from_wire(one.answered).count == 0


def test_time_counts_from_the_planned_start_and_is_never_negative() -> None:
    """A start that was put off is part of the answer's time; a clock known only within bounds makes none below 0."""
    late, early = one_row(planned_ns=0, sent_ns=15 * MILLISECOND_NS), one_row(planned_ns=21 * MILLISECOND_NS)
    (one,) = tally(np.concatenate([late, early]), ATTACKS)
    buckets, shortest, longest, _ = read(one.answered)
    assert (shortest, longest, buckets.total()) == (0, 20 * MILLISECOND_NS, 2)


def test_rows_of_a_campaign_without_a_record_are_counted_under_its_number() -> None:
    """A process that was lost has told of its rows, and not of the campaign that they belong to."""
    rows = np.zeros(2, dtype=ROW)
    rows["campaign"] = [1, 3]
    rows["expected"] = rows["got"] = Answer.ACCEPTED
    assert [one.name for one in tally(rows, ["replay.exact"])] == ["replay.exact", "campaign 3"]
