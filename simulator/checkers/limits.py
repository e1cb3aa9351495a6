"""The limits checker: never more requests from one client than its token bucket holds (contract §6).

A bucket holds `burst` tokens and gains `refill` a second, so of any requests that took effect between two moments, at
most `burst + refill * seconds` were let through. A client that had surely not used its bucket up must not be refused.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import CLOCK_RATE_TOLERANCE
from simulator.checkers.facts import SHARED, UNKNOWN
from simulator.checkers.incarnations import incarnation_of
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.unknown import unknown_from_ns
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, NO_SOURCE, History, at_host
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts

SUCCESS, SERVER_ERROR, TOO_MANY = 200, 500, HTTPStatus.TOO_MANY_REQUESTS
UNLIMITED_STATUSES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.UPGRADE_REQUIRED,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
)
"""Answers that a server may give before its rate limiter has seen the request."""
ADDRESSES_UNKNOWN = (
    "Whether the server sees the addresses that its clients spoke from, or a proxy's, is not known: --shared-address "
    "or --own-addresses says it."
)
LARGER, SMALLER = "larger", "smaller"
READING = (
    Operation.POLICY_FETCH,
    Operation.RESOURCES_READ,
    Operation.PRICES_READ,
    Operation.JOB_READ,
    Operation.WALLET_READ,
    Operation.FORUM_READ,
)
NEVER_AGO_NS = int(np.iinfo(np.int64).min)
ROUNDING = 1e-3
"""Tokens by which floating point may be off; what it finds is counted again in whole numbers."""


class _Bucket(msgspec.Struct, frozen=True):
    """A client's token bucket, with room for how differently two clocks may run."""

    burst: int
    refill_per_second: float

    def allows(self, length_ns: int) -> int:
        """Return how many requests it may at most let through within a time."""
        seconds = length_ns / SECOND_NS * (1 + CLOCK_RATE_TOLERANCE)
        return self.burst + math.floor(self.refill_per_second * seconds + ROUNDING)

    @property
    def full_after_ns(self) -> int:
        """Return the time after which it is surely full again. A server may round up the time of each token."""
        token_ns = math.ceil(SECOND_NS / self.refill_per_second)
        return math.ceil(self.burst * token_ns * (1 + CLOCK_RATE_TOLERANCE))

    def __str__(self) -> str:
        return f"{self.burst} at once and {self.refill_per_second:g} a second"


def check_limits(history: History, facts: Facts) -> Verdict:
    """Find clients that got more through than their bucket holds, and some that were refused too early.

    Rows are fewer than requests, which never accuses a server of letting too many through. That it lets too few through
    is only judged where every request of an address is a row, and nobody else is there to use it.

    Of a server that others have started nobody knows what an address used before the run; what is due there counts from
    then on, and not where all share an address, which anybody may use.
    """
    if not facts.rate_limit_refill_per_second or not facts.rate_limit_burst:
        return Verdict("limits", Status.INCONCLUSIVE, "The server's rate limit is not known.")
    # A client has a bucket at each instance, and nobody knows which one it asked.
    instances = facts.instances
    bucket = _Bucket(facts.rate_limit_burst * instances, facts.rate_limit_refill_per_second * instances)
    rows = history.rows()
    refused = _refused(rows)
    passed = _passed(rows)
    # A new process begins with full buckets.
    incarnation = incarnation_of(history, rows["sent_ns"])
    findings = [
        one for number in np.unique(incarnation) for one in _too_many(rows[passed & (incarnation == number)], bucket)
    ]
    if instances == 1 and facts.addresses != SHARED:
        # What a client used that no row tells of it used after this.
        refused_in_view = refused & (rows["answered_ns"] < unknown_from_ns(history))
        findings += _too_few(rows, refused_in_view & _known_since_full(rows, facts, bucket), bucket)
    findings.sort(key=lambda finding: finding.at_ns)
    figures: dict[str, Any] = {
        "violations": len(findings),
        "passed": int(passed.sum()),
        "rate_limited": int(refused.sum()),
        "burst": bucket.burst,
        "refill_per_second": bucket.refill_per_second,
    }
    shown = one_of_each_first(findings, lambda finding: finding.rule)
    if findings and facts.addresses == UNKNOWN:
        summary = f"{ADDRESSES_UNKNOWN} If it did, these were {len(findings)} breaches; {shown[0].message}."
        return Verdict("limits", Status.INCONCLUSIVE, summary, kept(map(_undecided, shown)), figures, len(findings))
    if findings:
        summary = f"{plural(len(findings), 'breach', 'breaches')} of the rate limit of {bucket}; {shown[0].message}."
        return Verdict("limits", Status.FAIL, summary, kept(shown), figures, len(findings))
    if not passed.any() and not refused.any():
        return Verdict("limits", Status.INCONCLUSIVE, "No request got an answer that says anything.", (), figures)
    summary = f"No client got more through than {bucket}; {figures['rate_limited']} requests were refused as too many."
    return Verdict("limits", Status.PASS, summary, (), figures)


def _known_since_full(rows: NDArray[Any], facts: Facts, bucket: _Bucket) -> NDArray[np.bool_]:
    """Return of which rows all is known that their clients used since their buckets were surely full."""
    known: NDArray[np.bool_] = rows["sent_ns"] >= (NEVER_AGO_NS if facts.only_client else bucket.full_after_ns)
    return known


def _passed(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows surely took a token: an answer came, and of a kind that only comes after the limiter.

    Operations without a name may be anything, also what is not limited (`OPTIONS`) or no request at all, unless who
    sent them knew that they count.
    """
    status = rows["status"]
    judged = (status >= SUCCESS) & (status < SERVER_ERROR) & ~np.isin(status, UNLIMITED_STATUSES)
    counts = (rows["operation"] != Operation.OTHER) | (rows["expected"] == Answer.WITHIN_LIMIT)
    passed: NDArray[np.bool_] = judged & counts & (rows["answered_ns"] != NEVER_NS) & (rows["got"] != Answer.LOST)
    return passed


def _refused(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows were refused as too fast. A 429 may also say that an account has done enough."""
    refused: NDArray[np.bool_] = (rows["status"] == TOO_MANY) & (rows["got"] != Answer.REFUSED)
    return refused


def _too_many(passed: NDArray[Any], bucket: _Bucket) -> Iterator[Finding]:
    """Find the worst excess of each client. Cost: sorting, and a few array operations for each busy client."""
    burst = bucket.burst
    if len(passed) <= burst:
        return
    passed = passed[np.lexsort((passed["sent_ns"], passed["source"]))]
    source, sent = passed["source"].astype(np.int64), passed["sent_ns"]  # else each search copies it
    # Whoever exceeds its bucket has sent one more than a burst within the time that refills it, at least once.
    refill_ns = burst / bucket.refill_per_second * SECOND_NS
    near = (source[burst:] == source[:-burst]) & (sent[burst:] - sent[:-burst] <= refill_ns + 1)
    for client in np.unique(source[burst:][near]):
        mine = passed[np.searchsorted(source, client) : np.searchsorted(source, client, side="right")]
        excess = _worst_excess(mine, bucket)
        if excess is not None:
            yield _excess_finding(int(client), excess, bucket)


def _worst_excess(mine: NDArray[Any], bucket: _Bucket) -> NDArray[Any] | None:
    """Find requests of one client, ordered by sending, that a right bucket cannot all have let through.

    They took effect between the first sending and the last answer. To look at every such span would cost the square of
    their number; so those answered within a bound are looked at together, for bounds that double.
    """
    per_ns = bucket.refill_per_second / SECOND_NS
    took = mine["answered_ns"] - mine["sent_ns"]
    worst, worst_by = None, 0
    for bound in np.unique(np.exp2(np.ceil(np.log2(took + 1.0)))):
        quick = mine[took <= bound]
        # Tokens that had to be there when each was sent, counted from the first one, less what was refilled.
        level = np.arange(len(quick)) - quick["sent_ns"] * per_ns
        above = level - np.minimum.accumulate(level) + 1 - bucket.burst - took[took <= bound].max() * per_ns
        last = int(np.argmax(above))
        if above[last] <= -1:
            continue
        first = int(np.argmin(level[: last + 1]))
        span = quick[first : last + 1]
        by = len(span) - bucket.allows(int(span["answered_ns"].max()) - int(span["sent_ns"][0]))
        if by > worst_by:
            worst, worst_by = span, by
    return worst


def _excess_finding(client: int, span: NDArray[Any], bucket: _Bucket) -> Finding:
    first_ns, last_ns = int(span["sent_ns"][0]), int(span["answered_ns"].max())
    allowed = bucket.allows(last_ns - first_ns)
    message = (
        f"{_address(client)} got {plural(len(span), 'request')} through between {first_ns / SECOND_NS:.3f}s and "
        f"{last_ns / SECOND_NS:.3f}s, possible were {allowed}"
    )
    campaigns = np.unique(span["campaign"]).tolist()
    evidence = {
        "client": _address(client),
        "first_sent_ns": first_ns,
        "last_answered_ns": last_ns,
        "passed": len(span),
        "allowed": allowed,
        "campaigns": campaigns,
        **({"campaign": campaigns[0]} if len(campaigns) == 1 else {}),
    }
    return Finding("limits.too-many", message, first_ns, evidence)


def _too_few(rows: NDArray[Any], refused: NDArray[np.bool_], bucket: _Bucket) -> Iterator[Finding]:
    """Find refusals of clients that had sent fewer requests than a burst since their bucket was last surely full."""
    unknown = np.unique(rows["source"][rows["operation"] == Operation.OTHER])
    clients = np.setdiff1d(rows["source"][refused], unknown)
    clients = np.array([client for client in clients.tolist() if at_host(client)[0] != NO_SOURCE])
    if not len(clients):
        return
    mine = np.isin(rows["source"], clients)
    rows, refused = rows[mine], refused[mine]
    order = np.argsort(rows["source"], kind="stable")
    rows, refused = rows[order], refused[order]
    sources = rows["source"].astype(np.int64)
    for client in clients:
        part = slice(*sources.searchsorted([client, client + 1]))
        yield from _refused_early(int(client), rows[part], refused[part], bucket)


def _refused_early(client: int, rows: NDArray[Any], refused: NDArray[np.bool_], bucket: _Bucket) -> Iterator[Finding]:
    # What only reads was sent twice where its connection had just been closed; the first may have taken a token too.
    tokens = (~refused).astype(np.int64) + np.isin(rows["operation"], READING)
    by_sending, by_answer = np.argsort(rows["sent_ns"], kind="stable"), np.argsort(rows["answered_ns"], kind="stable")
    sent, answered = rows["sent_ns"][by_sending], rows["answered_ns"][by_answer]
    taken_by_sending = np.concatenate([[0], np.cumsum(tokens[by_sending])])
    taken_by_answer = np.concatenate([[0], np.cumsum(tokens[by_answer])])
    judged = rows[refused & (rows["answered_ns"] != NEVER_NS)]
    since_ns = judged["sent_ns"] - bucket.full_after_ns
    started = taken_by_sending[np.searchsorted(sent, judged["answered_ns"], side="right")]
    taken = started - taken_by_answer[np.searchsorted(answered, since_ns, side="left")]
    wrong = np.flatnonzero(taken < bucket.burst)
    if not len(wrong):
        return
    at = wrong[np.argmin(judged["sent_ns"][wrong])]
    row = judged[at]
    sent_ns = int(row["sent_ns"])
    message = (
        f"{_address(client)} was refused as too fast at {sent_ns / SECOND_NS:.3f}s, though it had used at most "
        f"{int(taken[at])} of {bucket.burst} tokens since its bucket was full"
    )
    evidence = {
        "client": _address(client),
        "machine": int(row["machine"]),
        "campaign": int(row["campaign"]),
        "sent_ns": sent_ns,
        "answered_ns": int(row["answered_ns"]),
        "used_at_most": int(taken[at]),
        "burst": bucket.burst,
        "wrongly_refused": len(wrong),
    }
    yield Finding("limits.too-few", message, sent_ns, evidence)


def _undecided(finding: Finding) -> Finding:
    """Return what would be a finding if the server told addresses apart."""
    message = f"if the server tells addresses apart: {finding.message}"
    doubts = [{"rule": finding.rule}]
    return msgspec.structs.replace(finding, message=message, evidence={**finding.evidence, "doubts": doubts})


def _address(client: int) -> str:
    """Name a client by its address; all are one where they share it, and so is a network of IPv6."""
    number, host = at_host(client)
    where = f" of host {host}" if host else ""
    if number < 0:
        return ("the address that all share" if number == NO_SOURCE else "one IPv6 network") + where
    return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}{where}"


def doubts_of_bucket(history: History, facts: Facts) -> set[str]:
    """Return what is surely wrong with the bucket that is assumed: LARGER, SMALLER or both must be the real one."""
    burst, refill = facts.rate_limit_burst, facts.rate_limit_refill_per_second
    if not burst or not refill:
        return set()
    bucket = _Bucket(burst * facts.instances, refill * facts.instances)
    rows = history.rows()
    incarnation, passed = incarnation_of(history, rows["sent_ns"]), _passed(rows)
    found = set()
    if any(
        True for number in np.unique(incarnation) for _ in _too_many(rows[passed & (incarnation == number)], bucket)
    ):
        found.add(LARGER)
    # Those who ask at a limit ask once a row, whatever they ask for.
    known = rows.copy()
    known["operation"][rows["expected"] == Answer.WITHIN_LIMIT] = Operation.METRICS
    refused = _refused(rows) & (rows["answered_ns"] < unknown_from_ns(history))
    if any(True for _ in _too_few(known, refused, bucket)):
        found.add(SMALLER)
    return found
