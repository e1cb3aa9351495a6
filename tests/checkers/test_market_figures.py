"""Figures of agents, jobs and withdrawals on the metrics page are held against what accounts asked and were shown."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from simulator.checkers import market_figures
from simulator.checkers.market_figures import wrong_figures
from simulator.contract.answers import Operation
from simulator.history.market_records import MarketExchange
from simulator.history.records import CampaignRecord, Fault
from tests.checkers.market_days import DAYS
from tests.checkers.market_play import Play
from tests.planted_bugs.faults import fault
from tests.planted_bugs.faulty_server import planted

if TYPE_CHECKING:
    from simulator.checkers.verdict import Finding

MARKET, PAID, AGENTS = "core.market.market", "core.market.withdrawals", "core.keeping.agents"
FAULTS = {
    one.name: one
    for one in (
        fault("ended jobs count on", "quiet", "alerts", "hatchfarm_jobs",
              (MARKET, "Market.move", "self.count_by_state[job.state] -= 1", "pass")),
        fault("jobs that wait are not counted", "queue", "alerts", 'hatchfarm_jobs{state="queued"}',
              (MARKET, "Market.add", "self.count_by_state[job.state] += 1", "pass")),
        fault("cancelled jobs have failed", "quiet", "alerts", 'hatchfarm_jobs{state="cancelled"}',
              (MARKET, "Market.move", "self.count_by_state[state] += 1",
               "self.count_by_state['failed' if state == 'cancelled' else state] += 1")),
        fault("what comes of jobs is not counted", "quiet", "alerts", "hatchfarm_job_transitions_total",
              (MARKET, "Market.move", "self.transitions[state] += 1", "pass")),
        fault("what comes of jobs is counted twice", "quiet", "alerts", "hatchfarm_job_transitions_total",
              (MARKET, "Market.move", "self.transitions[state] += 1", "self.transitions[state] += 2")),
        fault("withdrawals are counted twice", "strict", "alerts", 'hatchfarm_withdrawals_total{state="pending"}',
              (PAID, "Withdrawals.add", "self.count_by_state[PENDING] += 1", "self.count_by_state[PENDING] += 2")),
        fault("returned withdrawals are settled", "strict", "alerts", "hatchfarm_withdrawals_total",
              (PAID, "Withdrawals._finish", "self.count_by_state[withdrawal.state] += 1",
               "self.count_by_state['settled'] += 1")),
        fault("more agents than there are", "quiet", "alerts", "hatchfarm_agents",
              (AGENTS, "_figures", "len(state.agents.by_id)", "len(state.agents.by_id) + 1")),
        fault("fewer agents than there are", "quiet", "alerts", "hatchfarm_agents",
              (AGENTS, "_figures", "len(state.agents.by_id)", "len(state.agents.by_id) - 1")),
        fault("reports of what is nobody's job are not counted", "crowded", "alerts", "hatchfarm_reports_ignored_total",
              ("core.market.working", "_read_metrics", 'market.ignored["job"] += jobs', "pass")),
    )
}  # fmt: skip


@pytest.fixture(autouse=True)
def _scraped_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write down who registers, and look at the metrics before and after whatever an account reads."""
    agent, read = Play.agent, Play.read

    def registered(self: Play, name: str) -> str:
        asked = MarketExchange("", Operation.AGENT_REGISTER, self.at_ns, self.at_ns, HTTPStatus.CREATED)
        self.history.market_exchanges.append(asked)
        return agent(self, name)

    def between_scrapes(self: Play, account: str, job_id: str = "") -> Any:
        self.scrape()
        found = read(self, account, job_id)
        self.wait_ns(1)
        self.scrape()
        return found

    monkeypatch.setattr(Play, "agent", registered)
    monkeypatch.setattr(Play, "read", between_scrapes)


def found(play: Play) -> list[Finding]:
    return list(wrong_figures(play.history, play.facts))


@pytest.mark.parametrize("day", DAYS)
def test_the_figures_of_a_right_server_were_possible(day: str) -> None:
    play = DAYS[day]()
    assert len(play.history.scrapes) > 4
    assert found(play) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_figure_is_proven(name: str) -> None:
    one = FAULTS[name]
    with planted(one.edits):
        play = DAYS[one.scenario]()
    assert any(one.evidence in each.message for each in found(play)), found(play)


@pytest.mark.parametrize("name", ["fewer agents than there are", "more agents than there are"])
def test_what_attacks_add_nobody_knows_and_what_was_granted_is_there_all_the_same(name: str) -> None:
    with planted(FAULTS[name].edits):
        play = DAYS["quiet"]()
    play.history.campaigns.append(CampaignRecord(1, "key.guess", True, 1, 1))  # noqa: FBT003 - it is a record
    assert bool(found(play)) is (name == "fewer agents than there are")


@pytest.mark.parametrize(
    ("name", "metric", "there", "wrong"),
    [
        ("more agents than there are", "hatchfarm_agents", 0, True),
        ("more agents than there are", "hatchfarm_agents", 1, False),
        ("what comes of jobs is counted twice", 'hatchfarm_jobs{state="queued"}', 0, True),
        ("what comes of jobs is counted twice", 'hatchfarm_jobs{state="queued"}', 9, False),
    ],
)
def test_what_was_there_before_is_counted_to_what_there_may_be(
    name: str, metric: str, there: int, *, wrong: bool
) -> None:
    with planted(FAULTS[name].edits):
        play = DAYS["quiet"]()
    play.facts = msgspec.structs.replace(play.facts, baseline={metric: float(there)})
    assert bool(found(play)) is wrong


def test_a_server_that_need_not_keep_so_many_jobs_is_not_accused(monkeypatch: pytest.MonkeyPatch) -> None:
    with planted(FAULTS["jobs that wait are not counted"].edits):
        play = DAYS["queue"]()
    assert found(play)
    monkeypatch.setattr(market_figures, "FINISHED_KEPT", 5)
    assert found(play) == []


def test_what_is_not_known_accuses_nobody() -> None:
    with planted(FAULTS["what comes of jobs is not counted"].edits):
        play = DAYS["quiet"]()
    assert found(play)
    play.history.faults.append(Fault("server.kill", 1, 1, 1, 1))
    assert found(play) == []
    play.history.faults.clear()
    play.facts = msgspec.structs.replace(play.facts, instances=2)
    assert found(play) == []
