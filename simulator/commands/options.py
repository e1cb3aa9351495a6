"""Options that several commands have, each with its environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.contract.profiles import Profile
from simulator.limits import SEED_MAX

ProfileOption = Annotated[
    Profile | None,
    typer.Option(
        "--profile",
        help="The measure: the published API, or the whole hardened contract. Else published for a --target, and "
        "hardened for own servers.",
        envvar="HATCHFARM_PROFILE",
    ),
]
ScenarioFile = Annotated[Path, typer.Argument(help="A scenario file (TOML).", envvar="HATCHFARM_SCENARIO")]
RESULTS = Path("results")
OutOption = Annotated[Path, typer.Option("--out", help="Where results go.", envvar="HATCHFARM_OUT")]
ServeMetrics = Annotated[
    int | None,
    typer.Option(
        "--serve-metrics",
        metavar="PORT",
        help="Serve the run's own metrics to Prometheus on this port of 127.0.0.1 while it lasts; 0 for any free port.",
        envvar="HATCHFARM_SERVE_METRICS",
        min=0,
        max=65_535,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Instead of the scenario's.", envvar="HATCHFARM_SEED", min=0, max=SEED_MAX),
]
