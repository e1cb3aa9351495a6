"""A rate limit that is kept outside is asked before anything is decided, in batches, and may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from reference_server.ports import NonceRequest, Reservation
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Request
from tests.http.serving import serving
from tests.http.twins import Machine, enrol, make_api, written

if TYPE_CHECKING:
    from collections.abc import Sequence

HEALTH = Request("GET", "/health")
TRANSPORTS = pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])


class SetLimiter:
    """A limiter that says what it was told to say; it notes every batch it was asked for."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = trio.Event()
        self.asked = trio.Event()
        self.says: list[int | None] = []
        self.fault: Exception | None = None

    async def take(self, clients: Sequence[str]) -> Sequence[int | None]:
        """Wait for the gate, then say it; what is not told passes."""
        self.batches.append(list(clients))
        self.asked.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [self.says.pop(0) if self.says else 0 for _ in clients]


class AllReserved:
    """A nonce store that reserves everything, once asked; it notes how much."""

    def __init__(self) -> None:
        self.nonces: list[str] = []

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve all."""
        self.nonces += [request.nonce for request in asked]
        return [Reservation.RESERVED] * len(asked)


class Limited:
    """A server whose rate limit is kept outside, and one enrolled machine."""

    def __init__(self, **settings: object) -> None:
        self.limiter, self.nonces = SetLimiter(), AllReserved()
        self.api = make_api(**settings)
        self.machine: Machine = enrol(self.api)
        self.api.share(self.nonces, self.limiter)

    def beat(self, nonce: str) -> bytes:
        """Write a right heartbeat."""
        return written(self.machine.heartbeat(nonce))

    @property
    def failures(self) -> int:
        """Count the auth failures of workers."""
        return self.api.state.failures.total


@TRANSPORTS
async def test_requests_are_admitted_in_batches_and_answered_in_order(express_lane: bool) -> None:  # noqa: FBT001 - a transport
    limited = Limited()
    limited.limiter.says = [0, 3 * SECOND_NS - 1, 0, 0]
    async with serving(limited.api, SetClock(), express_lane=express_lane) as server, server.client() as client:
        await client.send(b"".join(map(limited.beat, "abcd")))
        await limited.limiter.asked.wait()
        limited.limiter.gate.set()
        answers = [await client.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 200, 200]
    assert answers[1].header("retry-after") == "3"
    assert limited.nonces.nonces == ["a", "c", "d"]
    assert {client for batch in limited.limiter.batches for client in batch} == {"127.0.0.1"}
    assert limited.api.state.rate_limited == 1


@TRANSPORTS
async def test_what_is_refused_is_never_looked_at(express_lane: bool) -> None:  # noqa: FBT001 - a transport
    """A stranger over the limit makes no audit event and no auth failure."""
    limited = Limited()
    limited.limiter.gate.set()
    limited.limiter.says = [SECOND_NS, 0]
    async with serving(limited.api, SetClock(), express_lane=express_lane) as server, server.client() as client:
        forged = written(
            Request(
                "POST",
                limited.machine.path,
                headers=limited.machine.headers,
                body=limited.machine.body("a", policy_id="b"),
            )
        )
        for status, failures in ((429, 0), (401, 1)):
            await client.send(forged)
            assert (await client.answer()).status == status
            assert limited.failures == failures


@TRANSPORTS
async def test_a_limiter_that_cannot_tell_or_has_a_fault_leaves_it_to_the_own_buckets(
    express_lane: bool,  # noqa: FBT001 - a transport
) -> None:
    limited = Limited(rate_limit_burst=12)
    limited.limiter.gate.set()
    async with serving(limited.api, SetClock(), express_lane=express_lane) as server, server.client() as client:
        limited.limiter.says = [None]
        assert (await client.ask(HEALTH)).status == 200
        limited.limiter.fault = RuntimeError("a fault")
        statuses = [(await client.ask(HEALTH)).status for _ in range(12)]
    assert statuses == [200] * 11 + [429]


@TRANSPORTS
async def test_without_fallback_nobody_passes_a_limiter_that_cannot_tell(express_lane: bool) -> None:  # noqa: FBT001 - a transport
    limited = Limited(redis_rate_limit_fallback=False)
    limited.limiter.gate.set()
    limited.limiter.says = [None, None]
    async with serving(limited.api, SetClock(), express_lane=express_lane) as server, server.client() as client:
        await client.send(limited.beat("a"))
        refused = await client.answer()
        assert (refused.status, refused.body) == (503, b'{"success":false,"error":"rate limiter unavailable"}')
        assert (await client.ask(HEALTH)).status == 503
        assert (await client.ask(Request("OPTIONS", "/health"))).status == 200
        assert (await client.ask(HEALTH)).status == 200
    assert limited.nonces.nonces == []
