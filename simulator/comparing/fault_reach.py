"""The effects that a run's faults can have had: on requests under way, on heartbeats not sent, and on alerts.

Only effects within a fault's window, or following from it, are attributed to a fault: all else must be the same in two
worlds.
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
"""The outcomes of a request whose answer a fault prevents."""
BACK_OFF_SHARE, BACK_OFF_MAX_SECONDS = 1.25, 75.0
"""How long a machine stays away after it was refused all through a fault: as a share of the time before, and at most in
seconds. Each wait is as long as all waits before it, and up to a quarter longer
(`simulator.fleet.machine.back_off_ns`)."""
SILENT_TURNS = 3
"""By how many heartbeat intervals a machine that abandoned a job may return late: for the heartbeat before, for its
own, and for a connection."""
TRIPS = 4
"""How many times a fault that delays bytes may delay one machine's next heartbeat: both ways of a handshake and of an
exchange."""


class Reach(NamedTuple):
    """Counts of honest requests of one operation: all, and those within faults' windows.

    Of the requests not answered as expected, `kept` are those that a fault can explain, and `wrong` all others.
    """

    asked: int = 0
    within: int = 0
    kept: int = 0
    wrong: int = 0


def forgets(scenario: Scenario) -> bool:
    """Return whether a server restarts in the run with an empty state: then it does not know its machines any more."""
    lasting = scenario.server.durable or scenario.server.instances > 1
    return not lasting and any(one.kind in DOWN_FAULTS for one in scenario.faults)


def losing_faults(history: History) -> list[Fault]:
    """Return the faults of a run that can prevent an answer."""
    return [one for one in history.faults if one.kind not in LOSES_NOTHING]


def honest_reach(scenario: Scenario, history: History) -> dict[int, Reach]:
    """Return counts of the requests of honest machines, owners and agents, by operation."""
    rows = history.rows()
    rows = rows[rows["campaign"] == HONEST]
    cause, _ = losses_of(rows["status"])
    rows = rows[(rows["got"] != Answer.LOST) | (cause != Loss.ENDED)]  # the end of a run cuts off requests under way
    within, bad = _within(history, rows), rows["got"] != rows["expected"]
    # A server that has forgotten a machine may refuse it in any way.
    kept = bad & within & (np.isin(rows["got"], KEPT_AWAY) | forgets(scenario))
    found = {}
    for operation in np.unique(rows["operation"]).tolist():
        mine = rows["operation"] == operation
        found[operation] = Reach(*(int((mine & one).sum()) for one in (mine, within, kept, bad & ~kept)))
    return found


def sent_within(history: History, campaign: int) -> int:
    """Return the number of a campaign's requests within the windows of faults, in which its victims may be away."""
    rows = history.rows()
    return int(_within(history, rows[rows["campaign"] == campaign]).sum())


class Missed(NamedTuple):
    """Heartbeats that were not sent: `turns` is their number, and `times` the number of gaps in which they were due."""

    turns: float
    times: int


def missed_turns(scenario: Scenario, history: History) -> Missed:
    """Return the heartbeats that were not sent because a fault prevented an answer.

    They are counted from each heartbeat within a fault's window to its machine's next one, or to the end of the run.
    """
    gaps = _gaps(scenario, history)
    turns = gaps.long_ns / max(1, scenario.fleet.heartbeat_interval_ns) - 1
    late = _within(history, gaps.beats) & (turns > scenario.fleet.jitter) & ~_abandoned(scenario, gaps)
    return Missed(float(turns[late].sum()), int(late.sum()))


def abandoned_turns(scenario: Scenario, history: History) -> Missed:
    """Return the heartbeats that were not sent because machines fell silent in the middle of a job."""
    gaps = _gaps(scenario, history)
    long_ns = gaps.long_ns[_abandoned(scenario, gaps)]
    turns = long_ns / max(1, scenario.fleet.heartbeat_interval_ns) - 1
    return Missed(float(turns.sum()), len(long_ns))


class _Gaps(NamedTuple):
    """The honest heartbeats, the time from each to its machine's next one, and which are the `last` of a machine.

    For the last ones, `long_ns` is the time to the end of the run.
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
    """Return which gaps fit a machine that abandoned a job: its silence and a few intervals, or up to the end."""
    if scenario.market is None or not scenario.market.offer.abandons:
        return np.zeros(len(gaps.last), dtype=np.bool_)
    silent_ns = scenario.market.offer.abandoned_for_ns
    turn_ns = scenario.fleet.heartbeat_interval_ns * (1 + scenario.fleet.jitter)
    least_ns = np.where(gaps.last, min(2 * turn_ns, silent_ns), silent_ns)
    return (gaps.long_ns >= least_ns) & (gaps.long_ns <= silent_ns + SILENT_TURNS * turn_ns)


def _within(history: History, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows were under way within the window of a fault that can prevent answers, or refused after it."""
    until_ns = np.where(rows["got"] == Answer.LOST, rows["sent_ns"] + losses_of(rows["status"])[1], rows["answered_ns"])
    return Excused(history).overlap(rows["sent_ns"], until_ns) | refused_after(history, rows)


# --- alerts


class Span(NamedTuple):
    """A period in which a fault may have moved an alert, in seconds; `sets_off` if it can have caused or hidden one."""

    since: float
    until: float
    sets_off: bool


def alert_spans(scenario: Scenario, history: History, gauge: str) -> list[Span]:
    """Return the periods in which a run's faults, with all that follows from them, may have moved an alert.

    For the alert of stale workers, machines that abandon jobs and fall silent count as well.
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
    """Return the periods in which the alert of auth failures may be on because a script lasted longer in one world.

    A script continues as it gets answers: a flood of requests takes as long as the server takes to answer. Such a
    period causes no alert that the other world does not have, because scripts begin at the same time in both.
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
    elif stale:  # a duplicated request does not count as a heartbeat
        return None
    if not stale:
        # Failures count for a whole window. A failure that comes a little later does not change their number.
        lasting = float(settings["WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS"])
        return Span(since, until + lasting + beat, fault.kind not in LATE_NETWORK_FAULTS or away - beat > lasting / 2)
    if fault.kind in DOWN_FAULTS and forgets(scenario) and scenario.fleet.silence:
        return Span(since, scenario.duration_ns / SECOND_NS, sets_off=True)  # a silent machine stays unknown from then
    return Span(since, until + beat, away >= float(settings[STALE_SECONDS]))
