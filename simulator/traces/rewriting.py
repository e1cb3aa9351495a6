"""A trace with secrets into one without: back to what was taken, and through the redaction again. No I/O."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from simulator.attacks.script import Expect, Wire
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE
from simulator.traces.format import ANSWERS, OPERATIONS, Exchange, Header, RawRequest, Response, Trace
from simulator.traces.messages import to_bytes, to_text, unescape
from simulator.traces.principals import OWNER_TOKEN
from simulator.traces.resign import recorded_bytes
from simulator.traces.tape import Taken
from simulator.traces.writing import Origin, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Iterator


def redacted_lines(trace: Trace) -> Iterator[Header | Exchange]:
    """Yield the lines of a trace without its secrets. One that has none is given as it is."""
    header = trace.header
    if header.redacted:
        return iter((header, *trace.exchanges))
    origin = Origin(
        header.scenario,
        header.seed,
        header.target,
        header.authority,
        header.started_unix_ns,
        header.attacks,
        header.server_settings,
        header.left_out,
    )
    taken = [taken_of(exchange) for exchange in trace.exchanges]
    return TraceWriter(taken, origin, header.secrets.get(OWNER_TOKEN, ""), redact=True, known=header.secrets).lines()


def taken_of(exchange: Exchange) -> Taken:
    """Return an exchange of a trace with secrets as it was taken."""
    request = recorded_bytes(exchange)
    return Taken(
        planned_ns=exchange.planned_ns,
        sent_ns=exchange.sent_ns,
        answered_ns=NEVER_NS if exchange.answered_ns is None else exchange.answered_ns,
        source=exchange.source,
        campaign=exchange.campaign or HONEST,
        machine=NO_MACHINE if exchange.machine is None else exchange.machine,
        operation=OPERATIONS[exchange.operation],
        request=request,
        answer=None if exchange.response is None else _answer(exchange.response),
        expected=ANSWERS[exchange.expected],
        got=ANSWERS[exchange.got],
        wire=as_wire(exchange.request, request) if isinstance(exchange.request, RawRequest) else None,
    )


def as_wire(request: RawRequest, message: bytes) -> Wire | None:
    """Return how a message is to be written; cut where the recorded one was. None where one answer simply ends it."""
    if request.then == "answer":
        return None
    parts = []
    start = 0
    for number, cut in enumerate(request.cuts, 1):
        end = len(message) if number == len(request.cuts) else max(start, min(cut.at_bytes, len(message)))
        parts.append((message[start:end], cut.pause_s))
        start = end
    whole = tuple(parts) or ((message, 0.0),)
    got = ANSWERS["accepted"]
    return Wire(
        whole,
        Expect(got, ()),
        request.then,
        request.patience_s,
        request.read_bytes_per_s,
        slow_seconds=math.inf if request.slow_s is None else request.slow_s,
        reset_after_bytes=request.reset_after_bytes,
    )


def _answer(response: Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status:03}", *(f"{name}: {value}" for name, value in response.headers)]
    head = to_bytes(unescape("\r\n".join(lines)))
    body = to_text(base64.b64decode(response.body)) if response.base64 else response.body
    return head + b"\r\n\r\n" + to_bytes(unescape(body))
