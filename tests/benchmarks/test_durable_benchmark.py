"""What the durability benchmark measures with: right state files, and a client that charges a server for waiting."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from benchmarks.measuring import BenchmarkError
from benchmarks.pacing import pace, percentile
from benchmarks.servers import CONSTANT
from benchmarks.state_files import write_state
from reference_server.wire.schema1 import CERTIFICATES
from reference_server.wire.schema1 import MACHINES as MACHINES_SECTION
from reference_server.wire.state_file import StateFile, read_state
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MACHINES = 4
HELD_AT, HELD_SECONDS = 10, 0.2
NOW_NS = 1_764_000_000 * SECOND_NS


@pytest.fixture
def machines(tmp_path: Path) -> list[dict[str, str]]:
    """Return the credentials of a few machines."""
    return write_state(tmp_path / "state.json", "token", 100, MACHINES, NOW_NS)


def test_state_files_are_right_and_credentials_are_of_their_machines(
    tmp_path: Path, machines: list[dict[str, str]]
) -> None:
    path = tmp_path / "state.json"
    state = read_state(path.read_bytes())
    assert isinstance(state, StateFile)
    assert (state.problems, state.remarks, state.unknown) == ([], [], {})
    assert [len(state.contents[name]) for name in ("machines", "worker_status", "consents", "audit_events")] == [
        100
    ] * 4
    assert path.stat().st_mode & 0o777 == 0o600
    kept, certificates = MACHINES_SECTION.of(state.sections), CERTIFICATES.of(state.sections)
    assert [(machine["token"], machine["certificate_id"], machine["policy_id"]) for machine in machines] == [
        (kept[worker_id].secret, certificates[worker_id].certificate_id, policy_id)
        for worker_id, policy_id in ((machine["worker_id"], machine["policy_id"]) for machine in machines)
    ]


class Answering:
    """Answers each request with a constant; before one of them it waits, and nobody is answered meanwhile."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._answered = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve) for _ in range(MACHINES)]
        for thread in self._threads:
            thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, suppress(ConnectionError):
            while connection.recv(65_536):
                with self._lock:
                    self._answered += 1
                    if self._answered == HELD_AT:
                        self._ended.wait(HELD_SECONDS)
                    connection.sendall(self._answer)

    def close(self) -> None:
        """End it, once the client has closed its connections."""
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Start a server that accepts every heartbeat."""
    server = Answering(CONSTANT)
    yield server
    server.close()


def test_a_server_that_holds_up_everybody_is_charged_for_all_that_could_not_leave(
    answering: Answering, machines: list[dict[str, str]]
) -> None:
    """Of 100 a second, 0.2 s of waiting delays about twenty, not the four that were under way."""
    delays = pace(answering.url, machines, 0.5, 100)
    assert len(delays) == 50
    assert sum(delay >= HELD_SECONDS * SECOND_NS / 4 for delay in delays) > 2 * MACHINES


def test_a_heartbeat_that_is_not_accepted_ends_the_measurement(machines: list[dict[str, str]]) -> None:
    """Refusals are fast, so that a benchmark that counted them would flatter."""
    server = Answering(b"HTTP/1.1 401 \r\ncontent-length: 0\r\n\r\n")
    try:
        with pytest.raises(BenchmarkError, match="not accepted"):
            pace(server.url, machines, 0.5, 100)
    finally:
        server.close()


def test_percentiles_are_delays_that_were_measured() -> None:
    delays = [number * 1_000_000 for number in range(200, 0, -1)]
    assert (percentile(delays, 0.5), percentile(delays, 0.99), percentile(delays, 1)) == (100, 198, 200)
