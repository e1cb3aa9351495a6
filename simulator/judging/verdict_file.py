"""The verdict of a run as a file: its schema, and writing it whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.checkers.verdict import Status, Verdict  # noqa: TC001 - the schema is made from the annotations
from simulator.contract.profiles import Profile
from simulator.judging.record import EndedEarly  # noqa: TC001 - as above
from simulator.platform.output_files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 1


class AttackSummary(msgspec.Struct, frozen=True):
    """What became of one campaign. `sent` = `refused` + `accepted` + `unjudged`; `wrong` of them should not have been.

    `unjudged` got an answer that says nothing (over the rate limit, 5xx, none at all). `note` says why it
    failed or was not tried, or what it found out that no single answer shows. `undecided` counts its claims that could
    not be known, of rules that none of its attempts decided: a release cannot rest on it then.
    """

    campaign: int
    attack: str
    status: Status
    sent: int
    refused: int
    accepted: int
    wrong: int
    unjudged: int
    note: str
    undecided: int = 0


class Advisory(msgspec.Struct, frozen=True):
    """What a server does otherwise than a rule that its profile does not ask for, with its evidence: no failure.

    `rule` is the rule's id as in SARIF, `basis` what it rests on, `finding` the finding's own rule. `at_ns` counts from
    the start of the run.
    """

    checker: str
    rule: str
    basis: str
    message: str
    at_ns: int
    evidence: dict[str, Any] = {}
    finding: str = ""


class RunVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run says. Times in seconds; `latency_s` are response times of honest heartbeats by percentile.

    `profile` is the measure, `advisories` what goes beyond it. `ended_early` says which threshold ended the run before
    its time, if one did.
    """

    schema_version: int = SCHEMA_VERSION
    scenario: str
    description: str
    seed: int
    target: str
    started_at: str
    duration_s: float
    interrupted: str | None
    status: Status
    exit_code: int
    checkers: list[Verdict]
    thresholds: list[Verdict]
    requests: dict[str, int]
    latency_s: dict[str, float | None]
    warnings: list[str]
    reproduce: str
    attacks: list[AttackSummary] = []
    profile: str = Profile.HARDENED
    advisories: list[Advisory] = []
    ended_early: EndedEarly | None = None


def verdict_schema() -> dict[str, Any]:
    """Return the JSON Schema of `verdict.json`."""
    schema = msgspec.json.schema(RunVerdict)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "HatchFarm Harness verdict", **schema}


def encode_verdict(verdict: RunVerdict) -> bytes:
    """Encode a verdict as JSON. What UTF-8 cannot hold, as in the name of a file that is not UTF-8, is escaped."""
    try:
        return msgspec.json.encode(verdict)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(verdict)))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list | tuple) else value


def write_verdict(verdict: RunVerdict, folder: Path) -> Path:
    """Write `verdict.json` into a new folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "verdict.json"
    write_whole(path, [msgspec.json.format(encode_verdict(verdict), indent=2) + b"\n"], follow=False)
    return path


def point_latest(folder: Path) -> str:
    """Point `latest` beside a run's folder at it; return what is to be said where that is something of somebody's own.

    Without links, as on some file systems, the newest run is found by its time all the same.
    """
    latest = folder.parent / "latest"
    if latest.exists() and not latest.is_symlink():
        return f"{latest} is no link: it was left as it is, and the newest run is {folder.name}"
    new_link = folder.parent / f".latest-{folder.name}-{os.getpid()}"
    try:
        new_link.symlink_to(folder.name, target_is_directory=True)
    except OSError:
        return ""
    try:
        new_link.replace(latest)
    except OSError:
        new_link.unlink(missing_ok=True)
    return ""
