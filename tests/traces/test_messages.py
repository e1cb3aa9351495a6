"""Requests as text and back, and references in texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.traces.messages import (
    LENGTH,
    Reference,
    escape,
    join_request,
    references,
    resolve,
    split_answer,
    split_request,
    to_bytes,
    to_text,
    unescape,
)

HEARTBEAT = b'POST /api/v1/workers/wrk_1/heartbeat HTTP/1.1\r\nHost: x:1\r\nContent-Length: 7\r\n\r\n{"a":1}'
TEXTS = st.text(st.sampled_from("${}dolarength.[]~:0123 \n"), max_size=40) | st.text(max_size=20)
HEADS = st.lists(
    st.sampled_from(
        ["Host: a", "content-length: 3", "Content-Length: 0", "X: ${length}", "bad", " X: y", "X:  z ", "ü: 1"]
    )
)


def test_a_well_formed_request_is_taken_apart_with_its_length_as_a_reference() -> None:
    request = split_request(HEARTBEAT)
    assert request is not None
    assert (request.method, request.path, request.body) == ("POST", "/api/v1/workers/wrk_1/heartbeat", '{"a":1}')
    assert request.headers == (("Host", "x:1"), ("Content-Length", LENGTH))


@given(st.sampled_from(["GET", "POST", "pOST"]), HEADS, st.binary(max_size=6))
def test_what_is_taken_apart_is_put_together_to_the_byte(method: str, head: list[str], body: bytes) -> None:
    lines = "\r\n".join([f"{method} /x HTTP/1.1", *head])
    data = to_bytes(lines) + b"\r\n\r\n" + body
    request = split_request(data)
    assert request is None or join_request(request) == data


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_apart_rightly_or_not_at_all(data: bytes) -> None:
    request = split_request(data)
    assert request is None or join_request(request) == data
    assert to_bytes(to_text(data)) == data


@pytest.mark.parametrize(
    "raw",
    [
        HEARTBEAT.replace(b"7", b"8"),
        HEARTBEAT.replace(b"7", b"+7"),
        HEARTBEAT.replace(b"Host: x:1", b"Host : x:1"),
        HEARTBEAT.replace(b"Host: x:1", b"Content-Length: 7"),
        HEARTBEAT.replace(b"Host: x:1", b"Transfer-Encoding: chunked"),
        HEARTBEAT.replace(b"Host: x:1", b"Host: x\n:1"),
        HEARTBEAT.replace(b"a", b"\xff"),
        HEARTBEAT + b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        HEARTBEAT.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"",
    ],
)
def test_what_is_ambiguous_or_not_text_is_not_taken_apart(raw: bytes) -> None:
    assert split_request(raw) is None


@given(TEXTS)
def test_an_escaped_text_holds_no_reference_and_comes_back(text: str) -> None:
    escaped = escape(text)
    assert references(escaped) == []
    assert unescape(escaped) == resolve(escaped, lambda _: "wrong") == text


@given(TEXTS, TEXTS, st.integers(0, 3), st.integers(0, 9))
def test_references_are_found_between_escaped_texts_and_resolved(before: str, after: str, near: int, end: int) -> None:
    reference = Reference("machine.3.token", near, 0, 0 if near else end)
    text = escape(before) + str(reference) + escape(after)
    assert references(text) == [reference]
    assert resolve(text, lambda found: "!" if found == reference else "wrong") == f"{before}!{after}"


def test_a_reference_without_a_value_stays_as_it_stands() -> None:
    assert resolve("Bearer ${owner.token}", lambda _: None) == "Bearer ${owner.token}"


def test_an_answer_is_taken_apart() -> None:
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Type: a/b\r\nX-Odd:c:d\r\n\r\n\r\nbody"
    assert split_answer(answer) == (401, (("Content-Type", "a/b"), ("X-Odd", "c:d")), b"\r\nbody")
    assert split_answer(b"rubbish") == (0, (), b"")
