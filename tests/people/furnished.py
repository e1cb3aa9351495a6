"""A person's things, of every kind that the pages show, made through the API by the owners' token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.identity.session_routes import begin_session
from reference_server.wire.signing import sign_text
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Request

if TYPE_CHECKING:
    from reference_server.operations.api import Api

SETTINGS = {"WALLET_DEV_CREDIT_USDT": "100", "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": "0"}
"""What `furnish` needs of a server, as its environment says it."""
NAMES = ("rig-7 <b>bold</b> & 'co'", "\u202egnp.exe\u2069 עברית", "a-" + "very-long-" * 12 + "name")
"""Fresh, stale and never heard from."""
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
RULES: dict[str, Any] = {"max_cpu_percent": 100, "max_memory_percent": 100}
CAPACITY = {"capacity": {"cpu_cores": 8, "memory_gb": 32, "gpus": []}}
HOUR_SECONDS = 3600
CLIENT = "192.0.2.7"
"""An address of its own: what is done in the past takes no tokens from browsers."""


def earlier(now: Instant, seconds: int) -> Instant:
    return Instant(now.wall_ns - seconds * SECOND_NS, now.monotonic_ns - seconds * SECOND_NS)


class Owner:
    """Who asks an API in process, with the token of all owners, as one of them."""

    def __init__(self, api: Api, owner_id: str) -> None:
        self.api = api
        self.id = owner_id
        self._token = api.settings.api_token

    def ask(self, now: Instant, method: str, path: str, body: Any = None, **more: str) -> Any:
        """Ask, and return the data of the answer."""
        headers = (("authorization", f"Bearer {self._token}"), ("x-owner-id", self.id), *more.items())
        raw = b"" if body is None else msgspec.json.encode(body)
        request = Request(method, f"/api/v1{path}", headers=headers, body=raw, client=CLIENT)
        reply = self.api.handle(request, now)
        answer = msgspec.json.decode(reply.body)
        assert answer["success"], (path, answer)
        return answer["data"]

    def signed(self, text: str) -> str:
        return sign_text(self._token.encode(), text).decode()

    def enrol(self, now: Instant, name: str) -> tuple[Any, str]:
        """Register a machine and consent to a policy for it; return what registering gave, and the policy's id."""
        registered = self.ask(now, "POST", "/machines/register", {"owner_id": self.id, "name": name})
        rules = msgspec.json.encode(RULES, order="sorted").decode()
        signature = self.signed(f"{self.id}|{rules}")
        drafted = {"owner_id": self.id, "rules": RULES, "signature": signature}
        policy_id = self.ask(now, "POST", "/policies", drafted)["id"]
        self.ask(now, "POST", f"/policies/{policy_id}/activate")
        worker_id = registered["machine"]["id"]
        agreed = {"owner_id": self.id, "worker_id": worker_id, "policy_id": policy_id}
        self.ask(now, "POST", "/consents", {**agreed, "signature": self.signed("|".join(agreed.values()))})
        return registered, policy_id

    def beat(self, now: Instant, registered: Any, policy_id: str, nonce: str, token: str = "") -> int:
        """Send a heartbeat, with its own token or another; return its status."""
        worker_id, own = registered["machine"]["id"], registered["machine_token"]
        timestamp = format_timestamp(now.wall_ns)
        signature = sign_text(own.encode(), f"{worker_id}|{timestamp}|{nonce}|{policy_id}").decode()
        body = {"timestamp": timestamp, "nonce": nonce, "policy_id": policy_id, "metrics": CAPACITY}
        reply = self.api.handle_heartbeat(
            worker_id,
            token or own,
            registered["machine_certificate"]["certificate_id"],
            msgspec.json.encode({**body, "signature": signature}),
            CLIENT,
            now,
        )
        return reply.status


def furnish(api: Api, owner_id: str, now: Instant) -> Owner:
    """Make somebody a fleet, alerts, jobs, a withdrawal and what all of that leaves in the audit."""
    owner, before = Owner(api, owner_id), earlier(now, HOUR_SECONDS)
    stale, policy_id = owner.enrol(before, NAMES[1])
    assert owner.beat(before, stale, policy_id, "long-ago") == 200
    owner.ask(before, "POST", "/machines/register", {"owner_id": owner_id, "name": NAMES[2]})
    fresh, policy_id = owner.enrol(now, NAMES[0])
    assert owner.beat(now, fresh, policy_id, "now") == 200
    for number in range(3):
        assert owner.beat(now, fresh, policy_id, f"forged-{number}", token="0" * 48) == 401
    job = {"type": "render", "resources": {"cpu_cores": 1, "memory_gb": 1}, "max_price_usdt": "1.00"}
    owner.ask(now, "POST", "/jobs", {**job, "duration_minutes": 60})
    owner.ask(now, "POST", "/jobs", {**job, "type": "train", "duration_minutes": 60, "resources": {
        "cpu_cores": 4, "memory_gb": 16, "gpu_count": 2, "gpu_model": "RTX <4090>"}})  # fmt: skip
    withdrawal = {"asset": "USDT-TRC20", "amount": "1.50", "address": ADDRESS}
    owner.ask(now, "POST", "/wallet/withdraw", withdrawal, **{"idempotency-key": "first"})
    return owner


def signed_in(api: Api, owner_id: str, now: Instant, life_seconds: int = HOUR_SECONDS) -> str:
    """Begin a session of somebody, and return its token."""
    expires_ns = now.wall_ns + life_seconds * SECOND_NS
    return begin_session(api.state, now, "", owner_id, "google", f"{owner_id}@example.com", expires_ns)
