"""Right requests of every route but the heartbeat's, and what a server must know for them to be right."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.processes import TOKEN
from reference_server.core.identity.cookies import session_cookie
from reference_server.core.identity.sessions import SESSION_DIGITS, SESSION_PREFIX, digest_of, start_session
from reference_server.limits import JOBS_UNFINISHED_AN_ACCOUNT_MAX
from reference_server.wire.signing import sign_text
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.records import Worker
    from reference_server.operations.api import Api
    from reference_server.ports import Clock

    Headers = tuple[tuple[str, str], ...]
    Writer = Callable[[str], list[bytes]]

SETTINGS = {
    "WALLET_DEV_CREDIT_USDT": "1000000",
    "WITHDRAWALS_PER_HOUR": "1000000",
    "WITHDRAWAL_DAILY_LIMIT_USDT": "1000000000",
    "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS": "0",
    "PAYOUT_SIMULATED_SECONDS": "86400",
    "FORUM_POSTS_PER_HOUR": "1000000",
    "GITHUB_CLIENT_ID": "benchmark",
    "GITHUB_CLIENT_SECRET": "benchmark",
    "PUBLIC_URL": "http://127.0.0.1",
}
"""So that nothing is refused for being too much, and a login can begin."""
WRITES = 600
"""Requests of a route that changes something: each is another one."""
PREPARED = 600
"""Machines and the like that are there before, for requests that change or show one."""
JOBS_PREPARED = min(PREPARED, JOBS_UNFINISHED_AN_ACCOUNT_MAX - WRITES)
"""With those that are posted they are as many as an account may have unfinished."""
SESSION_SECONDS = 3600
TRON = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
RULES = '{"max_cpu_percent":50}'
JSON = "application/json"


class Route(msgspec.Struct, frozen=True):
    """A route, and the status that it answers a right request with. A `first_page` is what its list begins with."""

    name: str
    status: int = 200
    first_page: bool = False


ROUTES = (
    Route("POST /machines/register", 201),
    Route("POST /machines/{id}/certificate"),
    Route("POST /policies", 201),
    Route("POST /policies/{id}/activate"),
    Route("POST /consents", 201),
    Route("POST /consents/{id}/revoke"),
    Route("GET /workers/{id}/policy"),
    Route("GET /workers/{id}/status"),
    Route("GET /workers/summary", first_page=True),
    Route("GET /workers/statuses", first_page=True),
    Route("GET /audit/events", first_page=True),
    Route("GET /auth/{provider}/login", 302),
    Route("POST /auth/token", 201),
    Route("GET /auth/me"),
    Route("POST /auth/logout"),
    Route("POST /agents/register", 201),
    Route("GET /agents/me"),
    Route("PUT /agents/me"),
    Route("POST /jobs", 201),
    Route("GET /jobs", first_page=True),
    Route("GET /jobs/{id}"),
    Route("DELETE /jobs/{id}"),
    Route("GET /resources", first_page=True),
    Route("GET /resources/prices", first_page=True),
    Route("GET /wallet/balance"),
    Route("GET /wallet/transactions", first_page=True),
    Route("POST /wallet/withdraw", 202),
    Route("GET /wallet/withdrawals/{id}"),
    Route("GET /forum/posts", first_page=True),
    Route("POST /forum/posts", 201),
    Route("GET /forum/posts/{id}", first_page=True),
    Route("POST /forum/posts/{id}/comments", 201),
    Route("GET /status"),
    Route("GET /metrics", first_page=True),
    Route("GET /health"),
    Route("GET /.well-known/hatchfarm-keys"),
    Route("GET /", first_page=True),
    Route("GET /my/fleet", first_page=True),
    Route("GET /my/jobs", first_page=True),
    Route("GET /my/wallet", first_page=True),
    Route("GET /my/audit", first_page=True),
    Route("GET /my/key", first_page=True),
    Route("GET /openapi.json"),
)
LEFT_OUT = {
    "POST /workers/{id}/heartbeat": "other benchmarks are about it",
    "GET /auth/{provider}/callback": "it waits for a provider",
    "POST /auth/{provider}/callback": "it waits for a provider",
    "POST /my/key": "a form, decided as `PUT /agents/me` is",
    "POST /my/sign-out": "a form, decided as `POST /auth/logout` is",
    "GET /docs": "a file",
    "GET /docs/start.js": "a file",
    "GET /docs/swagger-ui.css": "a file",
    "GET /docs/swagger-ui-bundle.js": "a file",
}
ROOTED = ("GET /metrics", "GET /health", "GET /.well-known", "GET /my/", "GET /openapi.json")


class RouteRequests:
    """Prepares an API that knows machines, and writes requests."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        workers = [worker for worker in api.state.workers.values() if worker.consents]
        self._workers: list[Worker] = workers[:: max(1, len(workers) // PREPARED)][:PREPARED]
        self._owner = self._workers[0].owner.id
        self._number = itertools.count()
        self._sessions = [self._session() for _ in range(2 * WRITES)]
        self._policies = [self._ask("POST /policies", self._policy(self._owner))["id"] for _ in range(WRITES)]
        self._active = self._policies.pop()
        self._ask(f"POST /policies/{self._active}/activate", {})
        self._machines = [self._machine() for _ in range(2 * PREPARED)]
        half = len(self._machines) // 2
        self._consents = [self._ask("POST /consents", self._consent(one))["id"] for one, _ in self._machines[:half]]
        self._jobs = [self._ask("POST /jobs", self._job())["job"]["id"] for _ in range(JOBS_PREPARED)]
        self._post = self._ask("POST /forum/posts", self._posted())["post"]["id"]
        self._withdrawal = self._ask("POST /wallet/withdraw", self._withdrawn(), self._key())["withdrawal"]["id"]
        self._agent = self._ask("POST /agents/register", {"name": "planner"})["api_key"]

    def _session(self) -> str:
        """Start a session of a person of their own, as after a login; the first one is of the owner."""
        number = next(self._number)
        token, now = SESSION_PREFIX + self._api.state.entropy.hex(SESSION_DIGITS), self._clock.now()
        owner_id = f"person-{number}" if number else self._owner
        digest, until_ns = digest_of(token), now.wall_ns + SESSION_SECONDS * SECOND_NS
        start_session(self._api.state, now, digest, digest, owner_id, "github", "ada@example.com", until_ns)
        return token

    def _ask(self, route: str, body: Any, headers: Headers = ()) -> Any:
        method, _, path = route.partition(" ")
        sent: Headers = (("authorization", f"Bearer {TOKEN}"), ("x-owner-id", self._owner))
        sent += tuple((name.lower(), value) for name, value in headers)
        request = Request(method, f"/api/v1{path}", "", sent, json.dumps(body).encode())
        reply = self._api.handle(request, self._clock.now())
        if reply.status >= 400:  # noqa: PLR2004 - a refusal
            raise AssertionError(f"{route}: {reply.status} {reply.body!r}")
        return json.loads(reply.body)["data"]

    def _policy(self, owner: str) -> dict[str, Any]:
        return {"owner_id": owner, "rules": json.loads(RULES), "signature": _sign(owner, RULES)}

    def _machine(self) -> tuple[str, str]:
        """Register one more machine; return its id and its token."""
        body = {"owner_id": self._owner, "name": f"more {next(self._number)}"}
        registered = self._ask("POST /machines/register", body)
        return registered["machine"]["id"], registered["machine_token"]

    def _consent(self, worker_id: str) -> dict[str, Any]:
        signature = _sign(self._owner, worker_id, self._active)
        return {
            "owner_id": self._owner, "worker_id": worker_id, "policy_id": self._active, "signature": signature,
        }  # fmt: skip

    def _job(self) -> dict[str, Any]:
        resources = {"cpu_cores": 1, "memory_gb": 1}
        return {"type": "render", "resources": resources, "duration_minutes": 10, "max_price_usdt": "1.000000"}

    def _posted(self) -> dict[str, Any]:
        return {"title": f"Post {next(self._number)}", "body": "What came of it.", "tags": ["benchmark"]}

    def _withdrawn(self) -> dict[str, Any]:
        return {"asset": "USDT-TRC20", "amount": "1.000000", "address": TRON}

    def _key(self) -> Headers:
        return (("Idempotency-Key", f"key-{next(self._number)}"),)

    def _writers(self) -> dict[str, Writer]:
        """Return what writes the requests of each route whose requests are not just its name."""
        return {**self._control_plane(), **self._logins_and_agents(), **self._market_and_forum()}

    def _control_plane(self) -> dict[str, Writer]:
        worker, half = self._workers[0], len(self._machines) // 2
        certificate_id = worker.certificate.certificate_id
        machine = (("X-Machine-Token", worker.token.decode()), ("X-Machine-Certificate-Id", certificate_id))
        owner = (("Authorization", f"Bearer {TOKEN}"), ("X-Owner-Id", self._owner))
        return {
            "POST /machines/register": self._made(
                lambda: {"owner_id": self._owner, "name": f"machine {next(self._number)}"}
            ),
            "POST /machines/{id}/certificate": lambda route: [
                self._write(route.replace("{id}", one), {}, (*owner, ("X-Machine-Token", token)))
                for one, token in self._machines
            ],
            "POST /policies": self._made(lambda: self._policy(self._owner)),
            "POST /policies/{id}/activate": self._of_each(self._policies),
            "POST /consents": lambda route: [
                self._write(route, self._consent(one)) for one, _ in self._machines[half:]
            ],
            "POST /consents/{id}/revoke": self._of_each(self._consents),
            "GET /workers/{id}/policy": self._of(worker.id, machine),
            "GET /workers/{id}/status": self._of(worker.id),
        }

    def _logins_and_agents(self) -> dict[str, Writer]:
        agent = _bearer(self._agent)
        return {
            "GET /auth/{provider}/login": lambda route: [self._write(route.replace("{provider}", "github"), None)],
            "POST /auth/token": self._of_sessions(self._sessions[1:WRITES]),
            "GET /auth/me": lambda route: [self._write(route, None, _bearer(self._sessions[0]))],
            "POST /auth/logout": self._of_sessions(self._sessions[WRITES:]),
            "POST /agents/register": self._made(lambda: {"name": f"agent {next(self._number)}"}),
            "GET /agents/me": lambda route: [self._write(route, None, agent)],
            "PUT /agents/me": self._made(lambda: {"description": f"the {next(self._number)}th"}, lambda: agent),
        }

    def _market_and_forum(self) -> dict[str, Writer]:
        comments = self._made(lambda: {"body": f"Comment {next(self._number)}"})
        return {
            "POST /jobs": self._made(self._job, self._key),
            "GET /jobs/{id}": self._of(self._jobs[-1]),
            "DELETE /jobs/{id}": self._of_each(self._jobs[:-1]),
            "POST /wallet/withdraw": self._made(self._withdrawn, self._key),
            "GET /wallet/withdrawals/{id}": self._of(self._withdrawal),
            "POST /forum/posts": self._made(self._posted),
            "GET /forum/posts/{id}": self._of(self._post),
            "POST /forum/posts/{id}/comments": lambda route: comments(route.replace("{id}", self._post)),
        }

    def _of(self, value: str, headers: Headers = ()) -> Writer:
        """Return what writes a request that shows one thing."""
        return lambda route: [self._write(route.replace("{id}", value), None, headers)]

    def _of_each(self, values: list[str]) -> Writer:
        """Return what writes a request that changes each thing."""
        return lambda route: [self._write(route.replace("{id}", value), {}) for value in values]

    def _of_sessions(self, tokens: list[str]) -> Writer:
        """Return what writes a request of each session."""
        return lambda route: [self._write(route, {}, _bearer(token)) for token in tokens]

    def _made(self, make: Callable[[], Any], headers: Callable[[], Headers] = tuple) -> Writer:
        """Return what writes requests each with a body of its own."""
        return lambda route: [self._write(route, make(), headers()) for _ in range(WRITES)]

    def shown(self) -> list[dict[str, Any]]:
        """Return the requests of every route, as text, in the order of `ROUTES`. Of one that shows, one."""
        writers = self._writers()
        cookie = (("Cookie", f"{session_cookie(self._api.settings)}={self._sessions[0]}"),)
        shown = []
        for route in ROUTES:
            if route.name in writers:
                requests = writers[route.name](route.name)
            elif route.name == "GET /" or route.name.startswith("GET /my/"):
                requests = [self._write(route.name, None, cookie)]
            else:
                requests = [self._write(route.name, None)]
            shown.append({"route": route.name, "requests": [one.decode() for one in requests]})
        return shown

    def _write(self, route: str, body: Any, headers: Headers = ()) -> bytes:
        """Write a request; as the owner where no header says who asks."""
        method, _, path = route.partition(" ")
        rooted = route == "GET /" or route.startswith(ROOTED)
        written = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        lines = [f"{method} {'' if rooted else '/api/v1'}{path} HTTP/1.1", "Host: 127.0.0.1"]
        if not {"Authorization", "Cookie", "X-Machine-Token"} & {name for name, _ in headers}:
            lines += [f"Authorization: Bearer {TOKEN}", f"X-Owner-Id: {self._owner}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines += [f"Content-Type: {JSON}", f"Content-Length: {len(written)}"]
        return "\r\n".join([*lines, "", ""]).encode() + written


def _bearer(token: str) -> Headers:
    return (("Authorization", f"Bearer {token}"),)


def _sign(*parts: str) -> str:
    return sign_text(TOKEN.encode(), "|".join(parts)).decode()
