"""The market's checkers at the edges of what is known: lost first answers, unknown settings, and no answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.checkers.isolation import check_isolation
from simulator.checkers.market_matching import check_matching, loads
from simulator.checkers.market_view import JobStory, Span, stories_of
from simulator.checkers.market_waiting import Turns
from simulator.checkers.market_workers import Workers
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.pricing import Need
from simulator.history.market_records import MarketExchange
from simulator.history.rows import HONEST, History
from simulator.limits import TURNS_JUDGED_MAX, WAITS_JUDGED_MAX
from tests.checkers.lies_of_markets import exchange, replace
from tests.checkers.market_days import DAYS
from tests.checkers.market_play import DONE, Play
from tests.checkers.matching_lies import served_twice

if TYPE_CHECKING:
    import pytest


def test_a_job_whose_first_answer_was_lost_is_there_since_it_was_first_asked_for() -> None:
    """It expires by that moment, not by the one at which the answer was given once more."""
    play = Play(job_queue_timeout_seconds=60)
    one = play.agent("one")
    play.wait(5)
    first_ns = play.at_ns
    play.post(one, key="k", lose=DONE)
    play.wait(50)
    job_id = play.post(one, key="k")
    play.wait(15)
    assert play.read(one, job_id)["job"]["state"] == "expired"
    assert check_matching(play.history, play.facts).findings == ()
    assert stories_of(play.history)[job_id].created_from_ns() == first_ns + 1


def test_a_key_of_another_account_or_of_a_refused_request_makes_no_job_older() -> None:
    play = Play()
    one, two = play.agent("one"), play.agent("two")
    play.post(two, key="k", lose=DONE)
    play.post(one, "99", key="k")
    job_id = play.post(one, key="k")
    story = stories_of(play.history)[job_id]
    assert story.created is not None
    assert story.created_from_ns() == story.created.sent_ns


def test_a_market_whose_settings_nobody_knows_is_not_said_to_have_passed_over_nobody() -> None:
    play = Play()
    one = play.agent("one")
    play.read(one, play.post(one))
    unknown = msgspec.structs.replace(play.facts, market=None)
    verdict = check_matching(play.history, unknown)
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.summary.startswith("None of 1 job was placed, and whether one waited")
    assert verdict.figures["starvation_judged"] is False
    busy = DAYS["crowded"]()
    verdict = check_matching(busy.history, msgspec.structs.replace(busy.facts, market=None))
    assert verdict.status is Status.PASS
    assert verdict.summary.endswith("was not judged: the settings of the target's market are not known.")
    verdict = check_matching(busy.history, busy.facts)
    assert (verdict.status, verdict.figures["starvation_judged"]) == (Status.PASS, True)
    assert "not judged" not in verdict.summary


def test_isolation_of_a_market_that_showed_nothing_is_not_proven() -> None:
    play = Play()
    play.history.market_exchanges.append(MarketExchange("agent:a", Operation.JOB_READ, 1, 2, 503))
    verdict = check_isolation(play.history, play.facts)
    assert (verdict.status, verdict.figures["answers"]) == (Status.INCONCLUSIVE, 0)


def test_a_target_without_envelopes_says_not_found_without_a_message() -> None:
    play = DAYS["busy"]()
    lacks = msgspec.structs.replace(play.facts, lacks=(Feature.JSON_404,))
    one = exchange(play, Operation.JOB_READ, HTTPStatus.NOT_FOUND)
    replace(play, one, data={"message": ""})
    assert check_isolation(play.history, play.facts).status is Status.FAIL
    assert check_isolation(play.history, lacks).status is Status.PASS
    replace(play, exchange(play, Operation.JOB_READ, HTTPStatus.NOT_FOUND), status=403)
    assert check_isolation(play.history, lacks).status is Status.FAIL


def test_each_job_is_looked_at_once_before_turns_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at for each pair of jobs is known by then."""
    play = DAYS["queue"]()
    served_twice(play)
    stories = stories_of(play.history)
    asked: list[str] = []
    spans = JobStory.spans

    def counted(story: JobStory) -> list[Span]:
        asked.append(story.id)
        return spans(story)

    monkeypatch.setattr(JobStory, "spans", counted)
    turns = Turns(play.history, stories, WAITS_JUDGED_MAX, TURNS_JUDGED_MAX)
    assert list(turns.passed_over())
    assert sorted(asked) == sorted(stories)
    assert turns.complete


def test_turns_that_were_not_looked_at_are_said_to_be_none_that_were() -> None:
    play = DAYS["queue"]()
    whole = check_matching(play.history, play.facts)
    assert (whole.status, whole.figures["turns_judged_whole"]) == (Status.PASS, True)
    part = check_matching(play.history, play.facts, looks_max=0)
    assert (part.status, part.figures["turns_judged_whole"]) == (Status.PASS, False)
    assert part.summary != whole.summary
    assert check_matching(play.history, play.facts, waits_max=0).figures["turns_judged_whole"] is False


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=12))
def test_what_is_on_a_machine_at_once_is_what_looking_at_every_pair_finds(times: list[tuple[int, int, int]]) -> None:
    spans = [
        Span(f"job_{place}", "w", from_ns, from_ns + length, Need(size, 2 * size, size % 2))
        for place, (from_ns, length, size) in enumerate(times)
    ]
    expected = []
    for at_ns in sorted({one.from_ns for one in spans}):
        needs = [one.need for one in spans if one.from_ns <= at_ns < one.to_ns]
        expected.append((at_ns, *(sum(getattr(need, name) for need in needs) for name in ("cpu", "memory", "gpus"))))
    assert list(loads(spans)) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 9), st.booleans()), max_size=20))
def test_heartbeats_of_a_machine_are_its_own_in_order(beats: list[tuple[int, int, int, bool]]) -> None:
    history = History()
    for machine, sent_ns, taken_ns, accepted in beats:
        got = Answer.ACCEPTED if accepted else Answer.LOST
        history.append(
            sent_ns, sent_ns, sent_ns + taken_ns, bytes(12), machine, 200, Operation.HEARTBEAT, Answer.ACCEPTED, got,
            HONEST,
        )  # fmt: skip
    workers = Workers(history, Play().facts)
    for machine in range(4):
        mine = sorted((sent, sent + taken) for number, sent, taken, accepted in beats if number == machine and accepted)
        found = workers.beats(machine)
        assert found.sent_ns.tolist() == [sent for sent, _ in mine]
        assert sorted(found.answered_ns.tolist()) == sorted(answered for _, answered in mine)
        for from_ns, to_ns in ((0, 5), (3, 12), (9, 30), (25, 40)):
            assert found.one_within(from_ns, to_ns) == any(sent >= from_ns and end <= to_ns for sent, end in mine)
    assert np.all(np.diff(workers.beats(0).first_answered_ns) >= 0)
