"""The control plane as the contract tells it, in plain lists that are searched from end to end.

Nothing here is fast, indexed or bounded, and nothing comes from the server's code. What only the server can choose
(ids, secrets, certificate signatures) is learned from its answer, after a check of its form and that it is new.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.core.control_plane_records import NONCE_LIFE, Acceptance, Event, MachineRecord, PolicyRecord, Records
from tests.core.server_under_test import CERTIFICATE_LIFE, SKEW, timestamp_text

FIVE_FIELDS = {"timestamp", "nonce", "policy_id", "metrics", "signature"}


class Expected(NamedTuple):
    status: int
    error: str = ""
    data: Any = None


class Verdict(NamedTuple):
    """What may become of a heartbeat; `reason` is empty where no auth failure is counted."""

    status: int
    error: str
    reason: str


ACCEPTED = Verdict(200, "", "")
UNAUTHORIZED = Expected(401, "unauthorized")
FORBIDDEN = Expected(403, "forbidden")


class Caller(NamedTuple):
    """What a request says of the owner who sends it."""

    bearer_is_right: bool
    owner_id: str


class Sent(NamedTuple):
    """A heartbeat as it was sent: `stamped_ns` is what its timestamp means, None when it means nothing."""

    worker_id: str
    token: str
    certificate_id: str
    body: dict[str, Any]
    stamped_ns: int | None
    signed_with: str
    signed_text: str


def depth(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth, inside), default=0)


def unfit(text: str) -> bool:
    return any(character == "|" or ord(character) < 32 or 127 <= ord(character) < 160 for character in text)


def beyond_reach(owner_id: str) -> bool:
    """Return whether nobody could sign or ask under an owner id: HTTP takes white space off the ends of a header."""
    return unfit(owner_id) or owner_id[:1].isspace() or owner_id[-1:].isspace()


class Model(Records):
    """Every decision of the control plane: each gives the answer, and notes what it changes."""

    # -- what owners do

    def register(self, caller: Caller, owner_id: str, name: str, seen: Any) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        if beyond_reach(caller.owner_id):
            return Expected(400, "invalid owner_id")
        if not (owner_id and name):
            return Expected(400, "owner_id and name are required")
        if beyond_reach(owner_id):
            return Expected(400, "invalid owner_id")
        if caller.owner_id not in ("", owner_id):
            self.deny("owner_mismatch", caller.owner_id, "", owner_id)
            return FORBIDDEN
        machine_id = self.learn(seen["machine"]["id"], "wrk_", 16)
        token = self.learn(seen["machine_token"], "", 48)
        certificate = self.learn_certificate(seen["machine_certificate"], machine_id)
        self.machines.append(MachineRecord(machine_id, owner_id, name, token, certificate["certificate_id"], self.mono))
        self.act("machine_registered", owner_id, machine_id, {"name": name})
        shown = {"id": machine_id, "owner_id": owner_id, "name": name, "created_at": timestamp_text(self.wall)}
        return Expected(
            201,
            data={"machine": shown, "machine_token": token, "machine_certificate": certificate},
        )

    def rotate(self, caller: Caller, machine_id: str, token: str, seen: Any) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        if not caller.owner_id:
            return FORBIDDEN
        machine = self.machine(machine_id)
        if not token:
            reason, answer = "missing_machine_token", UNAUTHORIZED
        elif machine is None:
            reason, answer = "machine_not_found", Expected(404, "machine not found")
        elif machine.owner_id != caller.owner_id:
            reason, answer = "owner_mismatch", FORBIDDEN
        elif machine.token != token:
            reason, answer = "invalid_machine_token", UNAUTHORIZED
        else:
            certificate = self.learn_certificate(seen, machine_id)
            machine.retired_certificates.append(machine.certificate_id)
            machine.certificate_id = certificate["certificate_id"]
            machine.issued_mono = self.mono
            metadata = {"certificate_id": machine.certificate_id}
            self.act("machine_certificate_issued", caller.owner_id, machine_id, metadata)
            return Expected(200, data=certificate)
        concerned = (*([machine.owner_id] if machine else []), caller.owner_id)
        actor = f"owner:{caller.owner_id}"
        self.refuse("machine_certificate_issue_denied", actor, machine_id, {"reason": reason}, *concerned)
        return answer

    def create_policy(
        self,
        caller: Caller,
        body: dict[str, Any],
        rules_error: str,
        right_signature: str,
        seen: Any,
    ) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        owner_id, signature = body["owner_id"], body["signature"]
        if not (owner_id and signature):
            return Expected(400, "owner_id and signature are required")
        if caller.owner_id not in ("", owner_id):
            self.deny("owner_mismatch", caller.owner_id, "", owner_id)
            return FORBIDDEN
        if rules_error:
            return Expected(400, rules_error)
        if signature != right_signature:
            self.deny("invalid_policy_signature", owner_id, "", owner_id)
            return Expected(401, "invalid policy signature")
        version = 1 + sum(policy.owner_id == owner_id for policy in self.policies)
        now = timestamp_text(self.wall)
        policy_id = self.learn(seen["id"], "pol_", 16)
        shown = {**body, "id": policy_id, "version": version, "state": "draft", "created_at": now, "updated_at": now}
        self.policies.append(PolicyRecord(shown))
        self.act("policy_created", owner_id, policy_id, {"version": version})
        return Expected(201, data=dict(shown))

    def activate(self, caller: Caller, policy_id: str) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        policy = self.policy(policy_id)
        if policy is None:
            return Expected(404, "policy not found")
        if caller.owner_id != policy.owner_id:
            if caller.owner_id:
                self.deny("not_the_owner", caller.owner_id, policy_id, policy.owner_id)
            return FORBIDDEN
        if not policy.active:
            policy.shown.update(state="active", updated_at=timestamp_text(self.wall))
            self.act("policy_activated", policy.owner_id, policy_id, {"version": policy.shown["version"]})
        return Expected(200, data=dict(policy.shown))

    def consent(self, caller: Caller, body: dict[str, str], right_signature: str, seen: Any) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        owner_id, worker_id, policy_id = body["owner_id"], body["worker_id"], body["policy_id"]
        if not all(body.values()):
            return Expected(400, "owner_id, worker_id, policy_id, signature are required")
        if caller.owner_id not in ("", owner_id):
            self.deny("owner_mismatch", caller.owner_id, "", owner_id)
            return FORBIDDEN
        if body["signature"] != right_signature:
            self.deny("invalid_consent_signature", owner_id, worker_id, owner_id)
            return Expected(401, "invalid consent signature")
        machine = self.machine(worker_id)
        if machine is None or machine.owner_id != owner_id:
            self.deny("worker_not_found_for_owner", owner_id, worker_id, machine.owner_id if machine else owner_id)
            return Expected(400, "worker not found for owner")
        policy = self.policy(policy_id)
        if policy is None or policy.owner_id != owner_id or not policy.active:
            whose = policy.owner_id if policy else owner_id
            self.deny("active_policy_not_found_for_owner", owner_id, policy_id, whose)
            return Expected(400, "active policy not found for owner")
        for consent in self.consents:
            if (consent["worker_id"], consent["policy_id"]) == (worker_id, policy_id):
                if "revoked_at" not in consent:
                    return Expected(201, data=dict(consent))
                self.deny("consent_revoked", owner_id, worker_id, owner_id)
                return Expected(409, "consent already revoked for this policy version")
        consent_id = self.learn(seen["id"], "con_", 16)
        self.consents.append({**body, "id": consent_id, "effective_at": timestamp_text(self.wall)})
        self.act("consent_created", owner_id, consent_id, {"worker_id": worker_id, "policy_id": policy_id})
        return Expected(201, data=dict(self.consents[-1]))

    def revoke(self, caller: Caller, consent_id: str) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        if not caller.owner_id:
            return FORBIDDEN
        consent = next((consent for consent in self.consents if consent["id"] == consent_id), None)
        if consent is None:
            return Expected(404, "consent not found")
        if consent["owner_id"] != caller.owner_id:
            self.deny("not_the_owner", caller.owner_id, consent_id, consent["owner_id"])
            return FORBIDDEN
        if "revoked_at" not in consent:
            consent["revoked_at"] = timestamp_text(self.wall)
            metadata = {"worker_id": consent["worker_id"], "policy_id": consent["policy_id"]}
            self.act("consent_revoked", caller.owner_id, consent_id, metadata)
        return Expected(200, data=dict(consent))

    def worker_status(self, caller: Caller, worker_id: str) -> Expected:
        if not caller.bearer_is_right:
            return UNAUTHORIZED
        machine = self.machine(worker_id)
        if machine is None:
            return Expected(404, "worker not found")
        if caller.owner_id not in ("", machine.owner_id):
            self.deny("not_the_owner", caller.owner_id, worker_id, machine.owner_id)
            return FORBIDDEN
        status = self.status(machine)
        if status["age_seconds"] < 0:
            return Expected(404, "worker status not found")
        return Expected(200, data={**status, "stale_threshold": 60})

    # -- what machines do

    def certificate_is_good(self, machine: MachineRecord, certificate_id: str) -> bool:
        return machine.certificate_id == certificate_id and self.mono < machine.issued_mono + CERTIFICATE_LIFE

    def fetch_policy(self, worker_id: str, token: str, certificate_id: str) -> Expected:
        machine = self.machine(worker_id)
        if not (token and certificate_id):
            self.fail("missing_worker_policy_auth_headers", worker_id)
            return UNAUTHORIZED
        if machine is None or machine.token != token:
            self.fail("invalid_machine_token_policy_fetch", worker_id)
            return UNAUTHORIZED
        if not self.certificate_is_good(machine, certificate_id):
            self.fail("invalid_or_expired_machine_cert_policy_fetch", worker_id)
            return UNAUTHORIZED
        live = [each for each in self.consents if each["worker_id"] == worker_id and "revoked_at" not in each]
        if not live:
            return Expected(403, "no active consent")
        policy = self.policy(live[-1]["policy_id"])
        assert policy is not None
        data = {"worker_id": worker_id, "policy": policy.shown, "consent_effective_at": live[-1]["effective_at"]}
        return Expected(200, data=data)

    def judge(self, sent: Sent) -> set[Verdict]:
        """Return all that may become of a heartbeat: more than one where the server may, or may not, have forgotten."""
        body = sent.body
        fields = {name: body.get(name, "") for name in FIVE_FIELDS - {"metrics"}}
        metrics = body.get("metrics", {})
        if not (body.keys() <= FIVE_FIELDS and (metrics is None or isinstance(metrics, dict))):
            return {Verdict(400, "invalid request", "")}
        if not all(isinstance(value, str) for value in fields.values()):
            return {Verdict(400, "invalid request", "")}
        if not (sent.token and sent.certificate_id and all(fields.values())):
            return {Verdict(400, "missing required heartbeat fields", "missing_heartbeat_fields")}
        nonce, policy_id = fields["nonce"], fields["policy_id"]
        if len(nonce) > 128 or unfit(nonce) or unfit(policy_id) or depth(metrics) > 8 or len(str(metrics)) > 16_384:
            return {Verdict(400, "invalid heartbeat fields", "malformed_heartbeat_fields")}
        if sent.stamped_ns is None:
            return {Verdict(400, "invalid timestamp", "invalid_timestamp")}
        out_of_window = _unauthentic("timestamp_out_of_window")
        if abs(self.wall - sent.stamped_ns) > SKEW:
            return {out_of_window}
        forgettable = [each.stamped_ns for each in self.accepted if self.mono - each.mono > NONCE_LIFE]
        beyond_the_horizon = {out_of_window} if any(sent.stamped_ns <= stamp for stamp in forgettable) else set()
        return beyond_the_horizon | self.judge_authentic(sent, nonce, policy_id, sent.stamped_ns)

    def judge_authentic(self, sent: Sent, nonce: str, policy_id: str, stamped_ns: int) -> set[Verdict]:
        """Judge from check 6 on."""
        machine = self.machine(sent.worker_id)
        if machine is None or machine.token != sent.token:
            return {_unauthentic("invalid_machine_token")}
        if not self.certificate_is_good(machine, sent.certificate_id):
            return {_unauthentic("invalid_or_expired_machine_cert")}
        text = "|".join((sent.worker_id, sent.body["timestamp"], nonce, policy_id))
        if (sent.signed_with, sent.signed_text) != (machine.token, text):
            return {_unauthentic("invalid_heartbeat_signature")}
        pair = (sent.worker_id, policy_id)
        if not any(
            (each["worker_id"], each["policy_id"]) == pair and "revoked_at" not in each for each in self.consents
        ):
            return {Verdict(403, "no active consent for worker/policy", "")}
        seen = [each for each in self.accepted if (each.worker_id, each.nonce) == (sent.worker_id, nonce)]
        if not seen:
            return {ACCEPTED}
        replayed = _unauthentic("nonce_replayed")
        if any(self.mono - each.mono <= NONCE_LIFE for each in seen):
            return {replayed}
        # A nonce past its life may be forgotten, and then the horizon has passed whatever it was used for.
        return {replayed} if any(stamped_ns <= each.stamped_ns for each in seen) else {replayed, ACCEPTED}

    def settle(self, sent: Sent, verdict: Verdict) -> None:
        """Note what became of a heartbeat."""
        machine = self.machine(sent.worker_id)
        if verdict.reason:
            self.fail(verdict.reason, sent.worker_id)
        if verdict == ACCEPTED:
            assert machine is not None
            assert sent.stamped_ns is not None
            policy_id, nonce = sent.body["policy_id"], sent.body["nonce"]
            self.accepted.append(
                Acceptance(machine.id, policy_id, nonce, sent.stamped_ns, self.wall, self.mono),
            )
            metadata = {"policy_id": policy_id}
            event = Event("worker_heartbeat", f"worker:{machine.id}", machine.id, metadata, self.wall)
            self.note("routine", event, machine.owner_id)


def _unauthentic(reason: str) -> Verdict:
    return Verdict(401, "invalid heartbeat auth", reason)
