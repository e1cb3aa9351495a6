"""A machine with too much to do is told from a server that stalls: while one waits for a CPU, nobody is accused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.checkers.answers import check_answers
from simulator.checkers.excused import excuse_missing_answers
from simulator.checkers.judging import Circumstance, judge
from simulator.checkers.outage import blamed, check_outage
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.losses import Loss, lost_status
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import CampaignRecord, ClaimRecord, CpuWait, Fault, HealthReading
from simulator.history.rows import History
from simulator.history.starvation import HARNESS, MACHINE, TARGET, Starvation
from simulator.judging.thresholds import excuse, measure_without_own_lateness, slow_for_want_of_a_cpu
from tests.checkers.conftest import nanoseconds
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

SERVER = "the server"
TIMED_OUT = lost_status(Loss.TIMED_OUT, 10 * SECOND_NS)


def waited(story: Story, who: str, share: float, *, since: int = 0, until: int = 30, process: int = 1) -> None:
    """Have somebody wait for a CPU for a share of each second."""
    story.history.cpu_waits += [
        CpuWait(who, process, at * SECOND_NS, (at + 1) * SECOND_NS, nanoseconds(share)) for at in range(since, until)
    ]


def silent(story: Story, since: float = 5.0, machines: int = 4) -> None:
    """Have a fleet be answered until a moment, and again from ten seconds after it on."""
    for machine in range(machines):
        story.heartbeat(machine, since - 1)
        story.heartbeat(machine, since, Answer.LOST, status=TIMED_OUT)
        story.heartbeat(machine, since + 11)
    story.healthy_second(since + 12)


MATTERS = [
    (SERVER, 0.6, Status.INCONCLUSIVE),
    (SERVER, 0.4, Status.FAIL),
    (SERVER, 0.0, Status.FAIL),  # it stands still: nobody who does is ready to run
    (HARNESS, 0.6, Status.INCONCLUSIVE),
    (HARNESS, 0.4, Status.FAIL),
    (TARGET, 0.6, Status.INCONCLUSIVE),
    (TARGET, 0.4, Status.FAIL),
    (MACHINE, 0.8, Status.INCONCLUSIVE),
    (MACHINE, 0.6, Status.FAIL),  # who waited is not known
]


@pytest.mark.parametrize(("who", "share", "status"), MATTERS)
def test_an_answer_is_held_against_nobody_while_somebody_starves(
    story: Story, who: str, share: float, status: Status
) -> None:
    silent(story)
    waited(story, who, share)
    for check in (check_answers, check_outage):
        verdict = check(story.history, story.facts)
        assert verdict.status is status
        assert verdict.findings
        figures = "waited for a CPU for"
        assert (figures in verdict.summary) == (status is Status.INCONCLUSIVE)
        assert (who in verdict.summary) == (status is Status.INCONCLUSIVE)
    (answers,) = {check_answers(story.history, story.facts).figures["starved"]}
    assert answers == (4 if status is Status.INCONCLUSIVE else 0)


@pytest.mark.parametrize(("answered", "status"), [(3, Status.FAIL), (2, Status.INCONCLUSIVE), (0, Status.INCONCLUSIVE)])
def test_a_server_whose_health_page_goes_on_has_what_cpu_it_needs(story: Story, answered: int, status: Status) -> None:
    silent(story)
    waited(story, SERVER, 0.9)
    for number in range(3):
        at_ns = (6 + 2 * number) * SECOND_NS
        status_shown = 200 if number < answered else 0
        story.history.health_readings.append(HealthReading(at_ns, at_ns + SECOND_NS, status_shown))
    assert check_outage(story.history, story.facts).status is status


def test_what_is_said_has_its_figures(story: Story) -> None:
    silent(story)
    waited(story, SERVER, 0.8)
    waited(story, MACHINE, 0.9)
    summary = check_outage(story.history, story.facts).summary
    assert summary.startswith("The machine was too busy to tell why nothing was answered: after 4.010s nothing was")
    assert summary.endswith("; who wanted to run on this machine waited for a CPU for 9.1 of 10.1 s.")
    summary = check_answers(story.history, story.facts).summary
    assert summary.startswith("The machine was too busy to blame anybody for 4 answers that did not come in time: an ")
    assert "expected 200 accepted, got no whole answer within 10.1 s, while who wanted to run on" in summary


@pytest.mark.parametrize("loss", [Loss.CUT, Loss.GARBAGE])
def test_who_waits_for_a_cpu_cuts_no_connection(story: Story, loss: Loss) -> None:
    waited(story, SERVER, 0.9)
    story.heartbeat(0, 5, Answer.LOST, status=lost_status(loss, SECOND_NS))
    assert judge(story.history, story.facts)[1][-1] == Circumstance.NONE


def test_a_server_that_stalls_on_a_busy_machine_is_to_blame(story: Story) -> None:
    """It was starved before and afterwards, as its neighbours are all the time; while it stands still it is not."""
    silent(story)
    waited(story, SERVER, 0.9, until=5)
    waited(story, SERVER, 0.9, since=16)
    waited(story, HARNESS, 0.3, process=2)
    assert check_outage(story.history, story.facts).status is Status.FAIL
    assert check_answers(story.history, story.facts).status is Status.FAIL


def test_what_is_wrong_stays_wrong_on_a_busy_machine(story: Story) -> None:
    silent(story)
    waited(story, SERVER, 0.9)
    story.heartbeat(9, 20, Answer.INVALID_SIGNATURE, status=401)
    verdict = check_answers(story.history, story.facts)
    assert verdict.status is Status.FAIL
    assert verdict.findings_total == 1


@pytest.mark.parametrize(("share", "stopped"), [(0.4, True), (0.6, False)])
def test_no_attack_is_blamed_for_a_busy_machine(story: Story, share: float, *, stopped: bool) -> None:
    silent(story)
    story.history.campaigns.append(CampaignRecord(1, "an attack", scripted=True, attempts=1, completed=1))
    story.attack(0, 5.0, Answer.LOST, status=TIMED_OUT)
    waited(story, SERVER, share)
    assert bool(blamed(story.history)) == stopped


@pytest.mark.parametrize(("share", "held"), [(0.4, False), (0.6, None)])
@pytest.mark.parametrize(("rule", "of_answers"), [("honest-served", True), ("used-once", False)])
def test_a_claim_of_missing_answers_is_open_where_somebody_starved(
    story: Story,
    share: float,
    held: bool | None,  # noqa: FBT001 - a table's column
    rule: str,
    *,
    of_answers: bool,
) -> None:
    story.history.claims.append(ClaimRecord(15 * SECOND_NS, 1, rule, held=False, message="it was not"))
    waited(story, SERVER, share)
    (claim,) = excuse_missing_answers(story.history).claims
    assert claim.held is (held if of_answers else False)


@pytest.mark.parametrize(("at", "held"), [(10, None), (16, None), (30, False)])
def test_a_claim_of_missing_answers_is_open_where_a_fault_had_kept_some_away(
    story: Story,
    at: int,
    held: bool | None,  # noqa: FBT001 - a table's column
) -> None:
    """It is made once all was asked, when the fault may be long over."""
    story.history.claims.append(ClaimRecord(at * SECOND_NS, 1, "honest-served", held=False, message="it was not"))
    began_ns, ended_ns = 8 * SECOND_NS, 11 * SECOND_NS
    story.history.faults.append(Fault("network.cut", began_ns, began_ns, ended_ns, ended_ns))
    (claim,) = excuse_missing_answers(story.history).claims
    assert claim.held is held


P97 = {"heartbeat.response_time": ["p(97)<250ms"]}
MISSED = [Verdict("heartbeat.response_time: p(97)<250ms", Status.FAIL, "3000 ms")]
KEPT = Verdict("generator", Status.PASS, "")


@pytest.mark.parametrize(("share", "status"), [(0.0, Status.FAIL), (0.4, Status.FAIL), (0.6, Status.INCONCLUSIVE)])
def test_a_threshold_on_times_is_missed_by_who_does_not_starve(story: Story, share: float, status: Status) -> None:
    for machine in range(5):
        story.heartbeat(machine, 5, took=3)
    waited(story, SERVER, share)
    best = measure_without_own_lateness(story.history, KEPT, 0.5)
    starving = slow_for_want_of_a_cpu(story.history, 0.5)
    (judged,) = excuse(MISSED, P97, KEPT, best, starving=starving)
    assert judged.status is status
    assert ("a machine that was too busy may be to blame" in judged.summary) == (status is Status.INCONCLUSIVE)


LATE = Verdict("generator", Status.INCONCLUSIVE, "")
VIRTUAL = Verdict("generator", Status.NOT_APPLICABLE, "")


@pytest.mark.parametrize("generator", [LATE, KEPT, VIRTUAL])
@pytest.mark.parametrize("starving", [True, False])
@pytest.mark.parametrize(
    ("metric", "by_lateness"),
    [
        ("attacks.sent", True),
        ("alerts.stale_workers.fired", True),
        ("alerts.worker_auth_failures.fired", True),
        ("auth_failures.nonce_replayed", True),
        ("alerts.errors", False),
        ("attacks.accepted", False),
        ("attack.replay.exact.accepted", False),
        ("attack.replay.exact.refused", True),
        ("campaign.1.accepted", False),
        ("campaign.1.sent", True),
        ("operation.heartbeat.accepted", True),
        ("replay.accepted_twice", False),
    ],
)
def test_what_a_late_harness_did_not_bring_about_no_server_failed_at(
    generator: Verdict, metric: str, *, starving: bool, by_lateness: bool
) -> None:
    missed = [Verdict(f"{metric}: count>=9", Status.FAIL, "8")]
    (judged,) = excuse(missed, {metric: ["count>=9"]}, generator, {}, starving=starving)
    excused = by_lateness and (starving or generator is LATE)
    assert judged.status is (Status.INCONCLUSIVE if excused else Status.FAIL)


def test_an_answer_that_was_not_late_excuses_no_threshold(story: Story) -> None:
    story.heartbeat(0, 5, took=0.3)
    waited(story, SERVER, 0.9)
    assert not slow_for_want_of_a_cpu(story.history, 0.5)


def test_a_wait_is_spread_over_its_second() -> None:
    history = History()
    history.cpu_waits += [CpuWait(SERVER, 1, 0, 2 * SECOND_NS, nanoseconds(1.8))]
    starvation = Starvation(history)
    assert starvation.describe(0, SECOND_NS) == "the server waited for a CPU for 0.9 of 1.0 s"
    assert starvation.describe(SECOND_NS, 3 * SECOND_NS) == ""


def test_a_wait_that_was_measured_too_seldom_may_have_been_at_any_time() -> None:
    """A harness that starves comes to measuring every half minute: ten seconds of it may have been those ten."""
    history = History()
    history.cpu_waits += [CpuWait(SERVER, 1, 0, 40 * SECOND_NS, 10 * SECOND_NS)]
    starvation = Starvation(history)
    assert starvation.describe(20 * SECOND_NS, 32 * SECOND_NS) == "the server waited for a CPU for 10.0 of 12.0 s"
    assert starvation.describe(35 * SECOND_NS, 45 * SECOND_NS) == "the server waited for a CPU for 5.0 of 10.0 s"
    assert starvation.describe(10 * SECOND_NS, 31 * SECOND_NS) == ""
    assert starvation.describe(40 * SECOND_NS, 41 * SECOND_NS) == ""


def test_nobody_starves_in_a_history_without_waits() -> None:
    """As in one of a system that counts none, or of before."""
    moments = np.array([0, 5, 10]) * SECOND_NS
    assert not Starvation(History()).covers(moments, moments + SECOND_NS).any()
    assert Starvation(History()).describe(0, SECOND_NS) == ""


SECONDS = st.integers(0, 40)


@settings(max_examples=examples(60))
@given(
    waits=st.lists(st.tuples(SECONDS, st.integers(1, 12), st.floats(0, 1)), max_size=12),
    since=SECONDS,
    length=st.integers(1, 20),
)
def test_nobody_waits_for_longer_than_there_was_time(
    waits: list[tuple[int, int, float]], since: int, length: int
) -> None:
    """Also where records overlap; and whoever waited for half of every stretch waited for half of the whole."""
    history = History()
    for at, seconds, share in waits:
        history.cpu_waits.append(
            CpuWait(SERVER, 1, at * SECOND_NS, (at + seconds) * SECOND_NS, nanoseconds(seconds * share))
        )
    starvation = Starvation(history)
    ends = np.array([since * SECOND_NS]), np.array([(since + length) * SECOND_NS])
    for line in starvation._lines:
        assert 0 <= line.between(*ends)[0] <= length * SECOND_NS
    touched = any(at < since + length and at + seconds > since for at, seconds, _ in waits)
    assert touched or not starvation.covers(*ends).any()


def test_processes_of_one_name_are_apart_and_merged_parts_keep_their_times(story: Story) -> None:
    """Two that each waited for a third did not wait for two thirds; another host's times move with its rows."""
    silent(story)
    waited(story, HARNESS, 0.35, process=1)
    waited(story, HARNESS, 0.35, process=2)
    assert check_answers(story.history, story.facts).status is Status.FAIL
    part = History()
    part.cpu_waits.append(CpuWait(HARNESS, 3, 0, 20 * SECOND_NS, 19 * SECOND_NS))
    merged = merge_histories([HistoryPart(story.history), HistoryPart(part, shift_ns=2 * SECOND_NS)])
    assert merged.cpu_waits[-1] == CpuWait(HARNESS, 3, 2 * SECOND_NS, 22 * SECOND_NS, 19 * SECOND_NS)
    assert check_answers(merged, msgspec.structs.replace(story.facts)).status is Status.INCONCLUSIVE
