"""How thresholds stand while a run goes on, by what is known at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.judging.thresholds import judge_thresholds, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.checkers.verdict import Verdict
    from simulator.history.rows import History


def judge_so_far(
    wanted: Mapping[str, Sequence[str]],
    attacks: Sequence[str],
    known: tuple[History, int],
    connected_max: int,
    memory_max_bytes: int | None,
) -> list[Verdict]:
    """Judge thresholds by metrics that no checker counts; nothing where nothing has come back yet.

    `known` is a history, and the moment of the run until which all that came of it is in there, in nanoseconds: of what
    is counted by the second, no later one is. `attacks` are the scenario's, in order.
    """
    history, until_ns = known
    if not wanted or not len(history):
        return []
    campaigns = dict(enumerate(attacks, 1))
    series = measure(history, (), connected_max, memory_max_bytes, wanted, campaigns, until_ns)
    return judge_thresholds(wanted, series)
