"""Whole requests that strain a server: more than an address may send, and texts that are long to look through."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import audit_page
from simulator.attacks.honest import OK
from simulator.attacks.parties import OwnerAttack, set_up_party
from simulator.attacks.routes import HEARTBEAT, send
from simulator.attacks.script import Claim, Expect, heartbeat_gets
from simulator.attacks.strain import HOSTILE, Strain, heartbeat_path, refusing
from simulator.contract.answers import Answer, Operation
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message, owner_headers
from simulator.limits import AUDIT_NOISE_EVENTS

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Outcome, Script, ScriptContext, Wire, WireOutcome

TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
FLOOD_REQUESTS = 500
"""On each connection of a flood: 32,000 in all, a second's work or two of a server that refuses cheaply."""
FLOOD_CONNECTIONS = 64
"""As many as load tools open: an answer to an honest client has to come between the refusals of all of them."""
QUOTED_PAIRS = 20_000
"""Escaped quotes behind a quote that never closes: 40 KB, at which a backtracking expression takes many seconds."""
OPENING = "[" * 66
"""Deeper than any reader of JSON needs to look: whoever counts brackets by an expression does so from here."""
DIGITS = 20_000
KEPT = ("machine_registered", "policy_created", "policy_activated", "consent_created")
"""What an owner has done before the noise begins."""


class Flood(Strain):
    """One address that asks as fast as it can, far over its rate limit."""

    name = "strain.flood"
    basis = Basis.HARDENED
    shape = f"{FLOOD_REQUESTS} requests in one write on each of {FLOOD_CONNECTIONS} connections of one address"
    verdict = "429 for all but a bucket's worth, or closed"
    anchor = "OWASP API4:2023; contract §6: a refusal costs less than an answer"
    requests: ClassVar[int] = FLOOD_REQUESTS
    clients: ClassVar[int] = FLOOD_CONNECTIONS

    def whole(self, context: ScriptContext) -> list[Wire]:
        """Ask for what exists and what does not, with and without a body."""
        close = {"Connection": "close"}
        health = Expect(Answer.WITHIN_LIMIT, (0, OK), "", "one client may send no faster")
        refused = refusing(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNAUTHORIZED,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.METHOD_NOT_ALLOWED,
            because="it has no credential, or there is nothing there",
        )
        kinds = (
            ("GET", "/health", b"", health, Operation.OTHER),
            ("GET", "/api/v1/nothing", b"", refused, Operation.OTHER),
            ("POST", heartbeat_path(context), b"{", refused, Operation.HEARTBEAT),
            ("POST", "/api/v1/machines/register", b"{}", refused, Operation.OTHER),
            ("GET", "/api/v1/workers/statuses", b"", refused, Operation.OTHER),
            ("GET", "/metrics", b"", refused, Operation.OTHER),
            ("PUT", "/health", b"", refused, Operation.OTHER),
            ("POST", "/api/v1/policies", b"{}", refused, Operation.OTHER),
        )
        wires = []
        for method, path, body, expect, operation in kinds:
            message = http_message(method, path, context.host, {}, body) * (self.requests - 1)
            message += http_message(method, path, context.host, close, body)
            wire = self.asking(message, expect, HOSTILE, operation)
            wires += [wire] * (self.clients // len(kinds))
        return wires

    def more_claims(self, context: ScriptContext, whole: list[Wire], outcomes: list[WireOutcome]) -> list[Claim]:
        """Claim that all connections together got no more through than one bucket holds."""
        del whole
        answers = [one for outcome in outcomes for one in outcome.answers]
        served = [one.at_ns for one in answers if one.status != TOO_MANY]
        began_ns = min(outcome.sent_ns for outcome in outcomes)
        length_ns = max(served, default=began_ns) - began_ns
        allowed = context.defences.allows(length_ns)
        message = (
            f"{len(served)} of {len(answers)} answers were no refusals within {length_ns / SECOND_NS:.2f}s, {allowed} "
            "are allowed"
        )
        limited = len(served) < len(answers)
        held = len(served) <= allowed if limited or len(served) > allowed else None
        return [Claim("limited", held, message, {"served": len(served), "allowed": allowed})]


class Backtracking(Strain):
    """Texts of an owner that are short to write and, for some expressions, very long to read."""

    name = "strain.regex"
    basis = Basis.HARDENED
    shape = (
        f"bodies of {len(OPENING)} brackets, a quote and {QUOTED_PAIRS:,} escaped quotes, and limits and offsets of "
        f"{DIGITS:,} digits and a letter, with an owner's token"
    )
    verdict = "400 at once, or 431"
    anchor = "CWE-1333; contract §6: work in proportion to what was sent"
    quoted_pairs: ClassVar[int] = QUOTED_PAIRS
    digits: ClassVar[int] = DIGITS

    def whole(self, context: ScriptContext) -> list[Wire]:
        """Return them to every reader of a body, and of numbers in a query."""
        owner_id = context.new_owner()
        headers = {**owner_headers(context.token, owner_id), "Connection": "close"}
        text = (OPENING + '"' + '\\"' * self.quoted_pairs).encode()
        digits = "0" * self.digits + "x"
        requests = [
            *(("POST", path, text) for path in ("/policies", "/machines/register", "/consents")),
            *(
                ("GET", f"/{path}?{name}={digits}", b"")
                for path in ("workers/statuses", "audit/events")
                for name in ("limit", "offset")
            ),
        ]
        expect = refusing(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.REQUEST_URI_TOO_LONG,
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            because="it is no JSON, or no number",
        )
        wires = [
            self.asking(http_message(method, f"/api/v1{path}", context.host, headers, body), expect, HOSTILE + number)
            for number, (method, path, body) in enumerate(requests)
        ]
        beat = http_message("POST", heartbeat_path(context), context.host, {"Connection": "close"}, text)
        return [*wires, self.asking(beat, expect, HOSTILE + len(requests), Operation.HEARTBEAT)]


class AuditTurn(OwnerAttack):
    """Heartbeats without any credential, in the name of a worker whose id is known: more than any stream keeps."""

    name = "strain.audit-turn"
    basis = Basis.HARDENED
    shape = f"{AUDIT_NOISE_EVENTS:,} heartbeats without a credential that name a known worker"
    verdict = "400 missing required heartbeat fields"
    effect = "one worker_auth_failed event each; what the owner has done stays in its audit"
    anchor = "contract §3: neither strangers nor an owner's own heartbeats evict what matters; ASVS 5.0 §16.4"
    severity = 7.5
    events: ClassVar[int] = AUDIT_NOISE_EVENTS

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        before = yield from _counts(context, party.owner_id, addresses)
        missing = heartbeat_gets(Answer.MISSING_FIELDS, "it has none of its fields")
        made = 0
        for _ in range(self.events):
            client = addresses.take()
            outcome: Outcome = yield send(context, HEARTBEAT, party, missing, client=client, headers={}, payload=b"{}")
            made += outcome.right
        after = yield from _counts(context, party.owner_id, addresses)
        lost = {kind: count - after[kind] for kind, count in before.items() if after[kind] < count}
        message = f"after {made} heartbeats by strangers {sum(lost.values())} of {sum(before.values())} events of what "
        message += "the owner had done are gone"
        enough = True if made == self.events and all(before.values()) else None
        yield Claim("nothing-lost", False if lost else enough, message, {"lost": lost})


def _counts(context: ScriptContext, owner_id: str, addresses: Addresses) -> Script[dict[str, int]]:
    """Read how many events of each kind an owner is shown. Raises PrerequisiteError."""
    counts = {}
    for kind in KEPT:
        page = yield from audit_page(context, owner_id, f"?type={kind}&limit=1", client=addresses.take())
        total = page.get("total")
        counts[kind] = total if isinstance(total, int) else 0
    return counts
