"""Servers with another canonical form, other bounds, an audit that loses, or metrics that grow: each is found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.core import audit as audit_streams
from reference_server.core import policies, records, state
from reference_server.core.audit import EventStream, Room
from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.replies import failure
from reference_server.wire.rules import rules_error
from reference_server.wire.signing import matches, sign_text
from simulator.contract.answers import Answer
from tests.attacks.playing import TOKEN, World
from tests.attacks.wrong_servers import accepted, broken, play, with_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request


# --- policies

HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


@pytest.mark.parametrize(
    "canonical",
    [
        lambda rules: json.dumps(rules, separators=(",", ":"), sort_keys=True, ensure_ascii=False).translate(HALVES),
        lambda rules: json.dumps(rules, separators=(",", ":"), sort_keys=True),
        lambda rules: json.dumps(rules, sort_keys=True),
        lambda rules: json.dumps(rules, separators=(",", ":")),
    ],
    ids=["no escapes", "ASCII", "spaces", "order"],
)
def test_a_server_whose_canonical_form_is_another_is_found(
    canonical: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "canonical_json", canonical)
    wrong = World().play("policy.canonical").wrong
    assert {one.expect.answer for one in wrong} == {Answer.ACCEPTED, Answer.REFUSED}


def test_a_server_that_verifies_what_it_was_sent_is_found() -> None:
    def raw(api: Api, request: Request) -> Request:
        rules = request.body.partition(b'"rules":')[2].rpartition(b',"signature":')[0].decode()
        if not rules:
            return request
        body = json.loads(request.body)
        if matches(sign_text(api.state.api_token, f"{body['owner_id']}|{rules}"), body["signature"]):
            text = f"{body['owner_id']}|{canonical_json(body['rules'])}"
            body["signature"] = sign_text(api.state.api_token, text).decode()
        return msgspec.structs.replace(request, body=json.dumps(body).encode())

    assert accepted(play("policy.canonical", raw)) >= 20


def test_rules_that_are_kept_as_others_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = policies.show_policy
    rounded = msgspec.Raw(b'{"max_cpu_percent":50}')
    monkeypatch.setattr(policies, "show_policy", lambda policy: {**shown(policy), "rules": rounded})
    assert broken(World().play("policy.canonical")) == {"rules-kept"}


@pytest.mark.parametrize(
    ("field", "passing"),
    [
        ("max_cpu_percent", lambda value: value == 0),
        ("max_memory_percent", lambda value: value in (101, 100.001)),
        ("max_gpu_percent", lambda value: isinstance(value, bool)),
        ("max_gpu_percent", lambda value: value == "50"),
        ("allowed_hours", lambda value: value == []),
        ("allowed_hours", lambda value: value == [24]),
        ("allowed_hours", lambda value: value == [1.5]),
        ("allowed_hours", lambda value: isinstance(value, list) and len(value) == 25),
        ("timezone", lambda value: value == ""),
        ("admin", lambda _: True),
        ("Max_Cpu_Percent", lambda _: True),
        ("", lambda _: True),
    ],
)
def test_a_bound_that_is_not_kept_is_found(
    field: str, passing: Callable[[Any], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = rules_error

    def lenient(rules: dict[str, Any]) -> str | None:
        kept = {name: value for name, value in rules.items() if name != field or not passing(value)}
        return judge({"max_cpu_percent": 50, **kept} if field == "max_cpu_percent" else kept)

    monkeypatch.setattr(policies, "rules_error", lenient)
    assert accepted(World().play("policy.rules"))


def test_a_refusal_that_names_no_field_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = rules_error
    monkeypatch.setattr(policies, "rules_error", lambda rules: judge(rules) and "out of bounds")
    performance = World().play("policy.rules")
    assert len(performance.wrong) > 40
    assert not accepted(performance)


def test_rules_that_are_refused_at_their_bounds_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = rules_error
    monkeypatch.setattr(policies, "rules_error", lambda rules: "no" if 100 in rules.values() else judge(rules))
    assert len(World().play("policy.rules").wrong) == 2


# --- audit


@pytest.mark.long
def test_a_stream_that_all_owners_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = EventStream("notable", 5000, Room(1 << 30, tuple))
    made = records.Owner.__init__

    def sharing(self: Any, owner_id: str, events_max: int, rooms: Any) -> None:
        made(self, owner_id, events_max, rooms)
        self.notable = shared

    monkeypatch.setattr(records.Owner, "__init__", sharing)
    assert "nothing-lost" in broken(World().play("audit.evict"))


@pytest.mark.long
def test_events_of_unknown_workers_in_everybodys_stream_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = state.State.audit

    def everybody(self: Any, now: Instant, kind: str, actor: str, object_id: str, metadata: Any, owners: Any) -> None:
        audit(self, now, kind, actor, object_id, metadata, owners or tuple(self.owners))

    monkeypatch.setattr(state.State, "audit", everybody)
    assert broken(World({"audit_events_per_stream": 20_000}).play("audit.evict")) == {"nothing-lost"}


@pytest.mark.long
def test_noise_that_was_not_made_proves_nothing() -> None:
    count = 0

    def limiting(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal count
        count += request.path.endswith("/heartbeat")
        return failure(429, "rate limit exceeded") if request.path.endswith("/heartbeat") and count % 9 == 0 else None

    world = World(answer=limiting)
    (stated,) = [one for one in world.play("audit.evict").stated if one.rule == "nothing-lost"]
    assert stated.held is None


def test_a_name_that_ends_an_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of lines, read again."""
    audit = state.State.audit

    def lines(self: Any, now: Instant, kind: str, actor: str, object_id: str, metadata: Any, owners: Any) -> None:
        for _ in str(metadata.get("name", "")).splitlines() or [""]:
            audit(self, now, kind, actor, object_id, metadata, owners)

    monkeypatch.setattr(state.State, "audit", lines)
    assert broken(World().play("audit.inject")) == {"one-event-each"}


def test_a_name_that_is_shown_as_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = state.State.audit

    def cleaned(self: Any, now: Instant, kind: str, actor: str, object_id: str, metadata: Any, owners: Any) -> None:
        metadata = {name: value.replace("\n", " ") if name == "name" else value for name, value in metadata.items()}
        audit(self, now, kind, actor, object_id, metadata, owners)

    monkeypatch.setattr(state.State, "audit", cleaned)
    assert broken(World().play("audit.inject")) == {"as-sent"}


def test_an_object_that_is_hashed_without_escapes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_streams, "canonical_string", lambda text: f'"{text}"')
    assert broken(World().play("audit.inject")) == {"chain"}


def test_a_list_that_is_not_json_for_a_hostile_text_is_found() -> None:
    def unescaped(api: Api, request: Request, now: Instant) -> Reply:
        reply = api.handle(request, now)
        if not request.path.endswith("/audit/events"):
            return reply
        return msgspec.structs.replace(reply, body=reply.body.replace(b"\\n", b"\n").replace(b'\\"', b'"'))

    assert "one-event-each" in broken(World(answer=unescaped).play("audit.inject"))


# --- metrics


def _page(add: Callable[[str], str]) -> Callable[[Api, Request, Instant], Reply | None]:
    """Make a server that adds something to its metrics for each worker id that it was asked for."""
    seen: list[str] = []

    def answer(api: Api, request: Request, now: Instant) -> Reply | None:
        parts = request.path.split("/")
        if "workers" in parts:
            seen.append(parts[-2])
        if not request.path.endswith("/metrics"):
            return None
        reply = api.handle(request, now)
        return msgspec.structs.replace(reply, body=reply.body + "".join(map(add, dict.fromkeys(seen))).encode())

    return answer


@pytest.mark.parametrize(
    ("add", "found"),
    [
        (
            lambda worker_id: f'hatchfarm_worker_auth_failures_by_reason_total{{reason="{worker_id}"}} 1\n',
            {"closed-reasons", "no-marks"},
        ),
        (lambda worker_id: f'hatchfarm_requests_total{{worker="{worker_id}"}} 1\n', {"no-marks", "no-growth"}),
        (lambda worker_id: f'hatchfarm_requests_total{{worker="{hash(worker_id)}"}} 1\n', {"no-growth"}),
        (lambda worker_id: f'hatchfarm_requests_total{{worker="{worker_id}}} 1\n', {"parses"}),
    ],
)
def test_labels_that_requests_make_are_found(add: Callable[[str], str], found: set[str]) -> None:
    assert broken(World(answer=_page(add)).play("metrics.inject")) == found


def test_a_series_that_vanishes_is_found() -> None:
    hostile = False

    def vanishing(api: Api, request: Request, now: Instant) -> Reply | None:
        nonlocal hostile
        hostile = hostile or "%" in request.path
        if not request.path.endswith("/metrics") or not hostile:
            return None
        reply = api.handle(request, now)
        lines = [line for line in reply.body.decode().splitlines() if "hatchfarm_workers_total" not in line]
        return msgspec.structs.replace(reply, body="\n".join([*lines, ""]).encode())

    assert broken(World(answer=vanishing).play("metrics.inject")) == {"no-growth"}


def test_a_label_of_the_servers_own_is_right() -> None:
    """More metrics are welcome (contract §10)."""
    add = '# TYPE hatchfarm_http_requests_total counter\nhatchfarm_http_requests_total{status="401"} 3\n'
    seen = False

    def richer(api: Api, request: Request, now: Instant) -> Reply | None:
        nonlocal seen
        seen = seen or "%" in request.path
        if not request.path.endswith("/metrics") or not seen:
            return None
        reply = api.handle(request, now)
        return msgspec.structs.replace(reply, body=reply.body + add.encode())

    performance = World(answer=richer).play("metrics.inject")
    assert not performance.broken
    assert not performance.wrong


@pytest.mark.parametrize("path", ["/api/v1/metrics", "/v1/metrics"])
def test_metrics_that_are_open_under_another_path_are_found(path: str) -> None:
    def open_door(_api: Api, request: Request) -> Request:
        return with_header(request, "authorization", f"Bearer {TOKEN}") if request.path == path else request

    assert play("metrics.read", open_door).wrong
