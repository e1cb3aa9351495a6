"""Every request over HTTP/2, however odd, gets the table's answer or a refusal in the envelope, and takes its token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reference_server.http.http2_fields import read_head, size_of
from reference_server.limits import BODY_MAX_BYTES, HEAD_MAX_BYTES, HTTP2_HEADERS_MAX_BYTES
from reference_server.wire.values import Request
from tests.http.corpus import make_world, post
from tests.http.corpus_routes import ROUTE_CASES
from tests.http.http2_memory import GET, Fields, InMemory, fields_of
from tests.http.serving import direct_answer
from tests.http.twins import API_TOKEN, OWNER, START, make_api

if TYPE_CHECKING:
    from tests.http.corpus import Case

BEARER = (b"authorization", f"Bearer {API_TOKEN}".encode())
HEAD = [(b":method", b"HEAD"), *GET[1:]]
POST = [(b":method", b"POST"), *GET[1:3], (b":path", b"/api/v1/policies"), BEARER]


def with_(name: bytes, value: bytes | None, fields: Fields = GET) -> Fields:
    """Replace a field, or leave it out, or add it."""
    kept = [(had, value if had == name else at) for had, at in fields]
    pairs = [(had, at) for had, at in kept if at is not None]
    return pairs if value is None or any(had == name for had, _ in fields) else [*pairs, (name, value)]


CASES = [case for case in ROUTE_CASES if len(case.meant) == 1 and case.meant[0].request is not None]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus_over_http_2_is_answered_as_the_table_does(case: Case) -> None:
    api, twin = make_world()[0], make_world()[0]
    request = case.meant[0].request
    assert request is not None
    expected = direct_answer(twin.handle(replace(request, scheme="https"), START), request.method, closes=False)
    if "connection" not in dict(expected.headers):
        assert InMemory(api).ask(request) == expected


MALFORMED: dict[str, Fields] = {
    "path beyond ASCII": with_(b":path", b"/caf\xc3\xa9"),
    "empty path": with_(b":path", b""),
    "no path": with_(b":path", None),
    "path without a slash": with_(b":path", b"health"),
    "path with a space": with_(b":path", b"/health HTTP/1.1\r\nX: y"),
    "path of a whole URL": with_(b":path", b"https://server/health"),
    "asterisk without OPTIONS": with_(b":path", b"*"),
    "method beyond ASCII": with_(b":method", b"G\xffT"),
    "empty method": with_(b":method", b""),
    "no method": with_(b":method", None),
    "method with a space": with_(b":method", b"GET /"),
    "other scheme": with_(b":scheme", b"ftp"),
    "no scheme": with_(b":scheme", None),
    "no authority": with_(b":authority", None),
    "empty authority": with_(b":authority", b""),
    "authority with a user": with_(b":authority", b"user@server"),
    "authority with a space": with_(b":authority", b"a b"),
    "authority beyond ASCII": with_(b":authority", b"\xc3\xa4"),
    "host of another name": [*GET, (b"host", b"other")],
    "two hosts": [*with_(b":authority", None), (b"host", b"a"), (b"host", b"b")],
    "second path": [*GET[:1], *GET],
    "pseudo header behind a header": [(b"a", b"b"), *GET],
    "pseudo header of an answer": [*GET, (b":status", b"103")],
    "pseudo header of nobody's": [*GET, (b":a", b"b")],
    "an answer's status first": [(b":status", b"103"), *GET],
    "protocol": [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *GET[1:]],
    "connect": [(b":method", b"CONNECT"), (b":authority", b"elsewhere:80")],
    "connect with a path": with_(b":method", b"CONNECT"),
    "name in capitals": [*GET, (b"X-Foo", b"1")],
    "empty name": [*GET, (b"", b"1")],
    "name with a space": [*GET, (b"a b", b"1")],
    "name with a colon": [*GET, (b"a:b", b"1")],
    "CR LF in a value": [*GET, (b"x-foo", b"a\r\nx-owner-id: b")],
    "NUL in a value": [*GET, (b"x-foo", b"a\x00b")],
    "white space before a value": [*GET, (b"x-foo", b" a")],
    "white space behind a value": [*GET, (b"x-foo", b"a\t")],
    **{
        f"{name.decode()}": [*GET, (name, b"chunked")]
        for name in (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"te")
    },
    **{
        f"length {value[:9]!r}": [*POST, (b"content-length", value)]
        for value in (b"", b"+2", b"-2", b"1_0", b"2, 2", "²".encode("latin-1"), b"9" * 20, b"9" * 5_000)
    },
    "two lengths": [*POST, (b"content-length", b"2"), (b"content-length", b"2")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused_takes_a_token_and_leaves_the_connection(name: str) -> None:
    api = make_api(rate_limit_burst=2)
    connection = InMemory(api)
    refused = connection.begin(MALFORMED[name], ended=name != "connect")
    assert connection.status(refused) == 400
    assert [connection.status(connection.begin(GET)) for _ in range(2)] == [200, 429]
    assert connection.gone is None


@pytest.mark.parametrize("authority", [b"..", b"a..b", b"x" * 64, b"-", b"[::1]:8080", b"1.2.3.4:", b"%41", b"a:99999"])
def test_a_name_that_is_no_host_in_any_name_service_is_as_good_as_another(authority: bytes) -> None:
    """RFC 3986 §3.2.2 allows it, and nothing here looks a host up."""
    connection = InMemory(make_api())
    assert connection.status(connection.begin(with_(b":authority", authority))) == 200
    by_host = [*with_(b":authority", None), (b"host", authority)]
    assert connection.status(connection.begin(by_host)) == 200


def test_odd_but_right_requests_are_answered_by_the_table() -> None:
    connection = InMemory(make_api())
    for fields, status in [
        (with_(b":method", b"BREW"), 405),
        (with_(b":method", b"get"), 405),
        (with_(b":path", b"/nothing"), 404),
        (with_(b":path", b"//health"), 404),
        ([(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")], 200),
        ([*GET, (b"te", b"trailers")], 200),
        ([*GET, (b"cookie", b"a=b"), (b"cookie", b"c=d")], 200),
        ([*GET[:3], (b":path", b"/api/v1/workers/summary"), BEARER, (b"x-owner-id", b"a"), (b"x-owner-id", b"b")], 400),
    ]:
        assert connection.status(connection.begin(fields)) == status


def test_head_is_answered_as_get_without_its_body() -> None:
    connection = InMemory(make_api())
    for path in ("/api/v1/status", "/nothing"):
        got, asked = (connection.ask(Request(method, path)) for method in ("GET", "HEAD"))
        assert asked == got._replace(body=b"")


names = st.sampled_from([*dict(GET), b"a", b"host", b"content-length", b"te", b"A", b""])
values = st.sampled_from([*dict(GET).values(), b"*", b"2", b" ", b"\x00", b""]) | st.binary(max_size=5)


@given(st.lists(st.tuples(names, values), min_size=1, max_size=8))
def test_whatever_fields_say_is_answered(fields: Fields) -> None:
    """What is read has no control character, one host and a path that begins with a slash."""
    head = read_head(fields, "127.0.0.1")
    connection = InMemory(make_api())
    status = connection.status(connection.begin(fields, ended=False))
    if head is None:
        assert status == 400
    else:
        request = head.request
        assert request.path.startswith("/")
        assert request.path.isascii()
        assert [name for name, _ in request.headers].count("host") == 1
        assert not any(ord(character) < 32 and character != "\t" for _, value in request.headers for character in value)
    assert connection.gone is None


@pytest.mark.parametrize("size", [HEAD_MAX_BYTES, HEAD_MAX_BYTES + 1, 70_000, HTTP2_HEADERS_MAX_BYTES - 9_000])
def test_large_headers_are_refused_and_the_connection_goes_on(size: int) -> None:
    connection = InMemory(make_api())
    fields = [*GET, *((b"x-%d" % number, b"y" * 1_000) for number in range(size // 1_040))]
    padded = [*fields, (b"p", b"z" * (size - size_of(fields) - size_of([(b"p", b"")])))]
    assert connection.status(connection.begin(padded)) == (200 if size <= HEAD_MAX_BYTES else 431)
    assert connection.status(connection.begin(GET)) == 200


@pytest.mark.parametrize("earlier", [GET, HEAD], ids=["method in full", "method by its number"])
def test_headers_that_grow_as_they_are_decoded_are_refused_and_end_the_connection(earlier: Fields) -> None:
    """One byte stands for 4 KB by then: what was not decoded is lost for whatever comes later. HEAD gets no body."""
    answers = []
    for head in (GET, HEAD):
        connection = InMemory(make_api())
        before = connection.begin([*earlier, (b"bomb", b"x" * 4_000)])
        assert connection.responses[before].answer.status == 200
        refused = connection.begin([*head, *([(b"bomb", b"x" * 4_000)] * 1_000)])
        answers.append(connection.responses[refused].answer)
        assert connection.server.ended
        assert connection.gone == 0
    got, asked = answers
    assert got.status == 431
    assert got.body.startswith(b'{"success":false,"error":"')
    assert asked == got._replace(body=b"")


def test_a_body_over_the_limit_is_refused_by_its_length_or_once_it_is_too_long() -> None:
    connection = InMemory(make_api())
    declared = connection.begin([*POST, (b"content-length", b"%d" % (BODY_MAX_BYTES + 1))], ended=False)
    assert connection.status(declared) == 413
    assert connection.reset[declared] == 0
    endless = connection.begin(POST, ended=False)
    for _ in range(BODY_MAX_BYTES // 16_384):
        connection.data(endless, b" " * 16_384)
        assert endless not in connection.responses
    connection.data(endless, b" ")
    assert connection.status(endless) == 413
    assert connection.server.waiting_bytes == 0
    assert connection.status(connection.begin(GET)) == 200


def test_a_client_that_sends_on_after_its_answer_is_told_so_and_nothing_of_it_is_kept() -> None:
    connection = InMemory(make_api())
    length = b"%d" % (3 * BODY_MAX_BYTES)
    connection.reads = False
    stream_id = connection.begin([*POST, (b"content-length", length)], ended=False)
    for _ in range(3):
        connection.data(stream_id, b"x" * 16_384)
    connection.reads = True
    connection.flush()
    assert connection.status(stream_id) == 413
    assert connection.server.waiting_bytes == 0
    assert connection.status(connection.begin(GET)) == 200


@pytest.mark.parametrize(("sent", "ended"), [(b"abc", True), (b"abcdef", False), (b"", True)])
def test_a_body_of_another_length_than_declared_is_refused(sent: bytes, ended: bool) -> None:  # noqa: FBT001 - a case
    connection = InMemory(make_api())
    stream_id = connection.begin([*POST, (b"content-length", b"5")], ended=False)
    connection.data(stream_id, sent, ended=ended)
    assert connection.status(stream_id) == 400
    assert connection.status(connection.begin(GET)) == 200


def test_a_request_is_refused_by_its_head_and_none_of_its_body_kept() -> None:
    connection = InMemory(make_api())
    for fields, status in [
        (with_(b":path", b"/nothing", POST), 404),
        (with_(b":path", b"/health", POST), 405),
        (with_(b"authorization", b"Bearer no", POST), 401),
    ]:
        stream_id = connection.begin(fields, ended=False)
        assert connection.status(stream_id) == status
        assert connection.reset[stream_id] == 0
        assert connection.server.waiting_bytes == 0


def test_a_body_is_asked_for_where_the_client_waits_for_that() -> None:
    api, twin = make_world()[0], make_world()[0]
    connection = InMemory(api)
    register = post("/api/v1/machines/register", {"owner_id": "ada", "name": "new"})
    stream_id = connection.begin([*fields_of(register), (b"expect", b"100-continue")], ended=False)
    assert stream_id not in connection.responses
    connection.data(stream_id, register.body, ended=True)
    assert connection.status(stream_id) == twin.handle(register, START).status == 201
    refused = connection.begin([*fields_of(replace(register, headers=OWNER[1:])), (b"expect", b"100-continue")])
    assert connection.status(refused) == 401


def test_trailers_say_nothing_and_end_a_body() -> None:
    connection = InMemory(make_api())
    stream_id = connection.begin(POST, ended=False)
    connection.data(stream_id, b"{}")
    connection.headers(stream_id, [(b"x-owner-id", b"mallory")], ended=True)
    assert connection.status(stream_id) == 400
