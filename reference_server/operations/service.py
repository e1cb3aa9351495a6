"""The operations on the server itself: health, status, metrics and keys (contract §3, §10)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from reference_server.core import views
from reference_server.core.metrics import metrics
from reference_server.operations.callers import ANYONE, SCRAPER
from reference_server.operations.operation import Answer, Operation


class Status(msgspec.Struct, frozen=True):
    """What serves, and for how long it has."""

    service: str
    version: str
    uptime: str


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether it is `healthy`, or `degraded` for a reason."""

    status: str
    timestamp: str
    version: str
    reason: str = ""


class Keys(msgspec.Struct, frozen=True):
    """A JWK set (RFC 7517)."""

    keys: list[dict[str, str]]


_METRICS = (Answer(HTTPStatus.OK, bare=True),)
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
