"""The acts of the control plane as scripts: what they ask in which order, and what an answer changes and leaves."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.fleet.acts import ActError, Acts, Ask, CutOffError, Reconnect, Reply, Sleep
from simulator.fleet.machine import Action, Machine
from simulator.fleet.onboarding import POLICY_TRIES, PolicyError, PolicyTries, bring_up, live_once
from simulator.history.losses import Loss
from simulator.history.rows import NEVER_NS, History

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.fleet.acts import Act, Exchanged

_Result = TypeVar("_Result")
RULES = {"max_cpu_percent": 50}
GRANTS: dict[Operation, tuple[int, Any]] = {
    Operation.POLICY_CREATE: (201, {"id": "pol_1"}),
    Operation.POLICY_ACTIVATE: (200, {}),
    Operation.REGISTER: (
        201,
        {"machine": {"id": "wrk_1"}, "machine_token": "5a", "machine_certificate": {"certificate_id": "mcert_1"}},
    ),
    Operation.CONSENT_CREATE: (201, {"id": "con_1"}),
    Operation.POLICY_FETCH: (200, {"policy": {"id": "pol_1", "rules": RULES}}),
    Operation.CERTIFICATE: (200, {"certificate_id": "mcert_2"}),
    Operation.CONSENT_REVOKE: (200, {}),
}
CHANGES = {
    Operation.POLICY_CREATE: "policy_created",
    Operation.POLICY_ACTIVATE: "policy_activated",
    Operation.REGISTER: "machine_registered",
    Operation.CONSENT_CREATE: "consent_created",
    Operation.CERTIFICATE: "machine_certificate_issued",
    Operation.CONSENT_REVOKE: "consent_revoked",
}
WHOLE_WAY = list(GRANTS)


class Played:
    """A player whose server answers as told: by the operation and how often it was asked for before."""

    def __init__(self, answers: Callable[[Operation, int], tuple[int, bytes]]) -> None:
        self.history = History()
        self.acts = Acts(self.history, "token", 600 * SECOND_NS, self)
        self.machine = Machine(0, "ada", SECOND_NS)
        self.recorded: list[tuple[Operation, Answer]] = []
        self.slept: list[float] = []
        self.reconnected = 0
        self._answers = answers
        self._now_ns = 0

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Keep one exchange."""
        self.recorded.append((ask.call.operation, exchanged.got))

    def play(self, script: Act[_Result]) -> _Result:
        """Play a script to its end."""
        sent: Any = None
        while True:
            try:
                step = script.send(sent)
            except StopIteration as end:
                result: _Result = end.value
                return result
            sent = None
            match step:
                case Ask():
                    before = sum(operation == step.call.operation for operation, _ in self.recorded)
                    status, body = self._answers(step.call.operation, before)
                    self._now_ns += 1
                    why = "" if status else "cut"
                    sent = Reply(self._now_ns - 1, self._now_ns, status, b"HTTP/1.1", body, Loss.CUT, why)
                case Sleep():
                    self.slept.append(step.seconds)
                case Reconnect():
                    self.reconnected += 1
                case _:
                    raise AssertionError(step)


def grants(operation: Operation, _before: int = 0) -> tuple[int, bytes]:
    """Answer as a right server does."""
    status, data = GRANTS[operation]
    return status, msgspec.json.encode({"success": True, "data": data})


def test_a_machine_goes_the_whole_way_in_order_and_each_change_leaves_its_event() -> None:
    played = Played(grants)
    played.play(live_once(played.acts, played.machine, dict(RULES)))
    assert played.recorded == [(operation, Answer.ACCEPTED) for operation in WHOLE_WAY]
    assert [one.type for one in played.history.effects] == list(CHANGES.values())
    assert all(one.sure for one in played.history.effects)
    assert (played.machine.certificate_id, played.machine.previous_certificate_id) == ("mcert_2", "mcert_1")
    (revoked,) = played.history.revocations
    assert revoked.answered_ns != NEVER_NS


@given(
    at=st.sampled_from(WHOLE_WAY),
    came=st.sampled_from([(0, b""), (200, b"[]"), (404, b""), (429, b""), (500, b""), (503, b"capacity reached")]),
)
def test_an_act_that_fails_ends_the_way_there_and_what_it_may_have_left_is_noted(
    at: Operation, came: tuple[int, bytes]
) -> None:
    """Only a refusal leaves nothing: whatever else came in place of a grant, the server may have done it."""
    played = Played(lambda operation, before: came if operation is at else grants(operation, before))
    grants_nothing = came[0] == 200 and at in {Operation.POLICY_ACTIVATE, Operation.CONSENT_REVOKE}
    with suppress(ActError) if grants_nothing else pytest.raises(ActError, match=r": it|: no|: HTTP"):
        played.play(live_once(played.acts, played.machine, dict(RULES)))
    assert [operation for operation, _ in played.recorded] == (
        WHOLE_WAY if grants_nothing else WHOLE_WAY[: WHOLE_WAY.index(at) + 1]
    )
    noted = {one.type: one.sure for one in played.history.effects}
    if at in CHANGES:
        created = came[0] == 200 and at is Operation.POLICY_CREATE
        refused = came[0] in {404, 429}
        assert noted.get(CHANGES[at]) == (None if refused else grants_nothing or created)


@given(at=st.sampled_from(WHOLE_WAY))
def test_what_is_cut_off_on_its_way_may_have_happened(at: Operation) -> None:
    played = Played(grants)
    script = live_once(played.acts, played.machine, dict(RULES))
    step = next(script)
    while isinstance(step, Ask) and step.call.operation is not at:
        status, body = grants(step.call.operation)
        step = script.send(Reply(1, 2, status, b"", body))
    with pytest.raises(CutOffError):
        script.throw(CutOffError(Reply(3, 4, loss=Loss.ENDED)))
    assert played.recorded[-1] == (at, Answer.LOST)
    if at in CHANGES:
        last = played.history.effects[-1]
        assert (last.type, last.sure, last.answered_ns) == (CHANGES[at], False, NEVER_NS)


@given(st.lists(st.sampled_from([0, 429]), max_size=2 * POLICY_TRIES))
def test_a_policy_is_tried_so_often_and_no_more(came: list[int]) -> None:
    def answers(operation: Operation, before: int) -> tuple[int, bytes]:
        failing = operation is Operation.POLICY_CREATE and before < len(came)
        return (came[before], b"") if failing else grants(operation)

    played = Played(answers)
    tries = PolicyTries(played.acts, "ada", dict(RULES))
    if len(came) < POLICY_TRIES:
        assert played.play(tries.script()) == "pol_1"
    else:
        with pytest.raises(PolicyError, match="cannot create a policy for ada"):
            played.play(tries.script())
    asked = min(len(came), POLICY_TRIES)
    assert len(played.slept) == came[:asked].count(429)
    assert played.reconnected == asked


def test_a_machine_that_the_server_has_forgotten_registers_anew() -> None:
    def answers(operation: Operation, before: int) -> tuple[int, bytes]:
        if operation is Operation.CERTIFICATE:
            return 404, b'{"success":false,"error":"machine not found"}'
        return grants(operation, before)

    played = Played(answers)
    failed: list[str] = []

    def come_up() -> None:
        played.play(bring_up(played.acts, played.machine, {"ada": "pol_1"}, 0, lambda: 0.5, failed.append))

    come_up()
    played.machine.rotate_due = True
    come_up()
    operations = [operation for operation, _ in played.recorded]
    up = [Operation.REGISTER, Operation.CONSENT_CREATE, Operation.POLICY_FETCH]
    assert operations == [*up, Operation.CERTIFICATE, *up]
    assert not failed
    assert played.machine.action(0) is Action.HEARTBEAT
