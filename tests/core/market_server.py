"""A server with a market, and the words to trade on it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NamedTuple

from tests.core.server_under_test import (
    TOKEN,
    Answer,
    Machine,
    Server,
    canonical,
    hmac_base64,
    owner_headers,
)

TRON = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
BITCOIN = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
ALL_RULES: dict[str, Any] = {"max_cpu_percent": 100, "max_memory_percent": 100, "max_gpu_percent": 100}
CAPACITY = {"cpu_cores": 4, "memory_gb": 8, "gpus": [{"model": "A", "count": 2}]}
JOB: dict[str, Any] = {
    "type": "render",
    "resources": {"cpu_cores": 1, "memory_gb": 1},
    "duration_minutes": 60,
    "max_price_usdt": "1",
    "payload": {"frames": [1, 2]},
}
GENEROUS = {
    "wallet_dev_credit_usdt": Decimal(10),
    "withdrawal_cooldown_seconds": 0,
    "certificate_life_seconds": 86_400,
}
UNAUTHORIZED, FORBIDDEN = (401, "unauthorized"), (403, "forbidden")
ADA = owner_headers("ada")


class Agent(NamedTuple):
    id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


class Market(Server):
    """A server with a market, and the words to trade on it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            **{"wallet_dev_credit_usdt": Decimal(10), "withdrawal_cooldown_seconds": 0, **GENEROUS, **settings}
        )
        self.nonces = 0

    def agent(self, name: str = "Ada's") -> Agent:
        data = self.send("POST", "/agents/register", {"name": name}).data
        return Agent(data["agent"]["id"], data["api_key"])

    def machine(self, owner_id: str = "max", rules: Any = ALL_RULES) -> tuple[Machine, str, str]:
        """Register a machine that has a consent; return it with its policy and its consent."""
        machine = self.register(owner_id)
        policy_id = self.policy_of(owner_id, rules)
        return machine, policy_id, self.consent(machine, policy_id)

    def policy_of(self, owner_id: str, rules: Any) -> str:
        body = {"owner_id": owner_id, "rules": rules, "signature": hmac_base64(TOKEN, f"{owner_id}|{canonical(rules)}")}
        policy_id = str(self.send("POST", "/policies", body, owner_headers()).data["id"])
        assert self.send("POST", f"/policies/{policy_id}/activate", None, owner_headers(owner_id)).status == 200
        return policy_id

    def heard(self, machine: Machine, policy_id: str, metrics: Any = None, *, lane: bool = False) -> Any:
        """Send a heartbeat that is accepted; return what it is answered beside that."""
        self.nonces += 1
        shown = {} if metrics is None else metrics
        body = self.heartbeat_body(machine, policy_id, f"n{self.nonces}", metrics=shown)
        if lane:
            raw = json.dumps(body).encode()
            answer = self.lane(machine.id, machine.token, machine.certificate["certificate_id"], raw)
        else:
            answer = self.send("POST", f"/workers/{machine.id}/heartbeat", body, machine.headers)
        data = answer.data
        assert data.pop("accepted")
        assert data.pop("worker_id") == machine.id
        return data

    def offering(self, owner_id: str = "max", capacity: Any = CAPACITY) -> tuple[Machine, str, str]:
        machine, policy_id, consent_id = self.machine(owner_id)
        assert self.heard(machine, policy_id, {"capacity": capacity}) == {}
        return machine, policy_id, consent_id

    def post(self, headers: dict[str, str], **changed: Any) -> Any:
        return self.send("POST", "/jobs", {**JOB, **changed}, headers).data["job"]

    def job(self, headers: dict[str, str], job_id: str) -> Any:
        return self.send("GET", f"/jobs/{job_id}", None, headers).data["job"]

    def withdraw(self, headers: dict[str, str], amount: Any, key: str | None = "k", **changed: Any) -> Answer:
        body = {"asset": "USDT-TRC20", "amount": amount, "address": TRON, **changed}
        named = headers if key is None else {**headers, "idempotency-key": key}
        return self.send("POST", "/wallet/withdraw", body, named)

    def usdt(self, headers: dict[str, str]) -> tuple[str, str, str]:
        one = self.send("GET", "/wallet/balance", None, headers).data["balances"][0]
        return one["available"], one["held"], one["pending"]
