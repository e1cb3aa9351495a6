"""`hatchfarm doctor` with and without a target, and the commands that explain the attacks."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack

if TYPE_CHECKING:
    from tests.cli.conftest import Deployment, Hatchfarm


def test_doctor_finds_this_machine_able_to_run(hatchfarm: Hatchfarm) -> None:
    healthy = hatchfarm.invoke("doctor", "--machines", "20")
    assert (healthy.code, healthy.err) == (0, "")
    assert "\x1b" not in healthy.out
    (files,) = [line for line in healthy.lines if "open files" in line]
    assert re.fullmatch(r"right\s+open files\s+[0-9,]+ allowed, 276 needed for 20 machines", files)


def test_doctor_exits_with_2_and_the_way_out_when_a_run_could_not_work(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.running.doctor.raise_open_files", lambda: 1024)
    ill = hatchfarm.invoke("doctor", env={"HATCHFARM_MACHINES": "5000"})
    assert ill.code == 2
    at = next(number for number, line in enumerate(ill.lines) if line.startswith("wrong"))
    assert re.fullmatch(r"wrong\s+open files\s+1,024 allowed, 5,256 needed for 5,000 machines", ill.lines[at])
    assert ill.lines[at + 1].strip().startswith("-> raise it with `ulimit -n 5256`")


def test_a_warning_alone_keeps_doctor_at_0(hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.running.doctor.can_bind", lambda _: False)
    warned = hatchfarm.invoke("doctor", "--machines", "20")
    assert warned.code == 0
    assert any(line.startswith("beware  loopback addresses") for line in warned.lines)


def test_doctor_looks_at_the_target_from_flags_or_environment(hatchfarm: Hatchfarm, deployment: Deployment) -> None:
    env = {"HATCHFARM_TARGET": deployment.url, "HATCHFARM_API_TOKEN": deployment.token}
    for shown in (
        hatchfarm.invoke("doctor", "--machines", "20", *deployment.flags),
        hatchfarm.invoke("doctor", "--machines", "20", env=env),
    ):
        assert (shown.code, shown.err) == (0, "")
        assert any(f"{deployment.url} speaks the contract and takes the token" in line for line in shown.lines)
        assert any(re.fullmatch(r"right\s+clock\s+the target is [+-][0-9]s off", line) for line in shown.lines)
        assert deployment.token not in shown.out


@pytest.mark.parametrize(
    ("token", "why"), [((), "wants an owner token: give it"), (("--token", "wrong"), "refuses the owner token: give")]
)
def test_doctor_exits_with_2_when_the_target_refuses_the_token(
    hatchfarm: Hatchfarm, deployment: Deployment, token: tuple[str, ...], why: str
) -> None:
    refused = hatchfarm.invoke("doctor", "--machines", "20", "--target", deployment.url, *token)
    assert refused.code == 2
    assert f"{deployment.url} {why}" in refused.out


def test_doctor_exits_with_2_when_nothing_is_there(hatchfarm: Hatchfarm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    refused = hatchfarm.invoke("doctor", "--machines", "20", "--target", url)
    assert refused.code == 2
    assert f"{url} cannot be reached" in refused.out
    shown = hatchfarm.invoke("doctor", "--target", "farm")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == "hatchfarm doctor: --target farm: write it like http://127.0.0.1:8080 or https://host\n"


def test_attack_list_shows_every_attack_by_family_with_verdict_and_severity(hatchfarm: Hatchfarm) -> None:
    shown = hatchfarm.invoke("attack", "list")
    assert (shown.code, shown.err) == (0, "")
    heading, *lines = [re.split(r"\s{2,}", line.strip(), maxsplit=2) for line in shown.lines]
    assert heading == ["attack", "severity", "a correct server answers"]
    assert [line[0] for line in lines if line != [""]] == sorted(CATALOGUE)
    for line in lines:
        if line != [""]:
            attack = CATALOGUE[line[0]]
            assert (float(line[1]), line[2].strip()) == (attack.severity, attack.verdict)
    families = [line[0].partition(".")[0] for line in lines]
    borders = [at for at, family in enumerate(families) if not family]
    assert len(borders) == len({*families} - {""}) - 1
    assert all(families[at - 1] != families[at + 1] for at in borders)


@pytest.mark.parametrize("name", CATALOGUE)
def test_attack_show_explains_an_attack(hatchfarm: Hatchfarm, name: str) -> None:
    shown = hatchfarm.invoke("attack", "show", name)
    assert (shown.code, shown.err) == (0, "")
    attack = CATALOGUE[name]
    assert shown.lines[0] == name
    for field in ("shape", "verdict", "effect", "anchor", "basis"):
        assert getattr(attack, field)
        assert any(re.fullmatch(rf"  {field}\s+{re.escape(getattr(attack, field))}", line) for line in shown.lines)
    weakness = "a known weakness of the published protocol, reported and never failed"
    assert f"  severity {attack.severity:g} of 10" + (f"; {weakness}" if attack.weakness else "") in shown.lines
    kind = "several steps" if issubclass(attack, ScriptAttack) else "single heartbeats"
    assert any(line.startswith(f"  played   {kind}, ") for line in shown.lines)
    assert hatchfarm.invoke("attack", "show", env={"HATCHFARM_ATTACK": name}).out == shown.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "replay.exakt"), "attack show: unknown attack 'replay.exakt'; did you mean 'replay.exact'?"),
        (("show", "ddos"), "attack show: unknown attack 'ddos'; `hatchfarm attack list` names them all"),
        (("list", "--family", "reply"), "attack list: unknown family 'reply'; did you mean 'replay'?"),
    ],
)
def test_an_unknown_attack_or_family_exits_with_2_and_what_was_meant(
    hatchfarm: Hatchfarm, words: tuple[str, ...], says: str
) -> None:
    refused = hatchfarm.invoke("attack", *words)
    assert (refused.code, refused.out, refused.err) == (2, "", f"hatchfarm {says}\n")


def test_attack_list_shows_one_family_and_says_all_to_programs(hatchfarm: Hatchfarm) -> None:
    mine = sorted(name for name in CATALOGUE if name.startswith("replay."))
    shown = hatchfarm.invoke("attack", "list", "--family", "replay")
    assert [line.split()[0] for line in shown.lines[1:]] == mine
    listed = msgspec.json.decode(hatchfarm.invoke("attack", "list", "--family", "replay", "--json").out)
    assert [one["name"] for one in listed] == mine
    exact = next(one for one in listed if one["name"] == "replay.exact")
    attack = CATALOGUE["replay.exact"]
    assert exact == {
        "name": "replay.exact",
        "family": "replay",
        "severity": attack.severity,
        "shape": attack.shape,
        "verdict": attack.verdict,
        "effect": attack.effect,
        "anchor": attack.anchor,
        "basis": attack.basis,
        "weakness": False,
        "scripted": False,
    }
    everything = msgspec.json.decode(hatchfarm.invoke("attack", "list", "--json").out)
    assert [one["name"] for one in everything] == sorted(CATALOGUE)


NEEDY = """
version = 1
name = "needy"
duration = "9s"
[server]
redis = true
command = ["no-such-farm"]
[fleet]
machines = 20
[[faults]]
kind = "server.kill"
at = "1s"
[[attacks]]
name = "replay.exact"
start = "1s"
duration = "1s"
rate = 1
[[attacks]]
name = "replay.clock-step-back"
start = "1s"
duration = "1s"
rate = 1
[[attacks]]
name = "http.slowloris"
start = "1s"
duration = "1s"
rate = 1
[thresholds]
"server.memory" = ["max<256MB"]
"""


def test_doctor_looks_at_what_a_scenario_needs(hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch) -> None:
    (hatchfarm.folder / "needy.toml").write_text(NEEDY, encoding="utf-8")
    monkeypatch.setenv("PATH", "/nowhere")
    shown = hatchfarm.invoke("doctor", "needy.toml", env={"PATH": "/nowhere"})
    text = " ".join(shown.out.split())
    assert shown.code == 2
    assert "needed for 20 machines and " in text
    assert "beware redis-server not on the PATH" in text
    assert "wrong its Redis no redis-server on the PATH -> the scenario has `redis = true`" in text
    assert "wrong its command there is no no-such-farm on the PATH" in text
    assert "beware attacks 1 of 3 attacks not tried (replay.clock-step-back: it sets the clock" in text


def test_doctor_says_what_a_scenario_cannot_do_to_a_target(hatchfarm: Hatchfarm, deployment: Deployment) -> None:
    (hatchfarm.folder / "needy.toml").write_text(NEEDY, encoding="utf-8")
    shown = hatchfarm.invoke("doctor", "needy.toml", *deployment.flags)
    text = " ".join(shown.out.split())
    assert shown.code == 2
    assert "wrong faults server.kill happen to what the run has started" in text
    assert "beware thresholds server.memory is not judged" in text
    assert "1 of 3 attacks not tried (replay.clock-step-back: it needs servers of the run's own" in text
    assert "its command" not in text


def test_doctor_names_few_of_many_attacks_that_a_target_rules_out(hatchfarm: Hatchfarm, deployment: Deployment) -> None:
    text = " ".join(hatchfarm.invoke("doctor", *deployment.flags).out.split())
    assert re.search(r"not tried \((?:[a-z0-9.-]+, ){4}[a-z0-9.-]+ and \d+ more: ", text)


def test_doctor_finds_all_there_that_a_scenario_needs(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.write("tiny.toml", duration="9s", attacks=True)
    shown = hatchfarm.invoke("doctor", str(path))
    assert shown.code == 0
    assert any(re.fullmatch(r"right\s+attacks\s+2 attacks, all of which can be tried", line) for line in shown.lines)
    broken = hatchfarm.invoke("doctor", "nothing.toml")
    assert (broken.code, broken.out) == (2, "")
    assert broken.err.startswith("hatchfarm doctor: nothing.toml: cannot be read")


def test_doctor_does_not_send_anybody_to_the_doctor(hatchfarm: Hatchfarm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    shown = hatchfarm.invoke("doctor", "--target", url)
    assert shown.code == 2
    assert "hatchfarm doctor" not in shown.out
    assert "-> start the server, or give its own address and port with --target" in " ".join(shown.out.split())
