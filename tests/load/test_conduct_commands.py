"""When Locust conducts a run, and what the flags for it refuse, in words that say how it is done."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from simulator.client.target import parse_target
from simulator.commands.worker import host_and_port
from simulator.history.rows import History
from simulator.load.conductor import Conductor
from simulator.load.options import MASTER_PORT, ConductorOptions, conductor_options, see_that_the_web_ui_can_be_served
from simulator.scenario.loading import parse_scenario
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.progress import Progress
from tests.cli.conftest import Hatchfarm, serve_until_stopped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.scenario.values import Scenario

PLAIN = """\
version = 1
name = "plain"
duration = "5s"
[fleet]
machines = 2
owners = 1
"""
LOAD = '[[load]]\nuser = "owner-dashboard"\nstages = [{ duration = "1s", target = 1 }]\n'
SPREAD = "processes = 3\n"
TOKEN = "token-of-these-tests"


def scenario(more: str = "") -> Scenario:
    return parse_scenario(PLAIN + more)


def test_a_plain_scenario_needs_no_conductor() -> None:
    assert conductor_options(scenario(), None, None, None) is None
    assert conductor_options(scenario(), 1, None, None) is None


@pytest.mark.parametrize(
    ("more", "workers", "master", "web", "expected"),
    [
        (LOAD, None, None, None, ConductorOptions(1)),
        (SPREAD, None, None, None, ConductorOptions(3)),
        (SPREAD, 2, None, None, ConductorOptions(2, options=("--workers", "2"))),
        ("", 2, None, None, ConductorOptions(2, options=("--workers", "2"))),
        (LOAD, 1, None, None, ConductorOptions(1, options=("--workers", "1"))),
        ("", None, None, 8089, ConductorOptions(1, web_port=8089)),
        (
            "", None, ("192.0.2.7", 6000), None,
            ConductorOptions(1, "192.0.2.7", 6000, options=("--master", "192.0.2.7:6000")),
        ),
        (
            SPREAD + LOAD, 4, ("192.0.2.7", MASTER_PORT), 9000,
            ConductorOptions(
                4, "192.0.2.7", MASTER_PORT, 9000, ("--workers", "4", "--master", f"192.0.2.7:{MASTER_PORT}"),
            ),
        ),
    ],
    ids=["load", "processes", "fewer workers than processes", "workers", "one worker", "web", "master", "everything"],
)  # fmt: skip
def test_locust_conducts_what_has_users_processes_a_master_or_a_web_page(
    more: str, workers: int | None, master: tuple[str, int] | None, web: int | None, expected: ConductorOptions
) -> None:
    """With the flags that asked for it, so that the line which reproduces a run has them too."""
    assert conductor_options(scenario(more), workers, master, web) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", ("192.0.2.7", MASTER_PORT)),
        ("192.0.2.7:1", ("192.0.2.7", 1)),
        ("loadhost.example:65535", ("loadhost.example", 65_535)),
    ],
)
def test_a_master_is_a_host_or_a_host_and_its_port(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address) == expected


@pytest.mark.parametrize(
    "address", ["", ":5557", "host:", "host:0", "host:65536", "host:-1", "host:x", "host:\N{SUPERSCRIPT TWO}", "a:5:5"]
)
def test_an_address_that_is_none_is_refused_with_how_it_is_written(address: str) -> None:
    with pytest.raises(ValueError, match=f"--master .*: write it like 192.0.2.7 or 192.0.2.7:{MASTER_PORT}"):
        host_and_port(address)


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (
            ["worker", "--master", "host:x"],
            {"HATCHFARM_API_TOKEN": TOKEN},
            f"hatchfarm worker: --master host:x: write it like 192.0.2.7 or 192.0.2.7:{MASTER_PORT}\n",
        ),
        (
            ["worker", "--master", "192.0.2.7"],
            {},
            "hatchfarm worker: the deployment's owner token is needed: set HATCHFARM_API_TOKEN, or give --token-file\n",
        ),
        (
            ["run", "plain.toml", "--master", "192.0.2.7"],
            {},
            (
                "hatchfarm run: --master lets other hosts take part, which need --target: "
                "a run's own server is for this host only\n"
            ),
        ),
        (
            ["run", "plain.toml", "--master", "host:x", "--target", "http://127.0.0.1:9", "--token", TOKEN],
            {},
            f"hatchfarm run: --master host:x: write it like 192.0.2.7 or 192.0.2.7:{MASTER_PORT}\n",
        ),
        (
            ["run", "plain.toml", "plain.toml", "--master", "host", "--target", "http://127.0.0.1:9"],
            {"HATCHFARM_API_TOKEN": TOKEN},
            (
                "hatchfarm run: --master is for one scenario: workers of other hosts end with its run, and the next "
                "would wait for nobody. Run each in a call of its own\n"
            ),
        ),
        (
            ["run", "plain.toml", "--workers", "2", "--record"],
            {},
            (
                "hatchfarm run: --record takes what one process plays: "
                "leave out [[load]], --workers, --master and --web\n"
            ),
        ),
    ],
    ids=["worker of no address", "worker without token", "master without target", "no address", "several", "recording"],
)
def test_what_cannot_be_conducted_is_a_usage_error_which_says_why(
    tmp_path: Path, arguments: list[str], environ: Mapping[str, str], message: str
) -> None:
    (tmp_path / "plain.toml").write_text(PLAIN, encoding="utf-8")
    finished = Hatchfarm(tmp_path).invoke(*arguments, env=environ)
    assert (finished.code, finished.out, finished.err) == (2, "", message)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("flags", "environ"), [(["--workers", "2"], {}), (["--web"], {}), ([], {"HATCHFARM_WORKERS": "2"})]
)
def test_copies_of_the_network_are_refused_to_several_processes(
    tmp_path: Path, flags: list[str], environ: Mapping[str, str]
) -> None:
    doubled = PLAIN + '[[faults]]\nkind = "network.duplication"\nat = "1s"\nduration = "1s"\n'
    (tmp_path / "doubled.toml").write_text(doubled, encoding="utf-8")
    finished = Hatchfarm(tmp_path).invoke("run", "doubled.toml", *flags, env=environ)
    assert (finished.code, finished.out) == (2, "")
    assert "network.duplication is for a run in one process" in finished.err


async def test_a_master_to_which_no_worker_comes_says_how_to_start_one() -> None:
    """It waits for so long, and ends what it has started."""
    wanted = ConductorOptions(2, "127.0.0.1", 45557, start_seconds=1.0, workers_seconds=1.0)
    with serve_until_stopped({"HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "1000"}) as (_, url):
        made = Conductor(scenario(), PLAIN, 1, parse_target(url, TOKEN), History(), Progress(), wanted, {})
        with pytest.raises(ExceptionGroup) as ended:
            await made.run()
    assert [str(error) for error in leaf_errors(ended.value)] == [
        "2 workers expected at 127.0.0.1:45557 within 1 s: start each with `hatchfarm worker --master 127.0.0.1:45557`"
    ]
    assert all(process.returncode is not None for process in made._processes._started.values())


def test_a_master_at_an_address_that_is_not_this_hosts_says_so_and_not_that_workers_are_missing(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(PLAIN, encoding="utf-8")
    with serve_until_stopped({"HATCHFARM_API_TOKEN": TOKEN, "RATE_LIMIT_BURST": "1000"}) as (_, url):
        flags = ["--target", url, "--token", TOKEN, "--master", "192.0.2.7"]
        finished = Hatchfarm(tmp_path).invoke("run", "plain.toml", *flags)
    assert finished.code == 2
    assert "Locust's master ended with exit code 1" in finished.err
    assert "Cannot assign requested address" in finished.err


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    return Hatchfarm(tmp_path)


def test_a_busy_port_of_the_web_ui_is_said_before_anything_begins(hatchfarm: Hatchfarm) -> None:
    (hatchfarm.folder / "web.toml").write_text(PLAIN, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        refused = hatchfarm.invoke("run", "web.toml", "--web", "--web-port", str(port))
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"hatchfarm run: the web UI cannot be served on port {port} (Address already in use): give another --web-port\n"
    )
    assert see_that_the_web_ui_can_be_served(ConductorOptions(web_port=port)) == f"http://127.0.0.1:{port}"
    assert see_that_the_web_ui_can_be_served(ConductorOptions()) == ""


def test_a_worker_says_what_it_waits_for_and_gives_up(hatchfarm: Hatchfarm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gave_up = hatchfarm.invoke("worker", "--master", f"127.0.0.1:{port}", "--token", "t", "--wait", "0")
    assert gave_up.code == 2
    assert gave_up.err.splitlines() == [
        f"Waiting for `hatchfarm run --master 127.0.0.1:{port}`, for 0 s at most",
        (
            f"hatchfarm worker: nothing listened at 127.0.0.1:{port} within 0 s: "
            "start `hatchfarm run --master` there, or --wait longer"
        ),
    ]


def test_a_worker_becomes_locusts_once_its_master_listens(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr("simulator.commands.worker.os.execve", lambda _, command, __: became.append(command))
    with socket.create_server(("127.0.0.1", 0)) as master:
        port = master.getsockname()[1]
        assert hatchfarm.invoke("worker", "--master", f"127.0.0.1:{port}", "--token", "t").code == 0
    assert became[0][-4:] == ["--master-host", "127.0.0.1", "--master-port", str(port)]
