"""A run over a network of several hosts, inside namespaces of its own: `python -m tests.load.network_of_workers PLAN`.

Run as a program inside fresh network, mount and process namespaces, which end with it and with them everything that it
has made: a bridge at 192.0.2.1, where server and run are, and for each worker a host at an address of its own
(192.0.2.0/24 is kept for documentation, RFC 5737). It prints what came of it as JSON.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from tests.load.processes import HATCHFARM, TOKEN, metrics, running, serving
from tests.support.waiting import until_blocking

HUB = "192.0.2.1"
JOIN_SECONDS, END_SECONDS = 120.0, 180.0
"""How long a busy machine may take until workers play, and until all has ended."""
ACCEPTED = 'hatchfarm_heartbeats_total{status="200"}'
ELSEWHERE = (
    'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'  # another boot than the conductor's
)
CLOCK = ["unshare", "--mount", "--time", "--fork", "--kill-child", "--monotonic"]


class Plan(msgspec.Struct):
    """What is to happen: `scenario.toml` of `folder` is run by some workers, against a server with these settings.

    `boots` gives workers that are to look like another machine how many seconds their monotonic clock is ahead.
    `kill_at` is how many heartbeats are accepted before the last worker is killed, 0 for never.
    """

    folder: str
    settings: dict[str, str]
    workers: int = 2
    boots: dict[str, int] = {}
    kill_at: int = 0


class Played(msgspec.Struct):
    """What came of it: the run's exit code and output, each worker's exit code, and what the server counted."""

    code: int
    output: str
    workers: list[int]
    metrics: dict[str, float]


def ip(*arguments: str) -> None:
    """Run iproute2."""
    subprocess.run(["ip", *arguments], check=True)  # noqa: S607 - found by PATH, as people run it


def make_network(workers: int) -> None:
    """Make the bridge, and a host behind it for each worker."""
    subprocess.run(["mount", "-t", "tmpfs", "names", "/run"], check=True)  # noqa: S607 - names that end with us
    ip("link", "set", "lo", "up")
    ip("link", "add", "bridge", "type", "bridge")
    ip("address", "add", f"{HUB}/24", "dev", "bridge")
    ip("link", "set", "bridge", "up")
    for number in range(workers):
        host = host_of(number)
        ip("netns", "add", host)
        ip("link", "add", f"to-{host}", "type", "veth", "peer", "name", "eth0", "netns", host)
        ip("link", "set", f"to-{host}", "master", "bridge", "up")
        for arguments in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"192.0.2.{11 + number}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            ip("-n", host, *arguments)


def host_of(number: int) -> str:
    """Name a worker's host."""
    return f"host-{number}"


def worker_command(plan: Plan, number: int) -> list[str]:
    """Return what runs a worker on its host, by that host's clock."""
    host, worker = host_of(number), [*HATCHFARM, "worker", "--master", HUB]
    inside = ["nsenter", f"--net=/run/netns/{host}"]
    if host not in plan.boots:
        return [*inside, *worker]
    boot_id = Path(plan.folder, f"boot-id-of-{host}")
    boot_id.write_text(f"00000000-0000-0000-0000-00000000000{number}\n", encoding="ascii")
    return [*inside, *CLOCK, str(plan.boots[host]), "sh", "-c", ELSEWHERE, "sh", str(boot_id), *worker]


def play(plan: Plan) -> Played:
    """Play it to the end."""
    folder = Path(plan.folder)
    make_network(plan.workers)
    with ExitStack() as stack:
        url = stack.enter_context(serving({"HOST": HUB, **plan.settings}))
        command = [
            sys.executable,
            "-m",
            "tests.load.reporting_run",
            str(folder / "joined.jsonl"),
            "run",
            "scenario.toml",
        ]
        command += [
            "--profile",
            "hardened",
            "--target",
            url,
            "--token",
            TOKEN,
            "--master",
            HUB,
            "--workers",
            str(plan.workers),
            "--no-reports",
        ]
        run = stack.enter_context(running(command, cwd=folder))
        workers = [stack.enter_context(running(worker_command(plan, number))) for number in range(plan.workers)]
        if plan.kill_at:
            until_blocking(lambda: metrics(url)[ACCEPTED] >= plan.kill_at or run.poll() is not None, JOIN_SECONDS)
            workers[-1].kill()
        output, _ = run.communicate(timeout=JOIN_SECONDS + END_SECONDS)
        codes = [worker.wait(END_SECONDS) for worker in workers]
        return Played(run.returncode, output, codes, metrics(url))


def main(plan: bytes) -> Any:
    """Play what is planned in JSON; gives what came of it in JSON."""
    return msgspec.json.encode(play(msgspec.json.decode(plan, type=Plan))).decode()


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1].encode()))
