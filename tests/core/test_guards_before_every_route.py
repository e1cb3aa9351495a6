"""What every request meets before its route decides, and what every answer carries (contract §1, §2, §6)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.limits import BODY_MAX_BYTES
from reference_server.operations.callers import OWNER, as_utf8
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.wire.values import Headers, Request
from tests.core.declared import bare_answers
from tests.core.server_under_test import NO_OWNERS, TOKEN, Answer, Server, owner_headers
from tests.support.tiers import examples

ORIGIN = "http://localhost:3000"
ROUTES = [
    (operation.method, prefix + operation.path.replace("{id}", "some_id"))
    for operation in OPERATIONS
    for prefix in (("",) if operation.rooted else PREFIXES)
]
PATHS = sorted({path for _, path in ROUTES})
OWNERS_NAMED = ("ada", "", "a|b")
BARE = bare_answers(OPERATIONS, PREFIXES)
OWNER_HEADERS: Headers = tuple(owner_headers("ada").items())


def test_the_table_has_every_route_of_the_contract() -> None:
    under_both_prefixes = {
        ("POST", "/machines/register"),
        ("POST", "/machines/some_id/certificate"),
        ("POST", "/policies"),
        ("POST", "/policies/some_id/activate"),
        ("POST", "/consents"),
        ("POST", "/consents/some_id/revoke"),
        ("GET", "/workers/some_id/policy"),
        ("GET", "/workers/some_id/status"),
        ("GET", "/workers/summary"),
        ("GET", "/workers/statuses"),
        ("GET", "/audit/events"),
        ("POST", "/workers/some_id/heartbeat"),
        ("GET", "/status"),
        ("GET", "/metrics"),
        ("GET", "/auth/{provider}/login"),
        ("GET", "/auth/{provider}/callback"),
        ("POST", "/auth/{provider}/callback"),
        ("POST", "/auth/token"),
        ("GET", "/auth/me"),
        ("POST", "/auth/logout"),
        ("POST", "/agents/register"),
        ("GET", "/agents/me"),
        ("PUT", "/agents/me"),
        ("POST", "/jobs"),
        ("GET", "/jobs"),
        ("GET", "/jobs/some_id"),
        ("DELETE", "/jobs/some_id"),
        ("GET", "/resources"),
        ("GET", "/resources/prices"),
        ("GET", "/wallet/balance"),
        ("GET", "/wallet/transactions"),
        ("POST", "/wallet/withdraw"),
        ("GET", "/wallet/withdrawals/some_id"),
        ("GET", "/forum/posts"),
        ("POST", "/forum/posts"),
        ("GET", "/forum/posts/some_id"),
        ("POST", "/forum/posts/some_id/comments"),
    }
    rooted = {
        *(("GET", path) for path in ("/health", "/metrics", "/.well-known/hatchfarm-keys", "/openapi.json", "/docs")),
        *(("GET", f"/docs/{file}") for file in ("start.js", "swagger-ui.css", "swagger-ui-bundle.js")),
        *(("GET", path) for path in ("/", "/my/fleet", "/my/jobs", "/my/wallet", "/my/audit", "/my/key")),
        *(("POST", path) for path in ("/my/key", "/my/sign-out")),
    }
    assert {(method, p + path) for method, path in under_both_prefixes for p in ("/api/v1", "/v1")} | rooted == {
        *ROUTES
    }


# -- routing


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/my",
        "/my/",
        "/api/v1/my/key",
        "/api/v1",
        "/api/v1/",
        "/api/v2/status",
        "/status",
        "/api/v1/health",
        "/v1/health",
        "/v1/v1/status",
        "/api/v1/status/",
        "//api/v1/status",
        "/api/v1//status",
        "/API/v1/status",
        "/api/v1/workers",
        "/api/v1/workers/",
        "/api/v1/workers//status",
        "/api/v1/workers/a/b/status",
        "/api/v1/workers/a/status/",
        "/api/v1/policies/activate",
        "/api/v1/machines/a/certificate/b",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_not_found(server: Server, method: str, path: str) -> None:
    assert server.send(method, path, None, owner_headers("ada"), prefix="").error == (404, "not found")


@pytest.mark.parametrize("path", PATHS)
def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has(path: str) -> None:
    allowed = {known for known, where in ROUTES if where == path}
    allowed |= {"HEAD"} if "GET" in allowed else set()
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "get", "WEIRD"):
        answer = Server().send(method, path, None, None, prefix="")
        if method in allowed:
            assert answer.status != 405, method
        else:
            assert answer.error == (405, "method not allowed"), method
            assert answer.headers["allow"] == ", ".join(sorted({*allowed, "OPTIONS"})), method


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_head_is_answered_as_get(path: str) -> None:
    """Load balancers ask so. The body is left out by the transport, which needs its length."""
    wrong = [owner_headers(named, "wrong") for named in OWNERS_NAMED]
    for headers in ({}, *map(owner_headers, OWNERS_NAMED), *wrong):
        got, asked = (Server().send(method, path, None, headers, prefix="") for method in ("GET", "HEAD"))
        if got.status != 405:
            assert asked == got, headers


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "*"])
def test_options_succeeds_everywhere(server: Server, path: str) -> None:
    answer = server.send("OPTIONS", path, None, None, prefix="")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "application/json")


# -- who calls


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
@pytest.mark.parametrize("name", ["authorization", "x-owner-id", "x-machine-token", "x-machine-certificate-id"])
def test_a_repeated_header_that_says_who_calls_is_refused(server: Server, path: str, name: str) -> None:
    """Even with the same value twice."""
    twice: Headers = (*((key, value) for key, value in OWNER_HEADERS if key != name), (name, "a"), (name, "a"))
    answer = server.request(Request("POST", path, headers=twice, body=b"{}"))
    assert answer.error == (400, "invalid request")


def test_other_headers_may_be_repeated(server: Server) -> None:
    headers: Headers = (*OWNER_HEADERS, ("accept", "a"), ("accept", "b"), ("cookie", "a"), ("cookie", "b"))
    assert server.request(Request("GET", "/v1/workers/summary", headers=headers)).status == 200


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
def test_a_body_past_the_limit_is_refused(server: Server, path: str) -> None:
    assert BODY_MAX_BYTES == 1024 * 1024
    request = Request("POST", path, headers=OWNER_HEADERS, body_too_large=True)
    assert server.request(request).error == (413, "request body too large")


def test_an_owner_is_known_by_the_utf8_of_its_header(server: Server) -> None:
    """Transports show a header's bytes as Latin-1, as HTTP has it; clients send UTF-8."""
    server.register("소유자")
    headers = {**owner_headers(), "x-owner-id": "소유자".encode().decode("latin-1")}
    events = server.send("GET", "/audit/events", None, headers).data["events"]
    assert [event["actor"] for event in events] == ["owner:소유자"]


OF_OWNERS = [
    (operation.method, prefix + operation.path.replace("{id}", "some_id"))
    for operation in OPERATIONS
    if operation.principal is OWNER
    for prefix in PREFIXES
]
NOT_UTF_8 = (b"\xe9", b"ada\xa0", b"\xa0ada", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xff", b"a\x85")


@pytest.mark.parametrize(("method", "path"), OF_OWNERS)
def test_an_owner_id_that_nobody_can_be_registered_as_is_refused(server: Server, method: str, path: str) -> None:
    """Also one that is no UTF-8, or two headers of different bytes would name one owner. It is refused by the head."""
    for named in (*(name.encode() for name in NO_OWNERS), b"a" * 257, *NOT_UTF_8):
        headers = {**owner_headers(), "x-owner-id": named.decode("latin-1")}
        assert server.send(method, path, b"{", headers, prefix="").error == (400, "invalid owner_id"), named
        headers["authorization"] = "Bearer wrong"
        assert server.send(method, path, b"{", headers, prefix="").error == (401, "unauthorized")
    assert not server.api.state.owners


NAMES = st.text(st.one_of(st.characters(), st.sampled_from(" \t|\x85\xa0\u2003\ufeff")), min_size=1, max_size=6)


@settings(max_examples=examples(200), deadline=None)
@given(name=NAMES)
def test_whoever_is_registered_can_be_named_in_a_header(name: str) -> None:
    """HTTP strips spaces and tabs around a value (RFC 9110 §5.5); what is left names the owner that was registered."""
    server = Server()
    body = {"owner_id": name, "name": "n"}
    if server.send("POST", "/machines/register", body, owner_headers()).status == 201:
        sent = name.encode().strip(b" \t")
        headers = {**owner_headers(), "x-owner-id": sent.decode("latin-1")}
        assert server.send("GET", "/workers/summary", None, headers).data["total"] == 1


@settings(max_examples=examples(200), deadline=None)
@given(values=st.lists(st.binary(min_size=1, max_size=3), min_size=2, max_size=2, unique=True))
def test_two_header_values_never_name_one_owner(values: list[bytes]) -> None:
    """`values` are as they arrive, with nothing to strip."""
    one, other = (as_utf8(value.decode("latin-1")) for value in values)
    assert one is None or one != other


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "GET" and "/audit/" in path])
def test_an_owner_id_too_long_to_keep_is_refused(server: Server, path: str) -> None:
    assert server.request(Request("GET", path, headers=tuple(owner_headers("a" * 256).items()))).status == 200
    answer = server.request(Request("GET", path, headers=tuple(owner_headers("a" * 257).items())))
    assert answer.error == (400, "invalid owner_id")
    unauthorized = server.request(Request("GET", path, headers=tuple(owner_headers("a" * 257, "wrong").items())))
    assert unauthorized.error == (401, "unauthorized")


# -- https

PLAIN_REFUSED = (426, "https required")


def status_over(server: Server, scheme: str, forwarded: str | None, path: str = "/v1/status") -> tuple[int, str]:
    headers: Headers = () if forwarded is None else (("x-forwarded-proto", forwarded),)
    return server.request(Request("GET", path, headers=headers, scheme=scheme)).error


@pytest.mark.parametrize("trusting", [False, True])
@pytest.mark.parametrize("forwarded", [None, "https", "HTTPS", " https ", "http", "", "https, http", "http, https"])
def test_https_may_be_required(trusting: bool, forwarded: str | None) -> None:  # noqa: FBT001 - a column of the table
    """A proxy's word counts only when proxies are trusted, and only when it says https and nothing else."""
    server = Server(require_https=True, trust_proxy_headers=trusting)
    believed = trusting and (forwarded or "").strip().lower() == "https"
    assert status_over(server, "http", forwarded) == ((200, "") if believed else PLAIN_REFUSED)
    assert status_over(server, "https", forwarded) == (200, "")
    assert server.request(Request("GET", "/health")).status == 200
    assert status_over(server, "http", None, "/v1/nowhere") == PLAIN_REFUSED
    assert server.request(Request("OPTIONS", "/v1/status")).status == 200


def test_plain_http_is_fine_where_https_is_not_required(server: Server) -> None:
    assert status_over(server, "http", None) == (200, "")
    assert status_over(server, "http", "http") == (200, "")


def test_the_lane_refuses_a_plain_heartbeat_where_https_is_required() -> None:
    server = Server(require_https=True, trust_proxy_headers=True)
    assert server.lane("wrk_a", "token", "mcert_a", b"{}").error == PLAIN_REFUSED


def test_a_request_refused_for_its_scheme_costs_a_token_as_any_other() -> None:
    server = Server(require_https=True, rate_limit_burst=2, rate_limit_refill_per_second=0.001)
    assert status_over(server, "http", None) == PLAIN_REFUSED
    assert server.lane("wrk_a", "token", "mcert_a", b"{}").error == PLAIN_REFUSED
    assert status_over(server, "http", None) == (429, "rate limit exceeded")
    assert server.lane("wrk_a", "token", "mcert_a", b"{}").error == (429, "rate limit exceeded")


def test_https_required_says_what_to_upgrade_to() -> None:
    answer = Server(require_https=True).send("GET", "/status")
    assert answer.headers["upgrade"].startswith("TLS/")
    assert answer.headers["connection"] == "upgrade"


# -- CORS

CORS = "access-control-"


def ask(server: Server, origin: str | None, method: str = "GET", path: str = "/v1/status", *more: str) -> Answer:
    headers = {} if origin is None else {"origin": origin}
    return server.send(method, path, None, {**headers, **dict.fromkeys(more, "POST")}, prefix="")


@pytest.mark.parametrize(
    "origin", [None, "http://evil.test", "null", "*", "http://localhost:3000/", "http://LOCALHOST:3000"]
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_an_origin_that_is_not_allowed_gets_no_cors(server: Server, origin: str | None, method: str) -> None:
    answer = ask(server, origin, method, "/v1/status", "access-control-request-method")
    assert [name for name in answer.headers if name.startswith(CORS)] == []
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/v1/status", "/health", "/nowhere", "/v1/workers/summary"])
def test_an_allowed_origin_is_named_in_every_answer(path: str) -> None:
    server = Server(allowed_origins=(ORIGIN, "https://app.test"))
    for origin in (ORIGIN, "https://app.test"):
        answer = ask(server, origin, "GET", path)
        assert {name: value for name, value in answer.headers.items() if name.startswith(CORS)} == {
            "access-control-allow-origin": origin
        }
        assert answer.headers["vary"] == "Origin"


def test_a_preflight_is_told_methods_and_headers(server: Server) -> None:
    answer = ask(server, ORIGIN, "OPTIONS", "/v1/policies", "access-control-request-method")
    assert answer.status == 200
    assert {"GET", "POST", "OPTIONS"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    named = {name.lower() for name in answer.headers["access-control-allow-headers"].split(", ")}
    assert {"authorization", "content-type", "x-owner-id", "x-machine-token", "x-machine-certificate-id"} <= named
    assert answer.headers["access-control-allow-origin"] == ORIGIN


# -- every answer


@pytest.mark.parametrize(
    ("method", "path"), [*ROUTES, ("GET", "/nowhere"), ("DELETE", "/health"), ("OPTIONS", "/health")]
)
def test_a_request_id_is_the_servers_own_and_new_every_time(server: Server, method: str, path: str) -> None:
    chosen = "fedcba9876543210"
    given_ids = []
    for _ in range(3):
        answer = server.send(method, path, None, {"x-request-id": chosen}, prefix="")
        given_ids.append(answer.headers["x-request-id"])
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
        assert chosen not in repr(answer)
    assert len(set(given_ids)) == 3


TEXT = st.text(st.characters(max_codepoint=255), max_size=20)
ANY_PATH = st.one_of(st.sampled_from(PATHS), TEXT.map("/".__add__), st.sampled_from(["/v1/workers/é/policy"]))
ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["authorization", "x-owner-id", "x-machine-token", "x-machine-certificate-id", "origin", "x"]),
        st.one_of(TEXT, st.sampled_from([f"Bearer {TOKEN}", "ada", ORIGIN])),
    ),
    max_size=6,
).map(tuple)


@settings(max_examples=examples(300), deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]),
    path=ANY_PATH,
    query=st.one_of(TEXT, TEXT.map("limit=".__add__), TEXT.map("type=".__add__)),
    headers=ANY_HEADERS,
    owner=st.booleans(),
    body=st.one_of(st.binary(max_size=40), st.just(b"{}"), TEXT.map(lambda text: f'{{"owner_id":"{text}"}}'.encode())),
    too_large=st.booleans(),
)
def test_any_request_at_all_gets_an_answer_in_the_envelope(
    method: str,
    path: str,
    query: str,
    headers: Headers,
    owner: bool,  # noqa: FBT001 - drawn
    body: bytes,
    too_large: bool,  # noqa: FBT001 - drawn
) -> None:
    server = Server()
    if owner:
        headers = (*OWNER_HEADERS, *(pair for pair in headers if pair[0] not in dict(OWNER_HEADERS)))
    answer = server.request(Request(method, path, query, headers, body, body_too_large=too_large))
    if method != "OPTIONS" and (path, answer.status) not in BARE:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json.keys() == ({"success", "data"} if answer.status < 300 else {"success", "error"})
        assert answer.json["success"] is (answer.status < 300)
    assert answer.headers["vary"].split(", ")[0] == "Origin"
    assert TOKEN not in repr(answer)


def test_health_and_status_say_what_and_when(server: Server) -> None:
    server.pass_time(1_500_000_000)
    health = server.send("GET", "/health", prefix="")
    assert health.json == {"status": "healthy", "timestamp": "2026-09-21T14:13:21.5Z", "version": "0.3.0"}
    status = server.send("GET", "/status")
    assert status.data == {"service": "hatchfarm-api", "version": "0.3.0", "uptime": "1.5s"}


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics", "/api/v1/metrics"])
def test_metrics_are_for_owners_unless_they_are_public(server: Server, path: str) -> None:
    assert server.send("GET", path, prefix="").error == (401, "unauthorized")
    assert server.send("GET", path, None, owner_headers(), prefix="").status == 200
    assert Server(metrics_public=True).send("GET", path, prefix="").status == 200


def test_every_metric_has_its_help_and_type(server: Server) -> None:
    lines = server.send("GET", "/metrics", None, owner_headers(), prefix="").body.decode().splitlines()
    for word in ("HELP", "TYPE"):
        described = {line.split()[2] for line in lines if line.startswith(f"# {word} ")}
        assert {re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")} == described
