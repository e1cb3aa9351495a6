from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.attacks.script import refused
from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer, classify_heartbeat, whole_answer
from simulator.contract.answers import REASONS, Answer
from simulator.contract.reading import retry_after_ns
from simulator.limits import ANSWER_HEAD_MAX_BYTES, ANSWER_MAX_BYTES
from simulator.worlds.recording import classify
from tests.support.tiers import examples

NAMES = st.sampled_from([b"date", b"X-Request-ID", b"vary", b"server", b"retry-after"])
VALUES = st.text("abcdefghijklmnop 0123456789,-", min_size=1, max_size=20).map(str.strip).filter(bool).map(str.encode)
BODIES = st.binary(max_size=60) | st.just(b'{"success":true,"data":{"worker_id":"wrk_1","accepted":true}}')


class Written(NamedTuple):
    """An answer's bytes and what it says."""

    wire: bytes
    status: int
    body: bytes
    keep: bool


def chunked(body: bytes, sizes: list[int]) -> bytes:
    parts, rest = [], body
    for size in sizes:
        part, rest = rest[:size], rest[size:]
        if part:
            parts.append(b"%x\r\n%b\r\n" % (len(part), part))
    if rest:
        parts.append(b"%X;ext=1\r\n%b\r\n" % (len(rest), rest))
    return b"".join(parts) + b"0\r\n\r\n"


@st.composite
def answers(draw: st.DrawFn) -> Written:
    """Answers in every framing that servers use: both casings of the length, chunks, none; closing or not; interim."""
    status = draw(st.sampled_from([200, 201, 400, 401, 403, 404, 426, 429, 500, 503]))
    body = draw(BODIES)
    framing = draw(st.sampled_from(["content-length", "Content-Length", "chunked", "empty"]))
    closing = draw(st.sampled_from([None, b"connection: close", b"Connection: close", b"connection: keep-alive"]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0"]))
    lines = [b"HTTP/%b %d %b" % (version, status, draw(st.sampled_from([b"", b"OK", b"Some Reason"])))]
    lines += [b"%b: %b" % header for header in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4))]
    if closing:
        lines.append(closing)
    if framing == "empty":
        status, body = 204, b""
        lines[0] = b"HTTP/%b 204 No Content" % version
    elif framing == "chunked" and version == b"1.1":
        lines.append(b"Transfer-Encoding: chunked")
    else:
        lines.append(b"%b: %d" % (b"content-length" if framing == "chunked" else framing.encode(), len(body)))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.sampled_from([0, 0, 1, 2]))
    payload = chunked(body, draw(st.lists(st.integers(1, 9), max_size=8))) if b"chunked" in lines[-1] else body
    keep = closing == b"connection: keep-alive" if version == b"1.0" else b"close" not in (closing or b"")
    return Written(interim + b"\r\n".join(lines) + b"\r\n\r\n" + payload, status, body, keep)


def read_head(data: bytes) -> HttpAnswer | None:
    return AnswerReader(to_head=True).feed(data)


def read_answer(data: bytes, *, most: int = ANSWER_MAX_BYTES, ended: bool = False) -> HttpAnswer | None:
    """Read an answer that comes in one piece."""
    return AnswerReader(most).feed(data, ended=ended)


@given(written=answers(), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_an_answer_is_the_same_however_it_was_cut(written: Written, cuts: list[int]) -> None:
    reader, at = AnswerReader(), 0
    found: list[HttpAnswer | None] = []
    while at < len(written.wire):
        piece_bytes = cuts[len(found) % len(cuts)]
        found.append(reader.feed(written.wire[at : at + piece_bytes]))
        at += piece_bytes
    assert found == [None] * (len(found) - 1) + [read_answer(written.wire)]


@given(written=answers())
def test_an_answer_is_read_whole_and_at_no_byte_before(written: Written) -> None:
    """Split at every byte it gives nothing until its last byte, and then what was written."""
    for end in range(len(written.wire)):
        assert read_answer(written.wire[:end]) is None
    answer = read_answer(written.wire)
    assert answer is not None
    assert (answer.status, answer.body, answer.keep) == (written.status, written.body, written.keep)
    assert answer.head in written.wire
    assert answer.head.startswith(b"HTTP/1.")
    assert b"\r\n\r\n" not in answer.head


def read_or_garbage(data: bytes) -> HttpAnswer | None:
    try:
        return read_answer(data)
    except GarbageError:
        return None


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
@example(b"HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\ncontent-length: \xb2\r\n\r\n")
@example(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\x00\x01")
@example(b"HTTP/1.0 100 Continue\r\n\r\n")
def test_garbage_is_called_garbage_and_nothing_else(data: bytes) -> None:
    read_or_garbage(data)


@settings(max_examples=examples(200))
@given(written=answers(), at=st.integers(0, 400), change=st.binary(min_size=1, max_size=3))
def test_a_spoilt_answer_is_read_or_refused_and_nothing_else(written: Written, at: int, change: bytes) -> None:
    read_or_garbage(written.wire[:at] + change + written.wire[at + len(change) :])


@pytest.mark.parametrize(
    "data",
    [
        b"garbage",
        b"\x16\x03\x01",
        b"SSH-2.0-OpenSSH\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 123456789\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(GarbageError):
        read_answer(data)


@given(first=answers(), second=answers())
def test_of_two_answers_to_one_request_the_second_is_surplus(first: Written, second: Written) -> None:
    """Nobody asked for it, so the connection is of no more use; that holds for every framing of the first."""
    read = read_answer(first.wire + second.wire)
    assert read is not None
    assert (read.status, read.body, read.keep) == (first.status, first.body, False)
    assert read.surplus.endswith(second.wire[-20:])


PATTERN = b"0123456789abcdef" * 4096


@pytest.mark.parametrize(
    ("start", "more", "bound"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nx: ", PATTERN[:4096], ANSWER_HEAD_MAX_BYTES, id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n", PATTERN, ANSWER_MAX_BYTES, id="body without length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n%b\r\n" % PATTERN,
            ANSWER_MAX_BYTES,
            id="chunks",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", PATTERN, ANSWER_MAX_BYTES, id="length"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 16_384, ANSWER_MAX_BYTES, id="interim answers"),
    ],
)
def test_an_answer_without_end_is_given_up_at_the_bound(start: bytes, more: bytes, bound: int) -> None:
    """Whichever part does not end, no more than the bound and one read of it is ever kept."""
    data = start
    while len(data) <= bound:
        assert read_answer(data) is None
        data += more
    with pytest.raises(GarbageError):
        read_answer(data)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@given(body=st.binary(max_size=50))
def test_an_answer_that_says_no_length_ends_with_its_connection(version: bytes, body: bytes) -> None:
    """RFC 9112 §6.3, rule 8."""
    wire = b"HTTP/%b 200 OK\r\nserver: old\r\n\r\n" % version + body
    assert read_answer(wire) is None
    answer = read_answer(wire, ended=True)
    assert answer is not None
    assert (answer.status, answer.body, answer.keep) == (200, body, False)


@given(written=answers().filter(lambda one: bool(one.body)))
def test_an_answer_that_says_its_length_is_not_whole_because_its_connection_ended(written: Written) -> None:
    assert read_answer(written.wire[:-1], ended=True) is None


def test_a_small_bound_holds_for_every_framing() -> None:
    for framing in (b"content-length: 101", b"Content-Length: 101", b"x: y"):
        with pytest.raises(GarbageError):
            read_answer(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing + bytes(100), most=100)


def test_a_length_past_the_bound_is_refused_as_soon_as_it_is_read() -> None:
    with pytest.raises(GarbageError):
        read_answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % ANSWER_MAX_BYTES)


def test_an_answer_as_long_as_allowed_is_read() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 4194000\r\n\r\n"
    answer = read_answer(head + bytes(4_194_000))
    assert answer is not None
    assert len(answer.body) == 4_194_000


def test_thousands_of_interim_answers_in_one_read_are_skipped() -> None:
    answer = read_answer(b"HTTP/1.1 102 Processing\r\n\r\n" * 5000 + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert answer is not None
    assert answer.status == 204


@given(written=answers(), rest=st.sampled_from([b"", b"{}", b"HTTP/1.1 200 \r\n\r\n"]))
def test_an_answer_to_head_ends_with_its_head(written: Written, rest: bytes) -> None:
    """Whatever length it says. What comes behind it is shown, and ends the use of the connection."""
    wire = written.wire
    while wire.startswith(b"HTTP/1.1 100"):
        wire = wire.partition(b"\r\n\r\n")[2]
    head = wire.partition(b"\r\n\r\n")[0]
    interim = written.wire[: len(written.wire) - len(wire)]
    whole = interim + head + b"\r\n\r\n"
    assert all(read_head(whole[:length]) is None for length in range(len(whole)))
    read = read_head(whole + rest)
    assert read is not None
    assert (read.status, read.head, read.body) == (written.status, head, rest)
    assert read.keep is (not rest and head.startswith(b"HTTP/1.1") and b"close" not in head)


@pytest.mark.parametrize("data", [b"HTTP/1.1 xx \r\n\r\n", b"no answer\r\n\r\n", b"nonsense", b"\x15\x03\x01\0\2\2"])
def test_what_is_no_answer_to_head_is_garbage(data: bytes) -> None:
    with pytest.raises(GarbageError):
        read_head(data)


def test_thousands_of_interim_answers_to_head_are_skipped() -> None:
    answer = read_head(b"HTTP/1.1 102 Processing\r\n\r\n" * 5000 + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert answer is not None
    assert answer.status == 204


# --- what an answer says


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        (b"retry-after: 7", 7),
        (b"Retry-After: 7", 7),
        (b"RETRY-AFTER:0", 0),
        (b"retry-after:   12  ", 12),
        (b"retry-after: 99999", 99_999),
        (b"retry-after: 100000", 0),
        (b"retry-after: -1", 0),
        (b"retry-after: 1.5", 0),
        (b"retry-after: Wed, 21 Oct 2015 07:28:00 GMT", 0),
        (b"retry-after:", 0),
        (b"x-retry-after: 7", 0),
        (b"vary: Origin", 0),
    ],
)
def test_retry_after_is_read_in_seconds_and_ignored_when_it_makes_no_sense(line: bytes, seconds: int) -> None:
    assert retry_after_ns(b"HTTP/1.1 429 \r\nvary: Origin\r\n" + line) == seconds * 1_000_000_000
    assert retry_after_ns(b"HTTP/1.1 429 \r\n" + line + b"\r\nvary: Origin") == seconds * 1_000_000_000


def stated(status: int, body: bytes) -> HttpAnswer:
    return HttpAnswer(status, b"", body, keep=True)


def failure(message: str) -> bytes:
    return msgspec.json.encode({"success": False, "error": message})


@pytest.mark.parametrize("expected", list(Answer))
@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"data":{"worker_id":"wrk_1","accepted":true}}',
        b'{"success": true, "data": {"worker_id": "wrk_1", "accepted": true}}',
        b'{"data":{"accepted"\n:\ttrue,"assignments":[]},"success":true}',
    ],
)
def test_acceptance_is_acceptance_whatever_was_expected(expected: Answer, body: bytes) -> None:
    """And however its JSON is spaced: other deployments are judged by the same measure."""
    assert classify_heartbeat(stated(200, body), expected) is Answer.ACCEPTED


MESSAGES: dict[Answer, tuple[int, str]] = {
    Answer.MISSING_FIELDS: (400, "missing required heartbeat fields"),
    Answer.MALFORMED_FIELDS: (400, "invalid heartbeat fields"),
    Answer.INVALID_TIMESTAMP: (400, "invalid timestamp"),
    Answer.TIMESTAMP_OUT_OF_WINDOW: (401, "invalid heartbeat auth"),
    Answer.INVALID_TOKEN: (401, "invalid heartbeat auth"),
    Answer.INVALID_CERTIFICATE: (401, "invalid heartbeat auth"),
    Answer.INVALID_SIGNATURE: (401, "invalid heartbeat auth"),
    Answer.NONCE_REPLAYED: (401, "invalid heartbeat auth"),
    Answer.NO_CONSENT: (403, "no active consent for worker/policy"),
    Answer.INVALID_REQUEST: (400, "invalid request"),
    Answer.POLICY_MISSING_HEADERS: (401, "unauthorized"),
    Answer.POLICY_INVALID_TOKEN: (401, "unauthorized"),
    Answer.POLICY_INVALID_CERTIFICATE: (401, "unauthorized"),
}


@pytest.mark.parametrize("expected", list(Answer))
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404])
@pytest.mark.parametrize("message", sorted({message for _, message in MESSAGES.values()} | {"unauthorized"}))
def test_a_refusal_is_the_expected_one_only_when_status_and_message_fit(
    expected: Answer,
    status: int,
    message: str,
) -> None:
    reasons = {
        Answer.EITHER: Answer.TIMESTAMP_OUT_OF_WINDOW,
        Answer.ONE_OF_COPIES: Answer.NONCE_REPLAYED,
        Answer.WHILE_REVOKING: Answer.NO_CONSENT,
        Answer.UNCOVERED: Answer.INVALID_SIGNATURE,
    }
    reason = reasons.get(expected, expected)
    fits = MESSAGES.get(reason) == (status, message)
    assert classify_heartbeat(stated(status, failure(message)), expected) is (reason if fits else Answer.UNEXPECTED)


@pytest.mark.parametrize("expected", list(Answer))
@pytest.mark.parametrize(
    ("status", "got"),
    [(429, Answer.RATE_LIMITED), (500, Answer.FAILED), (502, Answer.FAILED), (503, Answer.FAILED)],
)
def test_what_was_never_judged_is_neither_accepted_nor_refused(expected: Answer, status: int, got: Answer) -> None:
    assert classify_heartbeat(stated(status, failure("invalid heartbeat auth")), expected) is got


@pytest.mark.parametrize("body", [b"", b"{}", b'{"success":true,"data":{"accepted":false}}', b'{"accepted":"true"}'])
def test_a_200_that_does_not_say_accepted_is_unexpected(body: bytes) -> None:
    assert classify_heartbeat(stated(200, body), Answer.ACCEPTED) is Answer.UNEXPECTED


def test_every_counted_reason_has_its_message() -> None:
    assert {*REASONS, Answer.NO_CONSENT, Answer.INVALID_REQUEST} == set(MESSAGES)


@pytest.mark.parametrize("status", [300, 302, 304, 399])
def test_a_redirect_lets_no_attack_through(status: int) -> None:
    """Nothing was done; it is a wrong answer all the same."""
    got = classify(HttpAnswer(status, b"", b"", keep=True), refused(403, "forbidden", "it is not theirs"))
    assert got is Answer.UNEXPECTED
    assert (
        classify(HttpAnswer(200, b"", b"", keep=True), refused(403, "forbidden", "it is not theirs")) is Answer.ACCEPTED
    )


@given(written=answers(), cut=st.integers(0, 30), behind=st.sampled_from([b"", b"x", b"HTTP/1.1 200 \r\n\r\n"]))
def test_what_is_read_at_once_is_read_as_the_reader_reads_it(written: Written, cut: int, behind: bytes) -> None:
    data = written.wire[: len(written.wire) - cut] + behind
    answer = whole_answer(data)
    assert answer is None or answer == AnswerReader().feed(data)


def test_an_answer_of_the_usual_shape_is_read_at_once() -> None:
    head, body = b"HTTP/1.1 200 \r\nvary: Origin\r\ncontent-length: 2", b"{}"
    data = head + b"\r\n\r\n" + body
    assert whole_answer(data) == HttpAnswer(200, head, body, keep=True)
    for other in (data[:-1], data + b"x", data.replace(b"2\r", b"2x\r"), data.replace(b"200", b"100")):
        assert whole_answer(other) is None
