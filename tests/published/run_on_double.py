"""A command of the simulator whose own servers are doubles: `python -m tests.published.run_on_double run …`."""

from __future__ import annotations

from simulator.commands.cli import app
from simulator.deployment import server_process

SERVE = ("-m", "tests.published.double_server", *server_process.SERVE[2:])


def main() -> None:
    """Run the command that the arguments name."""
    server_process.SERVE = SERVE
    app()


if __name__ == "__main__":
    main()
