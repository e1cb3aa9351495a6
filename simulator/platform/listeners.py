"""Which processes of this machine serve one of its ports: the listener, and the servers behind it if it is a proxy.

Read from `/proc` (proc(5)): the kernel's tables of TCP sockets, and the sockets that each process holds. Processes of
other users, and those outside of this machine or container, cannot be seen.
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
"""Indices of the fields in a line."""
_HELD = "socket:["
_LOOPBACK = re.compile(r"[0-9A-F]{6}7F|0{24}01000000|0{16}F{4}0000[0-9A-F]{6}7F", re.ASCII)
"""127.0.0.0/8, ::1 and IPv4-mapped 127.0.0.0/8, as a little-endian machine writes them."""


class Socket(NamedTuple):
    """A TCP socket: its port, its remote port, its state, and the inode by which its process is found."""

    port: int
    remote_port: int
    nearby: bool
    """Whether the remote address is this machine."""
    state: str
    inode: int


class Behind(NamedTuple):
    """The processes that serve a port, and whether these are known to be all."""

    processes: frozenset[int]
    whole: bool


def parse_sockets(text: str) -> list[Socket]:
    """Return the established and listening sockets of one of the kernel's tables; malformed lines are skipped."""
    found = []
    for line in text.splitlines():
        fields = line.split(maxsplit=_INODE + 1)
        # On a busy machine most lines are closed connections.
        if len(fields) > _INODE and fields[_STATE] in {ESTABLISHED, LISTENING}:
            with suppress(ValueError):
                _, _, port = fields[_LOCAL].partition(":")
                address, _, remote_port = fields[_REMOTE].partition(":")
                nearby = _LOOPBACK.fullmatch(address) is not None
                found.append(Socket(int(port, 16), int(remote_port, 16), nearby, fields[_STATE], int(fields[_INODE])))
    return found


def processes_behind(port: int, sockets: Sequence[Socket], holders: Mapping[int, Iterable[int]]) -> Behind:
    """Return the processes that listen at `port`, and at the local ports to which those are connected in turn.

    `holders` maps a socket's inode to the processes that hold it. `whole` is False if no process is seen to hold one of
    the ports, or if one of them is connected to another machine.
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
    for at in ports:  # the list grows while it is iterated
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
    """Return the visible processes that serve a port of this machine. Takes some milliseconds."""
    sockets: list[Socket] = []
    for table in TABLES:
        with suppress(OSError):
            sockets += parse_sockets(table.read_text(encoding="ascii", errors="replace"))
    return processes_behind(port, sockets, _holders())


def _holders() -> dict[int, set[int]]:
    """Return the ids of the processes that hold each socket, by the socket's inode."""
    holders: dict[int, set[int]] = defaultdict(set)
    for process in psutil.pids():
        files = f"/proc/{process}/fd"
        with suppress(OSError):
            for file in os.listdir(files):  # noqa: PTH208 - Path objects take ten times as long
                with suppress(OSError):
                    held = os.readlink(f"{files}/{file}")  # noqa: PTH115 - the same
                    if held.startswith(_HELD):
                        holders[int(held[len(_HELD) : -1])].add(process)
    return holders
