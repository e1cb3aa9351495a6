"""The provider that an attack plays: no request that a server under attack may send it ends the run."""

from __future__ import annotations

import httpx
import msgspec
import pytest
import trio

from simulator.attacks.logins.forging import Forgery, Vouching, write
from simulator.deployment.identity_provider import IdentityProvider, identity_provider
from simulator.limits import IDENTITY_REQUEST_MAX_BYTES

DEEP = b"[" * 60_000
JWKS = b"/jwks HTTP/1.1\r\nHost: a\r\n"
UNREADABLE = {
    "no request": b"\r\n\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no text": b"\x00\xff\x16\x03\x01\r\n\r\n",
    "a header without a name": b"GET /jwks HTTP/1.1\r\n: a\r\n\r\n",
    "a length of letters": b"POST " + JWKS + b"Content-Length: ten\r\n\r\n",
    "a length of thousands of digits": b"POST " + JWKS + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "two lengths": b"POST " + JWKS + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a chunk of letters": b"POST " + JWKS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunks without end": b"POST " + JWKS + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20_000,
    "a head without end": b"GET " + JWKS + b"A: " + b"a" * IDENTITY_REQUEST_MAX_BYTES,
}


async def answered(provider: IdentityProvider, request: bytes) -> bytes:
    """Send bytes, and nothing more; return whatever comes until the close."""
    answer = bytearray()
    async with await trio.open_tcp_stream("127.0.0.1", httpx.URL(provider.origin).port or 0) as stream:
        try:
            await stream.send_all(request)
            await stream.send_eof()
            async for piece in stream:
                answer += piece
        except trio.BrokenResourceError:
            pass  # it was closed with some of it unread
    return bytes(answer)


async def test_what_cannot_be_read_is_refused_and_others_are_answered_all_the_same() -> None:
    async with identity_provider() as provider:
        for what, request in UNREADABLE.items():
            answer = await answered(provider, request)
            assert answer.startswith(b"HTTP/1.1 400 ") or (not answer and len(request) > IDENTITY_REQUEST_MAX_BYTES), (
                what
            )
        assert (await answered(provider, b"GET " + JWKS + b"\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (await answered(provider, b"GET " + JWKS + b"\r\n" + b"\x00" * 9)).startswith(b"HTTP/1.1 200 ")


async def test_a_body_may_come_in_chunks() -> None:
    body = msgspec.json.encode({"token": write(Vouching("m1", "molty"))})
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (body[:5], body[5:])) + b"0\r\n\r\n"
    head = b"POST /moltbook/api/v1/agents/verify-identity HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with identity_provider() as provider:
        answer = await answered(provider, head + chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"name":"molty"' in answer


@pytest.mark.parametrize("body", [DEEP, b"7", b"[]", b"null", b'{"token":[]}', b"\xff", b"code=\xff&code=%FF"])
def test_whatever_a_body_says_it_is_answered(body: bytes) -> None:
    provider = IdentityProvider()
    for path in ("/moltbook/api/v1/agents/verify-identity", "/token", "/github/token"):
        assert provider.answer(path, {}, body).status in {200, 400, 401}


def test_a_code_that_is_nested_without_end_is_none() -> None:
    code = write(Forgery(claims={"sub": "ada"}))
    assert IdentityProvider().answer("/github/token", {}, b"code=" + code.encode()).body != b"{}"
    deep = "eyJjbGFpbXMiOnsiYSI6" + "W1tb" * 20_000
    answer = IdentityProvider().answer("/github/token", {}, b"code=" + deep.encode())
    assert b"bad_verification_code" in answer.body


def test_no_two_providers_have_one_key() -> None:
    assert IdentityProvider().answer("/jwks", {}, b"").body != IdentityProvider().answer("/jwks", {}, b"").body
