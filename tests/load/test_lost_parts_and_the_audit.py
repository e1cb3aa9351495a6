"""What a lost process did is not known to the audit either: events that nothing explains may be its machines'."""

from __future__ import annotations

import msgspec
import numpy as np

from simulator.checkers import run_checkers
from simulator.checkers.audit import check_audit
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.fleet.machine import Action
from simulator.history.records import Effect, PartRecord
from tests.checkers.audited_world import AuditedWorld, eventful
from tests.load.test_lost_parts import statuses


def audited(machines: range) -> AuditedWorld:
    """Play a little, lose a process, and play on with its machines."""
    world = AuditedWorld()
    eventful(world)
    world.history.parts.append(PartRecord(machines.start, len(machines), 0, 0, world.now_ns))
    return world


def test_events_that_nothing_explains_may_be_the_lost_machines() -> None:
    """Beats, refusals, and a new machine; while their owners are told apart by nothing else."""
    world = audited(range(4))
    rows = len(world.history)
    machine = world.machine("ada", 9)
    world.beat(machine)
    world.act(machine, Action.ROTATE)
    world.beat(machine, token="0" * 48, expected=Answer.INVALID_TOKEN)
    cut = world.history.with_rows(world.history.rows()[:rows])
    cut.effects = [one for one in world.history.effects if one.sent_ns < world.history.parts[0].known_until_ns]
    world.read_all()
    cut.audit_readings = world.history.audit_readings
    assert check_audit(cut, world.facts).status is Status.PASS
    assert statuses(run_checkers(cut, world.facts))["audit"] is Status.INCONCLUSIVE
    cut.parts = []
    assert check_audit(cut, world.facts).status is Status.FAIL


def test_an_event_that_was_due_and_is_not_shown_is_missing() -> None:
    world = audited(range(4))
    surely = ("policy_created", "owner:ada", "pol_of_ada", ("ada",), "")
    world.history.effects.append(Effect(world.now_ns, world.now_ns + 1, *surely, sure=True))
    world.read_all()
    assert world.rules() == {"missing"}


def test_heartbeats_that_are_only_counted_may_be_the_lost_machines() -> None:
    """Of an owner whose list nobody read, the heads alone tell how many there were."""
    world = audited(range(4))
    rows = len(world.history)
    machine = world.machine("ada", 9)
    for _ in range(3):
        world.beat(machine)
    world.settle()
    for owner_id in world.history.owners:
        world.look(owner_id)
    cut = world.history.with_rows(world.history.rows()[:rows])
    assert check_audit(cut, world.facts).status is Status.PASS
    cut.parts = []
    assert [finding.rule for finding in check_audit(cut, world.facts).findings] == ["audit.unexplained"]


def test_a_rotation_that_nobody_knows_of_leaves_open_what_was_audited() -> None:
    """A replay came through after the loss; the certificate it came under had just been replaced."""
    world = AuditedWorld()
    machine = eventful(world)[0]
    nonce = world.beat(machine)
    world.history.parts.append(PartRecord(0, 4, 0, 0, world.now_ns))
    number, rows, effects = machine.certificate_number, len(world.history), len(world.history.effects)
    replaced = (machine.certificate_id, number)
    world.act(machine, Action.ROTATE)
    del world.history.effects[effects:], world.history.certificates[number:]
    after = len(world.history)
    world.beat(machine, nonce=nonce, certificate=replaced, expected=Answer.NONCE_REPLAYED, campaign=1)
    reported = world.history.rows()
    cut = world.history.with_rows(np.concatenate([reported[:rows], reported[after:]]))
    world.read_all()
    cut.audit_readings = world.history.audit_readings
    assert check_audit(cut, world.facts).status is Status.PASS
    cut.parts = []
    assert check_audit(cut, world.facts).status is Status.FAIL


def test_policies_of_heartbeats_may_have_been_changed_by_consents_that_nobody_knows_of() -> None:
    world = audited(range(4))
    known = world.history.consents[0]
    world.history.consents[0] = msgspec.structs.replace(known, policy_id="pol_another")
    world.read_all()
    assert "metadata" not in world.rules()
    world.history.parts.clear()
    assert "metadata" in world.rules()
