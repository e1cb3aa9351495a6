"""What a target shows against the settings that are only assumed of it, and what it fits instead.

A server that was started with other settings looks like a wrong one. Where all that it showed fits one other value of
a setting, nothing is proven: it says so, and how to say what the setting is. A value is one only if what was seen
bounds it on both sides, or if it is the contract's own: a run that is shorter than that window cannot bound it. A gauge
that is never on fits no setting.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.checkers.alerts import check_alerts
from simulator.checkers.attacks import check_attacks
from simulator.checkers.audit import check_audit
from simulator.checkers.audit_lists import STREAMS, gather
from simulator.checkers.facts import UNKNOWN
from simulator.checkers.limits import LARGER, SMALLER, check_limits, doubts_of_bucket
from simulator.checkers.possible import possible
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.metrics import AUTH_ALERT, RECENT, STALE
from simulator.limits import FITTED_SCRAPES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulator.checkers.facts import Facts
    from simulator.history.records import ClaimRecord
    from simulator.history.rows import History

STALE_SECONDS = "WORKER_STATUS_STALE_SECONDS"
WINDOW_SECONDS = "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS"
THRESHOLD = "WORKER_AUTH_FAIL_ALERT_THRESHOLD"
REFILL, BURST = "RATE_LIMIT_REFILL_PER_SECOND", "RATE_LIMIT_BURST"
AUDIT_EVENTS = "AUDIT_EVENTS_PER_STREAM"
CONTRACT_WINDOW_SECONDS = 300
"""What servers are started with that nobody has given another window (contract §10)."""
FIELDS = {
    STALE_SECONDS: "stale_seconds",
    WINDOW_SECONDS: "auth_window_seconds",
    THRESHOLD: "auth_threshold",
    REFILL: "rate_limit_refill_per_second",
    BURST: "rate_limit_burst",
    AUDIT_EVENTS: "audit_events_per_stream",
}
"""The fact that each setting is."""
WORDS = {
    STALE_SECONDS: "a staleness of {} s",
    WINDOW_SECONDS: "a window of {} s",
    THRESHOLD: "a threshold of {}",
    REFILL: "a refill of {} a second",
    BURST: "a burst of {}",
    AUDIT_EVENTS: "streams of {} events",
}
SECONDS_MAX = 86_400
BUCKET_MAX = 1_000_000
STEPS = (1000, 500, 100, 60, 50, 30, 20, 10, 5, 2, 1)
"""What people choose settings by: of several values that fit, one that is a multiple of the first of these."""
TRIMMED_MIN = 2
"""Streams of which the beginning is gone: one alone may have lost it in any way."""


class Fit(msgspec.Struct, frozen=True):
    """A setting, and the least, the greatest and the likeliest of its values that all which was seen fits."""

    setting: str
    low: int
    high: int

    @property
    def value(self) -> int:
        """Return the roundest value."""
        step = next(step for step in STEPS if self.high // step * step >= self.low)
        return self.high // step * step

    @property
    def words(self) -> str:
        """Return it for people."""
        return WORDS[self.setting].format(self.value if self.low == self.high else f"{self.low} to {self.high}")


def with_fits(history: History, facts: Facts, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts, those of failures that other settings explain made inconclusive."""
    if not facts.unsure_settings:
        return list(verdicts)
    failed = {one.name: one for one in verdicts if one.status is Status.FAIL}
    explained: dict[str, Verdict] = {}
    if "alerts" in failed:
        explained |= _explained(history, facts, failed["alerts"], check_alerts, _alert_fits)
    if "audit" in failed:
        explained |= _explained(history, facts, failed["audit"], check_audit, _audit_fits)
    limited = {name: check for name, check in (("limits", check_limits), ("attacks", _check_claims)) if name in failed}
    for setting, most in ((BURST, BUCKET_MAX), (REFILL, BUCKET_MAX)) if limited else ():
        fits = list(_bucket_fits(history, facts, setting, most))
        for name, check in limited.items():
            if name not in explained:
                explained |= _explained(history, facts, failed[name], check, lambda *_, fits=fits: iter(fits))
    return [explained.get(one.name, one) for one in verdicts]


def without_doubted_claims(history: History, facts: Facts) -> History:
    """Return the history, with nothing claimed of what one client got through where clients may look like others."""
    if facts.addresses != UNKNOWN or not any(_limited(claim) for claim in history.claims):
        return history
    other = history.with_rows(history.rows())
    other.claims = [_undone(one) if _limited(one) else one for one in history.claims]
    return other


def _limited(claim: ClaimRecord) -> bool:
    """Return whether a claim was broken by more requests than a bucket lets through."""
    return claim.held is False and {"served", "allowed"} <= claim.evidence.keys()


def _explained(
    history: History,
    facts: Facts,
    failed: Verdict,
    check: Callable[[History, Facts], Verdict],
    fits_of: Callable[[History, Facts], Iterator[Fit]],
) -> dict[str, Verdict]:
    """Return a checker's verdict by its name, if it holds with settings that fit; else nothing.

    Its finding has in its evidence what it `doubts`: the rules, and the campaigns, of what had `failed`.
    """
    name = failed.name
    fits = [one for one in fits_of(history, facts) if one.setting in facts.unsure_settings]
    if not fits:
        return {}
    changed = msgspec.structs.replace(facts, **{FIELDS[one.setting]: one.value for one in fits})
    again = check(history, changed)
    if again.status is Status.FAIL:
        return {}
    assumed = ", ".join(f"{one.setting}={getattr(facts, FIELDS[one.setting]):g}" for one in fits)
    shown = " ".join(f"{one.setting}={one.value}" for one in fits)
    flags = " ".join(f"--target-setting {one.setting}={one.value}" for one in fits)
    message = f"all that it showed fits {' and '.join(one.words for one in fits)}, not the assumed {assumed}"
    evidence = {
        "assumed": assumed,
        "fits": [msgspec.to_builtins(one) for one in fits],
        "doubts": _rules_of(failed),
    }
    summary = (
        f"A{message[1:]}: is the target started with {shown}? Say so with {flags}, or "
        "--strict-settings if what was assumed is certain."
    )
    finding = Finding(f"{name}.settings", message, 0, evidence)
    return {name: Verdict(name, Status.INCONCLUSIVE, summary, (finding,), again.figures)}


def _rules_of(failed: Verdict) -> list[dict[str, Any]]:
    """Return the rules of a verdict's findings, each once, with the campaign that it accuses."""
    found: list[dict[str, Any]] = []
    for one in failed.findings:
        rule: dict[str, Any] = {"rule": one.rule}
        rule |= {name: one.evidence[name] for name in ("campaign", "attack") if name in one.evidence}
        if rule not in found:
            found.append(rule)
    return found


# --- alerts


def _alert_fits(history: History, facts: Facts) -> Iterator[Fit]:
    """Return other windows and thresholds of the alerts that fit every scrape."""
    for setting, figure, grows in ((WINDOW_SECONDS, RECENT, True), (STALE_SECONDS, STALE, False)):
        doubts = partial(_doubts, _thinned(history, figure), figure, grows)
        yield from _fit(setting, facts, SECONDS_MAX, doubts, CONTRACT_WINDOW_SECONDS if figure == RECENT else None)
    on = [one.samples[RECENT] for one in history.scrapes if one.samples.get(AUTH_ALERT) == 1 and RECENT in one.samples]
    off = [one.samples[RECENT] for one in history.scrapes if one.samples.get(AUTH_ALERT) == 0 and RECENT in one.samples]
    if on and off and max(off) < min(on) and not max(off) < facts.auth_threshold <= min(on):
        yield Fit(THRESHOLD, int(max(off)) + 1, int(min(on)))


def _thinned(history: History, figure: str) -> History:
    """Return a history with so few scrapes that they can be looked at again and again: those beside a change.

    Where a figure stays as it is, the first and the last of the scrapes say the most about a length of time.
    """
    shown = [one.samples.get(figure) for one in history.scrapes]
    changed = [
        one
        for one, before, value, after in zip(history.scrapes, [None, *shown], shown, [*shown[1:], None], strict=False)
        if before != value or value != after
    ]
    other = history.with_rows(history.rows())
    other.scrapes = changed[:: 1 + len(changed) // FITTED_SCRAPES_MAX]
    return other


def _doubts(history: History, figure: str, grows: bool, facts: Facts) -> set[str]:  # noqa: FBT001 - one of two kinds
    """Return what a figure of the scrapes says against a setting with which it grows, or shrinks."""
    found = set()
    for one in possible(history, facts):
        bound, value = (one.recent if figure == RECENT else one.stale), one.scrape.samples.get(figure)
        if value is not None and value not in bound:
            found.add(LARGER if (value > bound.high) is grows else SMALLER)
    return found


# --- audit


def _audit_fits(history: History, _: Facts) -> Iterator[Fit]:
    """Return the bound to which streams were trimmed, if it is one for all."""
    kept: list[int] = []
    trimmed: list[int] = []
    for owner in gather(history).values():
        for stream in STREAMS if owner.steady else ():
            numbers = [event.sequence for event in owner.events or () if event.stream == stream]
            if numbers:
                (trimmed if min(numbers) > 1 else kept).append(len(numbers))
    if len(trimmed) >= TRIMMED_MIN and len(set(trimmed)) == 1 and max(kept, default=0) <= trimmed[0]:
        yield Fit(AUDIT_EVENTS, trimmed[0], trimmed[0])


# --- rate limits


def _bucket_fits(history: History, facts: Facts, setting: str, most: int) -> Iterator[Fit]:
    yield from _fit(setting, facts, most, lambda changed: doubts_of_bucket(history, changed))


def _check_claims(history: History, facts: Facts) -> Verdict:
    """Judge the claims of attacks by a bucket of these facts, and not by the one that they were made by."""
    other = history.with_rows(history.rows())
    other.claims = [_undone(one) if _holds(one, facts) else one for one in history.claims]
    return check_attacks(other, facts)


def _holds(claim: ClaimRecord, facts: Facts) -> bool:
    """Return whether what was found broken by the assumed bucket is as it must be by the one of these facts.

    No more are served than it allows between the first request and the last answer, and of a new address no fewer than
    it holds.
    """
    evidence, burst = claim.evidence, facts.rate_limit_burst or 0
    if _limited(claim):
        length_seconds = (evidence.get("last_answered_ns", 0) - evidence.get("first_sent_ns", 0)) / SECOND_NS
        return bool(evidence["served"] <= burst + (facts.rate_limit_refill_per_second or 0) * length_seconds + 1)
    return claim.held is False and {"served", "due"} <= evidence.keys() and evidence["served"] >= burst


def _undone(claim: ClaimRecord) -> ClaimRecord:
    return msgspec.structs.replace(claim, held=None)


# --- finding what fits


def _fit(
    setting: str, facts: Facts, most: int, doubts: Callable[[Facts], set[str]], contracts: int | None = None
) -> Iterator[Fit]:
    """Return the whole numbers that a setting may be, if it cannot be what is assumed, and they are bounded.

    Else the contract's own value, if it may be that.
    """
    field = FIELDS[setting]
    if setting not in facts.unsure_settings or not doubts(facts):
        return
    found = interval(lambda value: doubts(msgspec.structs.replace(facts, **{field: value})), most)
    if found is not None:
        yield Fit(setting, *found)
    elif contracts is not None and not doubts(msgspec.structs.replace(facts, **{field: contracts})):
        yield Fit(setting, contracts, contracts)


def interval(doubts: Callable[[int], set[str]], most: int) -> tuple[int, int] | None:
    """Return the least and the greatest whole number from 1 to `most` without doubts; None without a bound.

    `doubts` gives LARGER for numbers that are too small and SMALLER for those that are too large. Those that fit lie
    between them.
    """
    low, high = 1, most
    while True:
        if low > high:
            return None
        middle = (low + high) // 2
        found = doubts(middle)
        if not found:
            break
        if len(found) > 1:
            return None
        if LARGER in found:
            low = middle + 1
        else:
            high = middle - 1
    least = _first(lambda value: not doubts(value), low, middle)
    greatest = _first(lambda value: bool(doubts(value)), middle + 1, high + 1) - 1
    return None if least == 1 or greatest == most else (least, greatest)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first number from `low` on for which it holds, as for all behind it; `high` where for none before."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
