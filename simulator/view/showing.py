"""Showing a run while it goes on: redrawn in place on a terminal, as lines elsewhere; happenings are lines in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio
from rich.console import Group
from rich.live import Live

from simulator.report.text import printed
from simulator.view.drawing import draw
from simulator.view.lines import line, pace_seconds
from simulator.view.wording import acknowledgement, change_text, second_acknowledgement

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from simulator.view.sampling import Sampling
    from simulator.view.state import ViewState
    from simulator.worlds.progress import Phase, Progress

LOOK_SECONDS = 0.5
"""The interval between samples: frequent enough to follow events, while a sample costs some milliseconds."""
JUDGING_IS_LONG = 200_000
"""The number of requests above which judging takes long enough to be announced in a log."""


class View:
    """Shows one run. `seconds_now` returns real time. On a quiet console it neither samples nor prints.

    A context manager: on a terminal it occupies the lines below the printed output until it is left.
    """

    def __init__(
        self,
        console: Console,
        sampling: Sampling,
        progress: Progress,
        duration_ns: int,
        seconds_now: Callable[[], float],
    ) -> None:
        self._console = console
        self._sampling = sampling
        self._progress = progress
        self._pace = pace_seconds(duration_ns)
        self._now = seconds_now
        self._looked_at = self._printed_at = seconds_now()
        self._live: Live | None = None
        self.latest: ViewState | None = None
        """The state at the last sample."""
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing, and leave only printed lines on the terminal."""
        self.close()

    def close(self) -> None:
        """Print what has ended since the last sample, and show nothing more."""
        self._print(self._changes())
        if self._live is not None:
            self._live.stop()
            self._live = None

    def look(self) -> None:
        """Take a sample, and show it."""
        if self._console.quiet:
            return
        self._looked_at = self._now()
        self.latest = state = self._sampling.look()
        self._print(self._changes())
        if self._live is not None:
            width, height = self._console.size
            lines = draw(state, width, height - 1, ascii_only=self._console.options.ascii_only)
            self._live.update(Group(*lines), refresh=True)
        elif self._looked_at - self._printed_at >= self._pace:
            self._printed_at = self._looked_at
            self._print(line(state))

    def look_when_due(self) -> None:
        """Take a sample unless the last one is recent: for callers that ask more often than people can read."""
        if self._now() - self._looked_at >= LOOK_SECONDS:
            self.look()

    async def keep(self) -> None:
        """Take samples at intervals of real time until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            self.look()

    def enter(self, phase: Phase) -> None:
        """Show that the run entered a phase without samples: judging or writing."""
        self._progress.phase = phase
        self.look()
        if self._live is None and self.latest is not None and self.latest.requests >= JUDGING_IS_LONG:
            self._printed_at = self._now()
            self._print(line(self.latest))

    def acknowledge(self, signal_name: str, *, again: bool) -> None:
        """Print at once that a signal came, what it ends, and what another would end. Safe in a signal handler."""
        wording = second_acknowledgement if again else acknowledgement
        self._print(wording(signal_name, self._progress.phase), "yellow")

    def warn(self, text: str) -> None:
        """Show a warning, which may contain text from the target."""
        self._print(f"warning: {printed(text)}", "yellow")

    def _changes(self) -> str:
        return "\n".join(map(change_text, self._progress.take_changes()))

    def _print(self, text: str, style: str = "") -> None:
        if text:
            self._console.print(text, markup=False, style=style)
