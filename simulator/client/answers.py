"""Reading HTTP answers: a fast path for the shape this API's answers have, and httptools for every other."""

from __future__ import annotations

import re
from http import HTTPStatus

import httptools
import msgspec

from simulator.contract.answers import Answer
from simulator.contract.refusals import REFUSALS, failure_of
from simulator.limits import ANSWER_HEAD_MAX_BYTES, ANSWER_MAX_BYTES

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "
_INTERIM = b"HTTP/1.1 1"
_FRAMED = re.compile(rb"(?i)\r\n(?:content-length|transfer-encoding)[ \t]*:")
_CLOSING = re.compile(rb"(?i)\AHTTP/1\.0|\r\nconnection:[^\r\n]*\bclose\b")
_TLS_RECORD = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")
_ID_LINE = re.compile(rb"\r\nx-request-id: ([0-9a-zA-Z]{16})\r\n")
_ID_DIGITS = 16
_ACCEPTED = re.compile(rb'"accepted"\s*:\s*true\b')
OK, TOO_MANY, SERVER_ERROR = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS, 500


class GarbageError(Exception):
    """What came is no HTTP answer, or one without end."""


class HttpAnswer(msgspec.Struct, frozen=True):
    """One whole answer. `head` is the raw head; `keep` says whether the connection may be used again.

    `surplus` is what came with it and belongs to no answer that anybody waits for; all that came where the two cannot
    be told apart.
    """

    status: int
    head: bytes
    body: bytes
    keep: bool
    surplus: bytes = b""

    @property
    def raw(self) -> bytes:
        """Return the answer's bytes, as far as they matter: the head as it came, and the body without its framing."""
        return self.head + _HEAD_END + self.body


class _Collector:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.begun = 0
        self.complete = False
        self.keep = False
        self.status = 0
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_body(self, part: bytes) -> None:
        if not self.complete:
            self.parts.append(part)

    def on_message_complete(self) -> None:
        if not self.complete:
            self.complete = True
            self.status = self.parser.get_status_code()
            self.keep = bool(self.parser.should_keep_alive())  # once the message has ended, the parser no longer knows

    def feed(self, data: bytes) -> None:
        """Take what came. Raises GarbageError for what is no answer; what comes behind a whole one may be anything."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.complete:
                raise GarbageError(str(error)) from None
            self.begun += 1


def _plain_framing(head: bytes) -> tuple[int, int] | None:
    """Return the status and the body's length that a head of the usual shape says; None for one of any other."""
    at = head.find(_LENGTH)
    if at < 0 or not head.startswith(b"HTTP/1.1 "):
        return None
    if head.find(b"\r\nconnection") >= 0 or head.find(b"\r\nConnection") >= 0:
        return None
    line_end = head.find(b"\r\n", at + 18)
    digits = head[at + 18 : line_end] if line_end >= 0 else head[at + 18 :]
    status = head[9:12]
    if not (digits.isdigit() and status.isdigit()) or len(digits) > 8 or status < b"100":  # noqa: PLR2004 - past bounds
        raise GarbageError("no status or no length")
    return int(status), int(digits)


def whole_answer(data: bytes) -> HttpAnswer | None:
    """Return the answer that these bytes are, as nearly all are; None where an `AnswerReader` has to tell.

    What it reads, an `AnswerReader` reads alike.
    """
    end = data.find(_HEAD_END)
    if end < 0 or data.startswith(_INTERIM):
        return None
    head = data[:end]
    try:
        framing = _plain_framing(head)
    except GarbageError:
        return None
    if framing is None or end + 4 + framing[1] != len(data):
        return None
    return HttpAnswer(framing[0], head, data[end + 4 :], keep=True)


class WholeAnswers:
    """Reads answers that came whole, as `whole_answer` does, and no head twice that says the same.

    Heads of one second differ in their request ids alone, which are letters and digits.
    """

    def __init__(self) -> None:
        self._before = self._behind = b"\0"
        self._at = self._body_at = self._size = self._status = 0

    def read(self, data: bytes) -> HttpAnswer | None:
        """Return the answer that these bytes are; None where an `AnswerReader` has to tell."""
        at, behind_at = self._at, self._at + _ID_DIGITS
        if (
            len(data) == self._size
            and data.startswith(self._before)
            and data.startswith(self._behind, behind_at)
            and data[at:behind_at].isalnum()
        ):
            body_at = self._body_at
            return HttpAnswer(self._status, data[: body_at - 4], data[body_at:], True)  # noqa: FBT003 - by name costs more
        answer = whole_answer(data)
        found = None if answer is None else _ID_LINE.search(answer.head)
        if answer is not None and found is not None:
            self._at, self._body_at, self._size = found.start(1), len(answer.head) + 4, len(data)
            self._before, self._behind = data[: found.start(1)], data[found.end(1) : self._body_at]
            self._status = answer.status
        return answer


class AnswerReader:
    """Reads one answer of at most so many bytes as it comes, and goes over each byte once however they were cut.

    One `to_head`, the method, ends with its head whatever length it says (RFC 9110 §9.3.2). What came with it all the
    same is shown as its body, and the connection is of no more use.
    """

    def __init__(self, most: int = ANSWER_MAX_BYTES, *, to_head: bool = False) -> None:
        self._most = most
        self._to_head = to_head
        self._data = bytearray()
        self._searched = 0  # of the data: there is no end of a head in it
        self._interim_bytes = 0
        self._head: bytes | None = None
        self._status = 0
        self._end = 0
        self._collector: _Collector | None = None
        self._fed = 0  # of the data: the collector has it

    def feed(self, part: bytes, *, ended: bool = False) -> HttpAnswer | None:
        """Take the next part; returns the answer once it is whole, None before. Raises GarbageError.

        `ended` says that the connection was closed behind the part, which ends an answer that says no length (RFC 9112
        §6.3).
        """
        data = self._data
        data += part
        if self._head is None and not self._take_head():
            return None
        head = self._head or b""
        if self._to_head:
            rest = bytes(data[len(head) + 4 :])
            return HttpAnswer(self._status, head, rest, keep=not rest and _CLOSING.search(head) is None)
        if self._collector is not None:
            return self._read_any(self._collector, head, ended=ended)
        if len(data) < self._end:
            if self._end > self._most:
                raise GarbageError("an answer too long")
            return None
        if len(data) > self._end:
            body, surplus = bytes(data[len(head) + 4 : self._end]), bytes(data[self._end :])
            return HttpAnswer(self._status, head, body, keep=False, surplus=surplus)
        return HttpAnswer(self._status, head, bytes(data[len(head) + 4 :]), keep=True)

    def _take_head(self) -> bool:
        """Find the head behind interim answers, and what tells where the answer ends; false when it is not whole."""
        data = self._data
        while (end := data.find(_HEAD_END, self._searched)) >= 0 and data.startswith(_INTERIM):
            del data[: end + 4]
            self._searched = 0
            self._interim_bytes += end + 4
        if self._interim_bytes and self._interim_bytes + len(data) > self._most:
            raise GarbageError("interim answers without end")
        if end < 0:
            if not b"HTTP/1.1 ".startswith(data[:9]) and not data.startswith(b"HTTP/1."):
                raise GarbageError("it speaks TLS" if _TLS_RECORD.match(data) else "not HTTP")
            if len(data) > ANSWER_HEAD_MAX_BYTES:
                raise GarbageError("a head without end")
            self._searched = max(0, len(data) - 3)
            return False
        head = self._head = bytes(data[:end])
        if self._to_head:
            if not head[9:12].isdigit():
                raise GarbageError("no status")
            self._status = int(head[9:12])
            return True
        framing = _plain_framing(head)
        if framing is None:
            self._collector = _Collector()
        else:
            self._status, self._end = framing[0], end + 4 + framing[1]
        return True

    def _read_any(self, collector: _Collector, head: bytes, *, ended: bool) -> HttpAnswer | None:
        """Read an answer of any other shape; all of it is kept, as its connection's close may end it."""
        data = self._data
        collector.feed(bytes(memoryview(data)[self._fed :]))
        self._fed = len(data)
        if collector.complete:
            body = b"".join(collector.parts)
            if collector.begun > 1:
                return HttpAnswer(collector.status, head, body, keep=False, surplus=bytes(data))
            return HttpAnswer(collector.status, head, body, collector.keep)
        status = collector.parser.get_status_code()
        if len(data) > self._most:
            raise GarbageError("an answer without end")
        if ended and not _FRAMED.search(head):
            return HttpAnswer(status, head, bytes(data[len(head) + 4 :]), keep=False)
        return None


_REFUSED_FOR = {
    Answer.EITHER: Answer.TIMESTAMP_OUT_OF_WINDOW,
    Answer.ONE_OF_COPIES: Answer.NONCE_REPLAYED,
    Answer.WHILE_REVOKING: Answer.NO_CONSENT,
    Answer.UNCOVERED: Answer.INVALID_SIGNATURE,
}
"""What a refusal means where either was possible."""


def classify_heartbeat(answer: HttpAnswer, expected: Answer) -> Answer:
    """Return what a heartbeat, or a policy fetch, got: acceptance, the refusal that was expected, or something else."""
    status = answer.status
    if status == OK and _ACCEPTED.search(answer.body):
        return Answer.ACCEPTED
    if status == TOO_MANY:
        return Answer.RATE_LIMITED
    if status >= SERVER_ERROR:
        return failure_of(status, answer.body)
    expected = _REFUSED_FOR.get(expected, expected)
    refusal = REFUSALS.get(expected)
    if refusal is not None and status == refusal[0] and refusal[1] in answer.body:
        return expected
    return Answer.UNEXPECTED
