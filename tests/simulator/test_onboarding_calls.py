"""Owners and machines on the control plane, against a server that answers as told and against the real one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.units import SECOND_NS
from simulator.client.target import TargetError, machine_source, owner_source
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action, Machine
from simulator.fleet.onboarding import POLICY_TRIES, make_rules
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import NEVER_NS
from simulator.limits import ONBOARDING_MAX_CONCURRENT, POLICY_PATIENCE_SECONDS
from simulator.worlds.players.onboarding import Onboarding, SetUpError
from tests.simulator.conftest import (
    API_TOKEN,
    HANG_UP,
    SILENT,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    answer,
    serving,
    sockets_closed_after,
)
from tests.support.waiting import until

REGISTERED = answer(
    201,
    msgspec.json.encode(
        {
            "success": True,
            "data": {
                "machine": {"id": "wrk_1", "owner_id": "ada", "name": "machine 0"},
                "machine_token": "5a" * 24,
                "machine_certificate": {"certificate_id": "mcert_1"},
            },
        },
    ),
)


def enveloped(status: int, data: Any, *headers: str) -> Reaction:
    return Reaction((answer(status, msgspec.json.encode({"success": True, "data": data}), *headers),))


CONSENTED = enveloped(201, {"id": "con_1"})
POLICY = enveloped(200, {"policy": {"id": "pol_1", "rules": {"max_cpu_percent": 50}}})
ROTATED = enveloped(200, {"certificate_id": "mcert_2"})
LIFE = [Reaction((REGISTERED,)), CONSENTED, POLICY]


def status_of(row: Any) -> int | Loss:
    """Return a row's status, or why its answer was lost."""
    (loss,), _ = losses_of(np.array([row["status"]]))
    return Loss(loss) if row["got"] == Answer.LOST else int(row["status"])


class Calls:
    """Onboarding with a clock and a history of its own."""

    def __init__(self, target: Any, rotation_ns: int = 600 * SECOND_NS) -> None:
        self.given = ShardUnderTest(target)
        rng = np.random.default_rng(2)
        given = self.given
        self.onboarding = Onboarding(target, given.history, given.progress, given.now, rng, rotation_ns)
        self.onboarding.policies["ada"] = "pol_1"

    def rows(self) -> list[tuple[Operation, int, Answer]]:
        rows = [self.given.row(at) for at in range(len(self.given.history))]
        for row in rows:
            assert row["planned_ns"] == row["sent_ns"] <= row["answered_ns"]
            assert row["expected"] == Answer.ACCEPTED
        return [(Operation(row["operation"]), status_of(row), Answer(row["got"])) for row in rows]


async def test_a_machine_comes_up_on_one_connection_and_each_step_is_recorded(scripted: ScriptedServer) -> None:
    scripted.script = [*LIFE]
    calls = Calls(scripted.target)
    machine = Machine(7, "ada", SECOND_NS)
    async with sockets_closed_after():
        await calls.onboarding.serve(machine)
    assert calls.rows() == [
        (Operation.REGISTER, 201, Answer.ACCEPTED),
        (Operation.CONSENT_CREATE, 201, Answer.ACCEPTED),
        (Operation.POLICY_FETCH, 200, Answer.ACCEPTED),
    ]
    assert scripted.connections == 1
    assert {arrival.client for arrival in scripted.arrivals} == {machine_source(scripted.target, 7)}
    assert machine.action(calls.given.now()) is Action.HEARTBEAT
    assert (machine.worker_id, machine.token, machine.certificate_id) == ("wrk_1", b"5a" * 24, "mcert_1")
    assert (machine.policy_id, machine.rules) == ("pol_1", {"max_cpu_percent": 50})
    lines = [arrival.head.split(b"\r\n")[0] for arrival in scripted.arrivals]
    assert lines == [
        b"POST /api/v1/machines/register HTTP/1.1",
        b"POST /api/v1/consents HTTP/1.1",
        b"GET /api/v1/workers/wrk_1/policy HTTP/1.1",
    ]
    consent = msgspec.json.decode(scripted.arrivals[1].body)
    assert matches(sign_text(API_TOKEN.encode(), "ada|wrk_1|pol_1"), consent.pop("signature"))
    assert consent == {"owner_id": "ada", "worker_id": "wrk_1", "policy_id": "pol_1"}
    assert b"X-Machine-Certificate-Id: mcert_1" in scripted.arrivals[2].head


@pytest.mark.parametrize(
    ("reaction", "row", "wait_ns"),
    [
        (Reaction((answer(429, b"{}", "retry-after: 9"),)), (429, Answer.RATE_LIMITED), 9 * SECOND_NS),
        (Reaction((answer(503),)), (503, Answer.FAILED), SECOND_NS // 2),
        (Reaction((answer(404),)), (404, Answer.UNEXPECTED), SECOND_NS // 2),
        (HANG_UP, (Loss.CUT, Answer.LOST), SECOND_NS // 2),
        (Reaction((b"nonsense",)), (Loss.GARBAGE, Answer.LOST), SECOND_NS // 2),
        (enveloped(201, {"machine": {"id": "wrk_1"}}), (201, Answer.UNEXPECTED), SECOND_NS // 2),
        (enveloped(201, []), (201, Answer.UNEXPECTED), SECOND_NS // 2),
    ],
)
async def test_a_step_that_fails_is_recorded_and_tried_again_later_from_there(
    scripted: ScriptedServer,
    reaction: Reaction,
    row: tuple[int, Answer],
    wait_ns: int,
) -> None:
    scripted.script = [reaction, *LIFE]
    calls = Calls(scripted.target)
    machine = Machine(0, "ada", SECOND_NS)
    async with sockets_closed_after():
        await calls.onboarding.serve(machine)
        assert calls.rows() == [(Operation.REGISTER, *row)]
        assert machine.due_ns - calls.given.now() > wait_ns - SECOND_NS // 4
        assert calls.given.progress.onboarding_failures == 1
        assert calls.given.progress.last_problem.startswith("register")
        await calls.onboarding.serve(machine)
        assert len(scripted.arrivals) == 1, "it is not due yet"
        calls.given.shift_ns += machine.due_ns
        await calls.onboarding.serve(machine)
    assert [one for _, _, one in calls.rows()] == [row[1], *[Answer.ACCEPTED] * 3]
    assert (row[1] is Answer.LOST) == (calls.given.row(0)["answered_ns"] == NEVER_NS)


async def test_a_step_that_is_cancelled_on_its_way_is_in_the_history_as_lost(scripted: ScriptedServer) -> None:
    """The server may have registered the machine: without the row its count of workers would look wrong."""
    scripted.script = [SILENT]
    calls = Calls(scripted.target)
    async with sockets_closed_after():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calls.onboarding.serve, Machine(0, "ada", SECOND_NS))
            await until(lambda: scripted.arrivals)
            nursery.cancel_scope.cancel()
        await until(lambda: not scripted.open)
    assert calls.rows() == [(Operation.REGISTER, Loss.ENDED, Answer.LOST)]
    assert calls.given.row(0)["answered_ns"] == NEVER_NS


async def test_a_rotation_takes_the_new_certificate_and_names_the_old_one(scripted: ScriptedServer) -> None:
    scripted.script = [*LIFE, ROTATED]
    calls = Calls(scripted.target)
    machine = Machine(0, "ada", SECOND_NS)
    await calls.onboarding.serve(machine)
    machine.rotate_due = True
    await calls.onboarding.serve(machine)
    assert calls.rows()[-1] == (Operation.CERTIFICATE, 200, Answer.ACCEPTED)
    assert (machine.certificate_id, machine.previous_certificate_id) == ("mcert_2", "mcert_1")
    head = scripted.arrivals[-1].head
    assert head.startswith(b"POST /api/v1/machines/wrk_1/certificate HTTP/1.1\r\n")
    assert b"X-Machine-Token: " + b"5a" * 24 in head
    assert b"X-Owner-ID: ada" in head


@pytest.mark.parametrize("rotation_seconds", [20, 720, 100_000])
async def test_certificates_are_rotated_well_before_they_end(scripted: ScriptedServer, rotation_seconds: int) -> None:
    """Within a tenth of the time asked for, spread over the fleet, and always before the 15 minutes are over."""
    calls = Calls(scripted.target, rotation_seconds * SECOND_NS)
    untils = []
    for index in range(20):
        scripted.script = [*LIFE]
        machine = Machine(index, "ada", SECOND_NS)
        await calls.onboarding.serve(machine)
        untils.append(machine.certificate_until_ns - calls.given.now())
    wanted = min(rotation_seconds, 720) * SECOND_NS
    assert max(untils) <= min(1.1 * wanted, 895 * SECOND_NS)
    assert min(untils) > 0.85 * wanted - 5 * SECOND_NS
    assert len(set(untils)) == 20


async def test_no_more_machines_are_served_at_once_than_the_bound(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    calls = Calls(scripted.target)
    async with sockets_closed_after(), trio.open_nursery() as nursery:
        for index in range(ONBOARDING_MAX_CONCURRENT + 20):
            nursery.start_soon(calls.onboarding.serve, Machine(index, "ada", SECOND_NS))
        await until(lambda: len(scripted.arrivals) == ONBOARDING_MAX_CONCURRENT)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert scripted.connections == ONBOARDING_MAX_CONCURRENT
        nursery.cancel_scope.cancel()


# --- policies


@given(index=st.integers(0, 10_000), seed=st.integers(0, 2**32))
def test_made_rules_are_within_the_contracts_bounds(index: int, seed: int) -> None:
    rules = make_rules(index, np.random.default_rng(seed))
    assert set(rules) <= {"max_cpu_percent", "max_memory_percent", "max_gpu_percent", "timezone", "allowed_hours"}
    assert all(1 <= rules[name] <= 100 for name in rules if name.startswith("max_"))
    hours = rules.get("allowed_hours", [0])
    assert 1 <= len(hours) <= 24
    assert len(set(hours)) == len(hours)
    assert all(0 <= hour <= 23 for hour in hours)
    assert ("timezone" in rules) == ("allowed_hours" in rules)
    assert rules == make_rules(index, np.random.default_rng(seed))
    assert msgspec.json.decode(canonical_json(rules)) == rules


async def test_the_real_server_takes_the_policies_and_the_machines() -> None:
    async with serving() as (api, target):
        calls = Calls(target)
        owners = [f"owner-{index}" for index in range(8)]
        await calls.onboarding.create_policies(owners)
        fleet = [Machine(index, owners[index % 8], SECOND_NS) for index in range(40)]
        async with trio.open_nursery() as nursery:
            for machine in fleet:
                nursery.start_soon(calls.onboarding.serve, machine)
        state = api.state
        assert {policy.owner_id: policy.id for policy in state.policies.values()} == {
            owner: calls.onboarding.policies[owner] for owner in owners
        }
        assert all(policy.active for policy in state.policies.values())
        assert {machine.worker_id for machine in fleet} == set(state.workers)
        assert len(state.consents) == 40
        assert Counter(operation for operation, _, _ in calls.rows()) == {
            Operation.REGISTER: 40, Operation.CONSENT_CREATE: 40, Operation.POLICY_FETCH: 40,
        }  # fmt: skip
        assert {got for _, _, got in calls.rows()} == {Answer.ACCEPTED}
        clients = {one.client for one in api.heard}
        assert clients == {owner_source(target, index) for index in range(8)} | {
            machine_source(target, index) for index in range(40)
        }


async def test_a_policy_is_tried_again_after_a_rate_limit_or_a_lost_answer(
    scripted: ScriptedServer,
    autojump_clock: trio.testing.MockClock,
) -> None:
    autojump_clock.autojump_threshold = 0.02
    scripted.script = [
        Reaction((answer(429, b"{}", "retry-after: 3"),)),
        HANG_UP,
        enveloped(201, {"id": "pol_9"}),
        Reaction((answer(200),)),
    ]
    calls = Calls(scripted.target)
    before = trio.current_time()
    await calls.onboarding.create_policies(["bob"])
    assert trio.current_time() - before >= 3
    assert calls.onboarding.policies["bob"] == "pol_9"
    assert scripted.arrivals[-1].head.startswith(b"POST /api/v1/policies/pol_9/activate ")
    (lost,) = calls.given.history.unserved  # what came to nothing counts, though the next try did not
    assert (lost.operation, lost.got) == (Operation.POLICY_CREATE, Answer.LOST)
    assert not calls.rows()


async def test_an_activation_that_fails_counts_though_the_next_try_is_accepted(scripted: ScriptedServer) -> None:
    scripted.script = [
        enveloped(201, {"id": "pol_8"}),
        Reaction((answer(500),)),
        enveloped(201, {"id": "pol_9"}),
        Reaction((answer(200),)),
    ]
    calls = Calls(scripted.target)
    await calls.onboarding.create_policies(["bob"])
    assert calls.onboarding.policies["bob"] == "pol_9"
    (failed,) = calls.given.history.unserved
    assert (failed.operation, failed.status, failed.got) == (Operation.POLICY_ACTIVATE, 500, Answer.FAILED)
    assert [one.sure for one in calls.given.history.effects] == [True, False, True, True]


async def test_a_set_up_that_fails_leaves_rows_of_what_failed(scripted: ScriptedServer) -> None:
    scripted.script = [Reaction((answer(500),))]
    calls = Calls(scripted.target)
    with pytest.RaisesGroup(pytest.RaisesExc(SetUpError, match="answered 500")):
        await calls.onboarding.create_policies(["bob"])
    assert calls.rows() == [(Operation.POLICY_CREATE, 500, Answer.FAILED)]
    assert not calls.given.history.unserved


@pytest.mark.parametrize(
    ("reaction", "says"),
    [
        (Reaction((answer(429, b"{}", "retry-after: 86400"),)), "answered 429, to wait 86400 s"),
        (Reaction((answer(429, b"{}"),)), "answered 429, to wait 1 s"),
        (SILENT, "no whole answer within 10 s"),
    ],
)
async def test_no_target_keeps_a_run_waiting_for_its_policies(
    scripted: ScriptedServer, autojump_clock: trio.testing.MockClock, reaction: Reaction, says: str
) -> None:
    autojump_clock.autojump_threshold = 0.02
    scripted.script = [reaction]
    calls = Calls(scripted.target)
    before = trio.current_time()
    with pytest.RaisesGroup(pytest.RaisesExc(TargetError, match=says)):
        await calls.onboarding.create_policies(["bob"])
    assert trio.current_time() - before <= POLICY_PATIENCE_SECONDS + 0.1


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([enveloped(201, {"id": "pol_1/../x"})], "holds what no id or token may hold"),
        ([enveloped(201, [])], "is this a HatchFarm server"),
        ([Reaction((answer(401, b'{"error":"unauthorized"}'),))], "answered 401"),
        ([Reaction((answer(404, b"no such page"),))], "no such page"),
        ([HANG_UP], "cannot create a policy for bob"),
        ([enveloped(201, {"id": "pol_1"}), Reaction((answer(404),))] * POLICY_TRIES, "activation answered 404"),
    ],
)
async def test_without_a_policy_there_is_no_run_and_the_reason_is_said(
    scripted: ScriptedServer,
    script: list[Reaction],
    says: str,
) -> None:
    scripted.script = script
    calls = Calls(scripted.target)
    with pytest.RaisesGroup(pytest.RaisesExc(TargetError, match=says)):
        await calls.onboarding.create_policies(["bob"])
    assert len(scripted.arrivals) <= 2 * POLICY_TRIES
