"""Heartbeats that come alone in a round: verified, then decided, then answered together, and as if one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from reference_server.core import heartbeats
from reference_server.core.bounds import StateBounds
from reference_server.limits import LANE_DECIDED_TOGETHER
from reference_server.wire.values import Request
from tests.http.lane_by_hand import Lane, statuses
from tests.http.twins import START, as_owner, ask, enrol, make_bounded_api, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.http.twins import Machine

NOT_JSON = b"{"


async def test_heartbeats_that_came_alone_are_verified_then_decided_then_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as are bounded, and all of a round by its end."""
    lane = Lane(rate_limit_burst=999)
    machine = enrol(lane.api)
    clients = [lane.connect("192.0.2.1") for _ in range(LANE_DECIDED_TOGETHER + 3)]
    steps = ""

    def noted(step: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def does_so(*arguments: Any) -> Any:
            nonlocal steps
            steps += step
            return does(*arguments)

        return does_so

    monkeypatch.setattr(lane.api, "verify_heartbeat", noted("v", lane.api.verify_heartbeat))
    monkeypatch.setattr(lane.api, "settle_heartbeat", noted("d", lane.api.settle_heartbeat))
    monkeypatch.setattr(lane.lane, "_send", noted("s", lane.lane._send))
    for number, client in enumerate(clients):
        client.send(written(machine.heartbeat(f"n{number}")))
    await lane.play()
    assert steps == "".join(step * LANE_DECIDED_TOGETHER for step in "vds") + "vvvdddsss"
    assert [statuses(client) for client in clients] == [[200]] * len(clients)
    lane.close()


def mixed_heartbeats(machine: Machine, revoked: Machine) -> list[bytes]:
    """Write heartbeats of which each meets another check, and some what others before them left."""

    def sent(by: Machine, body: bytes, **changed: str) -> bytes:
        by = by._replace(**changed)
        return written(Request("POST", by.path, headers=by.headers, body=body))

    return [
        sent(machine, machine.body("first")),
        sent(machine, machine.body("first")),
        sent(machine, machine.body("a", signature="forged")),
        sent(machine, machine.body("first")),
        sent(machine, NOT_JSON),
        sent(machine, machine.body("b", policy_id="")),
        sent(machine, machine.body("c|")),
        sent(machine, machine.body("d", timestamp="yesterday")),
        sent(machine, machine.body("e", START.wall_ns - 10**12)),
        sent(machine, machine.body("f"), token="0" * 48),
        sent(machine, machine.body("g"), certificate_id="mcert_" + "0" * 20),
        sent(machine, machine.body("h"), worker_id="wrk_" + "0" * 16),
        sent(revoked, revoked.body("i")),
        sent(revoked, revoked.body("j", signature="forged")),
        sent(machine, machine.body("second")),
        sent(machine, machine.body("third")),  # a machine may have no more nonces
        sent(machine, machine.body("one too many")),  # and its address no more requests
        sent(revoked, revoked.body("one more")),
    ]


class Outcome(NamedTuple):
    """The status that each client got, what was audited in each stream, and what was counted."""

    statuses: list[list[int]]
    audited: list[list[tuple[str, str, str]]]
    counted: tuple[dict[int, int], int, int]


async def outcome_of(*, together: bool) -> Outcome:
    """Send them from one address, each on a connection of its own, and have all served in one round, or each in its."""
    bounds = StateBounds(nonces_a_machine_max=2)
    lane = Lane(api=make_bounded_api(bounds, rate_limit_burst=16, rate_limit_refill_per_second=0.001))
    machine, revoked = enrol(lane.api), enrol(lane.api, "rack 2")
    ask(lane.api, as_owner(f"/consents/{revoked.consent_id}/revoke"))
    sent = mixed_heartbeats(machine, revoked)
    clients = [lane.connect("192.0.2.7") for _ in sent]
    for client, heartbeat in zip(clients, sent, strict=True):
        client.send(heartbeat)
        if not together:
            await lane.play()
    await lane.play()
    state = lane.api.state
    (owner,) = state.owners.values()
    kept = state.unattributed.kept(), owner.refused.kept(), owner.routine.kept()
    outcome = Outcome(
        [statuses(client) for client in clients],
        [[(event.type, event.object_id, event.metadata) for event in events] for events in kept],
        (dict(state.heartbeat_answers), state.rate_limited, state.failures.total),
    )
    lane.close()
    return outcome


async def test_heartbeats_that_are_decided_together_are_decided_as_one_by_one() -> None:
    """Each sees what those before it left: nonces, what a machine may send, tokens, and what is audited before it."""
    outcome = await outcome_of(together=True)
    assert outcome == await outcome_of(together=False)
    expected = [200, 401, 401, 401, 400, 400, 400, 400, 401, 401, 401, 401, 403, 401, 200, 429, 429, 429]
    assert outcome.statuses == [[status] for status in expected]
    reasons = [msgspec.json.decode(metadata)["reason"] for _, _, metadata in outcome.audited[1]]
    assert reasons == [
        "nonce_replayed",
        "invalid_heartbeat_signature",
        "nonce_replayed",
        "missing_heartbeat_fields",
        "malformed_heartbeat_fields",
        "invalid_timestamp",
        "timestamp_out_of_window",
        "invalid_machine_token",
        "invalid_or_expired_machine_cert",
        "invalid_heartbeat_signature",
    ]


@pytest.mark.parametrize("step", ["verify", "settle"])
async def test_a_fault_costs_one_of_those_that_are_decided_together_its_answer(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane()
    machine = enrol(lane.api)
    clients = [lane.connect("192.0.2.1") for _ in range(3)]
    calls = 0
    working: Callable[..., Any] = getattr(heartbeats, step)

    def broken(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError
        return working(*arguments)

    monkeypatch.setattr(heartbeats, step, broken)
    for number, client in enumerate(clients):
        client.send(written(machine.heartbeat(f"n{number}")))
    await lane.play()
    assert [statuses(client) for client in clients] == [[200], [500], [200]]
    lane.close()
