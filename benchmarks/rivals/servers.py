"""The rivals as processes, each run as in production: `python -m benchmarks.rivals.servers KIND MACHINES`.

One process that serves, uvloop and httptools where they use such, no access log, nothing that changes headers. They say
what `benchmarks.servers` says: a line with the credentials of their machines, then where they listen.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING

from benchmarks.processes import ENVIRONMENT
from benchmarks.registering import register_machines
from benchmarks.rivals.decisions import Decisions
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.app import make_api
from reference_server.http.serve import calm_garbage_collector

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 4096
"""Connections that wait to be taken: a thousand machines connect at once."""
HOST = "127.0.0.1"


def _say_where(port: int) -> None:
    calm_garbage_collector()  # as this server's own: after everything there is
    sys.stdout.write(f"Listening on http://{HOST}:{port}\n")
    sys.stdout.flush()


def _run_uvicorn(app: object) -> None:
    import uvicorn  # noqa: PLC0415 - a rival's process loads that rival alone

    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        backlog=BACKLOG,
    )
    _say_where(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


def serve_starlette(decisions: Decisions) -> None:
    """Starlette on Uvicorn."""
    from benchmarks.rivals.starlette_app import make_starlette  # noqa: PLC0415 - as above

    _run_uvicorn(make_starlette(decisions))


def serve_ceiling(_decisions: Decisions) -> None:
    """Starlette on Uvicorn, deciding nothing."""
    from benchmarks.rivals.starlette_app import make_ceiling  # noqa: PLC0415 - as above

    _run_uvicorn(make_ceiling())


def serve_fastapi(decisions: Decisions) -> None:
    """FastAPI on Granian, whose one worker is a process that it forks."""
    from granian import Granian  # noqa: PLC0415 - as above
    from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415 - as above

    from benchmarks.rivals.fastapi_app import make_fastapi  # noqa: PLC0415 - as above

    with socket.create_server((HOST, 0)) as probe:  # it takes no socket, and does not say which port it got
        port = probe.getsockname()[1]
    app = make_fastapi(decisions)
    server = Granian(
        "rival",
        address=HOST,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        log_enabled=False,
    )
    _say_where(port)
    server.serve(target_loader=lambda _target: app)


def serve_quart(decisions: Decisions) -> None:
    """Quart-Trio on Hypercorn."""
    import trio  # noqa: PLC0415 - as above
    from hypercorn.config import Config  # noqa: PLC0415 - as above
    from hypercorn.trio import serve  # noqa: PLC0415 - as above

    from benchmarks.rivals.quart_app import make_quart  # noqa: PLC0415 - as above

    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.backlog = BACKLOG
    config.keep_alive_max_requests = sys.maxsize
    config.keep_alive_timeout = 75
    config.include_server_header = False
    config.loglevel = "WARNING"
    _say_where(listener.getsockname()[1])
    trio.run(serve, make_quart(decisions), config)


RIVALS: dict[str, Callable[[Decisions], None]] = {
    "starlette": serve_starlette,
    "fastapi": serve_fastapi,
    "quart": serve_quart,
    "ceiling": serve_ceiling,
}


def main(kind: str, machines: int) -> None:
    """Serve until terminated."""
    api = make_api({**os.environ, **ENVIRONMENT}, SystemEntropy(), clock := SystemClock())
    sys.stdout.write(json.dumps(register_machines(api, machines)) + "\n")
    sys.stdout.flush()
    RIVALS[kind](Decisions(api.state, clock))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
