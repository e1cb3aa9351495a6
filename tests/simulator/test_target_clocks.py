"""Reading a target's clock, with two ends, off what it shows."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.facts import ClockFacts
from simulator.client.checking import CLOCK_READINGS, read_target_clock
from simulator.fleet.clocks import ClockBounds, clock_bounds
from simulator.judging.facts import clock_facts
from tests.simulator.conftest import HANG_UP, Reaction, ScriptedServer, answer, serving

START_NS = 1_790_000_000 * SECOND_NS


@given(
    off_ns=st.integers(-(10**13), 10**13),
    there_ns=st.integers(0, 10**10),
    back_ns=st.integers(0, 10**10),
    digits=st.integers(0, 9),
)
def test_the_true_difference_is_always_within_the_bounds(off_ns: int, there_ns: int, back_ns: int, digits: int) -> None:
    """Wherever between the two ends the clock was read, and however few of its digits are shown."""
    read_ns = START_NS + there_ns
    whole_ns = 10 ** (9 - digits)
    cut_ns = (read_ns + off_ns) // whole_ns * whole_ns
    seconds, fraction_ns = divmod(cut_ns, SECOND_NS)
    fraction = f".{fraction_ns:09d}"[: digits + 1] if digits else ""
    shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
    bounds = clock_bounds(shown, START_NS, read_ns + back_ns)
    assert bounds is not None
    assert bounds.low_ns <= off_ns <= bounds.high_ns
    assert bounds.width_ns == there_ns + back_ns + whole_ns


@pytest.mark.parametrize("shown", ["", "yesterday", "2026-01-01", "2026-13-01T00:00:00Z"])
def test_what_is_no_timestamp_tells_no_time(shown: str) -> None:
    assert clock_bounds(shown, 0, 1) is None


@pytest.mark.parametrize(("low", "high", "surely_off"), [(-1, 1, 0), (0, 5, 0), (3, 5, 3), (-7, -2, 2), (-1, 0, 0)])
def test_how_far_it_is_surely_off(low: int, high: int, surely_off: int) -> None:
    assert ClockBounds(low, high).surely_off_ns == surely_off


@pytest.mark.parametrize(
    ("shown", "facts"),
    [
        (None, ClockFacts()),
        (ClockBounds(-SECOND_NS, SECOND_NS), ClockFacts((-SECOND_NS, SECOND_NS))),
        (ClockBounds(SECOND_NS, 3 * SECOND_NS), ClockFacts((SECOND_NS, 3 * SECOND_NS))),
        (ClockBounds(2 * SECOND_NS, 4 * SECOND_NS), ClockFacts((2 * SECOND_NS, 4 * SECOND_NS), None, 3 * SECOND_NS)),
        (
            ClockBounds(-4 * SECOND_NS, -2 * SECOND_NS),
            ClockFacts((-4 * SECOND_NS, -2 * SECOND_NS), None, -3 * SECOND_NS),
        ),
    ],
)
def test_machines_go_by_another_clock_only_where_it_surely_is_another(
    shown: ClockBounds | None, facts: ClockFacts
) -> None:
    assert clock_facts(shown) == facts


async def test_the_real_servers_clock_is_read_to_within_a_second() -> None:
    async with serving() as (_, target):
        bounds = await read_target_clock(target)
    assert bounds is not None
    assert bounds.low_ns <= 0 <= bounds.high_ns
    assert bounds.width_ns < 2 * SECOND_NS


def healthy(body: bytes, *lines: str) -> Reaction:
    return Reaction((answer(200, body, *lines),))


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"status":"healthy","timestamp":"%b"}', ""),
        (b'{"status":"healthy","timestamp":"%b"}', f"Date: {formatdate(0, usegmt=True)}"),
        (b'{"status":"healthy"}', "Date: "),
        (b'{"timestamp":"noon"}', "date: "),
        (b"[" * 50_000, "date: "),
    ],
    ids=["timestamp", "rather than Date", "Date", "Date instead of nonsense", "Date instead of nesting"],
)
async def test_the_health_page_tells_the_time_and_a_date_where_it_does_not(
    scripted: ScriptedServer, body: bytes, line: str
) -> None:
    """A server an hour ahead: `%b` and an open `Date` become its time."""
    ahead_ns = (time.time_ns() + 3600 * SECOND_NS) // MILLISECOND_NS * MILLISECOND_NS  # noqa: TID251 - judging clocks
    shown = line + formatdate(ahead_ns / 1e9, usegmt=True) if line.endswith(": ") else line
    scripted.script = [healthy(body.replace(b"%b", format_timestamp(ahead_ns).encode()), *filter(None, [shown]))]
    bounds = await read_target_clock(scripted.target)
    assert bounds is not None
    assert abs(bounds.middle_ns - 3600 * SECOND_NS) < 120 * SECOND_NS


@pytest.mark.parametrize(
    "reaction",
    [
        healthy(b"{}"),
        healthy(b"\xff", "Date: Tue, 99 Foo 2026"),
        healthy(b'{"timestamp":5}', "Date: Sat, 01 Jan 99999 00:00:00 GMT"),
        HANG_UP,
    ],
)
async def test_a_target_that_tells_no_time_has_no_clock(scripted: ScriptedServer, reaction: Reaction) -> None:
    scripted.script = [reaction]
    assert await read_target_clock(scripted.target) is None
    assert len(scripted.arrivals) <= 2 * CLOCK_READINGS
