"""What a case of the request corpus is, and the world its ids and signatures come from."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.core.identity.session_routes import begin_session
from reference_server.limits import BODY_MAX_BYTES
from reference_server.wire.replies import INVALID_REQUEST, failure
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Headers, Reply, Request
from tests.http.serving import Answer, direct_answer
from tests.http.twins import OWNER, START, Machine, as_owner, ask, enrol, make_api, signed, written

if TYPE_CHECKING:
    from reference_server.operations.api import Api

REFUSALS = {400: INVALID_REQUEST, 431: failure(431, "request headers too large")}
BEARER: Headers = OWNER[:1]
LOGINS = {
    "public_url": "http://hatchfarm.test",
    "google_client_id": "client",
    "google_client_secret": "secret",
}
MARKET = {"wallet_dev_credit_usdt": Decimal(100), "withdrawal_cooldown_seconds": 0}
HOUR_NS = 3600 * SECOND_NS
ADDRESS = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
JOB = {
    "type": "render",
    "resources": {"cpu_cores": 1, "memory_gb": 1},
    "duration_minutes": 60,
    "max_price_usdt": "1.00",
}
WITHDRAWAL = {"asset": "USDT-TRC20", "amount": "1.5", "address": ADDRESS}


class World(NamedTuple):
    """One owner's machines and papers, the same ids each time."""

    machine: Machine
    bare: Machine
    """Registered, but never given consent."""
    draft_policy_id: str
    revoked: Machine
    """Its consent is revoked."""
    session: str
    """The token of somebody who has logged in."""
    agent_key: str
    job_id: str
    """Ada's, as the post and the withdrawal are."""
    post_id: str
    withdrawal_id: str


def make_world(**settings: Any) -> tuple[Api, World]:
    """Make an API with what the corpus speaks of in it."""
    api = make_api(**LOGINS, **MARKET, **settings)
    machine, revoked = enrol(api), enrol(api, "rack 2")
    reply = api.handle_heartbeat(
        machine.worker_id, machine.token, machine.certificate_id, machine.body("first"), "192.0.2.1", START
    )
    assert reply.status in {200, 426}
    ask(api, as_owner(f"/consents/{revoked.consent_id}/revoke"))
    registered = ask(api, as_owner("/machines/register", {"owner_id": "ada", "name": "bare"}))
    bare = Machine(
        registered["machine"]["id"],
        registered["machine_token"],
        registered["machine_certificate"]["certificate_id"],
        machine.policy_id,
        "",
    )
    draft = {"owner_id": "ada", "rules": {"max_cpu_percent": 5}, "signature": signed('ada|{"max_cpu_percent":5}')}
    session = begin_session(api.state, START, "", "usr_ada", "google", "ada@example.com", START.wall_ns + HOUR_NS)
    draft_id = ask(api, as_owner("/policies", draft))["id"]
    agent_key = ask(api, as_owner("/agents/register", {"name": "Ada's"}))["api_key"]
    job_id = ask(api, as_owner("/jobs", JOB))["job"]["id"]
    post_id = ask(api, as_owner("/forum/posts", {"title": "First", "body": "Here."}))["post"]["id"]
    paid = ask(api, with_key(as_owner("/wallet/withdraw", WITHDRAWAL), "first"))
    ids = (job_id, post_id, paid["withdrawal"]["id"])
    return api, World(machine, bare, draft_id, revoked, session, agent_key, *ids)


def with_key(request: Request, key: str) -> Request:
    """The same request under an idempotency key."""
    return msgspec.structs.replace(request, headers=(*request.headers, ("idempotency-key", key)))


def body_but_a_byte(path: str, *headers: tuple[str, str]) -> bytes:
    """Announce a full body, and send all of it but one byte."""
    request = Request("POST", path, headers=headers, body=b"x" * BODY_MAX_BYTES)
    return written(request)[:-1]


WORLD = make_world()[1]


class Meant(NamedTuple):
    """One answer that is due: to a request that framing lets through, or, without one, a refusal by framing itself."""

    status: int
    request: Request | None = None
    refused: str = "GET"

    @property
    def method(self) -> str:
        """Return the method that it answers."""
        return self.refused if self.request is None else self.request.method


class Case(NamedTuple):
    """Bytes a client sends on one connection, what they mean, and whether the server closes after the last answer."""

    name: str
    sent: bytes
    meant: tuple[Meant, ...]
    closes: bool = False

    @property
    def methods(self) -> list[str]:
        """Return the method each answer is to."""
        return [meant.method for meant in self.meant]

    def then(self, other: Case) -> Case:
        """Pipeline another behind it; behind a close nothing is served."""
        meant = self.meant if self.closes else self.meant + other.meant
        return Case(f"{self.name}; {other.name}", self.sent + other.sent, meant, self.closes or other.closes)

    def direct(self, api: Api) -> list[Answer]:
        """Ask the operation table itself. It may know the case already: then the status may be another."""
        answers = []
        for number, meant in enumerate(self.meant, 1):
            request = meant.request
            if request is None:
                reply: Reply = api.refuse(REFUSALS[meant.status], "127.0.0.1", START)
            else:
                reply = api.handle(request, START)
            closes = self.closes and number == len(self.meant)
            answers.append(direct_answer(reply, meant.method, closes=closes))
        return answers


def plain(name: str, status: int, request: Request, *more: str) -> Case:
    """Send a request as a machine or an owner's tool would."""
    return Case(name, written(request, *more), (Meant(status, request),))


def framed(name: str, sent: bytes, *meant: Meant | int | tuple[int, Request], closes: bool = False) -> Case:
    """Send bytes as they are; an int is a refusal by framing, which always closes."""
    due = tuple(
        item if isinstance(item, Meant) else Meant(item) if isinstance(item, int) else Meant(*item) for item in meant
    )
    return Case(name, sent, due, closes or (bool(due) and due[-1].request is None))


def get(path: str, headers: Headers = (), query: str = "") -> Request:
    """Read something."""
    return Request("GET", path, query, headers)


def post(path: str, body: Any = None, headers: Headers = OWNER) -> Request:
    """Change something; a body that is not bytes is JSON."""
    encoded = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Request("POST", path, headers=headers, body=encoded)
