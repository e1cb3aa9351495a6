"""Asking a provider over HTTP: what it may answer is bounded in size and in time, and nothing is asked of others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import httpx
import msgspec
import trio

from reference_server.limits import FETCH_MAX_BYTES, FETCH_SECONDS, INQUIRIES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "hatchfarm-reference-server"}
"""No compressed answers: they would be bounded as they are sent, and not as they are read."""
_log = logging.getLogger("hatchfarm")
Kind = TypeVar("Kind")


class Fetched(NamedTuple):
    """An answer over HTTP."""

    status: int
    body: bytes

    def read(self, kind: type[Kind]) -> Kind | None:
        """Read its JSON; None for what is none of this type."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (ValueError, RecursionError):
            return None


class Fetcher:
    """Asks over HTTP, and waits so many seconds for a whole answer. `run` has to run while it is used.

    What is asked goes by a `transport`, if one is given: by sockets otherwise.
    """

    def __init__(self, seconds: float = FETCH_SECONDS, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._seconds = seconds
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections until cancelled."""
        limits = httpx.Limits(max_connections=INQUIRIES_MAX, max_keepalive_connections=16)
        # Redirects are not followed, and no proxy is taken from the environment: what is asked holds secrets, and goes
        # to whom the settings name. Time is bounded where it is asked: connecting and reading have it together.
        client = httpx.AsyncClient(
            headers=_HEADERS,
            limits=limits,
            timeout=None,  # noqa: S113 - see above
            trust_env=False,
            transport=self._transport,
        )
        async with client:
            self._client = client
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._client = None

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched | None:
        """Return what is answered; None where nothing usable is, in time, and within the bound."""
        if self._client is None:
            return None
        try:
            with trio.move_on_after(self._seconds) as scope:
                async with self._client.stream(method, url, data=form, json=json, headers=headers) as response:
                    body = await _read(response, scope)
                return Fetched(response.status_code, body)
        except (httpx.HTTPError, OSError) as error:
            _log.warning("%s does not answer (%s)", url, type(error).__name__)
            return None
        _log.warning("%s answers too late, or more than can be read", url)
        return None


async def _read(response: httpx.Response, scope: trio.CancelScope) -> bytes:
    """Return a body. One that is too long, or coded, cancels the scope: what reads it closes itself by that alone."""
    if response.headers.get("content-encoding", "identity") != "identity":
        scope.cancel()
    body = b""
    async for piece in response.aiter_raw():
        if len(body) > FETCH_MAX_BYTES:
            scope.cancel()
        else:
            body += piece
    if len(body) > FETCH_MAX_BYTES:
        scope.cancel()
    await trio.lowlevel.checkpoint()
    return body
