"""Jobs: record, states, representation in answers, and validation of request bodies (contract: Jobs)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.money import format_amount, read_micro, read_price, shown_micro
from reference_server.core.market.prices import Need
from reference_server.limits import (
    GPU_MODEL_MAX_CHARACTERS,
    JOB_CPU_CORES_MAX,
    JOB_GPUS_MAX,
    JOB_LEAST_MICRO,
    JOB_MEMORY_GB_MAX,
    JOB_MINUTES_MAX,
    JOB_PAYLOAD_MAX_BYTES,
    JSON_MAX_DEPTH,
)
from reference_server.wire.canonical_json import decode_strict
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Mapping

QUEUED, ASSIGNED, RUNNING = "queued", "assigned", "running"
SUCCEEDED, FAILED, CANCELLED, EXPIRED = "succeeded", "failed", "cancelled", "expired"
STATES = (QUEUED, ASSIGNED, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED)
TRANSITIONS: Mapping[str, frozenset[str]] = {
    QUEUED: frozenset({ASSIGNED, CANCELLED, EXPIRED}),
    ASSIGNED: frozenset({RUNNING, QUEUED, FAILED, CANCELLED}),
    RUNNING: frozenset({SUCCEEDED, QUEUED, FAILED, CANCELLED}),
    SUCCEEDED: frozenset(),
    FAILED: frozenset(),
    CANCELLED: frozenset(),
    EXPIRED: frozenset(),
}
"""The states that can follow each state. Giving a job back leads to `queued`, or from `assigned` to `failed`."""
_TYPE = re.compile("[a-z0-9-]{1,64}")


class Job(msgspec.Struct, gc=False):
    """One job. Money is micro-USDT, `rate` of it an hour; `payload` and `result` are JSON as it was sent.

    `number` counts jobs in order of creation. `metered_ns` is the unsettled running time since the assignment, up to
    the machine's last silence that was too long; `metering.metered` adds the rest. `model` is the model of the GPUs on
    which it runs.
    """

    id: str
    number: int
    account: str
    type: str
    need: Need
    maximum: int
    minutes: int
    payload: bytes
    created: Instant
    expires: Instant | None
    escrow: int
    state: str = QUEUED
    worker_id: str = ""
    owner_id: str = ""
    model: str = ""
    rate: int | None = None
    billed: int = 0
    assigned: Instant | None = None
    started: Instant | None = None
    finished: Instant | None = None
    attempts: int = 0
    result: bytes = b""
    error: str | None = None
    metered_ns: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether the job may still change its state."""
        return bool(TRANSITIONS[self.state])

    @property
    def on_worker(self) -> bool:
        """Whether a machine has the job now."""
        return self.state in {ASSIGNED, RUNNING}


class JobRequest(msgspec.Struct, frozen=True):
    """A validated request for a job."""

    type: str
    need: Need
    maximum: int
    minutes: int
    payload: bytes


class _Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cpu_cores: msgspec.Raw
    memory_gb: msgspec.Raw
    gpu: bool | None = None
    gpu_count: int | None = None
    gpu_model: str | None = None


class JobBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /jobs`. Numbers stay raw, because they are read exactly."""

    type: str
    resources: _Resources
    duration_minutes: int
    max_price_usdt: msgspec.Raw
    payload: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(JobBody).decode


def read_job(body: bytes) -> JobRequest | None:
    """Read the body of `POST /jobs`; None for anything that the contract answers with 400 `invalid request`."""
    try:
        body.decode("utf-8")
        read = _decode(body)
    except (ValueError, RecursionError):
        return None
    need = _read_need(read.resources)
    maximum = read_price(bytes(read.max_price_usdt))
    payload = bytes(read.payload)
    if need is None or maximum is None or _TYPE.fullmatch(read.type) is None:
        return None
    if not 1 <= read.duration_minutes <= JOB_MINUTES_MAX:
        return None
    if payload == b"null":
        payload = b""
    if payload and (not payload.startswith(b"{") or len(payload) > JOB_PAYLOAD_MAX_BYTES):
        return None
    if payload and not can_be_read(payload):
        return None
    return JobRequest(read.type, need, maximum, read.duration_minutes, payload)


def can_be_read(raw: bytes) -> bool:
    """Return whether every client can parse this JSON as it was sent: no number beyond a double, not too deep."""
    try:
        decode_strict(raw, JSON_MAX_DEPTH)
    except (ValueError, RecursionError):
        return False
    return True


def _read_need(resources: _Resources) -> Need | None:
    cpu = read_micro(bytes(resources.cpu_cores), JOB_CPU_CORES_MAX, up=True, least=JOB_LEAST_MICRO)
    memory = read_micro(bytes(resources.memory_gb), JOB_MEMORY_GB_MAX, up=True, least=JOB_LEAST_MICRO)
    if cpu is None or memory is None:
        return None
    gpu, count, model = resources.gpu, resources.gpu_count, resources.gpu_model
    if count is not None and not 0 <= count <= JOB_GPUS_MAX:
        return None
    if (gpu and count == 0) or (gpu is False and count):
        return None
    gpus = count if count is not None else int(bool(gpu))
    if model is not None and not (gpus and 0 < len(model) <= GPU_MODEL_MAX_CHARACTERS):
        return None
    return Need(cpu, memory, gpus, model or "")


def _moment(at: Instant | None) -> str | None:
    return None if at is None else format_timestamp(at.wall_ns)


def show_job(job: Job) -> dict[str, Any]:
    """Return a job as the API shows it; unknown values are null."""
    need = job.need
    return {
        "id": job.id,
        "state": job.state,
        "type": job.type,
        "resources": {
            "cpu_cores": shown_micro(need.cpu),
            "memory_gb": shown_micro(need.memory),
            "gpu": need.gpus > 0,
            "gpu_count": need.gpus,
            "gpu_model": need.model or None,
        },
        "max_price_usdt": format_amount(job.maximum),
        "price_per_hour": None if job.rate is None else format_amount(job.rate),
        "duration_minutes": job.minutes,
        "payload": msgspec.Raw(job.payload or b"null"),
        "worker_id": job.worker_id or None,
        "escrow": format_amount(job.escrow),
        "billed": format_amount(job.billed),
        "created_at": _moment(job.created),
        "assigned_at": _moment(job.assigned),
        "started_at": _moment(job.started),
        "finished_at": _moment(job.finished),
        "expires_at": _moment(job.expires),
        "attempts": job.attempts,
        "result": msgspec.Raw(job.result or b"null"),
        "error": job.error,
    }


def show_assignment(job: Job) -> dict[str, Any]:
    """Return a job as it is shown in assignments to its machine."""
    shown = show_job(job)
    return {"job_id": job.id, **{name: shown[name] for name in ("type", "resources", "payload", "duration_minutes")}}
