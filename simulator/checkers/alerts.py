"""The alerts checker: every figure within its bounds, gauges that agree with their counts, and how fast alerts were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers.bounds import SECOND_NS, Range, ScrapeBounds, scrape_bounds
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.history import REASONS, History
from simulator.limits import FINDINGS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.checkers.facts import Facts

WORKERS = "hatchfarm_workers_total"
UNKNOWN = "hatchfarm_workers_unknown_total"
STALE = "hatchfarm_workers_stale_total"
FAILURES = "hatchfarm_worker_auth_failures_total"
RECENT = "hatchfarm_worker_auth_failures_recent"
BY_REASON = 'hatchfarm_worker_auth_failures_by_reason_total{{reason="{}"}}'
STALE_ALERT = "hatchfarm_alert_stale_workers"
AUTH_ALERT = "hatchfarm_alert_worker_auth_failures"
UPTIME = "hatchfarm_uptime_seconds"
PUBLISHED = (UPTIME, WORKERS, STALE, UNKNOWN, FAILURES, RECENT, STALE_ALERT, AUTH_ALERT)


def check_alerts(history: History, facts: Facts) -> Verdict:
    """Hold every scrape against what was possible (contract §10)."""
    if not history.scrapes:
        return Verdict("alerts", Status.INCONCLUSIVE, "No scrape of the server's metrics succeeded.")
    bounds = list(scrape_bounds(history.rows(), history.scrapes, facts))
    findings = [finding for one in bounds for finding in _judge(one, facts)]
    findings += _backwards(history, facts)
    findings.sort(key=lambda finding: finding.at_ns)
    figures: dict[str, Any] = {
        "errors": len(findings),
        "scrapes": len(bounds),
        "stale_workers": _episodes(bounds, STALE_ALERT, lambda one: _truth(one.stale, 1)),
        "worker_auth_failures": _episodes(bounds, AUTH_ALERT, lambda one: _truth(one.recent, facts.auth_threshold)),
    }
    if findings:
        first = findings[0]
        summary = f"{len(findings)} proven errors in {len(bounds)} scrapes; the first: {first.message}"
        return Verdict("alerts", Status.FAIL, summary, tuple(findings[:FINDINGS_MAX]), figures)
    summary = f"Both alerts and every counter were possible in all {len(bounds)} scrapes."
    return Verdict("alerts", Status.PASS, summary, (), figures)


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
    baseline = facts.baseline
    before = int(baseline.get(WORKERS, 0))
    # Workers from before the run may fall silent or come back at any time; failures from before leave the window.
    ranges = [
        ("workers", WORKERS, _shift(one.workers, before)),
        ("unknown", UNKNOWN, Range(one.unknown.low, one.unknown.high + before)),
        ("stale", STALE, Range(one.stale.low, one.stale.high + before)),
        ("failures", FAILURES, _shift(one.failures, int(baseline.get(FAILURES, 0)))),
        ("recent", RECENT, Range(one.recent.low, one.recent.high + int(baseline.get(RECENT, 0)))),
    ]
    for reason, bound in one.by_reason.items():
        name = BY_REASON.format(reason)
        ranges.append(("by-reason", name, _shift(bound, int(baseline.get(name, 0)))))
    for rule, name, bound in ranges:
        value = samples.get(name, 0.0)
        if value not in bound:
            low, high = bound.low, bound.high
            yield finding(
                rule,
                f"{name} was {value:g}, possible was {low} to {high}",
                metric=name,
                value=value,
                low=low,
                high=high,
            )
    total = sum(samples.get(BY_REASON.format(reason), 0.0) for reason in REASONS.values())
    if total != samples[FAILURES]:
        yield finding("sum", f"{FAILURES} was {samples[FAILURES]:g}, but its reasons add up to {total:g}")
    for rule, gauge, count, threshold in (
        ("stale-gauge", STALE_ALERT, STALE, 1),
        ("auth-gauge", AUTH_ALERT, RECENT, facts.auth_threshold),
    ):
        if samples[gauge] != float(samples[count] >= threshold):
            yield finding(
                rule, f"{gauge} was {samples[gauge]:g} while {count} was {samples[count]:g} in the same scrape"
            )


def _shift(bound: Range, by: int) -> Range:
    return Range(bound.low + by, bound.high + by)


def _backwards(history: History, facts: Facts) -> Iterator[Finding]:
    """Find counters that go backwards, though the server did not start anew."""
    previous = facts.baseline
    for scrape in history.scrapes:
        samples = scrape.samples
        if samples.get(UPTIME, 0.0) >= previous.get(UPTIME, 0.0):
            for name, value in samples.items():
                counter = name.startswith("hatchfarm_worker_auth_failures") and name != RECENT
                if counter and value < previous.get(name, 0.0):
                    message = (
                        f"at {scrape.sent_ns / SECOND_NS:.3f}s {name} went back from {previous[name]:g} to {value:g}"
                    )
                    yield Finding("alerts.backwards", message, scrape.sent_ns, {"metric": name})
        previous = samples


def _truth(bound: Range, threshold: int) -> bool | None:
    """Say whether an alert must be on, must be off, or either (None)."""
    if bound.low >= threshold:
        return True
    return False if bound.high < threshold else None


def _episodes(
    bounds: list[ScrapeBounds],
    gauge: str,
    truth_of: Callable[[ScrapeBounds], bool | None],
) -> dict[str, Any]:
    """Follow one alert over the run: how often it fired and cleared, how fast, and how right it was."""
    fired = cleared = 0
    right_on = wrong_on = wrong_off = 0
    to_fire: list[tuple[float, float]] = []
    to_clear: list[tuple[float, float]] = []
    shown = False
    turned_ns: dict[bool, tuple[int, int]] = {}
    truth_before: bool | None = None
    last_ns = 0
    for one in bounds:
        now_shown = one.scrape.samples.get(gauge, 0.0) > 0
        truth = truth_of(one)
        at_ns = one.scrape.answered_ns
        if truth is not None and truth is not truth_before:
            # It became true after the last scrape that allowed otherwise, and before this one ended.
            turned_ns[truth] = (last_ns, at_ns)
            truth_before = truth
        if now_shown and not shown:
            fired += 1
            if True in turned_ns:
                to_fire.append(_delay(turned_ns.pop(True), one, last_ns))
        if shown and not now_shown:
            cleared += 1
            if False in turned_ns:
                to_clear.append(_delay(turned_ns.pop(False), one, last_ns))
        right_on += truth is True and now_shown
        wrong_on += truth is False and now_shown
        wrong_off += truth is True and not now_shown
        shown = now_shown
        if truth is None or truth == now_shown:
            last_ns = one.scrape.sent_ns
    return {
        "fired": fired,
        "cleared": cleared,
        "precision": right_on / (right_on + wrong_on) if right_on + wrong_on else None,
        "recall": right_on / (right_on + wrong_off) if right_on + wrong_off else None,
        "time_to_fire_s": to_fire,
        "time_to_clear_s": to_clear,
    }


def _delay(turned: tuple[int, int], one: ScrapeBounds, seen_before_ns: int) -> tuple[float, float]:
    """Bound the delay between the truth turning and the gauge following."""
    low_ns = max(0, seen_before_ns - turned[1])
    return low_ns / SECOND_NS, (one.scrape.answered_ns - turned[0]) / SECOND_NS
