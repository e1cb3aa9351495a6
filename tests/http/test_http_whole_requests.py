"""What is read at a glance of any request is read as the strict reader reads it, and is what clients send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.http.conversation import Conversation
from reference_server.http.framing import RequestReader
from reference_server.http.heads import Head
from reference_server.http.whole_requests import whole_request
from reference_server.limits import AUTHORITY_MAX_BYTES, HEADER_FIELDS_MAX, LANE_HEAD_MAX_BYTES
from tests.http.corpus_framing import FRAMING_CASES
from tests.http.corpus_routes import ROUTE_CASES
from tests.http.test_http_plain_heads import PIECES

if TYPE_CHECKING:
    from reference_server.wire.values import Request
    from tests.http.corpus import Case

CLIENT = "192.0.2.1"
READ_SHARE = 0.4
"""What part of the requests that are drawn must be read at a glance: about three in four are."""
LINES = (
    b"GET /api/v1/status HTTP/1.1\r\n",
    b"HEAD /health HTTP/1.1\r\n",
    b"POST /api/v1/policies?a=b&c=%41 HTTP/1.1\r\n",
    b"PUT /v1//agents/me HTTP/1.1\r\n",
    b"DELETE /v1/jobs/job_1? HTTP/1.1\r\n",
    b"GET //host/x:y@z HTTP/1.1\r\n",
)
"""What is read at a glance."""
ODD_LINES = (
    *(b"GET /a#b HTTP/1.1\r\n", b"GET /\x7f HTTP/1.1\r\n", b"GET /\xe9 HTTP/1.1\r\n", b"GET * HTTP/1.1\r\n"),
    *(b"OPTIONS * HTTP/1.1\r\n", b"GET http://a/b HTTP/1.1\r\n", b"get / HTTP/1.1\r\n", b"BREW / HTTP/1.1\r\n"),
    *(b"GET / HTTP/1.0\r\n", b"GET  / HTTP/1.1\r\n", b"GET / HTTP/1.1\n", b"\r\nGET / HTTP/1.1\r\n", b"GET /\r\n"),
)
HOSTS = (b"Host: a.example:80\r\n", b"host:\t[::1]:80 \r\n", b"Host:\r\n", b"HOST: a\r\n")
USUAL = (
    *(b"Connection: Keep-Alive\r\n", b"Cookie: a=b\r\n", b"Cookie: c=d\r\n", b"Authorization: Bearer x\r\n"),
    *(b"Keep-Alive: 5\r\n", b"HTTP2-Settings: x\r\n", b"A:\t b \t\r\n", b"A:\r\n", b"Origin: a\r\n"),
    *(b"X-Forwarded-For: 1.2.3.4\r\n", b"X-Machine-Token: a b\r\n", b"Via: 1.1 a, 1.1 b\r\n", b"TE: trailers\r\n"),
)
"""What may stand in a head that is read at a glance, also twice."""
MORE = (
    *(
        b"Host: a\r\n",
        b"Content-Length: 4\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length:\r\n",
        b"content-length:04\r\n",
    ),
    *(b"Connection: Keep-Alive\r\n", b"Connection: keep-alive, close\r\n", b"Connection: upgrade\r\n"),
    *(
        b"Connection:\r\n",
        b"Upgrade: websocket\r\n",
        b"Cookie: a=b\r\n",
        b"Cookie: c=d\r\n",
        b"Authorization: Bearer x\r\n",
    ),
    *(b"Content-Length: 99999999999999999999\r\n", b"Keep-Alive: 5\r\n", b"HTTP2-Settings: x\r\n", b"A:\t b \t\r\n"),
)
BODIES = (b"", b"{}", b"body", b"four\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def strictly(data: bytes) -> tuple[Head, bytes] | None:
    """Return the one request that the strict reader finds in the bytes; None where it is not that."""
    reader = RequestReader()
    reader.receive(data)
    head, body = reader.next(), reader.next()
    if not isinstance(head, Head) or not isinstance(body, bytes):
        return None
    return (head, body) if reader.at_rest and not head.expects_continue else None


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a request that is read at a glance, mostly: one in two has something odd in it, which may forbid that."""
    body = draw(st.sampled_from(BODIES))
    lengths = (b"Content-Length: %d\r\n" % len(body), b"content-length:%05d\t\r\n" % len(body))
    lines = [draw(st.sampled_from(HOSTS)), *draw(st.lists(st.sampled_from(USUAL), max_size=4))]
    lines += [draw(st.sampled_from(lengths))] if body or draw(st.booleans()) else []
    line = draw(st.sampled_from(LINES))
    match draw(st.sampled_from([*[""] * 5, "line", "lines", "body", "twice", "no host"])):
        case "line":
            line = draw(st.sampled_from(ODD_LINES))
        case "lines":
            lines += draw(st.lists(st.sampled_from((*PIECES, *MORE)), min_size=1, max_size=3))
        case "body":
            body = draw(st.sampled_from(BODIES))
        case "twice":
            lines += [draw(st.sampled_from(lines))]
        case "no host":
            del lines[0]
        case _:
            pass
    return line + b"".join(draw(st.permutations(lines))) + b"\r\n" + body


def test_what_is_read_at_a_glance_is_read_as_the_reader_reads_it() -> None:
    drawn = read_at_a_glance = 0

    @given(data=messages())
    def see(data: bytes) -> None:
        nonlocal drawn, read_at_a_glance
        read = whole_request(data, CLIENT, "https")
        drawn += 1
        if read is None:
            return
        read_at_a_glance += 1
        strict = strictly(data)
        assert strict is not None, "the reader refuses it, or sees more in it"
        head, strict_body = strict
        conversation = Conversation.__new__(Conversation)
        conversation._client, conversation._scheme = CLIENT, "https"
        assert read == (conversation._request(head), strict_body)
        assert not head.closes

    see()
    assert read_at_a_glance >= READ_SHARE * drawn, "else hardly anything is compared"


def test_all_that_the_corpus_asks_for_plainly_is_read_at_a_glance() -> None:
    """Else every route of the API would be as slow as before, and no test would see it."""
    usual = [case for case in ROUTE_CASES if case.sent.isascii() and len(case.sent) < LANE_HEAD_MAX_BYTES]
    missed = [case.name for case in usual if glanced(case.sent) is None]
    assert missed == ["PATCH health", "TRACE health", "PROPFIND health"]


def glanced(data: bytes) -> Request | None:
    """Return the request that is read at a glance."""
    read = whole_request(data, CLIENT, "http")
    return None if read is None else read[0]


@pytest.mark.parametrize("case", FRAMING_CASES, ids=lambda case: case.name)
def test_what_framing_refuses_is_not_read_at_a_glance(case: Case) -> None:
    assert glanced(case.sent) is None or strictly(case.sent) is not None


def test_a_request_is_read_only_when_it_is_all_there_and_nothing_else() -> None:
    data = b"POST /api/v1/policies HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    assert glanced(data) is not None
    assert not any(glanced(data[:size]) for size in range(len(data)))
    assert glanced(data + b"G") is None
    assert glanced(data + data) is None


@pytest.mark.parametrize("twice", [b"Host: a\r\n", b"Content-Length: 2\r\n"])
def test_what_frames_a_request_is_said_once(twice: bytes) -> None:
    data = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    assert glanced(data) is not None
    assert glanced(data.replace(b"\r\n\r\n", b"\r\n" + twice + b"\r\n")) is None


def test_long_heads_hosts_and_many_headers_take_the_long_way() -> None:
    line = b"GET / HTTP/1.1\r\n"
    assert glanced(line + b"Host: " + b"a" * AUTHORITY_MAX_BYTES + b"\r\n\r\n") is not None
    assert glanced(line + b"Host: " + b"a" * (AUTHORITY_MAX_BYTES + 1) + b"\r\n\r\n") is None
    assert glanced(line + b"Host: a\r\n" + b"A: b\r\n" * HEADER_FIELDS_MAX + b"\r\n") is None
    assert glanced(line + b"Host: a\r\nA: " + b"b" * LANE_HEAD_MAX_BYTES + b"\r\n\r\n") is None
