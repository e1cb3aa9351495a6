"""An API on seeded twins, and a machine enrolled without any transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.adapters.memory.clocks import BEGINNING
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.core.bounds import STATE_BOUNDS, StateBounds
from reference_server.operations.api import Api
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner, sign_text
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Headers, Request

if TYPE_CHECKING:
    from collections.abc import Generator

API_TOKEN = "owner-token-for-tests"
START = BEGINNING
OWNER: Headers = (("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", "ada"))


def make_api(**settings: Any) -> Api:
    """Make an API whose every id, token and key is the same each time."""
    return make_bounded_api(STATE_BOUNDS, **settings)


def make_bounded_api(bounds: StateBounds, **settings: Any) -> Api:
    """Make one that keeps no more than these bounds allow."""
    given = {"api_token": API_TOKEN, "port": 0, "rate_limit_burst": 1_000_000, **settings}
    signer = CertificateSigner.from_seed(bytes(range(32)))
    return Api(Settings(**given), SeededEntropy("api"), signer, START, bounds=bounds)


class Machine(NamedTuple):
    """One enrolled machine and what its owner made for it."""

    worker_id: str
    token: str
    certificate_id: str
    policy_id: str
    consent_id: str

    @property
    def path(self) -> str:
        """Where its heartbeats go."""
        return f"/api/v1/workers/{self.worker_id}/heartbeat"

    @property
    def headers(self) -> Headers:
        """Prove that it is itself."""
        return (("x-machine-token", self.token), ("x-machine-certificate-id", self.certificate_id))

    def body(self, nonce: str, /, wall_ns: int = START.wall_ns, **fields: Any) -> bytes:
        """Sign a heartbeat; `fields` replace what it says after it was signed."""
        timestamp = format_timestamp(wall_ns)
        signature = sign_text(self.token.encode(), f"{self.worker_id}|{timestamp}|{nonce}|{self.policy_id}").decode()
        stated = {"timestamp": timestamp, "nonce": nonce, "policy_id": self.policy_id, "signature": signature}
        return msgspec.json.encode({"metrics": {"cpu_percent": 12.5}, **stated, **fields})

    def heartbeat(self, nonce: str, wall_ns: int = START.wall_ns) -> Request:
        """Return a right heartbeat."""
        return Request("POST", self.path, headers=self.headers, body=self.body(nonce, wall_ns))


def signed(text: str) -> str:
    """Sign as the owner does."""
    return sign_text(API_TOKEN.encode(), text).decode()


def as_owner(path: str, body: Any = None) -> Request:
    """Change something as owner `ada`."""
    return Request("POST", f"/api/v1{path}", headers=OWNER, body=b"" if body is None else msgspec.json.encode(body))


def data_of(status: int, body: bytes) -> Any:
    """Return a successful answer's data."""
    assert status in {200, 201, 202}, body
    return msgspec.json.decode(body)["data"]


def ask(api: Api, request: Request) -> Any:
    """Ask the operation table directly, from an address and by a scheme that nothing refuses."""
    reply = api.handle(msgspec.structs.replace(request, client="192.0.2.1", scheme="https"), START)
    return data_of(reply.status, reply.body)


def enrolment(name: str) -> Generator[Request, Any, Machine]:
    """Ask for what enrols a machine of owner `ada`, with an active policy and a consent; take each answer's data."""
    registered = yield as_owner("/machines/register", {"owner_id": "ada", "name": name})
    worker_id = registered["machine"]["id"]
    signature = signed('ada|{"max_cpu_percent":50}')
    policy = yield as_owner("/policies", {"owner_id": "ada", "rules": {"max_cpu_percent": 50}, "signature": signature})
    policy_id = policy["id"]
    yield as_owner(f"/policies/{policy_id}/activate")
    signature = signed(f"ada|{worker_id}|{policy_id}")
    agreed = {"owner_id": "ada", "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
    consent = yield as_owner("/consents", agreed)
    certificate_id = registered["machine_certificate"]["certificate_id"]
    return Machine(worker_id, registered["machine_token"], certificate_id, policy_id, consent["id"])


def enrol(api: Api, name: str = "rack 1") -> Machine:
    """Enrol a machine without any transport."""
    steps = enrolment(name)
    request = next(steps)
    while True:
        try:
            request = steps.send(ask(api, request))
        except StopIteration as end:
            machine: Machine = end.value
            return machine


def written(request: Request, *more: str) -> bytes:
    """Write a request plainly, as machines do; `more` are further header lines."""
    target = request.path + ("?" + request.query if request.query else "")
    lines = [f"{request.method} {target} HTTP/1.1", "Host: server", *more]
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.body or request.method == "POST":
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body
