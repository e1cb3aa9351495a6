"""Options that several commands have, each with its environment variable."""

from __future__ import annotations

import os
from collections.abc import Iterator  # noqa: TC003 - typer reads the annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.contract.profiles import Profile
from simulator.limits import MACHINES_MAX, SEED_MAX

if TYPE_CHECKING:
    from simulator.scenario.overriding import Overrides

ProfileOption = Annotated[
    Profile | None,
    typer.Option(
        "--profile",
        help="The measure: the published API, or the whole hardened contract. Else published for a --target, and "
        "hardened for own servers.",
        envvar="HATCHFARM_PROFILE",
    ),
]


def complete_scenario(incomplete: str) -> Iterator[str]:
    """Complete the name of a shipped scenario, or the path of a file."""
    from simulator.scenario.shipped import shipped_names  # noqa: PLC0415 - a shell waits for it

    yield from (name for name in shipped_names() if name.startswith(incomplete))
    start = Path(incomplete)
    folder = start if incomplete.endswith("/") else start.parent
    for path in sorted(folder.glob("*")):
        if str(path).startswith(incomplete) and (path.is_dir() or path.suffix == ".toml"):
            yield f"{path}/" if path.is_dir() else str(path)


ScenarioFile = Annotated[
    Path,
    typer.Argument(
        help="A scenario: a file (TOML), the name of a shipped one, or `-` for standard input.",
        envvar="HATCHFARM_SCENARIO",
        autocompletion=complete_scenario,
    ),
]
ScenarioFiles = Annotated[
    list[Path],
    typer.Argument(
        help="Scenarios: files (TOML), names of shipped ones, or `-` for standard input; in the environment with ':' "
        "between them.",
        envvar="HATCHFARM_SCENARIO",
        autocompletion=complete_scenario,
    ),
]
DurationOption = Annotated[
    str | None,
    typer.Option(
        "--duration",
        help="How long to run, like 90s or 1h30m, instead of the scenario's.",
        envvar="HATCHFARM_DURATION",
    ),
]
MachinesOption = Annotated[
    int | None,
    typer.Option(
        "--machines",
        help="The size of the fleet instead of the scenario's; its stages change in proportion.",
        envvar="HATCHFARM_MACHINES",
        min=1,
        max=MACHINES_MAX,
    ),
]
SET_VARIABLE = "HATCHFARM_SET"


def _one_a_line(ctx: typer.Context, param: typer.CallbackParam, values: list[str] | None) -> list[str] | None:
    """Take what a variable says a line at a time: it was split at spaces, which values may have."""
    source = ctx.get_parameter_source(param.name or "")
    if source is None or source.name != "ENVIRONMENT":
        return values
    return [line for line in os.environ.get(SET_VARIABLE, "").splitlines() if line.strip()]


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A value instead of the scenario's, like fleet.jitter=0.2 or attacks[0].rate=50; may be given several "
        "times, in the environment a line each.",
        envvar=SET_VARIABLE,
        callback=_one_a_line,
    ),
]


def overrides_of(duration: str | None, machines: int | None, values: list[str] | None) -> Overrides:
    """Return what the flags say in place of a scenario's values."""
    from simulator.scenario.overriding import Overrides  # noqa: PLC0415 - slow to load

    return Overrides(duration, machines, tuple(values or ()))


RESULTS = Path("results")


def _is_folder(out: Path) -> Path:
    """Refuse what `--out` means to k6: a format with its file."""
    kind, given, _ = str(out).partition("=")
    if given and kind in {"json", "csv"}:
        raise typer.BadParameter(
            f"{str(out)!r} is k6's: here it names a folder, which then has verdict.json and history/"
        )
    return out


OutOption = Annotated[
    Path, typer.Option("--out", help="Where results go.", envvar="HATCHFARM_OUT", callback=_is_folder)
]
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
