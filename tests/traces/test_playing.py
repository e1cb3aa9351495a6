"""Playing a trace over real sockets: from the recorded addresses, in the recorded order, written as it was written."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from simulator.attacks.script import Expect, Wire
from simulator.client.target import Target, can_bind, parse_target
from simulator.contract.answers import Answer, Operation
from simulator.traces.messages import split_request
from simulator.traces.resign import Resigner
from simulator.worlds.live.replaying import Player
from tests.support.trying import tried_again_alone
from tests.traces.recorded import OWNER_TOKEN, Recording, answer_of, in_order, small_recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from simulator.traces.comparison import Played
    from simulator.traces.format import Trace

Heard = tuple[str, bytes]


class Farm:
    """A server that answers by a function of the request, and notes who sent what, one request a read."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self.heard: list[Heard] = []
        self.parts: list[int] = []

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        source = str(stream.socket.getpeername()[0])
        async with stream:
            async for part in stream:
                self.parts.append(len(part))
                data += part
                if b"\r\n\r\n" in data and (split_request(data) is not None or data.startswith(b"RAW")):
                    self.heard.append((source, data))
                    answer, data = self._answer(data), b""
                    if not answer:
                        return
                    await stream.send_all(answer)


@asynccontextmanager
async def farm(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[Farm, Target]]:
    made = Farm(answer)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, made.serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        yield made, parse_target(f"http://127.0.0.1:{port}", OWNER_TOKEN)
        nursery.cancel_scope.cancel()


def answers_of(recording: Recording, *, without: bytes = b"nothing") -> Callable[[bytes], bytes]:
    """Answer what `recording` did, in its order of requests, by method and path; refuse what is named."""
    left = [(one.request.split(b" HTTP")[0].split(b"wrk_")[0], one.answer or b"") for one in recording.taken]

    def answer(request: bytes) -> bytes:
        if without in request:
            return answer_of(429, error="rate limit exceeded")
        line = request.split(b" HTTP")[0].split(b"wrk_")[0]
        for index, (wanted, given) in enumerate(left):
            if wanted == line or (b"pol_" in line and b"pol_" in wanted):
                del left[index]
                return given
        return answer_of(404, error="not here")

    return answer


async def play(trace: Trace, target: Target, *, resign: bool) -> list[Played]:
    resigner = Resigner(trace.header, trace.exchanges, "new", target.authority, "s") if resign else None
    player = Player(trace, target, resigner)
    with trio.fail_after(60):
        await player.play()
    assert player.progress.done == len(trace.exchanges)
    return player.played


async def test_a_trace_is_played_in_its_order_and_told_as_it_was_answered() -> None:
    recording = small_recording()
    trace = recording.trace()
    async with farm(answers_of(small_recording("new"))) as (made, target):
        played = await play(trace, target, resign=True)
    assert [one.got.name.lower() for one in played] == [one.got for one in trace.exchanges]
    assert [one.problem for one in played] == [""] * len(played)
    kinds = [data.split(b" ")[1].split(b"/")[3] for _, data in made.heard]
    assert kinds == [b"policies", b"policies", b"machines", b"consents", b"machines", b"consents", *[b"workers"] * 5]


@pytest.mark.skipif(not can_bind("127.16.0.1"), reason="this platform has one loopback address")
async def test_each_exchange_leaves_from_its_recorded_address_and_keeps_its_connection() -> None:
    recording = Recording()
    for number in (1, 2, 1, 2):
        recording.take(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer_of(200), source=f"127.16.0.{number}")
    async with farm(lambda _: answer_of(200)) as (made, target):
        await play(recording.trace(), target, resign=False)
    assert [source for source, _ in made.heard] == ["127.16.0.1", "127.16.0.2"] * 2


async def test_what_builds_on_a_registration_that_fails_this_time_is_not_made_and_says_why() -> None:
    trace = small_recording().trace()
    async with farm(answers_of(small_recording("new"), without=b"machine 1")) as (_, target):
        played = await play(trace, target, resign=True)
    unmade = [index for index, one in enumerate(played) if one.problem]
    assert unmade == [7]
    assert "${machine.1.token}" in played[7].problem
    assert played[4].got is Answer.RATE_LIMITED


async def test_an_answer_that_never_comes_is_lost_and_the_rest_is_played() -> None:
    trace = small_recording().trace()
    async with farm(lambda data: b"" if b"aa" * 12 in data else answer_of(401, error="no")) as (_, target):
        played = await play(trace, target, resign=False)
    assert {index for index, one in enumerate(played) if one.got is Answer.LOST} == {6, 8}
    assert {one.status for index, one in enumerate(played) if index not in {6, 8}} == {401}


@pytest.mark.parametrize("then", ["read", "half-close"])
@tried_again_alone
async def test_a_raw_request_is_written_again_in_its_parts(then: str) -> None:
    recording = Recording()
    parts = ((b"RAW \xff one\r\n", 0.05), (b"two\r\n\r\n", 0.0))
    wire = Wire(parts, Expect(Answer.REFUSED, (400,)), "half-close" if then == "half-close" else "read", 0.3)
    whole = b"".join(part for part, _ in parts)
    recording.take(whole, answer_of(400, error="bad"), got=Answer.REFUSED, operation=Operation.OTHER, wire=wire)
    async with farm(lambda _: answer_of(400, error="bad")) as (made, target):
        played = await play(recording.trace(), target, resign=False)
    assert [data for _, data in made.heard] == [whole]
    assert made.parts == [len(part) for part, _ in parts]
    assert (played[0].status, played[0].got) == (400, Answer.REFUSED)


async def test_exchanges_keep_their_recorded_distance_in_time() -> None:
    recording = Recording()
    for moment in (0, 300, 500):
        recording.take(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", answer_of(200), sent_ns=moment * 1_000_000)
    at: list[float] = []

    def answer(_: bytes) -> bytes:
        at.append(trio.current_time())
        return answer_of(200)

    async with farm(answer) as (_, target):
        played = await play(recording.trace(), target, resign=False)
    assert in_order([round(moment * 1e9) for moment in at])
    assert at[1] - at[0] > 0.2
    assert at[2] - at[0] > 0.4
    assert [one.status for one in played] == [200] * 3
