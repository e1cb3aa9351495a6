"""The request corpus, second part: framing, well-formed, malformed and ambiguous (contract §6)."""

from __future__ import annotations

from msgspec.structs import replace

from reference_server.limits import BODY_MAX_BYTES, HEAD_MAX_BYTES
from reference_server.wire.values import Request
from tests.http.corpus import BEARER, WORLD, Case, Meant, framed, get, plain, post
from tests.http.twins import OWNER, written

MACHINE = WORLD.machine
BEAT = MACHINE.heartbeat("framed")
HEALTH = get("/health")
BEAT_HEAD, _, BEAT_BODY = written(BEAT).partition(b"\r\n\r\n")
BEAT_START = BEAT_HEAD.partition(b"Content-Length")[0]
"""The head of a heartbeat up to its length."""
HEALTH_START = b"GET /health HTTP/1.1\r\nHost: server\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BEAT_BODY)
BEHIND = b"GET /status HTTP/1.1\r\nHost: server\r\n\r\n"
"""What comes behind a refusal is never served."""

BAD_LINES = {
    "transfer coding beside a length": b"Transfer-Encoding: chunked",
    "second length": b"Content-Length: %d" % len(BEAT_BODY),
    "second, other length": b"Content-Length: 1",
    "bare CR": b"A: b\rc",
    "bare LF": b"A: b\nc: d",
    "NUL": b"A: b\x00c",
    "bell": b"A: b\x07c",
    "delete": b"A: b\x7fc",
    "space before the colon": b"A : b",
    "tab before the colon": b"A\t: b",
    "folded line": b"A: b\r\n c",
    "line folded with a tab": b"A: b\r\n\tc",
    "no colon": b"A",
    "no name": b": b",
    "space in a name": b"A b: c",
    "name beyond ASCII": b"\xc4: b",
    "slash in a name": b"A/b: c",
    "second host": b"Host: other",
    "ended by CR CR LF": b"A: b\r",
}
BAD_LENGTHS = ["+2", "-2", "1_0", "0x2", "2 2", "2, 2", "2.0", "1e1", "", '"2"', "9" * 30, "٢"]
BAD_CODINGS = {
    "gzip": [b"gzip"],
    "gzip, chunked": [b"gzip, chunked"],
    "gzip and chunked": [b"gzip", b"chunked"],
    "chunked twice": [b"chunked", b"chunked"],
    "chunked, identity": [b"chunked, identity"],
    "identity": [b"identity"],
    "nearly chunked": [b"xchunked"],
    "chunked with a control character": [b"chunked\x0b"],
}


def coded(codings: list[bytes], body: bytes) -> bytes:
    return BEAT_START + b"".join(b"Transfer-Encoding: %b\r\n" % coding for coding in codings) + b"\r\n" + body


def whole_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


MALFORMED = [
    *(
        framed(f"heartbeat, {name}", BEAT_START + line + b"\r\n" + LENGTH + b"\r\n" + BEAT_BODY + BEHIND, 400)
        for name, line in BAD_LINES.items()
    ),
    *(
        framed(f"health, {name}", HEALTH_START + line + b"\r\n\r\n" + BEHIND, 400)
        for name, line in BAD_LINES.items()
        if "length" not in name
    ),
    *(
        framed(f"length {length!r}", BEAT_START + f"Content-Length: {length}\r\n\r\n".encode() + BEAT_BODY, 400)
        for length in BAD_LENGTHS
    ),
    *(framed(f"coding {name}", coded(codings, whole_chunk(BEAT_BODY)), 400) for name, codings in BAD_CODINGS.items()),
    framed("heartbeat with bare line feeds", written(BEAT).replace(b"\r\n", b"\n"), 400),
    framed("health with bare line feeds", written(HEALTH).replace(b"\r\n", b"\n"), 400),
    framed("heartbeat with bare carriage returns", written(BEAT).replace(b"\r\n", b"\r"), 400),
    framed("white space before the first header", b"POST / HTTP/1.1\r\n Host: server\r\n\r\n", 400),
    framed("no host", b"GET /health HTTP/1.1\r\n\r\n", 400),
    framed("heartbeat without a host", written(BEAT).replace(b"Host: server\r\n", b""), 400),
    framed("heartbeat without a version", b"POST " + MACHINE.path.encode() + b"\r\n\r\n", 400),
    *(
        framed(f"request line {line!r}", line + b"\r\nHost: server\r\n\r\n", 400)
        for line in (
            b"BREW /health HTTP/1.1",
            b"get /health HTTP/1.1",
            b"GET /health HTTP/1.2",
            b"GET /health HTTP/2.0",
            b"GET /health HTTP/0.9",
            b"GET /health http/1.1",
            b"GET /health HTTP/1.1 ",
            b"GET /health RTSP/1.0",
            b"SOURCE /health ICE/1.0",
            b"GET /hea lth HTTP/1.1",
            b"GET\t/health HTTP/1.1",
            b"GET health HTTP/1.1",
            b"GET * HTTP/1.1",
            b"GET /he\xc3\xa4lth HTTP/1.1",
            b"GET /health\x00 HTTP/1.1",
            b"GET ftp://server/health HTTP/1.1",
            b"GET http:///health HTTP/1.1",
            b"GET http://a b/health HTTP/1.1",
            b"GET http://user@server/health HTTP/1.1",
            b"CONNECT server:80 HTTP/1.1",
            b"PRI * HTTP/2.0",
        )
    ),
    framed("TLS on a plain port", bytes.fromhex("16030100c8010000c40303") + bytes(range(32)), 400),
    framed("chunks over HTTP/1.0", coded([b"chunked"], whole_chunk(BEAT_BODY)).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
]


def padded(start: bytes, size: int) -> bytes:
    """A head of exactly that many bytes, its empty line included."""
    return start + b"User-Agent: " + b"x" * (size - len(start) - 16) + b"\r\n\r\n"


LARGE_HEADS = [
    framed("head as large as may be", padded(HEALTH_START, HEAD_MAX_BYTES), (200, HEALTH)),
    framed("head a byte too large", padded(HEALTH_START, HEAD_MAX_BYTES + 1) + BEHIND, 431),
    framed("heartbeat, head as large as may be", padded(BEAT_START + LENGTH, HEAD_MAX_BYTES) + BEAT_BODY, (200, BEAT)),
    framed("heartbeat, head a byte too large", padded(BEAT_START + LENGTH, HEAD_MAX_BYTES + 1) + BEAT_BODY, 431),
    framed("heartbeat, head half too large", padded(BEAT_START + LENGTH, 3 * HEAD_MAX_BYTES // 2) + BEAT_BODY, 431),
    framed("head without an end", b"POST " + MACHINE.path.encode() + b" HTTP/1.1\r\nA: " + b"x" * HEAD_MAX_BYTES, 431),
    framed("many headers", HEALTH_START + b"".join(b"A%d: b\r\n" % number for number in range(9000)) + b"\r\n", 431),
    framed("target without an end", b"GET /" + b"x" * HEAD_MAX_BYTES, 431),
    framed("heartbeat, head larger than the lane's", padded(BEAT_START + LENGTH, 5000) + BEAT_BODY, (200, BEAT)),
]

HEAD_START = HEALTH_START.replace(b"GET", b"HEAD", 1)
REFUSED_HEADS = [  # what answers HEAD has no body, why ever it is refused (RFC 9110 §9.3.2)
    framed("HEAD, a byte too large", padded(HEAD_START, HEAD_MAX_BYTES + 1) + BEHIND, Meant(431, refused="HEAD")),
    framed("HEAD, many headers", HEAD_START + b"A: b\r\n" * 9000 + b"\r\n", Meant(431, refused="HEAD")),
    framed("HEAD, no colon", b"\r\n" + HEAD_START + b"A\r\n\r\n", Meant(400, refused="HEAD")),
    framed("HEAD, two hosts", HEAD_START + b"Host: b\r\n\r\n" + BEHIND, Meant(400, refused="HEAD")),
    framed("HEAD, no host", b"HEAD / HTTP/1.1\r\n\r\n" + BEHIND, Meant(400, refused="HEAD")),
    framed("head in small letters", b"head / HTTP/1.1\r\nA\r\n\r\n", 400),
]

POLICIES = post("/api/v1/policies", b"")
POLICIES_START = b"POST /api/v1/policies HTTP/1.1\r\nHost: server\r\nAuthorization: %b\r\n" % OWNER[0][1].encode()
FULL_BODY = b" " * BODY_MAX_BYTES
TOO_LARGE = (413, replace(POLICIES, body_too_large=True))
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LARGE_BODIES = [
    framed(
        "body as large as may be",
        POLICIES_START + b"Content-Length: %d\r\n\r\n" % BODY_MAX_BYTES + FULL_BODY,
        (400, replace(POLICIES, body=FULL_BODY)),
    ),
    framed(
        "body a byte too large",
        POLICIES_START + b"Content-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1) + FULL_BODY + b" " + BEHIND,
        TOO_LARGE,
        closes=True,
    ),
    framed(
        "body announced too large, never sent",
        POLICIES_START + b"Content-Length: 99999999999\r\n\r\n",
        TOO_LARGE,
        closes=True,
    ),
    framed(
        "body announced too large, with a pause for consent",
        POLICIES_START + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n",
        TOO_LARGE,
        closes=True,
    ),
    framed(
        "heartbeat announced too large",
        BEAT_START + b"Content-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1),
        (413, replace(BEAT, body=b"", body_too_large=True)),
        closes=True,
    ),
    framed(
        "body too large for no route",
        b"POST /nothing HTTP/1.1\r\nHost: server\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1),
        (404, Request("POST", "/nothing", body_too_large=True)),
        closes=True,
    ),
    framed("one chunk too large", POLICIES_START + CHUNKED + b"ffffffff\r\n", TOO_LARGE, closes=True),
    framed(
        "chunks too large together",
        POLICIES_START + CHUNKED + b"100000\r\n" + FULL_BODY + b"\r\n1\r\n",
        TOO_LARGE,
        closes=True,
    ),
]

GOOD_CHUNKS = {
    "one chunk": whole_chunk(BEAT_BODY),
    "many chunks": b"".join(b"1\r\n%c\r\n" % byte for byte in BEAT_BODY) + b"0\r\n\r\n",
    "extensions": b'%X ;a=b;c="d"\r\n%b\r\n0;e\r\n\r\n' % (len(BEAT_BODY), BEAT_BODY),
    "trailers": b"%x\r\n%b\r\n000\r\nA: b\r\nX-Owner-Id: mallory\r\n\r\n" % (len(BEAT_BODY), BEAT_BODY),
    "zeros before the size": b"0000%x\r\n%b\r\n0\r\n\r\n" % (len(BEAT_BODY), BEAT_BODY),
}
BAD_CHUNKS = {
    "no size": b"\r\nab\r\n",
    "size in words": b"g\r\n",
    "signed size": b"+2\r\nab\r\n",
    "size below zero": b"-2\r\nab\r\n",
    "size with a prefix": b"0x2\r\nab\r\n",
    "space before the size": b" 2\r\nab\r\n",
    "size of nine digits": b"000000002\r\nab\r\n",
    "bare line feed after the size": b"2\nab\r\n",
    "bare line feed in an extension": b"2;a\nb\r\nab\r\n",
    "bare carriage return in an extension": b"2;a\rb\r\nab\r\n",
    "more than the size": b"2\r\nabc\r\n0\r\n\r\n",
    "bare line feed after the data": b"2\r\nab\n\n0\r\n\r\n",
    "trailer without a colon": b"0\r\nabc\r\n\r\n",
    "space before a trailer's colon": b"0\r\na : b\r\n\r\n",
    "folded trailer": b"0\r\na: b\r\n c\r\n\r\n",
    "bare line feed in a trailer": b"0\r\na: b\nc: d\r\n\r\n",
    "NUL in a trailer": b"0\r\na: \x00\r\n\r\n",
    "endless extension": b"2;" + b"a" * HEAD_MAX_BYTES,
}
CHUNKS = [
    *(framed(f"chunks, {name}", coded([b"chunked"], body), (200, BEAT)) for name, body in GOOD_CHUNKS.items()),
    framed("coding in capitals", coded([b"CHUNKED"], whole_chunk(BEAT_BODY)), (200, BEAT)),
    *(framed(f"chunks, {name}", coded([b"chunked"], body), 400) for name, body in BAD_CHUNKS.items()),
]


def lined(line: bytes, *more: bytes, closes: bool = False) -> Case:
    """A health request written another way."""
    sent = b"\r\n".join([line, *more, b"", b""])
    return framed(f"health as {sent!r}"[:90], sent, (200, HEALTH), closes=closes)


SERVER = b"Host: server"
GOOD_HOSTS = (b"a:80", b"a:", b"[::1]:8080", b"[v1.x:y]", b"x" * 300, b"..", b"a..b", b"a%20b", b"A_-.~!$&'()*+,;=")
BAD_HOSTS = (
    b"a b",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a@b",
    b"a:80:80",
    b"a:b",
    b"[::1",
    b"[x]",
    b"::1",
    b"\xc3\xa4",
    b'a"',
    b"a" * 1025,
)
SUMMARY = "/api/v1/workers/summary"
SUMMARY_START = f"GET {SUMMARY} HTTP/1.1\r\nHost: server\r\n{BEARER[0][0]}: {BEARER[0][1]}\r\n".encode()
SPACED_HEAD = BEAT_HEAD.replace(b"\r\n", b" \t\r\n").replace(b" \t\r\n", b"\r\n", 1).replace(b": ", b":\t ")
CLOSING = {
    "GET": HEALTH,
    "HEAD": Request("HEAD", "/health"),
    "OPTIONS": Request("OPTIONS", "/health"),
    "POST": Request("POST", "/health"),
}
WELL_FORMED = [
    lined(b"GET http://other/health HTTP/1.1", SERVER),
    lined(b"GET HTTPS://other:81/health HTTP/1.1", SERVER),
    lined(b"GET /health HTTP/1.1", b"Host:"),
    *(lined(b"GET /health HTTP/1.1", b"HOST: " + host) for host in GOOD_HOSTS),
    *(lined(b"GET http://" + host + b"/health HTTP/1.1", SERVER) for host in GOOD_HOSTS),
    lined(b"GET /health HTTP/1.1", SERVER, b"Connection: keep-alive"),
    lined(b"\r\n\r\nGET /health HTTP/1.1", SERVER),
    lined(b"GET /health HTTP/1.1", SERVER, b"Content-Length: 0"),
    lined(b"GET /health HTTP/1.1", SERVER, b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
    lined(
        b"GET /health HTTP/1.1",
        SERVER,
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABk",
    ),
    lined(b"GET /health HTTP/1.1", SERVER, b"Expect: something"),
    lined(b"GET /health HTTP/1.1", SERVER, b"Trailer: a", b"TE: trailers"),
    lined(b"GET /health HTTP/1.1", SERVER, b"Connection: close", closes=True),
    lined(b"GET /health HTTP/1.1", SERVER, b"Connection: x, CLOSE", closes=True),
    lined(b"GET /health HTTP/1.1", SERVER, b"Connection: close", b"Connection: x", closes=True),
    lined(b"GET /health HTTP/1.0", closes=True),
    lined(b"GET /health HTTP/1.0", SERVER, b"Connection: keep-alive", closes=True),
    framed("absolute without a path", b"GET http://other HTTP/1.1\r\nHost: server\r\n\r\n", (200, get("/"))),
    framed(
        "absolute with a query that holds a path",
        b"GET http://h?x=/health HTTP/1.1\r\nHost: server\r\n\r\n",
        (200, get("/", query="x=/health")),
    ),
    *(framed(f"host {host[:30]!r}", b"GET /health HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400) for host in BAD_HOSTS),
    framed(
        "length with 5,000 zeros",
        BEAT_START + b"Content-Length: " + b"0" * 5000 + LENGTH[16:] + b"\r\n" + BEAT_BODY,
        (200, BEAT),
    ),
    *(
        framed(f"bare line feed within {line!r}", line + b"\r\nHost: server\r\n\r\n" + BEHIND, 400)
        for line in (
            b"GET /health\nHost: a HTTP/1.1",
            b"POST /health\nX: HTTP/1.1",
            b"GET /health HTTP/1.1\nX: HTTP/1.1",
        )
    ),
    framed("options of everything", b"OPTIONS * HTTP/1.1\r\nHost: server\r\n\r\n", (200, Request("OPTIONS", "/"))),
    framed(
        "get with a body", HEALTH_START + b"Content-Length: 5\r\n\r\nab\r\n\r", (200, replace(HEALTH, body=b"ab\r\n\r"))
    ),
    framed("absolute heartbeat", written(BEAT).replace(b"POST ", b"POST http://other"), (200, BEAT)),
    framed("heartbeat over HTTP/1.0", written(BEAT).replace(b"HTTP/1.1", b"HTTP/1.0"), (200, BEAT), closes=True),
    framed(
        "heartbeat in capitals", BEAT_HEAD.replace(b"x-machine", b"X-MACHINE") + b"\r\n\r\n" + BEAT_BODY, (200, BEAT)
    ),
    framed("white space around values", SPACED_HEAD + b"\r\n\r\n" + BEAT_BODY, (200, BEAT)),
    framed(
        "white space around an owner id", SUMMARY_START + b"X-Owner-ID: \t ada \t\r\n\r\n", (200, get(SUMMARY, OWNER))
    ),
    framed("an owner id of white space", SUMMARY_START + b"X-Owner-ID: \t \r\n\r\n", (401, get(SUMMARY, BEARER))),
    framed("no space after colons", BEAT_HEAD.replace(b": ", b":") + b"\r\n\r\n" + BEAT_BODY, (200, BEAT)),
    framed("empty lines before a heartbeat", b"\r\n\r\n" + written(BEAT), (200, BEAT)),
    framed("nothing at all", b""),
    framed("empty lines only", b"\r\n\r\n"),
    plain("heartbeat that keeps alive", 200, BEAT, "Connection: keep-alive"),
    plain("heartbeat with its body at once though it asked", 200, BEAT, "Expect: 100-continue"),
    *(
        framed(
            f"{method} that closes",
            method.encode() + b" /health HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n" + BEHIND,
            (405 if method == "POST" else 200, request),
            closes=True,
        )
        for method, request in CLOSING.items()
    ),
    framed(
        "heartbeat that closes",
        written(BEAT, "Connection: close") + written(MACHINE.heartbeat("behind")),
        (200, BEAT),
        closes=True,
    ),
]

PIPELINED = [
    framed(
        "three heartbeats",
        b"".join(written(MACHINE.heartbeat(f"n{number}")) for number in range(3)),
        *(Meant(200, MACHINE.heartbeat(f"n{number}")) for number in range(3)),
    ),
    framed(
        "the same heartbeat three times",
        3 * written(BEAT),
        (200, BEAT),
        (401, BEAT),
        (401, BEAT),
    ),
    framed(
        "heartbeat, health, heartbeat, and one that is malformed",
        written(BEAT) + written(HEALTH) + written(MACHINE.heartbeat("last")) + b"GET / HTTP/1.1\nHost: a\n\n" + BEHIND,
        (200, BEAT),
        (200, HEALTH),
        (200, MACHINE.heartbeat("last")),
        400,
    ),
    framed(
        "heads of health between bodies",
        written(HEALTH) + written(Request("HEAD", "/health")) + written(POLICIES) + written(HEALTH),
        (200, HEALTH),
        (200, Request("HEAD", "/health")),
        (400, POLICIES),
        (200, HEALTH),
    ),
]

FRAMING_CASES = [*MALFORMED, *LARGE_HEADS, *REFUSED_HEADS, *LARGE_BODIES, *CHUNKS, *WELL_FORMED, *PIPELINED]
