"""More than a server may hold: heads and bodies past their bounds (contract §1, §6)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import msgspec

from simulator.attacks.acting import RULES
from simulator.attacks.catalogue import random_hex
from simulator.attacks.raw import BEHIND, START, Carrier, Form, RawAttack
from simulator.contract.answers import Operation
from simulator.contract.profiles import Basis
from simulator.fleet.requests import policy_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.attacks.script import ScriptContext

MIB = 1 << 20
"""The largest body (contract §1)."""
HEADERS = 100_000


class LargeHeaders(RawAttack):
    """Heads far past 64 KiB."""

    name = "http.large-headers"
    basis = Basis.HARDENED
    shape = "100,000 headers; a header, a name and a target of a megabyte each; a head without end"
    verdict = "431 or 400, and close"
    anchor = "OWASP API4:2023; contract §6: more than 64 KiB of headers"
    severity = 7.5
    statuses = (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HTTPStatus.BAD_REQUEST)
    headers: ClassVar[int] = HEADERS
    large_bytes: ClassVar[int] = MIB

    def forms(self) -> Iterable[Form]:
        """Make them large by number and by length."""
        many = b"".join(b"A%d: b\r\n" % number for number in range(self.headers))
        yield Form(f"{self.headers:,} headers", START + many + BEHIND[2:])
        yield Form("the same header again and again", START + b"A: b\r\n" * HEADERS + BEHIND[2:])
        yield Form("a value of a megabyte", START + b"A: " + b"b" * self.large_bytes + BEHIND)
        yield Form("a name of a megabyte", START + b"A" * self.large_bytes + b": b" + BEHIND)
        yield Form(
            "a target of a megabyte", START.replace(b"<path>", b"<path>?" + b"a" * self.large_bytes) + BEHIND[2:]
        )
        yield Form("a head of a megabyte that never ends", START + b"A: b\r\n" * (self.large_bytes // 6))


class HugeBody(RawAttack):
    """Bodies past 1 MiB, told beforehand or not."""

    name = "json.huge"
    basis = Basis.HARDENED
    shape = "bodies of more than 1 MiB: by length, in one chunk, in many, asked about first, and only announced"
    verdict = "413 request body too large"
    effect = "none, though the JSON in it would be right"
    anchor = "OWASP API4:2023; contract §1"
    severity = 7.5
    statuses = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE,)
    error = "request body too large"
    must_close = False

    def carriers(self, context: ScriptContext) -> Sequence[Carrier]:
        """Use a route that creates, and the busiest one."""
        worker_id = f"wrk_{random_hex(context.rng, 16)}".encode()
        return (
            Carrier(b"POST", b"/api/v1/policies", Operation.OTHER),
            Carrier(b"POST", b"/api/v1/workers/" + worker_id + b"/heartbeat", Operation.HEARTBEAT),
        )

    def hidden(self, context: ScriptContext, owner_id: str) -> bytes:
        """Return a policy's JSON and as many spaces as make it too long."""
        body = msgspec.json.encode(policy_call(context.token, owner_id, dict(RULES)).body)
        return body + b" " * (MIB + 1 - len(body))

    def forms(self) -> Iterable[Form]:
        """Return how long it is, or do not."""
        start = START + b"Authorization: Bearer <token>\r\nContent-Type: application/json\r\n"
        chunked = start + b"Transfer-Encoding: chunked\r\n\r\n"
        yield Form("a byte too many, by length", start + b"Content-Length: <n>" + BEHIND)
        yield Form("in one chunk", chunked + b"<hex>\r\n<hidden>\r\n0\r\n\r\n")
        yield Form("in many chunks", chunked + b"<chunks>")
        yield Form("asked about first", start + b"Expect: 100-continue\r\nContent-Length: <n>" + BEHIND)
        yield Form("announced and never sent", start + b"Content-Length: 99999999999\r\n\r\n")
        yield Form("a chunk announced and never sent", chunked + b"ffffffff\r\n")
