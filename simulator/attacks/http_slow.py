"""Clients that take their time: a server must give up on them by its deadlines, and serve others meanwhile."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import CREATED, RULES, call, changed
from simulator.attacks.catalogue import random_hex
from simulator.attacks.honest import (
    BUSY_IN_ALL_SECONDS,
    OK,
    WATCHING_ASKS,
    longest_wait_seconds,
    waited_seconds,
    watching_client,
)
from simulator.attacks.script import Claim, Expect, ScriptAttack, Together, Wire, granted
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message, owner_headers, policy_call
from simulator.limits import ADDRESS_BURST_REQUESTS, SLOW_CONNECTIONS_MAX, SLOW_READERS_MAX

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext, WireAnswer, WireOutcome

MARGIN_SECONDS = 2.0
MARGIN_SHARE = 0.1
"""By how much a close may come later than its deadline: servers look at intervals, and end connections gently."""
BUSY_SHARE = 0.25
"""Of that margin: an honest client that has to wait for longer in all shows a server with little CPU, no more."""
LAG_MAX_NS = SECOND_NS
"""A harness later than this itself knows nothing of a server's deadlines."""
LAG_ACCUSING_MAX_NS = SECOND_NS // 4
"""One that is later than this shares its CPUs with others, as the server may do: a server is not called late then."""
PROBE_MAX_SECONDS = 5.0
"""How long an honest request may take meanwhile. Far more than a busy machine needs, so that only starving is found;
thresholds judge the rest."""
MANY_EVENTS = 480
"""Events that a large answer lists: about 180 KB."""
PIPELINED_READS = 18
"""Inside the default burst of 20, and 3.2 MB in all: over loopback, a kernel takes 2.8 MB that nobody reads."""
LATE_PATIENCE_SECONDS = 3.0
LATE_SHARE = 0.8
LATE_BYTES = 8192
DRAIN_SECONDS = 10.0


class _Slow(ScriptAttack):
    """Holds many connections, and one honest one that asks again and again."""

    anchor = "OWASP API4:2023; contract §6: closed by a deadline"
    verdict = "closed by the deadline"
    effect = "none: honest requests are answered meanwhile"
    severity = 7.5
    connections = SLOW_CONNECTIONS_MAX
    needs = frozenset({Feature.HEALTH})
    margin_seconds: ClassVar[float] = MARGIN_SECONDS
    probe_asks: ClassVar[int] = WATCHING_ASKS
    probe_max_seconds: ClassVar[float] = PROBE_MAX_SECONDS
    busy_seconds: ClassVar[float] = BUSY_IN_ALL_SECONDS

    def patience_seconds(self, deadline_seconds: float) -> float:
        """Return how long a close is waited for."""
        return deadline_seconds * (1 + MARGIN_SHARE) + self.margin_seconds

    def may_wait_seconds(self, deadline_seconds: float) -> float:
        """Return for how long in all an honest client may wait beside a server that is called late, at the most."""
        return max(self.busy_seconds, BUSY_SHARE * (self.patience_seconds(deadline_seconds) - deadline_seconds))

    def probe(self, context: ScriptContext, seconds: float) -> Wire:
        """Make the honest client: it asks on one connection for all the time in which the others have to be closed."""
        return watching_client(context, seconds, self.probe_max_seconds, asks=self.probe_asks)

    def judge_probe(self, probe: Wire, outcome: WireOutcome, *, known: bool, sure: bool) -> Claim:
        """Claim that every honest request was answered, in a time that is not starving.

        Not `known` where the honest client shares the attacker's address: its limits are that one's, too.
        """
        slowest = longest_wait_seconds(probe, outcome)
        answered = sum(one.status == OK for one in outcome.answers)
        held = _held(right=slowest <= self.probe_max_seconds, known=known, sure=sure)
        message = f"{answered} of {len(probe.parts)} honest requests were answered meanwhile"
        message += f", the slowest in {slowest:.3f}s" if math.isfinite(slowest) else ""
        return Claim("honest-served", held, message)

    def lag_ns(self, context: ScriptContext, since_ns: int) -> int:
        """Return how late the harness itself was at worst."""
        return context.worst_lag_ns(since_ns, context.now())


def _held(*, right: bool, known: bool, sure: bool) -> bool | None:
    """Judge a claim about times: what is `known` shows that it held, but to deny it one must be `sure` as well."""
    return right if known and (right or sure) else None


class Beginning(NamedTuple):
    """A request that begins and does not end: `more` goes on for ever, `late` comes once before the deadline."""

    start: bytes
    more: bytes
    late: bytes = b""


class _SlowSender(_Slow):
    """Sends a beginning, and then a byte a second."""

    byte_seconds: ClassVar[float] = 1.0

    def deadline_seconds(self, context: ScriptContext) -> float:
        """Return the deadline that ends it."""
        raise NotImplementedError

    def beginnings(self, context: ScriptContext) -> tuple[Beginning, ...]:
        """Return beginnings of requests."""
        raise NotImplementedError

    def script(self, context: ScriptContext) -> Script[None]:
        """Hold connections for as long as the server lets them be held."""
        deadline_seconds = self.deadline_seconds(context)
        patience_seconds = self.patience_seconds(deadline_seconds)
        beginnings = self.beginnings(context)
        bytes_more = int(patience_seconds / self.byte_seconds) + 2
        late_at = int(deadline_seconds * LATE_SHARE / self.byte_seconds)
        expect = Expect(
            Answer.REFUSED, (0, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT), "", "its deadline has passed"
        )
        wires = []
        for client in range(self.connections):
            begun = beginnings[client % len(beginnings)]
            parts = [begun.start, *(begun.more for _ in range(bytes_more))]
            parts[late_at] += begun.late
            paced = tuple((part, self.byte_seconds) for part in parts)
            wires.append(Wire(paced, expect, patience_seconds=patience_seconds, client=1 + client))
        probe = self.probe(context, patience_seconds)
        since_ns = context.now()
        outcomes: list[WireOutcome] = yield Together((probe, *wires))
        honest, slow = outcomes[0], outcomes[1:]
        lag_ns = self.lag_ns(context, since_ns)
        known = all(one.connected for one in slow) and lag_ns <= LAG_MAX_NS
        punctual = lag_ns <= LAG_ACCUSING_MAX_NS
        sure = punctual and waited_seconds(probe, honest) <= self.may_wait_seconds(deadline_seconds)
        late = [one for one in slow if one.connected and not one.closed]
        held_seconds = max((one.closed_ns - one.sent_ns for one in slow), default=0) / SECOND_NS
        message = (
            f"{len(late)} of {len(slow)} connections were still open {patience_seconds:.1f}s after they began, with a "
            f"deadline of {deadline_seconds:g}s; the last was held for {held_seconds:.1f}s"
        )
        yield Claim("closed-in-time", _held(right=not late, known=known, sure=sure), message)
        yield self.judge_probe(probe, honest, known=known and context.own_addresses, sure=punctual)


class Slowloris(_SlowSender):
    """Heads that never end."""

    name = "http.slowloris"
    basis = Basis.HARDENED
    shape = (
        f"{SLOW_CONNECTIONS_MAX} connections whose head goes on by a byte a second, or grows large at the last moment"
    )

    def deadline_seconds(self, context: ScriptContext) -> float:
        """Return the deadline of heads."""
        return context.defences.header_seconds

    def beginnings(self, context: ScriptContext) -> tuple[Beginning, ...]:
        """Stop in a line, in a header, and between headers; on the busiest route and on others.

        What a server has read so far may pass from one of its parts to another when it grows, deadline and all.
        """
        worker_id = random_hex(context.rng, 16)
        beat = f"POST /api/v1/workers/wrk_{worker_id}/heartbeat HTTP/1.1\r\nHost: {context.host}\r\n".encode()
        health = f"GET /health HTTP/1.1\r\nHost: {context.host}\r\n".encode()
        return (
            Beginning(beat + b"User-Agent: ", b"a"),
            Beginning(beat + b"User-Agent: ", b"a", b"a" * LATE_BYTES),
            Beginning(health + b"A: ", b"b"),
            Beginning(health + b"A: ", b"b", b"b" * LATE_BYTES),
            Beginning(b"POST /api/v1/workers/wrk_", b"0"),
            Beginning(b"\r\n" + health + b"A: b\r\n", b"C"),
            Beginning(b"G", b"E"),
        )


class SlowBody(_SlowSender):
    """Bodies that never end."""

    name = "http.slow-body"
    basis = Basis.HARDENED
    shape = f"{SLOW_CONNECTIONS_MAX} connections whose body goes on by a byte a second"

    def deadline_seconds(self, context: ScriptContext) -> float:
        """Return the deadline of bodies."""
        return context.defences.body_seconds

    def beginnings(self, context: ScriptContext) -> tuple[Beginning, ...]:
        """Announce a length, or go on in a chunk, on the busiest route and on another."""
        worker_id = random_hex(context.rng, 16)
        host = f" HTTP/1.1\r\nHost: {context.host}\r\nContent-Type: application/json\r\n"
        beat = f"POST /api/v1/workers/wrk_{worker_id}/heartbeat{host}".encode()
        policies = f"POST /api/v1/policies{host}Authorization: Bearer {context.token}\r\n".encode()
        length, chunked = b"Content-Length: 4096\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1000\r\n"
        return tuple(Beginning(start + how, b" ") for start in (beat, policies) for how in (length, chunked))


class SlowRead(_Slow):
    """Answers that are not read.

    That a server has given up shows only when its answers are read after all: what comes then was written before, and
    some of it is missing. One that had waited goes on answering, and tells of what has happened since.
    """

    name = "http.slow-read"
    basis = Basis.HARDENED
    shape = f"{SLOW_READERS_MAX} connections that ask for {PIPELINED_READS} large answers and read a byte a second"
    connections = SLOW_READERS_MAX
    events: ClassVar[int] = MANY_EVENTS
    drain_seconds: ClassVar[float] = DRAIN_SECONDS

    def script(self, context: ScriptContext) -> Script[None]:
        """Make large answers, leave them unread past the deadline, and read on then."""
        owner_id = context.new_owner()
        create = policy_call(context.token, owner_id, dict(RULES))
        expected_events = changed(owner_id, Operation.POLICY_CREATE)
        made = 0
        for number in range(self.events):
            client = self.connections + 2 + number // ADDRESS_BURST_REQUESTS
            outcome = yield call(context, create, granted(CREATED), client=client, expected_events=expected_events)
            made += outcome.right
        hold_seconds = self.patience_seconds(context.defences.body_seconds)
        path = f"/api/v1/audit/events?limit={self.events}"
        read = http_message("GET", path, context.host, owner_headers(context.token, owner_id))
        expect = Expect(Answer.ACCEPTED, (OK,), "", "it asks for what is its own")
        readers = [
            Wire(
                ((read * PIPELINED_READS, 0.0),), expect, "read-slowly", hold_seconds + self.drain_seconds, 1,
                slow_seconds=hold_seconds + 1, client=1 + number,
            )
            for number in range(self.connections)
        ]  # fmt: skip
        # One event more, when every deadline has passed and nobody reads yet.
        message = msgspec.structs.replace(create, headers={**create.headers, "Connection": "close"}).message(
            context.host
        )
        late = Wire(
            ((message, 0.0),), granted(CREATED), client=self.connections + 1, after_seconds=hold_seconds,
            expected_events=expected_events, patience_seconds=LATE_PATIENCE_SECONDS,
        )  # fmt: skip
        probe = self.probe(context, hold_seconds)
        since_ns = context.now()
        outcomes: list[WireOutcome] = yield Together((probe, late, *readers))
        honest, slow = outcomes[0], outcomes[2:]
        lag_ns = self.lag_ns(context, since_ns)
        known = made == self.events and all(one.connected for one in slow) and lag_ns <= LAG_MAX_NS
        punctual = lag_ns <= LAG_ACCUSING_MAX_NS
        sure = punctual and waited_seconds(probe, honest) <= self.may_wait_seconds(context.defences.body_seconds)
        yield self._judge(slow, hold_seconds, known=known, sure=sure)
        yield self.judge_probe(probe, honest, known=known and context.own_addresses, sure=punctual)

    def _judge(self, slow: list[WireOutcome], hold_seconds: float, *, known: bool, sure: bool) -> Claim:
        waited = sum(any(_total(one) > self.events for one in outcome.answers) for outcome in slow)
        given_up = sum(len(one.answers) < PIPELINED_READS and one.closed for one in slow)
        message = (
            f"of {len(slow)} clients that read nothing for {hold_seconds:.1f}s, {given_up} had been given up and "
            f"{waited} were still being answered"
        )
        if waited:
            return Claim("closed-in-time", _held(right=False, known=known, sure=sure), message)
        return Claim("closed-in-time", True if known and given_up == len(slow) else None, message)


def _total(answer: WireAnswer) -> int:
    try:
        total = msgspec.json.decode(answer.body)["data"]["total"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return 0
    return total if isinstance(total, int) else 0
