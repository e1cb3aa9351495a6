"""Bounds held against an oracle that tries every order of events which a small history allows."""

from __future__ import annotations

import math
from itertools import chain, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.bounds import Range, ScrapeBounds, _Advancing, scrape_bounds
from simulator.contract.answers import REASONS, Answer, Operation
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checkers.conftest import Story

FORGED, EXPIRED, LATE = Answer.INVALID_SIGNATURE, Answer.INVALID_CERTIFICATE, Answer.TIMESTAMP_OUT_OF_WINDOW
STALE_SECONDS, WINDOW_SECONDS = 3, 4
END_SECONDS = 9


class Sent(NamedTuple):
    """A request of a machine, in whole seconds; `hostile` ones are forged."""

    machine: int
    at: int
    took: int
    hostile: bool
    lost: bool


class Effect(NamedTuple):
    """What a request did: an acceptance, or a failure with its reason."""

    at: float
    machine: int
    reason: Answer | None


def halves(first: float, last: float) -> list[float]:
    """Whole and half seconds: what happens between two whole ones happens at the half."""
    return [half / 2 for half in range(int(first * 2), int(last * 2) + 1)]


def possible_effects(sent: Sent) -> list[Effect | None]:
    """Everything a request may have done on a correct server."""
    expected = FORGED if sent.hostile else None
    if not sent.lost:
        return [Effect(at, sent.machine, expected) for at in halves(sent.at, sent.at + sent.took)]
    reasons = (expected, LATE, EXPIRED)
    return [None, *(Effect(at, sent.machine, reason) for at in halves(sent.at, END_SECONDS) for reason in reasons)]


class Seen(NamedTuple):
    """What a scrape may show."""

    stale: int
    failures: int
    recent: int
    forged: int
    late: int
    expired: int


def possible_readings(requests: list[Sent], at: int, took: int) -> Iterator[Seen]:
    """Try every order, also of what happens at the same moment, and both readings of an edge that is met exactly."""
    for effects in product(*(possible_effects(sent) for sent in requests)):
        for read, closed, first in product(halves(at, at + took), (False, True), (False, True)):
            done = [one for one in effects if one is not None and (one.at < read or (first and one.at == read))]
            heard: dict[int, float] = {}
            for effect in done:
                if effect.reason is None:
                    heard[effect.machine] = max(heard.get(effect.machine, 0.0), effect.at)
            failed = [effect for effect in done if effect.reason is not None]
            ages = [read - effect.at for effect in failed]
            stale = [read - at for at in heard.values()]
            yield Seen(
                stale=sum(age > STALE_SECONDS or (closed and age == STALE_SECONDS) for age in stale),
                failures=len(failed),
                recent=sum(age < WINDOW_SECONDS or (closed and age == WINDOW_SECONDS) for age in ages),
                forged=sum(effect.reason is FORGED for effect in failed),
                late=sum(effect.reason is LATE for effect in failed),
                expired=sum(effect.reason is EXPIRED for effect in failed),
            )


def computed(new_story: type[Story], requests: list[Sent], at: int, took: int) -> dict[str, Range]:
    story = new_story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS)
    for sent in requests:
        expected = FORGED if sent.hostile else Answer.ACCEPTED
        got = Answer.LOST if sent.lost else expected
        story.request(Operation.HEARTBEAT, sent.machine, sent.at, got, expected=expected, took=sent.took)
    story.scrape(at, took=took)
    (bounds,) = scrape_bounds(story.history.rows(), story.history.scrapes, story.facts)
    return by_name(bounds)


def by_name(bounds: ScrapeBounds) -> dict[str, Range]:
    return {
        "stale": bounds.stale,
        "failures": bounds.failures,
        "recent": bounds.recent,
        "forged": bounds.by_reason[REASONS[FORGED]],
        "late": bounds.by_reason[REASONS[LATE]],
        "expired": bounds.by_reason[REASONS[EXPIRED]],
    }


answered, lost = st.just(value=False), st.just(value=True)


def requests_of(losing: st.SearchStrategy[bool], size: int) -> st.SearchStrategy[list[Sent]]:
    sent = st.builds(
        Sent,
        machine=st.integers(0, 1),
        at=st.integers(0, END_SECONDS - 1),
        took=st.integers(0, 2),
        hostile=st.booleans(),
        lost=losing,
    )
    return st.lists(sent, max_size=size)


@settings(deadline=None, max_examples=examples(150))
@given(requests_of(answered, 4), st.integers(0, 8))
def test_bounds_are_exactly_what_some_order_allows(new_story: type[Story], requests: list[Sent], at: int) -> None:
    """With every answer in and an instant scrape, no bound is narrower than an order allows, and none is wider."""
    columns = np.array(list(possible_readings(requests, at, 0)))
    bounds = computed(new_story, requests, at, 0)
    for name, low, high in zip(Seen._fields, columns.min(axis=0), columns.max(axis=0), strict=True):
        assert (name, bounds[name]) == (name, Range(int(low), int(high)))


@settings(deadline=None, max_examples=examples(60))
@given(requests_of(answered, 3), requests_of(lost, 1), st.integers(0, 8), st.integers(0, 2))
def test_bounds_hold_every_order_that_lost_answers_allow(
    new_story: type[Story], heard: list[Sent], unheard: list[Sent], at: int, took: int
) -> None:
    """What was lost took effect at any time, for any reason that lateness adds, or never; no bound excludes that."""
    requests = heard + unheard
    columns = np.array(list(possible_readings(requests, at, took)))
    bounds = computed(new_story, requests, at, took)
    for name, low, high in zip(Seen._fields, columns.min(axis=0), columns.max(axis=0), strict=True):
        assert (name, int(low) in bounds[name], int(high) in bounds[name]) == (name, True, True)


@settings(deadline=None, max_examples=examples(150))
@given(requests_of(st.booleans(), 6), st.lists(st.integers(0, 9), min_size=2, max_size=4).map(sorted))
def test_a_scrape_is_bounded_the_same_whatever_was_scraped_before(
    new_story: type[Story], requests: list[Sent], moments: list[int]
) -> None:
    story = new_story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS)
    for sent in requests:
        expected = FORGED if sent.hostile else Answer.ACCEPTED
        got = Answer.LOST if sent.lost else expected
        story.request(Operation.HEARTBEAT, sent.machine, sent.at, got, expected=expected, took=sent.took)
    for at in moments:
        story.scrape(at, took=0)
    together = list(scrape_bounds(story.history.rows(), story.history.scrapes, story.facts))
    assert [by_name(one) for one in together] == [computed(new_story, requests, at, 0) for at in moments]


@settings(deadline=None, max_examples=examples(60))
@given(st.lists(st.integers(0, 9), max_size=20), st.lists(st.integers(-1, 10), max_size=8).map(sorted))
def test_rows_are_handed_out_once_in_order_of_time(moments: list[int], looked: list[int]) -> None:
    """So that many scrapes together cost the rows once."""
    rows = np.array([(moment, index) for index, moment in enumerate(moments)], dtype=[("at", "<i8"), ("index", "<i8")])
    advancing = _Advancing(rows, "at")
    given = [advancing.until(moment).tolist() for moment in looked]
    assert list(chain.from_iterable(given)) == sorted(row for row in rows.tolist() if looked and row[0] <= looked[-1])
    for moment, part in zip(looked, given, strict=True):
        assert all(at <= moment for at, _ in part)


@pytest.mark.parametrize(("value", "inside"), [(1, False), (2, True), (3.0, True), (4, True), (4.5, False)])
def test_a_range_includes_both_its_ends(value: float, inside: bool) -> None:  # noqa: FBT001 - a column of the table
    assert (value in Range(2, 4)) is inside


def test_what_is_no_number_is_in_no_range() -> None:
    assert not Range(0, 1).__contains__(math.nan)
