"""`summary.md`: short, verdict first, and nothing a server says acts on the page of a CI job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from simulator.report.summary import summary_markdown
from simulator.report.text import one_line
from tests.report.pages import Page
from tests.report.runs import HOSTILE, broken, failing, hostile, report_input, uneventful, unknown, with_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from simulator.report.report_input import ReportInput

reader = MarkdownIt("gfm-like", {"linkify": False})


def page_of(made: ReportInput) -> Page:
    return Page(reader.render(summary_markdown(made).decode()))


@pytest.mark.parametrize(
    ("make", "title"),
    [(uneventful, "✅ PASS: by-hand"), (broken, "❌ FAIL: by-hand"), (unknown, "❓ INCONCLUSIVE: by-hand")],
)
def test_the_verdict_is_its_title(make: Callable[[], tuple[RunRecord, History]], title: str) -> None:
    assert page_of(report_input(make())).texts("h2") == [title]


def test_failures_come_before_the_table_with_a_few_of_their_findings() -> None:
    made = with_verdicts(report_input(broken()), failing("alerts", 12))
    text = summary_markdown(made).decode()
    assert text.index("**fail alerts**: alerts failed.") < text.index("| check or threshold |")
    assert page_of(made).texts("li")[:6] == [
        "finding 0", *(f"finding {number} (at {number}.000 s)" for number in range(1, 5)), "and 7 more in verdict.json",
    ]  # fmt: skip


def test_tables_hold_every_verdict_and_attack() -> None:
    made = report_input(broken())
    page = page_of(made)
    judged = [*made.verdict.checkers, *made.verdict.thresholds]
    assert len(page.all("tr")) == 2 + len(judged) + len(made.verdict.attacks)
    assert "❌ fail replay.exact 6 5 1 1 0 what it claims" in page.texts("tr")
    assert page.texts("summary") == ["Attacks (1 campaign)"]


def test_it_ends_with_the_line_that_reproduces_it() -> None:
    assert page_of(report_input(broken())).texts("pre") == ["hatchfarm run scenarios/by-hand.toml --seed 7"]


def test_hostile_text_stays_text() -> None:
    page = page_of(report_input(hostile()))
    assert {one.tag for one in page.elements} <= {
        "h2", "p", "strong", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "pre", "code",
        "details", "summary",
    }  # fmt: skip
    assert len(page.all("tr")) == 2 + len(report_input(hostile()).verdict.checkers) + 1
    assert page.texts("h2") == [f"❌ FAIL: {' '.join(one_line(HOSTILE).split())}"]
    assert len(page.all("pre")) == 1


def test_it_is_short_enough_for_every_ci_system() -> None:
    made = with_verdicts(
        report_input(broken()), *(failing(f"checker-{number}", 20, request="x" * 9999) for number in range(20))
    )
    assert len(summary_markdown(made)) < 64_000
