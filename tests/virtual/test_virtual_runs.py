"""Runs in virtual time: judged like live ones, the same for the same seed, and bugs are found."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from reference_server.wire.units import SECOND_NS
from simulator.attacks.strain import Connects
from simulator.commands.cli import app
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import HONEST
from simulator.running.run import RunRequest
from simulator.running.virtual import not_yet_virtual, play_virtually
from simulator.scenario.loading import load_scenario, parse_scenario
from simulator.worlds.players import scripts
from simulator.worlds.progress import Kind
from tests.planted_bugs.faults import FAULTS, Edit
from tests.planted_bugs.faulty_server import planted
from tests.support.invoking import invoke
from tests.support.tiers import SOAK
from tests.virtual.small_run import SCENARIO, Played, play

ROOT = Path(__file__).parents[2]
SEEDS = range(50) if SOAK else range(1, 4)
VIRTUAL = [
    path.stem
    for path in sorted((ROOT / "scenarios").glob("*.toml"))
    if SOAK and path.stem != "virtual-week" and not not_yet_virtual(load_scenario(path))
]
"""Shipped scenarios that can be played so; the week takes minutes, and is played elsewhere."""


@pytest.fixture(scope="module")
def right() -> Played:
    """Return what came of a run against the right server."""
    return play(1)


def test_the_right_server_passes(right: Played) -> None:
    assert right.code == 0, right.printed
    assert right.verified


def test_replays_to_machines_that_rotate_every_three_seconds_prove_something_and_accuse_nobody() -> None:
    rotating = play(1, SCENARIO.replace("[fleet]", '[fleet]\ncertificate_rotation = "3s"'))
    assert rotating.code == 0, rotating.printed
    replays = next(one for one in rotating.history.campaigns if one.attack == "replay.exact")
    assert replays.completed > 5


@pytest.mark.parametrize(("most", "held_up"), [(5, True), (100, False)])
def test_attempts_wait_for_room_among_the_connections_that_others_hold(
    monkeypatch: pytest.MonkeyPatch, most: int, *, held_up: bool
) -> None:
    """Else hundreds of thousands are to be ended one after the other when somebody interrupts a run."""
    monkeypatch.setattr(scripts, "SCRIPT_CONNECTIONS_MAX", most)
    monkeypatch.setattr(Connects, "connections", 2)
    attack = '[[attacks]]\nname = "strain.connects"\nstart = "1s"\nduration = "9s"\nrate = 2\n'
    (campaign,) = play(1, SCENARIO.split("[[attacks]]")[0] + attack).history.campaigns
    assert campaign.completed == campaign.attempts - campaign.held_up > 2
    assert bool(campaign.held_up) is held_up


def test_every_honest_heartbeat_is_answered_and_each_machine_beats_in_its_time(right: Played) -> None:
    rows = right.history.rows()
    honest = rows[(rows["campaign"] == HONEST) & (rows["operation"] == Operation.HEARTBEAT)]
    assert len(honest) > 80
    assert set(np.unique(honest["got"])) == {int(Answer.ACCEPTED)}
    assert (honest["answered_ns"] > honest["sent_ns"]).all()
    assert (honest["sent_ns"] == honest["planned_ns"]).mean() > 0.9


if SOAK:

    @pytest.mark.parametrize("seed", [None, 1, 2, 3])
    @pytest.mark.parametrize("name", VIRTUAL)
    def test_a_shipped_scenario_passes_whatever_its_seed(name: str, seed: int | None, tmp_path: Path) -> None:
        """Its own, with which anybody begins, and others: no threshold is a matter of luck."""
        flags = () if seed is None else ("--seed", str(seed))
        done = invoke(app, ["run", name, "--virtual", "--no-reports", "--out", str(tmp_path), *flags])
        assert done.exit_code == 0, done.output


def test_the_report_says_that_time_was_virtual(right: Played) -> None:
    assert right.verdict["target"] == "its own server, in virtual time"
    assert str(right.verdict["reproduce"]).endswith("--virtual")
    assert "n/a generator Time was virtual" in " ".join(right.printed.split())
    assert "server.memory is not judged" in right.printed


SHORT = SCENARIO[: SCENARIO.index("[[attacks]]")].replace('"20s"', '"8s"').replace("silence = ", "# ")


def thresholds_of(played: Played) -> list[dict[str, object]]:
    thresholds = played.verdict["thresholds"]
    assert isinstance(thresholds, list)
    return thresholds


def test_a_threshold_that_does_not_hold_fails_a_run() -> None:
    """The harness cannot have been late, which therefore excuses nothing."""
    played = play(1, SHORT + '[thresholds]\n"heartbeat.accepted" = ["count>=9999"]\n"requests.total" = ["count<9"]\n')
    assert [one["status"] for one in thresholds_of(played)] == ["fail", "fail"]
    assert played.code == 1


ABORT = '[[abort_on_fail]]\nmetric = "{}"\nthreshold = "{}"\ndelay = "{}"\n'


def test_a_threshold_may_end_a_run_and_ends_it_at_the_same_moment_each_time() -> None:
    text = SHORT + ABORT.format("heartbeat.accepted", "count>=9999", "3s")
    played = play(1, text)
    assert played.code == 1
    ended = played.verdict["ended_early"]
    assert isinstance(ended, dict)
    assert 3 * SECOND_NS <= ended["at_ns"] < 5 * SECOND_NS
    assert [one["status"] for one in thresholds_of(played)] == ["fail"]
    assert played.history.rows()["sent_ns"].max() < 6 * SECOND_NS
    assert play(1, text).digest == played.digest


def test_a_threshold_that_holds_ends_nothing_and_to_look_changes_nothing() -> None:
    looked = play(
        1, SHORT + ABORT.format("heartbeat.accepted", "rate>0.5", "0s") + ABORT.format("server.memory", "max<1MB", "0s")
    )
    assert looked.code == 0, looked.printed
    assert looked.verdict["ended_early"] is None
    assert "server.memory is not judged" in looked.printed
    assert looked.digest == play(1, SHORT).digest


@pytest.mark.parametrize(
    "ended", ["", ABORT.format("heartbeat.accepted", "count>=9999", "6s")], ids=["at its end", "before its end"]
)
def test_no_attack_goes_on_once_the_run_is_over(ended: str) -> None:
    attack = '[[attacks]]\nname = "{}"\nstart = "4s"\nduration = "4s"\nrate = 2\n'
    text = SHORT + "".join(map(attack.format, ("replay.exact", "skew.behind", "owner.header-mismatch"))) + ended
    request = RunRequest(parse_scenario(text), Path("small.toml"), 1, Path("results"), None, "", virtual=True)
    printed = Console(file=io.StringIO(), width=200, record=True)
    _, state = play_virtually(request, printed)
    assert (state.ended_early is not None) is bool(ended)
    assert [one for one in state.progress.under_way if one[0] is Kind.ATTACK] == []


def test_another_seed_plays_another_run(right: Played) -> None:
    assert play(2).digest != right.digest


def test_two_processes_play_the_same_histories(right: Played) -> None:
    """Whatever order their sets are in."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.virtual.small_run", *map(str, SEEDS)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, other = (process.communicate(timeout=100 * len(SEEDS))[0].split() for process in started)
    assert one == other
    assert len(set(one)) == len(SEEDS)
    assert SOAK or one[0] == right.digest


@pytest.mark.parametrize(
    ("name", "checker"), [("skew window ten times too wide", "answers"), ("nonces kept for a second", "replay")]
)
def test_a_planted_bug_is_found(name: str, checker: str) -> None:
    (fault,) = [one for one in FAULTS if one.name == name]
    with planted(fault.edits):
        played = play(1)
    assert played.code == 1
    assert f"FAILED {checker}" in played.printed


@pytest.mark.parametrize(
    ("old", "new", "printed"),
    [
        ("[server.settings]", "[server]\ncommand = ['true']\n[server.settings]", "[server] command"),
        (
            "[server.settings]",
            "[server.settings]\nTRUSTED_PROXIES = '192.0.2.1'\nPROXY_PROTOCOL = true",
            "proxies in front of its servers (PROXY_PROTOCOL)",
        ),
    ],
)
def test_what_is_not_there_yet_is_refused(tmp_path: Path, old: str, new: str, printed: str) -> None:
    text = SCENARIO.replace(old, new)
    assert any(printed in one for one in not_yet_virtual(parse_scenario(text)))
    path = tmp_path / "small.toml"
    path.write_text(text, encoding="utf-8")
    result = invoke(app, ["run", str(path), "--virtual", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert printed in result.output


def test_a_setting_by_which_nobody_is_in_front_is_played() -> None:
    text = SCENARIO.replace("[server.settings]", "[server.settings]\nPROXY_PROTOCOL = false")
    assert not not_yet_virtual(parse_scenario(text))


def test_a_run_that_hangs_at_its_end_has_a_verdict_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    closes = "performance.close()"
    hangs = f"{closes}\n        with trio.CancelScope(shield=True):\n            await trio.sleep_forever()"
    closing = Edit("simulator.worlds.players.scripts", "ScriptPlayer._attempt", closes, hangs)
    with planted((closing,)):
        result = invoke(app, ["run", str(path), "--virtual", "--no-reports", "--out", str(tmp_path)])
    assert result.exit_code == 3, result.output
    assert "in _attempt (<ScriptPlayer._attempt with a fault>:" in " ".join(result.output.split())
    assert [*tmp_path.glob("small/2*/harness-failure.txt")]


BESIDE = """
[[attacks]]
name = "tls.spoofed-proto"
start = "1s"
duration = "2s"
rate = 1
[[attacks]]
name = "strain.rapid-reset"
start = "1s"
duration = "2s"
rate = 1
"""


def test_attacks_that_need_settings_have_a_server_beside_the_first_and_http2_is_not_tried() -> None:
    played = play(1, SHORT + BESIDE)
    assert played.code == 0, played.printed
    campaigns = {one.attack: one for one in played.history.campaigns}
    assert campaigns["tls.spoofed-proto"].completed > 0
    assert "HTTP/2" in campaigns["strain.rapid-reset"].not_tried


def test_nobody_elses_server_can_be_played_against_in_virtual_time(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    command = ["run", str(path), "--virtual", "--target", "http://127.0.0.1:1"]
    result = invoke(app, command, env={"HATCHFARM_API_TOKEN": "x" * 40})
    assert result.exit_code == 2
    assert "leave --target away" in result.output
