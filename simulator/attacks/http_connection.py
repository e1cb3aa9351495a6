"""What connections allow besides asking and waiting: asking a thousand times at once, and leaving in the middle."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.acting import CREATED, RULES, ask, changed
from simulator.attacks.honest import BUSY_IN_ALL_SECONDS, WATCHING_ASKS, waited_seconds, watching_client
from simulator.attacks.raw import policies_before
from simulator.attacks.script import Claim, Expect, Pause, ScriptAttack, Together, Wire, granted
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import ApiCall, http_message, owner_headers, policy_call

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from simulator.attacks.script import ExpectedEvent, Outcome, Script, ScriptContext, WireAnswer, WireOutcome

OK, NOT_FOUND, TOO_MANY = HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS
PIPELINED = 1000
PIPELINE_PATIENCE_SECONDS = 30.0
REGISTRATIONS = 3
"""Each is a machine that stays on the target."""
PATIENCE_SECONDS = 2.0
"""How much later than by its deadline a connection may be closed."""
CUT_AFTER_SECONDS = 0.05
"""So that a server has begun to read: what is reset before it reads is as if it was never sent."""
LOOKS = 6
LOOK_AGAIN_NS = 500 * MILLISECOND_NS
"""What was under way when its connection broke may take effect a little later, so what does not agree is looked at
again, so many times, before it is called half-applied."""


class Kind(NamedTuple):
    """A request of a pipeline, and how its answer is known from others: by status and one of some parts of its body."""

    method: str
    path: str
    status: int
    parts: tuple[bytes, ...]


KINDS = (
    Kind("GET", "/health", HTTPStatus.OK, (b'"healthy"', b'"degraded"')),
    Kind("GET", "/api/v1/status", HTTPStatus.OK, (b'"uptime"',)),
    Kind("GET", "/api/v1/nothing", HTTPStatus.NOT_FOUND, (b"error",)),
    Kind("PUT", "/health", HTTPStatus.METHOD_NOT_ALLOWED, (b"error",)),
)


class Pipeline(ScriptAttack):
    """A thousand requests in one write."""

    name = "http.pipeline"
    basis = Basis.RFC
    claim_bases = MappingProxyType({"each-limited": Basis.HARDENED})
    shape = f"{PIPELINED:,} requests of four kinds, mixed, in one write on one connection"
    verdict = "all answered in order, each rate-limited"
    effect = "a bucket's worth is served, the rest gets 429"
    needs = frozenset({Feature.HEALTH, Feature.STATUS})
    anchor = "RFC 9112 §9.3.2; contract §6"
    severity = 7.5
    patience_seconds: ClassVar[float] = PIPELINE_PATIENCE_SECONDS

    def script(self, context: ScriptContext) -> Script[None]:
        """Send them, and match the answers with them by their place."""
        asked = [KINDS[int(kind)] for kind in context.rng.integers(len(KINDS), size=PIPELINED)]
        if Feature.JSON_404 in context.lacks:
            asked = [one._replace(parts=(b"",)) if one.status == NOT_FOUND else one for one in asked]
        message = b"".join(http_message(one.method, one.path, context.host, {}) for one in asked[:-1])
        message += http_message(asked[-1].method, asked[-1].path, context.host, {"Connection": "close"})
        statuses = tuple({one.status for one in KINDS})
        expect = Expect(Answer.WITHIN_LIMIT, statuses, "", "requests in one write are requests like others")
        outcome: WireOutcome = yield Wire(((message, 0.0),), expect, patience_seconds=self.patience_seconds)
        answers = outcome.answers
        known = outcome.connected and len(answers) == len(asked)
        missing = f"{len(answers)} of {len(asked)} were answered"
        complete = len(answers) == len(asked) or (None if not outcome.closed else False)
        yield Claim("all-answered", complete, missing)
        swapped = [at for at, (one, answer) in enumerate(zip(asked, answers, strict=False)) if not _fits(one, answer)]
        yield Claim(
            "in-order",
            False if swapped else (True if known else None),
            f"{len(swapped)} of {len(answers)} answers were not those of the requests in their place",
            {"first": swapped[0], "status": answers[swapped[0]].status} if swapped else {},
        )
        yield _each_limited(context, outcome)


def _fits(asked: Kind, answer: WireAnswer) -> bool:
    return answer.status == TOO_MANY or (
        answer.status == asked.status and any(part in answer.body for part in asked.parts)
    )


def _each_limited(context: ScriptContext, outcome: WireOutcome) -> Claim:
    served = [one for one in outcome.answers if one.status != TOO_MANY]
    length_ns = max((one.at_ns for one in served), default=outcome.sent_ns) - outcome.sent_ns
    allowed = context.defences.allows(length_ns)
    message = f"{len(served)} of {len(outcome.answers)} were served in {length_ns / SECOND_NS:.2f}s, {allowed} allowed"
    if len(served) <= allowed and len(served) == len(outcome.answers):
        return Claim("each-limited", None, f"never came over the limit: {message}")
    return Claim("each-limited", len(served) <= allowed, message, {"served": len(served), "allowed": allowed})


class _Leaving(ScriptAttack):
    """Leaves in the middle of requests that change something, each at another place, and looks at what was done."""

    verdict = "nothing is half-applied"
    effect = "a request cut short changes nothing; a whole one changes all that it should, with its event, or nothing"
    severity = 6.5
    ways: tuple[tuple[int, float], ...]
    """When to leave behind a whole request: after how many bytes of the answer, and after a pause in seconds."""
    how: Literal["half-close", "reset"]
    probe_asks: ClassVar[int] = WATCHING_ASKS
    busy_seconds: ClassVar[float] = BUSY_IN_ALL_SECONDS
    look_again_ns: ClassVar[int] = LOOK_AGAIN_NS

    def script(self, context: ScriptContext) -> Script[None]:
        """Cut requests short, leave behind whole ones, and compare what is there with what was noted."""
        owner_id = context.new_owner()
        wires = self._cut_short(context, owner_id)
        outcomes: list[WireOutcome] = yield Together(tuple(wires))
        sure = False
        if self.how == "half-close" and any(outcome.connected and not outcome.closed for outcome in outcomes):
            # Once more, beside an honest client: where that one waits for long, the server may only be busy.
            seconds = context.defences.body_seconds + PATIENCE_SECONDS
            honest = watching_client(context, seconds, PATIENCE_SECONDS, client=len(wires), asks=self.probe_asks)
            *outcomes, shown = yield Together((*wires, honest))
            sure = waited_seconds(honest, shown) <= self.busy_seconds
        count = yield from policies_before(context, owner_id, client=len(wires) + 1)
        message = f"{count} of {len(wires)} requests that were cut short took effect"
        yield Claim("cut-short", None if count is None else count == 0, message)
        if self.how == "half-close":
            closed = all(outcome.closed for outcome in outcomes)
            connected = all(outcome.connected for outcome in outcomes)
            message = f"of {len(wires)} connections, {sum(one.closed for one in outcomes)} were closed in time"
            yield Claim("closed", closed if closed or (connected and sure) else None, message)
        yield from self._whole_policies(context)
        yield from self._whole_registrations(context)

    def _cut_short(self, context: ScriptContext, owner_id: str) -> list[Wire]:
        message = policy_call(context.token, owner_id, dict(RULES)).message(context.host)
        head_end = message.index(b"\r\n\r\n")
        places = (
            5, message.index(b"\r\n"), message.index(b"Authorization") + 4, head_end, head_end + 2, head_end + 4,
            (head_end + len(message)) // 2, len(message) - 1,
        )  # fmt: skip
        expect = Expect(
            Answer.REFUSED, (0, HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT), "", "it is no whole request"
        )
        patience_seconds = context.defences.body_seconds + PATIENCE_SECONDS
        return [
            Wire(((message[:place], CUT_AFTER_SECONDS),), expect, self.how, patience_seconds, client=client)
            for client, place in enumerate(places)
        ]

    def _leave(
        self, request: bytes, expected_events: tuple[ExpectedEvent, ...], operation: Operation, client: int
    ) -> list[Wire]:
        expect = granted(CREATED, "it is a whole request, whoever reads the answer")
        return [
            Wire(
                ((request, pause_seconds),), expect, self.how, client=client + number, reset_after_bytes=after,
                operation=operation, expected_events=expected_events,
            )
            for number, (after, pause_seconds) in enumerate(self.ways)
        ]  # fmt: skip

    def _whole_policies(self, context: ScriptContext) -> Script[None]:
        owner_id = context.new_owner()
        create = policy_call(context.token, owner_id, dict(RULES))
        expected_events = changed(owner_id, Operation.POLICY_CREATE)
        wires = self._leave(create.message(context.host), expected_events, Operation.OTHER, 100)
        yield Together(tuple(wires))

        def there(client: int) -> Script[int | None]:
            before = yield from policies_before(context, owner_id, client)
            return None if before is None else before + 1

        yield from self._compare(context, "policies", owner_id, "policy_created", there)

    def _whole_registrations(self, context: ScriptContext) -> Script[None]:
        owner_id = context.new_owner()
        headers = owner_headers(context.token, owner_id)
        body = {"owner_id": owner_id, "name": "left behind"}
        register = ApiCall(Operation.REGISTER, "POST", "/machines/register", headers, body)
        expected_events = changed(owner_id, Operation.REGISTER)
        wires = self._leave(register.message(context.host), expected_events, Operation.REGISTER, 200)[:REGISTRATIONS]
        yield Together(tuple(wires))

        def there(client: int) -> Script[int | None]:
            send = ask(context, "GET", "/workers/statuses?limit=1", headers, granted(OK), client=client)
            outcome: Outcome = yield send
            return _total(outcome)

        yield from self._compare(context, "machines", owner_id, "machine_registered", there)

    def _compare(
        self, context: ScriptContext, what: str, owner_id: str, event: str, there: Callable[[int], Script[int | None]]
    ) -> Script[None]:
        """Claim that as many things are there as the audit has events of, once what was under way has ended."""
        headers = owner_headers(context.token, owner_id)
        message, held = "", None
        for look in range(LOOKS):
            count = yield from there(300 + 2 * look)
            path = f"/audit/events?type={event}&limit=1"
            noted = _total((yield ask(context, "GET", path, headers, granted(OK), client=301 + 2 * look)))
            message = f"{count} {what} are there, {noted} have their audit event"
            held = None if count is None or noted is None else count == noted
            if held is not False:
                break
            yield Pause(context.now() + self.look_again_ns)
        yield Claim(f"whole-{what}", held, message, {"owner": owner_id})


class HalfClose(_Leaving):
    """A client that says that it will send no more."""

    name = "http.half-close"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"cut-short": Basis.RFC})
    shape = "a connection half-closed at eight places of a request that changes something, and behind whole ones"
    anchor = "RFC 9112 §9.6; RFC 9293 §3.6"
    how = "half-close"
    needs = frozenset({Feature.HEALTH})
    ways = ((0, 0.0), (0, 0.05))


class Reset(_Leaving):
    """A client that is suddenly gone."""

    name = "http.reset"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"cut-short": Basis.RFC})
    shape = "a connection reset at eight places of a request that changes something, and at nine moments after it"
    anchor = "RFC 9112 §9.5; contract §7"
    how = "reset"
    ways = ((0, 0.0), (1, 0.0), (60, 0.0), *((0, milliseconds / 1000) for milliseconds in (0.1, 0.5, 1, 2, 4, 8)))


def _total(outcome: Outcome) -> int | None:
    total = outcome.data().get("total")
    return total if outcome.right and isinstance(total, int) else None
