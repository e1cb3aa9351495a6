"""Runs of a scenario's text in virtual time, to be compared."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from simulator.comparing.runs import Run, read_run
from simulator.running.run import RunRequest
from simulator.running.virtual import execute_virtually
from simulator.scenario.loading import parse_scenario


def played_text(text: str, seed: int, out: Path) -> Run:
    """Play it by a seed, with its results in an empty folder."""
    scenario = parse_scenario(text)
    path = Path(f"{scenario.name}.toml")
    request = RunRequest(scenario, path, seed, out, None, "", scenario_text=text, reports=False, virtual=True)
    execute_virtually(request, Console(file=io.StringIO()))
    (folder,) = (one for one in (out / scenario.name).iterdir() if not one.is_symlink())
    return read_run(folder)
