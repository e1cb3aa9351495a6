from __future__ import annotations

import gc
import logging
import re
import signal
import socket as stdlib_socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server import app
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.settings import SETTINGS as EVERY_SETTING
from simulator.commands.cli import app as cli
from tests.http.corpus import get
from tests.http.processes import SERVE, beat_over, enrol_over, environment, running
from tests.http.twins import API_TOKEN
from tests.support.certificates import make_pair
from tests.support.invoking import invoke
from tests.support.open_files import OpenFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.http.serving import Server
    from tests.support.certificates import Pair

SUMMARY_PATH = "/api/v1/workers/summary"


async def test_it_says_where_it_listens_and_nothing_else() -> None:
    """No token that was given, nothing about requests; and a standard input at its end means nothing."""
    async with running(stdin=subprocess.DEVNULL) as started:
        server = await started.server()
        async with server.client() as client:
            machine = await enrol_over(client)
            assert await beat_over(client, machine, "n") == 200
            assert await beat_over(client, machine, "n") == 401
        assert not await owner_may_read(server, "")
        assert await started.stop() == 0
        host, port = server.address
        assert host == "127.0.0.1"
        assert started.stdout.text == f"Listening on http://{host}:{port}\n"
        assert started.stderr.text == ""


async def test_a_port_in_use_is_one_message() -> None:
    with stdlib_socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(settings={"PORT": str(port)}) as started:
            assert await started.ended() == 2
    assert started.stdout.text == ""
    (line,) = started.stderr.text.splitlines()
    assert line.startswith(f"hatchfarm serve: cannot listen on 127.0.0.1:{port} (")
    assert "PORT" in line


async def test_a_bad_setting_is_one_message() -> None:
    async with running(settings={"RATE_LIMIT_BURST": "many"}) as started:
        assert await started.ended() == 2
    assert started.stdout.text == ""
    assert started.stderr.text == (
        "hatchfarm serve: RATE_LIMIT_BURST: 'many' is not a whole number from 1 to 1000000000\n"
    )


@pytest.fixture
def _restored() -> Iterator[None]:
    """Put back what serving changes for the whole process."""
    thresholds, root = gc.get_threshold(), logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    gc.set_threshold(*thresholds)
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PORT", "http", "'http' is not a whole number"),
        ("PORT", "65536", "0 to 65535"),
        ("HOST", "not.an.address.invalid", "no address of this machine"),
        ("HATCHFARM_API_TOKEN", "two words", "hidden"),
        ("ALLOWED_ORIGINS", "*", "without wildcard"),
        ("METRICS_PUBLIC", "maybe", "true or false"),
        ("RATE_LIMIT_REFILL_PER_SECOND", "nan", "'nan'"),
        ("HEARTBEAT_NONCE_TTL_SECONDS", "179", "180"),
        ("HTTP_IDLE_TIMEOUT_SECONDS", "0", "0.05"),
        ("TLS_CERT_FILE", "/dev/null", "TLS_KEY_FILE"),
        ("MACHINE_CERT_SIGNING_KEY_FILE", "/nowhere/key.pem", "/nowhere/key.pem"),
        ("REDIS_ADDR", "localhost", "host:port"),
        ("HATCHFARM_STATE_FILE", "/no/such/folder/state.json", "may use"),
    ],
)
def test_each_bad_setting_names_its_variable(
    variable: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.serve(environment({variable: value})) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert re.match(f"hatchfarm serve: {variable}\\b.*{words}", line), line
    assert "two words" not in line


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(("allowed", "connections"), [(1024, 960), (4096, 4032), (1 << 20, 100_000)])
def test_it_has_no_more_connections_than_it_may_open_files_and_says_when_those_are_few(
    allowed: int, connections: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bounds: list[int] = []

    async def note(*_given: object, connections_max: int, **_named: object) -> None:
        bounds.append(connections_max)

    monkeypatch.setattr(app, "serve_until_signal", note)
    opened = OpenFiles(monkeypatch, 512, allowed)
    assert app.serve(environment({})) == 0
    assert bounds == [connections]
    assert opened.limits == (allowed, allowed)
    assert ("Only 1024 files may be open" in capsys.readouterr().err) == (allowed == 1024)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("broken", ["no certificate", "no key", "text for a certificate", "key of another"])
def test_tls_files_that_do_not_fit_are_one_message(
    broken: str, pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = pair
    if broken == "no certificate":
        certificate = tmp_path / "missing.pem"
    elif broken == "no key":
        key = tmp_path / "missing.pem"
    elif broken == "text for a certificate":
        certificate = tmp_path / "text.pem"
        certificate.write_text("no certificate", encoding="utf-8")
    else:
        key = make_pair(tmp_path).key
    settings = {"TLS_CERT_FILE": str(certificate), "TLS_KEY_FILE": str(key)}
    assert app.serve(environment(settings)) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("hatchfarm serve: TLS_CERT_FILE and TLS_KEY_FILE: cannot use ")
    assert str(certificate) in line
    assert str(key) in line


async def owner_may_read(server: Server, token: str) -> bool:
    async with server.client() as client:
        answer = await client.ask(get(SUMMARY_PATH, (("authorization", f"Bearer {token}"), ("x-owner-id", "ada"))))
    return answer.status == 200


async def test_an_ephemeral_token_is_left_in_a_file_where_there_is_no_terminal(tmp_path: Path) -> None:
    """It is made when none is given, warned about, and works. The file is gone with the server."""
    async with running(settings={"HATCHFARM_API_TOKEN": None, "XDG_RUNTIME_DIR": str(tmp_path)}) as started:
        server = await started.server()
        left = (await started.stderr.line_with("Owner token of this run: ")).split()[6].rstrip(",")
        token = (await trio.Path(left).read_text()).strip()
        assert re.fullmatch("[0-9a-f]{48}", token)
        assert await owner_may_read(server, token)
        assert not await owner_may_read(server, API_TOKEN)
        assert await started.stop() == 0
    warning, shown = started.stderr.text.splitlines()
    assert re.search("WARNING .*HATCHFARM_API_TOKEN is not set", warning)
    assert shown == f"Owner token of this run: in {left}, until the server stops"
    assert token not in started.stderr.text + started.stdout.text
    assert not await trio.Path(left).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_state_is_loaded_leaves_no_token(tmp_path: Path, number: signal.Signals) -> None:
    """Loading takes seconds with a large state file; here it takes until the signal has come."""
    loading = (
        "import os, signal, sys; from reference_server import app; "
        f"app.recover = lambda *_: print(len(os.listdir(sys.argv[1])), signal.raise_signal({int(number)})); "
        "sys.exit(app.serve(os.environ))"
    )
    folder = tmp_path / "runtime"
    folder.mkdir()
    settings = {"XDG_RUNTIME_DIR": str(folder), "HATCHFARM_STATE_FILE": str(tmp_path / "state.json")}
    done = subprocess.run(
        [sys.executable, "-c", loading, folder],
        env=environment({"HATCHFARM_API_TOKEN": None, **settings}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, list(folder.iterdir())) == (0, [])
    assert "HATCHFARM_API_TOKEN is not set" in done.stderr
    assert "Owner token" not in done.stderr


def test_an_ephemeral_token_is_made_anew_each_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    apis = [app.make_api({}, SystemEntropy(), SystemClock()) for _ in range(3)]
    tokens = [api.settings.api_token for api in apis]
    assert len(set(tokens)) == 3
    assert not any(token in caplog.text for token in tokens)


async def test_the_end_of_standard_input_stops_it_where_asked() -> None:
    command = (*SERVE, "--until-stdin-closes", "--no-express-lane")
    async with running(command, stdin=subprocess.PIPE) as started:
        server = await started.server()
        stdin = started.process.stdin
        assert stdin is not None
        await stdin.send_all(b"words, which say nothing\n")
        async with server.client() as client:
            machine = await enrol_over(client)
            assert await beat_over(client, machine, "n") == 200
            await stdin.aclose()
            assert await client.rest() == b""
        assert await started.ended() == 0
    assert started.stderr.text == ""


LOADED = """
import os, sys
from reference_server.app import serve
assert serve(os.environ, express_lane={lane}, until_stdin_closes=True) == 0
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
"""Starts a server and stops it again, and says what it has loaded."""


@pytest.mark.parametrize(("lane", "loaded"), [(True, set()), (False, {"hypercorn", "quart", "quart_trio", "h2"})])
async def test_a_server_loads_nothing_that_it_does_not_need(lane: bool, loaded: set[str]) -> None:  # noqa: FBT001
    """Servers of the harness start thousands of times, and these are more than half of what a start could cost."""
    command = (sys.executable, "-c", LOADED.format(lane=lane))
    async with running(command, stdin=subprocess.DEVNULL) as started:
        assert await started.ended() == 0
    _, last = started.stdout.text.splitlines()
    assert set(last.split()) & {"hypercorn", "quart", "quart_trio", "h2", "coredis", "typer", "rich"} == loaded


def test_help_lists_every_setting() -> None:
    shown = invoke(cli, ["serve", "--help"])
    assert shown.exit_code == 0
    assert [setting.variable for setting in EVERY_SETTING if setting.variable not in shown.output] == []
