"""Every attack by machines must notice the server that it is there to find."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.core import heartbeats, machines
from reference_server.core.nonces import NonceMemory, nonce_key
from reference_server.core.records import Consent
from reference_server.ports import Reservation
from reference_server.wire.replies import failure, success
from reference_server.wire.signing import matches
from reference_server.wire.timestamps import format_timestamp, parse_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply, Request
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.revocation import RACING
from simulator.contract.answers import Answer
from tests.attacks.playing import LOST, World
from tests.attacks.test_machine_attacks_on_a_right_server import MINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.records import Certificate
    from reference_server.core.state import State
    from reference_server.operations.api import Api
    from tests.attacks.playing import Performance

ACCEPTED = success({"worker_id": "wrk_0000000000000000", "accepted": True})
JSON = (("content-type", "application/json"),)
NEVER_REFUSED = {"nonce.flood", "revoke.twice", "weakness.unsigned-metrics"}
"""What these find is no acceptance of what must be refused."""


def play(name: str, world: World) -> Performance:
    """Play an attack of either kind."""
    if issubclass(CATALOGUE[name], ShotAttack):
        world.with_victims(2)
        return world.shoot(name, 40)
    return world.play(name)


@pytest.mark.parametrize("name", sorted({*MINE} - NEVER_REFUSED))
def test_a_server_that_accepts_everything_is_found_out(name: str) -> None:
    def lenient(api: Api, request: Request, now: Instant) -> Reply | None:
        reply = api.handle(request, now)
        return ACCEPTED if reply.status in {400, 401, 403, 409} else reply

    performance = play(name, World(answer=lenient))
    assert performance.wrong or performance.broken
    if name != "skew.edge":
        certain = [one for one in performance.outcomes if one.expect.answer is not Answer.ACCEPTED]
        assert any(one.got is Answer.ACCEPTED for one in certain)


def test_copies_that_pass_together_between_look_up_and_keeping_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, int] = {}

    def racy(_self: NonceMemory, key: int, _timestamp_ns: int, now: Instant) -> Reservation:
        first = seen.setdefault(key, now.monotonic_ns)
        return Reservation.RESERVED if first == now.monotonic_ns else Reservation.REPLAYED

    monkeypatch.setattr(NonceMemory, "reserve", racy)
    performance = World().play("replay.concurrent")
    (stated,) = performance.broken
    assert stated.rule == "one-of-copies"
    assert "8 were accepted" in stated.message


def test_copies_of_which_none_is_accepted_are_found_unless_answers_were_lost() -> None:
    def refusing(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return failure(401, "invalid heartbeat auth") if request.path.endswith("/heartbeat") else None

    assert [stated.held for stated in World(answer=refusing).play("replay.concurrent").stated] == [False]
    count = 0

    def losing(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal count
        count += request.path.endswith("/heartbeat")
        if not request.path.endswith("/heartbeat"):
            return None
        return LOST if count == 1 else failure(401, "invalid heartbeat auth")

    assert [stated.held for stated in World(answer=losing).play("replay.concurrent").stated] == [None]


@pytest.mark.parametrize(("kept_seconds", "found"), [(90, True), (120, True), (170, True), (176, True), (180, False)])
def test_nonces_forgotten_while_their_timestamps_are_good_are_found(
    kept_seconds: int,
    found: bool,  # noqa: FBT001 - a table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[int, int] = {}

    def forgetful(_self: NonceMemory, key: int, _timestamp_ns: int, now: Instant) -> Reservation:
        since = kept.get(key)
        if since is not None and now.monotonic_ns - since < kept_seconds * SECOND_NS:
            return Reservation.REPLAYED
        kept[key] = now.monotonic_ns
        return Reservation.RESERVED

    monkeypatch.setattr(NonceMemory, "reserve", forgetful)
    assert bool(World().play("replay.ttl-edge").wrong) is found


def test_a_nonce_that_a_forger_can_burn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    verify = heartbeats.verify

    def hasty(state: State, now: Instant, worker_id: str, *rest: Any) -> Any:
        verified = verify(state, now, worker_id, *rest)
        if isinstance(verified, heartbeats.Refused) and worker_id in state.workers:
            nonce = json.loads(rest[-1])["nonce"]
            key = nonce_key(state.workers[worker_id].serial, nonce)
            state.nonces.reserve(key, now.wall_ns, now)
        return verified

    monkeypatch.setattr(heartbeats, "verify", hasty)
    (wrong,) = World().play("nonce.burn").wrong
    assert (wrong.expect.answer, wrong.status) == (Answer.ACCEPTED, 401)


@pytest.mark.parametrize(
    ("too_long", "wrong"),
    [
        (lambda nonce: len(nonce) > 129, [Answer.MALFORMED_FIELDS]),
        (lambda nonce: len(nonce) > 127, [Answer.ACCEPTED, Answer.ACCEPTED]),
        (lambda nonce: len(nonce.encode()) > 128, [Answer.ACCEPTED]),
        (lambda nonce: 128 < len(nonce) < 1000, [Answer.MALFORMED_FIELDS]),
    ],
)
def test_another_bound_for_nonces_is_found(
    too_long: Callable[[str], bool], wrong: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = heartbeats.malformed
    monkeypatch.setattr(heartbeats, "malformed", lambda nonce, _, metrics: too_long(nonce) or right("", "", metrics))
    assert [outcome.expect.answer for outcome in World().play("nonce.oversized").wrong] == wrong


def test_moved_field_borders_that_are_let_through_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "malformed", lambda _nonce, _policy_id, _metrics: False)
    world = World()
    world.with_victims(1)
    performance = world.shoot("nonce.delimiter", 40)
    assert len(performance.wrong) == 40
    assert any(outcome.got is Answer.ACCEPTED for outcome in performance.wrong)


@pytest.mark.parametrize(
    ("skew_seconds", "broken"),
    [
        (60, ["edge-accepted"]),
        (89, ["edge-accepted"]),
        (91, ["edge-timestamp-out-of-window"]),
        (300, ["edge-timestamp-out-of-window"]),
    ],
)
def test_another_window_is_found(skew_seconds: int, broken: list[str]) -> None:
    performance = World({"skew_seconds": skew_seconds}).play("skew.edge")
    assert [stated.rule for stated in performance.broken] == broken


def test_a_server_that_judges_by_another_clock_than_it_shows_is_found() -> None:
    """By what it shows, two hours ahead, every heartbeat was outside of the window, and two were accepted."""

    def odd(_api: Api, request: Request, now: Instant) -> Reply | None:
        if request.path != "/health":
            return None
        return Reply(200, f'{{"timestamp":"{format_timestamp(now.wall_ns + 7200 * SECOND_NS)}"}}'.encode(), JSON)

    performance = World(answer=odd).play("skew.edge")
    assert [stated.held for stated in performance.stated] == [None, False]


@pytest.mark.parametrize("body", [b"{}", b"healthy", b'{"timestamp":"today"}', b'{"timestamp":5}'])
def test_a_server_that_does_not_show_its_clock_is_not_accused(body: bytes) -> None:
    def silent(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return Reply(200, body, JSON) if request.path == "/health" else None

    for name in ("skew.edge", "replay.ttl-edge"):
        performance = World(answer=silent).play(name)
        assert "read the server's clock" in performance.unsettled
        assert not performance.wrong


@pytest.mark.parametrize(
    "lenient",
    [
        lambda text: parse_timestamp(text.upper()),
        lambda text: parse_timestamp(text.strip()),
        lambda text: parse_timestamp(text.replace(" ", "T")),
        lambda text: parse_timestamp(text.replace(",", ".")),
        lambda text: int(text) * SECOND_NS if text.isdigit() else parse_timestamp(text),
    ],
)
def test_a_lenient_reader_of_timestamps_is_found(
    lenient: Callable[[str], int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "parse_timestamp", lenient)
    assert World().play("skew.forms").wrong


def test_a_server_that_compares_decoded_signatures_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(expected: bytes, given: str) -> bool:
        try:
            return b64decode(expected) == b64decode(given + "==")  # drops what is not of the alphabet, as many do
        except binascii.Error:
            return matches(expected, given)

    monkeypatch.setattr(heartbeats, "matches", lenient)
    world = World()
    world.with_victims(2)
    assert any(outcome.got is Answer.ACCEPTED for outcome in world.shoot("signature.encoding", 60).wrong)


def test_a_server_that_compares_only_a_signatures_beginning_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "matches", lambda expected, given: expected.startswith(given.encode()))
    world = World()
    world.with_victims(2)
    assert any(outcome.got is Answer.ACCEPTED for outcome in world.shoot("signature.forged", 60).wrong)


@pytest.mark.parametrize("answer", [failure(404, "worker not found"), failure(401, "unknown worker")])
def test_a_server_that_tells_unknown_workers_from_wrong_tokens_is_found(answer: Reply) -> None:
    def answering(api: Api, request: Request, _now: Instant) -> Reply | None:
        parts = request.path.split("/")
        return answer if parts[-1] == "heartbeat" and parts[-2] not in api.state.workers else None

    world = World(answer=answering)
    world.with_victims(1)
    assert len(world.shoot("credential.unknown-worker", 10).wrong) == 10


def test_a_token_whose_near_misses_take_longer_is_found() -> None:
    """A comparison that ends at the first wrong digit, as slow as it would have to be to be seen."""
    world = World()
    world.with_victims(1)
    (victim,) = world.context.victims
    beginning = victim.token.decode()[:-1]

    def early(_api: Api, request: Request, _now: Instant) -> Reply | None:
        if dict(request.headers)["x-machine-token"].startswith(beginning):
            world.now_ns += 50_000
        return None

    world.answer = early
    (stated,) = world.shoot("credential.guess", 2400).stated
    assert (stated.rule, stated.held) == ("timing", False)


@pytest.mark.parametrize("beyond_ns", [SECOND_NS // 4, SECOND_NS, 60 * SECOND_NS])
def test_a_certificate_that_lives_a_little_longer_than_it_says_is_found(
    beyond_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = machines.certificate_at

    def lasting(at: Instant, certificate_id: str, issued_ns: int, expires_ns: int, signature: str) -> Certificate:
        certificate = right(at, certificate_id, issued_ns, expires_ns, signature)
        until_ns = certificate.expires_monotonic_ns + beyond_ns
        return msgspec.structs.replace(certificate, expires_monotonic_ns=until_ns)

    monkeypatch.setattr(machines, "certificate_at", lasting)
    performance = World({"certificate_life_seconds": 20}).play("certificate.expired")
    assert [outcome.expect.answer for outcome in performance.wrong] == [
        Answer.INVALID_CERTIFICATE,
        Answer.POLICY_INVALID_CERTIFICATE,
    ]


def test_a_certificate_that_is_good_for_any_machine_is_found() -> None:
    def shared(api: Api, request: Request, now: Instant) -> Reply | None:
        headers = dict(request.headers)
        known = {worker.certificate.certificate_id for worker in api.state.workers.values()}
        if headers.get("x-machine-certificate-id") not in known:
            return None
        worker = api.state.workers[request.path.split("/")[4]]
        headers["x-machine-certificate-id"] = worker.certificate.certificate_id
        return api.handle(msgspec.structs.replace(request, headers=tuple(headers.items())), now)

    performance = World(answer=shared).play("certificate.foreign")
    assert [outcome.got for outcome in performance.wrong] == [Answer.ACCEPTED] * 4


@pytest.mark.parametrize(
    ("status", "served", "healthy", "held"),
    [(0, 500, False, False), (500, 500, False, None), (0, 1, True, False), (0, 500, True, None)],
)
def test_a_server_that_bogus_policy_fetches_bring_down_is_found(
    status: int,
    served: int,
    healthy: bool,  # noqa: FBT001 - a table
    held: bool | None,  # noqa: FBT001 - a table
) -> None:
    """Silence is proof, but for the health page's; that it is out of order may have other reasons.

    One heartbeat without an answer, after fetches that had some, the outage checker looks into.
    """
    fetched = 0

    def dying(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal fetched
        fetched += request.path.endswith("/policy")
        if fetched <= served or (healthy and request.path == "/health"):
            return None
        return Reply(status, b"", JSON) if status else LOST

    assert [stated.held for stated in World(answer=dying).play("policy-fetch.bogus").stated] == [held]


def test_a_revoke_that_takes_effect_only_after_its_answer_is_found() -> None:
    waiting: list[Request] = []
    heard = 0

    def eventually(api: Api, request: Request, now: Instant) -> Reply | None:
        nonlocal heard
        if request.path.endswith("/revoke"):
            waiting.append(request)
            consent = api.state.consents[request.path.split("/")[4]]
            return success({"id": consent.id, "revoked_at": format_timestamp(now.wall_ns)})
        heard += bool(waiting)
        if heard > RACING + 2 and waiting:
            api.handle(waiting.pop(), now)
        return None

    performance = World(answer=eventually).play("revoke.race")
    assert [stated.rule for stated in performance.broken] == ["revoked-at-once"]
    assert [outcome.got for outcome in performance.wrong] == [Answer.ACCEPTED] * 2


def test_a_revoke_that_moves_the_time_of_the_first_is_found() -> None:
    def moving(api: Api, request: Request, now: Instant) -> Reply | None:
        if request.path.endswith("/revoke"):
            api.state.consents[request.path.split("/")[4]].revoked_ns = None
        return api.handle(request, now)

    assert [stated.rule for stated in World(answer=moving).play("revoke.twice").broken] == ["first-time-kept"]


@pytest.mark.parametrize("ending", ["/heartbeat", "/policy"])
def test_a_machine_that_may_work_before_anybody_has_consented_is_found(ending: str) -> None:
    def trusting(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return success({"accepted": True}) if request.path.endswith(ending) else None

    performance = World(answer=trusting).play("consent.none")
    assert {outcome.got for outcome in performance.wrong} == {Answer.ACCEPTED}


def test_a_consent_that_comes_back_to_life_is_found() -> None:
    def forgiving(api: Api, request: Request, now: Instant) -> Reply | None:
        if request.method == "POST" and request.path.endswith("/consents"):
            body = json.loads(request.body)
            api.state.workers[body["worker_id"]].consents.pop(body["policy_id"], None)
        return api.handle(request, now)

    performance = World(answer=forgiving).play("consent.after-revoke")
    assert [outcome.got for outcome in performance.wrong] == [Answer.ACCEPTED] * 2


def test_a_consent_for_another_owners_machine_that_takes_effect_is_found() -> None:
    def careless(api: Api, request: Request, now: Instant) -> Reply | None:
        if request.method == "POST" and request.path.endswith("/consents"):
            body = json.loads(request.body)
            worker = api.state.workers[body["worker_id"]]
            if body["owner_id"] != worker.owner.id:
                consent = Consent("con_x", body["owner_id"], worker.id, body["policy_id"], "", now.wall_ns)
                worker.consents[body["policy_id"]] = consent
                return success({"id": "con_x"}, 201)
        return None

    performance = World(answer=careless).play("consent.foreign")
    assert [outcome.got for outcome in performance.wrong] == [Answer.ACCEPTED]
    assert [stated.rule for stated in performance.broken] == ["keeps-its-policy"]


@pytest.mark.parametrize(("status", "wrong"), [(401, 0), (500, 0), (404, 1)])
def test_a_server_that_refuses_changed_metrics_is_right_as_well(status: int, wrong: int) -> None:
    def careful(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return failure(status, "invalid heartbeat auth") if b"99.9" in request.body else None

    performance = World(answer=careful).play("weakness.unsigned-metrics")
    assert len(performance.wrong) == wrong
    assert not performance.broken
    assert [stated.held for stated in performance.stated] == ([True] if status == 401 else [])
