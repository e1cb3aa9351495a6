"""A run against the reference server's own decisions, in process; the history sees the two ends of each true moment.

The server is right unless a test makes it err. A request takes effect at a moment between its sending and its answer,
its answer may be lost, and a lost request may take effect long after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from reference_server.wire.values import Request
from simulator.checkers.audit import check_audit
from simulator.checkers.facts import Facts
from simulator.client.answers import HttpAnswer, classify_heartbeat
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action, Machine, heartbeat_request, signed_heartbeat
from simulator.fleet.requests import (
    EVENT_OF,
    ApiCall,
    activate_call,
    apply_grant,
    call_of,
    note,
    owner_headers,
    policy_call,
    revoke_call,
)
from simulator.history.records import AuditReading, Effect, Revocation
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.limits import REFUSALS_KEPT_MIN
from tests.core.server_under_test import SKEW, STARTED, TOKEN, Server, timestamp_text
from tests.core.server_under_test import Answer as Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.checkers.verdict import Verdict

PAGE = 500
OK, CREATED, SERVER_ERROR = 200, 201, 500
ACCEPTED_STATUSES = (OK, CREATED)
Fate = Literal["answered", "lost after", "lost before", "lost late", "failed after", "failed before"]
FATES: tuple[Fate, ...] = ("answered", "lost after", "lost before", "lost late", "failed after", "failed before")
OPERATION_OF = {
    Action.REGISTER: Operation.REGISTER,
    Action.CONSENT: Operation.CONSENT_CREATE,
    Action.FETCH_POLICY: Operation.POLICY_FETCH,
    Action.ROTATE: Operation.CERTIFICATE,
    Action.HEARTBEAT: Operation.HEARTBEAT,
}


class Span(NamedTuple):
    """How long before its effect a request was sent, how long after it was answered, and what became of it."""

    before_ns: int = MILLISECOND_NS
    after_ns: int = MILLISECOND_NS
    fate: Fate = "answered"


SOON = Span()


class AuditedWorld:
    """Owners and machines that do things one after the other, and the history that a run would have of it."""

    def __init__(self, **settings: Any) -> None:
        self.server = Server(**settings)
        self.history = History()
        self.facts = Facts(
            stale_seconds=60,
            auth_window_seconds=300,
            auth_threshold=10,
            baseline={},
            audit_events_per_stream=self.server.settings.audit_events_per_stream,
        )
        self.machines: list[Machine] = []
        self.policies: dict[str, str] = {}
        self.revoked: set[int] = set()
        self._late: list[Callable[[], Reply]] = []
        self._nonces = self._spare_machines = 0

    # --- time, and what a request goes through

    @property
    def now_ns(self) -> int:
        """Return the moment of the run."""
        return self.server.now.monotonic_ns - STARTED.monotonic_ns

    def wait(self, nanoseconds: int) -> None:
        """Have time pass."""
        self.server.pass_time(nanoseconds)

    def _until(self, moment_ns: int) -> None:
        self.wait(max(0, moment_ns - self.now_ns))

    def _happen(self, span: Span, do: Callable[[], Reply], known_ns: int = 0) -> tuple[Reply | None, int, int]:
        """Have a request take effect, or not; return the answer, and the two ends. Nobody acts before he knows."""
        self._until(known_ns)
        sent_ns = max(known_ns, self.now_ns - span.before_ns, 0)
        reply = None
        if span.fate in {"answered", "lost after", "failed after"}:
            reply = do()
        elif span.fate == "lost late":
            self._late.append(do)
        answered_ns = NEVER_NS if span.fate.startswith("lost") else self.now_ns + span.after_ns
        if span.fate.startswith("failed"):
            return Reply(503, {}, b'{"success":false,"error":"odd"}'), sent_ns, answered_ns
        return (reply if span.fate == "answered" else None), sent_ns, answered_ns

    def settle(self) -> None:
        """Have everything that is under way arrive, and every answer come."""
        for do in self._late:
            do()
        self._late.clear()
        self.wait(3600 * SECOND_NS)

    def _api(self, call: ApiCall) -> Callable[[], Reply]:
        headers = {name.lower(): value for name, value in call.headers.items()}
        return lambda: self.server.send(call.method, call.path, call.body, headers)

    # --- what owners do

    def owner(self, owner_id: str) -> str:
        """Have an owner come, with an active policy."""
        self.history.owners.append(owner_id)
        create = policy_call(TOKEN, owner_id, {"max_cpu_percent": 50})
        reply = self.change(owner_id, create)
        assert reply is not None
        self.policies[owner_id] = str(reply.data["id"])
        self.change(owner_id, activate_call(TOKEN, owner_id, self.policies[owner_id]))
        return owner_id

    def change(self, owner_id: str, call: ApiCall, span: Span = SOON, object_id: str = "") -> Reply | None:
        """Do one of an owner's changes, with the effect that it has."""
        reply, sent_ns, answered_ns = self._happen(span, self._api(call))
        known = reply is not None and reply.status < SERVER_ERROR
        if reply is None or known == (reply.status in ACCEPTED_STATUSES):
            note(self.history, sent_ns, answered_ns, EVENT_OF[call.operation], owner_id, object_id, sure=known)
        return reply

    def revoke(self, machine: Machine, span: Span = SOON) -> None:
        """Revoke a machine's consent."""
        consent = self.history.consents[machine.consent_number - 1]
        call = revoke_call(TOKEN, machine.owner_id, consent.consent_id)
        self.revoked.add(machine.index)
        before = len(self.history.effects)
        reply = self.change(machine.owner_id, call, span, consent.consent_id)
        done = self.history.effects[before]
        acknowledged = reply is not None and reply.status == OK
        answered_ns = done.answered_ns if acknowledged else NEVER_NS
        self.history.revocations.append(Revocation(machine.consent_number, done.sent_ns, answered_ns))

    def denied(self, actor: str, machine: Machine, span: Span = SOON) -> None:
        """Have one owner try to revoke another's consent."""
        consent = self.history.consents[machine.consent_number - 1]
        call = revoke_call(TOKEN, actor, consent.consent_id)
        owners = tuple(dict.fromkeys((machine.owner_id, actor)))
        self._refused(call, span, "owner_access_denied", actor, "", owners, "")

    def rotation_denied(self, actor: str, machine: Machine, span: Span = SOON) -> None:
        """Have an owner ask for another's certificate."""
        headers = {**owner_headers(TOKEN, actor), "X-Machine-Token": machine.token.decode()}
        call = ApiCall(Operation.CERTIFICATE, "POST", f"/machines/{machine.worker_id}/certificate", headers)
        owners = tuple(dict.fromkeys((machine.owner_id, actor)))
        kind = "machine_certificate_issue_denied"
        self._refused(call, span, kind, actor, machine.worker_id, owners, "owner_mismatch")

    def _refused(
        self, call: ApiCall, span: Span, kind: str, actor: str, object_id: str, owners: tuple[str, ...], reason: str
    ) -> None:
        reply, sent_ns, answered_ns = self._happen(span, self._api(call))
        sure = reply is not None and reply.status < SERVER_ERROR
        effect = Effect(sent_ns, answered_ns, kind, f"owner:{actor}", object_id, owners, reason, sure=sure)
        self.history.effects.append(effect)
        status = 0 if reply is None else reply.status
        got = Answer.LOST if reply is None else Answer.REFUSED if sure else Answer.UNAVAILABLE
        self._row(sent_ns, answered_ns, NO_MACHINE, status, Operation.OTHER, Answer.REFUSED, got)

    # --- what machines do

    def machine(self, owner_id: str, index: int) -> Machine:
        """Make a machine that is set up."""
        machine = Machine(index, owner_id, SECOND_NS)
        for action in (Action.REGISTER, Action.CONSENT, Action.FETCH_POLICY):
            self.act(machine, action)
        return machine

    def spare_machine(self, owner_id: str) -> Machine:
        """Return a machine that is not registered, and is never heard of again."""
        self._spare_machines += 1
        return Machine(1000 + self._spare_machines, owner_id, SECOND_NS)

    def act(self, machine: Machine, action: Action, span: Span = SOON) -> None:
        """Do a control-plane action of a machine, recorded as onboarding does it."""
        call = call_of(machine, action, TOKEN, self.policies[machine.owner_id])
        reply, sent_ns, answered_ns = self._happen(span, self._api(call), machine.due_ns)
        operation = OPERATION_OF[action]
        certificate = machine.certificate_number
        got = Answer.LOST if reply is None else Answer.UNAVAILABLE
        if reply is not None and reply.status in ACCEPTED_STATUSES:
            apply_grant(self.history, machine, action, reply.data, sent_ns, answered_ns, 3600 * SECOND_NS)
            machine.due_ns = answered_ns
            got = Answer.ACCEPTED
        elif reply is not None and reply.status < SERVER_ERROR:
            got = Answer.UNEXPECTED
        elif operation in EVENT_OF:
            note(self.history, sent_ns, answered_ns, EVENT_OF[operation], machine.owner_id, sure=False)
        certificate = machine.certificate_number if operation is not Operation.POLICY_FETCH else certificate
        status = 0 if reply is None else reply.status
        self._row(
            sent_ns, answered_ns, machine.index, status, operation, Answer.ACCEPTED, got,
            certificate=certificate, consent=machine.consent_number,
        )  # fmt: skip

    def beat(
        self,
        machine: Machine,
        span: Span = SOON,
        *,
        nonce: int | None = None,
        expected: Answer = Answer.ACCEPTED,
        token: str | None = None,
        certificate: tuple[str, int] | None = None,
        key: bytes | None = None,
        skew_ns: int = 0,
        campaign: int = HONEST,
        known: bool = True,
    ) -> int:
        """Send a heartbeat, right but for what is given; gives its nonce."""
        self._until(machine.due_ns)
        if nonce is None:
            self._nonces += 1
            nonce = self._nonces
        if expected is Answer.ACCEPTED and machine.index in self.revoked:
            expected = Answer.WHILE_REVOKING
        raw = nonce.to_bytes(12, "big")
        certificate_id, number = certificate or (machine.certificate_id, machine.certificate_number)
        worker_id = machine.worker_id if known else "wrk_0123456789abcdef"
        body = signed_heartbeat(
            key or machine.token, worker_id, timestamp_text(self.server.now.wall_ns + skew_ns), raw.hex(),
            machine.policy_id, "{}",
        )  # fmt: skip
        message = heartbeat_request("here", worker_id, token or machine.token.decode(), certificate_id, body)
        reply, sent_ns, answered_ns = self._happen(span, lambda: self._raw(message))
        got = Answer.LOST
        if reply is not None:
            got = classify_heartbeat(HttpAnswer(reply.status, b"", reply.body, keep=True), expected)
        self._row(
            sent_ns, answered_ns, machine.index if known else NO_MACHINE, 0 if reply is None else reply.status,
            Operation.HEARTBEAT, expected, got, nonce=raw, campaign=campaign, certificate=number,
            consent=machine.consent_number,
        )  # fmt: skip
        return nonce

    def _raw(self, message: bytes) -> Reply:
        head, _, body = message.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split(" ")
        headers = tuple((name.lower(), value) for name, _, value in (line.partition(": ") for line in lines))
        return self.server.request(Request(method, path, "", headers, body))

    def skewed(self, machine: Machine, span: Span = SOON) -> None:
        """Send a heartbeat from a clock that is far behind."""
        self.beat(machine, span, skew_ns=-2 * SKEW, expected=Answer.TIMESTAMP_OUT_OF_WINDOW, campaign=1)

    def _row(
        self,
        sent_ns: int,
        answered_ns: int,
        machine: int,
        status: int,
        operation: Operation,
        expected: Answer,
        got: Answer,
        *,
        nonce: bytes = bytes(12),
        campaign: int = HONEST,
        certificate: int = 0,
        consent: int = 0,
    ) -> None:
        self.history.append(
            sent_ns, sent_ns, answered_ns, nonce, machine, status, operation, expected, got, campaign,
            certificate=certificate, consent=consent,
        )  # fmt: skip

    # --- what the lists show

    def look(self, owner_id: str, span: Span = SOON) -> None:
        """Look at an owner's heads."""
        kind = "owner_access_denied"
        shown = self.server.audit(owner_id, f"limit=1&type={kind}")
        sent_ns, answered_ns = max(0, self.now_ns - span.before_ns), self.now_ns + span.after_ns
        self.history.audit_readings.append(
            AuditReading(owner_id, sent_ns, answered_ns, OK, 0, shown["total"], shown["events"], shown["heads"], kind)
        )
        self._until(answered_ns)

    def read(self, owner_id: str) -> None:
        """Read an owner's whole list."""
        offset, total = 0, 1
        while offset < total:
            shown = self.server.audit(owner_id, f"limit={PAGE}&offset={offset}")
            now_ns = self.now_ns
            self.history.audit_readings.append(
                AuditReading(owner_id, now_ns, now_ns + 1, OK, offset, shown["total"], shown["events"], shown["heads"])
            )
            self.wait(2)
            offset, total = offset + len(shown["events"]), shown["total"]

    def read_all(self) -> None:
        """Come to rest, and read every owner's list."""
        self.settle()
        for owner_id in self.history.owners:
            self.read(owner_id)

    def audit(self, refusals_kept_min: int = REFUSALS_KEPT_MIN) -> Verdict:
        """Have the audit checker judge."""
        return check_audit(self.history, self.facts, refusals_kept_min)

    def rules(self, refusals_kept_min: int = REFUSALS_KEPT_MIN) -> set[str]:
        """Return the rules that the audit checker found broken."""
        return {finding.rule.removeprefix("audit.") for finding in self.audit(refusals_kept_min).findings}


def eventful(world: AuditedWorld) -> list[Machine]:
    """Have two owners with two machines each do some of everything."""
    ada, ben = world.owner("ada"), world.owner("ben")
    machines = [world.machine(owner_id, index) for index, owner_id in enumerate((ada, ada, ben, ben))]
    for turn in range(4):
        for machine in machines:
            nonce = world.beat(machine)
        world.wait(SECOND_NS)
        world.beat(machines[3], nonce=nonce, expected=Answer.NONCE_REPLAYED, campaign=1)
        world.beat(machines[turn], token="0" * 48, expected=Answer.INVALID_TOKEN, campaign=1)
        world.look(ada)
        world.look(ben)
    world.skewed(machines[0])
    world.act(machines[1], Action.ROTATE)
    old = (machines[1].previous_certificate_id, machines[1].previous_certificate_number)
    world.beat(machines[1], certificate=old, expected=Answer.INVALID_CERTIFICATE, campaign=1)
    world.beat(machines[1])
    world.beat(machines[0], expected=Answer.INVALID_TOKEN, known=False, campaign=1)
    world.denied(ben, machines[0])
    world.rotation_denied(ben, machines[0])
    world.revoke(machines[3])
    world.beat(machines[3])
    return machines
