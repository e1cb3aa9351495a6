"""The request corpus, first part: every route answered well, and each of its refusals (contract §1-§4)."""

from __future__ import annotations

import msgspec

from reference_server.wire.values import Request
from tests.http.corpus import BEARER, WORLD, Case, get, plain, post
from tests.http.corpus_market import MARKET_REFUSED, MARKET_SUCCESSES
from tests.http.corpus_people import PEOPLE_CASES
from tests.http.twins import API_TOKEN, OWNER, START, Machine, signed

MACHINE, BARE, REVOKED = WORLD.machine, WORLD.bare, WORLD.revoked
MALLORY = (("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", "mallory"))


STRANGER = (("authorization", "Bearer not-the-token"), ("x-owner-id", "ada"))
SESSION = (("authorization", f"Bearer {WORLD.session}"),)
WRONG = "c2lnbmVkIGJ5IG5vYm9keSwgYXQgYWxsLCByZWFsbHk="
RULES = {"max_cpu_percent": 40}
POLICY = {"owner_id": "ada", "rules": RULES, "signature": signed('ada|{"max_cpu_percent":40}')}
CONSENT = {
    "owner_id": "ada",
    "worker_id": BARE.worker_id,
    "policy_id": BARE.policy_id,
    "signature": signed(f"ada|{BARE.worker_id}|{BARE.policy_id}"),
}


def consent_to(worker_id: str, policy_id: str) -> dict[str, str]:
    signature = signed(f"ada|{worker_id}|{policy_id}")
    return {"owner_id": "ada", "worker_id": worker_id, "policy_id": policy_id, "signature": signature}


def named(owner_id: bytes) -> tuple[tuple[str, str], ...]:
    return (*BEARER, ("x-owner-id", owner_id.decode("latin-1")))


def rotation(*headers: tuple[str, str], worker_id: str = MACHINE.worker_id) -> Request:
    return post(f"/api/v1/machines/{worker_id}/certificate", headers=headers)


def beat(machine: Machine, nonce: str, /, **fields: object) -> Request:
    return Request("POST", machine.path, headers=machine.headers, body=machine.body(nonce, **fields))  # type: ignore[arg-type]


def renamed(request: Request, **headers: str | None) -> Request:
    """The same request with other values of some headers, or without them."""
    kept = [(name, headers.get(name.replace("-", "_"), value)) for name, value in request.headers]
    return msgspec.structs.replace(request, headers=tuple((name, value) for name, value in kept if value is not None))


TOKEN_HEADER = ("x-machine-token", MACHINE.token)
REGISTRATION = {"owner_id": "ada", "name": "new"}
REGISTER = "/api/v1/machines/register"
ACTIVATE = f"/api/v1/policies/{WORLD.draft_policy_id}/activate"
REVOKE = f"/api/v1/consents/{MACHINE.consent_id}/revoke"
FETCH = f"/api/v1/workers/{MACHINE.worker_id}/policy"
STATUS = f"/api/v1/workers/{MACHINE.worker_id}/status"

SUCCESSES = [
    plain("register", 201, post(REGISTER, REGISTRATION)),
    plain("register, without an owner header", 201, post(REGISTER, REGISTRATION, BEARER)),
    plain("register, text beyond ASCII", 201, post(REGISTER, {"owner_id": "ada", "name": "Gerät 1 ✓"})),
    plain("rotate", 200, rotation(*OWNER, TOKEN_HEADER)),
    plain("create policy", 201, post("/api/v1/policies", POLICY)),
    plain("activate policy", 200, post(ACTIVATE)),
    plain("consent", 201, post("/api/v1/consents", CONSENT)),
    plain("consent again", 201, post("/api/v1/consents", consent_to(MACHINE.worker_id, MACHINE.policy_id))),
    plain("revoke", 200, post(REVOKE)),
    plain("revoke again", 200, post(f"/api/v1/consents/{REVOKED.consent_id}/revoke")),
    plain("fetch policy", 200, get(FETCH, MACHINE.headers)),
    plain("worker status", 200, get(STATUS, OWNER)),
    plain("summary", 200, get("/api/v1/workers/summary", OWNER)),
    plain("statuses", 200, get("/api/v1/workers/statuses", OWNER)),
    plain("statuses, empty paging", 200, get("/api/v1/workers/statuses", OWNER, "limit=&offset=")),
    plain("summary, owner in UTF-8", 200, get("/api/v1/workers/summary", named("à🐣Å".encode()))),
    plain("statuses, paged", 200, get("/api/v1/workers/statuses", OWNER, "limit=1&offset=1")),
    plain("statuses, limit clamped", 200, get("/api/v1/workers/statuses", OWNER, "limit=9999")),
    plain("audit", 200, get("/api/v1/audit/events", OWNER)),
    plain("audit, of one type", 200, get("/api/v1/audit/events", OWNER, "type=worker_heartbeat")),
    plain("heartbeat", 200, beat(MACHINE, "n")),
    plain("status", 200, get("/api/v1/status")),
    plain("login", 302, get("/api/v1/auth/google/login", (), "return_to=/x")),
    plain("login, who one is", 200, get("/api/v1/auth/me", SESSION)),
    plain("login, a token", 201, post("/api/v1/auth/token", None, SESSION)),
    plain("login, out", 200, post("/api/v1/auth/logout", None, SESSION)),
    plain("login, by cookie", 200, get("/api/v1/auth/me", (("cookie", f"a=b; hf_session={WORLD.session}"),))),
    plain("metrics", 200, get("/api/v1/metrics", OWNER)),
    plain("metrics at the root", 200, get("/metrics", BEARER)),
    plain("health", 200, get("/health")),
    plain("keys", 200, get("/.well-known/hatchfarm-keys")),
]

NOT_JSON = {
    "empty": b"",
    "unknown field": b'{"owner_id":"ada","name":"x","more":1}',
    "trailing data": b'{"owner_id":"ada","name":"x"} {}',
    "wrong type": b'{"owner_id":"ada","name":7}',
    "NaN": b'{"owner_id":"ada","name":NaN}',
    "invalid UTF-8": b'{"owner_id":"ada","name":"\xff"}',
    "not an object": b"[]",
}
REFUSED = [
    plain("register, no bearer", 401, post(REGISTER, REGISTRATION, OWNER[1:])),
    plain("register, wrong bearer", 401, post(REGISTER, REGISTRATION, STRANGER)),
    *(plain(f"register, {name}", 400, post(REGISTER, body)) for name, body in NOT_JSON.items()),
    plain("register, no name", 400, post(REGISTER, {"owner_id": "ada"})),
    plain("register, owner with a bar", 400, post(REGISTER, {"owner_id": "a|b", "name": "x"}, BEARER)),
    plain("register, for another", 403, post(REGISTER, REGISTRATION, MALLORY)),
    plain("rotate, no bearer", 401, rotation(OWNER[1], TOKEN_HEADER)),
    plain("rotate, no owner", 403, rotation(OWNER[0], TOKEN_HEADER)),
    plain("rotate, no token", 401, rotation(*OWNER)),
    plain("rotate, unknown machine", 404, rotation(*OWNER, TOKEN_HEADER, worker_id="wrk_0")),
    plain("rotate, another's machine", 403, rotation(*MALLORY, TOKEN_HEADER)),
    plain("rotate, wrong token", 401, rotation(*OWNER, ("x-machine-token", "0" * 48))),
    plain("policy, no bearer", 401, post("/api/v1/policies", POLICY, STRANGER)),
    plain("policy, not JSON", 400, post("/api/v1/policies", b"{")),
    plain("policy, no signature", 400, post("/api/v1/policies", {"owner_id": "ada", "rules": RULES})),
    plain("policy, unknown rule", 400, post("/api/v1/policies", {**POLICY, "rules": {**RULES, "root": True}})),
    plain("policy, rule out of bounds", 400, post("/api/v1/policies", {**POLICY, "rules": {"max_cpu_percent": 101}})),
    plain("policy, wrong signature", 401, post("/api/v1/policies", {**POLICY, "signature": WRONG})),
    plain("policy, for another", 403, post("/api/v1/policies", POLICY, MALLORY)),
    plain("activate, no bearer", 401, post(ACTIVATE, headers=STRANGER)),
    plain("activate, unknown policy", 404, post("/api/v1/policies/pol_0/activate")),
    plain("activate, another's policy", 403, post(ACTIVATE, headers=MALLORY)),
    plain("consent, no bearer", 401, post("/api/v1/consents", CONSENT, STRANGER)),
    plain("consent, not JSON", 400, post("/api/v1/consents", b"null")),
    plain("consent, no worker", 400, post("/api/v1/consents", {**CONSENT, "worker_id": ""})),
    plain("consent, wrong signature", 401, post("/api/v1/consents", {**CONSENT, "signature": WRONG})),
    plain("consent, unknown worker", 400, post("/api/v1/consents", consent_to("wrk_0", MACHINE.policy_id))),
    plain(
        "consent, policy not active",
        400,
        post("/api/v1/consents", consent_to(MACHINE.worker_id, WORLD.draft_policy_id)),
    ),
    plain("consent, revoked", 409, post("/api/v1/consents", consent_to(REVOKED.worker_id, REVOKED.policy_id))),
    plain("revoke, no bearer", 401, post(REVOKE, headers=STRANGER)),
    plain("revoke, no owner", 403, post(REVOKE, headers=BEARER)),
    plain("revoke, unknown consent", 404, post("/api/v1/consents/con_0/revoke")),
    plain("revoke, another's consent", 403, post(REVOKE, headers=MALLORY)),
    plain("fetch policy, no headers", 401, get(FETCH)),
    plain("fetch policy, wrong token", 401, renamed(get(FETCH, MACHINE.headers), x_machine_token="0" * 48)),
    plain("fetch policy, old certificate", 401, renamed(get(FETCH, MACHINE.headers), x_machine_certificate_id="old")),
    plain("fetch policy, no consent", 403, get(f"/api/v1/workers/{BARE.worker_id}/policy", BARE.headers)),
    plain("worker status, no bearer", 401, get(STATUS, STRANGER)),
    plain("worker status, unknown", 404, get("/api/v1/workers/wrk_0/status", OWNER)),
    plain("worker status, another's", 403, get(STATUS, MALLORY)),
    plain("worker status, never heard", 404, get(f"/api/v1/workers/{BARE.worker_id}/status", OWNER)),
    plain("summary, no bearer", 401, get("/api/v1/workers/summary")),
    plain("statuses, no bearer", 401, get("/api/v1/workers/statuses")),
    plain("summary, no owner id", 401, get("/api/v1/workers/summary", BEARER)),
    plain("statuses, no owner id", 401, get("/api/v1/workers/statuses", BEARER)),
    *(
        plain(f"owner id {name.encode()!r}", 400, get("/api/v1/workers/summary", named(name.encode())))
        for name in ("a|b", "a\x85", "\u00a0", "ada\u3000", "x" * 257)
    ),
    plain("owner id in Latin-1", 400, get("/api/v1/workers/summary", named(b"\xe9"))),
    plain("audit, owner id with a bar", 400, get("/api/v1/audit/events", named(b"a|b"))),
    plain("statuses, limit 0", 400, get("/api/v1/workers/statuses", OWNER, "limit=0")),
    plain("statuses, limit of words", 400, get("/api/v1/workers/statuses", OWNER, "limit=ten")),
    plain("statuses, offset below 0", 400, get("/api/v1/workers/statuses", OWNER, "offset=-1")),
    plain("audit, no bearer", 401, get("/api/v1/audit/events", OWNER[1:])),
    plain("audit, no owner", 403, get("/api/v1/audit/events", BEARER)),
    plain("audit, offset of words", 400, get("/api/v1/audit/events", OWNER, "offset=x")),
    plain("metrics, no bearer", 401, get("/metrics")),
]

HOUR_NS = 3_600_000_000_000
HEARTBEATS = [
    plain("heartbeat, not JSON", 400, post(MACHINE.path, b'{"nonce":', MACHINE.headers)),
    plain("heartbeat, empty", 400, post(MACHINE.path, b"", MACHINE.headers)),
    plain("heartbeat, unknown field", 400, beat(MACHINE, "n", more=1)),
    plain("heartbeat, no token", 400, renamed(beat(MACHINE, "n"), x_machine_token=None)),
    plain("heartbeat, empty token", 400, renamed(beat(MACHINE, "n"), x_machine_token="")),
    plain("heartbeat, no certificate", 400, renamed(beat(MACHINE, "n"), x_machine_certificate_id=None)),
    plain("heartbeat, no nonce", 400, beat(MACHINE, "n", nonce="")),
    plain("heartbeat, long nonce", 400, beat(MACHINE, "n" * 129)),
    plain("heartbeat, nonce with a bar", 400, beat(MACHINE, "n|n")),
    plain("heartbeat, much metrics", 400, beat(MACHINE, "n", metrics={"a": "x" * 16_400})),
    plain("heartbeat, more than the lane takes", 400, beat(MACHINE, "n", metrics={"a": "x" * 40_000})),
    plain("heartbeat, deep metrics", 400, beat(MACHINE, "n", metrics={"a": [[[[[[[[1]]]]]]]]})),
    plain("heartbeat, no timestamp", 400, beat(MACHINE, "n", timestamp="yesterday")),
    plain(
        "heartbeat, late",
        401,
        Request("POST", MACHINE.path, "", MACHINE.headers, MACHINE.body("n", START.wall_ns - HOUR_NS)),
    ),
    plain(
        "heartbeat, unknown worker",
        401,
        msgspec.structs.replace(beat(MACHINE, "n"), path="/v1/workers/wrk_0/heartbeat"),
    ),
    plain("heartbeat, wrong token", 401, renamed(beat(MACHINE, "n"), x_machine_token="0" * 48)),
    plain("heartbeat, old certificate", 401, renamed(beat(MACHINE, "n"), x_machine_certificate_id="mcert_0")),
    plain("heartbeat, wrong signature", 401, beat(MACHINE, "n", signature=WRONG)),
    plain("heartbeat, no consent", 403, beat(BARE, "n")),
    plain("heartbeat, consent revoked", 403, beat(REVOKED, "n")),
    plain("heartbeat, replayed", 401, beat(MACHINE, "first")),
    plain("heartbeat, token beyond ASCII", 401, renamed(beat(MACHINE, "n"), x_machine_token="\xe9" * 48)),
]

ORIGIN = ("origin", "http://localhost:3000")
ELSEWHERE = [
    plain("no such route", 404, get("/api/v1/nothing")),
    plain("no such version", 404, get("/v2/health")),
    plain("HEAD of the root", 200, Request("HEAD", "/")),
    plain("trailing slash", 404, get("/health/")),
    plain("two slashes", 404, get("//health")),
    plain("dots are not resolved", 404, get("/api/../health")),
    plain("escapes are not decoded", 404, get("/%68ealth")),
    plain("escaped worker", 401, msgspec.structs.replace(beat(MACHINE, "n"), path="/v1/workers/%77rk/heartbeat")),
    plain("no worker", 404, msgspec.structs.replace(beat(MACHINE, "n"), path="/v1/workers//heartbeat")),
    plain("worker with a slash", 404, msgspec.structs.replace(beat(MACHINE, "n"), path="/v1/workers/a/b/heartbeat")),
    plain("heartbeat with a query", 200, msgspec.structs.replace(beat(MACHINE, "n"), query="a=b")),
    plain("get a heartbeat", 405, get(MACHINE.path, MACHINE.headers)),
    plain("put a heartbeat", 405, msgspec.structs.replace(beat(MACHINE, "n"), method="PUT")),
    *(plain(f"{method} health", 405, Request(method, "/health")) for method in ("PUT", "PATCH", "DELETE", "TRACE")),
    plain("HEAD health", 200, Request("HEAD", "/health")),
    plain("HEAD of a heartbeat", 405, Request("HEAD", MACHINE.path)),
    plain("HEAD of statuses", 200, Request("HEAD", "/api/v1/workers/statuses", headers=OWNER)),
    plain("HEAD without a bearer", 401, Request("HEAD", "/api/v1/workers/summary")),
    plain("HEAD of what is posted", 405, Request("HEAD", "/api/v1/policies", headers=OWNER)),
    plain("PROPFIND health", 405, Request("PROPFIND", "/health")),
    plain("HEAD of nothing", 404, Request("HEAD", "/nothing")),
    plain("options", 200, Request("OPTIONS", "/health")),
    plain("options of nothing", 200, Request("OPTIONS", "/nothing")),
    plain(
        "preflight",
        200,
        Request("OPTIONS", STATUS, headers=(ORIGIN, ("access-control-request-method", "GET"))),
    ),
    plain(
        "preflight from elsewhere",
        200,
        Request("OPTIONS", STATUS, headers=(("origin", "http://evil"), ("access-control-request-method", "GET"))),
    ),
    plain("get from an allowed origin", 200, get("/health", (ORIGIN,))),
    plain(
        "heartbeat from an allowed origin",
        200,
        Request("POST", MACHINE.path, "", (*MACHINE.headers, ORIGIN), MACHINE.body("n")),
    ),
    plain("request id is not echoed", 200, get("/health", (("x-request-id", "0123456789abcdef"),))),
    *(
        plain(f"two of {name}", 400, get(STATUS, (*OWNER, *MACHINE.headers, (name, "second"))))
        for name in ("authorization", "x-owner-id", "x-machine-token", "x-machine-certificate-id")
    ),
    plain(
        "heartbeat with two tokens",
        400,
        Request("POST", MACHINE.path, "", (*MACHINE.headers, TOKEN_HEADER), MACHINE.body("n")),
    ),
    plain("heartbeat with two user agents", 200, beat(MACHINE, "n"), "User-Agent: a", "user-agent: b"),
]


def versioned(case: Case) -> Case | None:
    """The same through the shorter prefix."""
    request = case.meant[0].request
    if request is None or not request.path.startswith("/api/v1/"):
        return None
    short = msgspec.structs.replace(request, path=request.path.removeprefix("/api"))
    return plain(f"{case.name}, by /v1", case.meant[0].status, short)


WELL = [*SUCCESSES, *MARKET_SUCCESSES]
FURTHER = [*REFUSED, *MARKET_REFUSED, *HEARTBEATS, *ELSEWHERE, *PEOPLE_CASES]
ROUTE_CASES = [*WELL, *filter(None, map(versioned, WELL)), *FURTHER]
