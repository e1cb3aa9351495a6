"""How a run is spread over processes and hosts, as the flags and the scenario ask for it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from simulator.scenario.values import Scenario

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
"""What every process of Locust runs."""
MASTER_PORT = 5557
"""Locust's own default."""
SPREADING = "--workers, --master and --web"
"""The flags that ask for it, for people who have to leave them out."""
START_SECONDS = 100.0
"""How long a test may take to begin."""
WORKERS_SECONDS = 90.0
"""How long of that the master waits for workers, those on other hosts among them."""


class ConductorError(Exception):
    """Locust did not start, or came to nothing; the message says why and what to do."""


class ConductorOptions(msgspec.Struct, frozen=True):
    """How a run is spread: over `workers` of this host, or, where `master` is an address, over ones that come there.

    `web_port` is where Locust's web UI is served meanwhile, None for nowhere. A test may take
    `start_seconds` to begin, and of that the master waits `workers_seconds` for workers.
    """

    workers: int = 1
    master: str = ""
    master_port: int = MASTER_PORT
    web_port: int | None = None
    options: tuple[str, ...] = ()
    """The flags that asked for this, beyond what the scenario says."""
    start_seconds: float = START_SECONDS
    workers_seconds: float = WORKERS_SECONDS

    @property
    def asked_for(self) -> bool:
        """Return whether flags ask for it, and not only the scenario."""
        return bool(self.options) or self.web_port is not None


def conductor_options(
    scenario: Scenario, workers: int | None, master: tuple[str, int] | None, web_port: int | None
) -> ConductorOptions | None:
    """Return how Locust conducts a run of this scenario, asked for this; None for one that needs no conductor."""
    wanted = scenario.fleet.processes if workers is None else workers
    if not scenario.load and wanted == 1 and master is None and web_port is None:
        return None
    host, port = master or ("", MASTER_PORT)
    options = [] if workers is None else ["--workers", str(workers)]
    options += [] if master is None else ["--master", f"{host}:{port}"]
    return ConductorOptions(wanted, host, port, web_port, tuple(options))


def see_that_the_web_ui_can_be_served(wanted: ConductorOptions) -> str:
    """Return the URL of the web UI, empty without one. Raises ConductorError where something else is there."""
    port = wanted.web_port
    if port is None:
        return ""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConductorError(
                f"the web UI cannot be served on port {port} ({error.strerror}): give another --web-port"
            ) from None
    return f"http://127.0.0.1:{port}"
