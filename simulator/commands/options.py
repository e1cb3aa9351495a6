"""Options that several commands have, each with its environment variable."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.contract.profiles import Profile

ProfileOption = Annotated[
    Profile | None,
    typer.Option(
        "--profile",
        help="The measure: the published API, or the whole hardened contract. Else published for a --target, and "
        "hardened for own servers.",
        envvar="HATCHFARM_PROFILE",
    ),
]
