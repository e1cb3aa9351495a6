"""Facts recorded with figures and verdicts: the machine, its software, and the version of this code."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import msgspec
import psutil

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "hatchfarm-harness",
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
"""Packages whose versions may influence a figure."""
GIT_SECONDS = 10


class MachineFacts(msgspec.Struct, frozen=True):
    """Facts of a machine. `commit` is the code's commit, with `-dirty` if files differ from it; empty without git.

    `load` is the load average of the last minute.
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
    """Return the facts of this machine."""
    return MachineFacts(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=_packages(),
        commit=_commit(),
        load=round(os.getloadavg()[0], 2),
    )


@cache  # constant while this process runs, and a fuzz search asks thousands of times
def _packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (
        value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == "model name"
    )
    return next(models, platform.processor())


@cache  # the code loaded by this process does not change with the checkout
def _commit() -> str:
    """Return the commit that is checked out, or an empty text without git or a checkout."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return ""
    command = [git, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    done = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, timeout=GIT_SECONDS, cwd=ROOT
    )
    return done.stdout.strip() if done.returncode == 0 else ""
