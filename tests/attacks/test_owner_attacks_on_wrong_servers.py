"""Every attack by owners must notice the server that it is there to find: whose it is, and by whose right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.replies import failure, success
from simulator.attacks import CATALOGUE
from simulator.attacks.parties import OwnerAttack
from simulator.attacks.routes import OF_OWNERS
from tests.attacks.playing import LOST, World, served
from tests.attacks.wrong_servers import accepted, broken, header, play, with_header, without_header

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request

pytestmark = pytest.mark.long
MINE = [name for name, attack in CATALOGUE.items() if issubclass(attack, OwnerAttack)]
ALL_GRANTED = {"audit.inject", "owner.foreign-origin"}
"""Attacks of which a right server refuses hardly anything: what it shows is what they are about."""


@pytest.mark.parametrize("name", [name for name in MINE if name not in ALL_GRANTED | {"metrics.read"}])
def test_a_server_that_lets_everything_through_is_found_out(name: str) -> None:
    def lenient(api: Api, request: Request, now: Instant) -> Reply:
        reply = api.handle(request, now)
        return success({}) if reply.status in {400, 401, 403, 404, 405} else reply

    performance = World(answer=lenient).play(name)
    assert performance.wrong
    assert accepted(performance)


@pytest.mark.parametrize("name", MINE)
def test_a_server_that_refuses_everything_settles_nothing_and_proves_nothing(name: str) -> None:
    performance = World(answer=lambda _api, _request, _now: failure(401, "unauthorized")).play(name)
    assert performance.unsettled or performance.wrong
    assert not performance.broken


@pytest.mark.parametrize("name", MINE)
def test_a_server_that_breaks_down_over_one_hostile_request_is_found(name: str) -> None:
    """Alone it would be an answer that says nothing. A write that failed is no breakdown (contract §7)."""
    for body, found in (("internal error", {"no-breakdown"}), ("state persistence failed", set())):
        count = 0

        def fragile(api: Api, request: Request, now: Instant, body: str = body) -> Reply:
            nonlocal count
            reply = served(api, request, now)
            count += reply.status >= 400
            return failure(500, body) if reply.status >= 400 and count == 1 else reply

        performance = World(answer=fragile).play(name)
        assert broken(performance) == (found if count else set())


@pytest.mark.parametrize("name", MINE)
def test_lost_answers_accuse_nobody(name: str) -> None:
    for every in (2, 3, 7):
        count = 0

        def losing(_api: Api, _request: Request, _now: Instant, every: int = every) -> Reply | None:
            nonlocal count
            count += 1
            return LOST if count % every == 0 else None

        performance = World(answer=losing).play(name)
        assert not performance.wrong
        assert not performance.broken


# --- rotation


def _true_token(api: Api, request: Request) -> str:
    worker = api.state.workers.get(request.path.split("/")[-2])
    return "" if worker is None else worker.token.decode()


def test_a_rotation_without_the_token_is_found() -> None:
    def trusting(api: Api, request: Request) -> Request:
        missing = request.path.endswith("/certificate") and not header(request, "x-machine-token")
        return with_header(request, "x-machine-token", _true_token(api, request)) if missing else request

    performance = play("rotate.no-token", trusting)
    assert accepted(performance) == 2
    assert broken(performance) == {"keeps-its-certificate"}


def test_a_rotation_by_another_owner_is_found() -> None:
    def blind(api: Api, request: Request) -> Request:
        worker = api.state.workers.get(request.path.split("/")[-2])
        if worker is None or not request.path.endswith("/certificate"):
            return request
        return with_header(request, "x-owner-id", worker.owner.id)

    performance = play("rotate.wrong-owner", blind)
    assert accepted(performance) == 2  # one by each way of naming no right owner; wrong tokens are refused all the same
    assert broken(performance) == {"keeps-its-certificate"}


@pytest.mark.parametrize(
    "equal",
    [
        lambda *_: True,
        lambda true, given: true.startswith(given),
        lambda true, given: given.startswith(true),
        lambda true, given: sum(one != other for one, other in zip(true, given, strict=False)) < 2,
    ],
)
def test_a_rotation_with_a_token_that_is_nearly_right_is_found(equal: Callable[[str, str], bool]) -> None:
    def careless(api: Api, request: Request) -> Request:
        true, given = _true_token(api, request), header(request, "x-machine-token")
        close = request.path.endswith("/certificate") and equal(true, given)
        return with_header(request, "x-machine-token", true) if close else request

    performance = play("rotate.wrong-token", careless)
    assert accepted(performance)
    assert broken(performance) == {"keeps-its-certificate"}


def test_a_rotation_that_was_refused_and_yet_made_is_found() -> None:
    def late(api: Api, request: Request, now: Instant) -> Reply | None:
        if not request.path.endswith("/certificate"):
            return None
        refusal = api.handle(request, now)
        api.handle(with_header(request, "x-machine-token", _true_token(api, request)), now)
        return refusal

    performance = World(answer=late).play("rotate.wrong-token")
    assert not accepted(performance)
    assert broken(performance) == {"keeps-its-certificate"}


# --- what is another's


@pytest.mark.parametrize("path", ["/machines/register", "/policies", "/consents"])
def test_a_body_in_anothers_name_is_found_on_each_route(path: str) -> None:
    def blind(_api: Api, request: Request) -> Request:
        return without_header(request, "x-owner-id") if request.path.endswith(path) else request

    performance = play("owner.header-mismatch", blind)
    assert accepted(performance) == 4 + 1  # the last under a name that nobody has
    assert broken(performance) <= {"nothing-made"}  # the consent there is, is given once more


def _printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable())


@pytest.mark.parametrize(
    "clean",
    [str.strip, lambda name: name.strip(" \t"), lambda name: name.replace("|", ""), _printable],
    ids=["white space", "what HTTP strips", "bars", "what cannot be printed"],
)
def test_owner_ids_that_are_made_right_are_found(clean: Callable[[str], str]) -> None:
    """In bodies: whoever asks for what they made asks for another's."""

    def willing(_api: Api, request: Request) -> Request:
        if not request.body.startswith(b'{"owner_id"'):
            return request
        body = json.loads(request.body)
        return msgspec.structs.replace(request, body=msgspec.json.encode({**body, "owner_id": clean(body["owner_id"])}))

    assert accepted(play("owner.header-mismatch", willing))


def test_a_header_that_is_made_right_is_found_on_every_route() -> None:
    def careless(api: Api, request: Request, now: Instant) -> Reply | None:
        odd = "nobody" in header(request, "x-owner-id")
        return served(api, with_header(request, "x-owner-id", "somebody"), now) if odd else None

    wrong = World(answer=careless).play("owner.header-mismatch").wrong
    assert len(wrong) == len(OF_OWNERS)


def test_owners_that_are_compared_by_their_beginning_or_in_any_case_are_found() -> None:
    for same in (
        lambda one, other: one.startswith(other),
        lambda one, other: other.startswith(one),
        lambda one, other: one.lower() == other.lower(),
    ):

        def careless(_api: Api, request: Request, same: Callable[[str, str], bool] = same) -> Request:
            if not request.body.startswith(b'{"owner_id"'):
                return request
            owner_id = json.loads(request.body)["owner_id"]
            close = same(owner_id, header(request, "x-owner-id"))
            return with_header(request, "x-owner-id", owner_id) if close else request

        assert accepted(play("owner.header-mismatch", careless)) == 3


@pytest.mark.parametrize("ending", ["/activate", "/revoke", "/status", "/certificate"])
def test_a_route_that_does_not_ask_whose_it_is_is_found(ending: str) -> None:
    def blind(api: Api, request: Request) -> Request:
        tables: list[Any] = [api.state.policies, api.state.consents]
        identifier = request.path.split("/")[-2]
        found = [table[identifier].owner_id for table in tables if identifier in table]
        found += [api.state.workers[identifier].owner.id] if identifier in api.state.workers else []
        named = found and request.path.endswith(ending) and header(request, "x-owner-id")
        return with_header(request, "x-owner-id", found[0]) if named else request

    performance = play("owner.idor", blind)
    assert performance.wrong


def test_a_revoke_or_a_rotation_that_was_refused_and_yet_made_is_found() -> None:
    for ending in ("/revoke", "/certificate"):

        def late(api: Api, request: Request, now: Instant, ending: str = ending) -> Reply | None:
            if not request.path.endswith(ending):
                return None
            refusal = api.handle(request, now)
            worker = api.state.workers.get(request.path.split("/")[-2])
            consent = api.state.consents.get(request.path.split("/")[-2])
            owner_id = worker.owner.id if worker else consent.owner_id if consent else ""
            api.handle(with_header(request, "x-owner-id", owner_id), now)
            return refusal

        performance = World(answer=late).play("owner.idor")
        assert performance.wrong
        assert not accepted(performance)


def _whole_fleet(api: Api, request: Request, now: Instant) -> Reply:
    """Answer with everybody's workers, as if one owner had them all."""
    shown = [
        json.loads(api.handle(with_header(request, "x-owner-id", owner_id), now).body)["data"]
        for owner_id in api.state.owners
    ]
    total = sum(data["total"] for data in shown)
    return success({**shown[0], "total": total, "workers": [one for data in shown for one in data.get("workers", [])]})


@pytest.mark.parametrize("path", ["/workers/summary", "/workers/statuses"])
def test_a_list_that_shows_the_whole_fleet_is_found(path: str) -> None:
    def blind(api: Api, request: Request, now: Instant) -> Reply | None:
        found = request.path.endswith(path) and header(request, "x-owner-id")
        return _whole_fleet(api, request, now) if found else None

    assert broken(World(answer=blind).play("owner.idor")) == {"own-workers"}


@pytest.mark.parametrize("path", ["/workers/summary", "/workers/statuses"])
def test_a_list_that_shows_the_whole_fleet_to_whoever_names_no_owner_is_found(path: str) -> None:
    def open_to_all(api: Api, request: Request, now: Instant) -> Reply | None:
        nameless = request.path.endswith(path) and not header(request, "x-owner-id")
        return _whole_fleet(api, request, now) if nameless else None

    performance = World(answer=open_to_all).play("owner.idor")
    assert accepted(performance) == 2
    assert not performance.broken


def test_an_audit_that_shows_anothers_events_is_found() -> None:
    def blind(api: Api, request: Request) -> Request:
        if not request.path.endswith("/audit/events") or not header(request, "x-owner-id"):
            return request
        return with_header(request, "x-owner-id", next(iter(api.state.owners)))

    assert broken(play("owner.idor", blind)) == {"own-events", "nobody-made"}


def test_an_audit_that_shows_a_strangers_event_is_found() -> None:
    def shared(api: Api, request: Request, now: Instant) -> Reply | None:
        if not request.path.endswith("/audit/events") or not header(request, "x-owner-id"):
            return None
        data = json.loads(api.handle(request, now).body)["data"]
        data["events"].append({"type": "worker_auth_failed", "actor": "worker:wrk_of_nobody", "object_id": ""})
        return success(data)

    assert broken(World(answer=shared).play("owner.idor")) == {"own-events", "nobody-made"}


@pytest.mark.parametrize("missing", ["X-Machine-Token", "X-Machine-Certificate-Id"])
def test_a_machine_that_is_believed_on_anothers_routes_is_found(missing: str) -> None:
    def trusting(api: Api, request: Request) -> Request:
        worker = api.state.workers.get(request.path.split("/")[-2])
        if worker is None or not header(request, "x-machine-token"):
            return request
        value = worker.token.decode() if missing == "X-Machine-Token" else worker.certificate.certificate_id
        return with_header(request, missing.lower(), value)

    assert play("owner.idor", trusting).wrong


@pytest.mark.parametrize("status", [403, 400])
def test_a_server_that_answers_otherwise_to_ids_of_nobody_is_found(status: int) -> None:
    def odd(api: Api, request: Request, now: Instant) -> Reply:
        reply = api.handle(request, now)
        return failure(status, "forbidden") if reply.status == 404 else reply

    assert len(World(answer=odd).play("owner.unknown-id").wrong) >= 20


@pytest.mark.parametrize("read", [str.lower, lambda part: part.replace("%20", "")], ids=["any case", "blanks"])
def test_ids_that_are_read_with_too_good_a_will_are_found(read: Callable[[str], str]) -> None:
    def willing(api: Api, request: Request) -> Request:
        known = [*api.state.workers, *api.state.policies, *api.state.consents]
        parts = [next((one for one in known if one == read(part)), part) for part in request.path.split("/")]
        return msgspec.structs.replace(request, path="/".join(parts))

    assert play("owner.unknown-id", willing).wrong
