"""Serving a run's metrics on the loopback interface during the run, from a thread of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server

from simulator.view.exposition import RunCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.view.state import ViewState

ADDRESS = "127.0.0.1"


class ServingError(Exception):
    """Raised when the metrics cannot be served; the message says why and what to do."""


@contextmanager
def serving(port: int, latest: Callable[[], ViewState | None]) -> Iterator[str]:
    """Serve the metrics of the state that `latest` returns, on a port of 127.0.0.1 (0: any free one); yield their URL.

    They are computed at each scrape, so a run that nobody scrapes pays nothing. Raises ServingError.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RunCollector(latest))
    try:
        server, thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        raise ServingError(
            f"--serve-metrics {port}: cannot listen there on {ADDRESS} ({error.strerror}): give another, or 0 for any"
        ) from None
    try:
        yield f"http://{ADDRESS}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
