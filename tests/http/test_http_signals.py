from __future__ import annotations

import signal
from itertools import count
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.clock import SystemClock
from tests.http.corpus import get
from tests.http.processes import SERVE, START_SECONDS, enrol_over, running
from tests.http.twins import OWNER, written

if TYPE_CHECKING:
    from tests.http.serving import Server
    from tests.http.twins import Machine

GRACE_SECONDS = 1.5
HEALTH = get("/health")
AUDIT = get("/api/v1/audit/events", OWNER)


class Load:
    """Clients that ask without pause until the server closes, and what they got."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.answered = 0
        self.cut_off = 0

    async def ask_on(self, machine: Machine | None) -> None:
        """Send heartbeats, or reads; an answer that has begun must end, or reading it fails."""
        async with self._server.client() as client:
            for number in count():
                wall_ns = SystemClock().now().wall_ns
                request = HEALTH if machine is None else machine.heartbeat(f"n{number}", wall_ns)
                await client.send_what_it_takes(written(request))
                if not await client.has_begun_an_answer():
                    self.cut_off += 1
                    return
                assert (await client.answer(request.method)).status == 200
                self.answered += 1

    async def get_stuck(self, sent: bytes) -> None:
        """Send something, and then nothing until the server closes."""
        async with self._server.client() as client:
            await client.send(sent)
            await client.rest()

    async def never_read(self) -> None:
        """Ask for much, and read nothing until the server closes."""
        async with self._server.client() as client:
            while True:
                try:
                    await client.send(100 * written(AUDIT))
                except trio.BrokenResourceError:
                    return


@pytest.mark.parametrize(
    ("number", "flags"),
    [(signal.SIGTERM, ()), (signal.SIGINT, ("--no-express-lane",))],
    ids=["SIGTERM, lane", "SIGINT, hypercorn"],
)
async def test_a_signal_under_load_cuts_no_answer(number: signal.Signals, flags: tuple[str, ...]) -> None:
    """Every answer that began is whole, stuck clients are left behind, and the process ends in time, with 0."""
    settings = {"SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS)}
    async with running((*SERVE, *flags), settings) as started:
        server = await started.server()
        async with server.client() as client:
            machines = [await enrol_over(client, f"rack {name}") for name in range(3)]
        load = Load(server)
        async with trio.open_nursery() as nursery:
            half = written(machines[0].heartbeat("half"))
            for stuck in (b"", b"GET /health", half[:90], half[:-1], written(HEALTH)):
                nursery.start_soon(load.get_stuck, stuck)
            nursery.start_soon(load.never_read)
            for machine in machines:
                nursery.start_soon(load.ask_on, machine)
                nursery.start_soon(load.ask_on, None)
            with trio.fail_after(START_SECONDS):
                while load.answered < 300:
                    await trio.lowlevel.checkpoint()
            assert await started.stop(number) == 0
        assert load.cut_off == 6
    assert started.stderr.text == ""
