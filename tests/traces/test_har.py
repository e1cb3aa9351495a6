"""HAR out of a trace and back, read by a third party's reader; and what is no HAR."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from haralyzer import HarParser
from hypothesis import given
from hypothesis import strategies as st

from simulator.contract.answers import Answer
from simulator.errors import TraceError
from simulator.traces.har_import import from_har
from tests.traces.hars import browser_har, exported, imported
from tests.traces.recorded import OWNER_TOKEN, Recording, nearest, small_recording

if TYPE_CHECKING:
    from collections.abc import Callable

NEAR = 4


@pytest.fixture
def recording() -> Recording:
    recording = small_recording()
    recording.take(
        b"GET /x?a=1&b=%20 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HTTP/1.1 302 X\r\nLocation: /y\r\n\r\n\xff",
        got=Answer.ACCEPTED,
    )
    recording.take(b"GET /lost HTTP/1.1\r\nHost: ${x}\r\n\r\n", None, got=Answer.LOST)
    recording.take(b"no HTTP \xff", b"HTTP/1.1 400 X\r\n\r\n", got=Answer.REFUSED)
    return recording


@pytest.mark.parametrize("redact", [True, False])
def test_an_exported_trace_comes_back_whole(recording: Recording, *, redact: bool) -> None:
    assert imported(exported(recording, redact=redact)) == recording.trace(redact=redact)


def test_a_third_partys_reader_reads_what_is_exported(recording: Recording) -> None:
    parser = HarParser(exported(recording))
    entries = parser.pages[0].entries
    assert len(entries) == 13
    assert [entry.status for entry in entries] == [201, 200, *[201] * 4, 200, 200, 401, 401, 401, 302, 0]
    policy = entries[0]
    assert (policy.request.method, policy.url) == ("POST", "http://127.0.0.1:8080/api/v1/policies")
    assert policy.request.get_header_value("X-Owner-ID") == "ada"
    assert json.loads(policy.request.text)["owner_id"] == "ada"
    assert policy.request.mimeType == "application/json"
    assert policy.request.get_header_value("Content-Length") == str(len(policy.request.text))
    assert policy.startTime.isoformat() == "2026-09-21T14:13:19.923000+00:00"
    assert policy.time == 10
    assert entries[11].request.queryString == [{"name": "a", "value": "1"}, {"name": "b", "value": " "}]
    assert json.loads(entries[2].response.text)["data"]["machine"]["owner_id"] == "ada"


def test_no_secret_and_no_near_miss_is_in_a_redacted_har(recording: Recording) -> None:
    text = json.dumps(exported(recording))
    for secret in (OWNER_TOKEN, recording.token(0), recording.token(1)):
        assert nearest(text, secret) > NEAR


def test_entries_may_be_taken_out_of_an_exported_har(recording: Recording) -> None:
    har = exported(recording)
    del har["log"]["entries"][8:]
    trace = imported(har)
    assert [one.sequence for one in trace.exchanges] == list(range(1, 10))
    assert trace.header.exchanges == 9


# --- other programs'


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    har = browser_har()
    change(har)
    return har


BROKEN: dict[str, tuple[Any, str]] = {
    "a list": ([], 'no HAR: it has no "log" with "entries"'),
    "no entries": ({"log": {}}, 'no HAR: it has no "log" with "entries"'),
    "entries that are none": ({"log": {"entries": 5}}, 'no HAR: "log.entries" is no list'),
    "empty": ({"log": {"entries": []}}, "a HAR without entries"),
    "a foreign header": ({"log": {"entries": [], "_hatchfarm": {"header": {}}}}, "log._hatchfarm: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_har_is_refused_with_the_entry_and_what_is_wrong(name: str) -> None:
    har, message = BROKEN[name]
    with pytest.raises(TraceError) as refused:
        imported(har)
    assert str(refused.value).startswith(message)


def test_what_is_no_json_is_said_to_be_none() -> None:
    with pytest.raises(TraceError, match="not JSON"):
        from_har(b"<html>", "x", redact=True)


SIMPLE = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
VALUES = st.recursive(
    SIMPLE, lambda one: st.lists(one, max_size=2) | st.dictionaries(st.text(max_size=4), one, max_size=2)
)
KEYS = ("log", "entries", 0, 1, "request", "response", "headers", "content", "url", "_hatchfarm", "postData", "time")
PLACES = st.lists(st.sampled_from(KEYS), max_size=6)


@given(PLACES, VALUES, st.booleans())
def test_any_value_anywhere_is_imported_or_refused(places: list[str | int], value: Any, own: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    har: Any = exported(small_recording()) if own else browser_har()
    inner = har
    for place in places[:-1]:
        try:
            inner = inner[place]
        except (KeyError, TypeError, IndexError):
            break
    try:
        inner[places[-1]] = value
    except (IndexError, TypeError):
        return
    try:
        imported(har)
    except TraceError:
        return
