"""What a replay proves: wrong answers fail it, missing ones leave it open, and what a server has mended passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer
from simulator.traces.comparison import (
    Played,
    compare,
    is_signed,
    judge_resigned,
    judge_timing,
    judge_verbatim,
    replayed_answer,
)
from simulator.traces.format import RawRequest
from simulator.traces.reasons import judge_reasons, named_by_metrics
from tests.traces.recorded import small_recording

if TYPE_CHECKING:
    from simulator.traces.format import Exchange

EXCHANGES = small_recording().trace().exchanges
REPLAY, NEAR_MISS, FORGED = 8, 9, 10
INVALID = b'{"success":false,"error":"invalid heartbeat auth"}'
REASON = 'hatchfarm_worker_auth_failures_by_reason_total{{reason="{}"}}'


def as_recorded(exchange: Exchange) -> Played:
    status = exchange.response.status if exchange.response else 0
    return Played(status, b"", Answer[exchange.got.upper()])


def played(**changes: Played) -> list[Played]:
    """Return a replay like the record but for some exchanges, by `at_` and their index."""
    return [changes.get(f"at_{index}") or as_recorded(exchange) for index, exchange in enumerate(EXCHANGES)]


def verdict_of(name: str, *, exchanges: tuple[Exchange, ...] = EXCHANGES, **changes: Played) -> Verdict:
    verdicts = judge_resigned(exchanges, played(**changes))
    return next(one for one in verdicts if one.name == f"replay of {name}")


def altered(index: int, **fields: Any) -> tuple[Exchange, ...]:
    one = msgspec.structs.replace(EXCHANGES[index], **fields)
    return (*EXCHANGES[:index], one, *EXCHANGES[index + 1 :])


def test_a_replay_as_recorded_passes_in_every_group() -> None:
    verdicts = judge_resigned(EXCHANGES, played())
    assert [(one.name, one.status, one.summary) for one in verdicts] == [
        ("replay of honest traffic", Status.PASS, "8 of 8 as recorded."),
        ("replay of credential.wrong-token", Status.PASS, "1 of 1 as recorded."),
        ("replay of replay.exact", Status.PASS, "1 of 1 as recorded."),
        ("replay of signature.forged", Status.PASS, "1 of 1 as recorded."),
    ]


def test_an_attack_that_is_accepted_this_time_fails_with_its_line() -> None:
    verdict = verdict_of("replay.exact", at_8=Played(200, b"", Answer.ACCEPTED))
    assert verdict.status is Status.FAIL
    message = (
        "line 10, a heartbeat of replay.exact: expected 401 invalid heartbeat auth (nonce_replayed), got HTTP 200, "
        "recorded HTTP 401"
    )
    assert verdict.findings[0].message == message
    assert verdict.findings[0].evidence["sequence"] == REPLAY + 1


def test_an_attack_that_is_accepted_again_as_in_the_record_still_fails() -> None:
    exchanges = altered(REPLAY, got="accepted")
    assert verdict_of("replay.exact", exchanges=exchanges, at_8=Played(200, b"", Answer.ACCEPTED)).status is Status.FAIL


def test_what_was_wrong_in_the_record_and_is_right_now_passes_and_is_told() -> None:
    verdict = verdict_of(
        "replay.exact",
        exchanges=altered(REPLAY, got="accepted"),
        at_8=Played(401, INVALID, Answer.NONCE_REPLAYED),
    )
    assert (verdict.status, verdict.figures["wrong"]) == (Status.PASS, 0)
    assert verdict.summary == "0 of 1 as recorded; 1 right this time, or unknown then."


@pytest.mark.parametrize(
    "now",
    [
        Played(0, b"", Answer.LOST),
        Played(429, b"", Answer.RATE_LIMITED),
        Played(503, b"", Answer.UNAVAILABLE),
        Played(0, b"", Answer.LOST, problem="could not be made"),
    ],
)
def test_an_answer_that_says_nothing_where_one_was_recorded_leaves_it_open(now: Played) -> None:
    assert verdict_of("signature.forged", at_10=now).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("now", "status"),
    [
        (Played(200, b"", Answer.ACCEPTED), Status.NOT_APPLICABLE),
        (Played(400, b"", Answer.UNEXPECTED), Status.NOT_APPLICABLE),
        (Played(0, b"", Answer.LOST), Status.NOT_APPLICABLE),
        (Played(500, b"", Answer.FAILED), Status.FAIL),
        (Played(0, b"", Answer.LOST, problem="could not be made"), Status.INCONCLUSIVE),
    ],
)
def test_where_the_trace_does_not_know_what_is_right_an_answer_is_not_wrong(now: Played, status: Status) -> None:
    """But a 5xx is right for nobody."""
    exchanges = altered(FORGED, expected="lost", got="lost", response=None, answered_ns=None)
    verdict = verdict_of("signature.forged", exchanges=exchanges, at_10=now)
    assert verdict.status is status
    if status is Status.FAIL:
        assert "expected any answer but a failure, got HTTP 500" in verdict.summary
    known = altered(0, expected="lost", got="lost", response=None, answered_ns=None)
    now_known = Played(201, b"", Answer.ACCEPTED)
    assert verdict_of("honest traffic", exchanges=known, at_0=now_known).summary == (
        "7 of 8 as recorded; 1 right this time, or unknown then."
    )


def test_an_answer_that_said_nothing_in_the_record_either_is_not_missed() -> None:
    exchanges = altered(FORGED, got="rate_limited")
    assert (
        verdict_of("signature.forged", exchanges=exchanges, at_10=Played(429, b"", Answer.RATE_LIMITED)).status
        is Status.PASS
    )


def test_whether_an_answer_comes_before_its_client_resets_is_not_missed_unless_most_do_not() -> None:
    lost = Played(0, b"", Answer.LOST)
    left = RawRequest(base64="", then="reset")
    exchanges = tuple(msgspec.structs.replace(one, request=left) for one in EXCHANGES)
    some, most = ({f"at_{index}": lost for index in range(count)} for count in (4, 5))
    assert verdict_of("honest traffic", exchanges=exchanges, **some).status is Status.PASS
    assert verdict_of("honest traffic", exchanges=exchanges, **most).status is Status.INCONCLUSIVE
    assert verdict_of("honest traffic", exchanges=altered(3, request=left), at_3=lost).status is Status.INCONCLUSIVE
    for other in (Played(503, b"", Answer.UNAVAILABLE), msgspec.structs.replace(lost, problem="could not be made")):
        assert verdict_of("honest traffic", exchanges=exchanges, at_3=other).status is Status.INCONCLUSIVE


def test_nor_is_it_when_it_is_sent_verbatim() -> None:
    lost = Played(0, b"", Answer.LOST)
    for raw, status in (
        (RawRequest(base64="", then="reset"), Status.PASS),
        (RawRequest(base64=""), Status.INCONCLUSIVE),
    ):
        exchanges = tuple(msgspec.structs.replace(one, request=raw) for one in EXCHANGES if one.signature)
        answers = [lost if index == 0 else REFUSED for index in range(len(exchanges))]
        assert judge_verbatim(exchanges, answers, lasting=[False] * len(exchanges)).status is status


def test_a_connection_that_is_closed_again_without_an_answer_is_as_recorded() -> None:
    exchanges = altered(REPLAY, response=None, got="refused", expected="refused")
    closed = Played(0, b"", Answer.REFUSED)
    summary = verdict_of("replay.exact", exchanges=exchanges, at_8=closed).summary
    assert summary == "1 of 1 as recorded."


@pytest.mark.parametrize("recorded", ["lost", "rate_limited", "unavailable", "failed", "accepted", "unexpected"])
@pytest.mark.parametrize(
    ("expected", "status", "got"),
    [
        ("refused", 400, Answer.REFUSED),
        ("refused", 200, Answer.ACCEPTED),
        ("refused", 429, Answer.RATE_LIMITED),
        ("accepted", 400, Answer.UNEXPECTED),
    ],
)
def test_where_no_recorded_answer_says_how_it_must_be_refused_any_refusal_is_right(
    recorded: str, expected: str, status: int, got: Answer
) -> None:
    one = msgspec.structs.replace(EXCHANGES[0], response=None, got=recorded, expected=expected)
    assert replayed_answer(one, status, b'{"error":"no"}', None) is got


def test_an_expected_limit_is_an_answer() -> None:
    exchanges = altered(FORGED, got="rate_limited", expected="rate_limited")
    limited = Played(429, b"", Answer.RATE_LIMITED)
    assert verdict_of("signature.forged", exchanges=exchanges, at_10=limited).status is Status.PASS


def test_where_only_the_server_can_know_either_answer_is_as_recorded() -> None:
    exchanges = altered(REPLAY, expected="either", got="accepted")
    late = Played(401, INVALID, Answer.TIMESTAMP_OUT_OF_WINDOW)
    assert verdict_of("replay.exact", exchanges=exchanges, at_8=late).summary == "1 of 1 as recorded."


def test_of_copies_sent_at_once_one_may_be_accepted_whichever_and_two_may_not() -> None:
    copy = msgspec.structs.replace(EXCHANGES[REPLAY], expected="one_of_copies", got="accepted")
    copies = (copy, msgspec.structs.replace(copy, got="nonce_replayed"))
    accepted, replayed = Played(200, b"", Answer.ACCEPTED), Played(401, INVALID, Answer.NONCE_REPLAYED)
    assert judge_resigned(copies, [replayed, accepted])[0].status is Status.PASS
    assert judge_resigned(copies, [accepted, accepted])[0].status is Status.FAIL


def test_counts_are_compared_by_group() -> None:
    rows = compare(EXCHANGES, played(at_8=Played(0, b"", Answer.LOST, problem="no")))
    assert [(one.name, one.exchanges, one.different) for one in rows] == [
        ("honest traffic", 8, 0),
        ("credential.wrong-token", 1, 0),
        ("replay.exact", 1, 1),
        ("signature.forged", 1, 0),
    ]
    assert (rows[2].recorded, rows[2].replayed) == ({"nonce_replayed": 1}, {"not sent": 1})


@pytest.mark.parametrize(
    ("index", "status", "body", "heartbeat", "got"),
    [
        (REPLAY, 401, INVALID, Answer.UNEXPECTED, Answer.NONCE_REPLAYED),
        (REPLAY, 401, b"{}", Answer.UNEXPECTED, Answer.UNEXPECTED),
        (REPLAY, 200, b"{}", Answer.ACCEPTED, Answer.ACCEPTED),
        (REPLAY, 0, b"", None, Answer.LOST),
        (0, 201, b"{}", None, Answer.ACCEPTED),
        (0, 200, b"{}", None, Answer.ACCEPTED),
        (0, 429, b"{}", None, Answer.RATE_LIMITED),
        (0, 500, b"{}", None, Answer.FAILED),
        (0, 401, b"not JSON", None, Answer.UNEXPECTED),
    ],
)
def test_the_same_status_and_message_is_the_same_answer(
    index: int, status: int, body: bytes, heartbeat: Answer | None, got: Answer
) -> None:
    assert replayed_answer(EXCHANGES[index], status, body, heartbeat) is got


def test_no_answer_again_is_as_recorded_for_a_connection_that_is_closed_rightly() -> None:
    one = msgspec.structs.replace(EXCHANGES[0], response=None, got="refused", expected="refused")
    assert replayed_answer(one, 0, b"", None) is Answer.REFUSED


# --- verbatim


REFUSED = Played(401, INVALID, Answer.REFUSED)


def verbatim(*, lasting: int = -1, **changes: Played) -> Verdict:
    answers = [changes.get(f"at_{index}", REFUSED) for index in range(len(EXCHANGES))]
    return judge_verbatim(EXCHANGES, answers, lasting=[index == lasting for index in range(len(EXCHANGES))])


def test_policies_consents_and_heartbeats_are_signed_and_the_rest_is_not() -> None:
    unsigned = [exchange.operation for exchange in EXCHANGES if not is_signed(exchange)]
    assert unsigned == ["policy_activate", "register", "register"]


def test_a_verbatim_replay_of_which_everything_signed_is_refused_passes() -> None:
    verdict = verbatim(at_2=Played(201, b"", Answer.ACCEPTED))
    assert (verdict.status, verdict.summary) == (Status.PASS, "All 8 signed requests got refused.")


def test_each_signed_request_that_is_accepted_verbatim_is_a_finding() -> None:
    accepted = Played(200, b"", Answer.ACCEPTED)
    verdict = verbatim(at_6=accepted, at_10=accepted)
    assert verdict.status is Status.FAIL
    assert [one.rule for one in verdict.findings] == ["replay.signed-accepted"] * 2
    assert [one.evidence["sequence"] for one in verdict.findings] == [7, 11]


def test_an_owners_signature_that_is_still_good_is_a_weakness_by_name_and_no_failure() -> None:
    verdict = verbatim(lasting=0, at_0=Played(201, b"", Answer.ACCEPTED))
    assert (verdict.status, verdict.figures["weakness.lasting-owner-signature"]) == (Status.PASS, 1)
    assert "weakness.lasting-owner-signature" in verdict.summary


def test_a_signed_request_without_an_answer_leaves_it_open() -> None:
    limited = Played(429, b"", Answer.RATE_LIMITED)
    assert verbatim(at_7=Played(0, b"", Answer.LOST)).status is Status.INCONCLUSIVE
    assert verbatim(at_7=limited).status is Status.INCONCLUSIVE
    again = judge_verbatim(altered(7, got="rate_limited")[7:8], [limited], lasting=[False])
    assert again.status is Status.PASS
    assert judge_verbatim((), [], lasting=[]).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("index", [REPLAY, NEAR_MISS, FORGED])
def test_a_verbatim_replay_names_no_reason_that_no_answer_shows(index: int) -> None:
    """The recorded one neither: a captured heartbeat may be refused for its age this time."""
    got = replayed_answer(EXCHANGES[index], 401, INVALID, Answer.NONCE_REPLAYED, verbatim=True)
    assert got is Answer.REFUSED
    shown = next(one for one in compare(EXCHANGES[index : index + 1], [Played(401, INVALID, got)]))
    assert (shown.replayed, shown.different) == ({"refused": 1}, 0)


def refused_heartbeats() -> list[Played]:
    return [REFUSED if one.operation == "heartbeat" else as_recorded(one) for one in EXCHANGES]


def test_refusals_get_the_one_reason_that_the_target_counted_meanwhile() -> None:
    before, after = counted(nonce_replayed=7), counted(nonce_replayed=7, timestamp_out_of_window=5)
    named = named_by_metrics(EXCHANGES, refused_heartbeats(), before, after)
    heartbeats = [one.got for one, exchange in zip(named, EXCHANGES, strict=True) if exchange.operation == "heartbeat"]
    assert heartbeats == [Answer.TIMESTAMP_OUT_OF_WINDOW] * 5
    assert compare(EXCHANGES, named)[2].replayed == {"timestamp_out_of_window": 1}


@pytest.mark.parametrize(
    "after",
    [
        {},
        {"timestamp_out_of_window": 4, "nonce_replayed": 1},
        {"timestamp_out_of_window": 4},
        {"invalid_machine_token_policy_fetch": 5},
    ],
)
def test_refusals_whose_reason_nobody_saw_stay_refusals(after: dict[str, int]) -> None:
    answers = refused_heartbeats()
    assert named_by_metrics(EXCHANGES, answers, {}, counted(**after)) == answers


# --- the target's own count, and time


def counted(**counts: int) -> dict[str, float]:
    return {REASON.format(reason): float(count) for reason, count in counts.items()}


RIGHT = {"nonce_replayed": 1, "invalid_machine_token": 1, "invalid_heartbeat_signature": 1}


def test_failures_counted_each_for_its_reason_pass() -> None:
    before = counted(nonce_replayed=5)
    after = counted(**{**RIGHT, "nonce_replayed": 6})
    assert judge_reasons(EXCHANGES, played(), before, after, alone=True).status is Status.PASS


def test_a_forged_signature_that_was_refused_for_something_else_fails() -> None:
    after = counted(nonce_replayed=1, invalid_machine_token=2)
    verdict = judge_reasons(EXCHANGES, played(), {}, after, alone=False)
    assert verdict.status is Status.FAIL
    assert "0 failures counted as invalid_heartbeat_signature, 1 were replayed" in verdict.summary


def test_more_failures_than_replayed_are_somebody_elses_unless_the_replay_is_alone() -> None:
    after = counted(**{**RIGHT, "nonce_replayed": 9})
    assert judge_reasons(EXCHANGES, played(), {}, after, alone=False).status is Status.PASS
    assert judge_reasons(EXCHANGES, played(), {}, after, alone=True).status is Status.FAIL


def test_a_machines_refusal_that_the_trace_gives_no_reason_for_may_be_counted_by_any() -> None:
    """One that another program recorded; a second one nobody sent is still too many."""
    foreign = altered(FORGED, expected="refused", got="refused")
    answers = played(at_10=REFUSED)
    for count, status in ((1, Status.PASS), (2, Status.FAIL)):
        after = counted(nonce_replayed=1, invalid_machine_token=1, invalid_heartbeat_signature=count)
        assert judge_reasons(foreign, answers, {}, after, alone=True).status is status


@pytest.mark.parametrize(
    ("sent_s", "answered_s", "status"),
    [(0.55, 0.65, Status.PASS), (0.65, None, Status.FAIL), (0.3, 0.5, Status.FAIL), (0.3, None, Status.NOT_APPLICABLE)],
)
def test_a_replay_that_a_rotation_may_overtake_may_be_refused_for_its_certificate(
    sent_s: float, answered_s: float | None, status: Status
) -> None:
    """The replay, from 0.6 s on, may come after what replaced its certificate, whichever came first when recorded."""
    sent_ns, answered_ns = int(sent_s * 1e9), None if answered_s is None else int(answered_s * 1e9)
    rotation = msgspec.structs.replace(
        EXCHANGES[REPLAY], operation="certificate", got="accepted", sent_ns=sent_ns, answered_ns=answered_ns
    )
    after = counted(**{**RIGHT, "nonce_replayed": 0, "invalid_or_expired_machine_cert": 1})
    answers = [*played(), Played(200, b"", Answer.ACCEPTED)]
    assert judge_reasons((*EXCHANGES, rotation), answers, {}, after, alone=True).status is status


def test_without_a_refusal_that_has_a_reason_there_is_nothing_to_check() -> None:
    assert judge_reasons(EXCHANGES[:3], played()[:3], {}, {}, alone=True).status is Status.NOT_APPLICABLE


def test_a_replay_that_comes_too_late_cannot_say() -> None:
    late = [Played(200, b"", Answer.ACCEPTED, late_ns=2 * 10**9)] * 5
    assert judge_timing(late).status is Status.INCONCLUSIVE
    assert judge_timing(played()).status is Status.PASS
    assert judge_timing([]).status is Status.INCONCLUSIVE
