"""A scenario's `[[load]]` in virtual time: users come and go, ask at their pace, and are judged as all others are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.client.target import OWNER_USERS_NET
from simulator.commands.cli import app
from simulator.contract.answers import Answer, Operation
from simulator.fleet.load_users import LOAD_USERS
from tests.planted_bugs.faults import fault
from tests.planted_bugs.faulty_server import planted
from tests.support.invoking import invoke
from tests.virtual.small_run import Played, play

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from simulator.history.rows import History

ALONE = """
version = 1
name = "small"
duration = "9s"
[server.settings]
WALLET_DEV_CREDIT_USDT = 20
WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS = 0
[fleet]
machines = 3
owners = 2
heartbeat_interval = "2s"
stages = [{ duration = "1s", target = 3 }]
"""
LOAD = '[[load]]\nuser = "{}"\nrate = {}\nstages = [{}]\n'
COMES, GOES = '{ duration = "1s", target = 2 }', '{ duration = "4s", target = 2 }, { duration = "2s", target = 0 }'
ALL = ALONE + "[market]\n" + "".join(LOAD.format(user, 4, COMES) for user in LOAD_USERS)
DASHBOARDS = ALONE + LOAD.format("owner-dashboard", 4, f"{COMES}, {GOES}")
LATE = '[[faults]]\nkind = "network.latency"\nat = "500ms"\nduration = "8499ms"\nlatency = "400ms"\n'


@pytest.fixture(scope="module")
def everybody() -> Played:
    """Return what came of a run with users of every kind."""
    return play(1, ALL)


def asked_by_users(history: History) -> NDArray[Any]:
    """Return the rows of users: those from their addresses."""
    rows = history.rows()
    asked: NDArray[Any] = rows[rows["source"] >> 16 == OWNER_USERS_NET]
    return asked


def test_users_of_every_kind_play_against_a_right_server_and_it_passes(everybody: Played) -> None:
    assert everybody.code == 0, everybody.printed
    assert everybody.verified
    rows = asked_by_users(everybody.history)
    assert len(np.unique(rows["source"])) == 2 * len(LOAD_USERS)
    assert set(rows["operation"].tolist()) >= {
        Operation.OTHER, Operation.REGISTER, Operation.CONSENT_REVOKE, Operation.AGENT_REGISTER, Operation.FORUM_READ,
    }  # fmt: skip


def test_the_same_seed_gives_the_same_history_however_many_processes_a_live_run_has(everybody: Played) -> None:
    spread = play(1, ALL.replace("owners = 2", "owners = 2\nprocesses = 2"))
    assert spread.digest == everybody.digest
    assert play(2, ALL).digest != everybody.digest


def test_the_accounts_of_all_agents_are_read_at_the_end(everybody: Played) -> None:
    history = everybody.history
    agents = {one.account for one in history.market_exchanges if one.operation == Operation.AGENT_REGISTER}
    assert agents
    registered = (history.rows()["operation"] == Operation.AGENT_REGISTER).sum()
    assert len(history.accounts_shown) == registered + 2  # and those of the fleet's owners
    assert not history.troubles


def test_users_come_and_go_with_their_stages_and_each_asks_at_its_pace() -> None:
    rows = asked_by_users(play(1, DASHBOARDS).history)
    first, second = (rows[rows["source"] == one] for one in np.unique(rows["source"]))
    assert SECOND_NS // 4 <= first["sent_ns"][0] < SECOND_NS
    # Half a second into the stage that ends them one goes, and the other half a second before its end.
    ends = sorted(one["sent_ns"][-1] / SECOND_NS for one in (first, second))
    assert 5 < ends[0] < 5.6
    assert 6 < ends[1] < 6.6
    for one in (first, second):
        turns = (one["sent_ns"] - one["sent_ns"][0]) / (SECOND_NS // 4)
        assert abs(turns - turns.round()).max() < 0.01
        assert np.diff(turns.round()).min() == 1  # more where there is no machine yet to ask for


def test_whoever_goes_or_ends_with_the_run_is_still_answered() -> None:
    """As users of Locust: what they have asked would be lost else."""
    played = play(1, DASHBOARDS + LOAD.format("owner-onboarding", 4, COMES) + LATE)
    rows = asked_by_users(played.history)
    assert (rows["answered_ns"] > 9 * SECOND_NS).any()
    assert set(rows["got"].tolist()) == {Answer.ACCEPTED}


def test_a_bug_that_only_users_meet_is_found() -> None:
    """Nobody else here revokes anything."""
    silent = fault("a revoke leaves no event", "revokes", "audit", "",
                   ("core.consents", "revoke_consent", "state.audit(", "(lambda *_: None)("))  # fmt: skip
    with planted(silent.edits):
        assert play(1, ALONE).code == 0
        found = play(1, ALONE + LOAD.format("owner-onboarding", 4, COMES))
    assert found.code == 1
    assert "FAILED audit" in found.printed


@pytest.mark.parametrize("flags", [["--workers", "2"], ["--web"]])
def test_what_spreads_a_run_by_flags_is_refused_with_them(flags: list[str], tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(DASHBOARDS, encoding="utf-8")
    result = invoke(app, ["run", str(path), "--virtual", "--out", str(tmp_path), *flags])
    assert result.exit_code == 2
    assert "--virtual plays in one process: leave out --workers, --master and --web" in result.output


def test_a_run_with_users_can_be_recorded(tmp_path: Path) -> None:
    """Live it cannot: there several processes play it."""
    path = tmp_path / "small.toml"
    path.write_text(DASHBOARDS, encoding="utf-8")
    result = invoke(app, ["run", str(path), "--virtual", "--record", "--no-reports", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (trace,) = (one for one in tmp_path.glob("small/2*/trace.ndjson"))
    assert b"/workers/summary" in trace.read_bytes()
