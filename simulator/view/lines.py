"""A run's current state as one line of a log, for outputs that are no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.report.text import printed
from simulator.view.wording import (
    FAILS,
    HOLDS,
    NOT_NOW,
    PLAYING,
    attack_texts,
    happening_text,
    held_up_text,
    market_texts,
    milliseconds,
    threshold_word,
    time_text,
    waits_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.view.state import ViewState

LEAST_SECONDS, MOST_SECONDS = 5.0, 60.0
LINES_WANTED = 60
"""How many lines a run prints, within the bounds of `pace_seconds`: a log is read from top to bottom."""


def pace_seconds(duration_ns: int) -> float:
    """Return the interval between lines, in seconds, for a run of this length."""
    return min(MOST_SECONDS, max(LEAST_SECONDS, duration_ns / SECOND_NS / LINES_WANTED))


def line(state: ViewState) -> str:
    """Return the state of a run as one line without colour."""
    return "  ".join(_parts(state))


def _parts(state: ViewState) -> Iterator[str]:
    yield f"{time_text(state.elapsed_ns)} of {time_text(state.duration_ns)}"
    if state.times_as_fast is not None:
        yield f"virtual, {state.times_as_fast:,.1f} times as fast as real"
    yield str(state.phase)
    if state.phase not in PLAYING:
        yield f"waits for {', '.join(waits_for(state))}"
    yield f"machines {state.machines_connected:,} of {state.machines_wanted:,}"
    yield f"{state.rate:,.0f} accepted a second"
    yield f"p50 {milliseconds(state.p50_ms)}, p99 {milliseconds(state.p99_ms)}"
    yield f"{state.accepted:,} accepted, {state.refused:,} refused, {state.lost:,} lost"
    yield from held_up_text(state)
    if attacks := attack_texts(state):
        yield f"attacks {', '.join(attacks)}"
    yield from market_texts(state)
    if state.under_way:
        yield f"now {', '.join(map(happening_text, state.under_way))}"
    words = [threshold_word(one) for one in state.thresholds]
    if {HOLDS, NOT_NOW, FAILS}.intersection(words):
        missed = [*_missed(state, NOT_NOW, "not now"), *_missed(state, FAILS, "fail")]
        yield ", ".join((f"thresholds {words.count(HOLDS)} hold", *missed))


def _missed(state: ViewState, word: str, verb: str) -> Iterator[str]:
    """Yield one text that names the thresholds with this status and their measured values; nothing if none has it."""
    missed = [
        f"{one.metric}: {one.expression} (measured {printed(one.measured)})"
        for one in state.thresholds
        if threshold_word(one) == word
    ]
    if missed:
        yield f"{len(missed)} {verb}: {'; '.join(missed)}"
