"""Serving an API until told to stop: listeners, what serves connections, and a graceful end (contract §6, §11)."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import AsyncExitStack, closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.http.admission import Admission
from reference_server.http.express_lane import ExpressLane
from reference_server.http.listening import make_tls_context, open_listeners
from reference_server.limits import CONNECTIONS_MAX
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from ssl import SSLContext

    from reference_server.operations.api import Api
    from reference_server.ports import Clock, Entropy


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
    tls = make_tls_context(settings)
    resolver = Resolver(api, clock)
    admission = Admission(connections_max, settings.unproven_connections_per_address, settings.waiting_bytes_max)
    async with AsyncExitStack() as stack:
        listeners = [stack.enter_context(closing(listener)) for listener in open_listeners(settings)]
        resolving = await stack.enter_async_context(trio.open_nursery())
        await resolving.start(resolver.run)
        try:
            async with trio.open_nursery() as handlers:
                front = _make_front(api, clock, entropy, resolver, admission, handlers, tls, express_lane=express_lane)
                with closing(front):  # whatever ends it
                    async with trio.open_nursery() as acceptors:
                        acceptors.start_soon(front.run, listeners)
                        calm_garbage_collector()
                        scheme = "http" if tls is None else "https"
                        task_status.started([_url(scheme, listener) for listener in listeners])
                        await stop()
                        acceptors.cancel_scope.cancel()
                    for listener in listeners:
                        listener.close()
                    deadline = trio.current_time() + settings.shutdown_grace_seconds
                    handlers.cancel_scope.deadline = deadline
                    await front.finish(deadline)
        finally:
            await resolver.stop()


class _Front(Protocol):
    """What takes connections and answers what comes on them."""

    async def run(self, listeners: Sequence[stdlib_socket.socket], /) -> None:
        """Take connections until cancelled."""

    async def finish(self, deadline: float, /) -> None:
        """End by the deadline, a time of Trio's clock. Called once accepting has stopped."""

    def close(self) -> None:
        """Close what is left, at once."""


def _make_front(
    api: Api,
    clock: Clock,
    entropy: Entropy,
    resolver: Resolver,
    admission: Admission,
    handlers: trio.Nursery,
    tls: SSLContext | None,
    *,
    express_lane: bool,
) -> _Front:
    """Make what serves the connections. Only what serves them is imported: the others would double a start's work."""
    settings = api.settings
    answerer = Answerer(api, clock, resolver)
    if tls is None and not express_lane:
        from reference_server.http.hypercorn_front import HypercornFront  # noqa: PLC0415 - see above

        return HypercornFront(admission, handlers, settings, api.proxies, answerer, entropy)
    lane = ExpressLane(api, clock, settings, admission, resolver)
    if tls is None and not settings.proxy_protocol:
        return lane
    from reference_server.http.opening import Opening  # noqa: PLC0415 - see above

    return Opening(lane, admission, handlers, settings, api.proxies, tls, answerer)


def calm_garbage_collector() -> None:
    """Collect rarely: heartbeats make hardly any cycles, and a look through a fleet is a pause everybody feels."""
    gc.set_threshold(50_000, 50, 100)
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process


def _url(scheme: str, listener: stdlib_socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a server. A hang-up that whoever started it had ignored (nohup) stays ignored."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


async def _until_stopped(signals: AsyncIterator[int], *, until_stdin_closes: bool) -> None:
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
    """Serve until one of `stop_signals` comes, and say on standard output where."""
    with trio.open_signal_receiver(*stop_signals()) as signals:
        stop = partial(_until_stopped, signals, until_stdin_closes=until_stdin_closes)
        async with trio.open_nursery() as nursery:
            serve = partial(
                serve_until, api, clock, entropy, stop, express_lane=express_lane, connections_max=connections_max
            )
            for url in await nursery.start(serve):
                with suppress(BrokenPipeError):
                    print(f"Listening on {url}", flush=True)  # noqa: T201 - this line is the program's output
            if sys.stderr.isatty():  # for whoever looks on; a log has the warning where they are few
                sys.stderr.write(f"Up to {connections_max:,} connections at once\n")
