"""The bundle of a replay: as whole as a run's, verified from what it holds alone, and without secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
import trio

from simulator.contract.answers import Answer
from simulator.running import replay as session
from simulator.traces.comparison import Played
from simulator.traces.format import ANSWERS, Trace
from simulator.traces.writing import write_trace
from simulator.worlds.live.replaying import NOT_REACHED, ReplayProgress
from tests.cli.conftest import Hatchfarm
from tests.traces.recorded import OWNER_TOKEN, small_recording

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.forked import Finished

FILES = {
    "verdict.json", "run.json", "replay.json", "trace.ndjson", "scenario.toml", "history", "manifest.json",
    "report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om", "gates.md",
}  # fmt: skip


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    return Hatchfarm(tmp_path)


def replayed(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, *flags: str, wrong: bool = False, trace: str = "t.ndjson"
) -> Finished:
    """Replay a small trace with secrets, without a server: as recorded, or with every refusal turned around."""
    recording = small_recording()
    write_trace(hatchfarm.folder / trace, recording.taken, recording.origin(), OWNER_TOKEN, redact=False)

    def run(function: object, request: session.ReplayRequest, trace: Trace, console: object, held: object) -> object:
        del function, request, console, held
        outcome = session._ReplayState(datetime(2026, 1, 2, tzinfo=UTC), "its own server", took_s=2.0)
        outcome.before, outcome.after = {"odd": float("nan")}, {"odd": float("inf"), "even": 2.0}
        outcome.lasting = [False for _ in trace.exchanges]
        outcome.played = [
            Played(200, OWNER_TOKEN.encode(), Answer.ACCEPTED if wrong else ANSWERS[one.got]) for one in trace.exchanges
        ]
        return outcome

    monkeypatch.setattr("simulator.running.replay.trio.run", run)
    return hatchfarm.invoke("replay", trace, *flags)


@pytest.mark.parametrize("flags", [(), ("--verbatim",)])
@pytest.mark.parametrize("wrong", [False, True])
def test_a_replay_leaves_a_whole_bundle_that_is_verified_and_drawn_anew(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], *, wrong: bool
) -> None:
    done = replayed(hatchfarm, monkeypatch, *flags, wrong=wrong)
    (folder,) = (hatchfarm.folder / "results" / "small-replay").glob("2026*")
    assert {path.name for path in folder.iterdir()} == FILES
    assert not any("warning:" in line for line in done.lines), done
    assert f"Report: {folder.relative_to(hatchfarm.folder) / 'report.html'}" in done.lines
    digest = next(line for line in done.lines if line.startswith("Bundle: ")).split()[1]
    verified = hatchfarm.invoke("verify", "latest", "--digest", digest)
    assert (verified.code, verified.err) == (0, ""), verified
    drawn = hatchfarm.invoke("report", "latest")
    assert (drawn.code, f"Bundle: {digest}" in drawn.lines) == (0, True), drawn
    secret = OWNER_TOKEN.encode()
    assert [path.name for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()] == []


def test_the_line_that_reproduces_a_replay_names_the_run_that_latest_was(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run points the link elsewhere."""
    (hatchfarm.folder / "first").mkdir()
    (hatchfarm.folder / "latest").symlink_to("first")
    done = replayed(hatchfarm, monkeypatch, trace="latest/t.ndjson")
    assert done.lines[-1] == "Reproduce with: hatchfarm replay first/t.ndjson"


def test_a_replay_whose_answers_were_changed_is_not_genuine(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed(hatchfarm, monkeypatch)
    path = hatchfarm.folder / "results" / "small-replay" / "latest" / "replay.json"
    record = msgspec.json.decode(path.read_bytes())
    record["played"][-1]["got"] = int(Answer.LOST)
    path.write_bytes(msgspec.json.encode(record) + b"\n")
    verified = hatchfarm.invoke("verify", "latest")
    assert verified.code == 1
    assert any(line.startswith("ALTERED replay.json was altered") for line in verified.lines)
    assert any(line.startswith("DIFFERS ") for line in verified.lines)
    path.write_bytes(b"{}")
    assert "nothing can be judged anew: replay.json is no record" in hatchfarm.invoke("verify", "latest").out


class Killing:
    """Plays nothing: kills the server, and waits for whatever comes of it, or goes on at once."""

    waits = True

    def __init__(self, trace: Trace, *_: object) -> None:
        self.played = [NOT_REACHED] * len(trace.exchanges)
        self.progress = ReplayProgress(len(trace.exchanges))

    async def play(self) -> None:
        # Beside it there may be what other tests have left running for each other.
        (server,) = (one for one in psutil.Process().children() if "reference_server" in one.cmdline())
        server.kill()
        if self.waits:
            await trio.sleep_forever()


@pytest.mark.parametrize("waits", [True, False])
def test_an_own_server_that_dies_ends_the_replay_which_fails_and_tells_of_it(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    recording = small_recording()
    write_trace(hatchfarm.folder / "t.ndjson", recording.taken, recording.origin(), OWNER_TOKEN, redact=False)
    monkeypatch.setattr(Killing, "waits", waits)
    monkeypatch.setattr(session, "Player", Killing)
    done = hatchfarm.invoke("replay", "t.ndjson")
    assert done.code == 1, done
    verdict = json.loads((hatchfarm.folder / "results" / "small-replay" / "latest" / "verdict.json").read_bytes())
    (outage,) = (one for one in verdict["checkers"] if one["name"] == "outage")
    (finding,) = outage["findings"]
    assert (outage["status"], finding["rule"]) == ("fail", "outage.server-died")
    assert "the server ended by itself" in finding["message"]
    assert verdict["interrupted"].startswith("the server died after ")
    verified = hatchfarm.invoke("verify", "latest")
    assert (verified.code, verified.err) == (0, ""), verified
