"""A commit's source and an environment for it, made on demand in a cache: what is measured there is its own program."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from collections import defaultdict
from importlib import metadata
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import msgspec

from benchmarks.measuring import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = "requirements.lock"
MADE = ".ready"
"""Stands in an environment that is whole."""
INSTALL_SECONDS_MAX = 1800
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)( *;)?")


class Checkout(msgspec.Struct, frozen=True):
    """A version of this program: what it is called, where its source lies, and the Python that has what it needs."""

    name: str
    source: Path
    python: str


def commit_of(reference: str, repository: Path) -> str | None:
    """Return the hash of a commit by any of its names; None for what is none."""
    found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    return found.stdout.decode().strip() or None if found.returncode == 0 else None


def is_checkout(folder: Path) -> bool:
    """Return whether a folder holds this program's source, and so can be measured as it stands."""
    return (folder / "benchmarks" / "servers.py").is_file() and (folder / LOCK).is_file()


def checkout(reference: str, repository: Path, cache: Path, note: Callable[[str], None]) -> Checkout:
    """Return a commit's source, unpacked into the cache, or a folder's as it is, with its environment.

    Raises BenchmarkError where there is no such commit, or its environment cannot be made.
    """
    folder = Path(reference)
    if is_checkout(folder):
        source = folder.resolve()
        return Checkout(f"{reference} as it is", source, _python(source, cache, note))
    commit = commit_of(reference, repository)
    if commit is None:
        raise BenchmarkError(f"{reference} is no commit of {repository}, and there is no such file or folder here")
    source = cache / "sources" / commit
    if not source.is_dir():
        _unpack(commit, repository, source)
    if not is_checkout(source):
        raise BenchmarkError(f"{reference} has no benchmarks/servers.py or {LOCK}: it cannot be measured")
    return Checkout(f"{reference} ({commit[:12]})", source, _python(source, cache, note))


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)  # noqa: S603, S607 - the user's own git
    except OSError as error:
        raise BenchmarkError(f"git cannot be started ({error.strerror}): commits are read by it") from None


def _unpack(commit: str, repository: Path, source: Path) -> None:
    """Unpack a commit beside where it shall be, and move it there when it is whole."""
    packed = _git(repository, "archive", "--format=tar", commit)
    if packed.returncode:
        raise BenchmarkError(f"git archive {commit[:12]}: {packed.stderr.decode('utf-8', 'replace').strip()}")
    source.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(mkdtemp(prefix=".part-", dir=source.parent))
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(whole, filter="data")
    try:
        whole.rename(source)
    except OSError as error:
        if not source.is_dir():  # another comparison may just have unpacked it
            raise BenchmarkError(f"{source} cannot be made ({error.strerror})") from None


def _python(source: Path, cache: Path, note: Callable[[str], None]) -> str:
    """Return a Python that has exactly what a source's lock asks for: this one, or one in the cache."""
    lock = (source / LOCK).read_text(encoding="utf-8")
    if fits(lock, _installed):
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / "environments" / f"{hashlib.sha256(lock.encode()).hexdigest()[:16]}-{version}"
    python = folder / "bin" / "python"
    if not (folder / MADE).exists():
        note(f"making the environment of {source.name} in {folder}")
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r")
        commands = (sys.executable, "-m", "venv", "--clear", str(folder)), (str(python), *pip, str(source / LOCK))
        for command in commands:
            try:
                subprocess.run(command, check=True, timeout=INSTALL_SECONDS_MAX, capture_output=True)  # noqa: S603 - our own
            except (OSError, subprocess.SubprocessError) as error:
                words = (getattr(error, "stderr", b"") or b"").decode("utf-8", "replace").strip()[-300:]
                raise BenchmarkError(f"the environment in {folder} could not be made: {words or error}") from None
        (folder / MADE).touch()
    return str(python)


def fits(lock: str, installed: Callable[[str], str | None]) -> bool:
    """Return whether all that a lock pins is installed, in just that version.

    What it pins for some platforms only, by a marker, may be missing here, or be there in the version for others.
    """
    right: defaultdict[str, set[str | None]] = defaultdict(set)
    for match in filter(None, map(_PIN.match, lock.splitlines())):
        name, version, marker = match.groups()
        right[name] |= {version, None} if marker else {version}
    return bool(right) and all(installed(name) in versions for name, versions in right.items())


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def default_cache() -> Path:
    """Return where programs of this user keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hatchfarm"
