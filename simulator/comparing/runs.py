"""Comparing two run bundles: rates and percentiles with their noise, verdicts, and findings.

A run has no rounds. It is cut into `COMPARED_PARTS` consecutive parts of equal length instead, so that a burst of noise
affects only one part. Each part is compared with the same part of the other run, because a scenario has phases. The
runs were made at two times, like the results of two benchmarks (`simulator.comparing.results`).
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
"""The fewest heartbeats of a part from which a percentile is computed."""


class Run(msgspec.Struct, frozen=True):
    """A stored run: its name, its verdict, the record it was judged by, and its history."""

    name: str
    verdict: RunVerdict
    record: RunRecord
    history: History


def read_run(folder: Path) -> Run:
    """Read the stored run in `folder`. Raises BundleError if it is unreadable, or a replay."""
    if is_replay(folder):
        raise BundleError(f"{folder} is a replay: what it plays is as old as its trace")
    verdict = read_verdict(folder)
    return Run(f"{verdict.scenario} of {verdict.started_at}", verdict, *read_bundle(folder))


def compare_runs(before: Run, after: Run, compared_at: str, tolerance: Tolerance) -> Comparison:
    """Compare two runs. If their scenarios, seeds, profiles, targets or fleets differ, a note says so."""
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
    """Return whether any value of a figure is above zero: a rate of zero or NaN tells nothing."""
    return any(one > 0 for one in values)


def _figures(run: Run) -> dict[str, tuple[str, bool, tuple[float, ...]]]:
    """Return for each figure its unit, whether higher is better, and its value in each part of the run, NaN for none.

    The first part is left out, because the fleet was not yet complete.
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
    """Return the results of checkers, thresholds and campaigns by name."""
    return {
        **{one.name: one for one in [*verdict.checkers, *verdict.thresholds]},
        **{f"{one.attack} (campaign {one.campaign})": one for one in verdict.attacks},
    }


def _note(one: Verdict | AttackSummary) -> str:
    return str(getattr(one, "summary", "") or getattr(one, "note", ""))


def _check(name: str, before: Status | None, after: Status | None, note: str = "") -> CheckLine:
    """Return the line of a check, given its status in both runs, None for a run without it.

    The check is worse if it fails in the second run but not in the first. That is unknown if it is inconclusive in the
    second run, or passed in the first and is missing from the second. A check that failed before cannot get worse.
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
