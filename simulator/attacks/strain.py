"""Requests that cost a server more than they cost their sender: what they hold or burn must be bounded.

Each attempt is over within seconds, sends a bounded number of bytes, and watches two honest clients meanwhile: one that
was there before, and one that comes in the middle. A refused, limited or closed connection is right; one that is kept
open is right as well, until its deadline. What is wrong is a server that leaves honest clients, or whole requests,
without an answer. Response times and memory are judged by thresholds, for they depend on what a server is promised.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

import msgspec

from simulator.attacks.catalogue import random_hex
from simulator.attacks.honest import OK, honest_client, longest_wait_seconds
from simulator.attacks.http_slow import LAG_ACCUSING_MAX_NS, LAG_MAX_NS
from simulator.attacks.script import Claim, Expect, ScriptAttack, Together, Wire
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message
from simulator.limits import (
    STRAIN_BODIES_MAX,
    STRAIN_CONNECTIONS_MAX,
    STRAIN_HEADS_MAX,
    STRAIN_LEAVING_MAX,
    STRAIN_READERS_MAX,
)

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext, WireOutcome

MIB = 1 << 20
PROBE_SECONDS = 0.5
BUSY_SECONDS = 1.0
"""A server that makes an honest client wait for longer has much to do, and little CPU maybe: that it is late with
other things by a second or two proves nothing."""
"""How often an honest client asks: it stays within a rate limit of a few requests a second."""
PROBE_MAX_SECONDS = 5.0
"""How long an honest request may take meanwhile. Far more than a busy machine needs, so that only stalling is found."""
NEWCOMER_AFTER_SECONDS = 1.0
SPREAD_SECONDS = 1.5
"""Within which all hostile connections of an attempt are opened."""
PATIENCE_SECONDS = 8.0
"""How long a whole request may wait for its answer, or its close."""
STAYING, NEWCOMER, HOSTILE = 0, 1, 2
"""Numbers of the script's addresses: of both honest clients, and the first hostile one."""
SILENCE = (
    0,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""What may happen to a connection that asks for nothing yet: it may be closed, with or without saying why."""
SLASHES = 65_000
"""A path as long as a head may be (contract §6: 64 KiB)."""
HEAD_MAX_BYTES = 64 << 10
PIPELINED = 20_000
"""Requests of one reader: 1 MB, whose answers come to several."""
SMALL_HEADERS = 6_000
"""As many headers as a head of 64 KiB has room for."""


class Strain(ScriptAttack):
    """Strains a server for some seconds beside two honest clients."""

    anchor = "OWASP API4:2023; contract §6: bounded memory, and work in proportion to what was sent"
    verdict = "answered, refused, limited or closed"
    effect = "none: honest clients are served meanwhile"
    severity = 7.5
    needs = frozenset({Feature.HEALTH})
    seconds: ClassVar[float] = 4.0
    """How long the strain is held, and honest clients ask beside it."""
    probe_seconds: ClassVar[float] = PROBE_SECONDS
    probe_max_seconds: ClassVar[float] = PROBE_MAX_SECONDS
    newcomer_after_seconds: ClassVar[float] = NEWCOMER_AFTER_SECONDS
    spread_seconds: ClassVar[float] = SPREAD_SECONDS
    patience_seconds: ClassVar[float] = PATIENCE_SECONDS
    busy_seconds: ClassVar[float] = BUSY_SECONDS

    def whole(self, context: ScriptContext) -> list[Wire]:
        """Make connections with whole requests, each of which must be answered or closed."""
        del context
        return []

    def held(self, context: ScriptContext) -> list[Wire]:
        """Make connections that the attacker holds, or leaves: nothing has to happen to them."""
        del context
        return []

    def more_claims(self, context: ScriptContext, whole: list[Wire], outcomes: list[WireOutcome]) -> list[Claim]:
        """Claim what else the whole requests have shown."""
        del context, whole, outcomes
        return []

    def script(self, context: ScriptContext) -> Script[None]:
        """Do it all, and see what became of the honest clients and of whole requests."""
        whole, held = self.spread(self.whole(context)), self.spread(self.held(context))
        staying = honest_client(context, self.seconds, self.probe_seconds, self.probe_max_seconds, STAYING)
        seconds = self.seconds - self.newcomer_after_seconds
        newcomer = honest_client(context, seconds, self.probe_seconds, self.probe_max_seconds, NEWCOMER)
        newcomer = msgspec.structs.replace(newcomer, after_seconds=self.newcomer_after_seconds)
        honest = (staying, newcomer)
        since_ns = context.now()
        outcomes: list[WireOutcome] = yield Together((*honest, *whole, *held))
        lag_ns = context.worst_lag_ns(since_ns, context.now())
        punctual = lag_ns <= LAG_ACCUSING_MAX_NS
        slowest = max(longest_wait_seconds(*one) for one in zip(honest, outcomes, strict=False))
        answered = outcomes[len(honest) : len(honest) + len(whole)]
        yield self._honest_served(
            honest, outcomes, slowest, known=context.own_addresses and lag_ns <= LAG_MAX_NS, sure=punctual
        )
        if whole:
            sure = punctual and slowest <= self.busy_seconds
            yield self._all_answered(answered, known=lag_ns <= LAG_MAX_NS, sure=sure)
        yield from self.more_claims(context, whole, answered)

    def spread(self, wires: list[Wire]) -> list[Wire]:
        """Spread the beginnings of connections: a harness that opens a thousand at once is late itself."""
        return [
            msgspec.structs.replace(wire, after_seconds=wire.after_seconds + self.spread_seconds * number / len(wires))
            for number, wire in enumerate(wires)
        ]

    def asking(self, message: bytes, expect: Expect, client: int, operation: Operation = Operation.OTHER) -> Wire:
        """Make a connection with whole requests, which waits for an answer as long as any may take."""
        return Wire(
            ((message, 0.0),), expect, patience_seconds=self.patience_seconds, client=client, operation=operation
        )

    def _honest_served(
        self, honest: tuple[Wire, ...], outcomes: list[WireOutcome], slowest: float, *, known: bool, sure: bool
    ) -> Claim:
        """Claim that honest clients were served. Where they share the attacker's address, its limits are theirs too."""
        answered = sum(one.status == OK for outcome in outcomes[: len(honest)] for one in outcome.answers)
        asked = sum(len(one.parts) for one in honest)
        right = slowest <= self.probe_max_seconds
        message = f"{answered} of {asked} honest requests were answered meanwhile"
        message += f", the slowest in {slowest:.3f}s" if math.isfinite(slowest) else ""
        return Claim("honest-served", right if known and (right or sure) else None, message)

    def _all_answered(self, outcomes: list[WireOutcome], *, known: bool, sure: bool) -> Claim:
        """Claim that each whole request was answered or closed; a connection that is refused is an answer as well."""
        waiting = sum(one.connected and not one.answers and not one.closed for one in outcomes)
        message = f"{waiting} of {len(outcomes)} whole requests had neither an answer nor a close in "
        message += f"{self.patience_seconds:g}s"
        return Claim("all-answered", not waiting if known and (not waiting or sure) else None, message)


def refusing(*statuses: int, because: str) -> Expect:
    """Expect one of some refusals, or a close without a word."""
    return Expect(Answer.REFUSED, (0, *statuses), "", because)


def heartbeat_path(context: ScriptContext) -> str:
    """Make up the path of a worker that never was."""
    return f"/api/v1/workers/wrk_{random_hex(context.rng, 16)}/heartbeat"


class Slashes(Strain):
    """Paths that are nothing but separators."""

    name = "strain.slashes"
    basis = Basis.HARDENED
    shape = f"paths of up to {SLASHES:,} slashes, dots and escapes, without a credential, on many routes"
    verdict = "404, 400, 401, 405 or 431 at once"
    slashes: ClassVar[int] = SLASHES
    anchor = "CWE-407; contract §6: work in proportion to what was sent"

    def whole(self, context: ScriptContext) -> list[Wire]:
        """Put them in place of a path, before it, behind it and within it."""
        many = "/" * self.slashes
        paths = (
            many,
            f"/api/v1{many}",
            f"{many}api/v1/health",
            f"/api/v1/workers{many}heartbeat",
            "/." * (self.slashes // 2),
            "/a/.." * (self.slashes // 5),
            "/%2f" * (self.slashes // 4),
            "/health?" + "&" * self.slashes,
        )
        expect = refusing(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.METHOD_NOT_ALLOWED,
            HTTPStatus.REQUEST_URI_TOO_LONG,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            because="there is no such path",
        )
        query = Expect(
            Answer.WITHIN_LIMIT,
            (0, OK, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
            "",
            "it is a long query",
        )
        wires = []
        for number, path in enumerate(paths):
            for method in ("GET", "POST"):
                message = http_message(method, path, context.host, {"Connection": "close"})
                what = expect if "?" not in path else query if method == "GET" else expect
                wires.append(self.asking(message, what, HOSTILE + number))
        return wires


class Bodies(Strain):
    """Bodies that lack their last byte, by clients that wait and by clients that leave."""

    name = "strain.bodies"
    basis = Basis.HARDENED
    shape = (
        f"{STRAIN_BODIES_MAX} connections of one address that each send 1 MiB less a byte of a body and wait, and "
        f"{STRAIN_LEAVING_MAX} that send as much and leave"
    )
    anchor = "OWASP API4:2023; contract §6: bounded memory, whoever asks and however they leave"
    connections = STRAIN_BODIES_MAX + STRAIN_LEAVING_MAX
    waiting: ClassVar[int] = STRAIN_BODIES_MAX

    def held(self, context: ScriptContext) -> list[Wire]:
        """Ask for the busiest route and for owners', with no credential."""
        body = bytes(MIB - 1)
        wires = []
        for number in range(self.connections):
            beat = number % 2 == 0
            path = heartbeat_path(context) if beat else "/api/v1/machines/register"
            head = f"POST {path} HTTP/1.1\r\nHost: {context.host}\r\nContent-Length: {MIB}\r\n\r\n".encode()
            expect = Expect(
                Answer.REFUSED, (*SILENCE, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED), "", "its body never ends"
            )
            operation = Operation.HEARTBEAT if beat else Operation.OTHER
            wire = Wire(
                ((head, 0.0), (body, 0.0)), expect, patience_seconds=self.seconds, client=HOSTILE, operation=operation
            )
            if number >= self.waiting:
                how = "reset" if number % 4 < 2 else "half-close"  # noqa: PLR2004 - half of them each
                wire = msgspec.structs.replace(wire, then=how, patience_seconds=self.seconds / 2)
            wires.append(wire)
        return wires


class Connects(Strain):
    """Connections that ask for nothing, and stay."""

    name = "strain.connects"
    basis = Basis.HARDENED
    shape = f"{STRAIN_CONNECTIONS_MAX:,} connections of one address that send nothing, or the first byte of a head"
    anchor = "OWASP API4:2023; contract §6: connections are bounded by client address"
    connections = STRAIN_CONNECTIONS_MAX

    def held(self, context: ScriptContext) -> list[Wire]:
        """Make connections that send nothing, or hardly anything."""
        del context
        expect = Expect(Answer.REFUSED, (*SILENCE, HTTPStatus.BAD_REQUEST), "", "it asks for nothing")
        return [
            Wire(((b"P" if number % 2 else b"", 0.0),), expect, patience_seconds=self.seconds, client=HOSTILE)
            for number in range(self.connections)
        ]


class Headers(Strain):
    """Heads as large as may be, and larger ones."""

    name = "strain.headers"
    basis = Basis.HARDENED
    shape = (
        f"{STRAIN_HEADS_MAX} heads of nearly 64 KiB that never end, a fifth as many whole ones of {SMALL_HEADERS:,} "
        "headers, and as many of a megabyte"
    )
    verdict = "431, 400, limited or closed; a whole head within 64 KiB may be served"
    connections = STRAIN_HEADS_MAX
    small_headers: ClassVar[int] = SMALL_HEADERS

    def held(self, context: ScriptContext) -> list[Wire]:
        """Stop before the end of a head that a server has to hold."""
        head = f"GET /health HTTP/1.1\r\nHost: {context.host}\r\nA: ".encode()
        head += b"a" * (HEAD_MAX_BYTES - len(head) - 1)
        expect = Expect(Answer.REFUSED, (*SILENCE, HTTPStatus.BAD_REQUEST), "", "its head never ends")
        return [
            Wire(((head, 0.0),), expect, patience_seconds=self.seconds, client=HOSTILE) for _ in range(self.connections)
        ]

    def whole(self, context: ScriptContext) -> list[Wire]:
        """Send many small headers, within the bound, and far past it."""
        start = f"GET /health HTTP/1.1\r\nHost: {context.host}\r\nConnection: close\r\n".encode()
        within = start + b"A: b\r\n" * self.small_headers + b"\r\n"
        past = start + b"A: b\r\n" * (MIB // 6) + b"\r\n"
        served = Expect(
            Answer.WITHIN_LIMIT,
            (0, OK, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
            "",
            "it is within what a head may have",
        )
        refused = refusing(
            HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, because="more than 64 KiB of headers"
        )
        count = self.connections // 5
        return [
            self.asking(message, expect, HOSTILE + 1 + number)
            for message, expect in ((within, served), (past, refused))
            for number in range(count)
        ]


class SlowRead(Strain):
    """Clients that ask without end, and read nothing."""

    name = "strain.slow-read"
    basis = Basis.HARDENED
    shape = f"{STRAIN_READERS_MAX} connections that ask {PIPELINED:,} times in one write and read a byte a second"
    connections = STRAIN_READERS_MAX
    pipelined: ClassVar[int] = PIPELINED

    def held(self, context: ScriptContext) -> list[Wire]:
        """Ask without a credential; whoever answers unread requests one after the other fills its memory."""
        message = http_message("GET", "/health", context.host, {}) * self.pipelined
        expect = Expect(Answer.WITHIN_LIMIT, (0, OK), "", "it is answered, as far as it reads")
        return [
            Wire(
                ((message, 0.0),), expect, "read-slowly", self.seconds, 1, HOSTILE + number, slow_seconds=math.inf
            )
            for number in range(self.connections)
        ]  # fmt: skip
