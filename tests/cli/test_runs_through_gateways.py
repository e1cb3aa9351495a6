"""Runs against deployments that were set up otherwise than assumed, and that are behind a gateway."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from simulator.client.aim import JUDGED_SETTINGS
from simulator.history.rows import NO_SOURCE
from simulator.history.tables import read_history
from simulator.judging.facts import facts_of, with_settings
from simulator.scenario.loading import ScenarioError, parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from tests.cli.conftest import Hatchfarm

SCENARIO = """\
version = 1
name = "tiny"
duration = "{duration}"
metrics_interval = "250ms"
[fleet]
machines = 3
owners = 1
heartbeat_interval = "700ms"
"""
TOKEN = "token-of-the-target-flags-tests"


def played(hatchfarm: Hatchfarm, text: str, *arguments: str) -> dict[str, Any]:
    (hatchfarm.folder / "tiny.toml").write_text(text, encoding="utf-8")
    hatchfarm.invoke("run", "tiny.toml", "--no-reports", *arguments, env={"HATCHFARM_API_TOKEN": TOKEN})
    return hatchfarm.verdict()


def test_another_window_of_a_target_is_told_and_verified(
    hatchfarm: Hatchfarm, serving: Callable[[Mapping[str, str]], AbstractContextManager[tuple[Any, str]]]
) -> None:
    attack = '[[attacks]]\nname = "replay.exact"\nstart = "800ms"\nduration = "600ms"\nrate = 8\nshare = 1.0\n'
    setting = "WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS=2"
    name, _, value = setting.partition("=")
    with serving({"HATCHFARM_API_TOKEN": TOKEN, name: value, "RATE_LIMIT_BURST": "500"}) as (_, url):
        output = ("--target", url, "--own-addresses", "--target-setting", "RATE_LIMIT_BURST=500")
        verdict = played(hatchfarm, SCENARIO.format(duration="5s") + attack, *output)
    alerts = next(one for one in verdict["checkers"] if one["name"] == "alerts")
    assert alerts["status"] == "inconclusive", alerts
    assert f"is the target started with {setting}?" in alerts["summary"]
    assert "--own-addresses --target-setting RATE_LIMIT_BURST=500" in verdict["reproduce"]
    assert hatchfarm.invoke("verify").code == 0


class Gate(socketserver.ThreadingTCPServer):
    """A gateway: it serves a base path, to those alone who know its header, and speaks from one address for all."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), GateHandler)
        self.behind = ("127.0.0.1", port)
        self.turned_away = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are none of our concern."""


class GateHandler(socketserver.BaseRequestHandler):
    server: Gate

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as up:
            back = threading.Thread(target=pump, args=(up, self.request, bytes))
            back.start()
            pump(self.request, up, self.opened)
            back.join()

    def opened(self, data: bytes) -> bytes:
        """Take the base path off; nothing is left of a request that does not know the header."""
        if b" /farm/" not in data.partition(b"\r\n")[0] or b"\r\nX-Gate: sesame\r\n" not in data:
            self.server.turned_away += 1
            return b""
        return data.replace(b" /farm/", b" /", 1)


def pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(change(data))
        sink.shutdown(socket.SHUT_WR)


def test_a_target_behind_a_gateway_is_run_against_through_it(
    hatchfarm: Hatchfarm, serving: Callable[[Mapping[str, str]], AbstractContextManager[tuple[Any, str]]]
) -> None:
    """Its base path and header are in every request and in no result, and all machines have the gateway's address."""
    settings = {"RATE_LIMIT_BURST": "20", "RATE_LIMIT_REFILL_PER_SECOND": "10"}
    with (
        serving({"HATCHFARM_API_TOKEN": TOKEN, **settings}) as (_, url),
        Gate(int(url.rpartition(":")[2])) as gate,
    ):
        thread = threading.Thread(target=gate.serve_forever, args=(0.02,))
        thread.start()
        output = [text for name, value in settings.items() for text in ("--target-setting", f"{name}={value}")]
        base = f"http://127.0.0.1:{gate.server_address[1]}/farm"
        verdict = played(
            hatchfarm,
            SCENARIO.format(duration="2s"),
            "--target",
            base,
            "--header",
            "X-Gate: sesame",
            "--record",
            *output,
        )
        gate.shutdown()
        thread.join()
    assert gate.turned_away == 0
    assert verdict["target"] == base
    assert next(one for one in verdict["checkers"] if one["name"] == "answers")["status"] == "pass"
    assert any("all machines share one address" in warning for warning in verdict["warnings"])
    folder = hatchfarm.folder / "results" / "tiny" / "latest"
    facts = json.loads((folder / "run.json").read_bytes())["facts"]
    assert (facts["addresses"], facts["rate_limit_burst"]) == ("shared", 20)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sesame" in path.read_bytes()]
    assert set(read_history(folder).rows()["source"].tolist()) == {NO_SOURCE}
    assert b"/farm/api" not in (folder / "trace.ndjson").read_bytes()


def test_settings_are_sure_of_ones_own_server_and_where_they_are_strict() -> None:
    scenario = with_settings(parse_scenario(SCENARIO.format(duration="2s")), {"RATE_LIMIT_BURST": "40"})
    assert facts_of(scenario, {}, None, only_client=True).unsure_settings == ()
    unsure = facts_of(scenario, {}, None, only_client=False, strict_settings=False)
    assert set(unsure.unsure_settings) == set(JUDGED_SETTINGS)
    assert unsure.rate_limit_burst == 40
    shown = facts_of(scenario, {}, 60.0, only_client=False, strict_settings=False)
    assert "WORKER_STATUS_STALE_SECONDS" not in shown.unsure_settings


def test_the_scenario_says_what_a_target_tells_addresses_by() -> None:
    text = SCENARIO.format(duration="2s")
    assert parse_scenario(text).target.addresses == ""
    assert parse_scenario(text + '[target]\naddresses = "shared"\n').target.addresses == "shared"
    with pytest.raises(ScenarioError, match="addresses"):
        parse_scenario(text + '[target]\naddresses = "many"\n')
