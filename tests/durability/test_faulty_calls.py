"""Whether calls that are to fail do, in a process that knows nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.durability.faulty_calls import POSSIBLE, faulty_calls

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, sqlite3, sys
folder = sys.argv[1]
for _ in range(5):
    sys.stdin.readline()
    try:
        with open(f"{folder}/plain", "ab") as file:
            file.write(b"some")
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{folder}/plain", f"{folder}/renamed")
        said = "done"
    except OSError as error:
        said = f"error {error.errno}"
    sys.stdout.write(said + chr(10))
    sys.stdout.flush()
sys.stdin.readline()
database = sqlite3.connect(f"{folder}/database", isolation_level=None)
try:
    database.execute("CREATE TABLE made (number)")
    said = "done"
except sqlite3.OperationalError as error:
    said = str(error)
sys.stdout.write(said + chr(10))
sys.stdout.flush()
"""
pytestmark = pytest.mark.skipif(not POSSIBLE, reason="making calls fail needs Linux 5.5 on x86-64 or arm64")


async def test_the_call_that_was_meant_fails_and_no_other(tmp_path: Path) -> None:
    """In Python's own files and in SQLite's; what is written elsewhere, like standard output, is never asked about."""
    folder = tmp_path / "state"
    folder.mkdir()
    async with faulty_calls(folder) as calls:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **calls.settings},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stated = []
        for first in (1, 2, 3, 4, 0):
            calls.arm(first)
            await process.stdin.send_all(b"\n")
            stated.append((bytes(await process.stdout.receive_some()).decode().strip(), list(calls.failed), calls.made))
        calls.arm(1)
        await process.stdin.send_all(b"\n")
        last = bytes(await process.stdout.receive_some()).decode().strip()
        await process.wait()
    assert stated == [
        ("error 5", ["write plain"], 2),
        ("error 5", ["fsync plain"], 2),
        ("error 5", ["rename"], 3),
        ("done", [], 3),
        ("done", [], 3),
    ]
    assert last == "disk I/O error"
