"""What checkers allow a server that started anew, with its state or without, and what they still hold against it."""

from __future__ import annotations

import msgspec
import pytest

from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.records import AuditReading, ClaimRecord, Effect, FailedExchange
from simulator.history.rows import NO_MACHINE
from simulator.limits import EXCHANGES_MAX
from tests.checkers.conftest import nanoseconds
from tests.faults.stories import DOWN, FLUSH, KILL, PAUSE, RESTART, Tale

REFUSED = {Answer.NONCE_REPLAYED: 1}


def killed(kind: str = KILL, **settings: bool) -> Tale:
    """A machine registered and heard, and a server that is away from 10 s to 11 s."""
    tale = Tale(**settings)
    tale.register(0, 1)
    tale.heartbeat(0, 2)
    tale.fault(kind, 10, 11)
    return tale


def stranger(tale: Tale, at: float, operation: Operation = Operation.HEARTBEAT, status: int = 401) -> None:
    """Have an honest request refused as that of somebody unknown."""
    tale.request(operation, 0, at, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=status)


# --- answers


@pytest.mark.parametrize("kind", [KILL, RESTART])
@pytest.mark.parametrize(
    ("operation", "status"),
    [(Operation.HEARTBEAT, 401), (Operation.POLICY_FETCH, 401), (Operation.CERTIFICATE, 404)],
)
def test_a_server_that_keeps_nothing_may_treat_its_machines_as_strangers(
    kind: str, operation: Operation, status: int
) -> None:
    for durable, verdict in ((False, Status.PASS), (True, Status.FAIL)):
        tale = killed(kind, durable=durable)
        stranger(tale, 12, operation, status)
        assert tale.judge()["answers"].status is verdict


GONE = b"GET /api/v1/workers/wrk_fa0586df8fe425b3/status HTTP/1.1"


def not_found(tale: Tale, at: float, asked: bytes = GONE, *, status: int = 404, kept: int = 1) -> None:
    """Have an honest request not found, and its bytes kept so often."""
    tale.request(Operation.OTHER, NO_MACHINE, at, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=status)
    row = tale.history.rows()[-1]
    for _ in range(kept):
        tale.history.keep(FailedExchange(int(row["sent_ns"]), int(row["answered_ns"]), 0, asked, b"", "why"))


@pytest.mark.parametrize("asked", [GONE, b"PATCH /api/v1/policies/pol_fa0586df8fe425b3/activate HTTP/1.1"])
def test_what_somebody_was_shown_before_it_was_killed_may_be_gone(asked: bytes) -> None:
    tale = killed()
    not_found(tale, 12, asked)
    assert tale.judge()["answers"].status is Status.PASS


@pytest.mark.parametrize(
    ("asked", "at", "status", "durable"),
    [
        (GONE, 9, 404, False),
        (GONE, 12, 404, True),
        (GONE, 12, 401, False),
        (b"GET /api/v1/workers/summary HTTP/1.1", 12, 404, False),
        (b"GET /api/v1/workers/summary?x=/wrk_fa0586df8fe425b3 HTTP/1.1", 12, 404, False),
    ],
)
def test_nothing_else_may(asked: bytes, at: float, status: int, *, durable: bool) -> None:
    tale = killed(durable=durable)
    not_found(tale, at, asked, status=status)
    assert tale.judge()["answers"].status is Status.FAIL


def test_nor_may_what_was_given_out_since_or_what_was_asked_at_the_same_moment() -> None:
    tale = killed()
    tale.register(0, 12)
    worker_id = f"wrk_{0:016x}"
    tale.history.machines[0] = msgspec.structs.replace(tale.history.machines[0], worker_id=worker_id)
    not_found(tale, 13, f"GET /api/v1/workers/{worker_id}/status HTTP/1.1".encode())
    assert tale.judge()["answers"].status is Status.FAIL
    tale = killed()
    tale.request(Operation.OTHER, NO_MACHINE, 12, Answer.UNEXPECTED, expected=Answer.ACCEPTED, status=404, took=0.02)
    not_found(tale, 12)
    assert tale.judge()["answers"].status is Status.FAIL


def test_where_too_much_went_wrong_to_be_kept_nobody_knows_what_was_asked_for() -> None:
    tale = killed()
    not_found(tale, 12, b"GET /api/v1/workers/summary HTTP/1.1", kept=EXCHANGES_MAX)
    assert tale.judge()["answers"].status is Status.PASS


def test_not_before_it_was_killed_nor_once_they_have_registered_anew() -> None:
    for at in (9, 13):
        tale = killed()
        tale.register(0, 12)
        stranger(tale, at)
        assert tale.judge()["answers"].status is Status.FAIL


def test_what_was_on_its_way_when_it_was_killed_may_have_been_answered_before() -> None:
    tale = killed()
    tale.heartbeat(0, 10.005)
    assert tale.judge()["answers"].status is Status.PASS


def test_an_acceptance_that_must_not_be_is_found_in_any_life() -> None:
    tale = killed()
    tale.attack(0, 12, Answer.ACCEPTED, expected=Answer.INVALID_SIGNATURE, status=200)
    assert tale.judge()["answers"].status is Status.FAIL


def test_claims_after_a_restart_hold_against_those_only_that_keep_their_state() -> None:
    for durable, at, verdict in (
        (False, 12, Status.NOT_APPLICABLE),
        (True, 12, Status.FAIL),
        (False, 9, Status.FAIL),
    ):
        tale = killed(durable=durable)
        tale.history.claims.append(ClaimRecord(nanoseconds(at), 1, "kept", held=False, message="it was gone"))
        assert tale.judge()["attacks"].status is verdict


# --- alerts


def test_a_server_without_state_counts_from_nothing_in_its_next_life() -> None:
    tale = killed()
    tale.attack(0, 3, Answer.NONCE_REPLAYED)
    tale.scrape(5, workers=1, recent=1, reasons=REFUSED)
    stranger(tale, 12)
    tale.register(0, 13)
    tale.scrape(14, uptime=3, workers=1, unknown=1, recent=1, reasons={Answer.INVALID_TOKEN: 1}, extra={})
    assert tale.judge()["alerts"].status is Status.PASS


@pytest.mark.parametrize(
    "wrong", [{"workers": 0, "unknown": 0}, {"workers": 2, "unknown": 2}, {"recent": 1, "reasons": REFUSED}]
)
def test_and_what_it_counts_then_must_be_right(wrong: dict[str, int]) -> None:
    tale = killed()
    tale.attack(0, 3, Answer.NONCE_REPLAYED)
    tale.scrape(5, workers=1, recent=1, reasons=REFUSED)
    tale.register(0, 13)
    tale.scrape(14, uptime=3, **{"workers": 1, "unknown": 1, **wrong})
    assert tale.judge()["alerts"].status is Status.FAIL


@pytest.mark.parametrize("reasons", [{}, REFUSED])
def test_counters_of_a_server_with_state_may_begin_anew_and_what_is_recent_may_not(reasons: dict[Answer, int]) -> None:
    for recent, verdict in ((1, Status.PASS), (0, Status.FAIL), (2, Status.FAIL)):
        tale = killed(durable=True)
        tale.attack(0, 3, Answer.NONCE_REPLAYED)
        tale.scrape(5, workers=1, recent=1, reasons=REFUSED)
        tale.scrape(12, uptime=1, workers=1, stale=0, recent=recent, reasons=reasons)
        assert tale.judge()["alerts"].status is verdict


def test_its_workers_are_still_there() -> None:
    for workers, verdict in ((1, Status.PASS), (0, Status.FAIL)):
        tale = killed(durable=True)
        tale.scrape(11.5, uptime=1, workers=workers)
        assert tale.judge()["alerts"].status is verdict


def test_failures_since_the_restart_are_counted_by_any_server() -> None:
    for count, verdict in ((1, Status.PASS), (0, Status.FAIL), (3, Status.FAIL)):
        tale = killed(durable=True)
        tale.attack(0, 3, Answer.NONCE_REPLAYED)
        tale.attack(0, 12, Answer.NONCE_REPLAYED)
        tale.scrape(13, uptime=2, workers=1, stale=1, recent=2, reasons={Answer.NONCE_REPLAYED: count})
        assert tale.judge()["alerts"].status is verdict


def test_a_refusal_just_before_a_kill_was_never_promised_to_last_and_one_before_an_orderly_stop_was() -> None:
    for kind, at, verdict in ((KILL, 9.5, Status.PASS), (KILL, 7, Status.FAIL), (RESTART, 9.5, Status.FAIL)):
        tale = killed(kind, durable=True)
        tale.attack(0, at, Answer.NONCE_REPLAYED)
        tale.scrape(11.5, uptime=1, workers=1)
        assert tale.judge()["alerts"].status is verdict


def test_a_restart_that_the_run_did_not_make_still_widens_what_is_allowed() -> None:
    tale = killed(durable=True)
    tale.scrape(12, uptime=1, workers=1, stale=0)
    tale.scrape(20, uptime=1, workers=0)
    assert tale.judge()["alerts"].status is Status.PASS


# --- limits


def test_buckets_are_full_again_in_each_life_and_only_there() -> None:
    for second, verdict in ((11.5, Status.PASS), (9.5, Status.FAIL)):
        tale = Tale(rate_limit_burst=5, rate_limit_refill_per_second=0.1)
        tale.fault(KILL, 10, 11)
        for start in (9, second):
            for number in range(5):
                tale.heartbeat(0, start + number / 100, source=7)
        assert tale.judge()["limits"].status is verdict


# --- audit


def effect(tale: Tale, at: float, reason: str = "") -> None:
    """Have something happen that must be in the owner's list."""
    kind = "owner_access_denied" if reason else "policy_created"
    tale.history.effects.append(
        Effect(nanoseconds(at), nanoseconds(at + 0.01), kind, "owner:ada", f"o{at}", ("ada",), reason, sure=True)
    )


def read(tale: Tale, at: float) -> None:
    """Show the owner a list that is empty."""
    tale.history.owners.append("ada")
    heads = {stream: {"sequence": 0, "hash": ""} for stream in ("routine", "notable", "refused")}
    tale.history.audit_readings.append(
        AuditReading("ada", nanoseconds(at), nanoseconds(at + 0.01), 200, 0, 0, [], heads)
    )


def test_audit_streams_begin_anew_with_a_server_that_keeps_nothing() -> None:
    for at, durable, missing in ((3, False, False), (3, True, True), (12, False, True)):
        tale = Tale(durable=durable)
        tale.fault(KILL, 10, 11)
        effect(tale, at)
        read(tale, 20)
        assert ("missing" in tale.rules("audit")) is missing


def test_a_denial_just_before_a_kill_may_not_have_been_written_down() -> None:
    for at, missing in ((9.5, False), (3, True)):
        tale = Tale(durable=True)
        tale.fault(KILL, 10, 11)
        effect(tale, 1)  # what makes an owner of whom the denial concerns
        effect(tale, at, "not_owner")
        read(tale, 20)
        lost = [one.evidence["type"] for one in tale.judge()["audit"].findings if one.rule == "audit.missing"]
        assert ("owner_access_denied" in lost) is missing


# --- reach


@pytest.mark.parametrize("kind", [KILL, RESTART, PAUSE, DOWN])
def test_what_a_fault_keeps_from_an_answer_is_not_counted(kind: str) -> None:
    tale = killed(kind)
    for tick in range(20):
        tale.heartbeat(0, 9.5 + tick / 10, Answer.LOST)
    tale.lost("connecting", 10.5, 50)
    tale.lost("scrape", 10.5, 3)
    verdict = tale.judge()["reach"]
    assert verdict.status is Status.PASS
    assert verdict.figures["unanswered"] == 0


def test_what_is_missing_at_other_times_is_counted_as_ever() -> None:
    for what in ("connecting", "scrape"):
        tale = killed()
        tale.lost(what, 30, 3)
        tale.lost(what, 10.5, 50)
        assert tale.judge()["reach"].status is Status.INCONCLUSIVE
    tale = killed()
    tale.heartbeat(0, 5, Answer.LOST)
    assert tale.judge()["reach"].status is Status.INCONCLUSIVE


def test_after_a_flush_refusing_is_right_for_three_minutes() -> None:
    for at, verdict in ((180, Status.PASS), (200, Status.INCONCLUSIVE)):
        tale = killed(FLUSH)
        tale.heartbeat(0, at, Answer.UNAVAILABLE, status=503)
        assert tale.judge()["reach"].status is verdict


# --- replay


@pytest.mark.parametrize("durable", [True, False])
def test_no_restart_excuses_a_replay(durable: bool) -> None:  # noqa: FBT001 - a parameter
    tale = killed(durable=durable)
    for at in (9, 12):
        tale.heartbeat(0, at, nonce=b"\1" * 12)
    assert tale.judge()["replay"].status is Status.FAIL


def test_faults_that_end_no_life_change_nothing_of_that() -> None:
    tale = Tale()
    tale.fault(PAUSE, 10, 11)
    stranger(tale, 12)
    assert tale.judge()["answers"].status is Status.FAIL
