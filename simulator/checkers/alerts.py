"""The alerts checker: every figure within its bounds, gauges that agree with their counts, and how fast alerts were."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import CLOCK_RATE_TOLERANCE, Range, ScrapeBounds
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.market_figures import wrong_figures
from simulator.checkers.possible import UPTIME_STEP_SECONDS, find_restarts, made_anew, possible, unexplained
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import REASONS
from simulator.contract.metrics import (
    AUTH_ALERT,
    BY_REASON,
    COUNTERS,
    FAILURES,
    PUBLISHED,
    RECENT,
    STALE,
    STALE_ALERT,
    UNATTRIBUTED,
    UNKNOWN,
    UPTIME,
    WORKERS,
)
from simulator.history.records import METRICS_PAGE
from simulator.platform.wording import all_of, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from collections.abc import Set as AbstractSet

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

SILENT_MIN = 3
"""Scrapes at which an alert had to be on, from which on its silence is no matter of one of them."""


def check_alerts(history: History, facts: Facts) -> Verdict:
    """Hold every scrape against what was possible (contract §10)."""
    malformed = [
        Finding("alerts.malformed", f"{plural(one.count, 'scrape')}: {one.why}", one.first_ns, {"count": one.count})
        for one in history.troubles
        if one.what == METRICS_PAGE
    ]
    if not history.scrapes and not malformed:
        return Verdict("alerts", Status.INCONCLUSIVE, "No scrape of the server's metrics succeeded.")
    restarts = find_restarts(history, facts)
    bounds = list(possible(history, facts))
    findings = malformed + [finding for one in bounds for finding in _judge(one, facts)]
    anew = restarts.keys() | made_anew(history, facts)
    findings += [*_backwards(history, facts, anew), *_leaps(history, facts, restarts)]
    findings += wrong_figures(history, facts)
    findings.sort(key=lambda finding: finding.at_ns)
    findings = [*_silent(bounds, facts), *findings]
    figures: dict[str, Any] = {
        "errors": len(findings),
        "errors_by_rule": dict(Counter(finding.rule for finding in findings)),
        "scrapes": len(bounds),
        "restarts": len(restarts),
        "auth_failures": _counted(history, facts),
        "stale_workers": _episodes(bounds, facts, STALE_ALERT, lambda one: _truth(one.stale, 1)),
        "worker_auth_failures": _episodes(
            bounds, facts, AUTH_ALERT, lambda one: _truth(one.recent, facts.auth_threshold)
        ),
    }
    if findings:
        shown = one_of_each_first(findings, lambda finding: (finding.rule, finding.evidence.get("metric")))
        errors = plural(len(findings), "proven error")
        summary = f"{errors} in {plural(len(bounds), 'scrape')}; the first: {shown[0].message}"
        return Verdict("alerts", Status.FAIL, summary, kept(shown), figures, len(findings))
    summary = f"Both alerts and every counter of the server were possible in {all_of(len(bounds), 'scrape')}."
    if restarts:
        lasting = facts.durable and not unexplained(history, facts)
        summary += f" It started anew before {min(restarts.values()) / SECOND_NS:.3f}s: "
        summary += "its counters may have, too." if lasting else "what it forgot then is not held against it."
    return Verdict("alerts", Status.PASS, summary, (), figures)


def _counted(history: History, facts: Facts) -> dict[str, int]:
    """Return how many failures the server counted during the run, by reason."""
    last = history.scrapes[-1].samples if history.scrapes else facts.baseline
    names = {reason: BY_REASON.format(reason) for reason in REASONS.values()}
    grown = {reason: last.get(name, 0) - facts.baseline.get(name, 0) for reason, name in names.items()}
    return {reason: int(count) if math.isfinite(count) else 0 for reason, count in grown.items()}


def _judge(one: ScrapeBounds, facts: Facts) -> Iterator[Finding]:
    """Find what is provably wrong within one scrape."""
    samples, scrape = one.scrape.samples, one.scrape
    when = f"{scrape.sent_ns / SECOND_NS:.3f}s"

    def finding(rule: str, message: str, **evidence: Any) -> Finding:
        window = {"scraped_from_ns": scrape.sent_ns, "scraped_to_ns": scrape.answered_ns}
        return Finding(f"alerts.{rule}", f"at {when} {message}", scrape.sent_ns, {**window, **evidence})

    missing = [name for name in PUBLISHED if name not in samples]
    if missing:
        yield finding("missing", f"the published metrics {', '.join(missing)} are missing", missing=missing)
        return
    ranges = [
        ("workers", WORKERS, one.workers),
        ("unknown", UNKNOWN, one.unknown),
        ("stale", STALE, one.stale),
        ("failures", FAILURES, one.failures),
        ("recent", RECENT, one.recent),
        *([("unattributed", UNATTRIBUTED, one.unattributed)] if UNATTRIBUTED in samples else []),
        *(("by-reason", BY_REASON.format(reason), bound) for reason, bound in one.by_reason.items()),
    ]
    for rule, name, bound in ranges:
        value = samples.get(name, 0.0)
        if value not in bound:
            yield finding(
                rule,
                f"{name} was {_shown(value)}, possible was {bound}",
                metric=name,
                value=value,
                low=bound.low,
                high=bound.high,
            )
    total = sum(samples.get(BY_REASON.format(reason), 0.0) for reason in REASONS.values())
    if total != samples[FAILURES]:
        yield finding(
            "sum",
            f"{FAILURES} was {_shown(samples[FAILURES])}, but its reasons add up to {_shown(total)}",
            metric=FAILURES,
            value=samples[FAILURES],
            by_reason=total,
        )
    for rule, gauge, count, threshold in (
        ("stale-gauge", STALE_ALERT, STALE, 1),
        ("auth-gauge", AUTH_ALERT, RECENT, facts.auth_threshold),
    ):
        if samples[gauge] != float(samples[count] >= threshold):
            yield finding(
                rule,
                f"{gauge} was {_shown(samples[gauge])} while {count} was {_shown(samples[count])} in the same scrape, "
                f"and the alert begins at {threshold}",
                metric=gauge,
                value=samples[gauge],
                count=samples[count],
                threshold=threshold,
            )


def _silent(bounds: list[ScrapeBounds], facts: Facts) -> Iterator[Finding]:
    """Find alerts that were off at every scrape, though they had to be on at several: each is told once."""
    for gauge, count, threshold in ((STALE_ALERT, STALE, 1), (AUTH_ALERT, RECENT, facts.auth_threshold)):

        def bound_of(one: ScrapeBounds, gauge: str = gauge) -> Range:
            return one.stale if gauge == STALE_ALERT else one.recent

        shown = [one for one in bounds if gauge in one.scrape.samples]
        due = [one for one in shown if _truth(bound_of(one), threshold)]
        if len(due) < SILENT_MIN or any(one.scrape.samples[gauge] > 0 for one in shown):
            continue
        first, last = due[0].scrape, due[-1].scrape
        most = max(bound_of(one).low for one in due)
        message = (
            f"{gauge} stayed 0 through {len(due)} scrapes from {first.sent_ns / SECOND_NS:.3f}s to "
            f"{last.sent_ns / SECOND_NS:.3f}s at which it had to be 1: {count} had to be {most} or more, and the alert "
            f"begins at {threshold}"
        )
        evidence = {
            "metric": gauge,
            "scrapes": len(due),
            "first_scraped_ns": first.sent_ns,
            "last_scraped_ns": last.sent_ns,
            "due": most,
            "threshold": threshold,
            "shown_at_most": max(one.scrape.samples.get(count, 0.0) for one in due),
        }
        yield Finding("alerts.silent", message, first.sent_ns, evidence)


def _shown(value: float) -> str:
    """Write a number so that no two counts look alike."""
    return f"{value:.15g}"


def _backwards(history: History, facts: Facts, anew: AbstractSet[int]) -> Iterator[Finding]:
    """Find counters that go backwards, though the server did not start anew before these scrapes."""
    previous = facts.baseline
    for index, scrape in enumerate(history.scrapes):
        samples = scrape.samples
        if index not in anew:
            for name, value in samples.items():
                counter = name.startswith(COUNTERS) and name.partition("{")[0].endswith("_total")
                if counter and value < (before := previous.get(name, 0.0)):
                    when = f"{scrape.sent_ns / SECOND_NS:.3f}s"
                    message = f"at {when} {name} went back from {_shown(before)} to {_shown(value)}"
                    evidence = {
                        "scraped_from_ns": scrape.sent_ns,
                        "scraped_to_ns": scrape.answered_ns,
                        "metric": name,
                        "value": value,
                        "before": before,
                    }
                    yield Finding("alerts.backwards", message, scrape.sent_ns, evidence)
        previous = samples


def _leaps(history: History, facts: Facts, restarts: dict[int, int]) -> Iterator[Finding]:
    """Find where the server's uptime grew by more than the time that had passed, as its monotonic clock must not.

    After a restart nothing is known of it: several servers behind one address, in turn, look like restarts and leaps.
    """
    if restarts:
        return
    before, before_ns = facts.baseline.get(UPTIME), None
    for scrape in history.scrapes:
        uptime = scrape.samples.get(UPTIME)
        if uptime is None:
            continue
        if before is not None and before_ns is not None:
            passed = (scrape.answered_ns - before_ns) / SECOND_NS
            if uptime - before > passed * (1 + CLOCK_RATE_TOLERANCE) + UPTIME_STEP_SECONDS:
                when = f"{scrape.sent_ns / SECOND_NS:.3f}s"
                message = (
                    f"at {when} {UPTIME} had grown by {_shown(round(uptime - before, 3))} within {passed:.3f}s: "
                    "the server's monotonic clock leapt"
                )
                yield Finding("alerts.leap", message, scrape.sent_ns, {"before": before, "value": uptime})
        before, before_ns = uptime, scrape.sent_ns


def _truth(bound: Range, threshold: int) -> bool | None:
    """Return whether an alert must be on, must be off, or either (None)."""
    if bound.low >= threshold:
        return True
    return False if bound.high < threshold else None


def _episodes(
    bounds: list[ScrapeBounds],
    facts: Facts,
    gauge: str,
    truth_of: Callable[[ScrapeBounds], bool | None],
) -> dict[str, Any]:
    """Follow one alert over the run: how often it fired and cleared, how fast, and how right it was.

    A delay is bounded by four scrapes: the last that allowed only the old truth and the first that allowed only the new
    one, the last that showed the old state and the first that showed the new one.
    """
    turns = {True: 0, False: 0}
    delays: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    right_on = wrong_on = wrong_off = 0
    shown = facts.baseline.get(gauge, 0.0) > 0
    seen_ns = 0
    old_truth_ns: dict[bool, int] = {}
    new_truth_ns: dict[bool, int] = {}
    for one in bounds:
        start_ns, end_ns = one.scrape.sent_ns, one.scrape.answered_ns
        now_shown = one.scrape.samples.get(gauge, 0.0) > 0
        truth = truth_of(one)
        if truth is not None:
            old_truth_ns[not truth] = start_ns
            new_truth_ns.pop(not truth, None)
            new_truth_ns.setdefault(truth, end_ns)
        if now_shown is not shown:
            turns[now_shown] += 1
            turned_after_ns = old_truth_ns.pop(now_shown, None)
            turned_by_ns = new_truth_ns.get(now_shown, end_ns)
            if turned_after_ns is not None and truth is not shown:
                low_ns = max(0, seen_ns - turned_by_ns)
                delays[now_shown].append((low_ns / SECOND_NS, (end_ns - turned_after_ns) / SECOND_NS))
        right_on += truth is True and now_shown
        wrong_on += truth is False and now_shown
        wrong_off += truth is True and not now_shown
        shown, seen_ns = now_shown, start_ns
    return {
        "fired": turns[True],
        "cleared": turns[False],
        "precision": right_on / (right_on + wrong_on) if right_on + wrong_on else None,
        "recall": right_on / (right_on + wrong_off) if right_on + wrong_off else None,
        "time_to_fire_s": delays[True],
        "time_to_clear_s": delays[False],
    }
