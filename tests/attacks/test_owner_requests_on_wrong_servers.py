"""Servers that let requests pass without a right to it, of a wrong method or shape: each is found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import pytest

from reference_server.core import calls, views
from reference_server.operations import audit, callers, consents, machines, policies, service, workers
from reference_server.operations.callers import OWNER
from reference_server.operations.routing import Routes
from reference_server.operations.table import PREFIXES
from reference_server.wire.replies import failure, success
from reference_server.wire.values import Reply, Request
from simulator.contract.answers import Answer
from tests.attacks.playing import TOKEN, World, served
from tests.attacks.wrong_servers import accepted, broken, play, with_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant

pytestmark = pytest.mark.long
CONTROL_PLANE = (machines, policies, consents, workers, audit, service)
OPERATIONS = [operation for domain in CONTROL_PLANE for operation in domain.OPERATIONS]
"""What the attacks of owners are on."""
ROUTES = Routes(OPERATIONS)
PATHS = [
    (operation.method, prefix + operation.path)
    for operation in OPERATIONS
    for prefix in (("",) if operation.rooted else PREFIXES)
]

# --- credentials and methods


def _bearer(test: Callable[[str], bool]) -> Callable[[Any, dict[str, str]], bool]:
    return lambda _state, headers: test(headers.get("authorization", ""))


@pytest.mark.parametrize(
    "test",
    [
        lambda _: True,
        lambda value: not value or value == f"Bearer {TOKEN}",
        lambda value: value.startswith("Bearer"),
        lambda value: value.startswith(f"Bearer {TOKEN}"),
        lambda value: f"Bearer {TOKEN}".startswith(value) and len(value) > 10,
        lambda value: value.lower() == f"bearer {TOKEN}".lower(),
        lambda value: value.rpartition(" ")[2] == TOKEN,
        lambda value: value in {f"Bearer {TOKEN}", TOKEN},
        lambda value: value == f"Bearer {TOKEN}" or len(value) == len("Bearer ") + 48,
    ],
)
def test_a_bearer_that_is_not_the_owners_is_found(test: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "is_owner", _bearer(test))
    performance = World().play("owner.no-auth")
    assert performance.wrong
    assert accepted(performance)
    public = test("")
    assert bool(World().play("metrics.read").wrong) is not public


def test_a_token_in_the_query_is_found() -> None:
    def willing(_api: Api, request: Request) -> Request:
        token = parse_qs(request.query).get("access_token", [""])[0]
        return with_header(request, "authorization", f"Bearer {token}") if token else request

    assert [one.status for one in play("owner.no-auth", willing).wrong] == [200]
    assert [one.status for one in play("metrics.read", willing).wrong] == [200]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_one_route_without_a_guard_under_one_prefix_is_found(prefix: str) -> None:
    for operation in OPERATIONS:
        if operation.principal is not OWNER:
            continue

        def open_door(_api: Api, request: Request, path: str = operation.path) -> Request:
            before, _, after = (prefix + path).partition("{id}")
            matching = request.path.startswith(before) and request.path.endswith(after) and "?" not in request.path
            return with_header(request, "authorization", f"Bearer {TOKEN}") if matching else request

        assert play("owner.no-auth", open_door).wrong, operation.path


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", sorted(ROUTES.single_headers))
def test_a_server_that_takes_one_of_two_headers_is_found(name: str, last: bool) -> None:  # noqa: FBT001 - a table
    def choosing(_api: Api, request: Request) -> Request:
        pairs = [pair for pair in request.headers if pair[0] == name]
        return with_header(request, name, pairs[-1 if last else 0][1]) if len(pairs) > 1 else request

    wrong = play("owner.duplicate-header", choosing).wrong
    assert sum(one.expect.answer is not Answer.ACCEPTED for one in wrong) == 17


@pytest.mark.parametrize(
    ("allow", "claim"),
    [
        ("", True),
        ("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", True),
        ("OPTIONS", True),
        ("get, head, options, post", True),
    ],
)
def test_an_allow_that_lists_other_methods_is_found(allow: str, claim: bool) -> None:  # noqa: FBT001 - a table
    def wrong(api: Api, request: Request, now: Instant) -> Reply:
        reply = served(api, request, now)
        return (
            failure(405, "method not allowed", (("allow", allow),) if allow else ()) if reply.status == 405 else reply
        )

    performance = World(answer=wrong).play("owner.verbs")
    assert ("allow" in broken(performance)) is claim
    assert not performance.wrong


def test_an_allow_in_another_order_and_case_is_right() -> None:
    def other(api: Api, request: Request, now: Instant) -> Reply:
        reply = served(api, request, now)
        allow = dict(reply.headers).get("allow", "").lower()
        methods = ",".join(reversed(allow.split(", ")))
        return failure(405, "no", (("Allow", methods),)) if reply.status == 405 else reply

    performance = World(answer=other).play("owner.verbs")
    assert not performance.wrong
    assert not performance.broken


@pytest.mark.parametrize("change", [lambda allow: allow.replace("HEAD, ", ""), lambda allow: f"HEAD, {allow}"])
def test_an_allow_without_head_beside_get_or_with_it_elsewhere_is_found(change: Callable[[str], str]) -> None:
    def other(api: Api, request: Request, now: Instant) -> Reply:
        reply = served(api, request, now)
        methods = change(dict(reply.headers).get("allow", ""))
        return failure(405, "no", (("allow", methods),)) if reply.status == 405 else reply

    assert broken(World(answer=other).play("owner.verbs")) == {"allow"}


def test_a_server_that_refuses_head_is_found() -> None:
    def old(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return failure(405, "no", (("allow", "GET, HEAD"),)) if request.method == "HEAD" else None

    wrong = World(answer=old).play("owner.verbs").wrong
    assert len(wrong) == sum(method == "GET" for method, _ in PATHS)


def test_a_server_that_answers_head_with_a_body_is_found() -> None:
    performance = World(answer=lambda api, request, now: api.handle(request, now)).play("owner.verbs")
    assert not performance.wrong
    assert broken(performance) == {"head"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "GET", "POST"])
def test_a_method_that_is_taken_for_another_is_found(method: str) -> None:
    def taken(_api: Api, request: Request) -> Request:
        if request.method != method:
            return request
        other = "POST" if ROUTES.find(request.path)[0].get("POST") else "GET"
        return msgspec.structs.replace(request, method=other)

    assert play("owner.verbs", taken).wrong


# --- bodies


def _repaired(read: Callable[[bytes], Any]) -> Callable[[Api, Request], Request]:
    """Make a server that reads bodies its own way: what it makes of them is written anew, as strict JSON."""

    def change(_api: Api, request: Request) -> Request:
        if not request.body:
            return request
        try:
            body = json.dumps(read(request.body)).encode()
        except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
            return request
        return msgspec.structs.replace(request, body=body)

    return change


def _strict(body: bytes) -> Any:
    return json.loads(body.decode())


def test_a_server_that_writes_strict_bodies_anew_is_right() -> None:
    """So that what is found below is each reader's own good will."""
    performance = play("json.strict", _repaired(_strict))
    assert not performance.wrong
    assert not performance.broken


FIELDS = {
    "owner_id", "name", "rules", "signature", "worker_id", "policy_id", "timestamp", "nonce", "metrics",
}  # fmt: skip


def _known(body: bytes) -> Any:
    return {name: value for name, value in _strict(body).items() if name in FIELDS}


def _any_case(body: bytes) -> Any:
    return {name.lower(): value for name, value in _strict(body).items()}


def _texts(body: bytes) -> Any:
    return {name: value if isinstance(value, str | dict) else str(value) for name, value in _strict(body).items()}


def _objects(body: bytes) -> Any:
    value = _strict(body)
    return {name: {} if name == "metrics" and not isinstance(found, dict) else found for name, found in value.items()}


@pytest.mark.parametrize(
    "read",
    [
        _known,
        _any_case,
        _texts,
        _objects,
        lambda body: json.JSONDecoder().raw_decode(body.decode().lstrip())[0],
        lambda body: json.loads(body.decode(), parse_constant=lambda _: 50),
        lambda body: json.loads(body.decode("utf-8", "replace")),
        lambda body: json.loads(body.decode("latin-1")),
        lambda body: json.loads(body.decode(), strict=False),
        lambda body: _strict(body.replace(b",}", b"}")),
        lambda body: _strict(body.replace(b"'", b'"')),
        lambda body: _strict(body.replace(b"/* */", b"")),
        lambda body: json.loads(body.decode("utf-16")),
        lambda body: _strict(body.replace(b"\\ud800", b"?").replace(b"\\udc23", b"?")),
        lambda body: _strict(body)[0],
        lambda body: _strict(body.rstrip(b"\0")),
        lambda body: _strict(body + b"}"),
    ],
    ids=[
        "unknown fields", "any case", "any type", "no metrics", "trailing data", "constants", "bad UTF-8", "Latin-1",
        "control characters", "commas", "quotes", "comments", "UTF-16", "surrogates", "arrays", "zero bytes", "cut off",
    ],
)  # fmt: skip
def test_a_server_that_reads_json_with_too_good_a_will_is_found(read: Callable[[bytes], Any]) -> None:
    assert play("json.strict", _repaired(read)).wrong


def test_a_server_that_takes_nothing_for_an_empty_object_is_found() -> None:
    """It says that fields are missing; on the heartbeat route it counts a failure where there is none."""

    def empty(_api: Api, request: Request) -> Request:
        bare = request.method == "POST" and not request.body.strip() and request.path.count("/") < 5
        return msgspec.structs.replace(request, body=b"{}") if bare else request

    assert play("json.strict", empty).wrong


# --- pages


def test_a_limit_that_is_not_clamped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LIST_LIMIT_MAX", 1000)
    assert broken(World().play("page.extremes")) == {"limit"}


def _any_is(found: int | None, default: int) -> int:
    return default if found is None else found


def _no_less(found: int | None, default: int) -> int | None:
    return None if found is None else max(default, found)


def _zero_is_none(found: int | None, default: int) -> int | None:
    return default if found == 0 else found


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("limit", _any_is),
        ("limit", _no_less),
        ("limit", _zero_is_none),
        ("offset", _any_is),
        ("offset", _no_less),
    ],
)
def test_numbers_that_are_taken_for_none_given_are_found(
    name: str, read: Callable[[int | None, int], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = calls.query_of

    def taken(parameter: calls.Parameter) -> calls.Parameter:
        if parameter.name != name:
            return parameter
        return msgspec.structs.replace(
            parameter, read=lambda text: parameter.read(str(read(calls._integer(text), parameter.default)))
        )

    def lenient(call: calls.Call[Any]) -> dict[str, Any] | Reply:
        return asked(msgspec.structs.replace(call, parameters=tuple(map(taken, call.parameters))))

    monkeypatch.setattr(calls, "query_of", lenient)
    assert World().play("page.extremes").wrong


def _with_page(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Api, Request, Instant], Reply | None]:
    """Make a server whose lists are shown otherwise than they are."""

    def answer(api: Api, request: Request, now: Instant) -> Reply | None:
        if not request.path.endswith(("/statuses", "/events")):
            return None
        reply = api.handle(request, now)
        return success(change(json.loads(reply.body)["data"])) if reply.status == 200 else reply

    return answer


def _count(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "total": len(data.get("workers", data.get("events", [])))}


def _twice(data: dict[str, Any]) -> dict[str, Any]:
    return {name: [*value, *value] if isinstance(value, list) else value for name, value in data.items()}


@pytest.mark.parametrize(("change", "found"), [(_count, {"walk"}), (_twice, {"walk", "limit"})])
def test_totals_of_the_page_alone_and_pages_longer_than_their_limit_are_found(
    change: Callable[[dict[str, Any]], dict[str, Any]], found: set[str]
) -> None:
    assert broken(World(answer=_with_page(change)).play("page.extremes")) == found


def test_a_page_that_is_longer_than_its_limit_only_when_asked_for_one_is_found() -> None:
    def two(data: dict[str, Any]) -> dict[str, Any]:
        return _twice(data) if data["limit"] == 1 else data

    assert broken(World(answer=_with_page(two)).play("page.extremes")) == {"limit"}


def test_pages_that_overlap_or_leave_something_out_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    page_of = calls.page_of
    for step in (-1, 1):

        def shifted(call: Any, step: int = step) -> Any:
            page = page_of(call)
            if isinstance(page, Reply) or not page.offset:
                return page
            return msgspec.structs.replace(page, offset=page.offset + step)

        monkeypatch.setattr(views, "page_of", shifted)
        assert "walk" in broken(World().play("page.extremes"))


def test_an_offset_that_wraps_around_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    page_of = calls.page_of

    def wrapping(call: Any) -> Any:
        page = page_of(call)
        return page if isinstance(page, Reply) else msgspec.structs.replace(page, offset=page.offset % (1 << 63))

    monkeypatch.setattr(views, "page_of", wrapping)
    assert broken(World().play("page.extremes")) == {"past-the-end"}
