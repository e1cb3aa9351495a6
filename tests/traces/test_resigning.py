"""Requests rebuilt for another server: its ids and tokens, one shift of time, signatures as right as before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from reference_server.wire.timestamps import format_timestamp, parse_timestamp
from simulator.attacks.script import Expect, Wire
from simulator.contract.answers import Answer
from simulator.traces.messages import split_answer, split_request
from simulator.traces.resign import MissingPrerequisiteError, Resigner, fresh_owner, recorded_bytes, shifted
from tests.traces.recorded import AUTHORITY, OWNER_TOKEN, RULES, Recording, distance, missed, small_recording

if TYPE_CHECKING:
    from simulator.traces.format import Trace

NEW_TOKEN, NEW_AUTHORITY, SUFFIX, SHIFT_SECONDS = "another-owner-token", "10.0.0.1:9", "5f5f", 86_400
NEW = Recording("new", fresh_owner("ada", SUFFIX))
"""What the new server gives out, for the same machines."""
LEAVING = Wire(((b"", 0.0),), Expect(Answer.ACCEPTED, ()), "reset")


def resigner(trace: Trace, recording: Recording, *, learnt: bool = True) -> Resigner:
    """Make a resigner; one that has `learnt` was told the new server's answers to everything recorded."""
    made = Resigner(trace.header, trace.exchanges, NEW_TOKEN, NEW_AUTHORITY, SUFFIX)
    made.shift_seconds = SHIFT_SECONDS
    if learnt:
        answers = small_recording("new").taken
        for exchange, taken, _ in zip(trace.exchanges, answers, recording.taken, strict=False):
            status, _, body = split_answer(taken.answer or b"")
            made.apply_answer(exchange, status, body)
    return made


def rebuilt(recording: Recording, *, redact: bool = True) -> list[dict[str, Any]]:
    trace = recording.trace(redact=redact)
    made = resigner(trace, recording)
    return [parsed(made.rebuild(exchange)) for exchange in trace.exchanges]


def parsed(data: bytes) -> dict[str, Any]:
    request = split_request(data)
    assert request is not None
    body = msgspec.json.decode(request.body) if request.body else {}
    return {"path": request.path, "headers": dict(request.headers), "body": body, "raw": data}


@pytest.mark.parametrize("redact", [True, False])
def test_what_owners_do_is_done_by_a_fresh_owner_with_the_new_token(*, redact: bool) -> None:
    policy, activate, register, consent = rebuilt(small_recording(), redact=redact)[:4]
    owner = fresh_owner("ada", SUFFIX)
    assert {one["headers"]["Authorization"] for one in (policy, activate, register, consent)} == {f"Bearer {NEW_TOKEN}"}
    assert {one["headers"]["X-Owner-ID"] for one in (policy, activate, register, consent)} == {owner}
    assert policy["body"]["rules"] == RULES
    assert policy["body"]["signature"] == sign_text(NEW_TOKEN.encode(), f"{owner}|{canonical_json(RULES)}").decode()
    assert activate["path"] == f"/api/v1/policies/{NEW.policy_id}/activate"
    assert register["body"] == {"owner_id": owner, "name": "machine 0"}
    text = f"{owner}|{NEW.worker(0)}|{NEW.policy_id}"
    assert consent["body"] == {
        "owner_id": owner,
        "worker_id": NEW.worker(0),
        "policy_id": NEW.policy_id,
        "signature": sign_text(NEW_TOKEN.encode(), text).decode(),
    }


@pytest.mark.parametrize("redact", [True, False])
def test_a_heartbeat_is_its_machines_on_the_new_server_at_the_shifted_moment(*, redact: bool) -> None:
    recording = small_recording()
    before, after = parsed(recording.taken[6].request), rebuilt(recording, redact=redact)[6]
    body = after["body"]
    stamp_ns = parse_timestamp(before["body"]["timestamp"])
    assert stamp_ns is not None
    assert parse_timestamp(body["timestamp"]) == stamp_ns + SHIFT_SECONDS * 10**9
    assert (body["nonce"], body["metrics"], body["policy_id"]) == ("aa" * 12, {"cpu_percent": 1.5}, NEW.policy_id)
    text = f"{NEW.worker(0)}|{body['timestamp']}|{body['nonce']}|{NEW.policy_id}"
    assert body["signature"] == sign_text(NEW.token(0).encode(), text).decode()
    assert after["path"] == f"/api/v1/workers/{NEW.worker(0)}/heartbeat"
    assert after["headers"]["X-Machine-Token"] == NEW.token(0)
    assert after["headers"]["X-Machine-Certificate-Id"] == NEW.certificate(0)
    assert after["headers"]["Host"] == NEW_AUTHORITY


def test_copies_stay_copies_and_wrong_clocks_as_wrong() -> None:
    original, skewed, copy = rebuilt(small_recording())[6:9]
    assert original["raw"] == copy["raw"]
    first, second = (parse_timestamp(one["body"]["timestamp"]) for one in (original, skewed))
    assert first is not None
    assert second is not None
    assert second - first == -45 * 10**9 + 10**8


@pytest.mark.parametrize("redact", [True, False])
def test_a_near_miss_misses_the_new_token_by_one_and_signs_with_what_it_sends(*, redact: bool) -> None:
    wrong = rebuilt(small_recording(), redact=redact)[9]
    sent, body = wrong["headers"]["X-Machine-Token"], wrong["body"]
    assert distance(sent, NEW.token(0)) == 1
    text = f"{NEW.worker(0)}|{body['timestamp']}|{body['nonce']}|{NEW.policy_id}"
    assert body["signature"] == sign_text(sent.encode(), text).decode()


def test_a_signature_that_no_known_key_made_stays_as_wrong_as_it_was() -> None:
    recording = small_recording()
    before, after = parsed(recording.taken[10].request), rebuilt(recording)[10]
    assert after["body"]["signature"] == before["body"]["signature"]
    assert after["headers"]["X-Machine-Token"] == NEW.token(0)


def test_a_redacted_trace_and_one_with_secrets_are_rebuilt_alike() -> None:
    recording = small_recording()
    recording.heartbeat(0, "ee" * 12, got=Answer.INVALID_TOKEN, token=missed(recording.token(0))[:-1], campaign=2)
    recording.take(b"\xff" + recording.token(1).encode() + b"${x}" + recording.worker(0).encode(), None)
    both = []
    for redact in (True, False):
        trace = recording.trace(redact=redact)
        made = resigner(trace, recording)
        both.append([made.rebuild(exchange) for exchange in trace.exchanges])
    assert both[0] == both[1]
    assert both[0][-1] == b"\xff" + NEW.token(1).encode() + b"${x}" + NEW.worker(0).encode()


def test_a_request_that_needs_what_was_not_given_out_cannot_be_made() -> None:
    recording = small_recording()
    trace = recording.trace()
    made = resigner(trace, recording, learnt=False)
    with pytest.raises(MissingPrerequisiteError, match=r"machine\.0\.token"):
        made.rebuild(trace.exchanges[6])
    made.rebuild(trace.exchanges[2])


def test_nothing_is_learnt_from_a_refusal_nor_twice() -> None:
    recording = small_recording()
    trace = recording.trace()
    made = resigner(trace, recording, learnt=False)
    other = b'{"data":{"machine_token":"x","machine":{"id":"wrk_00000000"}}}'
    made.apply_answer(trace.exchanges[2], 429, other)
    for index, exchange in enumerate(trace.exchanges):
        made.apply_answer(exchange, 201, split_answer(small_recording("new").taken[index].answer or b"")[2])
    made.apply_answer(trace.exchanges[2], 201, other)
    assert parsed(made.rebuild(trace.exchanges[6]))["headers"]["X-Machine-Token"] == NEW.token(0)


def test_owners_of_refused_requests_and_ids_nobody_gave_out_stay() -> None:
    recording = small_recording()
    request = b"GET /api/v1/workers/wrk_00112233aabbccdd/status HTTP/1.1\r\nX-Owner-ID: eve\r\n\r\n"
    recording.take(request, b"HTTP/1.1 404 X\r\n\r\n", got=Answer.REFUSED)
    assert rebuilt(recording)[-1]["raw"] == request


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize("wire", [None, LEAVING], ids=["answered", "reset"])
def test_a_length_is_made_right_and_a_text_that_looks_like_one_is_left(wire: Wire | None, *, redact: bool) -> None:
    recording = small_recording()
    body = b'{"owner_id":"ada","x":"${length}"}'
    request = b"POST /${length} HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    recording.take(request, None, wire=wire)
    assert recorded_bytes(recording.trace(redact=redact).exchanges[-1]) == request
    raw = rebuilt(recording, redact=redact)[-1]["raw"]
    assert raw.startswith(b"POST /${length} HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (len(body) + len(SUFFIX) + 1))
    assert raw.endswith(b'{"owner_id":"ada.5f5f","x":"${length}"}')


@pytest.mark.parametrize("redact", [True, False])
@pytest.mark.parametrize(
    ("declared", "now"), [("27", "32"), ("29", "34"), ("0029", "0034"), ("99", "104"), ("26", "26"), ("+29", "+29")]
)
def test_what_was_cut_short_stays_as_short_of_its_length_though_its_owner_has_a_longer_name(
    declared: str, now: str, *, redact: bool
) -> None:
    """A length within what was sent is that of another request than all of it, and one that is no number stays."""
    recording = small_recording()
    body = b'{"owner_id":"ada","name":"a'
    head = "POST /api/v1/machines/register HTTP/1.1\r\nContent-Length: {}\r\nX-Owner-ID: {}\r\n\r\n"
    recording.take(head.format(declared, "ada").encode() + body, None, wire=LEAVING)
    trace = recording.trace(redact=redact)
    message = resigner(trace, recording).rebuild(trace.exchanges[-1])
    assert message == head.format(now, "ada.5f5f").encode() + body.replace(b"ada", b"ada.5f5f")


def test_verbatim_a_redacted_trace_goes_out_with_its_references_and_a_right_length() -> None:
    trace = small_recording().trace()
    raw = recorded_bytes(trace.exchanges[0])
    assert b"Authorization: Bearer ${owner.token}\r\n" in raw
    assert AUTHORITY.encode() in raw
    assert OWNER_TOKEN.encode() not in raw
    assert split_request(raw) is not None


@given(
    st.integers(0, 4 * 10**18), st.integers(-(10**9), 10**9), st.sampled_from(["", "+02:00", "-11:30", ".5", ".120"])
)
def test_a_shifted_timestamp_is_as_much_later_and_of_the_same_form(unix_ns: int, seconds: int, form: str) -> None:
    text = format_timestamp(unix_ns // 10**9 * 10**9)
    text = text[:-1] + (form if ":" in form else form + "Z")
    moved, before = parse_timestamp(shifted(text, seconds)), parse_timestamp(text)
    assert before is not None
    assert moved == before + seconds * 10**9
    assert shifted(text, seconds)[19:] == text[19:]


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
def test_what_is_no_timestamp_or_leaves_the_calendar_is_not_shifted(text: str) -> None:
    assert shifted(text, 86_400) == text


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_fresh_owner_is_new_bounded_and_no_two_are_the_same(first: str, second: str) -> None:
    assert fresh_owner(first, SUFFIX) != first
    assert len(fresh_owner(first, SUFFIX)) <= len(first) + len(SUFFIX) + 1
    assert (fresh_owner(first, SUFFIX) == fresh_owner(second, SUFFIX)) == (first == second)
