"""`python -m simulator.commands.stepped_clock FILE …`: a command of this program whose wall clock is set by a file.

The file holds how many nanoseconds ahead the clock is; whoever writes it steps the clock of a running server. Monotonic
clocks stay as they are, as they do when a system's clock is set.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from simulator.commands.cli import app


def main() -> None:
    """Run the command that the other arguments name."""
    file = Path(sys.argv.pop(1))
    real = time.time_ns  # noqa: TID251 - what it stands in for

    def stepped() -> int:
        return real() + int(file.read_text("ascii"))

    time.time_ns = stepped  # noqa: TID251 - as above
    app()


if __name__ == "__main__":
    main()
