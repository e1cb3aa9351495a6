"""The metering checker: jobs are billed for the time that their machines' accepted heartbeats prove, and no other.

Contract: Metering. The server's receipt of a heartbeat lies between its sending and its answer, so each bill has two
bounds. What a machine claims of its progress changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import slack_ns_of
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.ledger_entries import amount_text
from simulator.checkers.market_listed import price_pages, wrong_page
from simulator.checkers.market_prices import Prices
from simulator.checkers.market_view import NO_MARKET, alone, has_market, of_one_market, stories_of
from simulator.checkers.market_workers import Workers
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.pricing import USDT, charge_of, hourly_rate, units
from simulator.history.rows import NEVER_NS
from simulator.limits import PRICES_JUDGED_MAX
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_prices import RateBounds
    from simulator.checkers.market_view import JobStory
    from simulator.checkers.market_workers import Beats
    from simulator.history.rows import History

_One = TypeVar("_One")
RESTART_SLACK_NS = SECOND_NS
"""By how much a server that was started anew may be off in the time since a heartbeat before: it goes by the wall."""
SHARED_SLACK_NS = SECOND_NS // 4
"""By how much the clocks of several instances may differ that one job's heartbeats come to."""


def check_metering(history: History, facts: Facts, prices_max: int = PRICES_JUDGED_MAX) -> Verdict:
    """Hold every bill, and every price that was fixed, against its bounds; `prices_max` counts jobs times machines."""
    if not has_market(history):
        return Verdict("metering", Status.NOT_APPLICABLE, NO_MARKET)
    history = of_one_market(history, facts)
    stories = stories_of(history)
    workers = Workers(history, facts)
    meter = _Meter(history, facts, workers)
    prices = None
    if alone(history, facts) and facts.market is not None:
        prices = Prices(history, stories, workers, facts.market)
    findings: list[Finding] = []
    billed = [one for one in stories.values() if one.final is not None]
    priced = [one for one in stories.values() if first_rate(one) is not None]
    pages = price_pages(history)
    bills = bounded = 0
    for story in stories.values():
        findings += _changed_price(story)
    for story in billed:
        found = meter.bounds(story)
        bills += found is not None
        findings += meter.wrong_bill(story, found)
    most = max(1, prices_max // max(1, len(workers.take_part())))
    if prices is not None:
        for story in _spread(priced, most):
            possible = prices.bounds(story)
            bounded += possible is not None
            findings += _wrong_price(story, possible)
    if facts.market is not None:
        # Another instance may show what was so a moment ago; and what others hold nobody knows.
        known = prices if facts.instances == 1 else None
        for page in _spread(pages, most):
            findings += wrong_page(page, facts.market, known)
    findings.sort(key=lambda one: one.at_ns)
    unjudged = len(billed) - bills, len(priced) - bounded
    figures: dict[str, Any] = {
        "violations": len(findings),
        "bills": bills,
        "prices": bounded,
        "price_pages": len(pages),
        "bills_not_judged": unjudged[0],
        "prices_not_judged": unjudged[1],
    }
    if findings:
        shown = one_of_each_first(findings, lambda one: one.rule)
        summary = f"{plural(len(findings), 'wrong bill or price', 'wrong bills or prices')}; {shown[0].message}."
        return Verdict("metering", Status.FAIL, summary, kept(shown), figures, len(findings))
    if not billed and not priced:
        return Verdict("metering", Status.NOT_APPLICABLE, "No job came so far that it had a price.", (), figures)
    beyond = f"{plural(unjudged[0], 'bill')} and {plural(unjudged[1], 'price')} could not be judged."
    if not bills and not bounded:
        # Of a market that others use too, prices say nothing: only bills do.
        status = Status.INCONCLUSIVE if billed or prices is not None else Status.NOT_APPLICABLE
        return Verdict("metering", status, beyond, (), figures)
    summary = f"{plural(bills, 'bill')} and {plural(bounded, 'price')} lie within their bounds."
    return Verdict("metering", Status.PASS, f"{summary} {beyond}" if any(unjudged) else summary, (), figures)


def first_rate(story: JobStory) -> int | None:
    """Return the price that a job was first assigned at, as it was shown first; None where it was not."""
    return next((one.rate for one in story.shown if one.rate is not None and not one.attempts), None)


def _spread(found: list[_One], most: int) -> list[_One]:
    """Return no more than so many, evenly from the whole run."""
    return found[:: -(-len(found) // most) or 1]


def _changed_price(story: JobStory) -> Iterator[Finding]:
    """Find a price that was not fixed once."""
    rates: dict[int, int] = {}
    for one in story.shown:
        if one.rate is None:
            continue
        known = rates.setdefault(one.attempts, one.rate)
        if known != one.rate:
            message = (
                f"job {story.id} cost {amount_text(known, USDT)} an hour, and then {amount_text(one.rate, USDT)}: "
                "the price is fixed when it is assigned"
            )
            yield Finding("metering.price-changed", message, one.sent_ns, {"job": story.id, "account": story.account})
            return


def _wrong_price(story: JobStory, bounds: RateBounds | None) -> Iterator[Finding]:
    """Find a price that was not fixed by the formula."""
    rate = first_rate(story)
    if bounds is not None and rate is not None and not bounds.low <= rate <= bounds.high:
        message = (
            f"job {story.id} was assigned at {amount_text(rate, USDT)} an hour, possible were "
            f"{amount_text(bounds.low, USDT)} to {amount_text(bounds.high, USDT)}: {bounds.why}"
        )
        evidence = {"job": story.id, "account": story.account, "rate": rate, "low": bounds.low, "high": bounds.high}
        yield Finding("metering.price", message, story.created_from_ns(), evidence)


class _Meter:
    """The bounds of what jobs cost."""

    def __init__(self, history: History, facts: Facts, workers: Workers) -> None:
        self._history, self._facts, self._workers = history, facts, workers
        self._alone = alone(history, facts)
        self._lost = bool(lost_parts(history))

    def wrong_bill(self, story: JobStory, bounds: tuple[int, int] | None) -> Iterator[Finding]:
        """Find a bill that no heartbeats within their times explain."""
        final, maximum = story.final, story.maximum
        billed = None if final is None else units(final.job.get("billed"))
        if final is None or maximum is None or billed is None or self._lost:
            return
        evidence = {"job": story.id, "account": story.account, "billed": billed}
        if billed > maximum:
            message = f"job {story.id} was billed {amount_text(billed, USDT)}, above its maximum of "
            yield Finding("metering.escrow", message + amount_text(maximum, USDT), final.sent_ns, evidence)
            return
        if bounds is None:
            return
        low, high = min(bounds[0], maximum), min(bounds[1], maximum)
        if not low <= billed <= high:
            worker = final.worker_id or "nobody"
            message = (
                f"job {story.id} was billed {amount_text(billed, USDT)}; the accepted heartbeats of {worker} allow "
                f"{amount_text(low, USDT)} to {amount_text(high, USDT)}"
            )
            evidence |= {"low": low, "high": high, "rate": final.rate, "worker_id": final.worker_id}
            yield Finding("metering.billed", message, final.sent_ns, evidence)

    def bounds(self, story: JobStory) -> tuple[int, int] | None:
        """Return the least and the most that a job that has ended can have cost, whatever its escrow.

        None where that is not known: others' machines may have run it, or what it was billed is not shown.
        """
        final = story.final
        if final is None or self._lost or story.maximum is None or units(final.job.get("billed")) is None:
            return None
        if not final.attempts:
            machine = self._workers.numbers.get(final.worker_id)
            if not final.worker_id:
                return 0, 0
            if machine is None or final.rate is None:
                return None
            low_ns, high_ns = self._metered(story, machine, once=True)
            return charge_of(low_ns, final.rate), charge_of(high_ns, final.rate)
        rate = self._highest_rate(story)
        # Whose it was before it was given back is shown by chance only: it may have been a machine that nobody saw.
        if rate is None or not self._alone:
            return None
        machines = {one.machine for one in story.assigned} | {one.machine for one in story.reports}
        shown = {self._workers.numbers.get(one.worker_id) for one in story.shown if one.worker_id}
        if None in shown:
            return None
        # Each attempt may have run for as long as its machine was heard.
        high_ns = sum(self._metered(story, one, once=False)[1] for one in machines)
        return 0, charge_of(high_ns, rate) * (
            final.attempts + 1 if high_ns >= story.duration_ns else 1
        ) + final.attempts

    def _highest_rate(self, story: JobStory) -> int | None:
        """Return the highest rate that any attempt can have had."""
        market, need = self._facts.market, story.need
        if market is None or need is None:
            return None
        return hourly_rate(need, 2 * market.price_cpu_hour, 2 * market.price_memory_gb_hour, 2 * market.price_gpu_hour)

    def _metered(self, story: JobStory, machine: int, *, once: bool) -> tuple[int, int]:
        """Return for how long, at least and at most, a job ran on a machine as its heartbeats count (ns).

        `once` says that it was never given back.
        """
        reports = [one for one in story.reports if one.machine == machine]
        may = [one for one in reports if one.accepted or one.answered_ns == NEVER_NS]
        if not may:
            return 0, 0
        beats = self._workers.beats(machine)
        start_ns, end_ns = min(one.sent_ns for one in may), story.ended_by_ns()
        # Of one that was given back, a report may have been ignored: then it was another's, or nobody's.
        sure = [one for one in reports if one.accepted and self._knew(story, one)] if once else []
        ends = [one.answered_ns for one in sure if one.state != "running"]
        end_ns = min([end_ns, *ends])
        restarts = [
            one for one in restarts_of(self._history) if one.ended_to_ns >= start_ns and one.began_from_ns <= end_ns
        ]
        high_ns = _most(beats, start_ns, end_ns, None if restarts else self._workers.stale_ns)
        high_ns = min(high_ns + slack_ns_of(high_ns) + RESTART_SLACK_NS * len(restarts), story.duration_ns)
        low_ns = 0
        if sure and not restarts and self._workers.stale_ns is not None:
            first = min(sure, key=lambda one: one.answered_ns)
            low_ns = _least(beats, first.sent_ns, first.answered_ns, story.may_end_from_ns(), self._workers.stale_ns)
        if self._facts.instances > 1 and high_ns:
            high_ns, low_ns = high_ns + SHARED_SLACK_NS, low_ns - SHARED_SLACK_NS
        return max(0, min(low_ns - slack_ns_of(max(0, low_ns)), story.duration_ns)), high_ns

    def _knew(self, story: JobStory, report: Any) -> bool:
        """Return whether a job was surely its machine's when a report of it was sent: it had been told of it."""
        return any(one.machine == report.machine and one.answered_ns < report.sent_ns for one in story.assigned)


def _most(beats: Beats, start_ns: int, end_ns: int, stale_ns: int | None) -> int:
    """Return the most time that counts between two moments: gaps that are surely over the threshold do not."""
    chosen = (beats.answered_ns >= start_ns) & (beats.sent_ns <= end_ns)
    sent_ns, answered_ns = beats.sent_ns[chosen], beats.answered_ns[chosen]
    last_ns = int(answered_ns.max(initial=start_ns))
    if beats.may_be_between(start_ns, end_ns):
        maybe = beats.maybe_answered_ns[beats.maybe_sent_ns <= end_ns]
        last_ns = max(last_ns, int(maybe.max(initial=last_ns)))
    total_ns = max(0, min(end_ns, last_ns) - start_ns)
    if stale_ns is None or len(sent_ns) < 2:  # noqa: PLR2004 - a gap has two ends
        return total_ns
    gaps = sent_ns[1:] - np.maximum.accumulate(answered_ns)[:-1]
    for at in np.flatnonzero(gaps > stale_ns + slack_ns_of(stale_ns)).tolist():
        if not beats.may_be_between(int(sent_ns[at]), int(answered_ns[at + 1])):
            total_ns -= int(gaps[at])
    return max(0, total_ns)


def _least(beats: Beats, sent_from_ns: int, start_ns: int, end_ns: int, stale_ns: int) -> int:
    """Return the least time that counts from a heartbeat on to the last one that was surely heard by the end.

    `sent_from_ns` is when that one was sent, `start_ns` when it was answered.
    """
    chosen = (beats.sent_ns >= sent_from_ns) & (beats.answered_ns <= end_ns)
    sent_ns, answered_ns = beats.sent_ns[chosen], beats.answered_ns[chosen]
    if len(sent_ns) < 2:  # noqa: PLR2004 - a gap has two ends
        return 0
    gaps = np.maximum(answered_ns[1:], answered_ns[:-1]) - sent_ns[:-1]
    longest_ns = stale_ns - slack_ns_of(stale_ns)
    return max(0, int(sent_ns[-1]) - start_ns - int(gaps[gaps > longest_ns].sum()))
