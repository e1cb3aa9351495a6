"""Text that servers chose: shown as it is, and nothing in it acts on whoever reads a report."""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reference_server.wire.visible_text import visible
from simulator.report.text import markdown, one_line, shortened
from tests.report.runs import HOSTILE

anything = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(
    [HOSTILE, "1. x", "- x", "+ x", "= x", "www.evil.example", "_x_ a_b_c", ":smile: a: b", "$x$ ~~y~~ @you #1", "a  "]
)
readers = MarkdownIt("gfm-like", {"linkify": False})


class _Page(HTMLParser):
    """Collects text and elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 中文, ✔", "plain, ünïcode, 中文, ✔"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x00", r"\x1b[31mred\x00"),
        ("\r\x85", r"\x0d\x85"),
        ("\u202eright to left\u2028\ud800\uffff", r"\u202eright to left\u2028\ud800\uffff"),
        ("\U000e0041\U0010ffff", r"\U000e0041\U0010ffff"),
    ],
)
def test_what_is_not_seen_becomes_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(anything)
def test_visible_text_is_printable_and_fit_for_utf8_and_xml(text: str) -> None:
    shown = visible(text)
    assert all(one in "\n\t" or unicodedata.category(one)[0] != "C" for one in shown)
    element = ET.Element("a", {"b": one_line(text)})
    element.text = shown
    again = ET.fromstring(ET.tostring(element, encoding="utf-8"))  # noqa: S314 - what was just written
    assert (again.text or "", again.get("b")) == (shown, one_line(text))


@given(anything)
def test_one_line_is_one(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(anything)
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    """In a paragraph, a list and a table's cell: no element comes of it, and no cell ends before it should."""
    written = markdown(text)
    page = _Page(readers.render(f"| a | b |\n|---|---|\n| {written} | end |\n\n- {written}\n\n. {written}\n"))
    assert page.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "ul", "li", "p"]
    # White space at the edges of a line is nobody's: Markdown leaves it out.
    shown = " ".join(one_line(text).split())
    lines = [" ".join(line.split()) for line in page.text.split("\n")]
    assert [line for line in lines if line] == [
        line for line in ("a", "b", shown, "end", shown, f". {shown}".strip()) if line
    ]


def test_markdown_leaves_what_people_read_readable() -> None:
    assert markdown("hatchfarm_workers_total was 3.5, possible was 1 to 2 (at 2.000s)") == (
        "hatchfarm_workers_total was 3.5, possible was 1 to 2 (at 2.000s)"
    )


def test_a_long_text_is_cut_and_says_so() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "abc … (1 more character)"
