"""The eleven checks of a heartbeat, in the contract's order (§4), and the effects of its acceptance."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.attending import attend, concerns_market, end_what_is_over
from reference_server.core.authentication import authenticate_machine
from reference_server.core.changes import Frozen
from reference_server.core.statuses import accept_heartbeat
from reference_server.limits import METRICS_MAX_BYTES, METRICS_MAX_DEPTH, NONCE_MAX_CHARACTERS
from reference_server.ports import Reservation
from reference_server.wire.canonical_json import nests_deeper
from reference_server.wire.replies import INVALID_REQUEST, JSON_HEADERS, failure, rate_limited, success
from reference_server.wire.rules import FORBIDDEN_CHARACTERS
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.values import Instant, Reply

if TYPE_CHECKING:
    from reference_server.core.records import Worker
    from reference_server.core.state import State

_OK = HTTPStatus.OK.value
"""As a plain int: an attribute lookup on the enum for each heartbeat would cost time."""
MISSING_FIELDS = failure(HTTPStatus.BAD_REQUEST, "missing required heartbeat fields")
INVALID_FIELDS = failure(HTTPStatus.BAD_REQUEST, "invalid heartbeat fields")
INVALID_TIMESTAMP = failure(HTTPStatus.BAD_REQUEST, "invalid timestamp")
INVALID_AUTH = failure(HTTPStatus.UNAUTHORIZED, "invalid heartbeat auth")
NO_CONSENT = failure(HTTPStatus.FORBIDDEN, "no active consent for worker/policy")
NONCES_UNAVAILABLE = failure(HTTPStatus.SERVICE_UNAVAILABLE, "nonce backend unavailable")


class Heartbeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The five fields of a heartbeat's body; missing ones are empty. `metrics` stays raw, because it is not signed."""

    timestamp: str = ""
    nonce: str = ""
    policy_id: str = ""
    metrics: msgspec.Raw = msgspec.Raw(b"{}")
    signature: str = ""


_decode = msgspec.json.Decoder(Heartbeat).decode


class Verified(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat that passed checks 1 to 9: everything but its nonce is valid."""

    worker: Worker
    policy_id: str
    nonce: str
    timestamp_ns: int
    metrics: bytes = b""
    """JSON as it was sent: it is not signed."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat that failed one of checks 1 to 9; `reason` is empty unless it counts as an auth failure."""

    reply: Reply
    reason: str = ""
    worker_id: str = ""


def decode_heartbeat(body: bytes) -> Heartbeat | None:
    """Check 1: strict JSON of the five fields, with `metrics` an object, null or missing. Return None if it fails."""
    try:
        if not body.isascii():
            body.decode("utf-8")
        heartbeat = _decode(body)
    except (ValueError, RecursionError):
        return None
    return heartbeat if bytes(heartbeat.metrics).startswith((b"{", b"null")) else None


def malformed(nonce: str, policy_id: str, metrics: bytes) -> bool:
    """Check 3: return whether a field breaks its bounds or character set."""
    if len(nonce) > NONCE_MAX_CHARACTERS or len(metrics) > METRICS_MAX_BYTES:
        return True
    if FORBIDDEN_CHARACTERS.search(nonce + policy_id):
        return True
    # Fewer brackets than the limit cannot nest deeper, so nearly every heartbeat is spared the exact count.
    # `replace` searches many bytes at a time, while `count` inspects each.
    brackets = len(metrics) - len(metrics.replace(b"{", b"").replace(b"[", b""))
    return brackets > METRICS_MAX_DEPTH and nests_deeper(metrics, METRICS_MAX_DEPTH)


def verify(
    state: State,
    now: Instant,
    worker_id: str,
    token: str,
    certificate_id: str,
    body: bytes,
) -> Verified | Refused:
    """Run checks 1 to 9. Only the passing of time changes state, so many may be verified before one is settled."""
    heartbeat = decode_heartbeat(body)
    if heartbeat is None:
        return Refused(INVALID_REQUEST)
    timestamp, nonce, policy_id = heartbeat.timestamp, heartbeat.nonce, heartbeat.policy_id
    if not (token and certificate_id and timestamp and nonce and policy_id and heartbeat.signature):
        return Refused(MISSING_FIELDS, "missing_heartbeat_fields", worker_id)
    metrics = bytes(heartbeat.metrics)
    if malformed(nonce, policy_id, metrics):
        return Refused(INVALID_FIELDS, "malformed_heartbeat_fields", worker_id)
    timestamp_ns = parse_timestamp(timestamp)
    if timestamp_ns is None:
        return Refused(INVALID_TIMESTAMP, "invalid_timestamp", worker_id)
    skew_ns = state.skew_ns
    # Before the horizon is read, and not at the reservation: a nonce forgotten then could no longer be refused.
    state.nonces.expire(now)
    if not -skew_ns <= now.wall_ns - timestamp_ns <= skew_ns or state.nonces.may_have_forgotten(timestamp_ns):
        return Refused(INVALID_AUTH, "timestamp_out_of_window", worker_id)
    worker = authenticate_machine(state, now, worker_id, token, certificate_id)
    if isinstance(worker, str):
        return Refused(INVALID_AUTH, worker, worker_id)
    if not matches(sign_text(worker.token, f"{worker_id}|{timestamp}|{nonce}|{policy_id}"), heartbeat.signature):
        return Refused(INVALID_AUTH, "invalid_heartbeat_signature", worker_id)
    consent = worker.consents.get(policy_id)
    if consent is None or consent.revoked_ns is not None:
        return Refused(NO_CONSENT)
    return Verified(worker, policy_id, nonce, timestamp_ns, metrics)


def reserve(state: State, now: Instant, verified: Verified) -> Reservation:
    """Check 10, against the local store of nonces."""
    key = state.name_nonce(verified.worker.serial, verified.nonce)
    return state.nonces.reserve(key, verified.timestamp_ns, now)


def accept(state: State, now: Instant, verified: Verified, reservation: Reservation) -> Reply:
    """Check 11 and acceptance in one step, which sees whatever changed while the nonce was being reserved."""
    return _counted(state, _accept(state, now, verified, reservation))


def _counted(state: State, reply: Reply) -> Reply:
    """Count a heartbeat's answer by its status, and return it."""
    counts, status = state.heartbeat_answers, reply.status
    counts[status] = counts.get(status, 0) + 1
    return reply


def _accept(state: State, now: Instant, verified: Verified, reservation: Reservation) -> Reply:
    worker, policy_id = verified.worker, verified.policy_id
    if reservation is not Reservation.RESERVED:
        if reservation is Reservation.UNAVAILABLE:
            return NONCES_UNAVAILABLE
        forgotten = reservation is Reservation.FORGOTTEN
        state.fail_worker(now, "timestamp_out_of_window" if forgotten else "nonce_replayed", worker.id)
        return INVALID_AUTH
    if worker.consents[policy_id].revoked_ns is not None:
        return NO_CONSENT
    offer = state.offer_of(worker)
    if offer is not None:
        end_what_is_over(state, now, offer)
    accept_heartbeat(state, now, worker.id, policy_id, verified.nonce, verified.timestamp_ns, state.entropy.hex(16))
    if not concerns_market(state.market, offer, verified.metrics):
        return _accepted(worker.id)
    return _attended(state, now, verified)


def _accepted(worker_id: str) -> Reply:
    return Reply(_OK, f'{{"success":true,"data":{{"worker_id":"{worker_id}","accepted":true}}}}'.encode(), JSON_HEADERS)


def _attended(state: State, now: Instant, verified: Verified) -> Reply:
    """Return the answer to an accepted heartbeat, with the market's notices for its machine."""
    notices = attend(state, now, verified.worker, verified.policy_id, verified.metrics)
    if not notices:
        return _accepted(verified.worker.id)
    return success({"worker_id": verified.worker.id, "accepted": True, **notices})


def acknowledge(state: State, now: Instant, verified: Verified) -> Reply:
    """Return the answer to a heartbeat that was accepted in a shared journal, whose change is already applied.

    Raises Frozen if its report changes the market while no change is allowed.
    """
    worker_id = verified.worker.id
    if not concerns_market(state.market, state.offer_of(verified.worker), verified.metrics):
        return _counted(state, _accepted(worker_id))
    return _counted(state, _attended(state, now, verified))


def unavailable(state: State) -> Reply:
    """Return the answer to a heartbeat that cannot be decided now."""
    return _counted(state, NONCES_UNAVAILABLE)


def settle(state: State, now: Instant, verified: Verified | Refused) -> Reply | Verified:
    """Decide a heartbeat that was verified at `now`: count its refusal, or reserve its nonce and accept it.

    If nonces are stored outside, return a verified heartbeat unchanged: its nonce must be reserved there.
    """
    if isinstance(verified, Refused):
        if verified.reason:
            state.fail_worker(now, verified.reason, verified.worker_id)
        return _counted(state, verified.reply)
    worker = verified.worker
    if worker.nonces >= state.nonces_a_machine_max:
        # Every accepted nonce must be kept, so a machine that sends without end would leave no room for others.
        wait_ns = worker.nonces_since_ns + state.nonces.span_ns - now.monotonic_ns
        if wait_ns > 0:
            state.rate_limited += 1
            return _counted(state, rate_limited(wait_ns))
    if state.nonces_outside:
        return verified
    if state.frozen:
        raise Frozen  # before the reservation: a heartbeat that is not accepted may leave nothing behind
    return accept(state, now, verified, reserve(state, now, verified))


def heartbeat(
    state: State,
    now: Instant,
    worker_id: str,
    token: str,
    certificate_id: str,
    body: bytes,
) -> Reply | Verified:
    """Decide one heartbeat: verify it, reserve its nonce, accept it. If nonces are stored outside, only verify it."""
    return settle(state, now, verify(state, now, worker_id, token, certificate_id, body))
