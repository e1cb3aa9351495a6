"""Reading the scenarios that commands are given: held against the server's own list of settings, and filled."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.scenario.loading import Loaded
    from simulator.scenario.overriding import Overrides


def read_scenario(path: Path, overrides: Overrides | None = None) -> Loaded:
    """Read a scenario: a file, the name of one that is shipped, or `-` for standard input. Raises ScenarioError."""
    from reference_server.about import setting_names, settings_problem  # noqa: PLC0415 - loads only where it is used
    from simulator.scenario.loading import load_with_source  # noqa: PLC0415 - as above
    from simulator.scenario.overriding import NO_OVERRIDES  # noqa: PLC0415 - as above
    from simulator.scenario.server_problems import ServerSettings  # noqa: PLC0415 - as above

    return load_with_source(
        path, ServerSettings(setting_names(), settings_problem), overrides or NO_OVERRIDES, os.environ
    )
