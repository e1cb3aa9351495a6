from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import SetClock
from tests.http.corpus import WORLD, Case, framed, get, make_world
from tests.http.corpus_framing import FRAMING_CASES
from tests.http.corpus_routes import ROUTE_CASES
from tests.http.serving import Answer, Server, serving
from tests.http.twins import OWNER, START, written
from tests.support.tiers import SOAK, examples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reference_server.wire.values import Request

HYPERCORN_CUTS_APART = 1 if SOAK else 9
"""It cuts nothing itself; the lane, which does, is cut at each byte."""
MIXED_MAX_BYTES = 4096
"""Larger cases would make every example slow; the guard's own tests cut them into pieces."""
SMALL = [case for case in [*ROUTE_CASES, *FRAMING_CASES] if len(case.sent) <= MIXED_MAX_BYTES]
HEARTBEATS = [
    framed(f"beat {nonce}", written(beat), (200, beat)) for nonce in "abc" for beat in [WORLD.machine.heartbeat(nonce)]
]


async def exchange_in_pieces(server: Server, case: Case, cuts: Sequence[int]) -> list[Answer]:
    """Send a case piece by piece, each only when the server has taken what came before it."""
    async with server.client() as client:
        for start, end in pairwise([0, *sorted(cuts), len(case.sent)]):
            await client.send_what_it_takes(case.sent[start:end])
            await wait_all_tasks_blocked()
        answers = [await client.answer(method) for method in case.methods]
        assert await (client.rest() if case.closes else client.end()) == b""
    return answers


@settings(deadline=None, max_examples=examples(40))
@given(
    mix=st.lists(st.sampled_from(SMALL) | st.sampled_from(HEARTBEATS), min_size=1, max_size=6),
    places=st.lists(st.floats(0, 1), max_size=6),
)
async def test_any_mix_in_any_pieces_is_answered_alike(mix: list[Case], places: list[float]) -> None:
    """Lane, Hypercorn and the table give the same answers, in order, and are left in the same state."""
    case = reduce(Case.then, mix)
    cuts = [int(place * len(case.sent)) for place in places]
    (laned, _), (served, _), (twin, _) = make_world(), make_world(), make_world()
    async with (
        serving(laned, SetClock(), express_lane=True) as lane,
        serving(served, SetClock(), express_lane=False) as hypercorn,
    ):
        direct = case.direct(twin)
        assert await exchange_in_pieces(lane, case, cuts) == direct
        assert await exchange_in_pieces(hypercorn, case, cuts) == direct
    for question in (
        get("/api/v1/audit/events", OWNER),
        get("/metrics", OWNER),
        get("/api/v1/workers/statuses", OWNER),
    ):
        shown = [api.handle(question, START).body for api in (laned, served, twin)]
        assert shown == shown[:1] * 3


def conversation(number: int) -> Case:
    """Heartbeat, read, heartbeat: into the lane, out of it, and past it."""
    first, last = (WORLD.machine.heartbeat(f"{name}{number:04}") for name in "ab")
    requests: list[Request] = [first, get("/health"), last]
    return framed("conversation", b"".join(map(written, requests)), *((200, request) for request in requests))


def chunked_conversation(number: int) -> Case:
    """A heartbeat in chunks that closes, behind a plain one."""
    first, last = (WORLD.machine.heartbeat(f"{name}{number:04}") for name in "ab")
    head = written(last, "Connection: close").partition(b"Content-Length")[0]
    chunks = b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nc: d\r\n\r\n"
    chunked = head + chunks % (last.body[:5], len(last.body) - 5, last.body[5:])
    return framed("chunks", written(first) + chunked, (200, first), (200, last), closes=True)


def refused_conversation(number: int) -> Case:
    """Two heartbeats, the second malformed in its last header, and one that nobody serves."""
    first, last = (WORLD.machine.heartbeat(f"{name}{number:04}") for name in "ab")
    return framed("refusal", written(first) + written(last).replace(b"\r\n\r\n", b"\nA: b\r\n\r\n"), (200, first), 400)


@pytest.mark.parametrize(
    ("converse", "express_lane"),
    [(conversation, True), (conversation, False), (refused_conversation, True)],
)
async def test_a_cut_at_any_byte_changes_no_answer(converse: Callable[[int], Case], *, express_lane: bool) -> None:
    api, twin = make_world()[0], make_world()[0]
    async with serving(api, SetClock(), express_lane=express_lane) as server:
        for cut in range(1, len(converse(0).sent), 1 if express_lane else HYPERCORN_CUTS_APART):
            case = converse(cut)
            assert await exchange_in_pieces(server, case, [cut]) == case.direct(twin), case.sent[:cut]


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
@pytest.mark.parametrize("converse", [conversation, chunked_conversation, refused_conversation])
async def test_byte_by_byte_changes_no_answer(converse: Callable[[int], Case], *, express_lane: bool) -> None:
    api, twin = make_world()[0], make_world()[0]
    case = converse(0)
    async with serving(api, SetClock(), express_lane=express_lane) as server:
        assert await exchange_in_pieces(server, case, range(1, len(case.sent))) == case.direct(twin)
