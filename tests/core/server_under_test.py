"""An API in process, its clocks in the test's hand, and a client that signs with the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.core.bounds import STATE_BOUNDS, StateBounds
from reference_server.core.tables import TABLES
from reference_server.operations.api import Api
from reference_server.operations.routing import ROUTES
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Headers, Instant, Reply, Request
from tests.core.declared import assert_declared

if TYPE_CHECKING:
    from reference_server.core.table import Tables
    from reference_server.operations.routing import Routes

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
SKEW = 90 * SECOND
CERTIFICATE_LIFE = 15 * MINUTE
TOKEN = "owners-bearer-token"
STARTED = Instant(1_790_000_000 * SECOND, 5_000 * SECOND)
RULES: dict[str, Any] = {"max_cpu_percent": 50}
NO_OWNERS = (
    *("a|b", "|", "a\nb", "\x00", "a\x7f", "a\x85b", "\x85", " ", "ada ", " ada", "\tada", "ada\t"),
    *("ada\u00a0", "\u2003ada", "ada\u2028", "\u3000", "ada\x1f"),
)
"""Owner ids that nobody could sign for, or name in a header as they are (contract §5)."""
UNKNOWN_WORKER = "wrk_ffffffffffffffff"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def with_room(tables: Tables, **bounds: int) -> Tables:
    """Return the same tables with other bounds, each by its table's name."""
    for name, most in bounds.items():
        row = tables[name]
        tables = tables.with_row(msgspec.structs.replace(row, section=msgspec.structs.replace(row.section, most=most)))
    return tables


def hmac_base64(key: str, text: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def canonical(value: Any) -> str:
    """Canonical JSON of contract §5, for values whose numbers are whole or short."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def timestamp_text(unix_ns: int, offset_minutes: int = 0) -> str:
    """RFC 3339, in UTC with `Z` or at an offset."""
    seconds, fraction = divmod(unix_ns, SECOND)
    local = _EPOCH + timedelta(seconds=seconds, minutes=offset_minutes)
    text = local.strftime("%Y-%m-%dT%H:%M:%S")
    if fraction:
        text += f".{fraction:09d}".rstrip("0")
    hours, minutes = divmod(abs(offset_minutes), 60)
    return text + (f"{'-' if offset_minutes < 0 else '+'}{hours:02d}:{minutes:02d}" if offset_minutes else "Z")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.json["success"] is True, self
        return self.json["data"]

    @property
    def error(self) -> tuple[int, str]:
        """Status and text of a refusal, or the status of a success."""
        shown = self.json
        return self.status, "" if shown["success"] else shown["error"]


class Machine(NamedTuple):
    id: str
    owner_id: str
    token: str
    certificate: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"x-machine-token": self.token, "x-machine-certificate-id": self.certificate["certificate_id"]}


def owner_headers(owner_id: str = "", token: str = TOKEN) -> dict[str, str]:
    """Return an owner's headers as transports show them: a client's UTF-8, byte for byte as Latin-1."""
    headers = {"authorization": f"Bearer {token}"}
    if owner_id:
        headers["x-owner-id"] = owner_id.encode().decode("latin-1")
    return headers


class Server:
    """One API and its clocks. Its rate limit is out of the way unless a test sets it."""

    def __init__(
        self,
        tables: Tables = TABLES,
        routes: Routes = ROUTES,
        /,
        *,
        bounds: StateBounds = STATE_BOUNDS,
        **settings: Any,
    ) -> None:
        unlimited = {"rate_limit_burst": 1_000_000_000, "rate_limit_refill_per_second": 1e9}
        self.settings = Settings(**{"api_token": TOKEN, **unlimited, **settings})
        signer = CertificateSigner.from_seed(b"k" * 32)
        self.api = Api(self.settings, SeededEntropy(), signer, STARTED, tables, routes, bounds)
        self.routes = routes
        self.now = STARTED

    def pass_time(self, nanoseconds: int) -> None:
        self.now = Instant(self.now.wall_ns + nanoseconds, self.now.monotonic_ns + nanoseconds)

    def step_wall(self, nanoseconds: int) -> None:
        self.now = Instant(self.now.wall_ns + nanoseconds, self.now.monotonic_ns)

    def request(self, request: Request) -> Answer:
        """Ask; whatever is answered must be what the operation's row declares."""
        reply = self.api.handle(request, self.now)
        assert_declared(self.routes, request, reply)
        return as_answer(reply)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        prefix: str = "/api/v1",
        query: str = "",
    ) -> Answer:
        """Send `body` (bytes as they are, anything else as JSON) to a path below the prefix."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        pairs: Headers = tuple((headers or {}).items())
        return self.request(Request(method, prefix + path, query, pairs, raw))

    def lane(self, worker_id: str, token: str, certificate_id: str, body: bytes) -> Answer:
        """Send a heartbeat by its express entry."""
        return as_answer(self.api.handle_heartbeat(worker_id, token, certificate_id, body, "127.0.0.1", self.now))

    def register(self, owner_id: str = "ada") -> Machine:
        body = {"owner_id": owner_id, "name": "a machine"}
        data = self.send("POST", "/machines/register", body, owner_headers()).data
        return Machine(data["machine"]["id"], owner_id, data["machine_token"], data["machine_certificate"])

    def policy(self, owner_id: str = "ada", *, active: bool = True) -> str:
        body = {"owner_id": owner_id, "rules": RULES, "signature": hmac_base64(TOKEN, f"{owner_id}|{canonical(RULES)}")}
        policy_id = str(self.send("POST", "/policies", body, owner_headers()).data["id"])
        if active:
            assert self.send("POST", f"/policies/{policy_id}/activate", None, owner_headers(owner_id)).status == 200
        return policy_id

    def consent(self, machine: Machine, policy_id: str) -> str:
        signature = hmac_base64(TOKEN, f"{machine.owner_id}|{machine.id}|{policy_id}")
        ids = {"owner_id": machine.owner_id, "worker_id": machine.id, "policy_id": policy_id}
        return str(self.send("POST", "/consents", {**ids, "signature": signature}, owner_headers()).data["id"])

    def revoke(self, owner_id: str, consent_id: str) -> None:
        assert self.send("POST", f"/consents/{consent_id}/revoke", None, owner_headers(owner_id)).status == 200

    def heartbeat_body(self, machine: Machine, policy_id: str, nonce: str, **changed: Any) -> dict[str, Any]:
        """Return a genuine heartbeat of now; `changed` fields are changed after it was signed."""
        timestamp = timestamp_text(self.now.wall_ns)
        signature = hmac_base64(machine.token, f"{machine.id}|{timestamp}|{nonce}|{policy_id}")
        body = {"timestamp": timestamp, "nonce": nonce, "policy_id": policy_id, "metrics": {}, "signature": signature}
        return {**body, **changed}

    def beat(self, machine: Machine, policy_id: str, nonce: str) -> Answer:
        body = self.heartbeat_body(machine, policy_id, nonce)
        return self.send("POST", f"/workers/{machine.id}/heartbeat", body, machine.headers)

    def audit(self, owner_id: str, query: str = "limit=500") -> Any:
        return self.send("GET", "/audit/events", None, owner_headers(owner_id), query=query).data

    def metrics(self) -> dict[str, float]:
        """Read every sample of `/metrics`, by name with its labels."""
        answer = self.send("GET", "/metrics", None, owner_headers(), prefix="")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def as_answer(reply: Reply) -> Answer:
    cookies = tuple(value for name, value in reply.headers if name == "set-cookie")
    return Answer(reply.status, dict(reply.headers), reply.body, cookies)
