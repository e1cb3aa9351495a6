"""The same seed plays the same run, in any process; and short cuts in memory change nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from reference_server.http.plain_heads import plain_head
from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer, WholeAnswers, whole_answer
from simulator.fleet.machine import heartbeat_request, with_body
from simulator.history.tables import history_digest
from simulator.worlds.virtual.known_heads import KnownHead
from simulator.worlds.virtual.lane import EventLane
from simulator.worlds.virtual.shard import VirtualShard
from tests.support.tiers import SOAK
from tests.virtual.tiny_runs import SCENARIO, play_tiny

ROOT = Path(__file__).parents[2]
SEEDS = (1, 50)
OTHER_PYTHON_NAMED = os.environ.get("HATCHFARM_TESTS_OTHER_PYTHON", "")
OTHER_PYTHON = OTHER_PYTHON_NAMED or shutil.which("python3.13") or ""
"""Another version of Python, which has the same packages as this one's environment if it was named."""
PACKAGES = "import simulator.running.virtual"
MORE_THAN_ONE_READ = """
[[attacks]]
name = "http.large-headers"
start = "800ms"
duration = "1s"
rate = 1
"""
"""Requests that a lane reads in parts, and goes on to other connections in between."""


def _digests(python: str, hash_seed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-m", "tests.virtual.tiny_runs", *map(str, SEEDS)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def _other_pythons() -> list[str]:
    """Return the other Python, if it is there and has the packages; say why not where one was named."""
    if not OTHER_PYTHON:
        return []
    tried = subprocess.run([OTHER_PYTHON, "-c", PACKAGES], cwd=ROOT, check=False, capture_output=True, text=True)
    assert not (tried.returncode and OTHER_PYTHON_NAMED), tried.stderr
    return [] if tried.returncode else [OTHER_PYTHON]


@pytest.mark.timeout(900)  # a hundred runs and more, which nobody is to hurry
def test_fifty_seeds_play_the_same_in_other_processes() -> None:
    """Whatever order their sets are in, and in another version of Python where there is one."""
    others = _other_pythons()
    pythons = [sys.executable, sys.executable, *others]
    started = [_digests(python, str(hash_seed)) for hash_seed, python in enumerate(pythons, 1)]
    one, *rest = (process.communicate()[0].split() for process in started)
    assert [other == one for other in rest] == [True] * len(rest)
    assert len(set(one)) == SEEDS[1]
    if SOAK and not others:  # in full, which this is not without one
        pytest.skip("no other Python that has this project's packages: name it with HATCHFARM_TESTS_OTHER_PYTHON")


@pytest.mark.parametrize(("seed", "text"), [(1, SCENARIO), (2, SCENARIO), (3, SCENARIO + MORE_THAN_ONE_READ)])
def test_what_ends_take_at_once_is_what_they_would_have_read(
    monkeypatch: pytest.MonkeyPatch, seed: int, text: str
) -> None:
    """With the short cuts at both ends, at one, and without: through all of the lane, and all of the reader."""
    short = history_digest(play_tiny(seed, text))
    calls = []

    def declines(*_arguments: object) -> bool:
        calls.append(1)
        return False

    monkeypatch.setattr(EventLane, "take_bytes", declines)
    assert history_digest(play_tiny(seed, text)) == short
    monkeypatch.setattr(VirtualShard, "_take", declines)
    assert history_digest(play_tiny(seed, text)) == short
    assert len(calls) > 20


def _request(size: int, worker: str = "wrk_1", certificate: str = "mcert_1") -> bytes:
    return heartbeat_request("127.0.0.1:8080", worker, "t0ken", certificate, b"x" * size)


REQUESTS = st.builds(
    _request, st.integers(0, 1200), st.sampled_from(["wrk_1", "wrk_12"]), st.sampled_from(["mcert_1", "mcert_2"])
)
CHANGES = st.sampled_from(
    [
        (b"", b""), (b"Content-Length: ", b"Content-Length: 0"), (b"Content-Length: ", b"content-length:"),
        (b"\r\n\r\n", b"\r\nX: y\r\n\r\n"), (b"\r\n\r\n", b"\r\nContent-Length: 100\r\n\r\n"), (b"POST", b"PUT"),
        (b"Host", b"Expect: 100-continue\r\nHost"), (b"\r\n\r\n", b"\r\n"), (b": 1", b": +1"), (b": 3", b": \xb9"),
    ]
)  # fmt: skip


@given(st.lists(st.tuples(REQUESTS, CHANGES), min_size=1, max_size=6))
@example([(_request(300), (b"", b"")), (_request(301), (b"", b"")), (_request(301), (b": 301", b": 30"))])
def test_known_heads_are_read_as_others(requests: list[tuple[bytes, tuple[bytes, bytes]]]) -> None:
    known = KnownHead()
    for request, (old, new) in requests:
        data = request.replace(old, new, 1)
        assert known.read(data) == plain_head(data)


@given(st.lists(REQUESTS, min_size=1, max_size=4), st.integers(0, 1200))
def test_the_head_of_a_request_that_begins_as_the_last_is_known(requests: list[bytes], size: int) -> None:
    known = KnownHead()
    for request in requests:
        known.read(request)
    body = b"x" * size
    request = with_body(known.before, body)
    found = known.head_of(request, body)
    assert (found is None) == (not known.before)
    if found is not None:
        whole = plain_head(request)
        assert whole is not None
        assert replace(found, body_bytes=0, end=0) == replace(whole, body_bytes=0, end=0)


def _read(data: bytes) -> HttpAnswer | None:
    try:
        return AnswerReader().feed(data)
    except GarbageError:
        return None


ANSWER = b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 4\r\ndate: x\r\n\r\nbody"


@given(
    st.sampled_from([b"200", b"100", b"099", b"2x0", b"429", b"503"]),
    st.sampled_from([b"4", b"04", b"3", b"5", b"+4", b"000000004", b""]),
    st.sampled_from([b"", b"connection: close\r\n", b"Connection: x\r\n", b"content-length: 4\r\n", b"X: y\r\n"]),
    st.sampled_from([(b"", b""), (b"HTTP/1.1", b"HTTP/1.0"), (b"\r\n\r\n", b"\r\n"), (b"content-l", b"Content-L")]),
    st.sampled_from([b"", b"HTTP/1.1 100 \r\n\r\n", b" "]),
)
def test_an_answer_that_came_whole_is_read_as_a_reader_reads_it(
    status: bytes, length: bytes, line: bytes, change: tuple[bytes, bytes], before: bytes
) -> None:
    data = ANSWER.replace(b"200", status).replace(b": 4", b": " + length).replace(b"date", line + b"date")
    data = before + data.replace(*change, 1)
    answer = whole_answer(data)
    assert answer is None or answer == _read(data)
    if (status, length, line, change, before) == (b"200", b"4", b"", (b"", b""), b""):
        assert answer is not None


CALLED = ANSWER.replace(b"date", b"x-request-id: %b\r\ndate")
"""With its request's id."""


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"0123456789abcdef", b"0123456789ABCDEF", b"x\r\nconnection: x", b"0123456789abcde"]),
            st.sampled_from([(b"", b""), (b"date: x", b"date: y"), (b"body", b"b\r\ny"), (b": 4", b": 3")]),
            st.binary(max_size=2),
        ),
        max_size=6,
    )
)
@example([(b"0123456789abcdef", (b"", b""), b""), (b"x\r\nconnection: x", (b"", b""), b"")])
def test_answers_that_differ_in_their_ids_are_read_as_each_alone(
    answers: list[tuple[bytes, tuple[bytes, bytes], bytes]],
) -> None:
    read = WholeAnswers()
    for identifier, change, surplus in answers:
        data = (CALLED % identifier).replace(*change, 1) + surplus
        assert read.read(data) == whole_answer(data)
