"""Whether the market's figures on the metrics page were possible: agents, jobs, withdrawals (contract: Metrics added).

What was acknowledged before a scrape was sent is counted in it, and what was not asked for before it was answered is
not. How many there may be at most is only known where every request has a record.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from simulator.checkers.bounds import UNBOUNDED, Range
from simulator.checkers.incarnations import forgets, restarts_of
from simulator.checkers.ledger_keys import made
from simulator.checkers.market_view import alone, granted, has_market, may_have_been_granted, seconds, stories_of
from simulator.checkers.possible import find_restarts, unexplained
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Operation
from simulator.contract.metrics import AGENTS, JOBS, REPORTS_IGNORED, TRANSITIONS, WITHDRAWALS
from simulator.contract.pricing import FINAL, ON_WORKER, capacity_of
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_view import JobStory
    from simulator.history.market_records import MarketExchange
    from simulator.history.rows import History

QUEUED = "queued"
STATES = (QUEUED, *sorted(ON_WORKER), *sorted(FINAL))
ENDS_OF_WITHDRAWALS = ("settled", "returned")
FINISHED_KEPT = 100_000
"""How many jobs that have ended a server keeps (contract: Bounds): of more it shows fewer than there were."""


class _Moments:
    """When each of some things had surely come about, and when it may have at the earliest."""

    def __init__(self, sure_ns: Iterable[int], possible_ns: Iterable[int] = ()) -> None:
        self._sure, self._possible = _sorted(sure_ns), _sorted(possible_ns)

    def at(self, sent_ns: int, answered_ns: int) -> Range:
        """Return how many a scrape may count that was made between two moments."""
        low = int(np.searchsorted(self._sure, sent_ns, side="left"))
        return Range(low, int(np.searchsorted(self._possible, answered_ns, side="right")))


class _Spans:
    """Through which times each of some things was surely there."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        spans = [one for one in spans if one[0] < one[1]]
        self._from = np.array([one[0] for one in spans], dtype=np.int64)
        self._to = np.array([one[1] for one in spans], dtype=np.int64)

    def at(self, sent_ns: int, answered_ns: int) -> int:
        """Return how many were there all the time between two moments."""
        return int(((self._from < sent_ns) & (self._to > answered_ns)).sum())


class _Asked(msgspec.Struct, frozen=True):
    """Something that may have been made: from when on, and its id where it was told."""

    sent_ns: int
    id: str


def wrong_figures(history: History, facts: Facts) -> Iterator[Finding]:
    """Find figures that were impossible. Of several instances, or after a restart that forgot, nothing is known."""
    if not has_market(history) or facts.instances > 1 or forgets(history, facts) or unexplained(history, facts):
        return
    # What nobody knows of may be any number more; what was there before the run may be in any state by now.
    bounded = alone(history, facts)
    before: Counter[str] = Counter()
    for name, value in facts.baseline.items():
        before[_family(name)] += math.ceil(value) if math.isfinite(value) else UNBOUNDED
    before[_family(TRANSITIONS)] += before[_family(JOBS)]  # those that had not ended may come to any state
    counters_last = not restarts_of(history) and not find_restarts(history, facts)
    figures = _Figures(history)
    for scrape in history.scrapes if figures.are_kept else ():
        gauges = figures.gauges(scrape.sent_ns, scrape.answered_ns)
        counters = figures.counters(scrape.sent_ns, scrape.answered_ns) if counters_last else {}
        for name, bound in {**gauges, **counters}.items():
            shown = scrape.samples.get(name)
            possible = Range(bound.low, bound.high + before[_family(name)]) if bounded else bound.open_above()
            if shown is not None and shown not in possible:
                message = f"at {seconds(scrape.sent_ns)} {name} was {shown:.15g}, possible was {possible}"
                evidence = {"metric": name, "value": shown, "low": possible.low, "high": possible.high}
                window = {"scraped_from_ns": scrape.sent_ns, "scraped_to_ns": scrape.answered_ns}
                yield Finding("alerts.market", message, scrape.sent_ns, {**window, **evidence})


def _family(name: str) -> str:
    """Return the name of a metric without its labels."""
    return name.partition("{")[0]


class _Figures:
    """What the history knows of each figure."""

    def __init__(self, history: History) -> None:
        exchanges = history.market_exchanges
        registered = [one for one in exchanges if one.operation == Operation.AGENT_REGISTER]
        self._agents = _Moments(
            (one.answered_ns for one in registered if granted(one)),
            (one.sent_ns for one in registered if may_have_been_granted(one)),
        )
        stories = stories_of(history)
        self.are_kept = len(stories) < FINISHED_KEPT
        ends = {story.id: (story.final.state, story.known_final_ns()) for story in stories.values() if story.final}
        asked = _asked_for(exchanges, Operation.JOB_CREATE)
        self._jobs = _Moments(
            (one.created.answered_ns for one in stories.values() if one.created is not None),
            (one.sent_ns for one in asked),
        )
        self._ended = {state: _ended_as(state, ends, asked) for state in FINAL}
        self._waiting = _Spans(span for story in stories.values() for span in _seen_in(story, QUEUED))
        self._on = {state: _Spans(_spans(stories, state)) for state in ON_WORKER}
        self._came_to = {state: _Moments(_came_to(stories, state)) for state in ON_WORKER}
        paid = _asked_for(exchanges, Operation.WITHDRAW)
        self._withdrawals = _Moments(_made_ns(exchanges), (one.sent_ns for one in paid))
        known = _withdrawals_ended(history)
        self._paid = {state: _ended_as(state, known, paid) for state in ENDS_OF_WITHDRAWALS}
        unreadable = (one for one in history.capacity_reports if not one.honest and capacity_of(one.capacity) is None)
        strange = (one for one in history.job_reports if one.accepted and one.job_id not in stories)
        self._ignored = {
            "capacity": _Moments(one.answered_ns for one in unreadable),
            "job": _Moments(one.answered_ns for one in strange),
        }

    def gauges(self, sent_ns: int, answered_ns: int) -> Mapping[str, Range]:
        """Return the bounds of what there is."""
        jobs = self._jobs.at(sent_ns, answered_ns)
        ended = {state: moments.at(sent_ns, answered_ns) for state, moments in self._ended.items()}
        surely = {QUEUED: self._waiting.at(sent_ns, answered_ns)}
        surely |= {state: spans.at(sent_ns, answered_ns) for state, spans in self._on.items()}
        surely |= {state: bound.low for state, bound in ended.items()}
        found = {AGENTS: self._agents.at(sent_ns, answered_ns)}
        for state, low in surely.items():
            high = jobs.high - (sum(surely.values()) - low)
            found[JOBS.format(state)] = Range(low, min(high, ended[state].high) if state in ended else high)
        return found

    def counters(self, sent_ns: int, answered_ns: int) -> Mapping[str, Range]:
        """Return the bounds of what is counted since the server began."""
        found = {TRANSITIONS.format(state): moments.at(sent_ns, answered_ns) for state, moments in self._ended.items()}
        for state, moments in self._came_to.items():
            found[TRANSITIONS.format(state)] = moments.at(sent_ns, answered_ns).open_above()
        found[WITHDRAWALS.format("pending")] = self._withdrawals.at(sent_ns, answered_ns)
        for state, moments in self._paid.items():
            found[WITHDRAWALS.format(state)] = moments.at(sent_ns, answered_ns)
        for kind, moments in self._ignored.items():
            found[REPORTS_IGNORED.format(kind)] = moments.at(sent_ns, answered_ns).open_above()
        return found


def _sorted(moments_ns: Iterable[int]) -> NDArray[np.int64]:
    return np.sort(np.array(list(moments_ns), dtype=np.int64))


def _asked_for(exchanges: Iterable[MarketExchange], operation: Operation) -> list[_Asked]:
    """Return what may have been made by requests of a kind: once for each account and key, or each without one."""
    found: dict[object, _Asked] = {}
    for number, one in enumerate(exchanges):
        if one.operation == operation and may_have_been_granted(one):
            place = (one.account, one.key) if one.key else number
            before = found.get(place)
            known = made(one) or ("" if before is None else before.id)
            found[place] = _Asked(min(one.sent_ns, one.sent_ns if before is None else before.sent_ns), known)
    return list(found.values())


def _ended_as(state: str, ends: Mapping[str, tuple[str, int]], asked: Iterable[_Asked]) -> _Moments:
    """Return when what ended in a state had surely done so, and what may have: all that is not known to otherwise."""
    sure = (at_ns for known, at_ns in ends.values() if known == state)
    return _Moments(sure, (one.sent_ns for one in asked if one.id not in ends or ends[one.id][0] == state))


def _seen_in(story: JobStory, state: str) -> Iterator[tuple[int, int]]:
    """Yield through which times a job was surely in a state that it can leave: once for each attempt."""
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for one in story.shown:
        if one.state == state:
            seen[one.attempts].append((one.answered_ns, one.sent_ns))
    for times in seen.values():
        yield min(answered_ns for answered_ns, _ in times), max(sent_ns for _, sent_ns in times)


def _spans(stories: Mapping[str, JobStory], state: str) -> Iterator[tuple[int, int]]:
    for story in stories.values():
        yield from _seen_in(story, state)


def _came_to(stories: Mapping[str, JobStory], state: str) -> Iterator[int]:
    """Yield when jobs had surely come to a state, once for each attempt."""
    for story in stories.values():
        seen: dict[int, int] = {}
        for one in story.shown:
            if one.state == state:
                seen[one.attempts] = min(one.answered_ns, seen.get(one.attempts, NEVER_NS))
        yield from seen.values()


def _made_ns(exchanges: Iterable[MarketExchange]) -> Iterator[int]:
    """Yield when each withdrawal was acknowledged first."""
    found: dict[str, int] = {}
    for one in exchanges:
        if one.operation == Operation.WITHDRAW and (name := made(one)):
            found[name] = min(one.answered_ns, found.get(name, NEVER_NS))
    yield from found.values()


def _withdrawals_ended(history: History) -> dict[str, tuple[str, int]]:
    """Return by id how withdrawals ended, and by when that was seen."""
    shown = [
        (one.answered_ns, one.data.get("withdrawal"))
        for one in history.market_exchanges
        if one.operation == Operation.WALLET_READ and granted(one)
    ]
    shown += [(account.answered_ns, one) for account in history.accounts_shown for one in account.withdrawals]
    found: dict[str, tuple[str, int]] = {}
    for at_ns, one in shown:
        if isinstance(one, dict) and one.get("state") in ENDS_OF_WITHDRAWALS:
            name, state = str(one.get("id")), str(one["state"])
            found[name] = min((state, at_ns), found.get(name, (state, at_ns)), key=lambda known: known[1])
    return found
