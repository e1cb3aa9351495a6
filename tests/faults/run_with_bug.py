"""`python run_with_bug.py NAME …`: hatchfarm, whose own servers have a planted bug; none for an empty name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from simulator.platform.ending import Ending

ROOT = Path(__file__).parent.parent.parent
SERVE = "--serve"


def serve(name: str) -> int:
    """Serve with the bug."""
    from reference_server import app  # noqa: PLC0415 - nothing of the server is loaded for a run
    from tests.faults.planted import PLANTED  # noqa: PLC0415
    from tests.planted_bugs.faulty_server import plant  # noqa: PLC0415

    (bug,) = [one for one in PLANTED if one.name == name]
    plant(bug.edits)
    return app.serve(os.environ, until_stdin_closes=True)


def run(name: str) -> None:
    """Run hatchfarm, which starts servers with the bug."""
    from simulator.commands.cli import app  # noqa: PLC0415
    from simulator.deployment import own as deployment  # noqa: PLC0415 - nothing of the simulator is loaded for a server
    from simulator.deployment import sandbox, server_process  # noqa: PLC0415 - nothing of the simulator is loaded for a server

    def own_server(
        settings: Mapping[str, str],
        token: str,
        hidden: Collection[str],
        command: tuple[str, ...] = (),
        ending: Ending | None = None,
    ) -> Any:
        del command
        return server_process.own_server(settings, token, hidden, (__file__, SERVE, name), ending=ending)

    if name:
        for module in (deployment, sandbox):
            vars(module)["own_server"] = own_server
    app()


def main() -> None:
    """Run hatchfarm; the first argument names the bug."""
    run(sys.argv.pop(1))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1] == SERVE:
        sys.exit(serve(sys.argv[2]))
    main()
