"""What decisions change, one function a kind: decisions call them, and recovery does with what a journal kept.

So the two cannot disagree. Each takes plain values, notes them in the state's `changes` where a journal wants them, and
only then changes anything: a state that is frozen refuses the note, and stays as it is.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Any

from reference_server.core.state import Certificate, Consent, Kind, Policy, State, Worker
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def certificate_at(at: Instant, certificate_id: str, issued_ns: int, expires_ns: int, signature: str) -> Certificate:
    """Make a certificate known at a moment: how long it lives from then on, the monotonic clock decides.

    Never longer than it was issued for, even if the wall clock was set back since.
    """
    expires_monotonic_ns = at.monotonic_ns + expires_ns - max(at.wall_ns, issued_ns)
    return Certificate(certificate_id, issued_ns, expires_ns, expires_monotonic_ns, signature)


def register_machine(
    state: State,
    at: Instant,
    worker_id: str,
    owner_id: str,
    name: str,
    token: str,
    certificate_id: str,
    expires_ns: int,
    signature: str,
) -> None:
    """Add a machine with its first certificate. Its owner's record must have room, or be there."""
    if state.changes is not None:
        state.note(Kind.MACHINE, at, worker_id, owner_id, name, token, certificate_id, expires_ns, signature)
    owner = state.owner(owner_id)
    if owner is None:
        raise ValueError("no room for another owner")
    certificate = certificate_at(at, certificate_id, at.wall_ns, expires_ns, signature)
    worker = Worker(worker_id, owner, name, token.encode(), at.wall_ns, len(state.workers), certificate)
    state.workers[worker_id] = worker
    insort(owner.workers, worker_id)
    state.fleet.add(worker)


def replace_certificate(
    state: State, at: Instant, worker_id: str, certificate_id: str, expires_ns: int, signature: str
) -> None:
    """Replace a machine's certificate, which ends the old one."""
    if state.changes is not None:
        state.note(Kind.CERTIFICATE, at, worker_id, certificate_id, expires_ns, signature)
    state.workers[worker_id].certificate = certificate_at(at, certificate_id, at.wall_ns, expires_ns, signature)


def add_policy(state: State, at: Instant, policy_id: str, owner_id: str, rules: str, signature: str) -> None:
    """Add an owner's next policy version, a draft; `rules` are canonical JSON."""
    if state.changes is not None:
        state.note(Kind.POLICY, at, policy_id, owner_id, rules, signature)
    owner = state.owner(owner_id)
    if owner is None:
        raise ValueError("no room for another owner")
    owner.policy_version += 1
    now_ns = at.wall_ns
    state.policies[policy_id] = Policy(
        policy_id,
        owner_id,
        owner.policy_version,
        rules,
        signature,
        False,  # noqa: FBT003 - a record's field
        now_ns,
        now_ns,
    )


def activate_policy(state: State, at: Instant, policy_id: str) -> None:
    """Make a draft active."""
    if state.changes is not None:
        state.note(Kind.ACTIVATION, at, policy_id)
    policy = state.policies[policy_id]
    policy.active = True
    policy.updated_ns = at.wall_ns


def add_consent(state: State, at: Instant, consent_id: str, worker_id: str, policy_id: str, signature: str) -> None:
    """Bind a worker to a policy version."""
    if state.changes is not None:
        state.note(Kind.CONSENT, at, consent_id, worker_id, policy_id, signature)
    worker = state.workers[worker_id]
    # The records' own ids: one copy of each text, however many consents name it.
    policy_id = state.policies[policy_id].id
    consent = Consent(consent_id, worker.owner.id, worker.id, policy_id, signature, at.wall_ns)
    state.consents[consent_id] = consent
    worker.consents[policy_id] = consent


def revoke_consent(state: State, at: Instant, consent_id: str) -> None:
    """End a consent for good."""
    if state.changes is not None:
        state.note(Kind.REVOCATION, at, consent_id)
    state.consents[consent_id].revoked_ns = at.wall_ns


def accept_heartbeat(
    state: State, at: Instant, worker_id: str, policy_id: str, nonce: str, timestamp_ns: int, event_hex: str
) -> None:
    """Note that a worker was heard from. Its nonce is reserved already."""
    if state.changes is not None:
        if state.nonces.lag_unrecorded:
            _record_lag(state, at)
        state.note(Kind.HEARTBEAT, at, worker_id, policy_id, nonce, timestamp_ns, event_hex)
    worker = state.workers[worker_id]
    worker.heard_ns = at.wall_ns
    worker.policy_id = policy_id
    state.fleet.hear(worker, at.monotonic_ns)
    if at.monotonic_ns - worker.nonces_since_ns >= state.nonces.span_ns:
        worker.nonces_since_ns, worker.nonces = at.monotonic_ns, 0
    worker.nonces += 1
    worker.owner.routine.append(event_hex, worker.id, policy_id, at.wall_ns)


def _record_lag(state: State, at: Instant) -> None:
    """Record how far the wall clock is ahead of the slowest that it may be, before anything that is stamped by it."""
    lag_ns = state.nonces.lag_ns(at)
    if lag_ns and not state.nonces_outside:
        state.note(Kind.LAG, at, lag_ns)
    state.nonces.lag_unrecorded = False


def _recover_lag(state: State, at: Instant, lag_ns: int) -> None:
    state.nonces.lag(at, lag_ns)


def _recover_heartbeat(
    state: State, at: Instant, worker_id: str, policy_id: str, nonce: str, timestamp_ns: int, event_hex: str
) -> None:
    worker = state.workers[worker_id]
    if not state.nonces_outside:
        state.nonces.expire(at)
        state.nonces.reserve(state.name_nonce(worker.serial, nonce), timestamp_ns, at)
    policy_id = worker.consents[policy_id].policy_id
    accept_heartbeat(state, at, worker.id, policy_id, nonce, timestamp_ns, event_hex)


_RECOVER: dict[int, Callable[..., None]] = {
    Kind.MACHINE: register_machine,
    Kind.CERTIFICATE: replace_certificate,
    Kind.POLICY: add_policy,
    Kind.ACTIVATION: activate_policy,
    Kind.CONSENT: add_consent,
    Kind.REVOCATION: revoke_consent,
    Kind.HEARTBEAT: _recover_heartbeat,
    Kind.EVENT: State.add_event,
    Kind.FAILURE: State.count_failure,
    Kind.LAG: _recover_lag,
}


def recover_change(state: State, now: Instant, change: Sequence[Any]) -> None:
    """Do again what a journal kept: a kind, when it was by the wall clock (Unix ns), and the other values."""
    kind, wall_ns, *values = change
    _RECOVER[kind](state, moment_then(now, wall_ns), *values)


def moment_then(now: Instant, wall_ns: int) -> Instant:
    """Return where on today's monotonic clock a wall time was; not past now, if the wall clock was set back since."""
    return Instant(wall_ns, now.monotonic_ns - max(0, now.wall_ns - wall_ns))
