"""The nonces checker: nothing is accepted that nobody can know to be new, and refusing is quick."""

from __future__ import annotations

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.history.records import GeneratorSample
from tests.faults.stories import CRASH, DOWN, FLUSH, KILL, PAUSE, Tale


def away(kind: str = DOWN, **settings: bool) -> Tale:
    """A Redis that is away from 10 s to 13 s."""
    tale = Tale(**settings)
    tale.register(0, 1)
    tale.heartbeat(0, 9)
    tale.fault(kind, 10, 10 if kind == FLUSH else 13)
    return tale


def refuse(tale: Tale, at: float, took: float = 0.01) -> None:
    """Have a heartbeat refused with 503."""
    tale.heartbeat(0, at, Answer.UNAVAILABLE, status=503, took=took)


def test_other_faults_are_none_of_its_matters() -> None:
    assert away(KILL).judge()["nonces"].status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("kind", [DOWN, PAUSE, FLUSH, CRASH])
def test_a_server_that_fails_closed_passes(kind: str) -> None:
    tale = away(kind)
    refuse(tale, 11)
    tale.heartbeat(0, 200)
    verdict = tale.judge()["nonces"]
    assert verdict.status is Status.PASS
    assert verdict.figures["refused"] == 1


@pytest.mark.parametrize("kind", [DOWN, PAUSE, FLUSH, CRASH])
def test_an_acceptance_that_nobody_could_know_to_be_right_is_found(kind: str) -> None:
    tale = away(kind)
    refuse(tale, 11)
    tale.heartbeat(0, 12)
    assert tale.rules("nonces") == ["open"]


@pytest.mark.parametrize("kind", [FLUSH, CRASH])
def test_after_a_flush_or_a_crash_nothing_is_accepted_for_twice_the_window(kind: str) -> None:
    for at, rules in ((189.5, ["open"]), (190.5, [])):
        tale = away(kind)
        refuse(tale, 11)
        tale.heartbeat(0, at)
        assert tale.rules("nonces") == rules


@pytest.mark.parametrize(("at", "took"), [(9.99, 0.5), (10.0, 0.05), (10.05, 0.01), (12.9, 0.2)])
def test_what_may_have_been_decided_before_or_after_accuses_nobody(at: float, took: float) -> None:
    tale = away(PAUSE)
    refuse(tale, 11)
    tale.heartbeat(0, at, took=took)
    assert tale.rules("nonces") == []


def test_with_the_fallback_instances_go_on_alone_but_not_after_a_flush() -> None:
    """While Redis is away nothing has to be refused, so that there is nothing to check."""
    nothing = Status.NOT_APPLICABLE
    for kind, rules, status in ((DOWN, [], nothing), (PAUSE, [], nothing), (FLUSH, ["open"], Status.FAIL)):
        tale = away(kind, nonce_fallback=True)
        tale.heartbeat(0, 12)
        assert tale.rules("nonces") == rules
        assert tale.judge()["nonces"].status is status


def test_a_fallback_that_goes_on_alone_may_do_so_after_a_flush_too() -> None:
    for kind, rules in ((PAUSE, []), (CRASH, []), (KILL, ["open"])):
        tale = away(FLUSH, nonce_fallback=True)
        tale.fault(kind, 20, 22)
        tale.heartbeat(0, 21)
        assert tale.rules("nonces") == rules


def test_refusals_that_half_of_the_time_take_longer_than_they_may_are_found() -> None:
    for slow, rules in ((2, []), (4, ["slow"])):
        tale = away()
        for number in range(6):
            refuse(tale, 10.5 + number / 10, took=0.3 if number < slow else 0.1)
        assert tale.rules("nonces") == rules


@pytest.mark.parametrize(("lag", "rules"), [(0.1, ["slow"]), (1.2, [])])
def test_a_refusal_that_the_harness_read_late_is_not_slow(lag: float, rules: list[str]) -> None:
    tale = away()
    refuse(tale, 10.5, took=1.4)
    tale.history.generator.append(GeneratorSample(12 * SECOND_NS, int(lag * SECOND_NS), 0.5, 0))
    assert tale.rules("nonces") == rules


def test_a_fault_that_nobody_met_proves_nothing() -> None:
    assert away().judge()["nonces"].status is Status.INCONCLUSIVE


def test_of_a_fault_that_comes_and_goes_nothing_need_be_known_each_time() -> None:
    tale = away(nonce_fallback=False)
    tale.fault(PAUSE, 20, 20.4)
    refuse(tale, 11)
    assert tale.judge()["nonces"].status is Status.PASS
    tale.fault(PAUSE, 30, 32)
    assert tale.judge()["nonces"].status is Status.INCONCLUSIVE
