"""Measures entries in a process of its own, whose modules count their work: `python -m tests.growth.measure`.

Reads from standard input as JSON the names of entries, and edits of source to put in first;
writes a line for each entry: its work at a size, at four times the size (0 where it was too much to go on), its fault.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.growth.metering import TooMuchError, install, measure

SIZE = 250
GROWTH_MAX = 6
"""Between what is linear, four times, and what is quadratic, sixteen times: room for sorting."""
WORK_MAX = 20_000_000
"""At the smaller size: exponential work has no end."""


def measured(entry: Any) -> tuple[int, int, str]:
    """Measure one entry at both sizes."""
    small = large = 0
    try:
        small = measure(entry(SIZE), WORK_MAX)
        large = measure(entry(4 * SIZE), 2 * GROWTH_MAX * small)
    except TooMuchError:
        large = 0
    except Exception as error:  # noqa: BLE001 - told, not raised: the others are measured all the same
        return small, large, f"{type(error).__name__}: {str(error)[:200]}"
    return small, large, ""


def main() -> None:
    """Measure what was asked for."""
    asked = json.load(sys.stdin)
    install(asked["edits"])
    from tests.growth.entries_connections import entries as of_connections  # noqa: PLC0415 - only now are modules rewritten
    from tests.growth.entries_market import entries as of_market  # noqa: PLC0415 - as above
    from tests.growth.entries_server import entries as of_server  # noqa: PLC0415 - as above
    from tests.growth.entries_simulator import entries as of_simulator  # noqa: PLC0415 - as above

    for name, entry in {**of_server(), **of_market(), **of_connections(), **of_simulator()}.items():
        if name in asked["names"]:
            sys.stdout.write(json.dumps([name, *measured(entry)]) + "\n")


if __name__ == "__main__":
    main()
