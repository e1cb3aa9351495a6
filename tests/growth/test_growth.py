"""Work in proportion to what was sent: four times as much of anything foreign costs less than six times the work.

What is counted, and what the count cannot see, stands in `metering`; what is fed in `entries_server` and
`entries_simulator`. Each is measured in a process of its own, whose modules count.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tests.growth import entries_connections, entries_market, entries_server, entries_simulator
from tests.growth.measure import GROWTH_MAX
from tests.support.tiers import SOAK

ROOT = Path(__file__).parents[2]
NAMES = [
    *entries_server.entries(),
    *entries_market.entries(),
    *entries_connections.entries(),
    *entries_simulator.entries(),
]
ONE_IN = 1 if SOAK else 5
FEW = 6
"""Entries of a place that are all measured. Of more, one in five: each place is fed, each text somewhere."""
PLACE = re.compile(r" with | of |=|: |, | for ")  # what is fed stands behind


def _chosen() -> list[str]:
    places = [PLACE.split(name, maxsplit=1)[0] for name in NAMES]
    counts = Counter(places)
    return [
        name
        for name, place in zip(NAMES, places, strict=True)
        if counts[place] <= FEW or zlib.crc32(name.encode()) % ONE_IN == 0
    ]


MEASURED = _chosen()


class Measured(NamedTuple):
    small: int
    large: int
    fault: str

    @property
    def grows_as_its_input(self) -> bool:
        return not self.fault and self.small > 0 and 0 < self.large <= GROWTH_MAX * self.small


def measured(names: list[str], edits: dict[str, list[tuple[str, str]]]) -> dict[str, Measured]:
    """Measure the entries of these names, with these edits of the source."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.growth.measure"],
        input=json.dumps({"names": names, "edits": edits}).encode(),
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: Measured(*figures) for name, *figures in lines}


@lru_cache
def as_shipped() -> dict[str, Measured]:
    return measured(MEASURED, {})


def test_every_place_is_measured() -> None:
    assert sorted(as_shipped()) == sorted(MEASURED)
    assert {PLACE.split(name, maxsplit=1)[0] for name in NAMES} == {
        PLACE.split(name, maxsplit=1)[0] for name in MEASURED
    }


def test_four_times_the_input_costs_less_than_six_times_the_work() -> None:
    grew = {name: one for name, one in as_shipped().items() if not one.grows_as_its_input}
    assert grew == {}


ROUTING = (
    "reference_server.operations.routing",
    'path.split("/", self._parts_max)\n        if len(parts) > self._parts_max:',
    'path.split("/")\n        if any("/".join(parts[:at]) in self._exact for at in range(len(parts))):',
)
DEPTH = ("reference_server.wire.canonical_json", r'rb"\\."', r'rb"\\+[^\\]"')
INTEGER = ("reference_server.core.calls", 'r"([+-]?)([0-9]+)"', 'r"([+-]?)(?=[0-9])0*([0-9]*)"')
HEAD = ("simulator.client.raw", "self._searched = max(0, len(buffer) - 3)", "self._searched = 0")
LITERALS = (
    "reference_server.http.http2_protocol",
    "data[: _literal_bytes(data, 6 if should_index else 4)]",
    "data",
)
ACCENTS = (
    "reference_server.core.community.agents",
    "if len(name) > AGENT_NAME_SENT_MAX_CHARACTERS:",
    "if not name:",
)
WINDOWS = ("reference_server.http.http2_connection", "if not self._pumpable:", "if self.ended:")


FOUND_BY = {
    ACCENTS: {"market body: /agents/register, name, accents"},
    LITERALS: {"HTTP/2, fields, in one piece, unread", "HTTP/2, other fields, byte by byte"},
    WINDOWS: {"HTTP/2, a closed window, byte by byte"},
    ROUTING: {"path of slashes", "path of segments"},
    DEPTH: {"POST /policies with backslashes"},
    INTEGER: {"GET /workers/statuses?limit=zeros", "GET /audit/events?offset=zeros"},
    HEAD: {"raw answers, a head without end, byte by byte"},
}


def test_what_grew_once_is_found_again() -> None:
    """The meter sees Python's loops, what C goes over, and the steps of a regular expression."""
    names = sorted(set().union(*FOUND_BY.values()))
    figures = measured(names, {module: [(shipped, faulty)] for module, shipped, faulty in FOUND_BY})
    grew = {name for name, one in figures.items() if not one.grows_as_its_input}
    found = {fault: found_by & grew for fault, found_by in FOUND_BY.items()}
    assert found == FOUND_BY
