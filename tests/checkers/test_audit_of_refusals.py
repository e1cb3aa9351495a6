"""What others can cause has a stream of its own, and makes no owner: servers that do otherwise are found."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.checkers.audit_chain import check_chain
from simulator.checkers.audit_lists import STREAMS, gather
from simulator.contract.answers import Answer
from tests.checkers.audited_world import AuditedWorld, Span

AFTERWARDS = Span(before_ns=0)


def test_refusals_among_the_changes_are_found() -> None:
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    for owner in world.server.api.state.owners.values():
        vars(owner.refused)["append"] = owner.notable.append
    world.beat(machine, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
    world.read_all()
    assert world.rules() == {"chain", "head", "missing"}
    assert "is of type worker_auth_failed and in stream 'notable'" in str(world.audit().findings)


class Founding(dict[str, Any]):
    """Owners, of whom one is made whoever is looked for."""

    def __init__(self, state: Any) -> None:
        super().__init__(state.owners)
        self._state = state

    def get(self, owner_id: str, default: Any = None) -> Any:
        if owner_id and owner_id not in self:
            self[owner_id] = type(next(iter(self.values())))(owner_id, 5000, self._state._rooms)
        return super().get(owner_id, default)


@pytest.mark.parametrize("whole", [True, False])
def test_whoever_is_made_an_owner_by_a_refusal_is_found(*, whole: bool) -> None:
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    world.history.owners.append("nobody")
    world.denied("nobody", machine)
    world.rotation_denied("nobody", machine)
    world.settle()
    state: Any = world.server.api.state
    for rules in (set(), {"unexplained"}):
        world.read("ada")
        if whole:
            world.read("nobody")
        world.look("nobody", AFTERWARDS)
        assert world.rules() == rules
        state.owners = Founding(state)
        world.denied("nobody", machine)
        world.settle()


def test_refusals_may_go_early_where_there_are_very_many() -> None:
    """What strangers can fill has a bound in all; past it, no stream has to keep as many as its own bound says."""
    world = AuditedWorld()
    machine = world.machine(world.owner("ada"), 0)
    for _ in range(6):
        world.beat(machine, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
    refused = world.server.api.state.owners["ada"].refused
    refused.cut(refused.size // 2)
    world.read_all()
    assert world.rules() == {"evicted"}
    assert world.rules(refusals_kept_min=7) == {"evicted"}
    assert world.rules(refusals_kept_min=6) == set()
    (owner,) = gather(world.history).values()
    assert [finding.rule for finding in check_chain(owner, 5000, STREAMS)] == ["audit.evicted"]
