"""Makes chosen calls of a server fail: each write, sync, truncation and rename in its folder, in turn."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import select
import socket
import struct
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from tests.durability.faulty.sitecustomize import LISTENER, NUMBERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Mapping

KERNEL_MIN = (5, 5)
"""The first Linux that lets a call go on after asking (SECCOMP_USER_NOTIF_FLAG_CONTINUE)."""
POSSIBLE = (
    platform.system() == "Linux"
    and platform.machine() in NUMBERS
    and tuple(int(part) for part in re.findall("[0-9]+", platform.release())[:2]) >= KERNEL_MIN
)
"""Whether this platform can ask."""
RECEIVE, SEND = 0xC0502100, 0xC0182101
"""SECCOMP_IOCTL_NOTIF_RECV and _SEND for structs of 80 and 24 bytes."""
QUESTION = struct.Struct("=QII iIQ 6Q")
"""`struct seccomp_notif`: id, thread, flags; call number, architecture, instruction; six arguments."""
ANSWER = struct.Struct("=QqiI")
"""`struct seccomp_notif_resp`: id, value, error, flags."""
GO_ON = 1
GONE = {errno.ENOENT, errno.EINPROGRESS}
"""The asking thread was killed meanwhile."""


class FaultyCalls:
    """Decides over the calls of servers that are started with its `settings`, one server at a time.

    `made` counts the calls since it was armed; `failed` names those that were made to fail.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._path = path
        self._which: Container[int] = ()
        self._names = {number: name for name, number in NUMBERS[platform.machine()].items()}
        self.made = 0
        self.failed: list[str] = []

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the environment of a server whose calls are to be decided over."""
        return {LISTENER: str(self._path), "PYTHONPATH": str(Path(__file__).parent / "faulty")}

    def arm(self, *which: int) -> None:
        """Have the calls of these numbers fail with EIO, 1 being the next one."""
        self._arm(which)

    def arm_from(self, first: int) -> None:
        """Have every call from this number on fail with EIO."""
        self._arm(range(first, sys.maxsize))

    def disarm(self) -> None:
        """Have no call fail any more."""
        self._arm(())

    def _arm(self, which: Container[int]) -> None:
        self._which = which
        self.made = 0
        self.failed = []

    async def serve(self, listener: trio.socket.SocketType) -> None:
        """Take in one server after the other."""
        while True:
            connection, _ = await listener.accept()
            with connection, _plain(connection) as plain:
                await trio.lowlevel.wait_readable(plain)
                _, (asked,), _, _ = socket.recv_fds(plain, 1, 1)
            try:
                await self._decide(asked)
            finally:
                os.close(asked)

    async def _decide(self, asked: int) -> None:
        poll = select.poll()
        poll.register(asked, select.POLLIN)
        while True:
            await trio.lowlevel.wait_readable(asked)
            happened = dict(poll.poll(0)).get(asked, 0)
            if happened & select.POLLIN:
                self._decide_one(asked)
            elif happened:
                return

    def _decide_one(self, asked: int) -> None:
        question = bytearray(QUESTION.size)
        try:
            fcntl.ioctl(asked, RECEIVE, question)
            number, thread, _, call, _, _, descriptor, *_ = QUESTION.unpack(question)
            error = self._error_of(self._names[call], thread, descriptor)
            answer = ANSWER.pack(number, 0, -error, 0 if error else GO_ON)
            fcntl.ioctl(asked, SEND, answer)
        except OSError as gone:
            if gone.errno not in GONE:
                raise

    def _error_of(self, call: str, thread: int, descriptor: int) -> int:
        """Count a call that changes the folder, and give the error that it is to fail with, 0 for none."""
        where = "" if call.startswith("rename") else str(Path(f"/proc/{thread}/fd/{descriptor}").readlink())
        if where and not Path(where).is_relative_to(self._folder):
            return 0
        self.made += 1
        if self.made not in self._which:
            return 0
        self.failed.append(f"{call} {Path(where).name}".strip())
        return errno.EIO


def _plain(connection: trio.socket.SocketType) -> socket.socket:
    """Return the standard library's socket, which takes descriptors, of one of Trio's."""
    return socket.socket(fileno=os.dup(connection.fileno()))


@asynccontextmanager
async def faulty_calls(folder: Path) -> AsyncIterator[FaultyCalls]:
    """Decide over calls that change files in a folder, whose path has no links. Servers must end within the context."""
    path = folder.with_name(f"{folder.name}.faults")
    calls = FaultyCalls(folder, path)
    with trio.socket.socket(socket.AF_UNIX) as listener:
        await listener.bind(str(path))
        listener.listen(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calls.serve, listener)
            yield calls
            nursery.cancel_scope.cancel()
