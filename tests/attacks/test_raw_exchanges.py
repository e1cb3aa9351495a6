"""Raw exchanges tell exactly what came, however the server behaves, and go into the history as what they were."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from simulator.attacks.script import Expect, ExpectedEvent, Wire, WireAnswer, WireOutcome, granted
from simulator.client.known_secrets import KnownSecrets
from simulator.client.raw import Answers, _RawExchange, exchange_raw
from simulator.client.target import Target, parse_target
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, History
from simulator.limits import ANSWER_MAX_BYTES
from simulator.worlds.recording import record_wire
from tests.attacks.live import written, wrong_server
from tests.simulator.conftest import API_TOKEN, sockets_closed_after
from tests.support.ports import closed_port

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.attacks.live import Connection

SOURCE = "127.13.0.9"
REFUSED = Expect(Answer.REFUSED, (0, 400), "", "a reason")
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLOSING = b"HTTP/1.1 400 X\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbad"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
EMPTY = b"HTTP/1.1 204 X\r\n\r\n"
OPEN_ENDED = b"HTTP/1.0 200 OK\r\n\r\nuntil the end"


def read(data: bytes, *, size: int = 0, ended: bool = True) -> Answers:
    answers = Answers(lambda: 7)
    for at in range(0, len(data), size or len(data) or 1):
        answers.feed(data[at : at + (size or len(data))])
    if ended:
        answers.end()
    return answers


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize(
    ("data", "whole", "rest"),
    [
        (GOOD, [(200, b"hi")], b""),
        (GOOD + GOOD, [(200, b"hi")] * 2, b""),
        (CLOSING + GOOD, [(400, b"bad"), (200, b"hi")], b""),
        (CHUNKED + GOOD, [(200, b"hello"), (200, b"hi")], b""),
        (INTERIM + GOOD, [(200, b"hi")], b""),
        (EMPTY + GOOD, [(204, b""), (200, b"hi")], b""),
        (OPEN_ENDED, [(200, b"until the end")], b""),
        (GOOD + GOOD[:-1], [(200, b"hi")], GOOD[:-1]),
        (GOOD + b"SSH-2.0\r\n\r\nmore", [(200, b"hi")], b"SSH-2.0\r\n\r\nmore"),
        (CHUNKED.replace(b"3\r\n", b"x\r\n"), [], CHUNKED.replace(b"3\r\n", b"x\r\n")),
        (b"", [], b""),
    ],
    ids=["one", "two", "behind a close", "chunked", "interim", "no body", "until the end", "cut", "no HTTP", "bad", ""],
)
def test_every_answer_is_read_wherever_it_was_cut(
    data: bytes, whole: list[tuple[int, bytes]], rest: bytes, size: int
) -> None:
    answers = read(data, size=size)
    assert [(one.status, one.body) for one in answers.whole] == whole
    assert answers.rest == rest
    assert all(one.at_ns == 7 for one in answers.whole)


def test_an_answer_without_a_length_is_not_whole_before_the_close() -> None:
    assert not read(OPEN_ENDED, ended=False).whole


# --- over sockets


async def raw(target: Target, *parts: tuple[bytes, float], **more: object) -> WireOutcome:
    step = Wire(parts, REFUSED, **{"patience_seconds": 5.0, **more})  # type: ignore[arg-type]  # keywords of the tests
    return await exchange_raw(target, SOURCE, step, time.monotonic_ns)


async def echo(connection: Connection) -> None:
    """Answer what there is when a line ends, and close on `end`."""
    while await connection.more():
        if connection.unread.endswith(b"\n"):
            await connection.send(written(200, connection.unread.strip()))
            if b"end" in connection.unread:
                return
            connection.unread = b""


async def test_what_answers_on_raw_connections_give_out_is_known() -> None:
    """An identity is what a server believed only where there was one request to believe."""
    given = b'{"token":"01234567"} X\r\nX-Moltbook-Identity: me-12345\r\n\n'
    for times in (1, 2):
        async with wrong_server(echo) as target:
            known = KnownSecrets()
            noted = msgspec.structs.replace(target, secrets=known)
            await raw(noted, *[(given, 0.1)] * (times - 1), (given + b"end\n", 0.0))
        assert known.kinds == {
            b"01234567": "session token",
            **({b"me-12345": "Moltbook identity"} if times == 1 else {}),
        }


async def test_parts_are_paced_and_each_answer_has_its_moment() -> None:
    async with wrong_server(echo) as target:
        outcome = await raw(target, (b"one\n", 0.1), (b"two end\n", 0.0))
    assert [one.body for one in outcome.answers] == [b"one", b"two end"]
    assert (outcome.connected, outcome.closed) == (True, True)
    first, second = outcome.parts_ns
    assert second - first >= 100_000_000
    assert outcome.sent_ns <= first <= outcome.answers[0].at_ns <= second <= outcome.answers[1].at_ns
    assert outcome.answers[1].at_ns <= outcome.closed_ns


async def test_patience_ends_with_a_server_that_never_closes() -> None:
    async with wrong_server(echo) as target:
        outcome = await raw(target, (b"one\n", 0.0), patience_seconds=0.2)
    assert [one.body for one in outcome.answers] == [b"one"]
    assert (outcome.connected, outcome.closed) == (True, False)


async def test_nobody_there_is_neither_connected_nor_closed() -> None:
    async with sockets_closed_after():
        with closed_port() as port:
            outcome = await raw(parse_target(f"http://127.0.0.1:{port}", API_TOKEN), (b"x", 0.0))
    assert (outcome.connected, outcome.closed, outcome.answers) == (False, False, ())


async def test_a_half_close_is_seen_and_answers_behind_it_are_read() -> None:
    async def after_the_end(connection: Connection) -> None:
        while await connection.more():
            pass
        await connection.send(written(200, connection.unread))

    async with wrong_server(after_the_end) as target:
        outcome = await raw(target, (b"all", 0.0), then="half-close")
    assert [one.body for one in outcome.answers] == [b"all"]


async def test_an_answer_may_end_with_its_connection() -> None:
    async def old(connection: Connection) -> None:
        await connection.more()
        await connection.send(OPEN_ENDED)

    async with wrong_server(old) as target:
        outcome = await raw(target, (b"x", 0.0))
    assert [one.body for one in outcome.answers] == [b"until the end"]


@pytest.mark.parametrize("after", [0, 4])
async def test_a_reset_comes_at_once_or_in_the_middle_of_an_answer(after: int) -> None:
    ends: list[str] = []
    ended = trio.Event()

    async def listening(connection: Connection) -> None:
        try:
            while data := await connection.stream.receive_some():
                connection.unread += data
                await connection.send(b"HTTP/1.1 200 ")
            ends.append("closed")
        except trio.BrokenResourceError:
            ends.append("reset")
        ended.set()

    async with wrong_server(listening) as target:
        outcome = await raw(target, (b"x", 0.0 if after else 0.05), then="reset", reset_after_bytes=after)
        with trio.fail_after(60):
            await ended.wait()
    assert ends == ["reset"]
    assert (outcome.connected, outcome.closed) == (True, False)
    assert outcome.rest.startswith(b"HTTP/1.1 200 ") or not after


async def test_a_slow_reader_takes_little_at_first_and_the_rest_later() -> None:
    size = 4 << 19

    async def large(connection: Connection) -> None:
        await connection.message()
        await connection.send(written(200, b"x" * size))

    async with wrong_server(large) as target:
        outcome = await raw(
            target, (b"GET / HTTP/1.1\r\n\r\n", 0.0), then="read-slowly", read_bytes_per_second=1, slow_seconds=0.3
        )
    assert [len(one.body) for one in outcome.answers] == [size]
    assert outcome.closed_ns - outcome.sent_ns >= 300_000_000


async def test_answers_without_end_are_not_kept_without_end() -> None:
    async def endless(connection: Connection) -> None:
        while True:
            await connection.send(b"x" * 100_000)

    async with wrong_server(endless) as target:
        outcome = await raw(target, (b"", 0.0))
    assert ANSWER_MAX_BYTES <= len(outcome.rest) < ANSWER_MAX_BYTES + 100_000
    assert not outcome.closed


# --- into the history


def answered(*statuses: int) -> WireOutcome:
    answers = tuple(WireAnswer(status, b"HTTP/1.1", b"error text", 20) for status in statuses)
    return WireOutcome(answers, b"", connected=True, closed=True, sent_ns=10, closed_ns=30)


UNANSWERED = WireOutcome(connected=True, closed=True, sent_ns=10, closed_ns=30)
CUT_OFF = WireOutcome(connected=True, closed=False, sent_ns=10, closed_ns=30)
NOT_MADE = WireOutcome(sent_ns=10, closed_ns=30)
MAKES = (ExpectedEvent("policy_created", "owner:ada", "", ("ada",)),)


@pytest.mark.parametrize(
    ("expect", "outcome", "got", "answered_ns", "kept"),
    [
        (REFUSED, answered(400), Answer.REFUSED, 20, False),
        (REFUSED, answered(400, 201), Answer.REFUSED, 20, False),
        (REFUSED, answered(200), Answer.ACCEPTED, 20, True),
        (REFUSED, answered(404), Answer.UNEXPECTED, 20, True),
        (REFUSED, answered(429), Answer.RATE_LIMITED, 20, False),
        (REFUSED, answered(503), Answer.FAILED, 20, True),
        (REFUSED, UNANSWERED, Answer.REFUSED, 30, False),
        (Expect(Answer.REFUSED, (400,)), UNANSWERED, Answer.LOST, NEVER_NS, False),
        (REFUSED, CUT_OFF, Answer.LOST, NEVER_NS, False),
        (REFUSED, NOT_MADE, Answer.LOST, NEVER_NS, False),
        (granted(201), answered(201), Answer.ACCEPTED, 20, False),
        (Expect(Answer.ACCEPTED, (201, 0)), UNANSWERED, Answer.LOST, NEVER_NS, False),
        (Expect(Answer.WITHIN_LIMIT, (200,)), answered(200), Answer.ACCEPTED, 20, False),
        (Expect(Answer.WITHIN_LIMIT, (200,)), answered(429), Answer.RATE_LIMITED, 20, False),
    ],
)
def test_a_raw_exchange_is_one_row_by_its_first_answer(
    expect: Expect, outcome: WireOutcome, got: Answer, answered_ns: int, *, kept: bool
) -> None:
    history = History()
    step = Wire(((b"a", 0.0), (b"b", 0.0)), expect, operation=Operation.REGISTER)
    assert record_wire(history, 3, step, outcome, 77) is got
    (row,) = history.rows()
    shown = (row["got"], row["expected"], row["operation"], row["campaign"], row["source"], row["answered_ns"])
    assert shown == (got, expect.answer, Operation.REGISTER, 3, 77, answered_ns)
    assert bool(history.exchanges) is kept
    assert all(one.request == b"ab" and b"error text" in one.answer for one in history.exchanges)


@pytest.mark.parametrize(
    ("outcome", "sure"),
    [(answered(201), [True]), (CUT_OFF, [False]), (answered(503), [False]), (answered(429), [])],
    ids=["done", "cut off", "broken down", "limited"],
)
def test_what_a_raw_exchange_leaves_is_sure_only_when_it_was_answered_so(
    outcome: WireOutcome, sure: list[bool]
) -> None:
    history = History()
    record_wire(history, 1, Wire(((b"a", 0.0),), granted(201), expected_events=MAKES), outcome, 1)
    assert [one.sure for one in history.effects] == sure


class LateStream:
    """Sends one answer long after slow reading has ended."""

    def __init__(self) -> None:
        self._parts = [GOOD, b""]

    async def receive_some(self, _bytes: int) -> bytes:
        await trio.sleep(5)
        return self._parts.pop(0)


async def test_an_answer_that_comes_after_slow_reading_has_ended_is_read(autojump_clock: MockClock) -> None:
    """It was a fault of the attempt's own once: a pause that had ended before it began."""
    del autojump_clock
    step = Wire(((b"", 0.0),), REFUSED, "read-slowly", read_bytes_per_second=1, slow_seconds=1)
    exchange = _RawExchange(parse_target("http://127.0.0.1:1", API_TOKEN), step, lambda: 0)
    await exchange._read(LateStream(), trio.CancelScope())  # type: ignore[arg-type]
    assert [answer.body for answer in exchange.answers.whole] == [b"hi"]
