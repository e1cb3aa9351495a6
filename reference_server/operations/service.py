"""The operations on the server itself: health, status, metrics and keys (contract §3, §10)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec

from reference_server.core import views
from reference_server.core.metrics import metrics
from reference_server.operations.callers import ANYONE, SCRAPER
from reference_server.operations.fields import Timestamp  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.exposition import CONTENT_TYPE as EXPOSITION

ServerVersion = Annotated[str, msgspec.Meta(examples=["0.3.0"])]


class Status(msgspec.Struct, frozen=True):
    """What serves, and for how long it has."""

    service: Annotated[str, msgspec.Meta(examples=["hatchfarm-api"])]
    version: ServerVersion
    uptime: Annotated[str, msgspec.Meta(examples=["1h2m3.5s"])]


class Health(msgspec.Struct, frozen=True):
    """Whether it is `healthy`, or `degraded` for a reason."""

    status: Literal["healthy", "degraded"]
    timestamp: Timestamp
    version: ServerVersion
    reason: str | msgspec.UnsetType = msgspec.UNSET


class Keys(msgspec.Struct, frozen=True):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


_METRICS = (Answer(HTTPStatus.OK, bare=True, media_type=EXPOSITION),)
OPERATIONS = (
    Operation(
        "GET", "/status", ANYONE, views.status, answers=(Answer(HTTPStatus.OK, Status),),
        summary="Show what serves.", shows_state=False,
    ),
    Operation("GET", "/metrics", SCRAPER, metrics, answers=_METRICS, summary="Show the metrics for Prometheus."),
    Operation(
        "GET", "/metrics", SCRAPER, metrics, answers=_METRICS, summary="Show the metrics for Prometheus.", rooted=True
    ),
    Operation(
        "GET", "/health", ANYONE, views.health, answers=(Answer(HTTPStatus.OK, Health, bare=True),),
        summary="Show whether the server is well.", rooted=True, shows_state=False,
    ),
    Operation(
        "GET", "/.well-known/hatchfarm-keys", ANYONE, views.keys, answers=(Answer(HTTPStatus.OK, Keys, bare=True),),
        summary="Show the keys that certificates are signed with.", rooted=True, shows_state=False,
    ),
)  # fmt: skip
