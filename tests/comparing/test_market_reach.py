"""By how much a market may differ between two worlds, and that no more is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.comparing.alert_turns import alert_lines
from simulator.comparing.fault_reach import abandoned_turns, missed_turns
from simulator.comparing.market_reach import market_allows
from simulator.comparing.world_lines import Says
from simulator.comparing.worlds import SPREAD, compare_worlds
from simulator.contract.answers import Answer, Operation
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.history.records import Scrape
from simulator.history.rows import HONEST, ROW, History
from simulator.scenario.loading import parse_scenario
from tests.comparing.playing import played_text

if TYPE_CHECKING:
    from simulator.comparing.runs import Run

TEXT = """
version = 1
name = "market"
duration = "40s"
[server.settings]
WALLET_DEV_CREDIT_USDT = 20
WORKER_STATUS_STALE_SECONDS = 15
[fleet]
machines = 6
owners = 2
heartbeat_interval = "2s"
[market]
agents = 5
rate = 2
jobs_per_minute = 20
minutes = [1]
[market.offer]
cpu_cores = 2
memory_gb = 8
abandons = 0.5
abandoned_for = "20s"
"""
MARKET = parse_scenario(TEXT)
PATIENT = parse_scenario(TEXT.replace("abandons = 0.5", "abandons = 0.0"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Return two runs in which all was drawn anew."""
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    return played_text(TEXT, 1, one), played_text(TEXT, 2, other)


def differing(one: Run, other: Run) -> set[str]:
    lines = compare_worlds(MARKET, one, other, ("", ""), "").lines
    return {line.name for line in lines if line.kind == "count" and line.says is Says.DIFFERS}


def without(run: Run, operation: Operation, share: float) -> Run:
    """Return a run in which some requests of a kind were never sent."""
    rows = run.history.rows()
    mine = (rows["operation"] == operation).nonzero()[0]
    kept = sorted({*range(len(rows))} - set(mine[: round(share * len(mine))].tolist()))
    return msgspec.structs.replace(run, history=run.history.with_rows(rows[kept]))


def test_what_is_drawn_anew_agrees(runs: tuple[Run, Run]) -> None:
    assert differing(*runs) == set()


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (Operation.WALLET_READ, "wallet read"),
        (Operation.PRICES_READ, "prices read"),
        (Operation.HEARTBEAT, "heartbeat"),
    ],
)
def test_far_fewer_than_by_chance_differ(runs: tuple[Run, Run], operation: Operation, name: str) -> None:
    assert differing(runs[0], without(runs[1], operation, 0.9)) == {f"{name} asked"}


def test_what_no_agent_draws_is_the_same() -> None:
    for operation in (Operation.AGENT_REGISTER, Operation.REGISTER, Operation.HEARTBEAT):
        assert market_allows(MARKET, operation, (90, 100), SPREAD) == (0, "")
    assert market_allows(MARKET, Operation.JOB_READ, (90, 100), SPREAD)[0] == 42
    without_market = msgspec.structs.replace(MARKET, market=None)
    assert market_allows(without_market, Operation.JOB_READ, (90, 100), SPREAD) == (0, "")


def shown(gauge: str, *on: tuple[float, float]) -> History:
    history = History()
    for second in range(40):
        at_ns = second * SECOND_NS
        value = float(any(since <= second < until for since, until in on))
        history.scrapes.append(Scrape(at_ns, at_ns, {gauge: value}))
    return history


def silent(history: History, since: float, until: float) -> History:
    """Return a history in which one machine beats every two seconds, but for a time."""
    moments = [float(at) for at in range(0, 40, 2) if not since < at < until]
    rows = np.zeros(len(moments), dtype=ROW)
    rows["operation"], rows["campaign"] = Operation.HEARTBEAT, HONEST
    rows["got"] = rows["expected"] = Answer.ACCEPTED
    rows["sent_ns"] = rows["planned_ns"] = np.array(moments) * SECOND_NS
    rows["answered_ns"] = rows["sent_ns"] + 1
    found = history.with_rows(rows)
    found.scrapes = history.scrapes
    return found


@pytest.mark.parametrize(
    ("gauge", "silent_for", "on", "says"),
    [
        (STALE_ALERT, 20, (25, 31), Says.EXPLAINED),
        (STALE_ALERT, 20, (2, 31), Says.DIFFERS),  # before anybody was silent
        (STALE_ALERT, 12, (25, 31), Says.DIFFERS),  # nobody who abandoned a job is silent for so short a time
        (AUTH_ALERT, 20, (25, 31), Says.DIFFERS),
    ],
)
def test_machines_that_abandon_jobs_move_the_alert_of_stale_ones_while_they_are_silent_and_no_other(
    gauge: str, silent_for: float, on: tuple[float, float], says: Says
) -> None:
    virtual, live = silent(shown(gauge, on), 10, 10 + silent_for), shown(gauge)
    assert {line.says for line in alert_lines(MARKET, virtual, live)} == {Says.AGREES, says}
    assert {line.says for line in alert_lines(PATIENT, virtual, live)} == {Says.AGREES, Says.DIFFERS}


def test_turns_of_jobs_that_were_abandoned_are_allowed_for_and_no_others() -> None:
    history = silent(History(), 10, 30)
    assert abandoned_turns(MARKET, history) == (9, 1)
    assert abandoned_turns(PATIENT, history) == (0, 0)
    assert abandoned_turns(MARKET, silent(History(), 10, 20)) == (0, 0)
    assert missed_turns(MARKET, history) == (0, 0)
