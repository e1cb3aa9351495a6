"""A replay as its bundle holds it: what came of each exchange, and the verdict that follows, live and stored alike."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.checkers.facts import Facts
from simulator.checkers.outage import judge_deaths
from simulator.checkers.verdict import EXIT_CODES, Finding, Status, Verdict, worst
from simulator.contract.answers import Answer
from simulator.contract.profiles import Profile, profile_of
from simulator.errors import BundleError, TraceError
from simulator.history.records import Death  # noqa: TC001 - msgspec reads the annotation
from simulator.judging.advisories import judge_by
from simulator.judging.record import RunRecord
from simulator.judging.verdict_file import RunVerdict
from simulator.limits import BUNDLE_TABLE_MAX_BYTES
from simulator.platform.output_files import write_whole
from simulator.platform.program import NAME
from simulator.traces.comparison import (
    TIMING,
    Played,
    judge_resigned,
    judge_timing,
    judge_verbatim,
)
from simulator.traces.format import Trace, read_trace
from simulator.traces.reasons import counted_reasons, judge_reasons, named_by_metrics
from simulator.traces.recording import TRACE
from simulator.traces.rewriting import redacted_lines
from simulator.traces.writing import write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE = "replay.json"
FORMAT = 1


class ReplayRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One replay but for its trace. `before` and `after` are the target's metrics, without those that are no number.

    `lasting` says of each exchange whether its signature is one that a target takes for good. No answer's body is kept:
    what it said is in `got`, and it may hold secrets.
    """

    format: int = FORMAT
    trace_file: str
    target: str
    given_target: bool
    verbatim: bool
    only: tuple[str, ...] = ()
    started_at: str
    took_s: float
    interrupted: str | None
    warnings: tuple[str, ...]
    before: dict[str, float]
    after: dict[str, float]
    played: tuple[Played, ...]
    lasting: tuple[bool, ...]
    deaths: tuple[Death, ...] = ()
    """Of the replay's own server, if it ended by itself."""
    profile: Profile = Profile.HARDENED
    program: str = NAME
    """How the program was called, as a shell reads it, for the line that reproduces the replay."""


def numbers(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that JSON can hold."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def judge_replay(trace: Trace, record: ReplayRecord) -> RunVerdict:
    """Judge what came of a trace. A pure function of its arguments."""
    exchanges, played = trace.exchanges, played_of(trace, record)
    if record.verbatim:
        counted = counted_reasons(record.before, record.after) if record.after else {}
        checkers = [judge_verbatim(exchanges, played, lasting=record.lasting, counted=counted)]
    else:
        checkers = judge_resigned(exchanges, played)
        if record.after:
            checkers.append(
                judge_reasons(exchanges, played, record.before, record.after, alone=not record.given_target)
            )
    checkers.append(judge_timing(played))
    if record.deaths:
        checkers.append(judge_deaths(record.deaths))
    if record.interrupted:
        finding = Finding("replay.interrupted", record.interrupted, 0)
        checkers.append(Verdict("whole trace", Status.INCONCLUSIVE, f"Interrupted: {record.interrupted}.", (finding,)))
    judged = judge_by(record.profile, checkers, {}, ())
    checkers = judged.checkers
    # That the replay kept its own times proves nothing of the target.
    status = worst([one.status for one in checkers if one.name != TIMING or one.status.is_problem])
    command = ["replay", record.trace_file, *(["--verbatim"] if record.verbatim else [])]
    command += [part for name in record.only for part in ("--only", name)]
    if record.given_target:
        command += ["--target", record.target]
    if record.profile is not profile_of(None, given_target=record.given_target):
        command += ["--profile", record.profile]
    return RunVerdict(
        scenario=replay_name(trace),
        description=_described(record),
        seed=trace.header.seed,
        target=record.target,
        started_at=record.started_at,
        duration_s=record.took_s,
        interrupted=record.interrupted,
        status=status,
        exit_code=EXIT_CODES[status],
        checkers=checkers,
        thresholds=[],
        requests={
            "total": len(exchanges),
            "heartbeats_accepted": sum(
                one.got is Answer.ACCEPTED and exchange.operation == "heartbeat" and not exchange.campaign
                for exchange, one in zip(exchanges, played, strict=True)
            ),
            "attacks": sum(exchange.campaign > 0 for exchange in exchanges),
            "lost": sum(one.got is Answer.LOST for one in played),
        },
        latency_s={},
        warnings=list(record.warnings),
        reproduce=f"{record.program} {shlex.join(command)}",
        profile=record.profile,
        advisories=judged.advisories,
    )


def played_of(trace: Trace, record: ReplayRecord) -> Sequence[Played]:
    """Return what came of each exchange, as far as the target showed it."""
    if not record.verbatim or not record.after:
        return record.played
    return named_by_metrics(trace.exchanges, record.played, record.before, record.after)


def replay_name(trace: Trace) -> str:
    """Name a replay, as a scenario is named."""
    return f"{trace.header.scenario}-replay"


def _described(record: ReplayRecord) -> str:
    return "The same bytes again." if record.verbatim else "The same intent on another server."


def run_record(trace: Trace, record: ReplayRecord) -> RunRecord:
    """Return what reports say of any run. No settings of the server's are known: nothing is judged by them."""
    return RunRecord(
        scenario=replay_name(trace),
        description=_described(record),
        scenario_file=record.trace_file,
        seed=trace.header.seed,
        machines=len(trace.header.machines),
        thresholds={},
        attacks=(),
        facts=Facts(stale_seconds=0, auth_window_seconds=0, auth_threshold=0, baseline={}),
        target=record.target,
        given_target=record.given_target,
        started_at=record.started_at,
        elapsed_ns=round(record.took_s * SECOND_NS),
        connected_max=0,
        interrupted=record.interrupted,
        warnings=record.warnings,
        profile=record.profile,
    )


def write_replay(folder: Path, trace: Trace, record: ReplayRecord) -> list[str]:
    """Write what a replay is judged by: what came of it, and its trace without secrets; return notes for people."""
    try:
        write_lines(folder / TRACE, redacted_lines(trace), private=False)
        write_whole(folder / FILE, [msgspec.json.encode(record), b"\n"], follow=False)
    except OSError as error:
        return [f"The replayed exchanges could not be written ({error.strerror}): the verdict cannot be verified later"]
    return []


def is_replay(folder: Path) -> bool:
    """Return whether a bundle is a replay's."""
    return (folder / FILE).is_file()


def judge_stored_replay(folder: Path) -> RunVerdict:
    """Judge a stored replay anew. Raises BundleError."""
    path = folder / FILE
    try:
        if path.stat().st_size > BUNDLE_TABLE_MAX_BYTES:
            raise BundleError(f"{FILE} is larger than {BUNDLE_TABLE_MAX_BYTES:,} bytes")
        record = msgspec.json.decode(path.read_bytes(), type=ReplayRecord)
        trace = read_trace(folder / TRACE)
        if not len(record.played) == len(record.lasting) == len(trace.exchanges):
            raise BundleError(f"{FILE} is not of as many exchanges as {TRACE}")
        return judge_replay(trace, record)
    except OSError as error:
        raise BundleError(f"{FILE} cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, RecursionError, TraceError) as error:
        raise BundleError(f"{FILE} is no record of a replay ({error})") from None
