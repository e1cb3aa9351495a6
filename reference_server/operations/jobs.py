"""The operations on jobs and on what is offered for them (contract: Capacity and resources, Jobs)."""

from __future__ import annotations

import re
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from reference_server.core.calls import PAGING, Parameter, page_of
from reference_server.core.market import job_routes, resources
from reference_server.core.market.idempotency import KEY_REQUIRED, KEY_REUSED
from reference_server.core.market.jobs import STATES
from reference_server.core.market.money import MICRO
from reference_server.core.market.wallet import INSUFFICIENT_BALANCE
from reference_server.limits import JOB_CPU_CORES_MAX, JOB_GPUS_MAX, JOB_MEMORY_GB_MAX
from reference_server.operations.accounts import IDEMPOTENCY_KEY, audited, idempotency_key
from reference_server.operations.callers import ACCOUNT
from reference_server.operations.fields import Count, Timestamp, WorkerId  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.market_fields import (  # noqa: TC001 - msgspec reads a struct's types later
    Amount,
    Cores,
    GpuModel,
    Gpus,
    JobError,
    JobId,
    JobState,
    JobType,
    Left,
    MaxPrice,
    Memory,
    Minutes,
    Payload,
    Utilisation,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import JOB_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call
    from reference_server.core.state import State

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


class NeededResources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a job needs. A count alone says that it needs GPUs, `gpu` alone that it needs one."""

    cpu_cores: Cores
    memory_gb: Memory
    gpu: bool | msgspec.UnsetType | None = msgspec.UNSET
    gpu_count: Gpus | msgspec.UnsetType | None = msgspec.UNSET
    gpu_model: GpuModel | msgspec.UnsetType | None = msgspec.UNSET


class JobToPost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job, and what it may cost in all."""

    type: JobType
    resources: NeededResources
    duration_minutes: Minutes
    max_price_usdt: MaxPrice
    payload: Payload | msgspec.UnsetType | None = msgspec.UNSET


class ShownResources(msgspec.Struct, frozen=True):
    """What a job needs."""

    cpu_cores: Cores
    memory_gb: Memory
    gpu: bool
    gpu_count: Gpus
    gpu_model: GpuModel | None


class ShownJob(msgspec.Struct, frozen=True):
    """A job. Money is in decimal strings of USDT; what is not known yet is null."""

    id: JobId
    state: JobState
    type: JobType
    resources: ShownResources
    max_price_usdt: Amount
    price_per_hour: Amount | None
    duration_minutes: Minutes
    payload: Payload | None
    worker_id: WorkerId | None
    escrow: Amount
    billed: Amount
    created_at: Timestamp
    assigned_at: Timestamp | None
    started_at: Timestamp | None
    finished_at: Timestamp | None
    expires_at: Timestamp | None
    attempts: Count
    result: Annotated[Any, msgspec.Meta(examples=[None])]
    error: JobError | None


class OneJob(msgspec.Struct, frozen=True):
    """One of the caller's jobs."""

    job: ShownJob


class Jobs(msgspec.Struct, frozen=True):
    """One page of the caller's jobs, newest first."""

    jobs: list[ShownJob]
    total: Count
    limit: Count
    offset: Count


class ShownGpus(msgspec.Struct, frozen=True):
    """GPUs of one model."""

    model: GpuModel
    count: Gpus


class ShownMachine(msgspec.Struct, frozen=True):
    """What is left of a machine, and what all of it costs an hour."""

    worker_id: WorkerId
    cpu_cores: Left
    memory_gb: Left
    gpus: list[ShownGpus]
    price_per_hour: Amount
    available_until: Timestamp | None


class Resources(msgspec.Struct, frozen=True):
    """One page of what is offered, cheapest first."""

    resources: list[ShownMachine]
    total: Count
    limit: Count
    offset: Count


class Price(msgspec.Struct, frozen=True):
    """What an hour of a resource costs now, and how much of it is held."""

    resource: Literal["cpu-hour", "memory-gb-hour", "gpu-hour"]
    price: Amount
    utilisation: Utilisation
    model: GpuModel | msgspec.UnsetType = msgspec.UNSET


class Prices(msgspec.Struct, frozen=True):
    """All prices at a moment."""

    prices: list[Price]
    as_of: Timestamp


@audited
def post(state: State, call: Call[bytes]) -> Reply:
    """`POST /jobs`."""
    key, job_id = idempotency_key(call), state.new_id(JOB_ID)
    return job_routes.post_job(state.market, call.now, call.account, key, call.body, job_id)


@audited
def show_list(state: State, call: Call[bytes]) -> Reply:
    """`GET /jobs`."""
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    wanted = page.asked[JOB_STATE.name]
    return job_routes.list_jobs(state.market, call.now, call.account, wanted, page.limit, page.offset)


@audited
def show(state: State, call: Call[bytes]) -> Reply:
    """`GET /jobs/{id}`."""
    return job_routes.read_own_job(state.market, call.now, call.account, call.ids[0])


@audited
def cancel(state: State, call: Call[bytes]) -> Reply:
    """`DELETE /jobs/{id}`."""
    return job_routes.cancel_job(state.market, call.now, call.account, call.ids[0])


@audited
def show_resources(state: State, call: Call[bytes]) -> Reply:
    """`GET /resources`."""
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    cpu, memory, gpus, model = (page.asked[one.name] for one in _LEAST)
    wanted = resources.Wanted(cpu, memory, gpus, model)
    return resources.list_resources(state.market, call.now, wanted, page.limit, page.offset)


@audited
def show_prices(state: State, call: Call[bytes]) -> Reply:
    """`GET /resources/prices`."""
    return resources.list_prices(state.market, call.now)


def _micro(most: int) -> Callable[[str], int | None]:
    """Read an amount of at most so much, in millionths, rounded up."""

    def read(text: str) -> int | None:
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
        return None if value is None or value > most else -int(-value * MICRO // 1)

    return read


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) and int(text) <= JOB_GPUS_MAX else None


_DECIMAL = {"type": "string", "pattern": f"^({_NUMBER.pattern})?$", "default": "0"}


JOB_STATE = Parameter("state", str, "", {"type": "string", "enum": list(STATES)}, "Only jobs in this state.")
_LEAST = (
    Parameter(
        "min_cpu_cores",
        _micro(JOB_CPU_CORES_MAX),
        0,
        _DECIMAL,
        f"At least so many cores are left, {JOB_CPU_CORES_MAX:,} at most.",
    ),
    Parameter(
        "min_memory_gb",
        _micro(JOB_MEMORY_GB_MAX),
        0,
        _DECIMAL,
        f"At least so much memory is left, {JOB_MEMORY_GB_MAX:,} at most.",
    ),
    Parameter(
        "min_gpu_count",
        _count,
        0,
        {"type": "integer", "minimum": 0, "maximum": JOB_GPUS_MAX},
        "At least so many GPUs of one model are left.",
    ),
    Parameter("gpu_model", str, "", {"type": "string"}, "Only machines that have GPUs of this model left."),
)
OPERATIONS = (
    Operation(
        "POST",
        "/jobs",
        ACCOUNT,
        post,
        described=JobToPost,
        read=bytes,
        headers=(IDEMPOTENCY_KEY,),
        answers=(
            Answer(HTTPStatus.CREATED, OneJob),
            INVALID_REQUEST,
            KEY_REQUIRED,
            KEY_REUSED,
            job_routes.TOO_MANY_JOBS,
            INSUFFICIENT_BALANCE,
            FULL,
        ),
        summary="Ask for a job to be run, and hold its price in escrow.",
    ),
    Operation(
        "GET",
        "/jobs",
        ACCOUNT,
        show_list,
        query=(*PAGING, JOB_STATE),
        answers=(Answer(HTTPStatus.OK, Jobs), INVALID_REQUEST),
        summary="List the caller's jobs, newest first.",
    ),
    Operation(
        "GET",
        "/jobs/{id}",
        ACCOUNT,
        show,
        answers=(Answer(HTTPStatus.OK, OneJob), job_routes.JOB_NOT_FOUND),
        summary="Show one of the caller's jobs.",
    ),
    Operation(
        "DELETE",
        "/jobs/{id}",
        ACCOUNT,
        cancel,
        answers=(Answer(HTTPStatus.OK, OneJob), job_routes.JOB_NOT_FOUND, job_routes.ALREADY_FINISHED),
        summary="Cancel one of the caller's jobs, and settle what ran of it.",
    ),
    Operation(
        "GET",
        "/resources",
        ACCOUNT,
        show_resources,
        query=(*PAGING, *_LEAST),
        answers=(Answer(HTTPStatus.OK, Resources),),
        summary="List what is offered, cheapest first.",
    ),
    Operation(
        "GET",
        "/resources/prices",
        ACCOUNT,
        show_prices,
        answers=(Answer(HTTPStatus.OK, Prices),),
        summary="Show what resources cost now.",
    ),
)
