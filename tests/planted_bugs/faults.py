"""Small faults that a good engineer might ship: each is an edit of one function of the server.

An edit replaces a text that must stand in the function exactly once, so that a fault cannot quietly become none when
the server changes.
"""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """In `function` of `module`, `old` becomes `new`."""

    module: str
    function: str
    old: str
    new: str


class Fault(NamedTuple):
    """One fault: the scenario that must find it, the checkers that may, and what one of their findings must say."""

    name: str
    scenario: str
    caught_by: frozenset[str]
    evidence: str
    edits: tuple[Edit, ...]


def fault(name: str, scenario: str, caught_by: str, evidence: str, *edits: tuple[str, str, str, str]) -> Fault:
    """Write a fault: checkers separated by spaces, evidence as a regular expression over a finding's JSON."""
    written = tuple(Edit(f"reference_server.{module}", *rest) for module, *rest in edits)
    return Fault(name, scenario, frozenset(caught_by.split()), evidence, written)


HEARTBEATS, MACHINES, CONSENTS, STATUSES = "core.heartbeats", "core.machines", "core.consents", "core.statuses"
NONCES, FLEET, FAILURES, STATE = "core.nonces", "core.fleet", "core.auth_failures", "core.state"
AUDIT, VIEWS, POLICIES, CALLS = "core.audit", "core.views", "core.policies", "core.calls"
AUTHENTICATION = "core.authentication"
API, CALLERS, METRICS, REPLIES = "operations.api", "operations.callers", "core.metrics", "wire.replies"
SKEW = "if not -skew_ns <= now.wall_ns - timestamp_ns <= skew_ns or"
EXPIRY = "or now.monotonic_ns >= worker.certificate.expires_monotonic_ns:"
BAD_SIGNATURE = 'return Refused(INVALID_AUTH, "invalid_heartbeat_signature", worker_id)'
BURN = "state.nonces.reserve(state.name_nonce(worker.serial, nonce), timestamp_ns, now)\n        "
FIXED_WINDOW = """window = monotonic_ns // 2_000_000_000
    seen = self._full_at[key, window] = self._full_at.get((key, window), 0) + 1
    if window:
        return 0 if seen <= 20 else 1_000_000_000
    full_at = self._full_at.get(key)"""
REVOKED = "end_consent(state, call.now, consent_id)"

HEARTBEAT_FAULTS = (
    fault("skew window ten times too wide", "heartbeats", "answers", "skew.behind",
          (HEARTBEATS, "verify", SKEW, "if not -10 * skew_ns <= now.wall_ns - timestamp_ns <= 10 * skew_ns or")),
    fault("any time ahead allowed", "heartbeats", "answers", "skew.ahead",
          (HEARTBEATS, "verify", SKEW, "if now.wall_ns - timestamp_ns > skew_ns or")),
    fault("nonces kept for a second", "heartbeats", "replay", "accepted 2 times",
          (NONCES, "NonceMemory.reserve", ">= self.span_ns:\n        self._turn(monotonic_ns)",
           ">= 1_000_000_000:\n        self._current, self._current_since_ns = set(), monotonic_ns")),
    fault("nonce remembered by its first half", "heartbeats", "answers", "nonce",
          (NONCES, "nonce_key", "hash((worker_serial, nonce))", "hash((worker_serial, nonce[:1]))")),
    fault("nonce burnt by a bad signature", "heartbeats", "answers", "nonce.burn",
          (HEARTBEATS, "verify", BAD_SIGNATURE, BURN + BAD_SIGNATURE)),
    fault("any certificate id accepted", "heartbeats", "answers credentials", "certificate.(forged|rotated-out)",
          (AUTHENTICATION, "authenticate_machine", "if not right_certificate or", "if")),
    fault("signature compared by its beginning", "heartbeats", "answers", "signature.forged",
          (HEARTBEATS, "verify", '|{policy_id}"), heartbeat.signature):',
           '|{policy_id}")[:8], heartbeat.signature[:8]):')),
    fault("url-safe signatures accepted", "heartbeats", "answers", "signature.encoding",
          (HEARTBEATS, "verify", '|{policy_id}"), heartbeat.signature):',
           '|{policy_id}"), heartbeat.signature.replace("-", "+").replace("_", "/")):')),
    fault("lower-case timestamps accepted", "heartbeats", "answers", "skew.forms",
          ("wire.timestamps", "parse_timestamp", "seconds = _unix", "text = text.upper(); seconds = _unix")),
    fault("long nonces accepted", "heartbeats", "answers", "nonce.oversized",
          (HEARTBEATS, "malformed", "len(nonce) > NONCE_MAX_CHARACTERS or ", "")),
    fault("delimiters in nonces accepted", "heartbeats", "answers", "nonce.delimiter",
          (HEARTBEATS, "malformed", "search(nonce + policy_id)", "search(policy_id)")),
    fault("an unknown worker is told so", "heartbeats", "answers", "credential.unknown-worker",
          (HEARTBEATS, "verify", "worker = auth",
           "if worker_id not in state.workers:\n        return Refused(NO_CONSENT)\n    worker = auth")),
    fault("token compared by its beginning", "heartbeats", "alerts audit", "machine_token|heartbeat_signature",
          (AUTHENTICATION, "authenticate_machine", "NOBODY_TOKEN if worker is None else worker.token, token)",
           "b'nobody' if worker is None else worker.token[:8], token[:8])")),
    fault("a replay counted for another reason", "heartbeats", "alerts audit", "nonce_replayed",
          (HEARTBEATS, "_accept", '"nonce_replayed"', '"timestamp_out_of_window"')),
    fault("bad signatures not counted", "heartbeats", "alerts audit", "invalid_heartbeat_signature",
          (HEARTBEATS, "verify", BAD_SIGNATURE, "return Refused(INVALID_AUTH)")),
    fault("failures counted twice", "heartbeats", "alerts", "failures_total",
          (STATE, "State.fail_worker", "shown = worker_id[",
           "self.failures.count(reason, now.monotonic_ns, attributed=worker is not None)\n    shown = worker_id[")),
    fault("a certificate lives a second longer", "certificates", "answers credentials", "certificate",
          (AUTHENTICATION, "authenticate_machine", EXPIRY, EXPIRY.replace(":", " + 1_000_000_000:"))),
    fault("certificates never expire", "certificates", "answers credentials", "certificate",
          (AUTHENTICATION, "authenticate_machine", EXPIRY, "or False:")),
)  # fmt: skip

FLEET_FAULTS = (
    fault("staleness from the first heartbeat", "alerts", "alerts", "stale",
          (FLEET, "FleetIndex.hear", "worker.heard_monotonic_ns = monotonic_ns",
           "worker.heard_monotonic_ns = worker.heard_monotonic_ns or monotonic_ns")),
    fault("stale one interval late", "alerts", "alerts", "stale",
          (FLEET, "FleetIndex.is_stale", "> self._stale_ns", "> self._stale_ns + 1_000_000_000")),
    fault("stale one interval early", "alerts", "alerts", "stale",
          (FLEET, "FleetIndex.is_stale", "> self._stale_ns", "> self._stale_ns - 1_000_000_000")),
    fault("stale never clears", "alerts", "alerts", "stale",
          (FLEET, "FleetIndex.hear", "self._stale -= 1", "self._stale -= 0")),
    fault("never heard from counted as stale", "alerts", "alerts", "stale",
          (FLEET, "FleetIndex.summary", "total, fresh, self._stale,", "total, fresh, self._total - fresh,")),
    fault("recent failures do not leave the window", "alerts", "alerts", "recent",
          (FAILURES, "AuthFailures._slide", "while buckets and", "while False and")),
    fault("the window of recent failures is half as long", "alerts", "alerts", "recent",
          (FAILURES, "AuthFailures._slide", "monotonic_ns - self._window_ns", "monotonic_ns - self._window_ns // 2")),
    fault("accepted heartbeats counted as recent failures", "alerts", "alerts", "recent",
          (STATUSES, "accept_heartbeat", "worker.heard_ns = at.wall_ns",
           "worker.heard_ns = at.wall_ns\n    state.failures._recent += 1")),
    fault("alert above its threshold instead of at it", "alerts", "alerts", "alert begins at",
          (METRICS, "metrics", "recent >= state.settings.auth_failure_threshold",
           "recent > state.settings.auth_failure_threshold")),
    fault("stale alert needs two", "alerts", "alerts", "alert begins at",
          (METRICS, "metrics", "summary.stale > 0", "summary.stale > 3")),
)  # fmt: skip

AUDIT_FAULTS = (
    fault("one worker in seven is not audited", "owners", "audit", "missing",
          (STATUSES, "accept_heartbeat", "    worker.owner.routine.append(",
           "    worker.serial % 7 == 3 or worker.owner.routine.append(")),
    fault("consents audited twice", "owners", "audit", "consent_created",
          (STATE, "State.add_event", "stream.append(event)",
           'stream.append(event)\n        if kind == "consent_created":\n            stream.append(event)')),
    fault("registrations audited under the worker's name", "owners", "audit", "machine_registered",
          (MACHINES, "register", 'f"owner:{owner_id}", worker_id, {', 'f"worker:{worker_id}", worker_id, {')),
    fault("failures of unknown workers in every owner's stream", "heartbeats", "audit", "worker_auth_failed|foreign",
          (STATE, "State.add_event", "streams or [self.market_of_agents if granted else self.unattributed]",
           "streams or [owner.refused for owner in self.owners.values()]")),
    fault("events evicted by a neighbour", "owners", "audit", "evicted|missing|sequence",
          (AUDIT, "EventStream.append", "if len(kept) < self._events_max:", "if len(kept) < 6:")),
    fault("chain does not link", "owners", "audit", "audit\\.(chain|hash)",
          (AUDIT, "EventStream.append", '"previous_hash":"{self.hash}"', '"previous_hash":"{FIRST_PREVIOUS_HASH}"')),
    fault("head one event behind", "owners", "audit", "audit\\.head",
          (VIEWS, "audit_events", '{"sequence": stream.sequence, "hash"', '{"sequence": stream.sequence - 1, "hash"')),
    fault("newest events first", "owners", "audit", "order",
          (VIEWS, "audit_events", "merged = heapq.merge(",
           "merged = (lambda *keys: iter(sorted(heapq.merge(*keys), reverse=True)))(")),
    fault("a refused policy leaves the event of a created one", "owners", "audit", "policy_created",
          (POLICIES, "create_policy", 'state.deny_owner(call.now, "invalid_policy_signature", owner_id, "", owner_id)',
           'state.audit(call.now, "policy_created", f"owner:{owner_id}", "", {}, (owner_id,))')),
    fault("denials not audited for the one they were tried on", "owners", "audit", "owner_access_denied|issue_denied",
          (STATE, "State.deny_owner", "(resource_owner_id, actor_owner_id),", "(actor_owner_id,),")),
    fault("refusals among the changes", "owners", "audit", "and in stream 'notable'",
          (STATE, "State.add_event", "owner.refused for owner in owners", "owner.notable for owner in owners")),
    fault("whoever is refused becomes an owner", "owners", "audit attacks", "nobody-made|nothing that was done",
          (STATE, "State.add_event", "self.owner if granted or self.unsplit else self.owners.get", "self.owner")),
)  # fmt: skip

OWNER_FAULTS = (
    fault("revoke lost", "revokes", "revocation answers attacks", "revoke|WHILE|NO_CONSENT|consent",
          (CONSENTS, "revoke_consent", REVOKED,
           "consent = msgspec.structs.replace(consent, revoked_ns=call.now.wall_ns)")),
    fault("revoke honoured two seconds late", "revokes", "revocation answers", "revoke|NO_CONSENT|consent",
          (HEARTBEATS, "verify", "consent.revoked_ns is not None:",
           "(consent.revoked_ns is not None and now.wall_ns - consent.revoked_ns > 2_000_000_000):"),
          (HEARTBEATS, "_accept", "worker.consents[policy_id].revoked_ns is not None",
           "now.wall_ns - (worker.consents[policy_id].revoked_ns or now.wall_ns) > 2_000_000_000")),
    fault("a second revoke moves the time of the first", "revokes", "attacks audit", "revoke",
          (CONSENTS, "revoke_consent", "if consent.revoked_ns is None:", "if True:")),
    fault("a captured consent accepted after a revoke", "revokes", "answers", "consent.after-revoke",
          (CONSENTS, "create_consent", "if consent.revoked_ns is None:", "if True:")),
    fault("consent to another owner's worker", "revokes", "answers", "consent.foreign",
          (CONSENTS, "create_consent", "if worker is None or worker.owner.id != owner_id:", "if worker is None:")),
    fault("status shown to any owner", "owners", "answers attacks", "owner.idor",
          (VIEWS, "worker_status", "call.owner_id, worker_id, worker.owner.id)\n        return FORBIDDEN",
           "call.owner_id, worker_id, worker.owner.id)")),
    fault("the fleet shown to whoever names no owner", "owners", "answers attacks", "owner.idor",
          (VIEWS, "workers_summary", "if not call.owner_id:", "if False:")),
    fault("rotation with any token", "owners", "answers credentials", "rotate.wrong-token",
          (MACHINES, "rotate_certificate", "if not matches(worker.token, token):", "if False:")),
    fault("any policy signature accepted", "owners", "answers", "policy|signature",
          (POLICIES, "create_policy", 'not matches(sign_text(state.api_token, f"{owner_id}|{canonical}"), signature)',
           "len(signature) != 44")),
    fault("the last of two headers wins", "owners", "answers", "owner.duplicate-header",
          (API, "Api._route", "if len(headers) != len(head.headers):", "if False:")),
    fault("any bearer token accepted", "owners", "answers attacks", "owner.no-auth|metrics.read",
          (CALLERS, "is_owner", "matches(state.api_token, token)", "bool(token)")),
    fault("405 without Allow", "owners", "attacks answers contents", "owner.verbs|Allow names no method",
          (API, "Api._route", '(("allow", allowed_methods(by_method)),)', "()")),
    fault("list limit not clamped", "owners", "attacks answers", "page.extremes",
          (CALLS, "read_limit", "min(limit, LIST_LIMIT_MAX)", "limit")),
    fault("what follows a body is ignored", "owners", "answers", "json.strict",
          (CALLS, "decode_body", "msgspec.json.decode(body, type=kind)",
           'msgspec.json.decode(body.partition(b"}")[0] + b"}", type=kind)')),
)  # fmt: skip

LIMIT_FAULTS = (
    fault("client believed to be who it forwards for", "limits", "limits attacks answers", "limit",
          (API, "Api.admit", "client = client_key(head.client)",
           'client = client_key(headers.get("x-forwarded-for", head.client))')),
    fault("one bucket a connection", "limits", "limits attacks answers", "limit",
          ("http.lane_clients", "Connection.__init__", "self.client = client",
           'self.client = client = f"{client}#{id(self)}"')),
    fault("twice the burst around a window's edge", "limits", "limits attacks answers", "limit",
          ("core.rate_limit", "TokenBuckets.take", "full_at = self._full_at.get(key)",
           FIXED_WINDOW)),
    fault("429 without Retry-After", "limits", "features contents", "[Rr]etry-[Aa]fter",
          (REPLIES, "rate_limited", "_rate_limited(-(-wait_ns // SECOND_NS))", "RATE_LIMITED")),
)  # fmt: skip

FAULTS = (*HEARTBEAT_FAULTS, *FLEET_FAULTS, *AUDIT_FAULTS, *OWNER_FAULTS, *LIMIT_FAULTS)
