"""Where the `hatchfarm` command begins, as `python -m simulator` does: to load it takes a second or two.

Whoever interrupts it meanwhile is told so in a line, as later. Nothing that is imported here takes time.
"""

import os
import signal
from typing import NoReturn

from simulator.platform.interrupted import INTERRUPTED, SAID


def _end(*_: object) -> NoReturn:
    """End at once: nothing has begun. An exception would be dropped here and there while modules load."""
    try:
        os.write(2, SAID.encode())
    finally:
        os._exit(INTERRUPTED)


def main() -> None:
    """Load the command, and run it."""
    may_end = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started it had it ignored
    if may_end:
        signal.signal(signal.SIGINT, _end)
    from simulator.commands.cli import main as hatchfarm  # noqa: PLC0415 - what takes so long

    if may_end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hatchfarm()


if __name__ == "__main__":
    main()
