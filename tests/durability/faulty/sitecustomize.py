"""Runs first in a server under test: every call by which a file changes then asks the test whether it may happen.

The kernel does the asking (seccomp user notification), so what fails is the real call of whoever makes it, be it Python
or a C library, and nothing in the server knows. Python imports a module of this name by itself, from PYTHONPATH.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct

LISTENER = "HATCHFARM_TESTS_FAULTY_CALLS"
"""Names the socket that takes the descriptor over which the kernel asks."""
NUMBERS = {
    "x86_64": {
        "write": 1,
        "pwrite64": 18,
        "writev": 20,
        "fsync": 74,
        "fdatasync": 75,
        "ftruncate": 77,
        "rename": 82,
        "renameat": 264,
        "pwritev": 296,
        "renameat2": 316,
    },
    "aarch64": {
        "renameat": 38,
        "ftruncate": 46,
        "write": 64,
        "writev": 66,
        "pwrite64": 68,
        "pwritev": 70,
        "fsync": 82,
        "fdatasync": 83,
        "renameat2": 276,
    },
}
"""The calls' numbers by machine (the kernel's unistd tables)."""
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_MODE_FILTER, NEW_LISTENER = 1, 8
PR_SET_NO_NEW_PRIVS = 38
ALLOW, ASK = 0x7FFF0000, 0x7FC00000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCH_AT = 0, 4
"""Where `struct seccomp_data` holds them."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """Return the filter as (operation, jump if true, jump if false, operand)."""
    numbers = list(NUMBERS[machine].values())
    checks = [(JUMP_IF_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    return [
        (LOAD, 0, 0, ARCH_AT),
        (JUMP_IF_EQUAL, 0, len(numbers) + 1, AUDIT_ARCH[machine]),
        (LOAD, 0, 0, NUMBER_AT),
        *checks,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ASK),
    ]


def ask_from_now_on(path: str) -> None:
    """Install the filter for this process, and hand the descriptor to the socket at `path`. Raises OSError."""
    machine = platform.machine()
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _filter(machine))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_UNIX) as to_the_test:
        to_the_test.connect(path)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        asked = libc.syscall(SECCOMP[machine], SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program))
        if asked < 0:
            raise OSError(ctypes.get_errno(), "seccomp")
        socket.send_fds(to_the_test, [b"!"], [asked])
        os.close(asked)


if __name__ == "sitecustomize":
    ask_from_now_on(os.environ[LISTENER])
