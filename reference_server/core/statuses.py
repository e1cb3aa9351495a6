"""Workers' last accepted heartbeats: what an acceptance changes, and its storage (contract §4, §7)."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from reference_server.core.changes import Kind, moment_then, note, recovery
from reference_server.core.market.changes import hear_offer
from reference_server.core.table import Table
from reference_server.wire.schema1 import STATUSES, StatusRecord
from reference_server.wire.sections import kept_time
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.records import Worker
    from reference_server.core.state import State
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant


def accept_heartbeat(
    state: State, at: Instant, worker_id: str, policy_id: str, nonce: str, timestamp_ns: int, event_hex: str
) -> None:
    """Record a worker's accepted heartbeat, whose nonce is already reserved.

    It calls `note` itself instead of being a `@change`, for speed; `recover_heartbeat` also reserves the nonce.
    """
    if state.changes is not None:
        if state.nonces.lag_unrecorded:
            _record_lag(state, at)
        note(state, Kind.HEARTBEAT, at, worker_id, policy_id, nonce, timestamp_ns, event_hex)
    worker = state.workers[worker_id]
    worker.heard_ns = at.wall_ns
    worker.policy_id = policy_id
    state.fleet.hear(worker, at.monotonic_ns)
    if at.monotonic_ns - worker.nonces_since_ns >= state.nonces.span_ns:
        worker.nonces_since_ns, worker.nonces = at.monotonic_ns, 0
    worker.nonces += 1
    worker.owner.routine.append(event_hex, worker.id, policy_id, at.wall_ns)
    offer = state.offer_of(worker)
    if offer is not None:  # a machine that never reported a capacity is not on the market
        consented = worker.consents[policy_id].revoked_ns is None
        hear_offer(state.market, at, offer, policy_id, state.policies[policy_id].rules, consented=consented)


@recovery(Kind.HEARTBEAT)
def recover_heartbeat(
    state: State, at: Instant, worker_id: str, policy_id: str, nonce: str, timestamp_ns: int, event_hex: str
) -> None:
    """Accept a heartbeat again during recovery, and remember its nonce if nonces are kept in memory."""
    worker = state.workers[worker_id]
    if not state.nonces_outside:
        state.nonces.expire(at)
        state.nonces.reserve(state.name_nonce(worker.serial, nonce), timestamp_ns, at)
    policy_id = worker.consents[policy_id].policy_id
    accept_heartbeat(state, at, worker.id, policy_id, nonce, timestamp_ns, event_hex)


def _record_lag(state: State, at: Instant) -> None:
    """Record how far the wall clock is ahead of the slowest possible one, before anything with its timestamp."""
    lag_ns = state.nonces.lag_ns(at)
    if lag_ns and not state.nonces_outside:
        note(state, Kind.LAG, at, lag_ns)
    state.nonces.lag_unrecorded = False


@recovery(Kind.LAG)
def _recover_lag(state: State, at: Instant, lag_ns: int) -> None:
    state.nonces.lag(at, lag_ns)


def show_status(worker: Worker) -> StatusRecord:
    """Return a worker's status as files store it. The worker must have been heard from."""
    heard_at = format_timestamp(worker.heard_ns)
    return StatusRecord(worker.id, heard_at, worker.policy_id, heard_at)


def _keep(state: State) -> Iterator[tuple[str, Any]]:
    heard = (worker for worker in state.workers.values() if worker.heard_monotonic_ns is not None)
    return chain(((worker.id, show_status(worker)) for worker in heard), state.orphan_statuses.items())


def _restore(state: State, file: StateFile, now: Instant) -> None:
    heard = []
    for status in STATUSES.of(file.sections).values():
        worker = state.workers.get(status.worker_id)
        if worker is None:
            state.orphan_statuses[status.worker_id] = status
        else:
            heard.append((kept_time(status.last_heartbeat) or 0, worker, status.policy_id))
    for heard_ns, worker, policy_id in sorted(heard, key=lambda one: one[0]):
        policy = state.policies.get(policy_id)
        worker.policy_id = policy_id if policy is None else policy.id
        worker.heard_ns = heard_ns
        state.fleet.hear(worker, moment_then(now, heard_ns).monotonic_ns)


TABLE: Table[Any, StatusRecord] = Table(section=STATUSES, keep=_keep, restore=_restore)
"""The table of statuses: stored in the workers' records, and for workers not registered here in `orphan_statuses`."""
