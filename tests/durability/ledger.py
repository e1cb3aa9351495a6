"""What one owner's client knows of its state on a server: what must be there, what may, and what must not. No I/O.

Every change leaves one audit event, so changes are told apart as events are: by type and by what the client itself
chose. An answered change must be there, a refused one must not, and one whose answer was lost may be there as a whole,
or not at all; the audit decides which, and everything else that the server shows must then agree.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.signing import sign_text
from simulator.checkers.audit_chain import event_hash
from simulator.contract.answers import Operation
from simulator.fleet.requests import ApiCall, activate_call, consent_call, owner_headers, policy_call, revoke_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

from tests.durability.ledger_records import (
    BAD_REQUEST,
    CONFLICT,
    CREATED,
    FIRST_HEAD,
    FORBIDDEN,
    HEARTBEAT,
    HOST,
    OK,
    REFUSALS,
    UNAUTHORIZED,
    Consent,
    Event,
    Key,
    Machine,
    Policy,
    Step,
    identity_of,
    key_of,
    no_identity,
    nothing,
)


class Ledger:
    """One owner's state as its client knows it. Steps are made one after the other; heartbeats come beside them."""

    def __init__(self, token: str, owner_id: str, rng: np.random.Generator) -> None:
        self._token = token
        self._rng = rng
        self._made = 0
        self._version = 0
        self._heads: dict[str, tuple[int, str]] = dict.fromkeys(("routine", "notable", "refused"), FIRST_HEAD)
        self._seen: list[tuple[str, int, str]] = []
        self.owner_id = owner_id
        self.machines: dict[str, Machine] = {}
        self.strangers: set[str] = set()
        self.policies: dict[str, Policy] = {}
        self.consents: dict[tuple[str, str], Consent] = {}
        self.must: Counter[tuple[Key, str]] = Counter()
        self.doubts: list[Step] = []
        self.undone: list[Step] = []
        self.refused = self.refused_and_answered = 0
        self.touched: dict[str | tuple[str, str], None] = {}
        self.events_read = 0
        self.surplus: Counter[Key] = Counter()
        self.last_beats: dict[str, Event] = {}

    # What to ask.

    def next_step(self) -> Step:
        """Choose the next request: half of them changes, a fifth of them refused, a few of them looks at the audit."""
        drafts = [policy_id for policy_id, policy in self.policies.items() if not policy.active]
        live = [pair for pair, consent in self.consents.items() if not consent.revoked]
        free = [
            (worker_id, policy_id)
            for worker_id in list(self.machines)[-4:]
            for policy_id in list(self.policies)[-4:]
            if self.policies[policy_id].active and (worker_id, policy_id) not in self.consents
        ]
        choices: list[tuple[float, Callable[[], Step]]] = [
            (1.0, self.register),
            (1.0, self.create_policy),
            (0.5, self.look),
        ]
        if drafts:
            choices.append((2.0, lambda: self.activate(self._one_of(drafts))))
        if free:
            choices.append((2.0, lambda: self.consent(*self._one_of(free))))
        if live:
            choices.append((1.0, lambda: self.revoke(self._one_of(live))))
        if self.machines:
            choices.append((1.0, lambda: self.rotate(self._one_of(list(self.machines)))))
        if self.machines and self.policies:
            choices.append((2.0, self.refusal))
        weights = [weight for weight, _ in choices]
        chosen = self._rng.choice(len(choices), p=[weight / sum(weights) for weight in weights])
        return choices[int(chosen)][1]()

    def _one_of(self, things: list[Any]) -> Any:
        return things[int(self._rng.integers(len(things)))]

    def register(self) -> Step:
        """Register a machine."""
        self._made += 1
        name = f"machine {self._made} of {self.owner_id}"

        def learn(data: Event) -> str:
            worker_id = str(data["machine"]["id"])
            certificate_id = data["machine_certificate"]["certificate_id"]
            self.machines[worker_id] = Machine(worker_id, data["machine_token"], certificate_id)
            self.touched[worker_id] = None
            return worker_id

        def resolve(event: Event) -> None:
            self.strangers.add(event["object_id"])  # its token is lost with the answer

        body = {"owner_id": self.owner_id, "name": name}
        call = ApiCall(Operation.REGISTER, "POST", "/machines/register", owner_headers(self._token), body)
        return Step(call.message(HOST), CREATED, ("machine_registered", name), learn, resolve)

    def rotate(self, worker_id: str) -> Step:
        """Rotate a machine's certificate."""
        machine = self.machines[worker_id]

        self.touched[worker_id] = None

        def learn(data: Event) -> str:
            machine.rotated(data["certificate_id"])
            return machine.certificate_id

        def resolve(event: Event) -> None:
            machine.rotated(event["metadata"]["certificate_id"])

        key = ("machine_certificate_issued", worker_id)
        return Step(self._rotation(worker_id, machine.token, self.owner_id).message(HOST), OK, key, learn, resolve)

    def _rotation(self, worker_id: str, machine_token: str, owner_id: str) -> ApiCall:
        headers = {**owner_headers(self._token, owner_id), "X-Machine-Token": machine_token}
        return ApiCall(Operation.CERTIFICATE, "POST", f"/machines/{worker_id}/certificate", headers)

    def create_policy(self) -> Step:
        """Sign a new policy."""
        version = self._version + 1
        rules = {
            "max_cpu_percent": int(self._rng.integers(1, 101)),
            "max_memory_percent": float(self._rng.uniform(1, 99)),
        }

        def learn(data: Event) -> str:
            self._version = version
            policy_id = str(data["id"])
            self.policies[policy_id] = Policy(rules, version, shown=data)
            self.touched[policy_id] = None
            return policy_id

        def resolve(event: Event) -> None:
            self._version = version
            self.policies[event["object_id"]] = Policy(rules, version)
            self.touched[event["object_id"]] = None

        call = policy_call(self._token, self.owner_id, rules)
        return Step(call.message(HOST), CREATED, ("policy_created", str(version)), learn, resolve)

    def activate(self, policy_id: str) -> Step:
        """Activate a policy."""
        policy = self.policies[policy_id]
        self.touched[policy_id] = None

        def learn(data: Event) -> str:
            policy.active, policy.shown = True, data
            return policy_id

        def resolve(_: Event) -> None:
            policy.active, policy.shown = True, None

        call = activate_call(self._token, self.owner_id, policy_id)
        return Step(call.message(HOST), OK, ("policy_activated", policy_id), learn, resolve)

    def consent(self, worker_id: str, policy_id: str) -> Step:
        """Consent to what was never consented to."""
        self.touched[worker_id, policy_id] = None

        def learn(data: Event) -> str:
            self.consents[worker_id, policy_id] = Consent(data["id"], shown=data)
            return str(data["id"])

        def resolve(event: Event) -> None:
            self.consents[worker_id, policy_id] = Consent(event["object_id"])

        call = consent_call(self._token, self.owner_id, worker_id, policy_id)
        return Step(call.message(HOST), CREATED, ("consent_created", worker_id, policy_id), learn, resolve)

    def revoke(self, pair: tuple[str, str]) -> Step:
        """Revoke a consent."""
        consent = self.consents[pair]
        self.touched[pair] = None

        def learn(data: Event) -> str:
            consent.revoked, consent.shown = True, data
            return consent.id

        def resolve(_: Event) -> None:
            consent.revoked, consent.shown = True, None

        call = revoke_call(self._token, self.owner_id, consent.id)
        return Step(call.message(HOST), OK, ("consent_revoked", consent.id), learn, resolve)

    def look(self) -> Step:
        """Look at the heads of the audit: what was shown is as durable as what was acknowledged."""

        def learn(data: Event) -> str:
            self._seen += [(stream, head["sequence"], head["hash"]) for stream, head in data["heads"].items()]
            return ""

        path = "/audit/events?limit=1"
        call = ApiCall(Operation.OTHER, "GET", path, owner_headers(self._token, self.owner_id))
        return Step(call.message(HOST), OK, None, learn, nothing)

    def refusal(self) -> Step:
        """Ask for what must be refused and change nothing."""
        policy_id = self._one_of(list(self.policies))
        worker_id = self._one_of(list(self.machines))
        revoked = [pair for pair, consent in self.consents.items() if consent.revoked]
        calls: list[tuple[ApiCall, int]] = [
            (activate_call(self._token, "nobody", policy_id), FORBIDDEN),
            (self._rotation(worker_id, "0" * 48, self.owner_id), UNAUTHORIZED),
            (self._resigned(policy_call(self._token, self.owner_id, {"max_cpu_percent": 1})), UNAUTHORIZED),
            (policy_call(self._token, self.owner_id, {"max_cpu_percent": 101}), BAD_REQUEST),
            (self._resigned(consent_call(self._token, self.owner_id, worker_id, policy_id)), UNAUTHORIZED),
            (self._rotation(worker_id, self.machines[worker_id].token, "nobody"), FORBIDDEN),
            *((consent_call(self._token, self.owner_id, *pair), CONFLICT) for pair in revoked[-2:]),
            *(
                (revoke_call(self._token, "nobody", self.consents[pair].id), FORBIDDEN)
                for pair in list(self.consents)[-2:]
            ),
        ]
        call, status = calls[int(self._rng.integers(len(calls)))]
        # What is wrong with a policy's rules is said to its owner, and nobody is denied anything.
        return Step(call.message(HOST), status, None, no_identity, nothing, status != BAD_REQUEST)

    def _resigned(self, call: ApiCall) -> ApiCall:
        wrong = sign_text(b"another token", self.owner_id).decode()
        return msgspec.structs.replace(call, body={**call.body, "signature": wrong})

    # What came of it.

    def asked(self, step: Step) -> None:
        """Note a request before it leaves: until its answer is here its outcome is in doubt."""
        if step.status >= BAD_REQUEST:
            self.refused += 1
        if step.key is not None:
            self.doubts.append(step)

    def answered(self, step: Step, data: Event) -> None:
        """Take in a right answer."""
        self.refused_and_answered += step.audited
        identity = step.learn(data)
        if step.key is not None:
            self.doubts.remove(step)
            self.must[step.key, identity] += 1

    def failed(self, step: Step) -> None:
        """Take in a failure that promises that nothing was changed (500, contract §7)."""
        if step.key is not None:
            self.doubts.remove(step)
            self.undone.append(step)

    def doubt_what_failed(self) -> None:
        """Have failed changes be there after all: the server died before it had a disk on which to undo them."""
        self.doubts += self.undone

    # What the server shows after a restart.

    def take_events(self, events: list[Event], heads: dict[str, Any]) -> Iterable[str]:
        """Hold new audit events against what was asked since the last time, and settle every doubt. Gives problems."""
        yield from self._chain(events, heads)
        observed: Counter[tuple[Key, str]] = Counter()
        by_key: dict[Key, Event] = {}
        refusals = 0
        for event in events:
            if event["type"] in REFUSALS:
                refusals += 1
                continue
            observed[key_of(event), identity_of(event)] += 1
            by_key[key_of(event)] = event
            if event["type"] == HEARTBEAT:
                self.last_beats[event["object_id"]] = event
        for (key, identity), times in (self.must - observed).items():
            yield f"{self.owner_id}: {times} acknowledged {key} of {identity} lost"
        self.surplus = Counter()
        for (key, _), times in (observed - self.must).items():
            self.surplus[key] += times
        unexplained = self.surplus - Counter(step.key for step in self.doubts if step.key is not None)
        for key, times in unexplained.items():
            yield f"{self.owner_id}: {times} of {key} that nobody asked for, or that were refused"
        if refusals > self.refused:
            yield f"{self.owner_id}: {refusals} refusals in the audit, of {self.refused} that were"
        if refusals < self.refused_and_answered:
            yield f"{self.owner_id}: {refusals} refusals in the audit, of {self.refused_and_answered} answered ones"
        left = Counter(self.surplus)
        for step in self.doubts:
            if step.key is not None and left[step.key] > 0:
                left[step.key] -= 1
                step.resolve(by_key[step.key])
        self.must.clear()
        self.doubts.clear()
        self.undone.clear()
        self.refused = self.refused_and_answered = 0
        self.events_read += len(events)

    def _chain(self, events: list[Event], heads: dict[str, Any]) -> Iterable[str]:
        """Hold events against the chain as far as it was known, and against every head that was ever shown."""
        hashes = {(stream, *head) for stream, head in self._heads.items()}
        for event in events:
            stream = event["stream"]
            sequence, previous_hash = self._heads[stream]
            if (event["sequence"], event["previous_hash"]) != (sequence + 1, previous_hash):
                yield f"{self.owner_id}: the {stream} chain breaks at {event['sequence']}, after {sequence}"
            if event_hash(event) != event["hash"]:
                yield f"{self.owner_id}: the hash of {stream} event {event['sequence']} is not its own"
            self._heads[stream] = event["sequence"], event["hash"]
            hashes.add((stream, event["sequence"], event["hash"]))
        for stream, head in self._heads.items():
            shown = (heads[stream]["sequence"], heads[stream]["hash"]) if stream in heads else FIRST_HEAD
            if shown != head:
                yield f"{self.owner_id}: the {stream} chain ends in {head[0]}, and its head is {shown[0]}"
        for stream, sequence, seen in self._seen:
            if sequence and (stream, sequence, seen) not in hashes:
                yield f"{self.owner_id}: {stream} event {sequence} was shown before the kill and is another now"
        self._seen.clear()
