"""Attacks that need settings of their own get a server beside the run's, and only then."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulator.client.connection import ControlConnection, LostError
from simulator.deployment.own import Deployment
from simulator.deployment.server_watch import ServerWatch
from simulator.deployment.side_servers import side_servers
from simulator.limits import SLOW_CONNECTIONS_MAX, SLOW_READERS_MAX
from simulator.running.run import RunRequest
from simulator.running.scenario_needs import connections_held
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario
from simulator.worlds.progress import Progress
from tests.simulator.conftest import API_TOKEN


def request_for(*names: str) -> RunRequest:
    attacks = [{"name": name, "start": "0s", "duration": "1s", "rate": 1} for name in names]
    content: dict[str, Any] = {
        "version": 1,
        "name": "sides",
        "duration": "1s",
        "fleet": {"machines": 1},
        "attacks": attacks,
        "server": {"settings": {"RATE_LIMIT_BURST": 50}},
    }
    scenario = msgspec.convert(content, Scenario, dec_hook=decode_value)
    return RunRequest(scenario, Path("sides.toml"), 1, Path("results"), None, API_TOKEN)


NOW = datetime(2026, 1, 2, tzinfo=UTC)
OWN = Deployment(())
"""The run's own servers: nobody asks them here."""


async def test_a_side_server_has_its_own_settings_and_ends_with_the_run() -> None:
    """One for all attacks that need the same; the scenario's settings hold there, too."""
    async with AsyncExitStack() as stack:
        scenario = request_for("tls.spoofed-proto", "http.nul", "tls.spoofed-proto").scenario
        sides = await side_servers(scenario, API_TOKEN, (), stack, OWN, NOW, ServerWatch(Progress()))
        assert list(sides) == ["tls.spoofed-proto"]
        (side,) = sides.values()
        async with ControlConnection(side, "127.13.0.9") as connection:
            statuses = [(await connection.request("GET", "/status", {})).status for _ in range(60)]
            assert statuses[:50] == [426] * 50
            assert 429 in statuses
    async with ControlConnection(side, "127.13.0.9") as connection:
        with pytest.raises(LostError):
            await connection.request("GET", "/status", {})


async def test_no_side_server_is_started_for_attacks_that_need_none() -> None:
    async with AsyncExitStack() as stack:
        scenario = request_for("http.nul", "limit.burst", "replay.exact").scenario
        assert await side_servers(scenario, API_TOKEN, (), stack, OWN, NOW, ServerWatch(Progress())) == {}


def test_connections_that_attacks_hold_are_counted_before_a_run() -> None:
    """All attempts at once, at worst; attacks of single requests hold none."""
    assert connections_held(request_for("http.nul", "replay.exact").scenario) == 0
    held = connections_held(request_for("http.slowloris", "http.slow-read").scenario)
    assert held == SLOW_CONNECTIONS_MAX + SLOW_READERS_MAX
