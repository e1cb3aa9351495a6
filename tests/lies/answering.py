"""Lies about heartbeats and heads, each with the rules that it must break."""

from __future__ import annotations

from tests.lies.changing import (
    BEAT,
    FETCH,
    OTHER,
    REGISTER,
    FoundLie,
    body,
    data,
    drop,
    everywhere,
    head,
    limited,
    put,
    repeated,
    swapped,
    to,
    with_body,
)

HEARD: dict[str, FoundLie] = {
    # heartbeats
    "an acceptance that names another machine": FoundLie(
        to(BEAT, put(OTHER, "worker_id"), every=5), ("contents.other",), OTHER
    ),
    "acceptances swapped between machines": FoundLie(swapped(BEAT), ("contents.other",)),
    "an acceptance without a machine": FoundLie(to(BEAT, drop("worker_id")), ("contents.fields",)),
    "honest heartbeats refused": FoundLie(
        to(
            BEAT,
            lambda answer: with_body(
                head(rb"\A(\S+) 200", rb"\1 401")(answer), b'{"success":false,"error":"invalid heartbeat auth"}'
            ),
            every=5,
        ),
        ("answers.took-effect",),
    ),
    "success that accepted nothing": FoundLie(
        to(BEAT, data(lambda shown: shown.update(accepted=False)), after=8),
        ("answers.took-effect", "contents.accepted"),
    ),
    "200 in place of 201": FoundLie(to(REGISTER, head(rb"\A(\S+) 201", rb"\1 200")), ("contents.status",)),
    "acceptances that were refusals": FoundLie(
        everywhere(lambda answer: b"HTTP/1.1 200 \r\n" + answer.split(b"\r\n", 1)[1], of=401),
        ("answers.wrong", "contents.envelope"),
    ),
    "one refusal for another": FoundLie(
        everywhere(body(lambda _: b'{"success":false,"error":"invalid heartbeat auth (nonce_replayed)"}'), of=401),
        ("contents.refusal-text",),
        "nonce_replayed",
    ),
    "a refusal that says success": FoundLie(
        everywhere(body(lambda content: content.replace(b"false", b"true")), of=401), ("contents.refusal-envelope",)
    ),
    "a second answer behind the first": FoundLie(to(BEAT, lambda answer: answer * 2, every=4), ("contents.unasked",)),
    "bytes behind an answer": FoundLie(to(REGISTER, lambda answer: answer + b"more"), ("contents.unasked",), "more"),
    # heads
    "no request id": FoundLie(everywhere(head(rb"x-request-id: \S+\r\n", b"")), ("contents.request-id",)),
    "the same request id every time": FoundLie(
        everywhere(head(rb"x-request-id: \S+", b"x-request-id: 0123456789abcdef")), ("contents.request-id",)
    ),
    "a request id of capitals": FoundLie(
        to(BEAT, head(rb"x-request-id: \S+", b"x-request-id: 0123456789ABCDEF"), every=3), ("contents.request-id",)
    ),
    "JSON shown as HTML": FoundLie(to(BEAT, head(rb"application/json", b"text/html")), ("contents.content-type",)),
    "refusals shown as text": FoundLie(
        everywhere(head(rb"application/json", b"text/plain"), of=404), ("contents.refusal-content-type",)
    ),
    "metrics shown as JSON": FoundLie(
        to("GET /metrics", head(rb"content-type: [^\r]+", b"content-type: application/json")),
        ("contents.metrics-content-type",),
    ),
    "two lengths": FoundLie(
        to(FETCH, head(rb"\Z", b"\r\ncontent-length: 7")), ("contents.framing",), "content-length: 7"
    ),
    "anybody may read": FoundLie(everywhere(head(rb"\Z", b"\r\naccess-control-allow-origin: *")), ("contents.cors",)),
    "the owners' token in every answer": FoundLie(repeated, ("contents.secret",), "x-debug"),
    "nothing varies": FoundLie(everywhere(head(rb"\r\nvary: [^\r]+", b"")), ("contents.vary",)),
    "no method allowed": FoundLie(everywhere(head(rb"(?i)\r\nallow: [^\r]+", b""), of=405), ("contents.allow",)),
    "too many, until some day": FoundLie(
        to(BEAT, limited(b"retry-after: soon"), every=6),
        ("contents.retry-after", "limits.too-few"),
    ),
    "too many, said in other words": FoundLie(
        to(BEAT, limited(error="slow down"), every=6),
        ("contents.retry-after", "contents.refusal-text", "limits.too-few"),
    ),
    "plain-text 404": FoundLie(
        everywhere(lambda answer: with_body(head(rb"application/json", b"text/plain")(answer), b"not here\n"), of=404),
        ("contents.refusal-envelope", "contents.refusal-content-type"),
    ),
    "HEAD with a body": FoundLie(to("HEAD /status", lambda answer: answer + b'{"a":1}'), ("contents.unasked",)),
}
