"""The exit codes of `hatchfarm run` besides 0: a threshold missed, nothing known, and what people got wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm
    from tests.support.forked import Finished

COLOUR = r"\x1b\[(?:[0-9]+;)*(?:3|4|9|10)[0-9](?:;[0-9]+)*m"


def test_a_missed_threshold_exits_with_1_and_is_named_first_and_everything_may_come_from_the_environment(
    hatchfarm: Hatchfarm, conclusively: Callable[[Callable[[], Finished]], Finished]
) -> None:
    path = hatchfarm.write("fail.toml", duration="1s", thresholds='"requests.total" = ["count>1000000", "count>1"]')
    env = {"HATCHFARM_SCENARIO": str(path), "HATCHFARM_OUT": "elsewhere", "HATCHFARM_SEED": "31"}
    failed = conclusively(lambda: hatchfarm.run("run", env=env))
    verdict = hatchfarm.verdict("elsewhere")
    assert (failed.code, failed.err) == (1, ""), failed
    assert (verdict["status"], verdict["exit_code"], verdict["seed"]) == ("fail", 1, 31)
    assert [one["status"] for one in verdict["thresholds"]] == ["fail", "pass"]
    assert failed.lines[0] == "tiny: 20 machines, 1s, seed 31"
    # On a busy machine lines of progress come before it.
    first, why = [line for line in failed.lines[2:] if line and not re.match(r"[0-9]+:[0-9]{2} ", line)][:2]
    total = verdict["requests"]["total"]
    assert first == f"FAILED requests.total: count>1000000: {total}"
    assert why == f"  - requests.total was {total}, wanted count>1000000"
    results = (hatchfarm.folder / "elsewhere/tiny/latest").resolve()
    shown = results.relative_to(hatchfarm.folder.resolve())
    assert failed.lines[-5:] == [
        "FAIL tiny",
        f"Results: {shown}",
        f"Report: {shown / 'report.html'}",
        f"Bundle: sha256:{hashlib.sha256((results / 'manifest.json').read_bytes()).hexdigest()}",
        "Reproduce with: hatchfarm run fail.toml --seed 31",
    ]
    assert not (hatchfarm.folder / "results").exists()


def test_a_run_in_which_nothing_happened_exits_with_3_and_no_color_takes_a_terminals_colours(
    hatchfarm: Hatchfarm,
) -> None:
    path = hatchfarm.write(
        "empty.toml", duration="500ms", ramp="10h", thresholds='"heartbeat.response_time" = ["p(99)<1s"]'
    )
    empty = hatchfarm.run_on_terminal("run", path, "--seed", "4", "--no-reports", env={"NO_COLOR": "1"})
    assert empty.code == 3, empty
    assert re.search(COLOUR, empty.out) is None
    assert "\x1b[1A" in empty.out, "it is still drawn in place"
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", empty.out).splitlines()
    assert lines[-4] == (
        "INCONCLUSIVE tiny: nobody could know of outage, limits, answers, heartbeat.response_time: p(99)<1s"
    )
    assert lines[-1] == "Reproduce with: hatchfarm run empty.toml --seed 4"
    verdict = hatchfarm.verdict()
    assert (verdict["status"], verdict["exit_code"], verdict["interrupted"]) == ("inconclusive", 3, None)
    (threshold,) = verdict["thresholds"]
    assert threshold["status"] == "inconclusive"
    assert "was not measured" in threshold["summary"]


@pytest.mark.parametrize("inside", ["file", "file/deeper"])
def test_results_that_cannot_be_written_stop_the_run_before_it_begins(hatchfarm: Hatchfarm, inside: str) -> None:
    (hatchfarm.folder / "file").write_text("not a folder", encoding="utf-8")
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    out = hatchfarm.folder / inside
    refused = hatchfarm.invoke("run", str(path), "--out", str(out))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"hatchfarm run: results cannot be written to {out / 'tiny'} (")
    assert refused.err.endswith("): give another --out\n")


def test_results_that_can_no_longer_be_written_are_shown_and_are_an_error(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the end of a long run."""

    async def run(request: object, outcome: object, view: object, held: object, work: object) -> None:
        del request, outcome, view, held, work
        await trio.lowlevel.checkpoint()

    def write(verdict: object, folder: Path) -> Path:
        del verdict
        folder.mkdir(parents=True)
        (folder / "verdict.json.part").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr("simulator.running.run._run", run)
    monkeypatch.setattr("simulator.bundle.writing.write_verdict", write)
    path, out = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s"), hatchfarm.folder / "results"
    ended = hatchfarm.invoke("run", str(path), "--out", str(out))
    assert (ended.code, ended.err) == (2, "")
    assert list((out / "tiny").iterdir()) == []
    assert ended.lines[-3:] == [
        "INCONCLUSIVE tiny: nobody could know of outage, alerts, limits, answers, generator",
        f"The verdict could not be written to {out} (No space left on device): give another --out",
        f"Reproduce with: hatchfarm run {path} --seed 9",
    ]


def test_a_target_needs_a_token(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    refused = hatchfarm.invoke("run", str(path), "--target", "http://127.0.0.1:1")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        "hatchfarm run: --target needs the deployment's owner token: set HATCHFARM_API_TOKEN, or give --token-file\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seed", "-1"],
        ["--seed", str(1 << 63)],
        ["--seed", "x"],
        ["--seed"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(hatchfarm: Hatchfarm, arguments: list[str]) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    refused = hatchfarm.invoke("run", str(path), *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "Error: " in refused.err


def test_a_server_that_cannot_start_is_one_message(hatchfarm: Hatchfarm) -> None:
    """The settings are right one by one, and only the server can see that the file is not there."""
    path = hatchfarm.write("tiny.toml", duration="1s")
    text = (hatchfarm.folder / path).read_text(encoding="utf-8")
    setting = '[server.settings]\nMACHINE_CERT_SIGNING_KEY_FILE = "no.pem"'
    (hatchfarm.folder / path).write_text(text.replace("[server.settings]", setting), encoding="utf-8")
    refused = hatchfarm.run("run", path)
    assert refused.code == 2
    assert refused.err.startswith(
        "hatchfarm run: the server did not start: MACHINE_CERT_SIGNING_KEY_FILE: cannot use no.pem ("
    )
    assert refused.err.count("\n") == 1


def test_more_machines_than_open_files_allow_is_one_message_with_the_way_out(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    monkeypatch.setattr("simulator.running.doctor.raise_open_files", lambda: 100)
    refused = hatchfarm.invoke("run", str(path), "--out", str(hatchfarm.folder / "results"))
    assert refused.code == 2
    assert refused.err == (
        "hatchfarm run: open files: 100 allowed, 276 needed for 20 machines; raise it with `ulimit -n 276` "
        "(or LimitNOFILE=), or run fewer machines (`hatchfarm doctor` looks at the rest)\n"
    )


def test_a_target_that_is_not_there_exits_with_2(hatchfarm: Hatchfarm, tmp_path: Path) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    refused = hatchfarm.invoke("run", str(path), "--target", url, "--token", "x", "--out", str(tmp_path / "results"))
    assert refused.code == 2
    assert refused.err == (
        f"hatchfarm run: {url} cannot be reached (Connection refused): nothing listens there, "
        f"try `hatchfarm doctor --target {url}`\n"
    )


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://[::1"]
)
def test_a_target_that_is_no_url_exits_with_2_and_is_shown_how_one_looks(hatchfarm: Hatchfarm, url: str) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s")
    out = str(hatchfarm.folder / "results")
    refused = hatchfarm.invoke("run", str(path), "--target", url, "--token", "x", "--out", out)
    assert refused.code == 2
    assert refused.err.startswith(f"hatchfarm run: --target {url}: ")
