"""Watchdogs that send another process a signal if this process ends first, however it ends."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    import signal

_SCRIPT = 'read -r line; kill "-$1" "$2"'
"""The shell waits on a pipe to which nothing is written, and which closes when this process ends."""
_TREE_SCRIPT = """
read -r leader && read -r over
if [ -n "$leader" ]; then kill -s KILL -- "-$leader"; fi
for again in 1 2 3; do
  for process in /proc/[0-9]*; do
    if grep -qzxF -e "$1" "$process/environ"; then kill -s KILL "${process#/proc/}"; fi
  done
done
"""
"""The same for a process tree: its group, and every process with a mark in its environment.

The watchdog starts before the process does, and gets its id later.
"""


class Watchdog:
    """A running watchdog. `dismiss` ends it without a signal."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def watch(self, leader: int) -> None:
        """Tell a watchdog of a tree the process id of the tree's leader."""
        if self._process.stdin is not None:
            await self._process.stdin.send_all(b"%d\n" % leader)

    async def dismiss(self) -> None:
        """End the watchdog without a signal; this process is responsible for the watched processes again."""
        self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            await self._process.stdin.aclose()


async def watchdog_of(pid: int, number: signal.Signals) -> Watchdog:
    """Start a watchdog that sends `pid` a signal if this process ends before the watchdog is dismissed."""
    command = ["/bin/sh", "-c", _SCRIPT, "watchdog", str(int(number)), str(pid)]
    # In a session of its own, so that a signal to this process's group does not end the watchdog as well.
    return Watchdog(await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, start_new_session=True))


async def watchdog_of_tree(mark: str) -> Watchdog:
    """Start a watchdog that kills all processes with `mark` (NAME=VALUE) in their environment if this one ends."""
    command = ["/bin/sh", "-c", _TREE_SCRIPT, "watchdog", mark]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    return Watchdog(process)
