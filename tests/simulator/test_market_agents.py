"""Agents of the market: what they do, what is kept of it, and what a lost answer makes them do again."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.facts import Facts
from simulator.checkers.isolation import check_isolation
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.contract.market import HONEST_REFUSALS, MARKET_OPERATIONS, market_answer
from simulator.contract.refusals import success_of
from simulator.fleet.accounts import AccountReader, read_resources
from simulator.fleet.agents import AgentHabits, usdt
from simulator.fleet.market_requests import agent_caller, owner_caller, read_job_call, tron_address
from simulator.history.rows import NO_MACHINE
from simulator.limits import OTHERS_ASKED_MAX
from tests.simulator.market_in_process import MarketInProcess, Provider
from tests.support.tiers import examples

if TYPE_CHECKING:
    from simulator.fleet.agents import Agent
    from simulator.history.market_records import AccountShown

BUSY = AgentHabits(jobs_per_minute=20, withdrawals_per_minute=12, posts_per_minute=6, repeated=0.5, cancelled=0.3)

NO_FACTS = Facts(stale_seconds=None, auth_window_seconds=300, auth_threshold=10, baseline={})


def read_account(market: MarketInProcess, agent: Agent) -> AccountShown:
    assert agent.caller is not None
    reader = AccountReader(market.acts, agent.caller, agent.withdrawals)
    shown = market.play(reader.script())
    assert shown is not None
    return shown


def test_an_agent_does_everything_that_a_market_has_and_every_answer_is_what_the_contract_says() -> None:
    market = MarketInProcess()
    agent = market.agent(BUSY)
    market.live(agent, 240, Provider(market))
    asked = Counter(Operation(one.operation) for one in market.history.market_exchanges)
    assert set(asked) == MARKET_OPERATIONS - {Operation.AGENT_UPDATE}
    assert market.odd == []
    assert {one.state for one in market.history.job_reports} == {"running", "succeeded", "failed"}
    assert market.progress.jobs_posted > 20 < market.progress.jobs_ended + 40
    rows = market.history.rows()
    assert len(rows) == len(market.history.market_exchanges)
    assert set(rows["machine"].tolist()) == {NO_MACHINE}
    assert set(zip(rows["expected"].tolist(), rows["got"].tolist(), strict=True)) <= {
        (Answer.ACCEPTED, Answer.ACCEPTED),
        (Answer.REFUSED, Answer.REFUSED),
    }


def test_no_key_of_an_agent_is_ever_kept_or_shown() -> None:
    market = MarketInProcess()
    agent = market.agent()
    market.live(agent, 20)
    assert agent.caller is not None
    key = agent.caller.credentials["Authorization"].removeprefix("Bearer ")
    assert key.startswith("hfk_")
    assert key not in repr(agent.caller)
    assert key.encode() not in msgspec.json.encode(market.history.market_exchanges)


@settings(max_examples=examples(8))
@given(losing=st.frozensets(st.integers(2, 60), max_size=25))
def test_what_is_asked_again_for_a_lost_answer_is_done_once(losing: frozenset[int]) -> None:
    market = MarketInProcess(losing)
    agent = market.agent(BUSY)
    market.live(agent, 45)
    exchanges = market.history.market_exchanges
    shown = read_account(market, agent)
    assert shown.complete
    granted = {one.key for one in exchanges if one.operation == Operation.JOB_CREATE and one.status == 201}
    assert len(shown.jobs) == shown.jobs_total == len(granted)
    paid = {one.key for one in exchanges if one.operation == Operation.WITHDRAW and one.status == 202}
    held = Counter(one["reference"] for one in shown.transactions if one["type"] == "withdrawal")
    assert len(held) == len(paid) == len(shown.withdrawals)
    replayed = [one for one in exchanges if one.replayed]
    assert all(one.key in granted | paid for one in replayed)
    again = losing & set(range(len(exchanges)))
    assert sum(one.status == 0 for one in exchanges) == len(again) or max(losing, default=0) >= len(exchanges)


def test_a_registration_that_is_lost_is_tried_under_another_name() -> None:
    market = MarketInProcess(frozenset({1}))
    agent = market.agent(name="eve")
    registered = []
    for _ in range(2):
        market.play(agent.next_act(0))
        registered.append(agent.caller is not None)
    assert registered == [False, True]
    assert [one.asked["name"] for one in market.history.market_exchanges] == ["eve", "eve-2"]


def test_who_only_talks_neither_posts_jobs_nor_asks_for_money() -> None:
    market = MarketInProcess()
    market.live(market.agent(msgspec.structs.replace(BUSY, only_talks=True)), 90)
    asked = {one.operation for one in market.history.market_exchanges}
    assert asked == {Operation.AGENT_REGISTER, Operation.FORUM_READ, Operation.FORUM_WRITE}


def test_an_account_is_read_whole_and_adds_up() -> None:
    market = MarketInProcess()
    agent = market.agent(BUSY)
    market.live(agent, 150, Provider(market))
    shown = read_account(market, agent)
    assert (shown.complete, shown.transactions_total) == (True, len(shown.transactions))
    (balance,) = [one for one in shown.balances if one["asset"] == "USDT-TRC20"]
    for account in ("available", "held", "pending"):
        entries = [
            float(one["amount"])
            for one in shown.transactions
            if (one["asset"], one["account"]) == ("USDT-TRC20", account)
        ]
        assert sum(entries) == pytest.approx(float(balance[account]), abs=1e-6)
    assert shown.sent_ns < shown.answered_ns


def test_all_that_is_offered_is_read() -> None:
    market = MarketInProcess()
    Provider(market).beat()
    offered = market.play(read_resources(market.acts, owner_caller(market.server.settings.api_token, "ada")))
    assert offered is not None
    assert (offered.complete, [one["gpus"] for one in offered.resources]) == (True, [[{"model": "a100", "count": 4}]])
    assert market.history.market_exchanges == []


def test_what_cannot_be_read_of_an_account_is_not_made_up() -> None:
    market = MarketInProcess()
    stranger = AccountReader(market.acts, agent_caller("agt_0123456789abcdef", "hfk_00"), {})
    assert market.play(stranger.script()) is None
    agent = market.agent()
    market.play(agent.next_act(0))
    market = _losing_the_list_of_jobs(market)
    shown = read_account(market, agent)
    assert (shown.complete, shown.jobs, shown.jobs_total) == (False, [], -1)
    assert shown.balances


def _losing_the_list_of_jobs(market: MarketInProcess) -> MarketInProcess:
    """Have the third answer from now on lost: after balance and transactions."""
    market._losing = frozenset({market._asked + 3})
    return market


@pytest.mark.parametrize("operation", sorted(MARKET_OPERATIONS))
def test_only_what_the_contract_lets_an_honest_caller_be_refused_for_is_a_refusal(operation: Operation) -> None:
    def refusal(error: str) -> bytes:
        return msgspec.json.encode({"success": False, "error": error})

    assert market_answer(operation, success_of(operation), b"{}") is Answer.ACCEPTED
    assert market_answer(operation, 429, refusal("rate limit exceeded")) is Answer.RATE_LIMITED
    assert market_answer(operation, 503, refusal("capacity reached")) is Answer.UNAVAILABLE
    assert market_answer(operation, 500, b"oh") is Answer.FAILED
    assert market_answer(operation, 401, refusal("unauthorized")) is Answer.UNEXPECTED
    for status, errors in HONEST_REFUSALS.get(operation, {}).items():
        for error in errors:
            assert market_answer(operation, status, refusal(error)) is Answer.REFUSED
            assert market_answer(operation, status, refusal("teapot")) is Answer.UNEXPECTED


def test_amounts_and_addresses_are_written_as_the_wire_has_them() -> None:
    assert [usdt(one) for one in (0, 1, 1_500_000, 10**12 + 1)] == [
        "0.000000",
        "0.000001",
        "1.500000",
        "1000000.000001",
    ]
    # The contract of USDT itself, whose 20 bytes are public.
    assert (
        tron_address(bytes.fromhex("a614f803b6fd780986a42c78ec9c7f77e6ded13c")) == "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
    )


def test_agents_ask_now_and_then_for_what_is_anothers_and_find_nothing() -> None:
    market = MarketInProcess()
    agents = [market.agent(BUSY, name, seed) for seed, name in enumerate(("ada", "bob"), start=1)]
    for _ in range(200):
        for agent in agents:
            market.live(agent, 1)
    own = {agent.caller.account for agent in agents if agent.caller is not None}
    foreign = [one for one in market.history.market_exchanges if one.status == HTTPStatus.NOT_FOUND]
    assert {one.account for one in foreign} == own
    assert {Operation(one.operation) for one in foreign} == {Operation.JOB_READ, Operation.WALLET_READ}
    assert len(foreign) <= OTHERS_ASKED_MAX * len(agents)
    assert market.odd == []
    rows = market.history.rows()
    of_them = rows[rows["status"] == HTTPStatus.NOT_FOUND]
    assert set(of_them["expected"].tolist()) == set(of_them["got"].tolist()) == {Answer.REFUSED}
    verdict = check_isolation(market.history, NO_FACTS)
    assert (verdict.status, verdict.figures["foreign_ids_asked"]) == (Status.PASS, len(foreign))


def test_who_is_shown_what_has_to_be_refused_was_answered_wrongly() -> None:
    market = MarketInProcess()
    agent = market.agent(BUSY)
    market.live(agent, 60)
    assert agent.caller is not None
    assert market.acts.ids_of_others(agent.caller.account) == []
    reads, name = next(one for one in market.acts.ids_of_others("agent:none") if one[0] == Operation.JOB_READ)
    assert reads == Operation.JOB_READ
    market.play(market.acts.ask_for_anothers(agent.caller, read_job_call(agent.caller, name), name))
    row = market.history.rows()[-1]
    assert (row["expected"], row["got"]) == (Answer.REFUSED, Answer.ACCEPTED)
