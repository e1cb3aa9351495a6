"""Delays of planned starts that the target caused, recorded so that they do not count as the harness's lateness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.history.records import Wait
from simulator.limits import CONNECT_SLOW_NS

if TYPE_CHECKING:
    from simulator.client.link import Link
    from simulator.fleet.machine import Machine
    from simulator.history.rows import History
    from simulator.worlds.progress import Progress


class Waits:
    """Records waits in a history. `ends_ns` is the latest time at which a planned start may leave."""

    def __init__(self, history: History, progress: Progress, ends_ns: int) -> None:
        self._history = history
        self._progress = progress
        self.ends_ns = ends_ns

    def over(
        self, machine: Machine, due_ns: int, free_ns: int, answered_ns: int | None = None, *, leaves: bool = True
    ) -> int:
        """Record the planned starts from `due_ns` on that came due before `free_ns`; return their number.

        The last of these `leaves` at once, late, and has a row of its own; after the end of the run none does.
        `answered_ns` is when the answer came, by default `free_ns`.
        """
        interval_ns = int(machine.interval_ns)
        over_ns = min(free_ns, self.ends_ns)
        if over_ns < due_ns or not interval_ns:
            return 0
        count = (over_ns - due_ns) // interval_ns + 1 - (leaves and free_ns <= self.ends_ns)
        if count:
            self._progress.held_up += count
            answered_ns = free_ns if answered_ns is None else answered_ns
            self._history.waits.append(Wait(machine.index, due_ns, interval_ns, count, answered_ns))
        return count

    def connected(self, link: Link, now_ns: int) -> None:
        """Record a connection that was slow to open, and so delayed its request."""
        if link.machine is not None and now_ns - link.sent_ns > CONNECT_SLOW_NS:
            machine = link.machine
            self._history.waits.append(Wait(machine.index, link.planned_ns, int(machine.interval_ns), 0, now_ns))
