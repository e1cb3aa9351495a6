"""`hatchfarm bench conduct`: what it costs that Locust conducts the shard, against the shard alone, in alternation."""

from __future__ import annotations

import io
import json
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from simulator.contract.answers import Answer, Operation
from simulator.load.options import ConductorOptions
from simulator.running.run import Request, observe
from simulator.scenario.loading import load_with_source

if TYPE_CHECKING:
    from simulator.history.rows import History

RAMP_SECONDS = 3.0
"""Machines come up and their connections settle; nothing of it is counted."""
SECOND_NS = 1_000_000_000
BAR = 0.9
SCENARIO = """\
version = 1
name = "conduct"
duration = "{seconds}s"
[server]
settings = {{ RATE_LIMIT_REFILL_PER_SECOND = 100000, RATE_LIMIT_BURST = 100000 }}
[fleet]
machines = 400
owners = 10
heartbeat_interval = "10ms"
stages = [{{ duration = "1s", target = 400 }}]
"""
"""More heartbeats than a shard on one core can send, so that the rate is what it can."""
SUBJECTS = {"direct": "the shard in the run's own process", "conducted": "the shard beside Locust, reporting"}


def rate_of(history: History, seconds: float) -> float:
    """Return accepted heartbeats a second, once everybody was there."""
    rows = history.rows()
    accepted = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]["answered_ns"]
    counted = np.count_nonzero((accepted >= RAMP_SECONDS * SECOND_NS) & (accepted < seconds * SECOND_NS))
    return float(counted / (seconds - RAMP_SECONDS))


def measure(subject: str, scenario: Path, folder: Path, seconds: float) -> float:
    """Run once, with a server of its own; gives heartbeats a second."""
    conducted_by = ConductorOptions() if subject == "conducted" else None
    loaded, source = load_with_source(scenario)
    text = source.decode()
    request = Request(loaded, scenario, 1, folder, None, "bench-token", conducted_by=conducted_by, scenario_text=text)
    _, history = observe(request, Console(file=io.StringIO()))
    return rate_of(history, seconds)


def main(rounds: int, seconds: float, out: Path) -> int:
    """Measure, print a table, write JSON. Gives 0."""
    console = Console(highlight=False)
    rates: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    length = RAMP_SECONDS + seconds
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with tempfile.TemporaryDirectory() as name, Progress(*columns, console=console) as progress:
        folder = Path(name)
        scenario = folder / "conduct.toml"
        scenario.write_text(SCENARIO.format(seconds=length), encoding="utf-8")
        task = progress.add_task("starting", total=rounds * len(SUBJECTS))
        for number in range(rounds):
            # Alternate the order too, so that a drifting machine favours nobody.
            for subject in list(SUBJECTS) if number % 2 == 0 else list(reversed(SUBJECTS)):
                rate = measure(subject, scenario, folder, length)
                rates[subject].append(rate)
                progress.update(task, advance=1, description=f"{subject}: {rate:,.0f}/s")
    summary = summarise(rates)
    table = Table("subject", "heartbeats a second (median)", "spread", box=None)
    for subject, title in SUBJECTS.items():
        each = rates[subject]
        table.add_row(title, f"{statistics.median(each):,.0f}", f"{min(each):,.0f} - {max(each):,.0f}")
    console.print(table)
    ratio = summary["ratio"]
    spread = f"{ratio['min']:.2f} - {ratio['max']:.2f}"
    console.print(f"conducted/direct: {ratio['median']:.2f} ({spread}), bar >= {BAR:g}", markup=False)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "bench-conduct.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {path}", markup=False)
    return 0


def summarise(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, and the ratio's median and spread over the rounds."""
    each = [over / under for over, under in zip(rates["conducted"], rates["direct"], strict=True)]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - when these figures are from
        "per_second": {name: {"median": statistics.median(each), "rounds": each} for name, each in rates.items()},
        "ratio": {"median": statistics.median(each), "min": min(each), "max": max(each), "bar": BAR},
    }
