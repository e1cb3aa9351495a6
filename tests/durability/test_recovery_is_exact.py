"""A state made again from a snapshot and the changes after it is the state that was there, at every moment."""

from __future__ import annotations

from base64 import b64decode
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.changes import encode_changes
from reference_server.core.recovery import begin, name_nonces, recover, replay, restore
from reference_server.core.snapshots import snapshot
from reference_server.wire.own_sections import load_state_file
from reference_server.wire.signing import sign_text
from reference_server.wire.state_file import StateFile, StateFileError, read_state
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply, Request
from tests.http.twins import API_TOKEN, START, make_api
from tests.support.tiers import examples

if TYPE_CHECKING:
    from reference_server.core.state import State
    from reference_server.operations.api import Api

SEGMENT = "00000001-0123456789abcdef"
OWNERS = ("ada", "ben", "céline <&>")
BAD = "bad"


def later(now: Instant, seconds: float) -> Instant:
    step_ns = int(seconds * SECOND_NS)
    return Instant(now.wall_ns + step_ns, now.monotonic_ns + step_ns)


class Story:
    """An API with a journal, and everything that can happen to it; the groups of changes are kept as they come."""

    def __init__(self, **given_settings: Any) -> None:
        self.api: Api = make_api(audit_events_per_stream=3, **given_settings)
        begin(self.api.state)
        self.api.state.changes = []
        self.now = START
        self.groups: list[bytes] = []
        self.machines: list[tuple[str, str, str, str]] = []
        self.policies: list[tuple[str, str]] = []
        self.consents: list[tuple[str, str, str]] = []
        self.sent: list[tuple[str, str, str, bytes]] = []
        self.accepted: list[tuple[str, str, str, bytes]] = []
        self._nonces = count()

    @property
    def state(self) -> State:
        return self.api.state

    def commit(self) -> None:
        """Have everything up to now be one group."""
        changes = self.state.changes or []
        self.state.changes = []
        if changes:
            self.groups.append(encode_changes(changes))

    def ask(self, path: str, body: dict[str, Any] | None, owner_id: str, *more: tuple[str, str]) -> Any:
        """Send a request as an owner; the answer is what was decided, whether or not it would be held back."""
        owner = (("authorization", f"Bearer {API_TOKEN}"), ("x-owner-id", owner_id.encode().decode("latin-1")))
        content = b"" if body is None else msgspec.json.encode(body)
        reply = self.api.handle(Request("POST", f"/api/v1{path}", headers=(*owner, *more), body=content), self.now)
        return msgspec.json.decode(decided(reply).body).get("data")

    def register(self, owner_id: str) -> None:
        data = self.ask("/machines/register", {"owner_id": owner_id, "name": "rack <1>"}, owner_id)
        certificate_id = data["machine_certificate"]["certificate_id"]
        self.machines.append((data["machine"]["id"], data["machine_token"], certificate_id, owner_id))

    def rotate(self, at: int, token: str = "") -> None:
        worker_id, right, _, owner_id = self.machines[at]
        path = f"/machines/{worker_id}/certificate"
        data = self.ask(path, None, owner_id, ("x-machine-token", token or right))
        if data is not None:
            self.machines[at] = (worker_id, right, data["certificate_id"], owner_id)

    def make_policy(self, owner_id: str, signature: str = "") -> None:
        text = sign_text(API_TOKEN.encode(), f'{owner_id}|{{"max_cpu_percent":12.5}}').decode()
        body = {"owner_id": owner_id, "rules": {"max_cpu_percent": 12.5}, "signature": signature or text}
        data = self.ask("/policies", body, owner_id)
        if data is not None:
            self.policies.append((data["id"], owner_id))
            self.ask(f"/policies/{data['id']}/activate", None, owner_id)

    def consent(self, machine: int, policy: int) -> None:
        worker_id, _, _, owner_id = self.machines[machine]
        policy_id, _ = self.policies[policy]
        signature = sign_text(API_TOKEN.encode(), f"{owner_id}|{worker_id}|{policy_id}").decode()
        body = {"owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id, "signature": signature}
        data = self.ask("/consents", body, owner_id)
        if data is not None:
            self.consents.append((data["id"], worker_id, policy_id))

    def revoke(self, at: int, owner_id: str) -> None:
        self.ask(f"/consents/{self.consents[at][0]}/revoke", None, owner_id)

    def beat(self, machine: int, policy: int, ahead_seconds: int = 0) -> int:
        worker_id, token, certificate_id, _ = self.machines[machine]
        nonce = f"nonce {next(self._nonces)}"
        timestamp = format_timestamp(self.now.wall_ns + ahead_seconds * SECOND_NS)
        policy_id = self.policies[policy][0]
        signature = sign_text(token.encode(), f"{worker_id}|{timestamp}|{nonce}|{policy_id}").decode()
        body = {"timestamp": timestamp, "nonce": nonce, "policy_id": policy_id, "metrics": {}, "signature": signature}
        self.sent.append((worker_id, token, certificate_id, msgspec.json.encode(body)))
        return self.send(self.api, *self.sent[-1])

    def send(self, api: Api, worker_id: str, token: str, certificate_id: str, body: bytes) -> int:
        reply = decided(api.handle_heartbeat(worker_id, token, certificate_id, body, "127.0.0.1", self.now))
        if reply.status == 200:
            self.accepted.append((worker_id, token, certificate_id, body))
        return reply.status


def decided(reply: Reply) -> Reply:
    """Return the answer behind one that is held back."""
    held = getattr(reply, "decided", reply)
    assert isinstance(held, Reply)
    return held


def steps_of(story: Story, data: st.DataObject) -> None:
    """Have one thing happen, right or wrong."""
    owner_id = data.draw(st.sampled_from(OWNERS))
    machine = data.draw(st.integers(0, max(0, len(story.machines) - 1)))
    policy = data.draw(st.integers(0, max(0, len(story.policies) - 1)))
    wrong = data.draw(st.booleans())
    kinds = ["register", "policy", "unknown"]
    kinds += ["rotate"] if story.machines else []
    kinds += ["consent", "beat", "beat", "beat"] if story.machines and story.policies else []
    kinds += ["revoke"] if story.consents else []
    kinds += ["replay"] if story.sent else []
    match data.draw(st.sampled_from(kinds)):
        case "register":
            story.register(owner_id)
        case "policy":
            story.make_policy(owner_id, BAD if wrong else "")
        case "unknown":
            story.send(story.api, "wrk_unknown", "t", "c", b'{"timestamp":"2026"}')
        case "rotate":
            story.rotate(machine, BAD if wrong else "")
        case "consent":
            story.consent(machine, policy)
        case "beat":
            story.beat(machine, policy)
        case "revoke":
            at = data.draw(st.integers(0, len(story.consents) - 1))
            story.revoke(at, data.draw(st.sampled_from(OWNERS)))
        case "replay":
            story.send(story.api, *data.draw(st.sampled_from(story.sent)))


def dump(state: State, now: Instant) -> bytes:
    """Say all there is to say of a state at a moment, with what is over by then left out."""
    state.nonces.expire(now)
    state.failures.recent(now.monotonic_ns)
    return b"".join(snapshot(state, now, SEGMENT))


def apart(content: bytes) -> tuple[dict[str, Any], set[bytes]]:
    """Return a snapshot's content without its nonces, and those: a restart may only keep them for longer."""
    shown: dict[str, Any] = msgspec.json.decode(content)
    own = shown["reference_server"]
    names = b"".join(b64decode(one["names"]) for one in own.pop("nonces"))
    own.pop("horizon_ns")
    shown.pop("checksum")
    return shown, {names[at : at + 8] for at in range(0, len(names), 8)}


def empty_like(story: Story) -> State:
    state = story.api.empty_state()
    state.entropy = SeededEntropy("not the same")
    begin(state)
    return state


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_the_journal_makes_every_state_again_at_every_prefix(data: st.DataObject) -> None:
    story = Story()
    moments: list[tuple[int, Instant, bytes, int]] = []
    for _ in range(data.draw(st.integers(5, 25))):
        story.now = later(story.now, data.draw(st.sampled_from([0, 0.5, 20, 89, 400])))
        steps_of(story, data)
        if data.draw(st.booleans()):
            story.commit()
            content = dump(story.state, story.now)
            moments.append((len(story.groups), story.now, content, len(story.state.nonces)))
    for groups, now, expected, nonces in moments:
        again = empty_like(story)
        name_nonces(again, story.state.nonce_key)
        replay(again, story.groups[:groups], now)
        assert dump(again, now) == expected
        assert len(again.nonces) == nonces


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.data())
def test_a_snapshot_and_what_came_after_it_are_the_state(data: st.DataObject) -> None:
    story = Story()
    at = data.draw(st.integers(0, 12))
    kept, groups = b"", 0
    for number in range(at + data.draw(st.integers(1, 12))):
        story.now = later(story.now, data.draw(st.sampled_from([0, 0.5, 20, 89, 400])))
        if number == at:
            kept, groups = b"".join(snapshot(story.state, story.now, SEGMENT)), len(story.groups)
        steps_of(story, data)
        story.commit()
    expected = dump(story.state, story.now)
    again = story.api.empty_state()
    restore(again, load_state_file(kept), story.now)
    replay(again, story.groups[groups:], story.now)
    (shown, nonces), (right, live) = apart(dump(again, story.now)), apart(expected)
    assert shown == right
    assert nonces >= live
    plain = read_state(expected)
    assert isinstance(plain, StateFile)
    assert plain.problems == [], "a plain reader of schema 1 takes it"
    story.api.state = again
    for sent in story.accepted:  # one refused for lack of consent burnt no nonce, and may be right by now
        assert story.send(story.api, *sent) != 200, "whatever was accepted before is refused after"


@pytest.mark.parametrize("seconds", [0, 100, 1000])
def test_after_a_restart_nothing_genuine_is_refused_and_no_replay_let_in(seconds: int) -> None:
    story = Story(certificate_life_seconds=2000)
    story.register("ada")
    story.make_policy("ada")
    story.consent(0, 0)
    assert [story.beat(0, 0), story.beat(0, 0)] == [200, 200]
    story.commit()
    journal = MemoryJournal(Storage(b"".join(snapshot(story.state, story.now, "00000001")), {"00000001": []}))
    story.now = later(story.now, 5)
    assert story.beat(0, 0) == 200
    story.commit()
    journal.storage.segments["00000001"] = story.groups[-1:]
    story.now = later(story.now, seconds)
    story.api.state = story.api.empty_state()
    assert not recover(story.state, journal, story.now).fresh
    for sent in story.sent:
        assert story.send(story.api, *sent) == 401
    assert story.beat(0, 0) == 200
    (worker,) = story.state.workers.values()
    assert worker.certificate.expires_monotonic_ns - story.now.monotonic_ns == (2000 - 5 - seconds) * SECOND_NS


def test_a_clock_that_is_set_back_makes_no_certificate_live_longer() -> None:
    story = Story(certificate_life_seconds=900)
    story.register("ada")
    story.commit()
    kept = b"".join(snapshot(story.state, story.now, SEGMENT))
    restarted = Instant(later(story.now, -3600).wall_ns, 77)
    for state, groups in ((empty_like(story), story.groups), (story.api.empty_state(), [])):
        if not groups:
            restore(state, load_state_file(kept), restarted)
        replay(state, groups, restarted)
        (worker,) = state.workers.values()
        assert worker.certificate.expires_monotonic_ns - restarted.monotonic_ns == 900 * SECOND_NS


def test_nonces_of_a_snapshot_are_not_forgotten_so_early_that_a_slow_clock_is_refused() -> None:
    """With the shortest time to live: a machine 89 s ahead and then, after a restart, one 89 s behind."""
    story = Story(nonce_ttl_seconds=180)
    story.register("ada")
    story.make_policy("ada")
    story.consent(0, 0)
    assert story.beat(0, 0) == 200
    story.now = later(story.now, 44)
    assert story.beat(0, 0, ahead_seconds=89) == 200
    story.commit()
    kept = b"".join(snapshot(story.state, story.now, SEGMENT))
    story.api.state = story.api.empty_state()
    restore(story.state, load_state_file(kept), story.now)
    story.now = later(story.now, 137)
    assert story.beat(0, 0, ahead_seconds=-89) == 200


def test_a_snapshot_whose_journal_is_gone_lets_no_replay_in() -> None:
    """What came after it may hold any nonce up to now (contract §4, replay horizon)."""
    story = Story()
    story.register("ada")
    story.make_policy("ada")
    story.consent(0, 0)
    story.commit()
    storage = Storage(b"".join(snapshot(story.state, story.now, "00000001")))
    assert story.beat(0, 0) == 200
    story.api.state = story.api.empty_state()
    recovered = recover(story.state, MemoryJournal(storage), story.now)
    assert recovered.fresh
    assert "no journal" in recovered.warning
    assert story.send(story.api, *story.sent[0]) == 401
    story.now = later(story.now, 91)
    assert story.beat(0, 0) == 200, "it heals within the skew"


def test_recent_auth_failures_survive_a_restart() -> None:
    story = Story()
    for _ in range(3):
        story.send(story.api, "wrk_unknown", "t", "c", b'{"timestamp":"2026"}')
    story.commit()
    story.now = later(story.now, 299)
    again = empty_like(story)
    replay(again, story.groups, story.now)
    assert again.failures.recent(story.now.monotonic_ns) == 3
    assert again.failures.recent(later(story.now, 2).monotonic_ns) == 0
    assert again.failures.unattributed == 3


def test_a_change_that_does_not_go_with_the_state_is_refused() -> None:
    story = Story()
    story.register("ada")
    story.commit()
    story.rotate(0)
    story.commit()
    with pytest.raises(StateFileError, match="belong together"):
        replay(empty_like(story), story.groups[1:], story.now)
