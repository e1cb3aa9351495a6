"""What is drawn of any moment fits the terminal, says what there is, and needs no colour to say it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.view.drawing import draw, sparkline
from simulator.view.lines import line, pace_seconds
from simulator.view.state import ThresholdNow, ViewState
from simulator.view.wording import acknowledgement, second_acknowledgement, time_text, waits_for
from simulator.worlds.progress import Happening, Kind, Phase
from tests.view.states import THRESHOLDS

THRESHOLD_NAMES = (
    ("requests.lost", "count==0"), ("alerts.worker_auth_failures.cleared", "p(99.999)<=1000000ms"),
    ("campaign.200.accepted", "rate>0.5"),
)  # fmt: skip
NAMES = ("replay.exact", "stale workers", "x" * 90)
odd_texts = st.sampled_from(["", "farm", "a b/c.d_e " * 12, "x" * 300, "[red]x[/]\n\x1b[2J\ttab", "漢字 and é́ ☃" * 9])


@st.composite
def states(draw: st.DrawFn) -> ViewState:
    """Draw a moment of any run: few choices, each of which decides much, as drawing a value costs most."""
    size = draw(st.sampled_from([0, 1, 999, 1_000_000, 10**9]))
    elapsed_ns, duration_ns = (
        draw(st.sampled_from([0, SECOND_NS // 2, 7 * SECOND_NS, 10**6 * SECOND_NS])) for _ in range(2)
    )
    many, text, measured = draw(st.integers(0, 12)), draw(odd_texts), draw(odd_texts)
    statuses = [None, *Status]
    return ViewState(
        name=draw(odd_texts), seed=1, phase=draw(st.sampled_from(Phase)),
        elapsed_ns=elapsed_ns, duration_ns=duration_ns,
        machines_connected=size // 2, machines_wanted=size, in_flight=size, held_up=size, dropped_starts=size // 3,
        accepted=size, refused=size, lost=size, rate=size / 3, rates=tuple(range(many * 9)),
        p50_ms=size / 7 if size else None, p99_ms=size * 1.5 if size else None, attacks_refused=size,
        attacks_accepted=size // 2, attacks_other=size // 5, jobs_posted=size, withdrawals_asked=size // 4,
        under_way=tuple(Happening(list(Kind)[n % 3], NAMES[n % 3], n, n * SECOND_NS) for n in range(many)),
        thresholds=tuple(
            ThresholdNow(*THRESHOLD_NAMES[n % 3], statuses[n % len(statuses)], measured if n % 2 else "")
            for n in range(12 - many)
        ),
        thresholds_at_ns=elapsed_ns if many else None, last_problem=text, times_as_fast=size / 9 if many % 2 else None,
    )  # fmt: skip


@given(state=states(), width=st.integers(1, 250), height=st.integers(1, 60), ascii_only=st.booleans())
def test_any_moment_fits_any_terminal(state: ViewState, width: int, height: int, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    lines = draw(state, width, height, ascii_only=ascii_only)
    assert 1 <= len(lines) <= height
    assert max(cell_len(one.plain) for one in lines) <= width
    assert not any("\n" in one.plain or "\x1b" in one.plain for one in lines)


@given(state=states())
def test_any_moment_is_one_line_of_a_log(state: ViewState) -> None:
    assert len(line(state).splitlines()) == 1


def moment(**more: object) -> ViewState:
    base = ViewState(name="farm", seed=1, phase=Phase.RUNNING, elapsed_ns=5 * SECOND_NS, duration_ns=10 * SECOND_NS)
    return msgspec.structs.replace(base, **more)


def text_of(state: ViewState, width: int = 80, height: int = 60, *, ascii_only: bool = False) -> str:
    return "\n".join(one.plain for one in draw(state, width, height, ascii_only=ascii_only))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_left_out_where_there_is_height(width: int) -> None:
    names = [f"{one.metric}: {one.expression}" for one in THRESHOLDS]
    shown = "".join(text_of(moment(thresholds=THRESHOLDS), width).split())
    for name in names:
        assert all(part in shown for part in name.split()), name


def test_where_there_is_no_room_for_all_thresholds_those_that_fail_are_shown() -> None:
    many = tuple(ThresholdNow("requests.lost", f"count<{number}", Status.PASS, "1") for number in range(40))
    missed = ThresholdNow("requests.total", "count>9", Status.FAIL, "1", may_hold_later=True)
    failing = ThresholdNow("requests.lost", "count<1", Status.FAIL, "1")
    low = text_of(moment(thresholds=(*many, missed, failing)), height=18)
    assert low.index("fails   requests.lost: count<1") < low.index("not now requests.total: count>9")
    assert "and 3" in low


def test_a_log_tells_what_cannot_hold_any_more_from_what_does_not_hold_now() -> None:
    held = ThresholdNow("requests.total", "count>0", Status.PASS, "1")
    missed = ThresholdNow("requests.total", "count>9", Status.FAIL, "1", may_hold_later=True)
    failing = ThresholdNow("requests.lost", "count==0", Status.FAIL, "1")
    shown = line(moment(thresholds=(failing, missed, missed, held))).partition("thresholds ")[2]
    not_now = "2 not now: requests.total: count>9 (measured 1); requests.total: count>9 (measured 1)"
    assert shown == f"1 hold, {not_now}, 1 fail: requests.lost: count==0 (measured 1)"


def test_of_much_that_goes_on_faults_and_alerts_are_named_and_the_rest_is_counted() -> None:
    attacks = [Happening(Kind.ATTACK, "replay.exact", number, 0) for number in range(1, 41)]
    others = [Happening(Kind.FAULT, "server.kill", 0, 0), Happening(Kind.ALERT, "stale workers", 0, SECOND_NS)]
    shown = text_of(moment(under_way=(*attacks, *others)))
    assert "fault server.kill, 5 s" in shown
    assert "alert stale workers, 4 s" in shown
    assert "and 36 more" in shown


def test_the_bar_and_the_curve_grow_with_the_run() -> None:
    assert sparkline([0, 1, 2, 4], 8, 8) == "▁▃▅█"
    assert sparkline([1, 3, 4, 4, 9], 8, 4) == "▅█", "a column that is not whole is not shown"
    assert sparkline([5], 2, 6, ascii_only=True) == "###"
    assert sparkline([], 10, 20) == sparkline([0, 0], 2, 0) == ""
    assert text_of(moment(), 26, ascii_only=True).splitlines()[1] == "##########...........  50%"[:26]


def test_times_are_read_like_a_clock() -> None:
    assert [time_text(int(one * SECOND_NS)) for one in (-1, 0, 9.99, 61, 3600 * 25 + 62)] == [
        "0:00", "0:00", "0:09", "1:01", "25:01:02",
    ]  # fmt: skip


def test_a_log_gets_a_line_every_five_seconds_and_of_a_long_run_sixty_lines() -> None:
    assert [pace_seconds(seconds * SECOND_NS) for seconds in (1, 300, 600, 3600, 86_400)] == [5, 5, 10, 60, 60]


@pytest.mark.parametrize("phase", Phase)
def test_what_is_waited_for_is_said_in_every_phase_and_so_is_what_a_signal_ends(phase: Phase) -> None:
    playing = phase in {Phase.RAMPING, Phase.RUNNING}
    assert waits_for(moment(phase=phase)) or playing
    assert waits_for(moment(phase=phase, in_flight=2, machines_wanted=9, machines_connected=8))
    assert "SIGINT" in acknowledgement("SIGINT", phase)
    assert "SIGINT" in second_acknowledgement("SIGINT", phase)
    ends_at_once = "A second signal ends it at once" in acknowledgement("SIGINT", phase)
    assert ends_at_once is (playing or phase in {Phase.LAST_ANSWERS, Phase.ACCOUNTS, Phase.AUDIT})
