"""What figures were measured on: the machine, its programs, and which version of the code."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import msgspec
import psutil

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "trio",
    "httptools",
    "h2",
    "hypercorn",
    "quart",
    "quart-trio",
    "msgspec",
    "coredis",
    "locust",
    "gevent",
    "numpy",
)
"""Whose versions a figure may depend on."""
GIT_SECONDS = 10
_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)


class MachineFacts(msgspec.Struct, frozen=True):
    """Facts of a machine. `commit` is that of the code, with `-dirty` where files differ from it; empty without git.

    `load` is the number of processes that wanted a core, over the last minute.
    """

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    packages: dict[str, str]
    commit: str
    load: float


def machine_facts() -> MachineFacts:
    """Look at this machine."""
    return MachineFacts(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages={name: metadata.version(name) for name in PACKAGES},
        commit=_commit(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    try:
        found = _MODEL.search(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor()


def _commit() -> str:
    """Return the commit that is checked out; empty where there is no git or no checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=GIT_SECONDS, cwd=ROOT
    )
    return done.stdout.strip() if done.returncode == 0 else ""
