"""The servers the benchmarks measure, each a process of its own: `python -m benchmarks.servers KIND MACHINES [FILE]`.

`lane` and `hypercorn` are the reference server with and without its express lane, with `MACHINES` machines registered
through the API, or read from a state file, which it leaves alone afterwards; `routes` is `lane`, and shows requests of
every route. `heard` is `lane` whose machines have all been heard; `market` has as many that offer capacity, full of
jobs, and as many jobs more in its queue.
`direct` and `reactor` are yardsticks: bare Trio and httptools answering a constant, with one task for each connection
on raw sockets, and one task for all connections.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import selectors
import socket
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httptools
import trio

from benchmarks.market_filling import FullMarket, HeardFleet
from benchmarks.registering import register_machines
from benchmarks.route_requests import RouteRequests
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.app import make_api, serve_alone
from reference_server.core.recovery import restore
from reference_server.http.serve import serve_until_signal
from reference_server.wire.own_sections import load_state_file
from simulator.worlds.live.drive import WORKER_ID as DRIVEN_WORKER_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.operations.api import Api

BODY = b'{"success":true,"data":{"worker_id":"%s","accepted":true}}' % DRIVEN_WORKER_ID.encode()
CONSTANT = (
    b"HTTP/1.1 200 \r\ncontent-type: application/json\r\nx-request-id: 0123456789abcdef\r\nvary: Origin\r\n"
    b"content-length: %d\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n" % len(BODY)
) + BODY
RIGHT = [CONSTANT.replace(b"0123456789abcdef\r\nvary", b"%016x\r\nvary" % number) for number in range(256)]
"""The same with an id of its own for each, as a right server's: a client that looks must find nothing wrong."""


class _Counter:
    def __init__(self) -> None:
        self.complete = 0

    def on_message_complete(self) -> None:
        self.complete += 1


async def _direct(listener: socket.socket) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        counter = _Counter()
        parser = httptools.HttpRequestParser(counter)
        sock: Any = getattr(stream.socket, "_sock")  # noqa: B009 - the fairest yardstick skips Trio's wrapper too
        while True:
            try:
                data = sock.recv(65_536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            except OSError:
                data = b""
            if not data:
                break
            parser.feed_data(data)
            while counter.complete:
                counter.complete -= 1
                sock.send(CONSTANT)
        await trio.aclose_forcefully(stream)

    await trio.serve_listeners(serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


async def _reactor(listener: socket.socket) -> None:
    answers = itertools.cycle(RIGHT)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        await trio.lowlevel.wait_readable(selector.fileno())
        for key, _ in selector.select(0):
            if key.data is None:
                sock, _address = listener.accept()
                sock.setblocking(False)  # noqa: FBT003 - the socket API's own flag
                counter = _Counter()
                selector.register(sock, selectors.EVENT_READ, (sock, counter, httptools.HttpRequestParser(counter)))
                continue
            sock, counter, parser = key.data
            try:
                data = sock.recv(65_536)
            except OSError:
                data = b""
            if not data:
                selector.unregister(sock)
                sock.close()
                continue
            parser.feed_data(data)
            while counter.complete:
                counter.complete -= 1
                sock.send(next(answers))


YARDSTICKS: dict[str, Callable[[socket.socket], Awaitable[None]]] = {
    "direct": _direct,
    "reactor": _reactor,
}


def read_machines(api: Api, path: Path) -> None:
    """Fill an API that knows nothing with what a state file holds. It is kept in memory alone from here on."""
    gc.disable()  # what is made here all stays
    restore(api.state, load_state_file(path.read_bytes(), api.state.tables.sections), SystemClock().now())
    gc.enable()


def main(kind: str, machines: int, state_file: Path | None = None) -> None:
    """Serve until terminated; says where it listens, after a line with the credentials of its machines."""
    if kind in YARDSTICKS:
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        sys.stdout.write(f"[]\nListening on http://127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        trio.run(YARDSTICKS[kind], listener)
        return
    entropy = SystemEntropy()
    api = make_api(os.environ, entropy, SystemClock())
    shown: list[dict[str, Any]] = []
    if state_file is not None:
        read_machines(api, state_file)
        shown = RouteRequests(api, SystemClock()).shown() if kind == "routes" else []
    elif kind == "market":
        shown = FullMarket(api, machines, machines).shown()
    elif kind == "heard":
        shown = HeardFleet(api, machines).shown()
    elif machines:
        shown = register_machines(api, machines)
    sys.stdout.write(json.dumps(shown) + "\n")
    serve_alone(api, partial(serve_until_signal, api, SystemClock(), entropy, express_lane=kind != "hypercorn"))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(Path, sys.argv[3:]))
