"""`python -m reference_server`: what `hatchfarm serve` runs, for programs that start servers of their own.

It loads nothing that a server does not need: no command line for people, no colours. So it starts in half the time.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from reference_server.app import serve


def main() -> int:
    """Serve with the settings of the environment until told to stop. Returns the exit code."""
    flags = argparse.ArgumentParser(
        prog="python -m reference_server", description="The settings are the environment's."
    )
    flags.add_argument("--no-express-lane", action="store_true", help="let Hypercorn and Quart answer plain HTTP/1.1")
    flags.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input closes, too")
    flags.add_argument(
        "--clock-ahead", type=Path, metavar="FILE", help="for tests: be so many nanoseconds ahead, read each time"
    )
    given = flags.parse_args()
    return serve(
        os.environ,
        express_lane=not given.no_express_lane,
        until_stdin_closes=given.until_stdin_closes,
        clock_ahead=given.clock_ahead,
    )


if __name__ == "__main__":
    sys.exit(main())
