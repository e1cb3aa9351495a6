"""One scale of time under all plots: what happened is marked on it, and figures can be read by pointing."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.possible import possible
from simulator.history.records import Death, Fault, WallReading
from simulator.history.rows import NEVER_NS
from simulator.judging.record import EndedEarly
from simulator.limits import ATTACK_LANES_MAX, HOVER_AREAS_MAX, SPANS_DRAWN_MAX
from simulator.report import series
from simulator.report.drawing import WIDE, Mark
from simulator.report.over_time import Figure, RunClock, RunTime, clock_of
from simulator.report.plots import plot_latencies, plot_rates
from simulator.report.run_facts import server_settings
from simulator.report.spans import Span, SpanKind, spans_of
from simulator.report.summed_plots import plot_distribution, plot_spans
from simulator.scenario.overriding import Overrides
from simulator.scenario.thresholds import parse_threshold
from tests.report.runs import SCENARIO, report_input, uneventful

if TYPE_CHECKING:
    from simulator.report.report_input import ReportInput

SILENT = SCENARIO.replace("machines = 2", 'machines = 2\nsilence = [{ share = 0.5, at = "20s", duration = "5s" }]')
CLOCK = RunClock(datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC))


def eventful() -> ReportInput:
    """Return a run with one thing of each kind."""
    run, history = uneventful(ended_early=EndedEarly("requests.lost", "count==0", 39 * SECOND_NS, "3"))
    second = SECOND_NS
    history.faults.append(Fault("server.kill", 5 * second, 5 * second + 1, 8 * second, 9 * second))
    history.faults.append(Fault("server.pause", 30 * second, 30 * second, NEVER_NS, NEVER_NS, "no such process"))
    history.deaths.append(Death("server 0", 33 * second, 34 * second, -9))
    return report_input((run, history), SILENT)


def titles(drawing: str) -> list[str]:
    """Return the words that a drawing shows to who points at it."""
    return [one.text or "" for one in ET.fromstring(drawing).iter("title")]  # noqa: S314 - it was drawn a moment ago


def test_a_run_is_known_by_its_faults_silences_attacks_alerts_deaths_and_end() -> None:
    made = eventful()
    bounds = list(possible(made.history, made.record.facts))
    spans = [(one.title, one.start, one.end) for one in spans_of(made, bounds)]
    alert = next(one for one in spans if one[0] == "alert on: worker auth failures")
    assert [one for one in spans if one is not alert] == [
        ("fault: server.kill", 5, 9),
        ("fault: server.pause", 30, 40),
        ("silence: 50% of 2 machines", 20, 25),
        ("attack: replay.exact", pytest.approx(10.3), pytest.approx(14.3)),
        ("server died: server 0", 33, 34),
        ("ended early: requests.lost count==0", 39, 39),
    ]
    assert 12 < alert[1] < alert[2] < 40


def test_silences_and_settings_are_those_that_ran_and_not_those_of_the_file() -> None:
    given = Overrides(values=('fleet.silence=[{ share = 1.0, at = "3s", duration = "4s" }]', "server.settings.A=9"))
    run, history = uneventful(changes=tuple(given.changes({})))
    text = SILENT.replace("[fleet]", '[server.settings]\nA = 1\nB = "${FARM}"\n[fleet]')
    made = report_input((run, history), text)
    silences = [(one.name, one.start, one.end) for one in spans_of(made, []) if one.kind is SpanKind.SILENCE]
    assert silences == [("100% of 2 machines", 3, 7)]
    assert server_settings(made) == [("A", "9"), ("B", "${FARM}")]


@pytest.mark.parametrize("text", ["", "no TOML", "fleet = 3", '[fleet]\nsilence = [{ share = 7, at = "x" }]', "\ufeff"])
def test_a_scenario_that_cannot_be_read_tells_of_no_silence(text: str) -> None:
    run = uneventful()
    assert not [one for one in spans_of(report_input(run, text), []) if one.kind is SpanKind.SILENCE]


def test_spans_are_bounded_however_many_faults_there_were() -> None:
    made = eventful()
    made.history.faults.extend([Fault("server.kill", 0, 0, 1, 1)] * 1000)
    assert len(spans_of(made, [])) == SPANS_DRAWN_MAX


def test_all_plots_over_time_have_the_same_ticks_at_the_same_places() -> None:
    made = eventful()
    time = RunTime(40, spans_of(made, []), CLOCK)
    elapsed_ns = made.record.elapsed_ns
    drawn = [
        plot_spans(time),
        plot_rates(series.rates(made.history, elapsed_ns), time),
        plot_latencies(series.latencies(made.history, elapsed_ns), time),
    ]
    places = []
    for plot in drawn:
        assert plot is not None
        texts = ET.fromstring(plot.wide).iter("text")  # noqa: S314 - as above
        places.append({one.text: (one.get("style"), one.get("transform"), one.get("x")) for one in texts})
    for tick in ("0:00", "0:20", "0:40"):
        across = {re.findall(r"[0-9.]+", "".join(filter(None, place[tick][1:])))[0] for place in places}
        assert len(across) == 1, (tick, across)


def test_what_happened_is_marked_once_where_it_overlaps_and_alerts_are_not() -> None:
    spans = [
        Span(SpanKind.ATTACK, "a", 1, 5),
        Span(SpanKind.ATTACK, "b", 4, 9),
        Span(SpanKind.ATTACK, "c", 20, 22),
        Span(SpanKind.ALERT, "stale workers", 3, 30),
        Span(SpanKind.END, "x", 39, 39),
    ]
    marks = RunTime(40, spans, CLOCK).scale().marks
    assert marks == [Mark(1, 9, "violet"), Mark(20, 22, "violet"), Mark(39, 39, "red")]


def test_pointing_shows_the_figures_the_wall_clock_and_what_happened_meanwhile() -> None:
    made = eventful()
    time = RunTime(40, spans_of(made, []), CLOCK)
    shown = titles(plot_rates(series.rates(made.history, made.record.elapsed_ns), time).wide)
    assert len(shown) == 40
    assert shown[12].splitlines() == [
        "0:12 to 0:13, about 03:04:17.678 UTC",
        "sent 2/s",
        "accepted 2/s",
        "refused 0/s",
        "no answer 0/s",
        "hostile 1/s",
        "during attack: replay.exact",
    ]
    assert "during fault: server.kill" in shown[6]


def test_a_piece_of_a_long_run_shows_the_least_and_the_most_and_pieces_are_bounded() -> None:
    at = np.arange(6000.0)
    time = RunTime(6000, (), RunClock(None))
    areas = time.areas([Figure("x", at, at % 40, lambda value: f"{value:g}")])
    found = areas(HOVER_AREAS_MAX)
    assert len(found) == HOVER_AREAS_MAX
    assert {one.text.splitlines()[1] for one in found} == {"x 0 to 39"}
    assert found[0].text.splitlines()[0] == "0:00 to 0:40"
    assert (found[0].start, found[-1].end) == (0, 6000)
    assert areas(3)[1].start == 2000


def test_nothing_can_be_pointed_at_where_nothing_was_seen() -> None:
    nothing = Figure("x", np.array([1.0, 2.0]), np.array([np.nan, np.nan]), str)
    assert RunTime(10, (), CLOCK).areas([nothing])(10) == []


def test_the_drawing_of_what_happened_has_a_bar_for_each_and_a_lane_for_most() -> None:
    many = [Span(SpanKind.ATTACK, f"attack-{number}", number, number + 1) for number in range(ATTACK_LANES_MAX + 5)]
    plot = plot_spans(RunTime(40, many, CLOCK))
    assert plot is not None
    assert len(titles(plot.wide)) == len(many)
    assert "attack: 5 others" in plot.wide
    assert plot_spans(RunTime(40, (), CLOCK)) is None


def test_words_of_a_drawing_are_only_words() -> None:
    plot = plot_spans(RunTime(40, [Span(SpanKind.FAULT, "<script>$x$</script>\x00", 1, 2, "]]>&<b>")], CLOCK))
    assert plot is not None
    assert titles(plot.wide)[0].startswith("fault: <script>$x$</script>\\x00")
    assert "<script" not in plot.wide
    assert "<b>" not in plot.wide


def test_thresholds_are_drawn_where_their_figure_is() -> None:
    made = eventful()
    time = RunTime(40, (), CLOCK)
    slow = [parse_threshold("heartbeat.response_time", "p(95)<250ms")]
    assert "p(95)&lt;250ms" in plot_latencies(series.latencies(made.history, 40 * SECOND_NS), time, slow).wide
    rate = [parse_threshold("heartbeat.rate", "median>=2")]
    assert "median&gt;=2" in plot_rates(series.rates(made.history, 40 * SECOND_NS), time, rate).wide


def test_the_distribution_counts_every_answer_once_and_marks_percentiles_and_thresholds() -> None:
    taken = np.concatenate([np.full(99, 0.002), [0.5], [np.inf]])
    slow = [parse_threshold("heartbeat.response_time", "p(99)<100ms")]
    plot = plot_distribution(taken, slow)
    assert plot is not None
    counts = [int(re.findall(r"\n([0-9,]+) heartbeat", words)[0]) for words in titles(plot.wide)]
    assert (sum(counts), counts[0], counts[-1]) == (100, 99, 1)
    assert "p(99)&lt;100ms" in plot.wide
    assert "100 honest heartbeats: p50 2 ms, p99 2 ms, from 2 ms to 500 ms" in plot.alternative
    assert plot_distribution(np.array([np.inf])) is None
    assert plot_distribution(np.array([0.003])) is not None


def test_a_runs_clock_is_the_one_that_was_read_else_when_it_says_it_was_started() -> None:
    run, history = uneventful()
    assert clock_of(report_input((run, history))).text(1_500_000_000) == "about 03:04:07.178 UTC"
    history.wall_readings.append(WallReading(SECOND_NS, SECOND_NS, 1_767_323_046 * SECOND_NS))
    clock = clock_of(report_input((run, history)))
    assert clock.text(0) == "03:04:05.000 UTC"
    assert clock.at(10**30) is None
    nobody = clock_of(report_input((msgspec.structs.replace(run, started_at="once"), uneventful()[1])))
    assert (nobody.at(0), nobody.text(0)) == (None, "")


def test_wide_drawings_leave_room_for_what_is_written_beside_them() -> None:
    assert WIDE.left < WIDE.width / 10
