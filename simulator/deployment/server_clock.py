"""Setting the wall clocks of a run's own servers: each reads from a file how far it is off (`serve --clock-ahead`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.deployment.server_process import SERVE

if TYPE_CHECKING:
    from pathlib import Path


def set_clock(file: Path, by_ns: int, drift_ppm: float = 0.0) -> None:
    """Set the clock that goes by a file ahead of the system's, with a minus back, and have it drift from here on."""
    whole = file.with_suffix(".new")
    whole.write_text(f"{by_ns} {drift_ppm!r}" if drift_ppm else str(by_ns), "ascii")
    whole.replace(file)


def with_clock(file: Path) -> tuple[str, ...]:
    """Return the command of a server whose clock goes by a file, and is right at first."""
    set_clock(file, 0)
    return (*SERVE, "--clock-ahead", str(file))
