"""The flags with which a run is spread over processes and hosts, and `hatchfarm worker`."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from typing import Annotated

import trio
import typer

from simulator.client.access import environ_of
from simulator.commands.failing import fail
from simulator.commands.target_flags import TOKEN_VARIABLE, TargetFlags, aimed
from simulator.limits import SHARDS_MAX, WORKER_WAIT_MAX_SECONDS
from simulator.load.options import LOCUSTFILE, MASTER_PORT

WEB_PORT = 8089
PORT_MAX = 65_535
KNOCK_SECONDS = 0.5
"""How often a worker looks for its master, and how long each time."""
Workers = Annotated[
    int | None,
    typer.Option(
        help="Locust workers, each with a process that plays machines; the scenario's `fleet.processes` by default.",
        envvar="HATCHFARM_WORKERS",
        min=1,
        max=SHARDS_MAX,
    ),
]
Master = Annotated[
    str | None,
    typer.Option(
        help="This host's address, as HOST or HOST:PORT, at which `hatchfarm worker` of other hosts joins.",
        envvar="HATCHFARM_MASTER",
    ),
]
Web = Annotated[
    bool, typer.Option("--web/--no-web", help="Show Locust's web UI while the run lasts.", envvar="HATCHFARM_WEB")
]
WebPort = Annotated[
    int, typer.Option(help="Where on 127.0.0.1 the web UI is.", envvar="HATCHFARM_WEB_PORT", min=1, max=PORT_MAX)
]


def host_and_port(address: str) -> tuple[str, int]:
    """Read HOST or HOST:PORT. Raises ValueError, saying how it is written."""
    host, colon, port = address.partition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0 if colon else MASTER_PORT
    if not host or not 1 <= number <= PORT_MAX:
        raise ValueError(f"--master {address}: write it like 192.0.2.7 or 192.0.2.7:{MASTER_PORT}")
    return host, number


@aimed(url=False, judging=False)
def worker(
    master: Annotated[
        str,
        typer.Option(help="Where `hatchfarm run --master` waits, as HOST or HOST:PORT.", envvar="HATCHFARM_MASTER"),
    ],
    *,
    target: TargetFlags,
    wait: Annotated[
        float,
        typer.Option(
            help="How many seconds to wait for the master.",
            envvar="HATCHFARM_WORKER_WAIT",
            min=0,
            max=WORKER_WAIT_MAX_SECONDS,
        ),
    ] = 120.0,
) -> None:
    """Play a share of a run that another host conducts: a Locust worker and its shard, until the run ends."""
    try:
        host, port = host_and_port(master)
    except ValueError as error:
        fail("worker", str(error))
    if not target.token:
        fail("worker", f"the deployment's owner token is needed: set {TOKEN_VARIABLE}, or give --token-file")
    typer.echo(f"Waiting for `hatchfarm run --master {host}:{port}`, for {wait:g} s at most", err=True)
    if not trio.run(_comes_up, host, port, wait):
        fail(
            "worker",
            f"nothing listened at {host}:{port} within {wait:g} s: "
            "start `hatchfarm run --master` there, or --wait longer",
        )
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING"]
    command += ["--worker", "--master-host", host, "--master-port", str(port)]
    environ = {**os.environ, **environ_of(target.aim.access), TOKEN_VARIABLE: target.token}
    os.execve(sys.executable, command, environ)  # noqa: S606 - it becomes Locust


async def _comes_up(host: str, port: int, seconds: float) -> bool:
    """Return whether something listens there, as soon as it does or when the time is over."""
    until = trio.current_time() + seconds
    while True:
        with suppress(OSError), trio.move_on_after(KNOCK_SECONDS):
            await (await trio.open_tcp_stream(host, port)).aclose()
            return True
        if trio.current_time() >= until:
            return False
        await trio.sleep(KNOCK_SECONDS)
