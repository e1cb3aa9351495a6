"""Who answers at a port of this machine is found by the kernel's tables, through proxies, or is said to be unknown."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from simulator.platform.listeners import (
    ESTABLISHED,
    LISTENING,
    Behind,
    Socket,
    find_processes_behind,
    parse_sockets,
    processes_behind,
)

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 6715356 1 0000 100 0 0 10 0
   1: 0200007F:9D0F 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 6715104 1 0000 20 4 30 10 -1
   2: 0200007F:9D10 0100007F:1F90 06 00000000:00000000 03:00000FFF 00000000     0        0 0 3 0000
   3: 0200A8C0:9D11 0101A8C0:1538 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0000 20 4 30 10 -1
   4: 0200A8C0:xxxx 0101A8C0:1538 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0000 20 4 30 10 -1
   5: 0200A8C0
"""
TABLE_6 = """\
   0: 00000000000000000000000001000000:C001 00000000000000000000000001000000:1F90 01 0:0 00:0 0     0        0 5 1 0000
   1: 0000000000000000FFFF00000100007F:C002 0000000000000000FFFF00000200007F:1F90 01 0:0 00:0 0     0        0 6 1 0000
   2: 0000000000000000FFFF00000100007F:C003 0000000000000000FFFF000002000A0A:1F90 01 0:0 00:0 0     0        0 7 1 0000
"""


def test_a_table_is_read_but_for_what_is_over_or_no_line() -> None:
    assert parse_sockets(TABLE) == [
        Socket(0x1F90, 0, nearby=False, state=LISTENING, inode=6715356),
        Socket(0x9D0F, 0x1F90, nearby=True, state=ESTABLISHED, inode=6715104),
        Socket(0x9D11, 0x1538, nearby=False, state=ESTABLISHED, inode=77),
    ]
    assert [one.nearby for one in parse_sockets(TABLE_6)] == [True, True, False]
    assert parse_sockets("") == []


CLIENT, PROXY, SERVER, DATABASE = 1, 2, 3, 4


def listens(port: int, inode: int) -> Socket:
    return Socket(port, 0, nearby=False, state=LISTENING, inode=inode)


def leads(port: int, inode: int, *, mine: int = 50_000, nearby: bool = True) -> Socket:
    return Socket(mine, port, nearby=nearby, state=ESTABLISHED, inode=inode)


AT_80 = [listens(80, 20), leads(80, 10), leads(50_000, 21, mine=80)]
"""A client's connection, from both of its ends."""
BEHIND_80 = [*AT_80, listens(8080, 30), leads(8080, 22, mine=50_001), leads(50_001, 31, mine=8080)]
HOLDERS = {
    10: [CLIENT],
    20: [PROXY],
    21: [PROXY],
    22: [PROXY],
    30: [SERVER],
    31: [SERVER],
    32: [SERVER],
    40: [DATABASE],
}


@pytest.mark.parametrize(
    ("sockets", "port", "behind"),
    [
        (AT_80, 80, Behind(frozenset({PROXY}), whole=True)),
        (AT_80, 81, Behind(frozenset(), whole=False)),  # nobody is seen to listen
        ([], 80, Behind(frozenset(), whole=False)),
        (BEHIND_80, 80, Behind(frozenset({PROXY, SERVER}), whole=True)),
        (BEHIND_80, 8080, Behind(frozenset({SERVER}), whole=True)),
        ([*BEHIND_80, leads(5432, 32, mine=50_002, nearby=False)], 80, Behind(frozenset({PROXY, SERVER}), whole=False)),
        (
            [*BEHIND_80, leads(5432, 32, mine=50_002), listens(5432, 40)],
            80,
            Behind(frozenset({PROXY, SERVER, DATABASE}), whole=True),
        ),
        ([*BEHIND_80, leads(5432, 32, mine=50_002)], 80, Behind(frozenset({PROXY, SERVER}), whole=False)),
        # It asks itself, and the proxy: that ends all the same.
        (
            [*BEHIND_80, leads(8080, 32, mine=50_003), leads(80, 32, mine=50_004)],
            80,
            Behind(frozenset({PROXY, SERVER}), whole=True),
        ),
        # Somebody else's process, in which nobody can look.
        ([listens(80, 99)], 80, Behind(frozenset(), whole=False)),
    ],
)
def test_who_answers_is_followed_from_port_to_port(sockets: list[Socket], port: int, behind: Behind) -> None:
    assert processes_behind(port, sockets, HOLDERS) == behind


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="this system has no such tables")
def test_this_process_is_found_at_its_own_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        behind = find_processes_behind(listener.getsockname()[1])
        assert os.getpid() in behind.processes
