from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import trio

from reference_server.limits import BODY_MAX_BYTES
from tests.http.corpus import get, post
from tests.http.processes import START_SECONDS, beat_over, enrol_over, running
from tests.http.serving import Server
from tests.http.twins import OWNER, written

HYPERCORN = str(Path(sys.executable).with_name("hypercorn"))
COMMAND = (HYPERCORN, "-k", "trio", "-b", "127.0.0.1:0", "--access-logfile", "-", "reference_server.app:asgi")


async def test_hypercorns_own_command_serves_the_whole_api() -> None:
    """A plain ASGI server needs the environment only, and answers as `hatchfarm serve` does."""
    async with running(COMMAND) as started:
        with trio.fail_after(START_SECONDS):
            line = await started.stderr.line_with("Running on ")
        address = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
        assert address is not None
        server = Server(address[0])
        async with server.client() as client:
            health = await client.ask(get("/health"))
            assert health.status == 200
            assert {name for name, _ in health.headers} == {"content-length", "content-type", "vary", "server"}
            machine = await enrol_over(client)
            assert await beat_over(client, machine, "n") == 200
            assert await beat_over(client, machine, "n") == 401
            assert (await client.ask(get("/api/v1/workers/summary", OWNER[1:]))).status == 401
            summary = await client.ask(get("/api/v1/workers/summary", OWNER))
            assert b'"total":1,"fresh":1' in summary.body
            assert (await client.ask(get("/nothing"))).body == b'{"success":false,"error":"not found"}'
        async with server.client() as client:
            too_large = written(post("/api/v1/policies")).replace(b"Length: 0", b"Length: %d" % (BODY_MAX_BYTES + 1))
            await client.send(too_large)
            answer = await client.answer("POST")
            assert (answer.status, answer.body) == (413, b'{"success":false,"error":"request body too large"}')
            # Whoever leaves in the middle of a body before that may have two of Hypercorn's tasks send at once.
            await started.stdout.line_with(" 413 ")
        assert await started.stop() == 0
    if "Traceback" in started.stderr.text:
        pytest.fail(started.stderr.text)  # all of it: an assertion would show a few lines
