"""Reading the scenarios that commands are given: held against the server's own list of settings, and filled."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from simulator.commands.failing import fail

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from simulator.scenario.loading import Loaded
    from simulator.scenario.overriding import Overrides


def see_input_is_read_once(command: str, sources: Iterable[Path | str | None]) -> None:
    """End a command that is to read standard input for more than one thing: the second would find nothing there."""
    from simulator.scenario.source import STANDARD_INPUT  # noqa: PLC0415 - loads only where it is used

    if [str(one) for one in sources].count(STANDARD_INPUT) > 1:
        fail(command, "standard input (-) can be read only once: give a file for all but one that is to come from it")


def read_scenario(path: Path, overrides: Overrides | None = None) -> Loaded:
    """Read a scenario: a file, the name of one that is shipped, or `-` for standard input. Raises ScenarioError."""
    from reference_server.about import setting_names, settings_problem  # noqa: PLC0415 - loads only where it is used
    from simulator.scenario.loading import load_with_source  # noqa: PLC0415 - as above
    from simulator.scenario.overriding import NO_OVERRIDES  # noqa: PLC0415 - as above
    from simulator.scenario.server_problems import ServerSettings  # noqa: PLC0415 - as above

    return load_with_source(
        path, ServerSettings(setting_names(), settings_problem), overrides or NO_OVERRIDES, os.environ
    )
