"""Where the `hatchfarm` command begins, as `python -m simulator` does: to load it takes a second or two.

Whoever interrupts it meanwhile is told so in a line, as later. Nothing that is imported here takes time.
"""

import os
import signal
from typing import NoReturn

INTERRUPTED = 130
"""What shells give as the exit code of a program that SIGINT ended."""


def _end(*_: object) -> NoReturn:
    """End at once: nothing has begun. An exception would be dropped here and there while modules load."""
    os.write(2, b"hatchfarm: interrupted\n")
    os._exit(INTERRUPTED)


def main() -> None:
    """Load the command, and run it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else whoever started it had it ignored
        signal.signal(signal.SIGINT, _end)
    from simulator.commands.cli import main as hatchfarm  # noqa: PLC0415 - what takes so long

    signal.signal(signal.SIGINT, before)
    hatchfarm()


if __name__ == "__main__":
    main()
