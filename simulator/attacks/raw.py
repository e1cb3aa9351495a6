"""Raw requests that must be refused as a whole. Each hides a second request, whose effect shows a wrong parser.

The hidden request creates a policy of an owner that does nothing else. An owner's policies have consecutive versions
(contract §3), so the version of one created afterwards shows how many there were.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from simulator.attacks.acting import CREATED, RULES, call, changed
from simulator.attacks.catalogue import random_hex
from simulator.attacks.script import Claim, Expect, ScriptAttack, Together, Wire, granted
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.fleet.requests import policy_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from simulator.attacks.script import Outcome, Script, ScriptContext, WireOutcome

START = b"<method> <path> HTTP/1.1\r\nHost: <host>\r\n"
BEHIND = b"\r\n\r\n<hidden>"
PATIENCE_SECONDS = 8.0
"""The time for a refusal and its close: far more than they need, and less than any deadline for slow clients."""
CHUNK_BYTES = 65_536
UNANSWERED_MAX = 2
"""After this many unanswered honest requests the attempt ends, because each costs a whole timeout."""
PROBES = 1000
"""The number of the first address that checks for effects; the attack's requests come from lower ones."""


class Form(NamedTuple):
    """A way to malform a request.

    In `message`, `<method>`, `<path>`, `<host>` and `<token>` stand for those of a plain request; `<hidden>` for the
    hidden request, `<hex>` for its length in hexadecimal, `<chunks>` for it in chunks; `<n>` for the length of all
    bytes after the first empty line, and `<n_>` for the same with an underscore in it.
    """

    what: str
    message: bytes


class Carrier(NamedTuple):
    """A request that a form malforms: one that every transport serves, or one to the busiest route."""

    method: bytes
    path: bytes
    operation: Operation


def fill_in(form: Form, carrier: Carrier, context: ScriptContext, hidden: bytes) -> bytes:
    """Return the bytes of a form."""
    message = form.message.replace(b"<method>", carrier.method).replace(b"<path>", carrier.path)
    message = message.replace(b"<host>", context.host.encode()).replace(b"<token>", context.token.encode())
    head, end, body = message.partition(b"\r\n\r\n")
    body = body.replace(b"<hex>", b"%x" % len(hidden))
    if b"<chunks>" in body:
        body = body.replace(b"<chunks>", _chunks(hidden))
    body = body.replace(b"<hidden>", hidden)
    digits = b"%d" % len(body)
    head = head.replace(b"<n>", digits).replace(b"<n_>", digits[:1] + b"_" + digits[1:])
    return head + end + body


def _chunks(data: bytes) -> bytes:
    parts = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def policies_before(context: ScriptContext, owner_id: str, client: int) -> Script[int | None]:
    """Create a policy of an owner, and return how many there were before, or None if that is unknown."""
    create = policy_call(context.token, owner_id, dict(RULES))
    expected_events = changed(owner_id, Operation.POLICY_CREATE)
    outcome: Outcome = yield call(context, create, granted(CREATED), client=client, expected_events=expected_events)
    version = outcome.data().get("version")
    return version - 1 if outcome.right and isinstance(version, int) else None


class RawAttack(ScriptAttack):
    """Sends each form with each carrier, and checks the answers, the close and the effect."""

    needs = frozenset({Feature.HEALTH})
    verdict = "400 and close; never two answers"
    effect = "none: what is hidden in the request or behind it never happens"
    severity = 8.1
    statuses: ClassVar[tuple[int, ...]] = (HTTPStatus.BAD_REQUEST,)
    error: ClassVar[str] = ""
    must_close: ClassVar[bool] = True
    patience_seconds: ClassVar[float] = PATIENCE_SECONDS

    def forms(self) -> Iterable[Form]:
        """Return the malformations."""
        raise NotImplementedError

    def carriers(self, context: ScriptContext) -> Sequence[Carrier]:
        """Return the requests to malform."""
        worker_id = f"wrk_{random_hex(context.rng, 16)}".encode()
        beat = Carrier(b"POST", b"/api/v1/workers/" + worker_id + b"/heartbeat", Operation.HEARTBEAT)
        return (Carrier(b"GET", b"/health", Operation.OTHER), beat)

    def hidden(self, context: ScriptContext, owner_id: str) -> bytes:
        """Return the bytes of the request that must have no effect."""
        return policy_call(context.token, owner_id, dict(RULES)).message(context.host)

    def script(self, context: ScriptContext) -> Script[None]:
        """Send all forms at once, and check their effects afterwards."""
        names: list[str] = []
        owners: list[str] = []
        wires: list[Wire] = []
        for carrier in self.carriers(context):
            for form in self.forms():
                names.append(f"{form.what}, in {carrier.method.decode()} {carrier.path.decode()}")
                owners.append(context.new_owner())
                message = fill_in(form, carrier, context, self.hidden(context, owners[-1]))
                expect = Expect(Answer.REFUSED, self.statuses, self.error, form.what)
                wires.append(
                    Wire(
                        ((message, 0.0),), expect, patience_seconds=self.patience_seconds, client=len(wires),
                        operation=carrier.operation,
                    )
                )  # fmt: skip
        outcomes: list[WireOutcome] = yield Together(tuple(wires))
        happened: list[int | None] = []
        for number, owner_id in enumerate(owners):
            if happened.count(None) == UNANSWERED_MAX:
                happened += [None] * (len(owners) - number)
                break
            count = yield from policies_before(context, owner_id, PROBES + number)
            happened.append(count)
        yield _one_answer(names, outcomes)
        yield _no_effect(names, happened)
        if self.must_close:
            yield _closed(names, outcomes)


def _claim(rule: str, what: str, names: list[str], wrong: list[str], *, known: bool) -> Claim:
    """Return the claim that no request broke a rule."""
    held = False if wrong else (True if known else None)
    message = f"of {len(names)} requests {len(wrong)} {what}"
    return Claim(rule, held, f"{message}: {wrong[0]}" if wrong else message, {"requests": wrong[:10]} if wrong else {})


def _one_answer(names: list[str], outcomes: list[WireOutcome]) -> Claim:
    wrong = [
        name
        for name, outcome in zip(names, outcomes, strict=True)
        if len(outcome.answers) > 1 or (outcome.answers and outcome.rest)
    ]
    known = all(outcome.connected for outcome in outcomes) and any(outcome.answers for outcome in outcomes)
    return _claim("one-answer", "got more than one answer", names, wrong, known=known)


def _closed(names: list[str], outcomes: list[WireOutcome]) -> Claim:
    wrong = [
        name
        for name, outcome in zip(names, outcomes, strict=True)
        if outcome.connected and outcome.answers and not outcome.closed
    ]
    known = all(outcome.closed for outcome in outcomes)
    return _claim("closed", "left their connection open after the answer", names, wrong, known=known)


def _no_effect(names: list[str], happened: list[int | None]) -> Claim:
    wrong = [name for name, count in zip(names, happened, strict=True) if count]
    return _claim("no-effect", "had their hidden request done", names, wrong, known=None not in happened)
