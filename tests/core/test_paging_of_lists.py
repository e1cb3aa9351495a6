"""`limit` and `offset` of the lists (contract §1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.server_under_test import Answer, Server, owner_headers
from tests.support.tiers import examples

LISTS = ("/workers/statuses", "/audit/events")


def read(server: Server, path: str, query: str) -> Answer:
    return server.send("GET", path, None, owner_headers("ada"), query=query)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("query", "limit", "offset"),
    [
        ("", 100, 0),
        ("limit=1", 1, 0),
        ("limit=500", 500, 0),
        ("limit=501", 500, 0),
        ("limit=9999999999999999999", 500, 0),
        (f"limit={'9' * 5000}", 500, 0),
        (f"limit={'0' * 5000}3", 3, 0),
        ("limit=007", 7, 0),
        ("limit=%31%32", 12, 0),
        ("limit=%2B5", 5, 0),
        ("offset=0", 100, 0),
        ("offset=-0", 100, 0),
        ("offset=9223372036854775807", 100, 9223372036854775807),
        ("offset=3&limit=2", 2, 3),
        ("limit=2&limit=x", 2, 0),
        ("other=1&limit=2", 2, 0),
        ("limit=", 100, 0),
        ("limit", 100, 0),
        ("limit=&offset=", 100, 0),
        ("limit=&offset=3", 100, 3),
        ("type=&limit=2&offset=", 2, 0),
    ],
)
def test_a_page_is_shown_with_its_limit_and_offset(
    server: Server, path: str, query: str, limit: int, offset: int
) -> None:
    data = read(server, path, query).data
    assert (data["limit"], data["offset"], data["total"]) == (limit, offset, 0)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "1e2", "0x10", "1_0", " 1", "+5", "%D9%A1", "NaN", "1%00"])
def test_a_limit_that_is_no_whole_number_from_one_is_refused(server: Server, path: str, value: str) -> None:
    """`+5` in a query is a space and a 5."""
    assert read(server, path, f"limit={value}").error == (400, "invalid limit")
    assert read(server, path, f"offset=x&limit={value}").error == (400, "invalid limit")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("value", ["-1", "x", "1.5", "1e2", "1_0", " 0", "NaN"])
def test_an_offset_that_is_no_whole_number_from_zero_is_refused(server: Server, path: str, value: str) -> None:
    assert read(server, path, f"offset={value}").error == (400, "invalid offset")


@pytest.mark.parametrize("path", LISTS)
def test_a_query_of_more_fields_than_any_call_has_is_refused(server: Server, path: str) -> None:
    assert read(server, path, "limit=1" + "&x=1" * 99).data["limit"] == 1
    assert read(server, path, "limit=1" + "&x=1" * 100).error == (400, "invalid request")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("offset", [3, 2**63 - 1, 2**63, 10**30])
def test_a_page_past_the_end_of_a_list_that_has_entries_is_empty(server: Server, path: str, offset: int) -> None:
    """However far: an offset may be longer than any integer that a machine counts with."""
    server.register()
    data = read(server, path, f"offset={offset}").data
    assert (data["total"], data.get("workers", data.get("events"))) == (1, [])


@settings(max_examples=examples(60), deadline=None)
@given(machines=st.integers(0, 7), limit=st.integers(1, 8), offset=st.integers(0, 8))
def test_pages_are_slices_of_the_whole(machines: int, limit: int, offset: int) -> None:
    server = Server()
    ids = sorted(server.register("ada").id for _ in range(machines))
    server.register("bob")
    data = read(server, "/workers/statuses", f"limit={limit}&offset={offset}").data
    assert [status["worker_id"] for status in data["workers"]] == ids[offset : offset + limit]
    assert data["total"] == machines
    events = read(server, "/audit/events", f"limit={limit}&offset={offset}").data
    assert [event["sequence"] for event in events["events"]] == list(range(1, machines + 1))[offset : offset + limit]
    assert events["total"] == machines


def test_a_page_of_five_hundred_is_the_most_there_is(server: Server) -> None:
    for _ in range(501):
        server.register("ada")
    assert len(read(server, "/workers/statuses", "limit=1000").data["workers"]) == 500
    assert len(read(server, "/audit/events", "limit=1000").data["events"]) == 500
    assert len(read(server, "/workers/statuses", "").data["workers"]) == 100
    assert len(read(server, "/workers/statuses", "limit=500&offset=500").data["workers"]) == 1


@pytest.mark.parametrize("path", ["/workers/statuses", "/workers/summary"])
def test_nobody_is_shown_everybodys_workers(server: Server, path: str) -> None:
    """Whoever names no owner is refused, before the page is looked at; an owner without machines has none."""
    for owner_id in ("bob", "ada", "ada"):
        server.register(owner_id)
    for query in ("", "limit=1", "limit=x"):
        assert server.send("GET", path, None, owner_headers(), query=query).error == (401, "unauthorized")
    shown = {name: server.send("GET", path, None, owner_headers(name)).data for name in ("ada", "bob", "nobody")}
    assert {name: (data["total"], data["stale_threshold"]) for name, data in shown.items()} == {
        "ada": (2, 60),
        "bob": (1, 60),
        "nobody": (0, 60),
    }
    assert "nobody" not in server.api.state.owners
