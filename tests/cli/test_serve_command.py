"""`hatchfarm serve` as a process: what it refuses to start with, and that nobody's leaving holds up its end."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from reference_server.http.serve import stop_signals

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm

    Serving = Callable[[dict[str, str]], AbstractContextManager[tuple[subprocess.Popen[str], str]]]

WAIT_SECONDS = 180


@pytest.mark.parametrize(
    ("env", "says"),
    [
        (
            {"WORKER_STATUS_STALE_SECONDS": "soon"},
            "WORKER_STATUS_STALE_SECONDS: 'soon' is not a whole number from 1 to ",
        ),
        ({"HATCHFARM_STATE_FILE": "/no/folder/s.json"}, "HATCHFARM_STATE_FILE: /no/folder/s.json: cannot write"),
        ({"HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1:0 ("),
    ],
)
def test_what_it_cannot_use_is_one_message_and_exit_code_2(
    hatchfarm: Hatchfarm, env: dict[str, str], says: str
) -> None:
    refused = hatchfarm.run("serve", env={"PORT": "0", "HATCHFARM_API_TOKEN": "the-token", **env})
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"hatchfarm serve: {says}")
    assert refused.err.count("\n") == 1


def test_a_misspelt_setting_is_warned_about_and_its_value_is_not_shown(hatchfarm: Hatchfarm) -> None:
    misspelt = {"RATE_LIMIT_BURTS": "5", "REDIS_PASSWROD": "a-secret"}
    refused = hatchfarm.run("serve", env={"HOST": "192.0.2.1", "HATCHFARM_API_TOKEN": "the-token", **misspelt})
    first, second, error = refused.err.splitlines()
    assert first.endswith(" WARNING 'RATE_LIMIT_BURTS' is no setting; did you mean 'RATE_LIMIT_BURST'?")
    assert second.endswith(" WARNING 'REDIS_PASSWROD' is no setting; did you mean 'REDIS_PASSWORD'?")
    assert error.startswith("hatchfarm serve: cannot listen on 192.0.2.1:")


def test_a_taken_port_is_one_message_with_the_way_out(hatchfarm: Hatchfarm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = hatchfarm.run("serve", env={"PORT": str(port), "HATCHFARM_API_TOKEN": "the-token"})
    assert refused.code == 2
    assert refused.err.startswith(f"hatchfarm serve: cannot listen on 127.0.0.1:{port} (")
    assert refused.err.endswith("): free the port, or set PORT to another (0 picks one)\n")


def test_a_server_that_cannot_listen_tells_of_no_token_that_is_gone_by_then(hatchfarm: Hatchfarm) -> None:
    refused = hatchfarm.run("serve", env={"HOST": "192.0.2.1", "PORT": "0"})
    assert refused.code == 2
    warning, error = refused.err.splitlines()
    assert "HATCHFARM_API_TOKEN is not set" in warning
    assert error.startswith("hatchfarm serve: cannot listen on 192.0.2.1:0 (")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_without_a_token_one_is_made_and_left_in_a_file_where_there_is_no_terminal(
    serving: Serving, tmp_path: Path, number: signal.Signals
) -> None:
    with serving({"HATCHFARM_API_TOKEN": "", "XDG_RUNTIME_DIR": str(tmp_path)}) as (process, _):
        (left,) = tmp_path.glob("hatchfarm-owner-token-*")
        token = left.read_text().strip()
        process.send_signal(number)
        _, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0
    assert not left.exists()
    assert re.fullmatch("[0-9a-f]{48}", token)
    assert f"Owner token of this run: in {left}, " in err
    assert token not in err
    assert "HATCHFARM_API_TOKEN is not set" in err


def test_a_hang_up_that_whoever_started_it_had_ignored_ends_no_server() -> None:
    assert signal.SIGHUP in stop_signals()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_client_that_left_before_its_answer_holds_up_no_shutdown(
    serving: Serving,
) -> None:
    """Every deadline is an hour, so that only the client's having left can end its connection."""
    hour = dict.fromkeys(("SHUTDOWN_GRACE_SECONDS", "HTTP_BODY_TIMEOUT_SECONDS", "HTTP_IDLE_TIMEOUT_SECONDS"), "3600")
    with serving({**hour, "METRICS_PUBLIC": "true", "HATCHFARM_API_TOKEN": "the-token"}) as (process, url):
        port = int(url.rpartition(":")[2])
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.makefile("rb").readline().startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 0


def test_it_stops_when_standard_input_closes_if_asked_to(
    serving: Serving,
) -> None:
    with serving({"HATCHFARM_UNTIL_STDIN_CLOSES": "true", "HATCHFARM_API_TOKEN": "the-token"}) as (process, _):
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(WAIT_SECONDS) == 0
