"""A run of thirty seconds as the view sees it at five moments, made by hand, and what a terminal got of them.

`python -m tests.view.states` writes the captures anew (`golden/`): look at what has changed before you keep it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from rich.console import Console

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.platform.console import PLAIN_COLUMNS
from simulator.view.showing import View
from simulator.view.state import ThresholdNow, ViewState
from simulator.worlds.progress import Kind, Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GOLDEN = Path(__file__).parent / "golden"
WIDTHS = (40, 80, 200)
KINDS = ("terminal-colour", "terminal", "log-colour", "log")
HEIGHT = 40
ESCAPE = "\x1b"
VISIBLE_ESCAPE = "␛"
"""In golden files, so that an editor shows them as they are."""
THRESHOLDS = (
    ThresholdNow("heartbeat.response_time", "p(99)<250ms", Status.PASS, "3.417 ms", 0.003417),
    ThresholdNow(
        "heartbeat.accepted", "rate>0.999", Status.FAIL, "0.98113 (9,412 of 9,593)", 0.98113, may_hold_later=True
    ),
    ThresholdNow("requests.lost", "count==0", Status.FAIL, "1", 1.0),
    ThresholdNow("market.response_time", "p(95)<1s", Status.INCONCLUSIVE),
    ThresholdNow("alerts.worker_auth_failures.cleared", "count>=1"),
)
UNKNOWN = tuple(ThresholdNow(one.metric, one.expression) for one in THRESHOLDS)


class Played:
    """Progress that has come to a moment: what has begun and ended is noted on the way."""

    def __init__(self) -> None:
        self.progress = Progress()

    def state(self, second: float, phase: Phase, **more: Any) -> ViewState:
        """Return the state of a moment, with what goes on then."""
        self.progress.phase = phase
        base = ViewState(
            name="two-alerts", seed=7, phase=phase, elapsed_ns=int(second * SECOND_NS), duration_ns=30 * SECOND_NS,
            machines_wanted=1000, machines_connected=1000, thresholds=UNKNOWN,
        )  # fmt: skip
        going = {"under_way": tuple(self.progress.under_way.values()), **more}
        return msgspec.structs.replace(base, **going)


def moments(played: Played) -> Iterator[ViewState]:
    """Yield the state at each moment of the run; what begins and ends before it is noted first."""
    progress = played.progress
    yield played.state(0, Phase.STARTING, machines_wanted=0, machines_connected=0)
    rates = tuple(min(40 * second, 330) - 13 * (second % 3) for second in range(1, 27))
    yield played.state(
        3, Phase.RAMPING, machines_connected=412, in_flight=9, accepted=208, rate=93.4, rates=rates[:1], p50_ms=1.2,
        p99_ms=9.94,
    )  # fmt: skip
    progress.begin(Kind.ATTACK, "replay.exact", 1, 5 * SECOND_NS)
    progress.begin(Kind.ATTACK, "replay.exact", 2, 6 * SECOND_NS)
    progress.see_alert("worker auth failures", 7 * SECOND_NS, on=True)
    progress.begin(Kind.FAULT, "server.pause", 1, 8 * SECOND_NS)
    busy = played.state(
        9.5, Phase.RUNNING, in_flight=38, held_up=12, dropped_starts=1, accepted=2_341, refused=2, lost=1, rate=318.0,
        rates=rates[:8], p50_ms=2.34, p99_ms=1_040.0, attacks_refused=131, attacks_accepted=1, attacks_other=3,
        thresholds=THRESHOLDS, thresholds_at_ns=8 * SECOND_NS,
    )  # fmt: skip
    yield busy
    progress.end(Kind.FAULT, "server.pause", 1, 10 * SECOND_NS)
    progress.end(Kind.ATTACK, "replay.exact", 1, 15 * SECOND_NS, "80 sent")
    progress.end(Kind.ATTACK, "replay.exact", 2, 15 * SECOND_NS, "not tried: it needs a server of the run's own")
    progress.see_alert("worker auth failures", 25 * SECOND_NS, on=False)
    later = msgspec.structs.replace(
        busy, elapsed_ns=29 * SECOND_NS, under_way=(), rates=rates, in_flight=0, accepted=8_654, attacks_refused=2_131,
        jobs_posted=12, jobs_ended=9, withdrawals_asked=3, withdrawals_settled=2,
        last_problem="scrape: the connection was closed before an answer came, as [red]no markup[/] does",
    )  # fmt: skip
    yield later
    progress.phase = Phase.LAST_ANSWERS
    yield msgspec.structs.replace(later, phase=Phase.LAST_ANSWERS, in_flight=3)
    progress.phase = Phase.AUDIT
    yield msgspec.structs.replace(later, phase=Phase.AUDIT, times_as_fast=112.6)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Replayed:
    """Has moments one after the other, in place of looking at a run."""

    def __init__(self, states: Iterator[ViewState]) -> None:
        self._states = states

    def look(self) -> ViewState:
        """Return the next one."""
        return next(self._states)


def console_for(kind: str, width: int) -> Console:
    """Return a console that writes to memory: a terminal or a log, with colour or without."""
    on_terminal = kind.startswith("terminal")
    return Console(
        file=io.StringIO(), force_terminal=on_terminal, width=width if on_terminal else PLAIN_COLUMNS, height=HEIGHT,
        color_system="auto", no_color=not kind.endswith("colour"), highlight=False, soft_wrap=True,
        legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip


def capture(kind: str, width: int, states: Callable[[Played], Iterator[ViewState]] = moments) -> str:
    """Return all that such a terminal, or such a log, gets of a run that is interrupted twice at its end."""
    console, played, clock = console_for(kind, width), Played(), Clock()
    looks = Replayed(states(played))
    view = View(console, cast("Any", looks), played.progress, 30 * SECOND_NS, clock)
    with view:
        for _ in range(3):
            clock.seconds += 5
            view.look()
        view.acknowledge("SIGINT", again=False)
        for _ in range(2):
            clock.seconds += 5
            view.look()
        view.acknowledge("SIGTERM", again=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def golden_of(kind: str, width: int) -> Path:
    """Return where a capture is kept."""
    return GOLDEN / f"{kind}-{width}.txt"


def as_kept(text: str) -> str:
    """Return a capture as it is kept: the escapes can be seen."""
    return text.replace(ESCAPE, VISIBLE_ESCAPE)


def write_all(kinds: Sequence[str] = KINDS, widths: Sequence[int] = WIDTHS) -> None:
    """Write every capture anew."""
    GOLDEN.mkdir(exist_ok=True)
    for kind in kinds:
        for width in widths:
            golden_of(kind, width).write_text(as_kept(capture(kind, width)), encoding="utf-8", newline="")


if __name__ == "__main__":
    write_all()
