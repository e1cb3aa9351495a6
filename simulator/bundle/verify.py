"""Verifying a bundle: that it is what the run wrote, and that judging its history again gives the same verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.bundle import manifest
from simulator.errors import BundleError
from simulator.history.tables import read_history
from simulator.judging.judging import judge_run
from simulator.judging.record import read_record
from simulator.judging.replay_record import is_replay, judge_stored_replay
from simulator.judging.verdict_file import RunVerdict, encode_verdict
from simulator.limits import BUNDLE_RECORD_MAX_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

VERDICT = "verdict.json"


class Verification(msgspec.Struct, frozen=True):
    """The result of verifying a bundle: its `altered` files, and where its verdict `differs` from a new judgement.

    `commit` is the commit of the code that judged the run; empty if the verdict does not say.
    """

    digest: str
    files: int
    status: str
    altered: list[str]
    differs: list[str]
    commit: str = ""

    @property
    def genuine(self) -> bool:
        """Return whether no file was altered and the verdict is the same."""
        return not self.altered and not self.differs


def verify_bundle(folder: Path, digest: str | None = None) -> Verification:
    """Compare a bundle's files with its manifest, the manifest with `digest`, and the verdict with a new judgement.

    Raises BundleError if nothing can be verified.
    """
    listed, raw = manifest.read_manifest(folder)
    found = listed.digest()
    altered = []
    if raw != listed.encoded():
        altered.append(f"{manifest.FILE} was altered: no run writes it like this")
    if digest is not None and digest.removeprefix("sha256:").lower() != found.removeprefix("sha256:"):
        altered.append(f"{manifest.FILE} is another one: its digest is {found}, not {digest}")
    try:
        altered += map(str, manifest.differences(listed, folder))
    except OSError as error:
        raise BundleError(f"{folder} cannot be read ({error.strerror})") from None
    try:
        stored = read_verdict(folder)
        anew = judge_stored_replay(folder) if is_replay(folder) else judge_run(*read_bundle(folder))
    except BundleError as error:
        if not altered:
            raise
        return Verification(found, len(listed.files), "unknown", altered, [f"nothing can be judged anew: {error}"])
    commit = "" if stored.host is None else stored.host.commit
    return Verification(found, len(listed.files), stored.status.value, altered, compare(stored, anew), commit)


def read_bundle(folder: Path) -> tuple[RunRecord, History]:
    """Read the record and the history, which judging needs, from a bundle. Raises BundleError."""
    return read_record(folder), read_history(folder)


def read_verdict(folder: Path) -> RunVerdict:
    """Read `verdict.json` from a bundle. Raises BundleError."""
    path = folder / VERDICT
    try:
        if path.stat().st_size > BUNDLE_RECORD_MAX_BYTES:
            raise BundleError(f"{VERDICT} is larger than {BUNDLE_RECORD_MAX_BYTES:,} bytes")
        return msgspec.json.decode(path.read_bytes(), type=RunVerdict)
    except OSError as error:
        raise BundleError(f"{VERDICT} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{VERDICT} is no verdict ({error})") from None


def compare(stored: RunVerdict, anew: RunVerdict) -> list[str]:
    """Return a sentence for each difference between two verdicts of a run, compared in the form of their files."""
    one: dict[str, Any] = msgspec.json.decode(encode_verdict(stored))
    other: dict[str, Any] = msgspec.json.decode(encode_verdict(anew))
    differences = []
    for name, value in one.items():
        if value == other[name]:
            continue
        if name in ("checkers", "thresholds", "attacks"):
            differences += _compare_lists(name.removesuffix("s"), value, other[name])
        else:
            differences.append(f"{name} was {value!r}, judged anew it is {other[name]!r}")
    return differences


def _compare_lists(kind: str, stored: list[dict[str, Any]], anew: list[dict[str, Any]]) -> list[str]:
    def named(listed: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {str(one["name"] if "name" in one else f"{one['attack']} ({one['campaign']})"): one for one in listed}

    ones, others = named(stored), named(anew)
    differences = []
    for name in dict.fromkeys([*ones, *others]):
        one, other = ones.get(name), others.get(name)
        if one is None or other is None:
            differences.append(
                f"{kind} {name} is {'only judged anew' if one is None else 'only in the stored verdict'}"
            )
        elif one["status"] != other["status"]:
            differences.append(f"{kind} {name} was {one['status']}, judged anew it is {other['status']}")
        elif one != other:
            fields = ", ".join(field for field in one if one[field] != other.get(field))
            differences.append(f"{kind} {name} is {one['status']} both times, but not the same in its {fields}")
    return differences or [f"the {kind}s are not in the same order"]
