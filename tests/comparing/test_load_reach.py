"""By how much users may ask more or less in one world than in the other, and that no more is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from simulator.comparing.load_reach import load_allows
from simulator.comparing.world_lines import Says
from simulator.comparing.worlds import SPREAD, compare_worlds
from simulator.contract.answers import Operation
from simulator.history.rows import HONEST
from simulator.scenario.loading import parse_scenario
from tests.comparing.playing import played_text

if TYPE_CHECKING:
    from simulator.comparing.runs import Run

SCENARIO = """
version = 1
name = "users"
duration = "12s"
[server.settings]
WALLET_DEV_CREDIT_USDT = 20
[fleet]
machines = 2
owners = 2
heartbeat_interval = "2s"
stages = [{ duration = "1s", target = 2 }]
[[load]]
user = "owner-dashboard"
rate = 5
stages = [{ duration = "1s", target = 4 }, { duration = "8s", target = 4 }, { duration = "1s", target = 1 }]
[[load]]
user = "owner-onboarding"
rate = 7
stages = [{ duration = "1s", target = 2 }]
[[load]]
user = "agent-market"
rate = 4
stages = [{ duration = "1s", target = 3 }]
[market]
"""
USERS = parse_scenario(SCENARIO)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Return two runs, by two seeds, as a live run is another."""
    one, other = (tmp_path_factory.mktemp(name) for name in ("one", "other"))
    return played_text(SCENARIO, 1, one), played_text(SCENARIO, 2, other)


@pytest.mark.parametrize(
    ("operation", "asked", "allowed", "why"),
    [
        (Operation.HEARTBEAT, (500, 500), 0, ""),
        (Operation.AGENT_REGISTER, (3, 3), 0, ""),
        (Operation.REGISTER, (20, 20), 2, "users come and go up to 1 s earlier or later"),
        # Seven comings and goings, each of 5 + 1 requests, a tenth of them for metrics; and by chance.
        (Operation.METRICS, (18, 18), 22, "users come and go up to 1 s earlier or later, and draw what they ask"),
        (Operation.JOB_READ, (0, 0), 0, ""),
        # A tenth of what three agents ask who come once: 0.1 of 4 + 1 requests each, and by chance.
        (Operation.JOB_READ, (10, 10), 15, "users come and go up to 1 s earlier or later, and draw what they ask"),
    ],
)
def test_what_users_ask_may_differ_by_when_they_come_and_by_what_they_draw(
    operation: Operation, asked: tuple[int, int], allowed: int, why: str
) -> None:
    bound, reason = load_allows(USERS, operation, asked, SPREAD)
    assert (bound, reason) == (allowed, why)


def test_agents_that_still_come_as_the_run_ends_may_not_come_in_the_other_world() -> None:
    text = SCENARIO.replace(
        'stages = [{ duration = "1s", target = 3 }]', 'stages = [{ duration = "12s", target = 24 }]'
    )
    assert load_allows(parse_scenario(text), Operation.AGENT_REGISTER, (24, 22), SPREAD)[0] == 2


def test_a_run_without_users_is_allowed_nothing_for_them() -> None:
    alone = parse_scenario(SCENARIO[: SCENARIO.index("[[load]]")])
    assert all(load_allows(alone, operation, (100, 200), SPREAD) == (0, "") for operation in Operation)


def test_two_seeds_agree_and_users_who_ask_too_little_differ(runs: tuple[Run, Run]) -> None:
    one, other = runs
    checked = compare_worlds(USERS, one, other, ("one", "other"), "2026-01-02T03:04:05+00:00")
    assert checked.exit_code == 0, checked.summary
    rows = other.history.rows()
    read = (rows["campaign"] == HONEST) & (rows["operation"] == Operation.OTHER)
    read[: len(rows) // 5] = False
    other = msgspec.structs.replace(other, history=other.history.with_rows(rows[~read]))
    checked = compare_worlds(USERS, one, other, ("one", "other"), "2026-01-02T03:04:05+00:00")
    assert [line.name for line in checked.lines if line.says is Says.DIFFERS] == ["other asked"]
