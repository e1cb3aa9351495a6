"""Withdrawals that are asked for many at a time, of servers that are killed under them, and what must hold of them."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import trio

from reference_server.ports import PayoutOutcome
from reference_server.wire.values import Request
from tests.http.serving import Answer, Server
from tests.http.twins import API_TOKEN
from tests.payouts.paying_server import LEDGER, outcome_of
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.payouts.paying_server import PayingServer

PARALLEL = 64
ACCOUNTS = 4
USDT = 1_000_000
CREDIT = 5_000 * USDT
"""What each account has, less than it may withdraw a day."""
ADDRESS = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
LATE_MAX_SECONDS = 0.02
"""How long after the answers that are waited for a server is killed at most."""
PENDING_POLL_SECONDS = 0.1


def settings_of(folder: Path) -> dict[str, str]:
    """Return what the servers are set to."""
    return {
        LEDGER: str(folder / "payouts"),
        "RATE_LIMIT_BURST": "1000000000",
        "RATE_LIMIT_REFILL_PER_SECOND": "1000000",
        "WALLET_DEV_CREDIT_USDT": f"{CREDIT / USDT:.6f}",
        "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": "0",
        "WITHDRAWALS_PER_HOUR": "1000000",
        "WORKER_STATUS_STATE_FILE": "",
    }


class Wanted(NamedTuple):
    """One withdrawal that somebody wants: `amount` in micro-USDT."""

    account: str
    key: str
    amount: int

    def request(self) -> Request:
        """Return how it is asked for."""
        body = json.dumps({"asset": "USDT-TRC20", "amount": f"{self.amount / USDT:.6f}", "address": ADDRESS})
        headers = (*_headers(self.account), ("idempotency-key", self.key), ("content-type", "application/json"))
        return Request("POST", "/api/v1/wallet/withdraw", headers=headers, body=body.encode())


def _headers(account: str) -> tuple[tuple[str, str], ...]:
    return ("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", account)


class Withdrawing:
    """Asks, and remembers what was granted: the id under each key. No two want the same amount."""

    def __init__(self, servers: Sequence[PayingServer], folder: Path, rounds: int, seed: int) -> None:
        self._servers = servers
        self._ledger = folder / "payouts"
        self._rng = np.random.default_rng(seed)
        self._most = 3 * ACCOUNTS * CREDIT // (rounds * PARALLEL // 2)
        """Of an amount: in the end half as much again is wanted as there is."""
        self._wanted: dict[int, Wanted] = {}
        self._open: list[Wanted] = []
        """Those that have no answer yet."""
        self.granted: dict[Wanted, str] = {}
        self.refused: set[Wanted] = set()

    async def round(self) -> None:
        """Ask for many withdrawals at once, each of them twice, and kill a server under them."""
        while len(self._open) < PARALLEL // 2:
            amount = int(self._rng.integers(1, self._most))
            if amount not in self._wanted:
                number = len(self._wanted)
                one = self._wanted[amount] = Wanted(f"owner-{number % ACCOUNTS}", f"key-{number}", amount)
                self._open.append(one)
        killed = self._servers[int(self._rng.integers(len(self._servers)))]
        await self._ask_all(killed, int(self._rng.integers(PARALLEL)), float(self._rng.uniform(0, LATE_MAX_SECONDS)))
        await killed.start()
        for server in self._servers:
            assert "hatchfarm_ledger_imbalance 0" in await self._read(server, "/metrics")

    async def _ask_all(self, killed: PayingServer | None, after: int, late_seconds: float) -> None:
        """Ask for all that have no answer, and kill a server so many answers and seconds later."""
        answered, enough = 0, trio.Event()
        copies = [*self._open, *self._open]

        async def ask(at: int, wanted: Wanted) -> None:
            nonlocal answered
            answer = None
            with suppress(
                OSError, AssertionError, trio.BrokenResourceError
            ):  # what a killed server leaves of an answer
                answer = await self._ask(self._servers[at % len(self._servers)], wanted.request())
            if answer is not None:
                self._take(wanted, answer)
            answered += 1
            if answered >= min(after, len(copies)):
                enough.set()

        async with trio.open_nursery() as nursery:
            for number, wanted in enumerate(copies):
                nursery.start_soon(ask, number + number // len(self._open), wanted)
            if killed is not None:
                await enough.wait()
                await trio.sleep(late_seconds)
                await killed.kill()
        self._open = [one for one in self._open if one not in self.granted and one not in self.refused]

    def _take(self, wanted: Wanted, answer: Answer) -> None:
        """Note an answer; what cannot be decided now is asked again."""
        if answer.status == HTTPStatus.ACCEPTED:
            withdrawal = json.loads(answer.body)["data"]["withdrawal"]
            assert self.granted.setdefault(wanted, withdrawal["id"]) == withdrawal["id"], "one key was granted twice"
        elif answer.status == HTTPStatus.PAYMENT_REQUIRED:
            self.refused.add(wanted)
        else:
            assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE, answer

    async def _ask(self, server: PayingServer, request: Request) -> Answer:
        async with Server(server.url).client() as client:
            return await client.ask(request)

    async def _read(self, server: PayingServer, path: str, account: str = "nobody") -> str:
        """Read what is there."""
        answer = await self._decided(server, Request("GET", path, headers=_headers(account)))
        assert answer.status == HTTPStatus.OK, answer
        return answer.body.decode()

    async def _decided(self, server: PayingServer, request: Request) -> Answer:
        """Ask until it is not refused for want of the shared state."""
        with trio.fail_after(PATIENCE_SECONDS):
            while (answer := await self._ask(server, request)).status == HTTPStatus.SERVICE_UNAVAILABLE:  # noqa: ASYNC110
                await trio.sleep(POLL_SECONDS)
        return answer

    async def _state(self, withdrawal_id: str, wanted: Wanted) -> str:
        """Return what the servers say became of a withdrawal that the gateway knows."""
        request = Request("GET", f"/api/v1/wallet/withdrawals/{withdrawal_id}", headers=_headers(wanted.account))
        answer = await self._decided(self._servers[0], request)
        if answer.status == HTTPStatus.NOT_FOUND:
            return "unknown"
        shown = json.loads(answer.body)["data"]["withdrawal"]
        return str(shown["state"]) if _micro(shown["amount"]) == wanted.amount else "of another amount"

    async def _balances(self, account: str) -> list[tuple[int, int]]:
        """Return an account's available and pending micro-USDT, at each server."""
        found = []
        for server in self._servers:
            usdt = json.loads(await self._read(server, "/api/v1/wallet/balance", account))["data"]["balances"][0]
            found.append((_micro(usdt["available"]), _micro(usdt["pending"])))
        return found

    def paid(self) -> dict[str, int]:
        """Return what the gateway was asked to pay, by id. It was asked for the same each time."""
        asked: dict[str, int] = {}
        for line in self._ledger.read_text().splitlines():
            withdrawal_id, asset, amount, address = line.split()
            assert (asset, address) == ("USDT-TRC20", ADDRESS)
            assert asked.setdefault(withdrawal_id, int(amount)) == int(amount)
        return asked

    async def settle(self) -> None:
        """Ask for what has no answer, and wait until nothing is on its way."""
        while self._open:
            await self._ask_all(None, 0, 0)
        accounts = sorted({one.account for one in self._wanted.values()})
        with trio.fail_after(PATIENCE_SECONDS + len(self._wanted)):
            for account in accounts:
                while any(pending for _, pending in await self._balances(account)):  # noqa: ASYNC110 - a server's own
                    await trio.sleep(PENDING_POLL_SECONDS)

    async def problems(self) -> list[str]:
        """Return all that is wrong once nothing is on its way: what the gateway's own ledger does not bear out."""
        asked = self.paid()
        by_amount = Counter(asked.values())
        problems = [f"{amount} was paid {times} times" for amount, times in by_amount.items() if times > 1]
        problems += [f"{one.key} was granted, and never paid" for one in self.granted if self.granted[one] not in asked]
        spent: Counter[str] = Counter()
        for withdrawal_id, amount in asked.items():
            wanted, outcome = self._wanted[amount], outcome_of(withdrawal_id)
            spent[wanted.account] += amount if outcome is PayoutOutcome.SETTLED else 0
            if self.granted.get(wanted, withdrawal_id) != withdrawal_id:
                problems.append(f"{wanted.key} was granted as {self.granted[wanted]}, and paid as {withdrawal_id}")
            state = await self._state(withdrawal_id, wanted)
            if state != outcome.value:
                problems.append(f"{withdrawal_id} is {state}, and the gateway says {outcome.value}")
        for account in sorted({one.account for one in self._wanted.values()}):
            for found in await self._balances(account):
                if found != (CREDIT - spent[account], 0):
                    problems.append(f"{account} has {found}, and {CREDIT} less {spent[account]} is left")
        return problems


def _micro(text: str) -> int:
    return int(Decimal(text) * USDT)
