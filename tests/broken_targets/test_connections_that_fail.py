"""Targets that take no connection, or speak plain where TLS is wanted and the reverse; and the command as a whole."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from simulator.client.target import parse_target
from simulator.running.doctor import check_the_target
from tests.broken_targets import faults
from tests.broken_targets.proxy import Moment, misbehaving
from tests.broken_targets.runs import (
    BOUND_SECONDS,
    IMPATIENT,
    INCONCLUSIVE,
    SCENARIO,
    UNUSABLE,
    everything,
    run_against,
)
from tests.cli.conftest import Hatchfarm
from tests.simulator.conftest import API_TOKEN
from tests.simulator.conftest import serving as serving_in_loop
from tests.support.certificates import make_pair
from tests.support.served import COMMAND, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.broken_targets.proxy import Fault

OFF_SERVER = """\
import time
from reference_server.adapters.clock import SystemClock
from reference_server.wire.values import Instant
SystemClock.now = lambda _: Instant(time.time_ns() + 600 * 10**9, time.monotonic_ns())
from simulator.commands.cli import main
main()
"""
"""The server's command, with its clock adapter replaced."""


@contextmanager
def deaf() -> Iterator[str]:
    """Listen, accept nobody, and have no place left in the backlog."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - the socket API's own flag
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_target_that_takes_no_connection_is_given_up_in_time(tmp_path: Path, scheme: str) -> None:
    with deaf() as url:
        ended = await run_against(url.replace("http", scheme, 1), tmp_path / "run")
    assert ended.code == UNUSABLE
    assert "cannot be reached (no whole answer within 1.5 s)" in ended.output
    assert ended.seconds < BOUND_SECONDS


async def test_a_plain_target_is_not_taken_for_one_with_tls(tmp_path: Path) -> None:
    async with serving_in_loop() as (_, target):
        ended = await run_against(target.url.replace("http", "https", 1), tmp_path / "run")
    assert ended.code == UNUSABLE
    assert "cannot be reached (no TLS (" in ended.output
    assert f": is it {target.url}?)" in ended.output


@contextmanager
def serving(env: Mapping[str, str], *command: str) -> Iterator[str]:
    """Run a server in a process of its own; gives its URL."""
    given = Hatchfarm.environ({"HATCHFARM_API_TOKEN": API_TOKEN, **env})
    with served(given, command=command or COMMAND) as (_, url):
        yield url


async def test_a_target_with_tls_is_not_taken_for_a_plain_one(tmp_path: Path) -> None:
    made = make_pair(tmp_path)
    with serving({"TLS_CERT_FILE": str(made.certificate), "TLS_KEY_FILE": str(made.key)}) as url:
        assert url.startswith("https://")
        plain = await run_against(url.replace("https", "http", 1), tmp_path / "plain")
        stranger = await run_against(url, tmp_path / "stranger")
    assert (plain.code, stranger.code) == (UNUSABLE, UNUSABLE)
    assert "or https:// where it wants TLS, or its proxy's where it has PROXY_PROTOCOL=true" in plain.output
    assert "its certificate is not trusted (" in stranger.output
    assert "--cacert" in stranger.output


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.hang, "no whole answer within 1.5 s"),
        (faults.dribble, "no whole answer within 1.5 s"),
        (faults.close_at_once, "closed before the answer was whole"),
        (faults.status(500), "answered 500"),
        (faults.says(b"\x00\xff\r\n\r\n"), "no HTTP answer"),
        (faults.body(lambda _: b'{"status":"healthy"}'), "not in the Prometheus text format"),
    ],
)
async def test_the_doctor_says_in_time_what_ails_a_target(fault: Fault, says: str) -> None:
    with trio.fail_after(BOUND_SECONDS):
        async with misbehaving(fault, Moment.CHECK, everything) as proxy:
            (check,) = await check_the_target(parse_target(proxy.url, API_TOKEN, patience=IMPATIENT))
    assert (check.right, check.fatal) == (False, True)
    assert says in check.found


def test_the_command_tells_of_a_target_ten_minutes_off_and_judges_it_all_the_same(tmp_path: Path) -> None:
    hatchfarm = Hatchfarm(tmp_path)
    (tmp_path / "broken.toml").write_text(SCENARIO)
    with serving({"RATE_LIMIT_BURST": "1000000"}, sys.executable, "-c", OFF_SERVER) as url:
        flags = ("--target", url, "--token", API_TOKEN)
        ended = hatchfarm.run("run", "broken.toml", "--no-reports", *flags)
        seen = hatchfarm.run("doctor", *flags)
    assert (ended.code, ended.err) == (INCONCLUSIVE, ""), ended
    assert "The target's clock is 600 s ahead of this machine's, and heartbeats more than 90 s off are" in ended.out
    assert "Traceback" not in ended.out
    verdict = hatchfarm.verdict(scenario="broken")
    assert verdict["status"] == "inconclusive"
    assert verdict["requests"]["heartbeats_accepted"] > 0
    assert "the target is +600s off" in seen.out
