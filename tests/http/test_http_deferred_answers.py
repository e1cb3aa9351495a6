"""Answers that wait for something outside: they keep their places, share their waits, and fail closed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.nonces import MemoryNonces, SharedNonces
from reference_server.operations.api import Api
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Request
from tests.http.serving import Answer, Client, Server, serving
from tests.http.twins import API_TOKEN, START, Machine, as_owner, ask, enrol, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reference_server.ports import NonceRequest, Reservation
    from tests.support.certificates import Pair

HEALTH = Request("GET", "/health")


class GatedNonces(MemoryNonces):
    """A nonce store that answers when it is let; it notes every batch it was asked for."""

    def __init__(self) -> None:
        self.batches: list[list[NonceRequest]] = []
        self.gate = trio.Event()
        self.asked = trio.Event()
        self.fault: Exception | None = None
        super().__init__(SharedNonces(Settings()), self.gate.wait)

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Wait for the gate, then reserve."""
        self.batches.append(list(asked))
        self.asked.set()
        answers = await super().reserve(asked)
        if self.fault is not None:
            raise self.fault
        return answers


class Deferring:
    """A server whose nonces are kept outside, and one enrolled machine."""

    def __init__(self, **settings_more: Any) -> None:
        self.nonces = GatedNonces()
        settings = Settings(api_token=API_TOKEN, port=0, rate_limit_burst=1_000_000, **settings_more)
        signer = CertificateSigner.from_seed(bytes(range(32)))
        self.api = Api(settings, SeededEntropy("api"), signer, START)
        self.api.share(self.nonces)
        self.machine: Machine = enrol(self.api)

    def beat(self, nonce: str) -> bytes:
        return written(self.machine.heartbeat(nonce))


@pytest.fixture
async def deferring() -> Deferring:
    return Deferring()


async def answers_of(client: Client, count: int) -> list[int]:
    return [(await client.answer()).status for _ in range(count)]


@pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
async def test_pipelined_heartbeats_are_answered_in_order_once_their_nonces_are_reserved(way: str, pair: Pair) -> None:
    deferring = Deferring(**pair.settings_of(way))
    async with serving(deferring.api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        await client.send(
            deferring.beat("a") + deferring.beat("a") + deferring.beat("b") + written(HEALTH) + deferring.beat("b")
        )
        await deferring.nonces.asked.wait()
        assert not client.unread
        deferring.nonces.gate.set()
        assert await answers_of(client, 5) == [200, 401, 200, 200, 401]
    assert deferring.api.state.owners["ada"].routine.sequence == 2


async def test_what_comes_while_a_batch_waits_is_the_next_batch(deferring: Deferring) -> None:
    async with serving(deferring.api, SetClock(), express_lane=True) as server:
        clients = [await server.connect() for _ in range(6)]
        await clients[0].send(deferring.beat("0"))
        await deferring.nonces.asked.wait()
        for number, client in enumerate(clients[1:], 1):
            await client.send(deferring.beat(str(number)))
        await _until(lambda: _decided(deferring) == 6)
        deferring.nonces.gate.set()
        for client in clients:
            assert (await client.answer()).status == 200
            await client.stream.aclose()
    assert [len(batch) for batch in deferring.nonces.batches] == [1, 5]


def _decided(deferring: Deferring) -> int:
    """Count the heartbeats that the rate limit has let through: each takes one token of its address."""
    (full_at,) = [deferring.api.state.buckets._full_at["127.0.0.1"]]
    return round((full_at - START.monotonic_ns) / deferring.api.state.buckets._token_ns)


async def _until(true: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not true():
            await trio.lowlevel.checkpoint()


async def test_a_fault_of_the_store_lets_no_heartbeat_in(deferring: Deferring) -> None:
    deferring.nonces.fault = RuntimeError("a fault")
    deferring.nonces.gate.set()
    async with serving(deferring.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(deferring.beat("a"))
        answer = await client.answer()
    assert (answer.status, msgspec.json.decode(answer.body)["error"]) == (503, "nonce backend unavailable")
    assert deferring.api.state.owners["ada"].routine.sequence == 0


async def test_a_consent_revoked_while_a_nonce_is_being_reserved_is_seen(deferring: Deferring) -> None:
    """Contract §4, check 11."""
    async with serving(deferring.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(deferring.beat("a"))
        await deferring.nonces.asked.wait()
        ask(deferring.api, as_owner(f"/consents/{deferring.machine.consent_id}/revoke"))
        deferring.nonces.gate.set()
        assert (await client.answer()).status == 403
    assert deferring.api.state.owners["ada"].routine.sequence == 0


async def test_a_heartbeat_verified_in_a_state_that_was_undone_is_not_accepted(deferring: Deferring) -> None:
    """As after storage failed: what it was verified by, like its consent, need not be so any more."""
    async with serving(deferring.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(deferring.beat("a"))
        await deferring.nonces.asked.wait()
        (worker,) = deferring.api.state.workers.values()
        deferring.api.state.workers[worker.id] = copy.copy(worker)
        deferring.nonces.gate.set()
        answer = await client.answer()
    assert (answer.status, msgspec.json.decode(answer.body)["error"]) == (500, "state persistence failed")
    assert deferring.api.state.owners["ada"].routine.sequence == 0


async def test_nothing_more_is_read_from_a_client_that_waits_for_an_answer(deferring: Deferring) -> None:
    async with serving(deferring.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(deferring.beat("a"))
        await deferring.nonces.asked.wait()
        await client.send(deferring.beat("b"))
        async with server.client() as other:
            await other.send(written(HEALTH))
            await other.answer()
        assert _decided(deferring) == 2, "the first heartbeat and the question for health"
        deferring.nonces.gate.set()
        assert await answers_of(client, 2) == [200, 200]
        await client.send(deferring.beat("c"))
        assert await answers_of(client, 1) == [200], "it is in the lane again"


async def test_a_server_that_is_stopped_still_gives_the_answers_that_wait(deferring: Deferring) -> None:
    async with serving(deferring.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(deferring.beat("a"))
        await deferring.nonces.asked.wait()
        server.stop.set()
        deferring.nonces.gate.set()
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


async def test_a_client_that_leaves_before_its_answer_costs_nobody_anything(deferring: Deferring) -> None:
    async with serving(deferring.api, SetClock(), express_lane=True) as server:
        leaving = await server.connect()
        await leaving.send(deferring.beat("a"))
        await deferring.nonces.asked.wait()
        await leaving.stream.aclose()
        deferring.nonces.gate.set()
        answer = await _ask(server, deferring.beat("b"))
    assert answer.status == 200
    assert deferring.api.state.owners["ada"].routine.sequence == 2


async def _ask(server: Server, message: bytes) -> Answer:
    async with server.client() as client:
        await client.send(message)
        return await client.answer()
