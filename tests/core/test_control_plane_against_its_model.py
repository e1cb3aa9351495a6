"""Whatever owners, machines and forgers do, and whatever the clocks do, the server answers as the plain model does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.core.control_plane_comparison import Comparison, Learned
from tests.core.control_plane_model import Caller, Sent
from tests.core.control_plane_records import FAILURE_STEP, FAILURE_WINDOW, NONCE_LIFE, STALE, MachineRecord
from tests.core.control_plane_requests import (
    CHANGED_BODIES,
    CHANGED_SENDERS,
    RULES,
    signed_heartbeat,
    with_changed_body,
    with_changed_sender,
)
from tests.core.server_under_test import (
    CERTIFICATE_LIFE,
    MINUTE,
    SECOND,
    SKEW,
    TOKEN,
    UNKNOWN_WORKER,
    canonical,
    hmac_base64,
    owner_headers,
)
from tests.support.tiers import examples

OWNERS = ("ada", "bob <&> é\u2028x")
WHICH = st.integers(0, 5)
BEYOND_REACH = ("a|b", "a\tb", " ada", "ada\u3000", "\u00a0")
OWNER = st.sampled_from(OWNERS)
CALLER = st.sampled_from(("the owner", "the owner", "the owner", "unnamed", "another", "nobody", "wrong bearer"))
AGE = st.sampled_from((0, 0, SECOND, SKEW, SKEW + 1, -SKEW, -SKEW - 1))
OFFSET = st.sampled_from((-1, 0, 1))
RIGHT = st.sampled_from((True, True, True, False))


def caller_of(kind: str, owner_id: str) -> Caller:
    other = OWNERS[owner_id == OWNERS[0]]
    named = {"unnamed": "", "another": other, "nobody": "nobody"}
    return Caller(kind != "wrong bearer", named.get(kind, owner_id))


class ControlPlane(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.both = Comparison()
        self.model = self.both.model
        self.sent: list[Sent] = []
        self.nonces: list[str] = []

    @initialize()
    def settle_two_owners(self) -> None:
        for owner_id in OWNERS:
            self.register(owner_id, "the owner", "first")
            for rules in RULES[:2]:
                self.create_policy(owner_id, "the owner", rules, right=True)
                self.activate(len(self.model.policies) - 1, "the owner")
            self.consent(len(self.model.machines) - 1, len(self.model.policies) - 1, "the owner", right=True)
            self.heartbeat(len(self.model.machines) - 1, 0, 0, by_lane=True)

    # -- picking

    def machine(self, which: int) -> MachineRecord:
        return self.model.machines[which % len(self.model.machines)]

    def policy_id(self, which: int) -> str:
        known = [policy.shown["id"] for policy in self.model.policies]
        return str([*known, "pol_unknown"][which % (len(known) + 1)])

    # -- owners

    @rule(owner_id=st.sampled_from((*OWNERS, "", *BEYOND_REACH)), kind=CALLER, name=st.sampled_from(("", "n <é>|")))
    def register(self, owner_id: str, kind: str, name: str) -> None:
        caller = caller_of(kind, owner_id)
        answer = self.both.post(caller, "/machines/register", {"owner_id": owner_id, "name": name})
        expected = self.model.register(caller, owner_id, name, Learned(answer))
        self.both.agree(expected, answer, may_show_a_token=True)

    @rule(which=WHICH, kind=CALLER, token=st.sampled_from(("own", "own", "another's", "", "wrong")), known=RIGHT)
    def rotate(self, which: int, kind: str, token: str, *, known: bool) -> None:
        machine = self.machine(which)
        caller = caller_of(kind, machine.owner_id)
        machine_id = machine.id if known else UNKNOWN_WORKER
        sent = {"own": machine.token, "another's": self.machine(which + 1).token}.get(token, token)
        answer = self.both.post(caller, f"/machines/{machine_id}/certificate", None, sent)
        self.both.agree(self.model.rotate(caller, machine_id, sent, Learned(answer)), answer)

    @rule(owner_id=OWNER, kind=CALLER, rules=st.sampled_from(RULES), right=RIGHT)
    def create_policy(self, owner_id: str, kind: str, rules: tuple[dict[str, Any], str], *, right: bool) -> None:
        caller = caller_of(kind, owner_id)
        right_signature = hmac_base64(TOKEN, f"{owner_id}|{canonical(rules[0])}")
        body = {"owner_id": owner_id, "rules": rules[0], "signature": right_signature if right else "wrong"}
        answer = self.both.post(caller, "/policies", body)
        expected = self.model.create_policy(caller, body, rules[1], right_signature, Learned(answer))
        self.both.agree(expected, answer)

    @rule(which=WHICH, kind=CALLER)
    def activate(self, which: int, kind: str) -> None:
        policy = self.model.policy(self.policy_id(which))
        caller = caller_of(kind, policy.owner_id if policy else OWNERS[0])
        answer = self.both.post(caller, f"/policies/{self.policy_id(which)}/activate")
        self.both.agree(self.model.activate(caller, self.policy_id(which)), answer)

    @rule(which=WHICH, policy=WHICH, kind=CALLER, right=RIGHT)
    def consent(self, which: int, policy: int, kind: str, *, right: bool) -> None:
        self._consent(self.machine(which).id, self.policy_id(policy), self.machine(which).owner_id, kind, right=right)

    @rule(which=WHICH, policy=WHICH, owner_id=OWNER)
    def consent_for_anyones_worker(self, which: int, policy: int, owner_id: str) -> None:
        worker_ids = [*(machine.id for machine in self.model.machines), UNKNOWN_WORKER]
        self._consent(worker_ids[which % len(worker_ids)], self.policy_id(policy), owner_id, "the owner", right=True)

    @precondition(lambda self: self.model.consents)
    @rule(which=WHICH, right=RIGHT)
    def consent_again(self, which: int, *, right: bool) -> None:
        consent = self.model.consents[which % len(self.model.consents)]
        self._consent(consent["worker_id"], consent["policy_id"], consent["owner_id"], "the owner", right=right)

    def _consent(self, worker_id: str, policy_id: str, owner_id: str, kind: str, *, right: bool) -> None:
        caller = caller_of(kind, owner_id)
        right_signature = hmac_base64(TOKEN, f"{owner_id}|{worker_id}|{policy_id}")
        body = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id}
        body["signature"] = right_signature if right else "wrong"
        answer = self.both.post(caller, "/consents", body)
        self.both.agree(self.model.consent(caller, body, right_signature, Learned(answer)), answer)

    @precondition(lambda self: self.model.consents)
    @rule(which=WHICH, kind=CALLER, known=RIGHT)
    def revoke(self, which: int, kind: str, *, known: bool) -> None:
        consent = self.model.consents[which % len(self.model.consents)]
        caller = caller_of(kind, consent["owner_id"])
        consent_id = consent["id"] if known else "con_unknown"
        answer = self.both.post(caller, f"/consents/{consent_id}/revoke")
        self.both.agree(self.model.revoke(caller, consent_id), answer)

    # -- machines

    @rule(which=WHICH, policy=WHICH, age=AGE, by_lane=st.booleans())
    def heartbeat(self, which: int, policy: int, age: int, *, by_lane: bool) -> None:
        self.deliver(self.signed(which, policy, self.fresh_nonce(), age), by_lane=by_lane)

    @rule(which=WHICH, beats=st.integers(2, 8), pause=st.sampled_from((0, SECOND, 25 * SECOND)))
    def rotate_and_keep_beating(self, which: int, beats: int, pause: int) -> None:
        self.rotate(which, "the owner", "own", known=True)
        for _ in range(beats):
            self.heartbeat(which, 0, 0, by_lane=True)
            self.both.check_changed_audits()
            self.both.pass_time(pause)

    @rule(which=WHICH, policy=WHICH, nonce=st.integers(0, 20), by_lane=st.booleans())
    def heartbeat_with_a_used_nonce(self, which: int, policy: int, nonce: int, *, by_lane: bool) -> None:
        """Use a nonce again that this machine or another one used, in a heartbeat signed anew."""
        used = self.nonces[nonce % len(self.nonces)]
        self.deliver(self.signed(which, policy, used), by_lane=by_lane)

    @rule(which=WHICH, change=st.sampled_from(tuple(CHANGED_BODIES)), by_lane=st.booleans())
    def heartbeat_with_a_changed_body(self, which: int, change: str, *, by_lane: bool) -> None:
        self.deliver(with_changed_body(self.signed(which, 0), CHANGED_BODIES[change]), by_lane=by_lane)

    @rule(which=WHICH, policy=WHICH, change=st.sampled_from(CHANGED_SENDERS), by_lane=st.booleans())
    def heartbeat_from_a_changed_sender(self, which: int, policy: int, change: str, *, by_lane: bool) -> None:
        sent = with_changed_sender(self.signed(which, policy), self.machine(which), self.machine(which + 1), change)
        self.deliver(sent, by_lane=by_lane)

    def fresh_nonce(self) -> str:
        self.nonces.append(f"nonce {len(self.nonces)}".ljust(128 if len(self.nonces) % 2 else 1, "é"))
        return self.nonces[-1]

    def signed(self, which: int, policy: int, nonce: str = "", age: int = 0) -> Sent:
        """Sign a heartbeat, most often for a policy there is a consent for."""
        machine = self.machine(which)
        ids = [each["policy_id"] for each in self.model.consents if each["worker_id"] == machine.id]
        ids = [*ids, *ids, self.policy_id(policy)]
        offset_minutes = (0, 540, -210)[len(self.sent) % 3]
        stamped_ns = self.both.now.wall_ns - age
        return signed_heartbeat(
            machine, ids[policy % len(ids)], nonce or self.fresh_nonce(), stamped_ns, offset_minutes
        )

    def deliver(self, sent: Sent, *, by_lane: bool) -> None:
        self.sent.append(sent)
        self.both.deliver(sent, by_lane=by_lane)

    @precondition(lambda self: self.sent)
    @rule(
        which=st.integers(0, 30), certificate=st.sampled_from(("captured", "newest", "newest")), by_lane=st.booleans()
    )
    def replay(self, which: int, certificate: str, *, by_lane: bool) -> None:
        """Send again what was sent before, byte for byte but for the certificate."""
        sent = self.sent[which % len(self.sent)]
        machine = self.model.machine(sent.worker_id)
        if machine and certificate == "newest":
            sent = sent._replace(certificate_id=machine.certificate_id)
        self.both.deliver(sent, by_lane=by_lane)

    @precondition(lambda self: self.model.accepted)
    @rule(which=st.integers(0, 30), wait=st.sampled_from((0, 75 * SECOND, NONCE_LIFE, NONCE_LIFE + 1, 8 * MINUTE)))
    def replay_what_was_accepted_when_its_time_has_come_again(self, which: int, wait: int) -> None:
        """Wait until the nonce may be forgotten, and step the wall clock back to when the heartbeat was fresh."""
        victim = self.model.accepted[which % len(self.model.accepted)]
        facts = (victim.worker_id, victim.stamped_ns, victim.nonce)
        at = [(sent.worker_id, sent.stamped_ns, sent.body.get("nonce")) for sent in self.sent].index(facts)
        self.both.pass_time(wait)
        self.both.step_wall(victim.stamped_ns - self.both.now.wall_ns)
        self.replay(at, "newest", by_lane=True)

    @rule(which=WHICH)
    def fetch_policy(self, which: int) -> None:
        self._fetch_policy(signed_heartbeat(self.machine(which), "", "", 0))

    @rule(which=WHICH, change=st.sampled_from(CHANGED_SENDERS[:9]))
    def fetch_policy_as_a_changed_sender(self, which: int, change: str) -> None:
        genuine = signed_heartbeat(self.machine(which), "", "", 0)
        self._fetch_policy(with_changed_sender(genuine, self.machine(which), self.machine(which + 1), change))

    def _fetch_policy(self, sent: Sent) -> None:
        headers = {"x-machine-token": sent.token, "x-machine-certificate-id": sent.certificate_id}
        answer = self.both.server.send("GET", f"/workers/{sent.worker_id}/policy", None, headers)
        self.both.agree(self.model.fetch_policy(sent.worker_id, sent.token, sent.certificate_id), answer)

    # -- time

    @rule(nanoseconds=st.sampled_from((1, SECOND, 20 * SECOND, 75 * SECOND, 5 * MINUTE + 1, 16 * MINUTE)))
    def pass_time(self, nanoseconds: int) -> None:
        self.both.pass_time(nanoseconds)

    @rule(edge=st.sampled_from(("stale", "certificate", "failure", "step", "nonce")), which=WHICH, offset=OFFSET)
    def pass_time_to_an_edge(self, edge: str, which: int, offset: int) -> None:
        accepted = [each.mono for each in self.model.accepted]
        failed = [when for when, _, _ in self.model.failures]
        starts, span = {
            "stale": (accepted, STALE),
            "certificate": ([machine.issued_mono for machine in self.model.machines], CERTIFICATE_LIFE),
            "failure": (failed, FAILURE_WINDOW),
            "step": (failed, FAILURE_WINDOW - FAILURE_STEP),
            "nonce": (accepted, NONCE_LIFE),
        }[edge]
        ahead = [start + span + offset - self.model.mono for start in starts]
        ahead = [wait for wait in ahead if wait > 0]
        if ahead:
            self.both.pass_time(ahead[which % len(ahead)])
            self.both.check_metrics()
            self.both.check_summary(OWNERS[which % 2])

    @rule(nanoseconds=st.sampled_from((1, -1, SKEW, -SKEW, 10 * MINUTE, -10 * MINUTE)))
    def step_the_wall_clock(self, nanoseconds: int) -> None:
        self.both.step_wall(nanoseconds)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 30), age=st.sampled_from((0, 0, SKEW, SKEW + 1, -SKEW, -SKEW - 1)))
    def step_the_wall_clock_to_a_captured_heartbeat(self, which: int, age: int) -> None:
        stamped_ns = self.sent[which % len(self.sent)].stamped_ns
        if stamped_ns is not None:
            self.both.step_wall(stamped_ns + age - self.both.now.wall_ns)

    # -- reading

    @rule(which=WHICH, kind=CALLER, known=RIGHT)
    def read_status(self, which: int, kind: str, *, known: bool) -> None:
        machine = self.machine(which)
        caller = caller_of(kind, machine.owner_id)
        worker_id = machine.id if known else UNKNOWN_WORKER
        answer = self.both.server.send(
            "GET",
            f"/workers/{worker_id}/status",
            None,
            owner_headers(caller.owner_id, TOKEN if caller.bearer_is_right else "wrong"),
        )
        self.both.agree(self.model.worker_status(caller, worker_id), answer)

    @rule(owner_id=st.sampled_from((*OWNERS, "", "nobody")), limit=st.integers(1, 4), offset=st.integers(0, 4))
    def list_statuses(self, owner_id: str, limit: int, offset: int) -> None:
        self.both.check_statuses(owner_id, limit, offset)

    @rule(
        owner_id=OWNER,
        kind=st.sampled_from(("", "worker_heartbeat", "worker_auth_failed", "consent_revoked", "no_such_type")),
        limit=st.integers(1, 30),
        offset=st.integers(0, 30),
    )
    def list_audit(self, owner_id: str, kind: str, limit: int, offset: int) -> None:
        self.both.check_audit_page(owner_id, kind, limit, offset)

    @rule(owner_id=st.sampled_from((*OWNERS, "", "nobody")), first=st.booleans())
    def summarize_and_scrape(self, owner_id: str, *, first: bool) -> None:
        if first:
            self.both.check_summary(owner_id)
        self.both.check_metrics()
        self.both.check_summary(owner_id)

    @rule()
    def read_everything(self) -> None:
        for owner_id in (*OWNERS, "nobody", UNKNOWN_WORKER):
            self.both.check_audit(owner_id)
            self.both.check_summary(owner_id)
        self.both.check_metrics()

    @invariant()
    def audit_is_as_the_model_tells(self) -> None:
        self.both.check_changed_audits()
        self.both.check_owners()

    @invariant()
    def statuses_are_as_the_model_tells(self) -> None:
        for owner_id in OWNERS:
            self.both.check_statuses(owner_id)


TestControlPlane = pytest.mark.long(ControlPlane.TestCase)
TestControlPlane.settings = settings(
    max_examples=examples(120),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
