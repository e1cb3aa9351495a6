"""Which processes of this machine answer at one of its ports: who listens there, and whom they ask, as a proxy does.

Read from `/proc` (proc(5)): the kernel's tables of TCP sockets, and which process holds which. What is held by others'
processes, or beyond this machine or this container, cannot be seen.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
ESTABLISHED, LISTENING = "01", "0A"
_LOCAL, _REMOTE, _STATE, _INODE = 1, 2, 3, 9
"""Which field of a line says what."""
_HELD = "socket:["
_LOOPBACK = re.compile(r"[0-9A-F]{6}7F|0{24}01000000|0{16}F{4}0000[0-9A-F]{6}7F", re.ASCII)
"""127.0.0.0/8, ::1 and the former in the form of the latter, as a machine writes them that has its low bytes first."""


class Socket(NamedTuple):
    """One socket of TCP: its port, whom it leads to, and by what number the process that holds it is found."""

    port: int
    remote_port: int
    nearby: bool
    """Whether it leads to this machine."""
    state: str
    inode: int


class Behind(NamedTuple):
    """Who answers at a port, and whether they are known to be all."""

    processes: frozenset[int]
    whole: bool


def parse_sockets(text: str) -> list[Socket]:
    """Return the sockets of one of the kernel's tables; what is no line of it is left out."""
    found = []
    for line in text.splitlines():
        fields = line.split(maxsplit=_INODE + 1)
        # Most lines of a busy machine are of connections that are over.
        if len(fields) > _INODE and fields[_STATE] in {ESTABLISHED, LISTENING}:
            with suppress(ValueError):
                _, _, port = fields[_LOCAL].partition(":")
                address, _, remote_port = fields[_REMOTE].partition(":")
                nearby = _LOOPBACK.fullmatch(address) is not None
                found.append(Socket(int(port, 16), int(remote_port, 16), nearby, fields[_STATE], int(fields[_INODE])))
    return found


def processes_behind(port: int, sockets: Sequence[Socket], holders: Mapping[int, Iterable[int]]) -> Behind:
    """Return who listens at a port, and at those ports that they in turn have connected to.

    `holders` are the processes that hold a socket, by its number. They are not all where nobody is seen to hold a port,
    or one of them has connected to what is not on this machine.
    """
    listening: dict[int, list[int]] = defaultdict(list)
    held: dict[int, list[Socket]] = defaultdict(list)
    for one in sockets:
        if one.state == LISTENING:
            listening[one.port].append(one.inode)
    for one in sockets:
        if one.state == ESTABLISHED and one.port not in listening:
            for process in holders.get(one.inode, ()):
                held[process].append(one)
    ports, found, whole = [port], set[int](), True
    for at in ports:  # it grows meanwhile
        here = {process for inode in listening.get(at, ()) for process in holders.get(inode, ())}
        whole &= bool(here)
        for one in (one for process in here - found for one in held[process]):
            if not one.nearby:
                whole = False
            elif one.remote_port not in ports:
                ports.append(one.remote_port)
        found |= here
    return Behind(frozenset(found), whole)


def find_processes_behind(port: int) -> Behind:
    """Return who answers at a port of this machine, as far as can be seen. Takes some milliseconds."""
    sockets: list[Socket] = []
    for table in TABLES:
        with suppress(OSError):
            sockets += parse_sockets(table.read_text(encoding="ascii", errors="replace"))
    return processes_behind(port, sockets, _holders())


def _holders() -> dict[int, set[int]]:
    """Return which processes hold each socket."""
    holders: dict[int, set[int]] = defaultdict(set)
    for process in psutil.pids():
        files = f"/proc/{process}/fd"
        with suppress(OSError):
            for file in os.listdir(files):  # noqa: PTH208 - paths as objects take ten times as long
                with suppress(OSError):
                    held = os.readlink(f"{files}/{file}")  # noqa: PTH115 - the same
                    if held.startswith(_HELD):
                        holders[int(held[len(_HELD) : -1])].add(process)
    return holders
