"""The workflow that people copy: every `run` of it does what it says, in the environment that GitHub gives it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.tiers import SOAK

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / "scenarios/ci/hatchfarm.yml").read_text(encoding="utf-8"))
SCENARIO = """\
version = 1
name = "gate"
duration = "3s"

[server.settings]
RATE_LIMIT_BURST = 1000

[fleet]
machines = 4
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "100ms", target = 4 }]

[thresholds]
"heartbeat.rate" = ["median>=%d"]
"""
SMALL = {
    "RATE": "8", "SECONDS_A_STEP": "1", "BASE": ".", "HATCHFARM_COMPARE_ROUNDS": "2",
    "HATCHFARM_COMPARE_ROUNDS_MAX": "2", "HATCHFARM_COMPARE_SECONDS": "0.2",
}  # fmt: skip
"""What makes the steps small: no test goes by how fast a machine is."""


class Job:
    """A checkout in which a job's steps are run, with what GitHub Actions sets."""

    def __init__(self, folder: Path, name: str, scenario: str) -> None:
        self.folder, self.job, self.temporary = folder / "checkout", WORKFLOW["jobs"][name], folder / "temporary"
        self.summary = folder / "summary.md"
        self.temporary.mkdir()
        self.folder.mkdir()
        for source in ("benchmarks", "reference_server", "simulator", "scenarios", ".venv", "requirements.lock"):
            (self.folder / source).symlink_to(ROOT / source)
        (self.folder / "gate.toml").write_text(scenario, encoding="utf-8")
        programs = folder / "programs"
        programs.mkdir()
        (programs / "make").write_text(f'#!/bin/sh\necho "$@" >> {folder}/made\n')
        (programs / "make").chmod(0o755)
        self.environ = {
            **os.environ, **self.job["env"], **SMALL, "SCENARIO": "gate.toml", "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_WORKSPACE": str(self.folder),
            "RUNNER_TEMP": str(self.temporary), "PATH": f"{programs}:{os.environ['PATH']}",
        }  # fmt: skip

    def steps(self) -> dict[str, str]:
        return {step["name"]: step["run"] for step in self.job["steps"] if "run" in step}

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self.steps()[name]],  # noqa: S607 - as GitHub runs it
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def test_every_step_is_run_here_or_is_an_action() -> None:
    assert [[step["name"] for step in job["steps"] if "run" in step] for job in WORKFLOW["jobs"].values()] == [
        ["Install", "Is the scenario right?", "Run and judge", "Is what it left behind genuine?"],
        ["Install", "Does it bear what is required?", "Is it slower than before?"],
    ]
    assert all("run" in step or "uses" in step for job in WORKFLOW["jobs"].values() for step in job["steps"])


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_correctness_gate_lets_a_right_server_through_and_tells_the_job(tmp_path: Path) -> None:
    job = Job(tmp_path, "correctness", SCENARIO % 1)
    for name in job.steps():
        done = job.run(name)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "::" not in done.stdout.replace("http://", "").replace("sha256::", "")
    assert (tmp_path / "made").read_text() == ".venv/.ready\n"
    assert "PASS" in job.summary.read_text()
    (path,) = job.temporary.glob("results/gate/*-*/verdict.json")
    host = json.loads(path.read_bytes())["host"]
    assert host["cores"] >= 1
    assert host["packages"]["trio"]
    assert str(ROOT) not in json.dumps(host)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_correctness_gate_fails_at_the_line_that_was_missed(tmp_path: Path) -> None:
    job = Job(tmp_path, "correctness", SCENARIO % 9999)
    done = job.run("Run and judge")
    assert done.returncode == 1
    (error,) = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert error.startswith("::error file=gate.toml,line=15,title=heartbeat.rate%3A median>=9999::")
    assert "FAIL" in job.summary.read_text()
    (job.folder / "gate.toml").write_text((SCENARIO % 1).replace("machines", "machinez"))
    done = job.run("Is the scenario right?")
    assert done.returncode == 2
    assert "::error file=gate.toml,line=9,title=scenario::fleet.machinez: unknown key; did you mean" in done.stdout


if SOAK:  # several servers, one after the other

    def test_the_throughput_gate_says_what_it_found(tmp_path: Path) -> None:
        """Two rounds are too few to be sure of anything, which fails no change."""
        job = Job(tmp_path, "throughput", SCENARIO % 1)
        done = job.run("Does it bear what is required?")
        assert done.returncode in {0, 1, 3}, done.stderr
        assert "8/s" in job.summary.read_text()
        done = job.run("Is it slower than before?")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "cannot tell" in job.summary.read_text()
        assert (job.temporary / "comparison.html").read_text().startswith("<!doctype html>")
        assert (job.temporary / "comparison.xml").exists()
