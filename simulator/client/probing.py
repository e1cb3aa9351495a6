"""Looking, once and before a run, for what the contract adds to the published API and a target may lack altogether."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import PROBE_ADDRESSES
from simulator.contract.features import Feature
from simulator.contract.metrics import UNATTRIBUTED
from simulator.contract.reading import MalformedDataError, read_data
from simulator.fleet.requests import ANY_OWNER, owner_headers
from simulator.limits import PROBES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection

    from simulator.client.answers import HttpAnswer
    from simulator.client.target import Target

OK, NOT_FOUND, TOO_MANY = HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS
SHARED_PAUSE_SECONDS = 3.0
"""Where all share one address, the default rate limit gives back in this time what looking has cost the fleet."""


async def look_for_features(target: Target, metrics: Collection[str]) -> frozenset[Feature]:
    """Return what the target lacks. `metrics` are the names on its metrics page.

    What is not answered, or refused for another reason than that it is not there, is not said to be lacking.
    """
    first, second = PROBE_ADDRESSES if target.own_addresses else (None, None)
    lacks: set[Feature] = set() if UNATTRIBUTED in metrics else {Feature.UNATTRIBUTED}
    with suppress(LostError):  # the run will say so
        async with ControlConnection(target, first) as connection:
            await _by_asking(connection, target, lacks)
        if target.own_addresses:
            async with ControlConnection(target, second) as connection:
                await _by_asking_too_often(connection, lacks)
        else:
            await trio.sleep(SHARED_PAUSE_SECONDS)
    return frozenset(lacks)


async def _by_asking(connection: ControlConnection, target: Target, lacks: set[Feature]) -> None:
    """Note what one request each shows. Raises LostError."""
    headers = owner_headers(target.token, ANY_OWNER)

    async def get(path: str) -> HttpAnswer:
        return await connection.request("GET", path, headers, rooted=True)

    summary = await get("/api/v1/workers/summary")
    if summary.status == OK:
        shown = _data(summary)
        if "total" in shown and "stale_threshold" not in shown:
            lacks.add(Feature.STALE_THRESHOLD)
        if (await get("/v1/workers/summary")).status == NOT_FOUND:
            lacks.add(Feature.V1)
    audit = await get("/api/v1/audit/events?limit=1")
    shown = _data(audit)
    if audit.status == OK and "events" in shown and "heads" not in shown:
        lacks.add(Feature.CHAIN)
    for feature, path in (
        (Feature.HEALTH, "/health"),
        (Feature.STATUS, "/api/v1/status"),
        (Feature.KEYS, "/.well-known/hatchfarm-keys"),
        (Feature.API_METRICS, "/api/v1/metrics"),
        (Feature.AGENTS, "/api/v1/agents/me"),
        (Feature.JOBS, "/api/v1/jobs"),
        (Feature.WALLET, "/api/v1/wallet/balance"),
        (Feature.FORUM, "/api/v1/forum/posts"),
        (Feature.LOGINS, "/api/v1/auth/me"),
    ):
        if (await get(path)).status == NOT_FOUND:
            lacks.add(feature)
    nothing = await get("/api/v1/nothing")
    if nothing.status == NOT_FOUND and not _enveloped(nothing):
        lacks.add(Feature.JSON_404)


async def _by_asking_too_often(connection: ControlConnection, lacks: set[Feature]) -> None:
    """Note whether a 429 says how long to wait, where a few more than the contract's burst bring one. Raises LostError.

    Only from an address of its own: where all share one, the fleet would be limited for it.
    """
    for _ in range(PROBES_MAX):
        answer = await connection.request("GET", "/api/v1/nothing", {}, rooted=True)
        if answer.status == TOO_MANY:
            if b"\r\nretry-after:" not in answer.head.lower():
                lacks.add(Feature.RETRY_AFTER)
            return


def _data(answer: HttpAnswer) -> dict[str, Any]:
    try:
        return read_data(answer.status, answer.body)
    except MalformedDataError:
        return {}


def _enveloped(answer: HttpAnswer) -> bool:
    """Return whether a refusal has the contract's envelope (§1)."""
    try:
        body = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("success") is False and isinstance(body.get("error"), str)
