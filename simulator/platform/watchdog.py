"""A watchdog of a process: sends it a signal should this process end first, however it ends."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import signal

_SCRIPT = 'read -r line; kill "-$1" "$2"'
"""The shell waits on a pipe that nobody writes to, which closes when this process is gone."""
_TREE_SCRIPT = """
read -r leader && read -r over
if [ -n "$leader" ]; then kill -s KILL -- "-$leader"; fi
for again in 1 2 3; do
  for process in /proc/[0-9]*; do
    if grep -qzxF -e "$1" "$process/environ"; then kill -s KILL "${process#/proc/}"; fi
  done
done
"""
"""The same for all that came of a process: its group, and whoever has a mark in their environment.

The watchdog is on duty before the process is there, and told its id later.
"""


class Watchdog:
    """One watchdog on duty. `dismiss` ends its duty without a signal."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def watch(self, leader: int) -> None:
        """Name the leader of the processes to a watchdog of a tree."""
        if self._process.stdin is not None:
            await self._process.stdin.send_all(b"%d\n" % leader)

    async def dismiss(self) -> None:
        """End the watchdog; what it watched is in this process's hands again."""
        self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            await self._process.stdin.aclose()


async def watchdog_of(pid: int, number: signal.Signals) -> Watchdog:
    """Have a process sent a signal should this one end before the watchdog is dismissed."""
    command = ["/bin/sh", "-c", _SCRIPT, "watchdog", str(int(number)), str(pid)]
    # A session of its own: what reaches this process's group must not end the watchdog as well.
    return Watchdog(await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, start_new_session=True))


async def watchdog_of_tree(mark: str) -> Watchdog:
    """Have all that will have a mark in their environment, as NAME=VALUE, killed should this process end first."""
    command = ["/bin/sh", "-c", _TREE_SCRIPT, "watchdog", mark]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    return Watchdog(process)
