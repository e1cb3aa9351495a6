"""Each thing the doctor looks at, found right and found wrong, and how it says to mend it."""

from __future__ import annotations

import os
import re
import socket
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.adapters.clock import SystemClock
from simulator.attacks import CATALOGUE
from simulator.client.target import parse_target
from simulator.running import doctor
from simulator.running.doctor import (
    FILES_BESIDES_MACHINES,
    Check,
    check_attacks,
    check_machine,
    check_open_files,
    check_the_target,
    look,
)
from tests.simulator.conftest import ACCEPT, API_TOKEN, Reaction, ScriptedServer, answer, serving, sockets_closed_after
from tests.support.open_files import OpenFiles

if TYPE_CHECKING:
    from pathlib import Path


def found(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


@pytest.mark.parametrize("spare", [-1, 0, 1])
def test_too_few_open_files_are_fatal_and_the_number_needed_is_said(
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
) -> None:
    OpenFiles(monkeypatch, 64, 1000 + FILES_BESIDES_MACHINES + spare)
    check = check_open_files(1000)
    assert check.right == (spare >= 0)
    assert check.fatal
    assert check.found == f"{1256 + spare:,} allowed, 1,256 needed for 1,000 machines"
    assert "`ulimit -n 1256`" in check.hint
    assert "fewer machines" in check.hint


def test_connections_that_attacks_hold_need_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    OpenFiles(monkeypatch, 64, 1600)
    check = check_open_files(1000, 500)
    assert not check.right
    assert check.found == "1,600 allowed, 1,756 needed for 1,000 machines and 500 connections of attacks"


def test_a_good_machine_is_found_right(monkeypatch: pytest.MonkeyPatch) -> None:
    OpenFiles(monkeypatch, 1 << 20, 1 << 20)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(doctor, "can_bind", lambda _address: True)
    checks = check_machine(1000)
    assert [check.name for check in checks if not check.right] == []
    assert {"open files", "loopback addresses", "cores", "free ports"} <= {check.name for check in checks}
    assert found(checks, "cores").found == "4"


def test_one_loopback_address_is_a_warning_about_rate_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "can_bind", lambda _address: False)
    check = found(check_machine(10), "loopback addresses")
    assert (check.right, check.fatal) == (False, False)
    assert "RATE_LIMIT_REFILL_PER_SECOND" in check.hint


def test_a_single_core_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {5}, raising=False)
    check = found(check_machine(10), "cores")
    assert (check.right, check.fatal, check.found) == (False, False, "1")
    assert "late heartbeats" in check.hint


@pytest.mark.parametrize(
    ("ports", "one_address", "machines", "right"),
    [
        ("32768\t60999\n", True, 1000, True),
        ("32768\t33000\n", True, 1000, False),
        ("32768\t33000\n", False, 1000, True),
    ],
)
def test_too_few_ports_matter_where_all_machines_share_one_address(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ports: str,
    one_address: bool,  # noqa: FBT001 - a column of the table
    machines: int,
    right: bool,  # noqa: FBT001
) -> None:
    (tmp_path / "range").write_text(ports, encoding="utf-8")
    monkeypatch.setattr(doctor, "can_bind", lambda _address: not one_address)
    check = found(check_machine(machines, ports_file=tmp_path / "range"), "ephemeral ports")
    assert check.right is right
    assert "net.ipv4.ip_local_port_range" in check.hint


@pytest.mark.parametrize("text", [None, "", "many\n"])
def test_a_platform_that_does_not_say_its_ports_is_not_judged_by_them(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "range").write_text(text, encoding="utf-8")
    assert "ephemeral ports" not in [check.name for check in check_machine(10, ports_file=tmp_path / "range")]


def test_no_free_port_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(socket.socket):
        def bind(self, _address: Any, /) -> None:
            raise OSError(98, "Address already in use")

    monkeypatch.setattr(doctor, "can_bind", lambda _address: True)
    monkeypatch.setattr(socket, "socket", Full)
    check = found(check_machine(10), "free ports")
    assert (check.right, check.fatal, check.hint) == (False, True, "free a port")


# --- the target


async def test_a_good_target_is_found_right() -> None:
    async with serving() as (_, target), sockets_closed_after():
        checks = await check_the_target(target)
    assert [check.name for check in checks] == ["target", "contract", "clock", "addresses"]
    assert all(check.right for check in checks)
    assert "speaks the contract and takes the token (0 workers)" in checks[0].found


async def test_an_unreachable_target_is_fatal(closed_port: int) -> None:
    (check,) = await check_the_target(parse_target(f"http://127.0.0.1:{closed_port}", API_TOKEN))
    assert (check.name, check.right, check.fatal) == ("target", False, True)
    assert "cannot be reached" in check.found
    assert "--target" in check.hint


async def test_a_wrong_token_is_fatal_and_the_flag_is_named() -> None:
    async with serving() as (_, target):
        (check,) = await check_the_target(msgspec.structs.replace(target, token="wrong"))
    assert (check.right, check.fatal) == (False, True)
    assert "--token" in check.found


@pytest.mark.parametrize("reaction", [Reaction((answer(404, b"<html></html>"),)), ACCEPT])
async def test_a_target_that_is_no_hatchfarm_is_fatal(scripted: ScriptedServer, reaction: Reaction) -> None:
    scripted.script = [reaction]
    (check,) = await check_the_target(scripted.target)
    assert (check.right, check.fatal) == (False, True)
    assert "is this a HatchFarm server?" in check.found


def healthy(date: str | None) -> Reaction:
    lines = () if date is None else (f"Date: {date}",)
    return Reaction((answer(200, b'{"status":"healthy"}', *lines),))


NO_METRICS = Reaction((answer(200, b"# nothing yet\n"),))


@pytest.mark.parametrize(
    ("off_seconds", "right", "shown"),
    [(0, True, "s off"), (-20, True, "-2"), (20, True, "+"), (120, False, "+1"), (-120, False, "-12")],
)
async def test_a_target_whose_clock_is_off_is_told_to_set_it(
    scripted: ScriptedServer,
    off_seconds: int,
    right: bool,  # noqa: FBT001 - a column of the table
    shown: str,
) -> None:
    now = SystemClock().now().wall_ns / 1e9
    scripted.script = [healthy(None), NO_METRICS, healthy(formatdate(now + off_seconds, usegmt=True))]
    check = found(await check_the_target(scripted.target), "clock")
    assert (check.right, check.fatal) == (right, False)
    assert shown in check.found
    assert "NTP" in check.hint


@pytest.mark.parametrize("date", [None, "yesterday"])
async def test_a_target_that_does_not_say_the_time_is_to_be_checked_by_hand(
    scripted: ScriptedServer,
    date: str | None,
) -> None:
    scripted.script = [healthy(None), NO_METRICS, healthy(date)]
    check = found(await check_the_target(scripted.target), "clock")
    assert (check.right, check.found) == (False, "the target shows no time, neither on its health page nor as a Date")
    assert "by hand" in check.hint


async def test_attacks_that_a_run_would_not_try_are_counted_and_named() -> None:
    """A run's own server has all that is started for an attack, but for what the network and TLS must give."""
    check = await check_attacks(None)
    assert not check.fatal
    assert {"limit.ipv6-rotate", "strain.rapid-reset"} <= set(re.findall(r"[a-z-]+\.[a-z0-9-]+", check.found))
    assert "tls.spoofed-proto" not in check.found
    count = int(check.found.partition(" of ")[0])
    assert check.found.startswith(f"{count} of {len(CATALOGUE)} attacks not tried (")
    assert count == sum(name in check.found for name in CATALOGUE)


async def test_what_takes_servers_of_a_runs_own_is_not_tried_on_a_target() -> None:
    async with serving() as (_, target), sockets_closed_after():
        check = await check_attacks(target)
    assert "replay.after-restart" in check.found
    needs = "it needs a server of the run's own that speaks plain HTTP, started with REQUIRE_HTTPS=true"
    assert f"tls.spoofed-proto: {needs}" in check.found
    assert "replay.exact" not in check.found


def test_all_is_looked_at(closed_port: int) -> None:
    alone = look(10, None)
    both = look(10, parse_target(f"http://127.0.0.1:{closed_port}", API_TOKEN))
    assert [check.name for check in alone][-1] == "attacks"
    assert [check.name for check in both] == [*(check.name for check in alone[:-1]), "target"]
    for check in both:
        assert check.right or check.hint
