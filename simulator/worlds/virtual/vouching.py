"""How servers of a virtual world reach identity providers: over HTTP, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import trio

from reference_server.wire.units import SECOND_NS
from simulator.worlds.virtual.network import JITTER_NS, LEAST_NS

if TYPE_CHECKING:
    import numpy as np

    from simulator.deployment.identity_provider import IdentityProvider


class VouchingTransport(httpx.AsyncBaseTransport):
    """The transport of a server's HTTP client. `provider` answers at its origin; no other origin answers."""

    def __init__(self, provider: IdentityProvider | None, rng: np.random.Generator) -> None:
        self._provider = provider
        self._rng = rng

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the provider's answer after the delays of request and answer. Raises httpx.TransportError."""
        await self._be_under_way()
        provider, url = self._provider, request.url
        if provider is None or f"{url.scheme}://{url.netloc.decode()}" != provider.origin:
            raise httpx.ConnectError("nobody listens there")
        headers = {name.lower(): value for name, value in request.headers.items()}
        spoken = provider.answer(url.raw_path.decode("latin-1"), headers, await request.aread())
        await self._be_under_way()
        if not spoken.status:
            raise httpx.RemoteProtocolError("the connection was closed without an answer")
        return httpx.Response(
            spoken.status, headers={"content-type": "application/json"}, stream=httpx.ByteStream(spoken.body)
        )

    async def _be_under_way(self) -> None:
        await trio.sleep(int(self._rng.integers(LEAST_NS, LEAST_NS + JITTER_NS)) / SECOND_NS)
