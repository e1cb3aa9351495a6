"""What a market's checkers say where others use it too, or not all of it was read: what is known, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.checkers.ledger import check_ledger
from simulator.checkers.metering import check_metering
from simulator.checkers.verdict import Status
from simulator.contract.answers import Operation
from simulator.history.records import MachineRecord
from tests.checkers.lies_of_markets import is_billed, jobs_shown, plus, set_each
from tests.checkers.market_days import DAYS
from tests.checkers.market_lies import earned_more
from tests.checkers.market_play import DONE, Play

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts


def shared(play: Play) -> Play:
    """Return a play on a server that others use too, with settings that are known."""
    play.facts = msgspec.structs.replace(play.facts, only_client=False)
    return play


def test_jobs_that_others_machines_ran_are_not_judged() -> None:
    play = shared(DAYS["quiet"]())
    play.history.machines.clear()
    ledger, metering = check_ledger(play.history, play.facts), check_metering(play.history, play.facts)
    assert (ledger.status, ledger.findings) == (Status.PASS, ())
    assert ledger.figures["fees"] == metering.figures["bills"] == 0
    assert metering.findings == ()


def last_shown(play: Play) -> list[dict[str, object]]:
    return list({job["id"]: job for job, _ in jobs_shown(play)}.values())


def test_a_job_that_was_given_back_may_have_been_on_a_machine_that_nobody_saw() -> None:
    play = shared(DAYS["quiet"]())
    play.history.job_reports.clear()
    play.history.assignments.clear()
    set_each(play, is_billed, attempts=1)
    set_each(play, lambda job: bool(job["worker_id"]), worker_id=None)
    verdict = check_metering(play.history, play.facts)
    assert verdict.findings == ()
    assert verdict.figures["bills_not_judged"] == sum(map(is_billed, last_shown(play)))
    assert not [
        one for one in check_ledger(play.history, play.facts).findings if one.rule in {"ledger.fee", "ledger.credit"}
    ]


def test_an_owner_that_was_not_read_hides_no_other_ones_fees() -> None:
    play = DAYS["quiet"]()
    play.history.machines[9] = MachineRecord("wrk_0000000000000009", "nobody-read")
    right = check_ledger(play.history, play.facts)
    assert (right.status, right.figures["fees"]) == (Status.PASS, right.figures["jobs"])
    earned_more(play)
    assert "ledger.fee" in {one.rule for one in check_ledger(play.history, play.facts).findings}


def test_money_that_nobody_was_shown_is_not_called_right() -> None:
    play = DAYS["quiet"]()
    shown = list(play.history.accounts_shown)
    play.history.accounts_shown.clear()
    verdict = check_ledger(play.history, play.facts)
    assert (verdict.status, verdict.figures["accounts_not_read"]) == (Status.INCONCLUSIVE, 2)
    play.history.accounts_shown[:] = [one for one in shown if one.account == play.history.market_exchanges[0].account]
    verdict = check_ledger(play.history, play.facts)
    assert (verdict.status, verdict.figures["accounts"], verdict.figures["accounts_not_read"]) == (Status.PASS, 1, 1)
    assert "1 account that asked for money were not read" in verdict.summary


def test_where_nobody_asked_for_money_none_is_missed() -> None:
    play = DAYS["quiet"]()
    play.history.accounts_shown.clear()
    table = play.history.market_exchanges
    table[:] = [one for one in table if one.operation == Operation.JOB_READ]
    assert check_ledger(play.history, play.facts).status is Status.NOT_APPLICABLE


def test_bills_and_prices_that_nobody_could_judge_are_not_called_right() -> None:
    play = shared(DAYS["quiet"]())
    play.history.machines.clear()
    verdict = check_metering(play.history, play.facts)
    assert (verdict.status, verdict.figures["bills"], verdict.figures["prices"]) == (Status.INCONCLUSIVE, 0, 0)
    assert verdict.figures["bills_not_judged"] >= verdict.figures["prices_not_judged"] > 0


def test_prices_are_judged_from_the_whole_run() -> None:
    play = DAYS["quiet"]()
    priced = list(dict.fromkeys(job["id"] for job, _ in jobs_shown(play) if job["price_per_hour"] is not None))
    right = check_metering(play.history, play.facts, prices_max=2)
    assert (right.status, right.figures["prices"]) == (Status.PASS, 2)
    assert right.figures["prices_not_judged"] == len(priced) - 2 > 0
    late = priced[-1] if len(priced) % 2 else priced[-2]
    set_each(
        play,
        lambda job: job["id"] == late and job["price_per_hour"] is not None,
        price_per_hour=lambda old: plus(old, 20_000),
    )
    assert "metering.price" in {one.rule for one in check_metering(play.history, play.facts, prices_max=2).findings}


def test_a_job_for_any_gpu_may_cost_what_a_model_does_that_is_not_surely_offered() -> None:
    play = Play()
    one, max_ = play.agent("one"), play.owner("max")
    play.machine(max_, {"cpu_cores": 0.5, "memory_gb": 8, "gpus": [{"model": "A", "count": 4}]})
    number = play.machine(max_, {"cpu_cores": 4, "memory_gb": 8})
    play.beat(number, {"cpu_cores": 4, "memory_gb": 8, "gpus": [{"model": "B", "count": 2}]}, lose=DONE)
    play.post(one, "2", resources={"cpu_cores": 2, "gpu_count": 1, "gpu_model": "B"})
    play.post(one, "2", resources={"cpu_cores": 2, "gpu_count": 1})
    play.beat_all(2)
    play.finish()
    verdict = check_metering(play.history, play.facts)
    assert (verdict.status, verdict.figures["prices"]) == (Status.PASS, 2), verdict.summary


def test_what_comes_to_an_earner_while_it_is_read_is_bounded() -> None:
    """Only of several servers, of which each may be a little behind another, and only by jobs that may have ended."""
    play = DAYS["quiet"]()
    shown = next(one for one in play.history.accounts_shown if one.account.startswith("owner:"))
    several = msgspec.structs.replace(play.facts, instances=2)
    earned = shown.balances[0]["available"]

    def rules(facts: Facts, more: int) -> set[str]:
        shown.balances[0]["available"] = plus(earned, more)
        return {one.rule for one in check_ledger(play.history, facts).findings}

    open_at_most = 500_000 + 500_000 + 250_000
    assert rules(several, 0) == rules(play.facts, 0) == rules(several, open_at_most) == set()
    assert rules(several, open_at_most + 1) == rules(play.facts, 1) == {"ledger.sum"}
