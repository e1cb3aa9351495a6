"""What a terminal and a log get of a run, byte for byte; `python -m tests.view.states` writes it anew."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from tests.view.states import KINDS, WIDTHS, as_kept, capture, golden_of

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3|4|9|10)[0-9](?:;[0-9]+)*m")
LINE = re.compile(r"^(?:SIG|[0-9]+:[0-9]+  )")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_capture_is_as_it_was(kind: str, width: int) -> None:
    assert as_kept(capture(kind, width)) == golden_of(kind, width).read_bytes().decode()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_color_takes_colour_and_nothing_else(width: int) -> None:
    coloured, plain = capture("terminal-colour", width), capture("terminal", width)
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    assert CONTROL.sub("", plain) == CONTROL.sub("", coloured)


def test_a_log_has_no_escapes_and_does_not_go_by_a_width() -> None:
    logs = {capture(kind, width) for kind in ("log", "log-colour") for width in WIDTHS}
    assert len(logs) == 1
    assert "\x1b" not in logs.pop()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_in_place_is_wider_than_the_terminal_and_some_use_all_of_it(width: int) -> None:
    # What is drawn in place ends where the cursor goes up again.
    drawn = CONTROL.sub("\n", re.sub(r"\x1b\[[0-9;]*m", "", capture("terminal", width))).splitlines()
    widths = [cell_len(line) for line in drawn if not LINE.match(line)]
    assert max(widths) == width


@pytest.mark.parametrize("kind", KINDS)
def test_what_begins_and_ends_and_each_signal_is_one_line_everywhere(kind: str) -> None:
    lines = CONTROL.sub("\n", capture(kind, 80)).splitlines()
    for wanted in (
        "0:05  attack 1 replay.exact began",
        "0:07  alert worker auth failures began",
        "0:08  fault server.pause of server 2 began",
        "0:10  fault server.pause of server 2 ended after 2.0 s",
        "0:15  attack 1 replay.exact ended after 10.0 s: 80 sent",
        "0:25  alert worker auth failures ended after 18.0 s",
        "SIGTERM again: nothing is awaited any more, and what is known is judged.",
    ):
        assert [line.rstrip() for line in lines].count(wanted) == 1, wanted
