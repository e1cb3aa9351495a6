"""Locust's statistics are held against the history: nothing may be missing, on any line, of requests or of failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.histogram import Histogram
from simulator.history.records import CampaignRecord, LocustCount, PartRecord
from simulator.history.rows import NEVER_NS, History
from simulator.judging.statistics import check_statistics
from simulator.judging.tally import ATTACK, tally
from tests.load.parts import anything
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable

ATTACKS = ["replay", "skew", "flood"]


def conducted(seed: int = 3) -> History:
    """Return a history of everything that can go wrong, with the statistics that Locust must show of it."""
    history = anything(seed)
    history.locust_counts = [
        LocustCount(
            one.method, one.name, Histogram.from_wire(one.answered).count + one.lost, sum(one.failures.values())
        )
        for one in tally(history.rows(), ATTACKS)
    ]
    return history


def line_of(history: History, method: str, name: str) -> LocustCount:
    return next(one for one in history.locust_counts if (one.method, one.name) == (method, name))


def changed(history: History, method: str, name: str, **figures: int) -> History:
    """Have Locust show other figures on one line."""
    history.locust_counts = [
        msgspec.structs.replace(one, **figures) if (one.method, one.name) == (method, name) else one
        for one in history.locust_counts
    ]
    return history


@settings(deadline=None, max_examples=examples(30))
@given(seed=st.integers(0, 1 << 32))
def test_statistics_of_the_very_rows_pass(seed: int) -> None:
    verdict = check_statistics(conducted(seed))
    assert (verdict.status, verdict.findings) == (Status.PASS, ())
    assert verdict.figures == {"requests": 400}
    assert verdict.summary == "Locust's statistics count the same 400 requests, line by line."


def test_lines_of_what_owners_read_are_one_kind_of_request_and_add_up() -> None:
    history = conducted()
    read = line_of(history, "GET", "other")
    history.locust_counts.remove(read)
    history.locust_counts += [
        LocustCount("GET", "summary", read.requests - 2, read.failures - 1),
        LocustCount("GET", "statuses", 2, 1),
    ]
    assert check_statistics(history).status is Status.PASS
    history.locust_counts.append(LocustCount("GET", "audit", 1, 0))
    (finding,) = check_statistics(history).findings
    assert finding.message == f"GET other: Locust counts {read.requests + 1} requests, the history {read.requests}"


@pytest.mark.parametrize(
    ("method", "name"), [("POST", "heartbeat"), ("GET", "metrics"), ("GET", "other"), (ATTACK, "skew")]
)
@pytest.mark.parametrize("what", ["requests", "failures"])
@pytest.mark.parametrize("by", [-1, 1])
def test_one_more_or_less_on_any_line_is_found(method: str, name: str, what: str, by: int) -> None:
    history = conducted()
    recorded = getattr(line_of(history, method, name), what)
    verdict = check_statistics(changed(history, method, name, **{what: recorded + by}))
    assert verdict.status is Status.INCONCLUSIVE
    (finding,) = verdict.findings
    assert finding.rule == "statistics.differ"
    assert finding.message == f"{method} {name}: Locust counts {recorded + by} {what}, the history {recorded}"
    assert finding.evidence == {"locust": recorded + by, "history": recorded}
    assert finding.at_ns == 0
    assert verdict.summary == (
        f"1 of Locust's counts are not those of the history, so reports were lost on the way; {finding.message}."
    )


def without_line(history: History) -> None:
    history.locust_counts.remove(line_of(history, "POST", "heartbeat"))


def line_of_its_own(history: History) -> None:
    history.locust_counts.append(LocustCount(ATTACK, "never.launched", 4, 2))


def row_more(history: History) -> None:
    history.append(1, 1, 2, bytes(12), 0, 200, Operation.CONSENT_REVOKE, 0, Answer.REFUSED, 0)


@pytest.mark.parametrize(
    ("differing", "found"),
    [
        (without_line, ["POST heartbeat: Locust counts 0 failures", "POST heartbeat: Locust counts 0 requests"]),
        (line_of_its_own, ["ATTACK never.launched: Locust counts 2 failures, the history 0",
                           "ATTACK never.launched: Locust counts 4 requests, the history 0"]),
        (row_more, ["POST consent revoke: Locust counts", "POST consent revoke: Locust counts"]),
    ],
)  # fmt: skip
def test_lines_that_only_one_side_has_are_found(differing: Callable[[History], None], found: list[str]) -> None:
    history = conducted()
    differing(history)
    verdict = check_statistics(history)
    assert verdict.status is Status.INCONCLUSIVE
    assert len(verdict.findings) == len(found)
    for finding, start in zip(verdict.findings, found, strict=True):
        assert finding.message.startswith(start)


def test_campaigns_are_told_apart_by_their_attacks_names() -> None:
    """Two campaigns of one attack are one line of Locust's; a campaign with no record has its number for a name."""
    history = conducted()
    history.campaigns[1] = CampaignRecord(2, "replay", scripted=False, attempts=20, completed=10)
    replay, skew = line_of(history, ATTACK, "replay"), line_of(history, ATTACK, "skew")
    history.locust_counts = [one for one in history.locust_counts if one not in (replay, skew)]
    both = LocustCount(ATTACK, "replay", replay.requests + skew.requests, replay.failures + skew.failures)
    history.locust_counts.append(both)
    assert check_statistics(history).status is Status.PASS
    history.campaigns.pop(1)
    assert "ATTACK campaign 2" in {finding.message.partition(":")[0] for finding in check_statistics(history).findings}


def test_where_a_process_was_lost_it_says_so_and_from_when() -> None:
    history = changed(conducted(), "POST", "heartbeat", requests=0)
    history.parts = [PartRecord(0, 5, 0, 0, NEVER_NS), PartRecord(5, 5, 0, 0, 9 * SECOND_NS)]
    history.parts.append(PartRecord(10, 2, 0, 0, 7 * SECOND_NS))
    verdict = check_statistics(history)
    assert verdict.status is Status.INCONCLUSIVE
    assert "as processes were lost before they had told both" in verdict.summary
    assert verdict.findings[0].at_ns == 7 * SECOND_NS


def test_statistics_that_were_never_told_are_no_pass() -> None:
    history = anything(1)
    history.locust_counts.clear()
    verdict = check_statistics(history)
    assert (verdict.status, verdict.findings) == (Status.INCONCLUSIVE, ())
