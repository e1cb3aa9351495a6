"""`hatchfarm replay` and `hatchfarm trace` as users type them: what they say, and how they end."""

from __future__ import annotations

import json
import signal
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import trio

from simulator.running import replay
from simulator.traces.format import read_trace
from simulator.traces.writing import write_trace
from tests.cli.conftest import Hatchfarm
from tests.traces.recorded import OWNER_TOKEN, small_recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOWHERE = ("--target", "http://127.0.0.1:1", "--token", "x")


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    recording = small_recording()
    for name, redact in (("small.ndjson", True), ("open.ndjson", False)):
        write_trace(tmp_path / name, recording.taken, recording.origin(left_out=5), OWNER_TOKEN, redact=redact)
    return Hatchfarm(tmp_path)


def test_a_trace_is_shown_by_who_asked_what_and_got_what(hatchfarm: Hatchfarm) -> None:
    done = hatchfarm.invoke("trace", "show", "small.ndjson")
    assert done.code == 0
    assert done.lines[:3] == [
        "small, seed 3, against its own server, 2026-09-21T14:13:20.123456789Z",
        "11 exchanges of 2 machines, redacted",
        "the recorder was full, and left out 5 later exchanges",
    ]
    assert ["replay.exact", "heartbeat", "nonce_replayed", "1"] in [line.split() for line in done.lines]
    assert "11 exchanges of 2 machines, WITH SECRETS" in hatchfarm.invoke("trace", "show", "open.ndjson").lines


def test_a_trace_is_redacted_into_another_file(hatchfarm: Hatchfarm) -> None:
    assert hatchfarm.invoke("trace", "redact", "open.ndjson", "-o", "new.ndjson").code == 0
    assert (hatchfarm.folder / "new.ndjson").read_bytes() == (hatchfarm.folder / "small.ndjson").read_bytes()


@pytest.mark.parametrize(("name", "private"), [("small.ndjson", False), ("open.ndjson", True)])
def test_a_trace_goes_to_har_and_back_as_private_as_it_was(hatchfarm: Hatchfarm, name: str, *, private: bool) -> None:
    assert hatchfarm.invoke("trace", "export", name, "--har", "t.har").code == 0
    assert hatchfarm.invoke("trace", "import", "t.har", "-o", "back.ndjson").code == 0
    folder = hatchfarm.folder
    assert (folder / "back.ndjson").read_bytes() == (folder / name).read_bytes()
    modes = [stat.S_IMODE((folder / one).stat().st_mode) for one in ("t.har", "back.ndjson")]
    assert [mode == 0o600 for mode in modes] == [private] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replay", "none.ndjson"), "hatchfarm replay: none.ndjson: cannot be read (No such file or directory)"),
        (("replay", "broken.ndjson"), "hatchfarm replay: broken.ndjson: line 2: Input data was truncated"),
        (("replay", "nothing.ndjson"), "hatchfarm replay: nothing.ndjson: holds no exchanges"),
        (("replay", "small.ndjson", "--target", "http://127.0.0.1:1"), "hatchfarm replay: --target needs"),
        (("replay", "small.ndjson", "--target", "nonsense", "--token", "x"), "hatchfarm replay: --target nonsense"),
        (("replay", "small.ndjson", *NOWHERE), "hatchfarm replay: http://127.0.0.1:1 cannot be reached"),
        (("trace", "show", "broken.ndjson"), "hatchfarm trace show: broken.ndjson: line 2:"),
        (("trace", "redact", "broken.ndjson", "-o", "x"), "hatchfarm trace redact: broken.ndjson: line 2:"),
        (("trace", "redact", "small.ndjson", "-o", "no/where"), "hatchfarm trace redact: no/where: cannot be written"),
        (("trace", "export", "broken.ndjson", "--har", "x"), "hatchfarm trace export: broken.ndjson: line 2:"),
        (("trace", "export", "small.ndjson", "--har", "no/where"), "hatchfarm trace export: no/where: cannot be"),
        (("trace", "filter", "small.ndjson", "-o", "x"), "hatchfarm trace filter: nothing to go by"),
        (("trace", "filter", "small.ndjson", "-o", "x", "--from", "y"), "hatchfarm trace filter: 'y' is no duration"),
        (("trace", "filter", "small.ndjson", "-o", "x", "--attack", "y"), "hatchfarm trace filter: there is no attack"),
        (("replay", "small.ndjson", "--only", "y"), "hatchfarm replay: there is no attack 'y' in it"),
        (("trace", "import", "none.har", "-o", "x"), "hatchfarm trace import: none.har: cannot be read"),
        (("trace", "import", "small.ndjson", "-o", "x"), "hatchfarm trace import: small.ndjson: not JSON"),
        (("run", "none.toml", "--with-secrets"), "hatchfarm run: none.toml: cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_with_exit_code_2(
    hatchfarm: Hatchfarm, arguments: tuple[str, ...], message: str
) -> None:
    whole = (hatchfarm.folder / "small.ndjson").read_bytes()
    (hatchfarm.folder / "broken.ndjson").write_bytes(whole[: whole.index(b"\n") + 50])
    header = whole.split(b"\n")[0].replace(b'"exchanges":11', b'"exchanges":0')
    (hatchfarm.folder / "nothing.ndjson").write_bytes(header + b"\n")
    done = hatchfarm.invoke(*arguments)
    assert done.code == 2
    assert done.err.startswith(message)
    assert not (hatchfarm.folder / "x").exists()


def test_a_part_of_a_trace_is_written_as_private_as_the_whole(hatchfarm: Hatchfarm) -> None:
    done = hatchfarm.invoke("trace", "filter", "open.ndjson", "-o", "part.ndjson", "--attack", "replay.exact")
    assert (done.code, done.lines) == (0, ["part.ndjson: exchanges: 1, and what they build on: 5"])
    assert stat.S_IMODE((hatchfarm.folder / "part.ndjson").stat().st_mode) == 0o600
    assert read_trace(hatchfarm.folder / "part.ndjson").header.exchanges == 6


def test_an_import_says_what_it_took_left_out_and_mended(hatchfarm: Hatchfarm) -> None:
    entries = [
        {"startedDateTime": "2026-01-01T10:00:00", "request": {"method": "GET", "url": url}}
        for url in ("http://h:1/health", "data:,x")
    ]
    (hatchfarm.folder / "t.har").write_text(json.dumps({"log": {"entries": entries}}), encoding="utf-8")
    done = hatchfarm.invoke("trace", "import", "t.har", "-o", "t.ndjson")
    assert (done.code, done.lines) == (
        0,
        [
            "t.ndjson: exchanges of requests to h:1: 1",
            "left out: 1 no request to a server (data: URL)",
            "mended: 1 a time without a zone: taken for UTC; 1 an answer without a status of one: taken for lost",
        ],
    )


def test_secrets_are_for_recordings_only(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.write("tiny.toml", duration="1s")
    done = hatchfarm.invoke("run", str(path), "--with-secrets")
    assert (done.code, done.err) == (2, "hatchfarm run: --with-secrets says how to record: give --record too\n")


def test_every_flag_has_an_environment_variable(hatchfarm: Hatchfarm) -> None:
    done = hatchfarm.invoke("trace", "show", env={"HATCHFARM_TRACE": "small.ndjson"})
    assert (done.code, done.lines[1]) == (0, "11 exchanges of 2 machines, redacted")
    environ = {"HATCHFARM_TRACE": "small.ndjson", "HATCHFARM_TRACE_OUT": "new.ndjson"}
    assert hatchfarm.invoke("trace", "redact", env=environ).code == 0
    assert read_trace(hatchfarm.folder / "new.ndjson").header.exchanges == 11


async def test_the_first_signal_ends_a_replay_and_the_second_its_own_server_without_grace() -> None:
    state = replay._ReplayState(datetime(2026, 1, 1, tzinfo=UTC), "")
    work = trio.CancelScope()
    given_up = []

    async def signals() -> AsyncIterator[int]:
        yield signal.SIGINT
        given_up.append(state.ending.given_up)
        yield signal.SIGTERM
        given_up.append(state.ending.given_up)

    await replay._watch_signals(signals(), state, work)
    assert work.cancel_called
    assert given_up == [False, True]
    assert state.interrupted == "SIGINT"
