"""What is read at a glance is read as the strict parser reads it, and what machines send is read at a glance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.http.heads import parse_head
from reference_server.http.plain_heads import plain_head
from reference_server.limits import AUTHORITY_MAX_BYTES, LANE_BODY_MAX_BYTES, LANE_HEAD_MAX_BYTES
from reference_server.operations.routing import ROUTES

LINE = b"POST /api/v1/workers/wrk_0123456789abcdef/heartbeat HTTP/1.1\r\n"
HOST, LENGTH = b"Host: hatchfarm.example:8080\r\n", b"Content-Length: 300\r\n"
TOKEN, CERTIFICATE = b"X-Machine-Token: " + b"a" * 48 + b"\r\n", b"X-Machine-Certificate-Id: mcert_0\r\n"
PLAIN = LINE + HOST + LENGTH + TOKEN + CERTIFICATE + b"\r\n"
CLIENTS = {
    "curl": b"User-Agent: curl/8.5\r\nAccept: */*\r\nX-Machine-Certificate-ID: mcert_0\r\nContent-Type: a/b; c=d\r\n",
    "httpx": b"accept: */*\r\naccept-encoding: br\r\nuser-agent: httpx\r\nx-machine-certificate-id: mcert_0\r\n",
    "Go": b"User-Agent: Go-http-client/1.1\r\nX-Machine-Certificate-Id: mcert_0\r\nAccept-Encoding: gzip\r\n",
}
PIECES = (
    *(
        HOST,
        LENGTH,
        TOKEN,
        CERTIFICATE,
        HOST.lower(),
        TOKEN.lower(),
        b"Host:\r\n",
        b"Host: [::1]:80\r\n",
        b"Host: a b\r\n",
    ),
    *(b"Host: " + b"a" * size + b"\r\n" for size in (AUTHORITY_MAX_BYTES, AUTHORITY_MAX_BYTES + 1)),
    *(
        b"Host: a/b\r\n",
        b"Host: [x\r\n",
        b"Content-Length: 007\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: 1 \r\n",
    ),
    *(b"Content-Length: 1, 1\r\n", b"Content-Length : 1\r\n", b"X-Machine-Token:\r\n", b"X-Machine-Token: a b\r\n"),
    *(b"X-Machine-Token:\ta\r\n", b"X-Machine-Token:  a\r\n", b"X-Machine-Token: \xe9\r\n", b"User-Agent: x\ty \r\n"),
    *(b"Accept: a\rb\r\n", b"Accept: a\nb\r\n", b"Accept: a\x00\r\n", b"Accept: a\r\n b\r\n", b"Accept: \xff\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Origin: a\r\n"),
    *(b"Accept\r\n", b": x\r\n", b"\r\n", b"\n", b"Accept: x\n", b"Accept", b"X-Forwarded-For: 1.2.3.4\r\n"),
    *(
        b"x-forwarded-proto: https\r\n",
        b"Via: 1.1 a, 1.1 b\r\n",
        b"Connection: keep-alive\r\n",
        b"X_Y: z\r\n",
        b"A:\r\n",
    ),
    *(
        b"Proxy-Connection: close\r\n",
        b"Upgrade: h2c\r\n",
        b"TE: trailers\r\n",
        b"AUTHORIZATION: a\r\n",
        b"ORIGIN: a\r\n",
    ),
)
LINES = (
    *(LINE, LINE.replace(b"/api", b""), LINE.replace(b"POST", b"post"), LINE.replace(b"1.1", b"1.0"), b"\r\n" + LINE),
    *(LINE.replace(b"wrk_0123456789abcdef", b""), LINE.replace(b"wrk", b"a/b"), LINE.replace(b"wrk", b"%41?#")),
    *(LINE.replace(b" ", b"  "), LINE.replace(b"/api", b"http://a/api"), LINE.replace(b"\r", b""), LINE + LINE),
)


@given(line=st.sampled_from(LINES), pieces=st.lists(st.sampled_from(PIECES), max_size=8), needed=st.booleans())
def test_what_is_read_at_a_glance_is_read_as_the_parser_reads_it(
    line: bytes, pieces: list[bytes], *, needed: bool
) -> None:
    data = line + (HOST + LENGTH if needed else b"") + b"".join(pieces) + b"\r\n"
    plain = plain_head(data)
    if plain is None:
        return
    head = parse_head(data[: plain.end])
    assert head is not None, "the parser refuses it"
    assert (head.method, head.version) == (b"POST", "1.1")
    assert head.target.decode().removeprefix("/api") == f"/v1/workers/{plain.worker_id}/heartbeat"
    assert not any((head.closes, head.chunked, head.expects_continue))
    assert head.content_length == plain.body_bytes
    for name, read in (
        (b"x-machine-token", plain.token),
        (b"x-machine-certificate-id", plain.certificate_id),
        (b"x-forwarded-for", plain.forwarded_for.strip(" \t")),
        (b"x-forwarded-proto", plain.forwarded_proto.strip(" \t")),
    ):
        values = head.values(name)
        assert len(values) <= 1, "said twice, it is not known who calls"
        assert b"".join(values).decode() == read
    names = [name.decode() for name, _ in head.headers]
    assert not {"origin", "authorization", "x-owner-id", "x-moltbook-identity"} & set(names)
    assert len(head.values(b"host")) == len(head.values(b"content-length")) == 1


@pytest.mark.parametrize("client", CLIENTS)
def test_what_clients_send_is_read_at_a_glance(client: str) -> None:
    head = plain_head(LINE + HOST + CLIENTS[client] + TOKEN + LENGTH + b"\r\nbody")
    assert head is not None
    assert (head.worker_id, head.token, head.certificate_id) == ("wrk_0123456789abcdef", "a" * 48, "mcert_0")


def test_heads_are_read_where_they_begin_and_only_when_they_are_all_there() -> None:
    assert all(plain_head(PLAIN[:size]) is None for size in range(len(PLAIN)))
    second = plain_head(PLAIN + PLAIN + b"rest", len(PLAIN))
    assert second is not None
    assert second.end == 2 * len(PLAIN)


@pytest.mark.parametrize("twice", [HOST, LENGTH, TOKEN, CERTIFICATE, TOKEN.lower()])
def test_what_is_said_twice_is_not_plain(twice: bytes) -> None:
    assert plain_head(PLAIN[:-2] + twice + b"\r\n") is None


@pytest.mark.parametrize("missing", [HOST, LENGTH])
def test_what_every_request_has_is_not_missing(missing: bytes) -> None:
    assert plain_head(PLAIN.replace(missing, b"")) is None


def test_long_heads_and_bodies_are_read_as_any_other() -> None:
    agent = b"User-Agent: " + b"x" * (LANE_HEAD_MAX_BYTES - len(PLAIN) - 14) + b"\r\n"
    assert plain_head(PLAIN[:-2] + agent + b"\r\n") is not None
    assert plain_head(PLAIN[:-2] + agent.replace(b"x", b"xx", 1) + b"\r\n") is None
    longest = LENGTH.replace(b"300", b"%d" % LANE_BODY_MAX_BYTES)
    assert plain_head(PLAIN.replace(LENGTH, longest)) is not None
    assert plain_head(PLAIN.replace(LENGTH, LENGTH.replace(b"300", b"%d" % (LANE_BODY_MAX_BYTES + 1)))) is None


@pytest.mark.parametrize(
    ("before", "filler", "after"),
    [(b"", b"a", b""), (b"", b"a", b":8080"), (b"[", b":", b"]"), (b"a:", b"8", b"")],
    ids=["name", "port", "address", "digits"],
)
def test_a_host_is_as_long_at_a_glance_as_anywhere_else(before: bytes, filler: bytes, after: bytes) -> None:
    """The white space around it is not part of it."""
    for size, served in ((AUTHORITY_MAX_BYTES, True), (AUTHORITY_MAX_BYTES + 1, False)):
        authority = before + filler * (size - len(before) - len(after)) + after
        assert len(authority) == size
        for host in (b"Host:" + authority + b"\r\n", b"Host: " + authority + b"\r\n"):
            data = PLAIN.replace(HOST, host)
            assert (parse_head(data) is not None) == served
            assert (plain_head(data) is not None) == served


@pytest.mark.parametrize("name", sorted({*ROUTES.single_headers, "origin", "x-forwarded-for", "x-forwarded-proto"}))
def test_what_is_read_of_any_request_is_no_header_like_others(name: str) -> None:
    """Said twice, or to no machine's answer, it takes the way that every request takes."""
    lines = [f"{written}: x\r\n".encode() for written in (name, name.title(), name.upper())]
    for line in lines:
        assert plain_head(PLAIN[:-2] + line + lines[0] + b"\r\n") is None


@pytest.mark.parametrize(
    "line",
    [
        *(b"Via: 1.1 varnish\r\n", b"X-Real-IP: 192.0.2.1\r\n", b"traceparent: 00-0-0-01\r\n", b"Forwarded: for=a\r\n"),
        *(b"Connection: keep-alive\r\n", b"Connection: Keep-Alive\r\n", b"X-Request-ID: a\r\n", b"Cookie: a=b\r\n"),
    ],
)
def test_what_proxies_and_clients_add_is_read_at_a_glance(line: bytes) -> None:
    assert plain_head(PLAIN[:-2] + line + b"\r\n") is not None
    assert plain_head(LINE + line + PLAIN.removeprefix(LINE)) is not None


def test_what_a_proxy_says_of_a_request_is_read() -> None:
    head = plain_head(PLAIN[:-2] + b"X-Forwarded-For: 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\r\n")
    assert head is not None
    assert (head.forwarded_for, head.forwarded_proto) == (" 192.0.2.1, 10.0.0.1", " https")
