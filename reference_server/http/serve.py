"""Serving an API until told to stop: listeners, the express lane, Hypercorn, and a graceful end (contract §6, §11)."""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket as stdlib_socket
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext

from reference_server.http.accepting import accept
from reference_server.http.admission import Admission
from reference_server.http.express_lane import ExpressLane
from reference_server.http.guests import Guests
from reference_server.http.quart_app import create_app
from reference_server.http.rendering import Renderer
from reference_server.limits import BODY_MAX_BYTES, CONNECTIONS_MAX, LISTEN_BACKLOG, SEND_BUFFER_BYTES
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.settling import Settler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    from reference_server.operations.api import Api
    from reference_server.ports import Clock, Entropy
    from reference_server.settings import Settings

_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class ListenError(Exception):
    """The server cannot start listening; the message says what to do about it."""


def open_listeners(settings: Settings) -> list[stdlib_socket.socket]:
    """Bind the listening sockets. Raises ListenError, saying what to do."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = stdlib_socket.getaddrinfo(
            settings.host,
            settings.port,
            type=stdlib_socket.SOCK_STREAM,
            flags=stdlib_socket.AI_PASSIVE,
        )
    except (stdlib_socket.gaierror, UnicodeError) as error:  # the latter for what is no host name at all
        reason = getattr(error, "strerror", None) or "no host name is like that"
        raise ListenError(f"HOST: {settings.host!r} is no address of this machine ({reason})") from None
    listeners: list[stdlib_socket.socket] = []
    problem: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        # One port for all: where it is to be a free one, the first picks it.
        port = listeners[0].getsockname()[1] if listeners else settings.port
        both = family == stdlib_socket.AF_INET6 and address[0] == "::" and stdlib_socket.has_dualstack_ipv6()
        try:
            listener = stdlib_socket.create_server(
                (address[0], port, *address[2:]), family=family, backlog=LISTEN_BACKLOG, dualstack_ipv6=both
            )
        except OSError as error:
            if error.errno in _NO_SUCH_ADDRESS:
                problem = error  # a name may well have an address of a family that is turned off here
                continue
            for listener in listeners:
                listener.close()
            listeners, problem = [], error
            break
        # Connections have it from their listener.
        listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        listeners.append(listener)
    if not listeners and problem is not None:
        raise ListenError(
            f"cannot listen on {where} ({problem.strerror}): free the port, or set PORT to another (0 picks one)",
        ) from None
    return listeners


def make_config(settings: Settings) -> tuple[Config, SSLContext | None]:
    """Configure Hypercorn. Raises ListenError for TLS files that cannot be used."""
    config = Config()
    config.include_server_header = False
    config.accesslog = None
    config.certfile = settings.tls_cert_file or None
    config.keyfile = settings.tls_key_file or None
    config.keep_alive_max_requests = sys.maxsize
    # The guarded stream keeps the deadlines; Hypercorn's own must never come first.
    config.keep_alive_timeout = (
        settings.idle_timeout_seconds + settings.header_timeout_seconds + settings.body_timeout_seconds
    )
    config.h11_max_incomplete_size = 4 * BODY_MAX_BYTES
    try:
        return config, config.create_ssl_context()
    except (OSError, ValueError) as error:
        pair = f"{settings.tls_cert_file} with {settings.tls_key_file}"
        raise ListenError(
            f"TLS_CERT_FILE and TLS_KEY_FILE: cannot use {pair} ({error})",
        ) from None


async def serve_until(
    api: Api,
    clock: Clock,
    entropy: Entropy,
    stop: Callable[[], Awaitable[None]],
    *,
    express_lane: bool = True,
    connections_max: int = CONNECTIONS_MAX,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `stop` returns, then let requests in flight end, within the grace period.

    Reports the URLs once connections are accepted. Raises ListenError before that. `connections_max` are open at once.
    """
    settings = api.settings
    config, tls = make_config(settings)
    listeners = open_listeners(settings)
    mark = f"x-framing-{entropy.hex(32)}"
    settler = Settler(api, clock)
    app = ASGIWrapper(create_app(api, clock, settler, mark))
    lifespan = Lifespan(app, config, {})
    context = WorkerContext(None)
    admission = Admission(connections_max, settings.unproven_connections_per_address, settings.waiting_bytes_max)
    answerer = Answerer(api, clock, settler)
    front = Guests(app, config, context, settings, mark.encode(), admission, answerer, Renderer(entropy))
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        try:
            async with trio.open_nursery() as handlers:
                async with trio.open_nursery() as acceptors:
                    lane = None
                    if tls is None and express_lane:
                        lane = ExpressLane(api, clock, settings, admission, settler)
                        acceptors.start_soon(lane.run, listeners)
                    else:
                        for listener in listeners:
                            acceptors.start_soon(accept, listener, admission, partial(front.welcome, handlers, tls))
                    _calm_garbage_collector()
                    scheme = "http" if tls is None else "https"
                    task_status.started([_url(scheme, listener) for listener in listeners])
                    await stop()
                    acceptors.cancel_scope.cancel()
                for listener in listeners:
                    listener.close()
                deadline = trio.current_time() + settings.shutdown_grace_seconds
                handlers.cancel_scope.deadline = deadline
                front.stop(deadline)
                await context.terminated.set()
                if lane is not None:
                    with trio.move_on_after(settings.shutdown_grace_seconds):
                        await lane.drain()
                    lane.close()
        finally:
            await lifespan.wait_for_shutdown()
            lifespan_nursery.cancel_scope.cancel()


def _calm_garbage_collector() -> None:
    """Collect rarely: heartbeats make hardly any cycles, and a look through a fleet is a pause everybody feels."""
    gc.set_threshold(50_000, 50, 100)
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process


def _url(scheme: str, listener: stdlib_socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _until_told(signals: AsyncIterator[int], *, until_stdin_closes: bool) -> None:
    """Wait for a stop signal, or for the end of standard input."""
    async with trio.open_nursery() as nursery:

        async def watch_stdin() -> None:
            async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
                while await stdin.receive_some(4096):
                    pass
            nursery.cancel_scope.cancel()

        if until_stdin_closes:
            nursery.start_soon(watch_stdin)
        async for _ in signals:
            nursery.cancel_scope.cancel()


async def serve_until_signal(
    api: Api,
    clock: Clock,
    entropy: Entropy,
    *,
    express_lane: bool = True,
    connections_max: int = CONNECTIONS_MAX,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, and say on standard output where."""
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        stop = partial(_until_told, signals, until_stdin_closes=until_stdin_closes)
        async with trio.open_nursery() as nursery:
            serve = partial(
                serve_until, api, clock, entropy, stop, express_lane=express_lane, connections_max=connections_max
            )
            for url in await nursery.start(serve):
                with suppress(BrokenPipeError):
                    print(f"Listening on {url}", flush=True)  # noqa: T201 - this line is the program's output
            if sys.stderr.isatty():  # for whoever looks on; a log has the warning where they are few
                sys.stderr.write(f"Up to {connections_max:,} connections at once\n")
