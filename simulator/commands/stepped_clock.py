"""`python -m simulator.commands.stepped_clock FILE`: a server until its input closes, its wall clock set by a file.

The file holds how many nanoseconds ahead the clock is; whoever writes it steps the clock of a running server. Monotonic
clocks stay as they are, as they do when a system's clock is set.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from reference_server.app import serve


def main() -> int:
    """Serve. Gives the exit code."""
    file = Path(sys.argv[1])
    real = time.time_ns  # noqa: TID251 - what it stands in for

    def stepped() -> int:
        return real() + int(file.read_text("ascii"))

    time.time_ns = stepped  # noqa: TID251 - as above
    return serve(os.environ, until_stdin_closes=True)


if __name__ == "__main__":
    sys.exit(main())
