"""What a run's faults can have reached: requests that were under way, turns that machines missed, and alerts.

Only what is within a fault's window, or follows from it, is laid to it: the rest must be the same in two worlds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.checkers.excused import IN_FLIGHT_NS, LOSES_NOTHING, Excused, accepting_ns, healed_ns, refused_after
from simulator.client.aim import JUDGED_SETTINGS
from simulator.contract.answers import Answer
from simulator.contract.metrics import STALE_ALERT
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST
from simulator.history.schedule import honest_heartbeats
from simulator.judging.facts import STALE_SECONDS
from simulator.scenario.values import DOWN_FAULTS, LATE_NETWORK_FAULTS, NETWORK_FAULTS

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from simulator.history.records import Fault
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario

KEPT_AWAY = (Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED)
"""What comes in place of an answer that a fault keeps away."""
BACK_OFF_SHARE, BACK_OFF_MAX_SECONDS = 1.25, 75.0
"""For how long a machine stays away that was refused all through a fault: each wait is as long as all before it, and a
quarter more by its spread (`simulator.fleet.machine.back_off_ns`)."""
SILENT_TURNS = 3
"""By how many turns a machine that abandoned a job may come late: the one before, its own, and a connection's."""
TRIPS = 4
"""How often a fault that delays bytes each way may delay one machine's next heartbeat: a handshake, and an exchange."""


class Reach(NamedTuple):
    """Of honest requests of one kind: all, those within faults' windows, and those not answered as expected.

    Of these, `kept` were by a fault, as far as one can have; `wrong` are all others.
    """

    asked: int = 0
    within: int = 0
    kept: int = 0
    wrong: int = 0


def forgets(scenario: Scenario) -> bool:
    """Return whether a server begins anew in a run and knows nothing of before: its machines are strangers then."""
    lasting = scenario.server.durable or scenario.server.instances > 1
    return not lasting and any(one.kind in DOWN_FAULTS for one in scenario.faults)


def losing_faults(history: History) -> list[Fault]:
    """Return the faults of a run that can keep an answer away."""
    return [one for one in history.faults if one.kind not in LOSES_NOTHING]


def honest_reach(scenario: Scenario, history: History) -> dict[int, Reach]:
    """Count what honest machines, owners and agents asked, by operation."""
    rows = history.rows()
    rows = rows[rows["campaign"] == HONEST]
    cause, _ = losses_of(rows["status"])
    rows = rows[(rows["got"] != Answer.LOST) | (cause != Loss.ENDED)]  # the end of a run cuts off what is under way
    within, bad = _within(history, rows), rows["got"] != rows["expected"]
    # Who is a stranger to its server may be told so in any words.
    kept = bad & within & (np.isin(rows["got"], KEPT_AWAY) | forgets(scenario))
    found = {}
    for operation in np.unique(rows["operation"]).tolist():
        mine = rows["operation"] == operation
        found[operation] = Reach(*(int((mine & one).sum()) for one in (mine, within, kept, bad & ~kept)))
    return found


def sent_within(history: History, campaign: int) -> int:
    """Count what a campaign sent within the windows of faults, in which its victims may be away."""
    rows = history.rows()
    return int(_within(history, rows[rows["campaign"] == campaign]).sum())


class Missed(NamedTuple):
    """How many heartbeats were not sent, and after how many others."""

    turns: float
    times: int


def missed_turns(scenario: Scenario, history: History) -> Missed:
    """Return what was not sent for want of an answer that a fault kept.

    From each heartbeat within a fault's window to its machine's next one, or the end of the run.
    """
    gaps = _gaps(scenario, history)
    turns = gaps.long_ns / max(1, scenario.fleet.heartbeat_interval_ns) - 1
    late = _within(history, gaps.beats) & (turns > scenario.fleet.jitter) & ~_abandoned(scenario, gaps)
    return Missed(float(turns[late].sum()), int(late.sum()))


def abandoned_turns(scenario: Scenario, history: History) -> Missed:
    """Return what was not sent by machines that fell silent in the middle of a job."""
    gaps = _gaps(scenario, history)
    long_ns = gaps.long_ns[_abandoned(scenario, gaps)]
    turns = long_ns / max(1, scenario.fleet.heartbeat_interval_ns) - 1
    return Missed(float(turns.sum()), len(long_ns))


class _Gaps(NamedTuple):
    """The honest heartbeats, how long after each its machine sent its next one, and which are the last of a machine.

    After those the run ended.
    """

    beats: NDArray[Any]
    long_ns: NDArray[np.int64]
    last: NDArray[np.bool_]


def _gaps(scenario: Scenario, history: History) -> _Gaps:
    beats = honest_heartbeats(history)
    beats = beats[np.lexsort((beats["sent_ns"], beats["machine"]))]
    following = np.append(beats["sent_ns"][1:], scenario.duration_ns)[: len(beats)]
    last = np.append(beats["machine"][1:] != beats["machine"][:-1], True)[: len(beats)]
    return _Gaps(beats, np.where(last, scenario.duration_ns, following) - beats["sent_ns"], last)


def _abandoned(scenario: Scenario, gaps: _Gaps) -> NDArray[np.bool_]:
    """Return which gaps are as long as those of who abandons a job, and a few turns, or last up to the run's end."""
    if scenario.market is None or not scenario.market.offer.abandons:
        return np.zeros(len(gaps.last), dtype=np.bool_)
    silent_ns = scenario.market.offer.abandoned_for_ns
    turn_ns = scenario.fleet.heartbeat_interval_ns * (1 + scenario.fleet.jitter)
    least_ns = np.where(gaps.last, min(2 * turn_ns, silent_ns), silent_ns)
    return (gaps.long_ns >= least_ns) & (gaps.long_ns <= silent_ns + SILENT_TURNS * turn_ns)


def _within(history: History, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows were under way within the window of a fault that can keep an answer away, or refused after."""
    until_ns = np.where(rows["got"] == Answer.LOST, rows["sent_ns"] + losses_of(rows["status"])[1], rows["answered_ns"])
    return Excused(history).overlap(rows["sent_ns"], until_ns) | refused_after(history, rows)


# --- alerts


class Span(NamedTuple):
    """When a fault may have moved an alert, in seconds; and whether it can have set one off, or kept one away."""

    since: float
    until: float
    sets_off: bool


def alert_spans(scenario: Scenario, history: History, gauge: str) -> list[Span]:
    """Return when the faults of a run may have moved an alert, and with it whatever follows from them.

    So may machines that fall silent with the jobs that they were given.
    """
    spans = (_span(scenario, one, stale=gauge == STALE_ALERT) for one in history.faults)
    found = [one for one in spans if one is not None]
    if gauge == STALE_ALERT:
        gaps = _gaps(scenario, history)
        silent = _abandoned(scenario, gaps)
        since = gaps.beats["sent_ns"][silent] / SECOND_NS
        until = (gaps.beats["sent_ns"] + gaps.long_ns)[silent] / SECOND_NS
        found += [Span(*one, sets_off=True) for one in zip(since.tolist(), until.tolist(), strict=True)]
    return found


def script_spans(scenario: Scenario, virtual: History, live: History, allowed: float) -> list[Span]:
    """Return when an alert of failures was on for the scripts of one world that went on for longer than the other's.

    They go on as they are answered: a flood of requests takes as long as a server takes for it. They set nothing off
    that they do not set off in the other world, where they begin at the same time.
    """
    settings = {**JUDGED_SETTINGS, **scenario.server.settings}
    lasting = float(settings["WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS"])
    found = []
    for number, one in enumerate(scenario.attacks, 1):
        attack = CATALOGUE[one.name]
        if issubclass(attack, ScriptAttack) and attack.sandbox is None and not attack.needs_settings:
            ends = sorted(_last_sent(history, number) for history in (virtual, live))
            if ends[1] - ends[0] > allowed / 2:
                found.append(Span(ends[0], ends[1] + lasting + allowed, sets_off=False))
    return found


def _last_sent(history: History, campaign: int) -> float:
    rows = history.rows()
    return float(rows["sent_ns"][rows["campaign"] == campaign].max(initial=0)) / SECOND_NS


def _span(scenario: Scenario, fault: Fault, *, stale: bool) -> Span | None:
    settings = {**JUDGED_SETTINGS, **scenario.server.settings}
    interval = scenario.fleet.heartbeat_interval_ns / SECOND_NS
    beat = interval * (1 + scenario.fleet.jitter)
    since = (fault.began_from_ns - IN_FLIGHT_NS) / SECOND_NS
    until = (accepting_ns(fault) if stale else healed_ns(fault)) / SECOND_NS
    away = beat
    if fault.kind in LATE_NETWORK_FAULTS:
        late = TRIPS * max(
            (one.latency_ns + one.jitter_ns) / SECOND_NS for one in scenario.faults if one.kind == fault.kind
        )
        until, away = fault.ended_to_ns / SECOND_NS + late, beat + late
    elif fault.kind not in LOSES_NOTHING:
        ended = fault.ended_to_ns / SECOND_NS if fault.kind in NETWORK_FAULTS else until
        length = ended - fault.began_from_ns / SECOND_NS
        back_off = min(BACK_OFF_MAX_SECONDS, BACK_OFF_SHARE * (length + max(interval, 1.0)))
        away, until = length + back_off + beat, until + back_off
    elif stale:  # a copy is no heartbeat
        return None
    if not stale:
        # Failures count for a whole window. What comes a little later than another changes none of their number.
        lasting = float(settings["WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS"])
        return Span(since, until + lasting + beat, fault.kind not in LATE_NETWORK_FAULTS or away - beat > lasting / 2)
    if fault.kind in DOWN_FAULTS and forgets(scenario) and scenario.fleet.silence:
        return Span(since, scenario.duration_ns / SECOND_NS, sets_off=True)  # who is silent then is never known again
    return Span(since, until + beat, away >= float(settings[STALE_SECONDS]))
