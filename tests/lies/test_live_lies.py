"""Lies that only sockets can tell, in front of a correct server: each run ends in FAIL and says what was told."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.adapters.clock import SystemClock
from tests.attacks.playing import read_request, served
from tests.broken_targets import faults
from tests.broken_targets.proxy import Moment
from tests.broken_targets.runs import FAIL, LIGHT, Case, Ended, assert_ended_well, play_all, scenario
from tests.lies.changing import RANDOM_SIGNATURE, shift_events
from tests.simulator.conftest import WatchedApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broken_targets.proxy import Asked, Fault, Talk

LATER_SECONDS = 0.02
OWN_CONNECTION = scenario((("replay.own-connection", 3), ("replay.exact", 4)))
ACCEPTED = b'{"success":true,"data":{"worker_id":"%b","accepted":true}}'


def on(method: str, end: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == method and asked.path.partition("?")[0].endswith(end)


async def twice(talk: Talk) -> bool:
    """Return the right answer twice at once."""
    await talk.stream.send_all(await talk.real() * 2)
    return True


async def doubled(talk: Talk) -> bool:
    """Return the right answer, and again a little later, when nobody waits for one."""
    answer = await talk.real()
    await talk.stream.send_all(answer)
    await trio.sleep(LATER_SECONDS)
    with suppress(trio.BrokenResourceError):
        await talk.stream.send_all(answer)
    return True


def believing() -> Fault:
    """Accept a heartbeat that its own connection has brought before: the connection has proven itself."""
    seen: dict[int, set[bytes]] = {}

    async def fault(talk: Talk) -> bool:
        brought = seen.setdefault(id(talk.stream), set())
        answer = await talk.real()
        if talk.asked.message in brought and b" 401 " in answer[:16]:
            worker_id = talk.asked.path.split("/")[-2].encode()
            body = ACCEPTED % worker_id
            head = re.sub(
                rb"(?i)content-length: \d+", b"content-length: %d" % len(body), answer.partition(b"\r\n\r\n")[0]
            )
            answer = head.replace(b" 401 ", b" 200 ", 1) + b"\r\n\r\n" + body
        brought.add(talk.asked.message)
        await talk.stream.send_all(answer)
        return True

    return fault


def second_server() -> Fault:
    """Have another server, which knows nobody, answer one request in four."""
    clock = SystemClock()
    api = WatchedApi(clock.now())
    turn = [0]

    async def fault(talk: Talk) -> bool:
        turn[0] += 1
        if turn[0] % 4:
            await talk.stream.send_all(await talk.real())
            return True
        reply = served(api, read_request(talk.asked.message, talk.asked.client), clock.now())
        lines = "".join(f"\r\n{name}: {value}" for name, value in reply.headers).encode()
        head = b"HTTP/1.1 %d %b\r\ncontent-length: %d\r\n\r\n" % (reply.status, lines, len(reply.body))
        await talk.stream.send_all(head.replace(b" \r\n", b"\r\n", 1) + reply.body)
        return True

    return fault


def signed_at_random(data: Any) -> Any:
    data["machine_certificate"]["signature"] = RANDOM_SIGNATURE
    return data


def an_hour_ahead(data: Any) -> Any:
    shift_events(data["events"])
    return data


BEATS = on("POST", "/heartbeat")
CASES = {
    case.name: case
    for case in (
        Case(
            "heartbeats answered twice",
            doubled,
            Moment.RUNNING,
            (FAIL,),
            ("nobody had asked for",),
            BEATS,
            scenario=LIGHT,
        ),
        Case(
            "registrations answered twice",
            twice,
            Moment.CHECK,
            (FAIL,),
            ("nobody had asked for",),
            on("POST", "/machines/register"),
            scenario=LIGHT,
        ),
        Case(
            "the connection is believed",
            believing(),
            Moment.CHECK,
            (FAIL,),
            ("replay.own-connection",),
            BEATS,
            scenario=OWN_CONNECTION,
        ),
        Case(
            "a second server behind the address",
            second_server(),
            Moment.RUNNING,
            (FAIL,),
            ("an honest heartbeat",),
            BEATS,
            scenario=LIGHT,
        ),
        Case(
            "certificates signed at random",
            faults.data(signed_at_random),
            Moment.CHECK,
            (FAIL,),
            ("signed by no key that is published",),
            on("POST", "/machines/register"),
            scenario=LIGHT,
        ),
        Case(
            "events an hour ahead",
            faults.data(an_hour_ahead),
            Moment.CHECK,
            (FAIL,),
            ("when nothing was done for it",),
            on("GET", "/audit/events"),
            scenario=LIGHT,
        ),
    )
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended | BaseException]:
    """What came of every lie."""
    return play_all(list(CASES.values()), tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", CASES)
def test_a_lie_over_sockets_is_proven(ended: dict[str, Ended | BaseException], name: str) -> None:
    assert_ended_well(CASES[name], ended[name])
