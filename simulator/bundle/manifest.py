"""`manifest.json`: the SHA-256 and size of every file of a bundle. Its own digest stands for the whole bundle.

The digest, if known from another source such as a log of the run, proves that no file was changed, added or removed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from simulator.errors import BundleError
from simulator.limits import BUNDLE_FILES_MAX, BUNDLE_RECORD_MAX_BYTES
from simulator.platform.output_files import write_whole
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

FILE = "manifest.json"
FORMAT = 1
_PREFIX = "sha256:"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its digest, in lower-case hexadecimal, and its size in bytes."""

    sha256: str
    size: int


class Difference(msgspec.Struct, frozen=True):
    """A file that differs from the manifest, and how."""

    name: str
    how: str

    def __str__(self) -> str:
        return f"{self.name} {self.how}"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every file of a bundle except the manifest, by its path relative to the bundle's folder, with slashes."""

    format: int
    files: dict[str, Entry]

    def encoded(self) -> bytes:
        """Return the canonical JSON of the manifest, the only form in which it is written."""
        ordered = Manifest(self.format, dict(sorted(self.files.items())))
        return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"

    def digest(self) -> str:
        """Return the digest that stands for the whole bundle, such as `sha256:…`."""
        return _PREFIX + hashlib.sha256(self.encoded()).hexdigest()


def list_files(folder: Path, files_max: int = BUNDLE_FILES_MAX) -> dict[str, Path]:
    """Return every file below `folder` by name, except the manifest; symlinks are not followed.

    Raises OSError, and BundleError if there are more than `files_max`.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == FILE or (path.is_dir() and not path.is_symlink()):
            continue
        if len(found) == files_max:
            raise BundleError(f"{folder} has more than {files_max:,} files: it is not one run's")
        found[name] = path
    return found


def entry_of(path: Path) -> Entry | None:
    """Return the entry of a file; None for a symlink, a pipe or anything else but a regular file. Raises OSError."""
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Entry(digest, file.tell())


def make_manifest(folder: Path) -> Manifest:
    """Return the manifest of all files below `folder`. Raises OSError and BundleError."""
    entries = {name: entry_of(path) for name, path in list_files(folder).items()}
    return Manifest(FORMAT, {name: entry for name, entry in entries.items() if entry is not None})


def write_manifest(folder: Path) -> Manifest:
    """Write the manifest of `folder` into it, whole or not at all, and return it. Raises OSError and BundleError."""
    manifest = make_manifest(folder)
    write_whole(folder / FILE, [manifest.encoded()], follow=False)
    return manifest


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """Return a bundle's manifest and its bytes, which differ from `encoded()` if the file was edited.

    Raises BundleError if the manifest is unreadable or of another format.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > BUNDLE_RECORD_MAX_BYTES:
            raise BundleError(f"{FILE} is larger than {BUNDLE_RECORD_MAX_BYTES:,} bytes")
        raw = path.read_bytes()
        manifest = msgspec.json.decode(raw, type=Manifest)
    except OSError as error:
        raise BundleError(f"{FILE} cannot be read ({error.strerror}): without it nothing can be verified") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{FILE} is no manifest ({error})") from None
    if manifest.format != FORMAT:
        raise BundleError(f"{FILE} is of format {manifest.format}, this version reads {FORMAT}")
    return manifest, raw


def differences(manifest: Manifest, folder: Path) -> list[Difference]:
    """Return the files below `folder` that differ from the manifest. Raises OSError and BundleError."""
    found = list_files(folder)
    wrong = []
    for name in sorted({*manifest.files, *found}):
        wanted, path = manifest.files.get(name), found.get(name)
        if wanted is None:
            wrong.append(Difference(name, "was added"))
        elif path is None:
            wrong.append(Difference(name, "is missing"))
        elif (entry := entry_of(path)) is None:
            wrong.append(Difference(name, "was replaced by something that is no file"))
        elif entry != wanted:
            size = f", {plural(entry.size, 'byte')} instead of {wanted.size:,}" if entry.size != wanted.size else ""
            wrong.append(Difference(name, f"was altered{size}"))
    return wrong
