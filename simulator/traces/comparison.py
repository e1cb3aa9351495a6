"""What a replay proves: each answer against the recorded one and against what is right, as verdicts. No I/O."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.checkers.judging import SILENT, is_right
from simulator.checkers.keeping import kept
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.checkers.wording import UNSEEN, contract_words
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.contract.refusals import failure_of
from simulator.platform.wording import all_of, plural, sentence
from simulator.traces.format import ANSWERS, OPERATIONS, Exchange, HttpRequest, RawRequest
from simulator.traces.messages import unescape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HONEST_NAME = "honest traffic"
TIMING = "timing"
LATE_MAX_SECONDS = 1.0
"""Later than this, timestamps are older than they were, and a refusal may be the replay's own fault."""
UNJUDGED = frozenset({Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.LOST})
_ONE_ACCEPTED = Answer.ONE_OF_COPIES
_SUCCESS, _REFUSAL, _SERVER_ERROR = range(200, 300), range(400, 500), 500
_UNAUTHORIZED, _TOO_MANY = HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS


class Played(msgspec.Struct, frozen=True):
    """What became of one exchange. `status` is 0 without an answer; `problem` says why it was not even sent."""

    status: int
    body: bytes
    got: Answer
    late_ns: int = 0
    problem: str = ""


class Comparison(msgspec.Struct, frozen=True):
    """One attack's exchanges, or the honest ones: answers by kind, as recorded and now, and how many differ."""

    name: str
    exchanges: int
    recorded: dict[str, int]
    replayed: dict[str, int]
    different: int


def error_of(body: bytes | str) -> str:
    """Return the message of a refusal; empty for what is none."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, str) else ""


def replayed_answer(
    exchange: Exchange, status: int, body: bytes, heartbeat: Answer | None, *, verbatim: bool = False
) -> Answer:
    """Return what an exchange got this time. The same status and message is the same answer.

    `heartbeat` is how one is classified by what was expected, for those that are one. In a `verbatim` replay nothing is
    expected but refusal, for whatever reason: one that no answer shows is not named, the recorded one neither.
    """
    recorded = exchange.response
    if recorded is None:
        same = not status
    else:
        message = "" if recorded.base64 else error_of(unescape(recorded.body))
        same = (recorded.status, message) == (status, error_of(body))
    got = ANSWERS[exchange.got]
    open_to_both = ANSWERS[exchange.expected] in ALTERNATIVES
    if same and not open_to_both and not (verbatim and got in UNSEEN):
        return got
    if not status:
        return Answer.LOST
    if verbatim and status in _REFUSAL and status != _TOO_MANY:
        return Answer.REFUSED
    if heartbeat is not None:
        return heartbeat
    if same or (status in _REFUSAL and status != _TOO_MANY and _any_refusal_is_right(exchange)):
        return got if same else Answer.REFUSED
    if status in _SUCCESS:
        return Answer.ACCEPTED
    if status == _TOO_MANY:
        return Answer.RATE_LIMITED
    return failure_of(status, body) if status >= _SERVER_ERROR else Answer.UNEXPECTED


def _any_refusal_is_right(exchange: Exchange) -> bool:
    """Return whether the trace has no right refusal, so that its words are not known: what was wrong may be mended."""
    return ANSWERS[exchange.expected] is Answer.REFUSED and ANSWERS[exchange.got] is not Answer.REFUSED


def group_of(exchange: Exchange) -> str:
    """Name what an exchange is compared with: its attack, or honest traffic."""
    return exchange.attack or HONEST_NAME


def compare(exchanges: Sequence[Exchange], played: Sequence[Played]) -> list[Comparison]:
    """Count the answers of each group, as recorded and now, honest traffic first."""
    groups: dict[str, list[tuple[Exchange, Played]]] = {}
    for exchange, one in zip(exchanges, played, strict=True):
        groups.setdefault(group_of(exchange), []).append((exchange, one))
    comparisons = []
    for name, pairs in sorted(groups.items(), key=lambda item: (item[0] != HONEST_NAME, item[0])):
        recorded = Counter(exchange.got for exchange, _ in pairs)
        replayed = Counter(_called(one) for _, one in pairs)
        different = sum(differs(exchange, one) for exchange, one in pairs)
        comparisons.append(Comparison(name, len(pairs), dict(recorded), dict(replayed), different))
    return comparisons


def _called(one: Played) -> str:
    if one.problem:
        return "not sent"
    return f"HTTP {one.status}" if one.got is Answer.UNEXPECTED else one.got.name.lower()


def differs(exchange: Exchange, one: Played) -> bool:
    """Return whether an exchange got another answer than the recorded one, as far as a client can see."""
    expected, before = ANSWERS[exchange.expected], ANSWERS[exchange.got]
    alternatives = ALTERNATIVES.get(expected, frozenset())
    if one.problem:
        return True
    if {one.got, before} <= {Answer.REFUSED, *UNSEEN} and Answer.REFUSED in {one.got, before}:
        return one.status != (exchange.response.status if exchange.response else 0)
    return one.got is not before and not (one.got in alternatives and before in alternatives)


def judge_resigned(exchanges: Sequence[Exchange], played: Sequence[Played]) -> list[Verdict]:
    """Judge each group: every answer must be right, and none may be missing that the trace has."""
    verdicts = []
    for comparison in compare(exchanges, played):
        pairs = [
            (exchange, one)
            for exchange, one in zip(exchanges, played, strict=True)
            if group_of(exchange) == comparison.name
        ]
        wrong = [pair for pair in pairs if _wrong(*pair)] + _accepted_copies(pairs)
        missing = _but_left(pairs, [pair for pair in pairs if _missing(*pair)])
        open_ones = sum(_open(exchange) for exchange, _ in pairs)
        verdicts.append(_group_verdict(comparison, wrong, missing, open_ones))
    return verdicts


def _wrong(exchange: Exchange, one: Played) -> bool:
    if one.problem or one.got in UNJUDGED:
        return False
    if _open(exchange):
        return one.got is Answer.FAILED  # which is right for nobody
    return not is_right(ANSWERS[exchange.expected], one.got)


def _open(exchange: Exchange) -> bool:
    """Return whether the trace does not know what is right: a HAR without an answer, or with one that says nothing."""
    return ANSWERS[exchange.expected] is Answer.LOST


def _missing(exchange: Exchange, one: Played) -> bool:
    """Return whether an answer that the trace has says nothing this time."""
    if not one.problem and (one.got not in UNJUDGED or is_right(ANSWERS[exchange.expected], one.got)):
        return False
    return bool(one.problem) or ANSWERS[exchange.got] not in UNJUDGED


def _but_left(
    pairs: Sequence[tuple[Exchange, Played]], missing: list[tuple[Exchange, Played]]
) -> list[tuple[Exchange, Played]]:
    """Return what is missing but for answers whose client resets its connection, unless fewer of those came than not.

    Whether a whole answer comes before that is for nobody to know.
    """

    def is_left(exchange: Exchange, one: Played) -> bool:
        return _leaves(exchange) and one.got is Answer.LOST and not one.problem

    came = sum(bool(one.status) for exchange, one in pairs if _leaves(exchange))
    if sum(is_left(*pair) for pair in missing) > came:
        return missing
    return [pair for pair in missing if not is_left(*pair)]


def _leaves(exchange: Exchange) -> bool:
    """Return whether a client resets its connection."""
    return isinstance(exchange.request, RawRequest) and exchange.request.then == "reset"


def _accepted_copies(pairs: Iterable[tuple[Exchange, Played]]) -> list[tuple[Exchange, Played]]:
    """Return the copies of one request that were accepted after another was; which of them comes first is nobody's."""
    accepted: dict[Any, int] = {}
    twice = []
    for exchange, one in pairs:
        if ANSWERS[exchange.expected] is _ONE_ACCEPTED and one.got is Answer.ACCEPTED:
            accepted[exchange.request] = accepted.get(exchange.request, 0) + 1
            if accepted[exchange.request] > 1:
                twice.append((exchange, one))
    return twice


def _group_verdict(
    comparison: Comparison,
    wrong: list[tuple[Exchange, Played]],
    missing: list[tuple[Exchange, Played]],
    open_ones: int,
) -> Verdict:
    name = f"replay of {comparison.name}"
    same = comparison.exchanges - comparison.different
    figures: dict[str, Any] = {
        "exchanges": comparison.exchanges,
        "as_recorded": same,
        "wrong": len(wrong),
        "missing": len(missing),
        "recorded": comparison.recorded,
        "replayed": comparison.replayed,
    }
    agreement = f"{same} of {comparison.exchanges} as recorded"
    if wrong:
        findings = kept(_finding(_wrong_rule(*pair), *pair) for pair in wrong)
        summary = f"{agreement}; {len(wrong)} wrong: {findings[0].message}."
        return Verdict(name, Status.FAIL, summary, findings, figures, len(wrong))
    if missing:
        findings = kept(_finding("replay.missing", *pair) for pair in missing)
        summary = f"{agreement}; {len(missing)} say nothing: {findings[0].message}."
        return Verdict(name, Status.INCONCLUSIVE, summary, findings, figures, len(missing))
    if open_ones == comparison.exchanges:
        return Verdict(name, Status.NOT_APPLICABLE, "No answer of the trace says what is right.", (), figures)
    corrected = f"; {comparison.different} right this time, or unknown then" if comparison.different else ""
    return Verdict(name, Status.PASS, f"{agreement}{corrected}.", (), figures)


def _wrong_rule(exchange: Exchange, one: Played) -> str:
    """Return the rule a wrong answer breaks: a hostile request that was refused in other words is refused."""
    refused = one.status in _REFUSAL and ANSWERS[exchange.expected] is not Answer.ACCEPTED
    return "replay.refused-otherwise" if exchange.attack and refused else "replay.wrong"


def judge_verbatim(
    exchanges: Sequence[Exchange],
    played: Sequence[Played],
    *,
    lasting: Sequence[bool],
    counted: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """Judge the same bytes sent again: nothing that was signed may be accepted.

    `lasting` says which exchanges carry an owner's signature that is valid for the target's own token: by contract (§5)
    it says neither when nor for what occasion it was made, so it may be accepted again. That weakness is named, not
    failed. `counted` are the auth failures that the target counted meanwhile, by reason.
    """
    signed = [
        (exchange, one, lasts)
        for exchange, one, lasts in zip(exchanges, played, lasting, strict=True)
        if is_signed(exchange)
    ]
    accepted = [(exchange, one) for exchange, one, lasts in signed if one.status in _SUCCESS and not lasts]
    weak = sum(one.status in _SUCCESS and lasts for _, one, lasts in signed)
    # Over the limit again is refused again; over it only now, the server never came to say.
    silent = [
        (exchange, one)
        for exchange, one, _ in signed
        if one.got in SILENT and not (one.got is Answer.RATE_LIMITED and exchange.got == "rate_limited")
    ]
    silent = _but_left([(exchange, one) for exchange, one, _ in signed], silent)
    figures: dict[str, Any] = {
        "signed": len(signed),
        "accepted": len(accepted),
        "refused": len(signed) - len(accepted) - weak - len(silent),
        "missing": len(silent),
        "weakness.lasting-owner-signature": weak,
        "counted_by_target": {reason: count for reason, count in counted.items() if count},
    }
    name = "signed requests refused"
    still_good = plural(weak, "owner's signature", "owners' signatures")
    note = f"; {still_good} still good here (weakness.lasting-owner-signature)" if weak else ""
    if accepted:
        findings = kept(_finding("replay.signed-accepted", *pair) for pair in accepted)
        summary = f"{len(accepted):,} of {len(signed):,} were accepted: {findings[0].message}{note}."
        return Verdict(name, Status.FAIL, summary, findings, figures, len(accepted))
    if not signed:
        return Verdict(name, Status.NOT_APPLICABLE, "No request of the trace is signed.", (), figures)
    if silent:
        findings = kept(_finding("replay.missing", *pair) for pair in silent)
        summary = f"{len(silent):,} of {len(signed):,} got no answer that says anything{note}."
        return Verdict(name, Status.INCONCLUSIVE, summary, findings, figures, len(silent))
    reasons = ", ".join(f"{count:,g} {reason}" for reason, count in figures["counted_by_target"].items())
    seen = f"; the target counted {reasons}" if reasons else ""
    refused = len(signed) - weak
    held = f"{sentence(all_of(refused, 'signed request'))} got refused" if refused else "Nothing had to be refused"
    return Verdict(name, Status.PASS, f"{held}{seen}{note}.", (), figures)


def is_signed(exchange: Exchange) -> bool:
    """Return whether a request carries a signature: one that is understood, or any other text in its place."""
    request = exchange.request
    return exchange.signature is not None or (isinstance(request, HttpRequest) and '"signature"' in request.body)


def judge_timing(played: Sequence[Played]) -> Verdict:
    """Return whether the replay kept the recorded moments: if not, it cannot say what a difference comes from."""
    late = sorted(one.late_ns for one in played if not one.problem)
    p99_s = late[min(len(late) - 1, len(late) * 99 // 100)] / 1e9 if late else 0.0
    figures = {"p99_late_s": p99_s, "max_late_s": late[-1] / 1e9 if late else 0.0}
    if not late or p99_s > LATE_MAX_SECONDS:
        return Verdict(TIMING, Status.INCONCLUSIVE, f"99% left within {p99_s:.3f} s of their moment.", (), figures)
    return Verdict(TIMING, Status.PASS, f"99% left within {p99_s * 1000:.1f} ms of their moment.", (), figures)


def _finding(rule: str, exchange: Exchange, one: Played) -> Finding:
    operation = exchange.operation.replace("_", " ").replace("other", "request")
    expected = Answer.REFUSED if rule == "replay.signed-accepted" else ANSWERS[exchange.expected]
    got = f"HTTP {one.status}" if one.status else contract_words(Answer.LOST)
    wanted = "any answer but a failure" if expected is Answer.LOST else contract_words(expected)
    what = one.problem or f"expected {wanted}, got {got}"
    recorded = f"recorded HTTP {exchange.response.status}" if exchange.response else "recorded no answer"
    message = f"line {exchange.sequence + 1}, a {operation} of {group_of(exchange)}: {what}, {recorded}"
    evidence = {
        "sequence": exchange.sequence,
        "attack": exchange.attack,
        "machine": exchange.machine,
        "expected": exchange.expected,
        "recorded": exchange.got,
        "replayed": _called(one),
        "status": one.status,
    }
    return Finding(rule, message, exchange.sent_ns, evidence)


def is_heartbeat_like(exchange: Exchange) -> bool:
    """Return whether an exchange is answered as heartbeats are: by a reason that only the expectation tells."""
    return OPERATIONS[exchange.operation] in {Operation.HEARTBEAT, Operation.POLICY_FETCH}
