"""What a lost process did is not known: nothing that it may have done accuses the server, and no pass is certain.

What the rest proves stays proven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.audit import check_audit
from simulator.checkers.limits import check_limits
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import Fault, MachineRecord, PartRecord, StatusReading
from simulator.history.rows import NEVER_NS, History
from simulator.history.tables import read_history, write_history
from tests.checkers.audited_world import AuditedWorld, eventful
from tests.checkers.conftest import ModelServer, Story, nanoseconds
from tests.checkers.test_checkers_against_a_server_that_is_right import (
    OLD_WORKERS,
    STALE_SECONDS,
    THRESHOLD,
    WINDOW_SECONDS,
    Step,
    World,
    steps,
)
from tests.load.parts import MACHINES, anything, judged
from tests.load.test_merging import FACTS
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


def without_part(history: History, machines: range, known_until_ns: int) -> History:
    """Return what is left of a history when the process that played some machines is lost."""
    rows = history.rows()
    own = (rows["machine"] >= machines.start) & (rows["machine"] < machines.stop)
    rest = history.with_rows(rows[~(own & (rows["sent_ns"] >= known_until_ns))])
    gone = set(rows["sent_ns"][own & (rows["sent_ns"] >= known_until_ns)].tolist())
    rest.effects = [one for one in history.effects if one.sent_ns not in gone]
    rest.parts = [PartRecord(machines.start, len(machines), 0, 0, known_until_ns)]
    return rest


def lost(history: History, machines: range, at: float) -> History:
    """Say of a history that a process was lost, without taking anything away."""
    history.parts.append(PartRecord(machines.start, len(machines), 0, 0, nanoseconds(at)))
    return history


def statuses(verdicts: Iterable[Verdict]) -> dict[str, Status]:
    return {one.name: one.status for one in verdicts}


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(played=steps, machines=st.sampled_from([range(1), range(1, 3)]), at_ns=st.integers(0, 20 * SECOND_NS))
def test_a_right_server_is_never_called_wrong(played: list[Step], machines: range, at_ns: int) -> None:
    """Whenever the process is lost, and whatever its machines did after."""
    story = Story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS, threshold=THRESHOLD)
    server = ModelServer(story.facts)
    for worker in OLD_WORKERS:
        server.register(worker)
    story.facts.baseline.clear()
    story.facts.baseline.update(server.page(0))
    world = World(story, server)
    for step in played:
        world.play(step)
    world.scrape(Step(SECOND_NS, "scrape", 0, 0, MILLISECOND_NS, "answered", Answer.ACCEPTED, Answer.ACCEPTED))
    verdicts = statuses(run_checkers(without_part(story.history, machines, at_ns), story.facts))
    assert Status.FAIL not in verdicts.values()
    assert Status.PASS not in {status for name, status in verdicts.items() if name != "clock"}


@settings(deadline=None, max_examples=examples(25))
@given(machines=st.sampled_from([range(1), range(1, 3), range(3, 4)]), share=st.floats(0, 1))
def test_the_audit_of_a_right_server_is_never_called_wrong(machines: range, share: float) -> None:
    """Its machines' events are shown, and no row tells of them."""
    world = AuditedWorld()
    eventful(world)
    at_ns = int(world.now_ns * share)
    world.read_all()
    rest = without_part(world.history, machines, at_ns)
    assert check_audit(rest, world.facts).status is not Status.FAIL
    rest.parts = []
    surely_seen = (world.history.rows()["machine"] == machines.start) & (world.history.rows()["sent_ns"] >= at_ns)
    if np.any(surely_seen & (world.history.rows()["got"] == Answer.ACCEPTED)):
        assert check_audit(rest, world.facts).status is Status.FAIL, "the rows that are gone would be missed"


@settings(deadline=None, max_examples=examples(40))
@given(seed=st.integers(0, 1 << 30), first=st.integers(0, MACHINES), at_ns=st.integers(0, 60 * SECOND_NS))
def test_a_loss_makes_no_failure_and_no_pass(seed: int, first: int, at_ns: int) -> None:
    """Of any history: what fails without these rows' help failed with all of them."""
    whole = anything(seed)
    before = judged(whole, FACTS)
    after = judged(without_part(whole, range(first, MACHINES), at_ns), FACTS)
    assert set(after) == set(CHECKERS)
    for name in CHECKERS:
        assert after[name][0] is not Status.FAIL or before[name][0] is Status.FAIL
        assert after[name][0] is not Status.PASS or name == "clock"


def of(name: str, story: Story) -> Verdict:
    return next(one for one in run_checkers(story.history, story.facts) if one.name == name)


def beaten(story: Story) -> Story:
    for machine in (0, 1):
        story.register(machine, 0)
        story.heartbeat(machine, 1)
    return story


def test_a_pass_says_what_is_not_known(story_of_two: Story) -> None:
    """The reason comes first, with the moment and how many machines it is about."""
    story_of_two.scrape(2, workers=2)
    lost(story_of_two.history, range(1, 2), 1.5)
    verdict = of("alerts", story_of_two)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.summary.startswith(
        "What 1 machine, and whoever else was played by the processes that were lost, sent from 1.500s"
    )
    assert [finding.rule for finding in verdict.findings] == ["alerts.part-lost"]
    assert verdict.findings[0].evidence["parts"][0]["first_machine"] == 1


@pytest.fixture
def story_of_two() -> Story:
    """Two machines that have been heard once, a second after the start."""
    story = beaten(Story())
    story.history.machines |= {number: MachineRecord(f"wrk_{number}", "ada") for number in (0, 1)}
    return story


# --- alerts


def test_figures_before_the_loss_are_held_as_ever(story_of_two: Story) -> None:
    story_of_two.scrape(2, workers=3)
    lost(story_of_two.history, range(1, 2), 2.5)
    assert [finding.rule for finding in of("alerts", story_of_two).findings] == ["alerts.workers"]


@pytest.mark.parametrize(
    "figures",
    [{"workers": 9, "unknown": 7}, {"workers": 2, "stale": 2}, {"workers": 2, "reasons": {Answer.INVALID_TOKEN: 5}}],
    ids=["registered", "stale", "failures"],
)
def test_any_number_may_have_been_added_after_the_loss(story_of_two: Story, figures: dict[str, int]) -> None:
    story_of_two.scrape(2, **figures)
    assert of("alerts", story_of_two).status is Status.FAIL
    lost(story_of_two.history, range(1, 2), 1.5)
    assert of("alerts", story_of_two).status is Status.INCONCLUSIVE


def test_a_machine_of_the_lost_part_may_have_beaten_on_and_the_others_have_not(story_of_two: Story) -> None:
    """Both look silent since the first second, and stale after ten: one of the two surely is."""
    story_of_two.scrape(20, workers=2, stale=1)
    assert of("alerts", story_of_two).status is Status.FAIL
    lost(story_of_two.history, range(1, 2), 1.5)
    assert of("alerts", story_of_two).status is Status.INCONCLUSIVE
    story_of_two.history.scrapes.clear()
    story_of_two.scrape(20, workers=2, stale=0)
    assert [finding.rule for finding in of("alerts", story_of_two).findings] == ["alerts.stale"]


def test_a_registered_machine_of_the_lost_part_may_have_been_heard() -> None:
    story = Story()
    for machine in (0, 1):
        story.register(machine, 0)
    story.scrape(2, workers=2, unknown=1)
    assert of("alerts", story).status is Status.FAIL
    lost(story.history, range(1, 2), 1)
    assert of("alerts", story).status is Status.INCONCLUSIVE
    story.history.scrapes.clear()
    story.scrape(2, workers=2, unknown=0)
    assert [finding.rule for finding in of("alerts", story).findings] == ["alerts.unknown"]


def test_counted_failures_are_still_due(story_of_two: Story) -> None:
    """What was refused and known to be must be counted, whatever else there was."""
    story_of_two.attack(1, 1.2, Answer.INVALID_TOKEN)
    lost(story_of_two.history, range(1, 2), 1.5)
    story_of_two.scrape(2, workers=2)
    verdict = of("alerts", story_of_two)
    assert verdict.status is Status.FAIL
    assert "possible was 1 or more" in verdict.summary


def test_a_rotation_that_nobody_knows_of_leaves_open_for_what_a_machine_was_refused(story_of_two: Story) -> None:
    """A row of the lost part came through after the loss; its certificate may just have been replaced."""
    reasons = {Answer.INVALID_CERTIFICATE: 1}
    story_of_two.attack(1, 2, Answer.NONCE_REPLAYED)
    story_of_two.scrape(3, workers=2, recent=1, reasons=reasons)
    assert of("alerts", story_of_two).status is Status.FAIL
    lost(story_of_two.history, range(1, 2), 1.5)
    assert of("alerts", story_of_two).status is Status.INCONCLUSIVE


# --- limits


def limited(passed: int, refused_at: float) -> Story:
    story = Story(rate_limit_burst=3, rate_limit_refill_per_second=0.1, only_client=True)
    for at in range(passed):
        story.heartbeat(0, 1 + at / 100, source=7)
    story.heartbeat(0, refused_at, Answer.RATE_LIMITED, status=429, source=7)
    return story


def test_who_is_refused_after_the_loss_may_have_sent_what_no_row_tells() -> None:
    story = limited(1, refused_at=2)
    assert check_limits(story.history, story.facts).status is Status.FAIL
    lost(story.history, range(1), 1.5)
    assert of("limits", story).status is Status.INCONCLUSIVE


def test_a_refusal_before_the_loss_is_held_against_the_rows() -> None:
    story = lost(limited(1, refused_at=1.2).history, range(1), 1.5)
    assert check_limits(story, limited(1, 1).facts).status is Status.FAIL


def test_too_many_that_were_let_through_are_too_many() -> None:
    story = limited(7, refused_at=2)
    lost(story.history, range(1), 1.5)
    assert [finding.rule for finding in of("limits", story).findings] == ["limits.too-many"]


# --- replay, revocation, credentials, answers: what was accepted wrongly has been; what was not seen may have been


def replayed(story: Story, *, wrong: bool) -> str:
    for at in (1, 1.2):
        story.heartbeat(1, at, nonce=bytes(12) if wrong else None)
    return "replay"


def revoked(story: Story, *, wrong: bool) -> str:
    consent = story.consent(1, 0.1)
    story.heartbeat(1, 0.5, consent=consent)
    story.revoke(consent, 1)
    story.heartbeat(1, 1.3, Answer.ACCEPTED if wrong else Answer.NO_CONSENT, consent=consent)
    return "revocation"


def expired(story: Story, *, wrong: bool) -> str:
    story.heartbeat(1, 1.4, certificate=story.certificate(1, 0, life=1 if wrong else 900))
    return "credentials"


def let_in(story: Story, *, wrong: bool) -> str:
    story.attack(1, 1, Answer.ACCEPTED if wrong else Answer.INVALID_TOKEN, expected=Answer.INVALID_TOKEN)
    return "answers"


@pytest.mark.parametrize("does", [replayed, revoked, expired, let_in], ids=["replay", "revoked", "expired", "attack"])
def test_proven_failures_stay_and_passes_do_not(does: Callable[..., str]) -> None:
    for wrong, before, after in (
        (True, Status.FAIL, Status.FAIL),
        (False, Status.PASS, Status.INCONCLUSIVE),
    ):
        story = Story()
        name = does(story, wrong=wrong)
        assert of(name, story).status is before
        lost(story.history, range(1, 2), 1.5)
        assert of(name, story).status is after


# --- durability


def after_a_pause(*got: Answer) -> Story:
    """A machine that is refused and then no longer heard from, a fault, and how old its owner says it is after it."""
    story = Story(durable=True)
    story.history.machines[1] = MachineRecord("wrk_1", "ada")
    story.history.faults.append(Fault("pause", 10 * SECOND_NS, 10 * SECOND_NS + 1, 12 * SECOND_NS, 12 * SECOND_NS + 1))
    story.register(1, 0)
    for second, answer in enumerate(got):
        story.heartbeat(1, 20 + second, answer, status=503)
    return story


def test_who_looks_younger_than_its_last_row_may_have_beaten_on() -> None:
    story = after_a_pause(Answer.UNAVAILABLE)
    story.history.status_readings.append(StatusReading("ada", nanoseconds(50), nanoseconds(50.1), {"wrk_1": 2.0}))
    assert of("durability", story).status is Status.FAIL
    lost(story.history, range(1, 2), 30)
    assert of("durability", story).status is Status.INCONCLUSIVE
    story.history.status_readings.append(StatusReading("ada", nanoseconds(50), nanoseconds(50.1), {}))
    assert [finding.rule for finding in of("durability", story).findings] == ["durability.machine"]


def test_a_server_may_have_healed_for_those_that_nobody_knows_of() -> None:
    story = after_a_pause(*[Answer.UNAVAILABLE] * 12)
    assert [finding.rule for finding in of("durability", story).findings] == ["durability.not-healed"]
    lost(story.history, range(5, 6), 30)
    assert of("durability", story).status is Status.INCONCLUSIVE


# --- merging and storing


def test_a_loss_is_told_in_the_time_of_the_run_at_its_earliest() -> None:
    """Through two merges, each with a clock of its own; what was under way may have been sent a minute before."""
    part = HistoryPart(History(), range(3, 5), shift_ns=100, clock_ns=(-7, 9), known_until_ns=1000 + 60 * SECOND_NS)
    host = merge_histories([part])
    assert [one.known_until_ns for one in host.parts] == [1093]
    run = merge_histories([HistoryPart(History()), HistoryPart(host, machine_base=10, shift_ns=50, clock_ns=(-1, 1))])
    assert [one.known_until_ns for one in run.parts] == [NEVER_NS, 1142, NEVER_NS]
    assert run.parts[1] == PartRecord(13, 2, 0, 16, 1142)


def test_a_stored_history_is_judged_alike(tmp_path: Path, story_of_two: Story) -> None:
    story_of_two.scrape(2, workers=2)
    lost(story_of_two.history, range(1, 2), 1.5)
    write_history(story_of_two.history, tmp_path)
    again = read_history(tmp_path)
    assert again.parts == story_of_two.history.parts
    assert judged(again, story_of_two.facts) == judged(story_of_two.history, story_of_two.facts)


def test_parts_of_which_all_is_known_change_no_verdict(story_of_two: Story) -> None:
    story_of_two.scrape(2, workers=2)
    before = judged(story_of_two.history, story_of_two.facts)
    story_of_two.history.parts.append(PartRecord(0, 2, 0, 0, NEVER_NS))
    assert judged(story_of_two.history, story_of_two.facts) == before
