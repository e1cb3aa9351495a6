"""The plots: SVG that a page can hold, in the page's own colours, whatever there is to draw."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import cache
from typing import TYPE_CHECKING

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.history.rows import History
from simulator.report.drawing import COLOURS, Plot
from simulator.report.figures import draw_plots
from tests.report.runs import broken, long_run, record, report_input, uneventful
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.judging.record import RunRecord
    from simulator.report.report_input import ReportInput

TITLES = [
    "What happened when",
    "Rate",
    "Response time",
    "Fleet freshness",
    "Alert: stale workers",
    "Alert: worker auth failures",
    "Generator health",
    "Distribution of response times",
]


def plots_of(made: ReportInput) -> list[Plot]:
    from simulator.checkers.possible import possible  # noqa: PLC0415 - only here

    return draw_plots(made, list(possible(made.history, made.record.facts)))


@cache
def plots_made_by(make: Callable[[], tuple[RunRecord, History]]) -> list[Plot]:
    """Return the plots of a run that is always the same: to draw them takes seconds, to look at them none."""
    return plots_of(report_input(make()))


@pytest.fixture(scope="module", params=[uneventful, broken], ids=["uneventful", "broken"])
def plots(request: pytest.FixtureRequest) -> list[Plot]:
    return plots_made_by(request.param)


def test_there_is_one_for_each_question(plots: list[Plot]) -> None:
    assert [one.title for one in plots] == TITLES


def test_they_are_whole_elements_that_refer_to_nothing_outside_themselves(plots: list[Plot]) -> None:
    identifiers: list[str] = []
    for drawing in [drawing for one in plots for drawing in (one.wide, one.narrow)]:
        root = ET.fromstring(drawing)  # noqa: S314 - it was drawn a moment ago
        assert root.tag == "svg"
        assert {"viewBox", "aria-hidden"} <= set(root.attrib)
        assert not {"width", "height", "style"} & set(root.attrib)
        assert {element.tag for element in root.iter()} <= {
            "svg",
            "defs",
            "g",
            "path",
            "rect",
            "text",
            "use",
            "clipPath",
            "title",
        }
        own = [value for element in root.iter() if (value := element.get("id"))]
        used = re.findall(r'(?:href="|url\()#([^)"]+)', drawing)
        assert len(used) == len(re.findall(r"href=|url\(", drawing))
        assert set(used) == set(own)
        identifiers += own
    assert len(identifiers) == len(set(identifiers))


def test_every_colour_is_the_pages_own(plots: list[Plot]) -> None:
    """So a report follows its reader's light or dark theme."""
    for one in plots:
        assert not re.search(r"#[0-9a-f]{6}|rgb\(", one.wide + one.narrow)
        assert set(re.findall(r"var\(--([a-z]+)\)", one.wide)) <= set(COLOURS)


def test_text_stays_text_and_names_its_lines(plots: list[Plot]) -> None:
    texts = {element.text for element in ET.fromstring(plots[2].wide).iter("text")}  # noqa: S314 - as above
    assert {"p50", "p90", "p99", "Percentiles"} <= texts
    assert "0:00" in texts


def test_the_same_run_is_drawn_the_same() -> None:
    assert plots_of(report_input(broken())) == plots_made_by(broken)


def test_each_says_in_words_what_it_shows() -> None:
    output = {one.title: one.alternative for one in plots_made_by(broken)}
    assert output["Fleet freshness"] == "Fresh, stale and unknown workers over time; 2 values were impossible."
    assert output["Alert: stale workers"].startswith("Stale workers over time; 1 values were impossible.")
    assert "None was refused" in next(one.caption for one in plots_made_by(broken) if one.title == "Rate")


def test_what_was_not_recorded_is_not_drawn() -> None:
    run, history = uneventful()
    history.generator.clear()
    history.scrapes.clear()
    assert [one.title for one in plots_of(report_input((run, history)))] == [*TITLES[:3], TITLES[-1]]
    assert plots_of(report_input((record(run.facts, elapsed_ns=0), History()))) == []


def test_a_run_without_a_single_answer_can_be_drawn() -> None:
    run, history = uneventful()
    history.rows()["answered_ns"] = 2**63 - 1
    history.rows()["got"] = 17
    drawn = plots_of(report_input((run, history)))
    (latency,) = [one for one in drawn if one.title == "Response time"]
    assert "Distribution of response times" not in [one.title for one in drawn]
    assert latency.alternative == "Response times of honest heartbeats over time: nothing was answered."


@pytest.mark.parametrize("elapsed_ns", [1, *([10 * SECOND_NS] if SOAK else ()), 7 * 86_400 * SECOND_NS])
def test_a_plot_is_small_however_long_the_run(elapsed_ns: int) -> None:
    run, history = long_run(200, 600)
    drawn = plots_of(report_input((record(run.facts, elapsed_ns=elapsed_ns), history)))
    assert max(len(one.wide) for one in drawn) < 100_000
