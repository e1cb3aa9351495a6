"""What machines say again and again costs little, and nothing that is new in it is ever missed."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.market.jobs import RUNNING
from reference_server.core.market.pool import Offer
from reference_server.core.market.repeats import market_part, repeats

CAPACITY = {"cpu_cores": 2, "memory_gb": 4}
RUNS = {"job_id": "job_1", "state": RUNNING}
VALUES: tuple[Any, ...] = (
    *(CAPACITY, {"cpu_cores": 3, "memory_gb": 4}, [RUNS], [RUNS, RUNS], [{"job_id": "job_2", "state": RUNNING}], []),
    *(
        [{**RUNS, "state": "succeeded"}],
        [{**RUNS, "result": None}],
        [{**RUNS, "error": "x"}],
        [{**RUNS, "progress": 1}],
    ),
    *(None, 1, "jobs", "capacity", '"jobs"', "\\", {"jobs": [RUNS]}, {"capacity": CAPACITY}),
)
NAMES = tuple(json.dumps(name).encode() for name in ("jobs", "capacity", "a", '"jobs', "\\", "caf\u00e9", "\\u006aobs"))
ESCAPED = (b'"\\u006aobs"', b'"jo\\u0062s"', b'"\\u006A"', b'"capacit\\u0079"')
"""Names as JSON may write them: the first, second and last are those that say something to the market."""
METRICS = st.lists(st.tuples(st.sampled_from((*NAMES, *ESCAPED)), st.sampled_from(VALUES)), max_size=4)


def offer() -> Offer:
    """Return a machine that reported what it has, and runs one job."""
    made = Offer("w", "ada")
    made.reported_hash = hash(written(CAPACITY))
    made.jobs["job_1"] = cast("Any", None)  # only that it is there counts
    return made


def written(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def metrics_of(fields: list[tuple[bytes, Any]]) -> bytes:
    """Write metrics, in which a name may stand twice; names come as JSON."""
    return b"{" + b",".join(name + b":" + written(value) for name, value in fields) + b"}"


def says_again(one: Offer, metrics: bytes) -> bool:
    part = market_part(metrics)
    return bool(part) and repeats(one, metrics, part)


@given(first=METRICS, others=st.lists(METRICS, max_size=3))
def test_what_came_before_changes_nothing_of_what_is_found(
    first: list[tuple[bytes, Any]], others: list[list[tuple[bytes, Any]]]
) -> None:
    known = offer()
    for fields in (
        first,
        *others,
        *(first[:at] for at in range(len(first))),
        *(first[at:] for at in range(len(first))),
    ):
        metrics = metrics_of(fields)
        assert says_again(known, metrics) == says_again(offer(), metrics)


def test_what_comes_before_it_makes_no_difference() -> None:
    part = b',"capacity":' + written(CAPACITY) + b',"jobs":' + written([RUNS]) + b"}"
    first, second = b'{"cpu_percent":1' + part, b'{"a":{"b":[]}' + part
    assert market_part(first) == market_part(second) == part
    known = offer()
    assert says_again(known, first)
    known.reported_hash = None
    assert says_again(known, second), "it was not read again"


@pytest.mark.parametrize("name", [b'"\\u006aobs"', b'"jo\\u0062s"', b'"job\\u0073"'])
def test_a_name_that_is_written_with_an_escape_is_not_missed(name: bytes) -> None:
    """What was remembered of a capacity says nothing of reports before it, however their name is written."""
    capacity = b'"capacity":' + written(CAPACITY) + b"}"
    ended = b"{" + name + b":" + written([{**RUNS, "state": "succeeded"}]) + b","
    known = offer()
    assert says_again(known, b'{"t":1,' + capacity)
    assert not says_again(known, ended + capacity)
    assert says_again(known, b"{" + name + b":" + written([RUNS]) + b"," + capacity)
    assert not says_again(known, ended + capacity), "what was remembered of the other reports hides these"


@given(metrics=METRICS)
def test_all_that_says_something_is_looked_at(metrics: list[tuple[bytes, Any]]) -> None:
    names = {json.loads(name) for name, _ in metrics}
    assert market_part(metrics_of(metrics)) or not names & {"jobs", "capacity"}


@given(metrics=METRICS)
def test_their_part_begins_with_what_is_before_the_first_word(metrics: list[tuple[bytes, Any]]) -> None:
    written_ones = metrics_of(metrics)
    found = [at for at in map(written_ones.find, (b'"capacity"', b'"jobs"')) if at >= 0]
    before = written_ones[: min(found)] if found else written_ones
    if b"\\u00" in before:
        assert market_part(written_ones) == written_ones
    else:
        assert market_part(written_ones) == (written_ones[min(found) - 1 :] if found else b"")


def test_most_metrics_say_nothing() -> None:
    for metrics in (b'{"path":"C:\\\\users","a":"\\"b\\""}', b'{"cpu_percent":12.5,"memory_percent":40}'):
        assert market_part(metrics) == b""


def test_reports_may_come_before_the_capacity() -> None:
    jobs = b'{"jobs":' + written([RUNS])
    assert market_part(jobs + b',"capacity":{}}').startswith(jobs)
