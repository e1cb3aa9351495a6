"""What agents do on the market is audited for the operator, in a stream that no owner sees (contract: Audit types)."""

from __future__ import annotations

from reference_server.core.bounds import StateBounds
from reference_server.core.recovery import restore
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.wire.own_sections import load_state_file
from tests.core.market_server import Market
from tests.core.server_under_test import UNKNOWN_WORKER
from tests.core.test_audit_streams_keep_what_matters import assert_chained


def test_what_agents_do_and_what_strangers_try_evict_nothing_of_each_other() -> None:
    """No owner sees either; both are kept over a restart, bounded apart, each with a chain of its own."""
    server = Market(bounds=StateBounds(unattributed_events_max=3, market_of_agents_events_max=4))
    state = server.api.state
    assert server.send("GET", f"/workers/{UNKNOWN_WORKER}/policy").status == 401
    strangers = list(state.unattributed.kept())
    agent = server.agent()
    for _ in range(4):
        job = server.post(agent.headers)
        server.send("DELETE", f"/jobs/{job['id']}", None, agent.headers)
    assert server.withdraw(agent.headers, "1").status == 202
    assert list(state.unattributed.kept()) == strangers
    shown = [state.market_of_agents.event(at) for _, at in state.market_of_agents.moments()]
    assert [event["type"] for event in shown] == ["job_finished", "job_created", "job_finished", "withdrawal_requested"]
    assert_chained(shown, {"sequence": state.market_of_agents.sequence, "hash": state.market_of_agents.hash})
    for _ in range(4):
        server.send("GET", f"/workers/{UNKNOWN_WORKER}/policy")
    assert [state.market_of_agents.event(at) for _, at in state.market_of_agents.moments()] == shown
    assert server.audit("ada")["events"] == []

    file = b"".join(snapshot(state, server.now, "s"))
    again = server.api.empty_state()
    restore(again, load_state_file(file, TABLES.sections), server.now)
    assert [again.market_of_agents.event(at) for _, at in again.market_of_agents.moments()] == shown
    assert list(again.unattributed.kept()) == list(state.unattributed.kept())
