"""Showing a run while it lasts: in place on a terminal, in lines elsewhere. What begins and ends is a line in both."""

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
"""From one look to the next: often enough to see things happen, and a look costs some milliseconds."""
JUDGING_IS_LONG = 200_000
"""Requests from which on judging takes so long that a log says that it goes on."""


class View:
    """Shows one run. `seconds_now` is a clock of real time. On a quiet console it neither looks nor prints.

    To be entered: on a terminal it takes the lines below what is printed, and gives them back.
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
        """What was found at the last look."""
        if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and leave only lines behind."""
        self.close()

    def close(self) -> None:
        """Show nothing more; what has ended by then is said."""
        self._print(self._changes())
        if self._live is not None:
            self._live.stop()
            self._live = None

    def look(self) -> None:
        """Look, and show what there is."""
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
        """Look, unless the last look was just now: for what asks more often than anybody can read."""
        if self._now() - self._looked_at >= LOOK_SECONDS:
            self.look()

    async def keep(self) -> None:
        """Look again and again, in real time, until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            self.look()

    def enter(self, phase: Phase) -> None:
        """Show that the run has come to a phase in which nobody can look: judging, or writing."""
        self._progress.phase = phase
        self.look()
        if self._live is None and self.latest is not None and self.latest.requests >= JUDGING_IS_LONG:
            self._printed_at = self._now()
            self._print(line(self.latest))

    def acknowledge(self, signal_name: str, *, again: bool) -> None:
        """Say at once that a signal was heard, what it ends, and what another would. A signal's handler may call it."""
        wording = second_acknowledgement if again else acknowledgement
        self._print(wording(signal_name, self._progress.phase), "yellow")

    def warn(self, text: str) -> None:
        """Show a warning; it may have words of the target's."""
        self._print(f"warning: {printed(text)}", "yellow")

    def _changes(self) -> str:
        return "\n".join(map(change_text, self._progress.take_changes()))

    def _print(self, text: str, style: str = "") -> None:
        if text:
            self._console.print(text, markup=False, style=style)
