"""Answers that wait for something outside: they keep their places, share their waits, and fail closed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.operations.api import Api
from reference_server.ports import NonceRequest, Reservation
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Request
from tests.http.serving import Answer, Client, Server, serving
from tests.http.twins import API_TOKEN, START, Machine, SetClock, as_owner, ask, enrol, written
from tests.support.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.certificates import Pair

HEALTH = Request("GET", "/health")


class GatedNonces:
    """A nonce store that answers when it is let; it notes every batch it was asked for."""

    def __init__(self) -> None:
        self.batches: list[list[NonceRequest]] = []
        self.gate = trio.Event()
        self.asked = trio.Event()
        self.fault: Exception | None = None
        self._seen: set[tuple[str, str]] = set()

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Wait for the gate, then reserve."""
        self.batches.append(list(asked))
        self.asked.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        answers = []
        for request in asked:
            key = (request.worker_id, request.nonce)
            answers.append(Reservation.REPLAYED if key in self._seen else Reservation.RESERVED)
            self._seen.add(key)
        return answers


class Held:
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
async def held() -> Held:
    return Held()


async def answers_of(client: Client, count: int) -> list[int]:
    return [(await client.answer()).status for _ in range(count)]


@pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
async def test_pipelined_heartbeats_are_answered_in_order_once_their_nonces_are_reserved(way: str, pair: Pair) -> None:
    held = Held(**pair.settings_of(way))
    async with serving(held.api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        await client.send(held.beat("a") + held.beat("a") + held.beat("b") + written(HEALTH) + held.beat("b"))
        await held.nonces.asked.wait()
        assert not client.unread
        held.nonces.gate.set()
        assert await answers_of(client, 5) == [200, 401, 200, 200, 401]
    assert held.api.state.owners["ada"].routine.sequence == 2


async def test_what_comes_while_a_batch_waits_is_the_next_batch(held: Held) -> None:
    async with serving(held.api, SetClock(), express_lane=True) as server:
        clients = [await server.connect() for _ in range(6)]
        await clients[0].send(held.beat("0"))
        await held.nonces.asked.wait()
        for number, client in enumerate(clients[1:], 1):
            await client.send(held.beat(str(number)))
        await _until(lambda: _decided(held) == 6)
        held.nonces.gate.set()
        for client in clients:
            assert (await client.answer()).status == 200
            await client.stream.aclose()
    assert [len(batch) for batch in held.nonces.batches] == [1, 5]


def _decided(held: Held) -> int:
    """Count the heartbeats that the rate limit has let through: each takes one token of its address."""
    (full_at,) = [held.api.state.buckets._full_at["127.0.0.1"]]
    return round((full_at - START.monotonic_ns) / held.api.state.buckets._token_ns)


async def _until(true: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not true():
            await trio.lowlevel.checkpoint()


async def test_a_fault_of_the_store_lets_no_heartbeat_in(held: Held) -> None:
    held.nonces.fault = RuntimeError("a fault")
    held.nonces.gate.set()
    async with serving(held.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(held.beat("a"))
        answer = await client.answer()
    assert (answer.status, msgspec.json.decode(answer.body)["error"]) == (503, "nonce backend unavailable")
    assert held.api.state.owners["ada"].routine.sequence == 0


async def test_a_consent_revoked_while_a_nonce_is_being_reserved_is_seen(held: Held) -> None:
    """Contract §4, check 11."""
    async with serving(held.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(held.beat("a"))
        await held.nonces.asked.wait()
        ask(held.api, as_owner(f"/consents/{held.machine.consent_id}/revoke"))
        held.nonces.gate.set()
        assert (await client.answer()).status == 403
    assert held.api.state.owners["ada"].routine.sequence == 0


async def test_a_heartbeat_verified_in_a_state_that_was_undone_is_not_accepted(held: Held) -> None:
    """As after storage failed: what it was verified by, like its consent, need not be so any more."""
    async with serving(held.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(held.beat("a"))
        await held.nonces.asked.wait()
        (worker,) = held.api.state.workers.values()
        held.api.state.workers[worker.id] = copy.copy(worker)
        held.nonces.gate.set()
        answer = await client.answer()
    assert (answer.status, msgspec.json.decode(answer.body)["error"]) == (500, "state persistence failed")
    assert held.api.state.owners["ada"].routine.sequence == 0


async def test_nothing_more_is_read_from_a_client_that_is_owed_an_answer(held: Held) -> None:
    async with serving(held.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(held.beat("a"))
        await held.nonces.asked.wait()
        await client.send(held.beat("b"))
        async with server.client() as other:
            await other.send(written(HEALTH))
            await other.answer()
        assert _decided(held) == 2, "the first heartbeat and the question for health"
        held.nonces.gate.set()
        assert await answers_of(client, 2) == [200, 200]
        await client.send(held.beat("c"))
        assert await answers_of(client, 1) == [200], "it is in the lane again"


async def test_a_server_that_is_stopped_still_gives_the_answers_it_owes(held: Held) -> None:
    async with serving(held.api, SetClock(), express_lane=True) as server, server.client() as client:
        await client.send(held.beat("a"))
        await held.nonces.asked.wait()
        server.stop.set()
        held.nonces.gate.set()
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


async def test_a_client_that_leaves_before_its_answer_costs_nobody_anything(held: Held) -> None:
    async with serving(held.api, SetClock(), express_lane=True) as server:
        leaving = await server.connect()
        await leaving.send(held.beat("a"))
        await held.nonces.asked.wait()
        await leaving.stream.aclose()
        held.nonces.gate.set()
        answer = await _ask(server, held.beat("b"))
    assert answer.status == 200
    assert held.api.state.owners["ada"].routine.sequence == 2


async def _ask(server: Server, message: bytes) -> Answer:
    async with server.client() as client:
        await client.send(message)
        return await client.answer()
