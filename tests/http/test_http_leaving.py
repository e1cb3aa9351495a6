"""Clients that connect, send a part of something and leave, over and over: nothing of them stays."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from itertools import cycle, islice
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from reference_server.adapters.memory.clocks import LoopClock
from tests.http.corpus import BEARER, body_but_a_byte, get
from tests.http.serving import PATIENCE_SECONDS, Server, serving
from tests.http.twins import enrol, make_api, written
from tests.support.circles import circles
from tests.support.open_sockets import open_sockets
from tests.support.tiers import SOAK
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.twins import Machine

VISITS = {"lane": 100_000 if SOAK else 5_000, "hypercorn": 10_000 if SOAK else 2_000}
AT_ONCE = 20


def parts(machine: Machine) -> list[bytes]:
    """Everything that a client may leave behind: halves of requests, whole ones, refusals."""
    beat = written(machine.heartbeat("n"))
    return [
        b"",
        b"P",
        beat[:200],
        beat[:-1],
        written(get("/health")),
        3 * written(get("/health")),
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        body_but_a_byte("/api/v1/policies")[:40_000],
        body_but_a_byte("/api/v1/policies", *BEARER)[:40_000],
        written(get("/health"), "Connection: close"),
        b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ]


async def keep_visiting(server: Server, sent: Iterator[bytes]) -> None:
    """Connect, send and leave, until there is nothing more to send. On bare sockets, which leave nothing themselves."""
    for data in sent:
        with trio.socket.socket() as client:
            await client.connect(server.address)
            rest = memoryview(data)
            with suppress(OSError):
                while rest:
                    rest = rest[await client.send(rest) :]


async def visits(server: Server, machine: Machine, number: int) -> None:
    """Have so many clients come and leave, and the server see that all have: on a busy machine their ends come late."""
    before = open_sockets()
    sent = islice(cycle(parts(machine)), number)
    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(keep_visiting, server, sent)
    async with server.client() as last:
        assert (await last.ask(get("/health"))).status == 200
    await until(lambda: open_sockets() <= before)


@pytest.mark.timeout(1200 if SOAK else 600)
@pytest.mark.parametrize("way", ["lane", "hypercorn"])
async def test_clients_that_leave_leave_no_memory_behind(way: str) -> None:
    """With the collector off, as it nearly is in a server: only what is freed at once is free."""
    api = make_api(unproven_connections_per_address=AT_ONCE)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way == "lane") as server:
        await visits(server, machine, 500)
        gc.disable()
        try:
            await settled_blocks()
            gc.collect()
            before = await settled_blocks()
            await visits(server, machine, VISITS[way])
            await settled_blocks()
            assert circles() == []
            # Pools fill up meanwhile, and tasks of the last clients end; whatever stayed of each would be a block at
            # least, and would stay.
            grown: list[int] = []

            def nothing_stays() -> bool:
                grown.append(sys.getallocatedblocks() - before)
                return grown[-1] < VISITS[way]

            with suppress(trio.TooSlowError):
                await until(nothing_stays, seconds_max=PATIENCE_SECONDS)
        finally:
            gc.enable()
        assert min(grown) < VISITS[way], f"{min(grown)} blocks of memory stay of {VISITS[way]} clients"


async def settled_blocks() -> int:
    """Count the blocks of memory once nothing goes away any more."""
    with trio.fail_after(PATIENCE_SECONDS):
        before = sys.getallocatedblocks()
        while True:
            await trio.testing.wait_all_tasks_blocked(0.05)
            now = sys.getallocatedblocks()
            if now >= before:
                return now
            before = now
