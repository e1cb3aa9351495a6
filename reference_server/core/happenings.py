"""Audit events of decisions on the market and on agents (contract: Audit types added)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_server.core.market.market import Happening
    from reference_server.core.state import State
    from reference_server.wire.values import Instant

_OWNER = "owner:"


def audit_happenings(state: State, now: Instant) -> None:
    """Add a decision's happenings to the audit of their owner, and of the owner of the machine involved."""
    for happened in (state.market.happened, state.agents.happened):
        if happened:
            for one in happened:
                state.audit(now, one.type, one.actor, one.object_id, one.metadata, _concerned(one))
            happened.clear()


def _concerned(one: Happening) -> list[str]:
    """Return the ids of the owners concerned; agents have no audit."""
    owners = [one.account.removeprefix(_OWNER)] if one.account.startswith(_OWNER) else []
    return [*owners, one.worker_owner_id] if one.worker_owner_id else owners
