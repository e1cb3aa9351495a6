"""Texts of the live view: times, happenings, pending work, and the effects of signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.platform.wording import plural
from simulator.report.text import printed
from simulator.worlds.progress import Kind, Phase

if TYPE_CHECKING:
    from simulator.view.state import ThresholdNow, ViewState
    from simulator.worlds.progress import Happening

BEFORE = frozenset({Phase.STARTING, Phase.POLICIES, Phase.WORKERS})
"""Phases before the fleet sends its first heartbeat."""
ENDED = frozenset({Phase.DONE, Phase.JUDGING, Phase.WRITING})
PLAYING = frozenset({Phase.RAMPING, Phase.RUNNING})
HOLDS, NOT_NOW, FAILS, UNKNOWN, LATER = "holds", "not now", "fails", "no data", "later"
"""A threshold's status words. One that fails cannot hold any more, unless losses that it counted are excused later."""
THRESHOLD_WORDS = {Status.PASS: HOLDS, Status.FAIL: FAILS}


def time_text(at_ns: int) -> str:
    """Return a time of the run in whole seconds, as `0:07` or `12:03:07`."""
    minutes, seconds = divmod(max(0, at_ns) // SECOND_NS, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def happening_text(one: Happening) -> str:
    """Return a happening's name, as `alert stale workers`; campaigns are numbered, because attacks can repeat."""
    if one.kind is Kind.ATTACK:
        return f"attack {one.number} {one.name}"
    return f"{one.kind} {one.name}{f' of server {one.number + 1}' if one.kind is Kind.FAULT and one.number else ''}"


def change_text(one: Happening) -> str:
    """Return a line that says what has begun or ended, and when."""
    what = happening_text(one)
    if one.ended_ns is None:
        return f"{time_text(one.began_ns)}  {what} began"
    lasted = f"{max(0, one.ended_ns - one.began_ns) / SECOND_NS:.1f} s"
    return f"{time_text(one.ended_ns)}  {what} ended after {lasted}{f': {printed(one.note)}' if one.note else ''}"


def waits_for(state: ViewState) -> list[str]:
    """Return texts that name what the run waits for now; an empty list if it waits for nothing."""
    match state.phase:
        case Phase.STARTING:
            return ["the target to be ready"]
        case Phase.POLICIES:
            return ["owners' policies"]
        case Phase.WORKERS:
            return ["worker processes to join"]
        case Phase.LAST_ANSWERS:
            return [plural(state.in_flight, "last answer")]
        case Phase.ACCOUNTS:
            return ["withdrawals to come to rest", "accounts to be read"]
        case Phase.AUDIT:
            return ["statuses and audit lists to be read"]
        case Phase.DONE:
            return ["what was started to end"]
        case Phase.JUDGING:
            return [f"{plural(state.requests, 'request')} to be judged"]
        case Phase.WRITING:
            return ["results to be written"]
    waits = []
    if (missing := state.machines_wanted - state.machines_connected) > 0:
        waits.append(f"{plural(missing, 'machine')} to connect")
    if state.in_flight > 0:
        waits.append(plural(state.in_flight, "answer"))
    return waits


def held_up_text(state: ViewState) -> list[str]:
    """Return the counts of starts that were held up or dropped so far; an empty list if there are none."""
    counts = ((state.held_up, "held up by late answers"), (state.dropped_starts, "dropped by the harness"))
    return [f"{plural(count, 'start')} {what}" for count, what in counts if count]


def market_texts(state: ViewState) -> list[str]:
    """Return the counts of what agents have done so far; an empty list without agents."""
    if not (state.jobs_posted or state.withdrawals_asked):
        return []
    return [
        f"jobs {state.jobs_posted:,} posted, {state.jobs_ended:,} ended",
        f"withdrawals {state.withdrawals_asked:,} asked for, {state.withdrawals_settled:,} settled",
    ]


def attack_texts(state: ViewState) -> list[str]:
    """Return the counts of answers to attacks; an empty list without attacks."""
    if not (state.attacks_refused or state.attacks_accepted or state.attacks_other):
        return []
    other = [f"{state.attacks_other:,} neither"] if state.attacks_other else []
    return [f"{state.attacks_refused:,} refused", f"{state.attacks_accepted:,} accepted", *other]


def threshold_word(one: ThresholdNow) -> str:
    """Return a threshold's status as one word."""
    if one.may_hold_later:
        return NOT_NOW
    return LATER if one.status is None else THRESHOLD_WORDS.get(one.status, UNKNOWN)


def milliseconds(value: float | None) -> str:
    """Return a response time as text, in milliseconds."""
    return "-" if value is None else f"{value:,.1f} ms"


def acknowledgement(signal_name: str, phase: Phase) -> str:
    """Return what a first signal ends, and what a second one would."""
    if phase in BEFORE:
        return f"{signal_name}: the run is ended before it began, with what was started for it."
    if phase in ENDED:
        return f"{signal_name}: the run is over; its results are being written, and no signal keeps them from it."
    return (
        f"{signal_name}: the run is being ended. Nothing more is sent, last answers are awaited and audit lists read, "
        "then what is known is judged. A second signal ends it at once."
    )


def second_acknowledgement(signal_name: str, phase: Phase) -> str:
    """Return what a second signal ends."""
    if phase in ENDED:
        return acknowledgement(signal_name, phase)
    return f"{signal_name} again: nothing is awaited any more, and what is known is judged."
