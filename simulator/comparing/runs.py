"""Two run bundles side by side: rates and percentiles with their noise, verdicts, and what was found.

A run has no rounds: its seconds, in so many parts one after the other, stand for them, so that a burst of noise is one
part's. Each is held against the same part of the other run, for a scenario has phases. The two were made at two times,
as two benchmarks' results were (`simulator.comparing.results`).
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.bundle.verify import read_bundle, read_verdict
from simulator.checkers.verdict import Status
from simulator.comparing.outcome import CheckLine, Comparison, FindingLine, Kind, Pair, conclude, lines_of, notes_of
from simulator.comparing.ranks import difference, paired
from simulator.comparing.results import MOODS_OF_RATES
from simulator.contract.answers import Answer
from simulator.errors import BundleError
from simulator.history.schedule import honest_heartbeats, response_times
from simulator.judging.replay_record import is_replay
from simulator.judging.thresholds import percentile_of
from simulator.limits import COMPARED_PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from simulator.checkers.verdict import Verdict
    from simulator.comparing.deciding import Tolerance
    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from simulator.judging.verdict_file import AttackSummary, RunVerdict

PERCENTILES = (50, 90, 99)
PART_BEATS_MIN = 20
"""Heartbeats that a part must have to say anything about a percentile."""


class Run(msgspec.Struct, frozen=True):
    """A stored run: what it is called, its verdict, what it was judged by, and its history."""

    name: str
    verdict: RunVerdict
    record: RunRecord
    history: History


def read_run(folder: Path) -> Run:
    """Read a stored run. Raises BundleError, for a replay as well."""
    if is_replay(folder):
        raise BundleError(f"{folder} is a replay: what it plays is as old as its trace")
    verdict = read_verdict(folder)
    return Run(f"{verdict.scenario} of {verdict.started_at}", verdict, *read_bundle(folder))


def compare_runs(before: Run, after: Run, compared_at: str, tolerance: Tolerance) -> Comparison:
    """Compare two runs; those of two scenarios, seeds or profiles are compared too, and that is said."""
    notes = []
    for what in ("scenario", "seed", "profile", "target"):
        one, other = getattr(before.verdict, what), getattr(after.verdict, what)
        if one != other:
            notes.append(f"two {what}s: {one} and {other}")
    if before.record.machines != after.record.machines:
        notes.append(f"two fleets: {before.record.machines:,} and {after.record.machines:,} machines")
    allowed = msgspec.structs.replace(tolerance, moods=MOODS_OF_RATES)
    ones, others = _figures(before), _figures(after)
    pairs: list[Pair] = []
    lost: list[str] = []
    for title, (unit, better, values) in ones.items():
        theirs = others[title][2]
        changes = [(change, one, other) for one, other in zip(values, theirs, strict=True)
                   if (change := difference(one, other)) is not None]  # fmt: skip
        if not changes:
            notes.append(f"{title}: nothing to compare in one of the runs")
            if _is_known(values) or _is_known(theirs):
                lost.append(title)
            continue
        shifts, mine, others_values = zip(*changes, strict=True)
        shift = paired([change if better else -change for change in shifts])
        pairs.append(Pair(title, unit, better, mine, others_values, shift, allowed))
    notes += notes_of(pairs)
    names = (before.name, after.name)
    checks, findings = list(_checks(before.verdict, after.verdict)), _findings(before.verdict, after.verdict)
    return conclude(Kind.RUNS, names, compared_at, lines_of(pairs), checks, findings, notes, lost)


def _is_known(values: Sequence[float]) -> bool:
    """Return whether a run had anything of a figure: a rate of nothing, and no value at all, are none."""
    return any(one > 0 for one in values)


def _figures(run: Run) -> dict[str, tuple[str, bool, tuple[float, ...]]]:
    """Return each figure's unit, whether high is better, and its value in each part of the run, NaN for none.

    The first part is left out: the fleet was not all there.
    """
    edges = np.linspace(0, run.record.elapsed_ns, COMPARED_PARTS + 2)[1:]
    seconds = float(edges[1] - edges[0]) / SECOND_NS
    beats = honest_heartbeats(run.history)
    accepted = beats[beats["got"] == Answer.ACCEPTED]["answered_ns"]
    planned_ns, taken = response_times(run.history)
    figures = {
        "heartbeats accepted": ("/s", True, _rates(accepted, edges, seconds)),
        "all requests": ("/s", True, _rates(run.history.rows()["sent_ns"], edges, seconds)),
    }
    for percentile in PERCENTILES:
        values = tuple(
            1000 * percentile_of(part, percentile) if len(part) >= PART_BEATS_MIN else math.nan
            for part in _parts(planned_ns, taken, edges)
        )
        figures[f"response time p{percentile}"] = (" ms", False, values)
    return figures


def _rates(moments: NDArray[np.int64], edges: NDArray[np.float64], seconds: float) -> tuple[float, ...]:
    counts, _ = np.histogram(moments, edges)
    return tuple((counts / max(seconds, 1e-9)).tolist())


def _parts(
    moments: NDArray[np.int64], values: NDArray[np.float64], edges: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    for start, end in pairwise(edges):
        yield values[(moments >= start) & (moments < end)]


def _checks(before: RunVerdict, after: RunVerdict) -> Iterator[CheckLine]:
    yield _check("whole run", before.status, after.status)
    ones, others = named_checks(before), named_checks(after)
    for name in dict.fromkeys([*ones, *others]):
        one, other = ones.get(name), others.get(name)
        yield _check(
            name,
            one.status if one else None,
            other.status if other else None,
            _note(other) if other and (one is None or one.status is not other.status) else "",
        )


def named_checks(verdict: RunVerdict) -> dict[str, Verdict | AttackSummary]:
    """Return checkers, thresholds and campaigns by what they are called."""
    return {
        **{one.name: one for one in [*verdict.checkers, *verdict.thresholds]},
        **{f"{one.attack} (campaign {one.campaign})": one for one in verdict.attacks},
    }


def _note(one: Verdict | AttackSummary) -> str:
    return str(getattr(one, "summary", "") or getattr(one, "note", ""))


def _check(name: str, before: Status | None, after: Status | None, note: str = "") -> CheckLine:
    """Return a check's line.

    It is worse where it fails now and did not before. Whether it is, nobody knows where it could not be judged now, or
    held and is no longer there; what failed before cannot get worse.
    """
    could_fail = before is not None and before is not Status.FAIL
    unknown = (could_fail and after is Status.INCONCLUSIVE) or (before is Status.PASS and after is None)
    worse = could_fail and after is Status.FAIL
    return CheckLine(name, before.value if before else "", after.value if after else "", worse, note, unknown)


def _findings(before: RunVerdict, after: RunVerdict) -> list[FindingLine]:
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    messages: dict[str, str] = {}
    for verdict, count in zip((before, after), counts, strict=True):
        for one in (finding for check in [*verdict.checkers, *verdict.thresholds] for finding in check.findings):
            count[one.rule] += 1
            messages[one.rule] = one.message
    return [FindingLine(rule, counts[0][rule], counts[1][rule], messages[rule]) for rule in sorted(messages)]
