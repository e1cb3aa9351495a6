"""What kept a machine waiting while it was to send, noted as the target's: else it would be taken for the harness's."""

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
    """Notes waits in a history. `ends_ns` is when the last planned start of the run may leave."""

    def __init__(self, history: History, progress: Progress, ends_ns: int) -> None:
        self._history = history
        self._progress = progress
        self.ends_ns = ends_ns

    def over(
        self, machine: Machine, due_ns: int, free_ns: int, answered_ns: int | None = None, *, leaves: bool = True
    ) -> int:
        """Note the planned starts from `due_ns` on that came due before `free_ns`, and return how many.

        Of these the last one `leaves` at once, late as it is, and has a row of its own; once the run has ended none
        does. `answered_ns` is when the answer came, `free_ns` unless said.
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
        """Note a connection that was slow to come up: what it was to carry left late for that alone."""
        if link.machine is not None and now_ns - link.sent_ns > CONNECT_SLOW_NS:
            machine = link.machine
            self._history.waits.append(Wait(machine.index, link.planned_ns, int(machine.interval_ns), 0, now_ns))
