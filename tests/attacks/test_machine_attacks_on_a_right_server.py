"""Every attack by machines against an API in process that is right: refused, and with no effect but those recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply, Request
from simulator.attacks import CATALOGUE
from simulator.attacks.acting import heartbeat
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.credential import Guess
from simulator.attacks.defences import defences_of
from simulator.attacks.nonce import Delimiter
from simulator.attacks.server_clock import read_server_clock
from simulator.attacks.signature import SignatureEncoding
from simulator.attacks.skew import REFUSED_FORMS
from simulator.attacks.timing import SAMPLES_MIN
from simulator.contract.answers import ALTERNATIVES, Answer
from tests.attacks.effects import (
    assert_effects_are_as_recorded,
    assert_rows_name_what_their_requests_carry,
    reasons_counted,
)
from tests.attacks.playing import STEP_NS, World
from tests.core.server_under_test import hmac_base64

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from simulator.attacks.script import Script
    from simulator.attacks.server_clock import ServerClock

pytestmark = pytest.mark.long
FAMILIES = {
    "replay", "nonce", "skew", "signature", "credential", "certificate", "policy-fetch", "revoke", "consent",
    "weakness",
}  # fmt: skip
MINE = [
    name
    for name, attack in CATALOGUE.items()
    if name.partition(".")[0] in FAMILIES and getattr(attack, "sandbox", None) is None
]
SHOTS = [name for name in MINE if issubclass(CATALOGUE[name], ShotAttack)]
SCRIPTS = [name for name in MINE if name not in SHOTS]
REFUSALS = {
    "replay.concurrent": {"nonce_replayed": 7},
    "replay.own-connection": {"nonce_replayed": 3},
    "replay.cross-worker": {"invalid_machine_token": 2, "invalid_heartbeat_signature": 2},
    "replay.ttl-edge": {"nonce_replayed": 1},
    "nonce.burn": {"invalid_heartbeat_signature": 1},
    "nonce.oversized": {"malformed_heartbeat_fields": 6},
    "nonce.flood": {},
    "skew.edge": {"timestamp_out_of_window": 2},
    "skew.forms": {"invalid_timestamp": len(REFUSED_FORMS) - 1, "missing_heartbeat_fields": 1},
    "signature.reused-kind": {},
    "certificate.expired": {
        "invalid_or_expired_machine_cert": 1,
        "invalid_or_expired_machine_cert_policy_fetch": 1,
    },
    "certificate.foreign": {
        "invalid_or_expired_machine_cert": 2,
        "invalid_or_expired_machine_cert_policy_fetch": 2,
    },
    "policy-fetch.bogus": {
        "missing_worker_policy_auth_headers": 429,
        "invalid_machine_token_policy_fetch": 428,
        "invalid_or_expired_machine_cert_policy_fetch": 143,
    },
    "revoke.race": {},
    "revoke.twice": {},
    "consent.none": {},
    "consent.after-revoke": {},
    "consent.foreign": {},
    "consent.newest": {},
    "weakness.unsigned-metrics": {},
}
"""The auth failures that one attempt of each script leaves."""
DENIALS = {
    "signature.reused-kind": ["invalid_consent_signature", "invalid_policy_signature"],
    "consent.after-revoke": ["consent_revoked"],
    "consent.foreign": ["active_policy_not_found_for_owner", "worker_not_found_for_owner"],
}
CLAIMS = {
    "replay.concurrent": ["one-of-copies"],
    "consent.newest": ["its-policy", "its-policy"],
    "skew.edge": ["edge-accepted", "edge-timestamp-out-of-window"],
    "nonce.flood": ["limited"],
    "policy-fetch.bogus": ["stays-live"],
    "revoke.race": ["revoked-at-once"],
    "revoke.twice": ["first-time-kept"],
    "consent.foreign": ["keeps-its-policy"],
    "weakness.unsigned-metrics": ["unsigned-metrics"],
}
LIMITED = {"nonce.flood": {"rate_limit_burst": 20, "rate_limit_refill_per_second": 5.0}}


@pytest.mark.parametrize("name", SHOTS)
def test_every_shot_is_refused_as_the_catalogue_says_and_leaves_only_its_failure(name: str) -> None:
    world = World()
    world.with_victims(3)
    performance = world.shoot(name, 60)
    assert len(performance.outcomes) == 60
    assert all(outcome.right for outcome in performance.outcomes)
    assert not performance.broken
    assert sum(reasons_counted(world).values()) == 60
    assert_effects_are_as_recorded(world)
    assert_rows_name_what_their_requests_carry(world)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_script_plays_to_its_end_and_leaves_what_it_says(name: str, seed: int) -> None:
    world = World(LIMITED.get(name), seed=seed)
    performance = world.play(name)
    assert performance.unsettled == ""
    assert not performance.wrong
    assert [stated.rule for stated in performance.stated] == CLAIMS.get(name, [])
    assert all(stated.held is True for stated in performance.stated), performance.stated
    assert reasons_counted(world) == REFUSALS[name]
    denials = sorted(one.reason for one in world.history.effects if one.type == "owner_access_denied")
    assert denials == DENIALS.get(name, [])
    assert_effects_are_as_recorded(world)
    assert_rows_name_what_their_requests_carry(world)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_machine_that_was_heard_from_goes_on_as_an_honest_one(name: str) -> None:
    """Else it would fall silent, and the stale alert would be the harness's doing."""
    world = World(LIMITED.get(name))
    performance = world.play(name)
    workers = world.api.state.workers
    joined = {machine.worker_id for machine in performance.joined}
    assert {worker.id for worker in workers.values() if worker.heard_monotonic_ns is not None} <= joined
    assert len(joined) == len(performance.joined)
    for machine in performance.joined:
        if world.now_ns >= machine.certificate_until_ns:
            world.rotate(machine)  # as any machine does before it beats
        assert world.send(heartbeat(world.context, machine, Answer.ACCEPTED, "it is honest", client=99)).right


def test_every_script_stays_within_what_one_address_may_ask_for() -> None:
    """At the contract's own limit nothing but the flood is limited; what is limited is not judged."""
    limit = {"rate_limit_burst": 20, "rate_limit_refill_per_second": 5.0}
    for name in SCRIPTS:
        performance = World(limit).play(name)
        limited = [outcome for outcome in performance.outcomes if outcome.got is Answer.RATE_LIMITED]
        assert bool(limited) is (name == "nonce.flood"), name
        assert not performance.unsettled


def test_the_refused_forms_of_timestamps_are_those_of_the_contracts_vectors() -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "timestamps.json").read_bytes())
    assert sorted(REFUSED_FORMS) == sorted(vector["input"] for vector in vectors if not vector["valid"])


def test_every_form_of_a_moved_field_border_is_tried_and_signed_as_it_is_read() -> None:
    """So that nothing but the forbidden character stands in the way of its acceptance."""
    world = World()
    world.with_victims(1)
    (victim,) = world.context.victims
    forms = set()
    for _ in range(400):
        shot = Delimiter().shot(victim, world.moment, world.rng)
        body = json.loads(shot.request.partition(b"\r\n\r\n")[2])
        text = "|".join([victim.worker_id, body["timestamp"], body["nonce"], body["policy_id"]])
        assert body["signature"] == hmac_base64(victim.token.decode(), text)
        nonce = body["nonce"].replace(shot.nonce.hex(), "{nonce}").replace(victim.policy_id, "{policy}")
        forms.add((nonce, body["policy_id"].replace(victim.policy_id, "{policy}")))
    assert forms == set(Delimiter.forms)


def test_every_other_writing_of_a_signature_is_tried_and_none_is_the_standard_one() -> None:
    """The URL-safe one is the same for a quarter of all signatures: those are not used."""
    world = World()
    world.with_victims(1)
    (victim,) = world.context.victims
    writings: set[str] = set()
    for _ in range(200):
        shot = SignatureEncoding().shot(victim, world.moment, world.rng)
        body = json.loads(shot.request.partition(b"\r\n\r\n")[2])
        text = "|".join([victim.worker_id, body["timestamp"], body["nonce"], body["policy_id"]])
        signature = hmac_base64(victim.token.decode(), text)
        assert body["signature"] != signature
        writings.add(_writing(body["signature"], signature))
    assert writings == {"hex", "HEX", "url-safe", "unpadded", "leading", "trailing", "inside"}


def _writing(written: str, standard: str) -> str:
    if len(written) == 64:
        return "hex" if written == written.lower() else "HEX"
    if written == standard.rstrip("="):
        return "unpadded"
    if written == standard.replace("+", "-").replace("/", "_"):
        return "url-safe"
    assert "".join(written.split()) == standard
    return "leading" if written[0] == " " else "trailing" if written[-1] == "\n" else "inside"


def test_an_expiry_that_the_run_does_not_see_is_not_tried_and_sends_nothing() -> None:
    world = World()
    world.context.end_ns = 890 * SECOND_NS
    performance = world.play("certificate.expired")
    assert [(stated.rule, stated.held) for stated in performance.stated] == [("time", None)]
    assert not performance.outcomes


def test_how_long_certificates_live_is_taken_from_the_fleets_own() -> None:
    world = World({"certificate_life_seconds": 20})
    world.with_victims(1)
    world.context.end_ns = 30 * SECOND_NS
    performance = world.play("certificate.expired")
    assert not performance.stated
    assert [outcome.status for outcome in performance.outcomes[-2:]] == [401, 401]
    assert world.now_ns < 21 * SECOND_NS


def test_at_the_beginning_of_a_run_it_is_taken_from_the_servers_settings() -> None:
    world = World({"certificate_life_seconds": 20})
    world.context.end_ns = 30 * SECOND_NS
    world.context.defences = defences_of({"MACHINE_CERT_TTL_SECONDS": "20"})
    performance = world.play("certificate.expired")
    assert not performance.stated
    assert [outcome.status for outcome in performance.outcomes[-2:]] == [401, 401]


def test_a_replay_at_the_edge_that_the_run_does_not_see_is_not_tried_and_sends_nothing() -> None:
    world = World()
    world.now_ns = 100 * SECOND_NS
    world.context.end_ns = 279 * SECOND_NS
    performance = world.play("replay.ttl-edge")
    assert [(stated.rule, stated.held) for stated in performance.stated] == [("time", None)]
    assert not performance.outcomes


def test_a_machine_that_waits_for_its_replay_rotates_its_certificate_as_any_other() -> None:
    world = World({"certificate_life_seconds": 20})
    performance = world.play("replay.ttl-edge")
    assert not performance.unsettled
    assert not performance.wrong
    assert reasons_counted(world) == REFUSALS["replay.ttl-edge"]
    assert len(world.history.certificates) > 177 // 20
    assert_effects_are_as_recorded(world)


@pytest.mark.parametrize("cut_ns", [1, SECOND_NS // 1000, SECOND_NS])
@pytest.mark.parametrize("ahead_ns", [-3 * SECOND_NS, 0, 123_456_789])
def test_how_far_the_servers_clock_is_off_is_bounded_by_the_round_trip_and_what_it_cuts_off(
    cut_ns: int, ahead_ns: int
) -> None:
    def cut(_api: Api, _request: Request, now: Instant) -> Reply:
        text = format_timestamp(now.wall_ns // cut_ns * cut_ns)
        return Reply(200, f'{{"timestamp":"{text}"}}'.encode(), (("content-type", "application/json"),))

    for past_ns in (7, 400_000_007, 999_000_007):
        world = World(answer=cut, server_ahead_ns=ahead_ns)
        world.now_ns = past_ns
        clocks: list[ServerClock] = []

        def script(world: World = world, clocks: list[ServerClock] = clocks) -> Script[None]:
            clocks.append((yield from read_server_clock(world.context)))

        assert not world.play_script(script()).unsettled
        (clock,) = clocks
        assert clock.low_ns <= ahead_ns <= clock.high_ns
        assert 0 <= clock.high_ns - clock.low_ns - (2 * STEP_NS + cut_ns) <= SECOND_NS


@pytest.mark.parametrize("difference_ns", [-30 * SECOND_NS, 0, 400_000_000, 30 * SECOND_NS])
def test_the_edge_is_where_the_servers_own_clock_has_it(difference_ns: int) -> None:
    """Both attacks at the window's edge are right about a server whose clock differs from the harness's."""
    for name in ("skew.edge", "replay.ttl-edge"):
        world = World(server_ahead_ns=difference_ns)
        performance = world.play(name)
        assert not performance.unsettled
        assert not performance.wrong
        assert not performance.broken
        assert_effects_are_as_recorded(world)


@pytest.mark.parametrize("cut_ns", [SECOND_NS, SECOND_NS // 10, SECOND_NS // 1000])
@pytest.mark.parametrize("past_ns", [SECOND_NS * part // 10 for part in range(10)])
def test_a_clock_that_is_shown_cut_off_accuses_nobody(cut_ns: int, past_ns: int) -> None:
    """What is cut off is unknown, up to a whole second, so that less is certain."""

    def cut(_api: Api, request: Request, now: Instant) -> Reply | None:
        if request.path != "/health":
            return None
        text = format_timestamp(now.wall_ns // cut_ns * cut_ns)
        return Reply(200, f'{{"timestamp":"{text}"}}'.encode(), (("content-type", "application/json"),))

    for name in ("skew.edge", "replay.ttl-edge"):
        world = World(answer=cut, seed=past_ns)
        world.now_ns = past_ns
        performance = world.play(name)
        assert not performance.unsettled
        assert not performance.wrong
        assert not performance.broken
        assert_effects_are_as_recorded(world)


def test_a_flood_that_no_limit_stops_is_undecided() -> None:
    performance = World().play("nonce.flood")
    assert [(stated.rule, stated.held) for stated in performance.stated] == [("limited", None)]
    assert not performance.wrong


def test_half_of_the_guesses_are_all_but_right_and_their_nonces_tell() -> None:
    world = World()
    world.with_victims(1)
    (victim,) = world.context.victims
    true, near = victim.token.decode(), 0
    for _ in range(400):
        shot = Guess().shot(victim, world.moment, world.rng)
        token = shot.request.partition(b"X-Machine-Token: ")[2][:48].decode()
        assert token != true
        assert (token[:-1] == true[:-1]) is bool(shot.nonce[0] & 1)
        near += shot.nonce[0] & 1
    assert 150 < near < 250


def test_a_few_guesses_say_nothing_about_timing() -> None:
    world = World()
    world.with_victims(1)
    (stated,) = world.shoot("credential.guess", 2 * SAMPLES_MIN - 200).stated
    assert (stated.rule, stated.held) == ("timing", None)


def test_guesses_that_take_equally_long_are_not_told_apart() -> None:
    world = World()
    world.with_victims(1)
    (stated,) = world.shoot("credential.guess", 2 * SAMPLES_MIN + 200).stated
    assert (stated.rule, stated.held) == ("timing", True)


def test_known_weaknesses_are_named_and_no_more_than_that() -> None:
    assert [name for name in MINE if CATALOGUE[name].weakness] == ["weakness.unsigned-metrics"]
    assert ALTERNATIVES[Answer.UNCOVERED] == {Answer.ACCEPTED, Answer.INVALID_SIGNATURE}
