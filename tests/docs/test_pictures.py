"""The README's pictures: small, of a run that passed, and loading nothing from elsewhere."""

from __future__ import annotations

import re

from tests.docs.pictures import REPORT, TERMINAL, terminal_picture
from tests.support.pages import README, ROOT

BYTES_MAX = 150_000
ELSEWHERE = re.compile(r"(?:href|src)\s*=|url\(\s*[\"']?(?!#)")


def test_they_are_small_and_shown() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert [ROOT / path for path in shown] == [TERMINAL, REPORT]
    assert sum(path.stat().st_size for path in (TERMINAL, REPORT)) < BYTES_MAX


def test_the_terminal_loads_nothing_and_shows_a_pass() -> None:
    svg = TERMINAL.read_text(encoding="utf-8")
    assert ELSEWHERE.findall(svg) == []
    assert "PASS" in svg
    assert "Results:" not in svg


def test_of_what_a_command_prints_what_it_takes_back_is_left_out() -> None:
    svg = terminal_picture(
        "\x1b[1mone\x1b[0m\n\x1b[?25lvanishing\x1b[2Kreplaced\n\x1b[?25h\x1b[1A\x1b[2K\x1b[32mtwo\x1b[0m\nResults: x\n"
    )
    assert all(word in svg for word in ("one", "two"))
    assert not any(word in svg for word in ("vanishing", "replaced", "Results", "@font-face"))
