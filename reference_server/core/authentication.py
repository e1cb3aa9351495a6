"""Authentication of machines (contract §2, §4) on all their routes, in constant time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from reference_server.wire.signing import matches

if TYPE_CHECKING:
    from reference_server.core.records import Worker
    from reference_server.core.state import State
    from reference_server.wire.values import Instant

Unproven = Literal["invalid_machine_token", "invalid_or_expired_machine_cert"]

NOBODY_TOKEN = b"0" * 48
NOBODY_CERTIFICATE_ID = "mcert_" + "0" * 20
"""Compared for an unknown worker: as long as a real certificate id, so that the answer takes the same time."""


def authenticate_machine(
    state: State, now: Instant, worker_id: str, token: str, certificate_id: str
) -> Worker | Unproven:
    """Return the worker proven by its token and newest certificate, or the reason for the refusal (§4, checks 6 and 7).

    Token and certificate are always both compared, in constant time, also for an unknown worker: the time reveals
    neither whether a worker exists nor how much of a secret was right.
    """
    worker = state.workers.get(worker_id)
    right_token = matches(NOBODY_TOKEN if worker is None else worker.token, token)
    newest_id = NOBODY_CERTIFICATE_ID if worker is None else worker.certificate.certificate_id
    right_certificate = matches(newest_id.encode(), certificate_id)
    if worker is None or not right_token:
        return "invalid_machine_token"
    if not right_certificate or now.monotonic_ns >= worker.certificate.expires_monotonic_ns:
        return "invalid_or_expired_machine_cert"
    return worker
