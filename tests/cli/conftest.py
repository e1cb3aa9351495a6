"""What tests of the command share: tiny scenarios, real processes in a clean environment, and targets to aim at."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import termios
import threading
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.about import setting_names
from simulator.commands.cli import app, main
from tests.support import alone
from tests.support.forked import Finished, finish_forked
from tests.support.invoking import invoke
from tests.support.served import COMMAND, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

TIMEOUT_SECONDS = 180.0
TERMINAL_VARIABLES = {"NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "TERM"}
TINY = """\
version = 1
name = "tiny"
description = "Twenty machines [and brackets]."
seed = 9
duration = "{duration}"
metrics_interval = "500ms"

[server.settings]
WORKER_AUTH_FAIL_ALERT_THRESHOLD = 3
RATE_LIMIT_BURST = 1000
METRICS_PUBLIC = true

[fleet]
machines = 20
owners = 2
heartbeat_interval = "1200ms"
stages = [{{ duration = "{ramp}", target = 20 }}]

{attacks}
[thresholds]
{thresholds}
"""
ATTACKS = """[[attacks]]
name = "replay.exact"
start = "2s"
duration = "1500ms"
rate = 8
share = 0.5

[[attacks]]
name = "signature.forged"
start = "2s"
duration = "1500ms"
rate = 8
"""


class Hatchfarm:
    """Runs the command as users do, in a folder of its own, with nothing of this process's settings around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def environ(extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a shell in which nothing is set but what is given."""
        hidden = {*setting_names(), *TERMINAL_VARIABLES}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in hidden and not name.startswith("HATCHFARM_")
        }
        return {**kept, "WORKER_STATUS_STATE_FILE": "", **(extra or {})}

    def write(
        self, name: str, *, duration: str, ramp: str = "500ms", attacks: bool = False, thresholds: str = ""
    ) -> Path:
        """Write a tiny scenario; gives its path as users would write it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = TINY.format(duration=duration, ramp=ramp, attacks=ATTACKS if attacks else "", thresholds=thresholds)
        path.write_text(text, encoding="utf-8")
        return path.relative_to(self.folder)

    def run(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Finished:
        """Run to the end, off a terminal, in a process that is forked."""
        words = [*map(str, arguments)]
        return finish_forked(main, words, self.environ(env), self.folder, seconds_max=TIMEOUT_SECONDS)

    def invoke(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run within this process, where that makes no difference."""
        environ: dict[str, str | None] = dict.fromkeys(os.environ)
        with chdir(self.folder):
            result = invoke(app, [*arguments], env={**environ, **self.environ(env)})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Finished(result.exit_code, result.stdout, result.stderr)

    def run_on_terminal(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Finished:
        """Run to the end on a terminal of 100 columns; `out` is all that the terminal got."""
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        seen = b""
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environ(env), "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            watchdog = threading.Timer(TIMEOUT_SECONDS, process.kill)
            watchdog.start()
            # The end of a terminal that nobody writes to any more is an error on Linux, and nothing elsewhere.
            with suppress(OSError):
                while part := os.read(ours, 65_536):
                    seen += part
            code = process.wait()
            watchdog.cancel()
            watchdog.join()
        os.close(ours)
        return Finished(code, seen.decode(), "")

    def verdict(self, out: str = "results", scenario: str = "tiny") -> dict[str, Any]:
        """Read the newest verdict."""
        text = (self.folder / out / scenario / "latest" / "verdict.json").read_bytes()
        verdict: dict[str, Any] = msgspec.json.decode(text)
        return verdict


def until_conclusive(run: Callable[[], Finished]) -> Finished:
    """Run until there is a verdict, a few times at most."""
    return alone.until_conclusive(run, lambda finished: finished.code)


@pytest.fixture(scope="session")
def conclusively() -> Callable[[Callable[[], Finished]], Finished]:
    """Return the way to run something that must come to a verdict."""
    return until_conclusive


@pytest.fixture(scope="session")
def hatchfarm_in() -> Callable[[Path], Hatchfarm]:
    """Return the way to have the command in a folder."""
    return Hatchfarm


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    """Return the command, in a folder of the test's own."""
    return Hatchfarm(tmp_path)


@dataclass(frozen=True)
class Deployment:
    """A server that runs for a while."""

    url: str
    token: str

    @property
    def flags(self) -> tuple[str, ...]:
        """How to name it on the command line."""
        return ("--target", self.url, "--token", self.token)


def serve_until_stopped(env: Mapping[str, str]) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Run `hatchfarm serve` on a free port, with its URL; nothing is left of it afterwards."""
    return served(Hatchfarm.environ(env), stderr=subprocess.PIPE)


@pytest.fixture(scope="session")
def serving() -> Callable[[Mapping[str, str]], Any]:
    """Return the way to run a server with other settings."""
    return serve_until_stopped


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """Return a server started by `hatchfarm serve`, which must end well when told to."""
    token = "deployment-token-of-the-tests"
    with serve_until_stopped({"HATCHFARM_API_TOKEN": token}) as (process, url):
        yield Deployment(url, token)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_SECONDS) == 0


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are none of our concern."""


@contextmanager
def serve_answers(answers: Mapping[str, bytes]) -> Iterator[str]:
    """Serve raw answers by path on a free port, 404 for every other path; gives the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in answers:
                self.wfile.write(answers[self.path])
                self.close_connection = True
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with _Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def impostor() -> Callable[[Mapping[str, bytes]], Any]:
    """Return the way to serve something that is not HatchFarm."""
    return serve_answers
