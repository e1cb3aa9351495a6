"""Bugs that lose money, or make some: each is an edit of the server, found on one of the market days played in process.

`scenario` of a row is the day (`tests.checkers.market_days`).
"""

from __future__ import annotations

from tests.planted_bugs.faults import fault

METERING, CHANGES, WORKING = "core.market.metering", "core.market.changes", "core.market.working"
WALLET, LEDGER, MONEY, JOBS = "core.market.wallet", "core.market.ledger", "core.market.money", "core.market.job_routes"
KEEPING, WAITING = "core.keeping.withdrawals", "core.market.waiting"
AGAIN = """Leg("escrow_release", job.account, AVAILABLE, USDT, rest),
        Leg("escrow_release", job.account, AVAILABLE, USDT, rest),
        Leg("escrow_release", "platform:funding", AVAILABLE, USDT, -rest),"""
RETURNED_TWICE = """if outcome != SETTLED:
        legs += (Leg(kind, "platform:funding", AVAILABLE, asset, -amount), Leg(kind, account, AVAILABLE, asset, amount))
    market.ledger.post("""
MORE_ROOM = """offer = market.pool.offers[job.worker_id]
    offer.held_cpu -= job.need.cpu
    _leave_worker(market, job, notify=True)"""
COUNTED = """market.withdrawals._lately.setdefault(account, __import__("collections").deque()).append(
            Withdrawal(withdrawal_id, account, asset, amount, read.address, now, now)
        )
        return INSUFFICIENT_BALANCE"""

MONEY_FAULTS = (
    fault("what ran is rounded up", "quiet", "metering", "metering.billed.*heartbeats",
          (METERING, "charge_for", "metered(job, offer) * job.rate // _HOUR_NS",
           "-(-metered(job, offer) * job.rate // _HOUR_NS)")),
    fault("a returned withdrawal is paid back twice", "busy", "ledger", "ledger.withdrawal.*returned 2 times",
          (WALLET, "finish_withdrawal", "market.ledger.post(", RETURNED_TWICE)),
    fault("a cancelled job is not charged for what ran", "quiet", "metering", "metering.billed",
          (JOBS, "cancel_job", "charge = charge_for(job, market.pool.offers.get(job.worker_id))", "charge = 0")),
    fault("a job is billed for the work that its machine claims", "quiet", "metering", "metering.billed",
          (WORKING, "_end", "charge = charge_for(job,",
           "if by_worker:\n        job.metered_ns = duration_ns(job)\n    charge = charge_for(job,")),
    fault("escrow is released twice", "busy", "ledger", "ledger.escrow.*released 2 times",
          (CHANGES, "end_job", 'Leg("escrow_release", job.account, AVAILABLE, USDT, rest),', AGAIN)),
    fault("idempotency keys are each instance's own", "twin", "ledger", "ledger.key-twice",
          (WALLET, "keep_answer", "market = state.market",
           "market = state.market\n    if market.changes is None:\n        return")),
    fault("idempotency keys are not handed over", "busy", "ledger", "ledger.key-twice",
          (KEEPING, "_restore_answers", "ANSWERS.of(file.sections).values()", "()")),
    fault("another spelling of an address has no cooldown", "strict", "ledger", "ledger.cooldown.*BC1",
          (WALLET, "withdraw", "refusal = _cooldown(market, now, account, asset, address)",
           "refusal = None if address != read.address else _cooldown(market, now, account, asset, address)")),
    fault("another spelling of an address is another address", "strict", "ledger", "ledger.refused.*cooldown",
          (WALLET, "withdraw", "_cooldown(market, now, account, asset, address)",
           "_cooldown(market, now, account, asset, read.address)")),
    fault("a price is taken after its job is held", "busy", "metering", "metering.price",
          (CHANGES, "assign_job", "market.pool.hold(offer, job)",
           "market.pool.hold(offer, job)\n    job.rate = market.pool.rate(job.need, model)")),
    fault("prices are listed as if nothing were held", "crowded", "metering", "metering.listed.*held and offered",
          ("core.market.resources", "list_prices", "pool.cpu_price, pool.cpu_held,", "5_000, 0,")),
    fault("the utilisation of what is free is listed", "crowded", "metering", "metering.listed.*utilisation",
          ("core.market.prices", "utilisation_text", "steps = divide_half_up(held *",
           "steps = divide_half_up((offered - held) *")),
    fault("the platform's fee goes to nobody", "busy", "ledger", "ledger.fee.*250 basis points",
          (METERING, "fee_of", "return charge * basis_points // _BASIS_POINTS", "return 0")),
    fault("what was on its way at a crash is never paid", "busy", "ledger", "ledger.stuck",
          (KEEPING, "_restore", "state.market.withdrawals.order_finished()",
           "state.market.withdrawals.order_finished()\n    state.market.withdrawals.pending.clear()")),
    fault("held money is shown as available", "quiet", "ledger", "ledger.sum",
          (LEDGER, "show_balances", "ledger.balance(name, asset, part), asset)",
           "ledger.balance(name, asset, part) + (part == AVAILABLE and ledger.balance(name, asset, HELD)), asset)")),
    fault("a machine has more room after it gave a job back", "queue", "matching", "matching.over-capacity",
          (CHANGES, "give_back_job", "_leave_worker(market, job, notify=True)",
           MORE_ROOM)),
    fault("anybody reads anybody's job", "crowded", "isolation", "isolation.foreign",
          (JOBS, "_own", "if job is not None and job.account == account else", "if job is not None else")),
    fault("another's job is 403", "crowded", "isolation", "isolation.refusal",
          (JOBS, "read_own_job", "return JOB_NOT_FOUND if job is None else",
           "return failure(403, 'forbidden') if job is None and job_id in market.jobs else")),
    fault("refused withdrawals count towards the limit", "strict", "ledger", "ledger.refused",
          (WALLET, "withdraw", "return INSUFFICIENT_BALANCE", COUNTED)),
    fault("one withdrawal more than the limit", "strict", "ledger", "ledger.limit",
          ("core.market.withdrawals", "Withdrawals.exceeds", "in_an_hour >= conditions", "in_an_hour > conditions")),
    fault("decimals of USDT and bitcoins are swapped", "busy", "ledger", "ledger.amount",
          (MONEY, "parse_amount", "decimals = DECIMALS[asset]", "decimals = DECIMALS[BTC if asset == USDT else USDT]")),
    fault("a job that failed has succeeded", "busy", "matching", "matching.outcome.*failed",
          (WORKING, "_take_report", "job, report.state, result, error,", "job, SUCCEEDED, result, error,")),
    fault("a job runs for as long as it likes", "quiet", "matching", "matching.overrun.*2 minutes",
          (WORKING, "_end_by_duration", "if ended_ns > now.monotonic_ns or heard is None:", "if heard is not None:")),
    fault("a machine is not told of what was taken from it", "quiet", "matching", "matching.notice.*had to be told",
          (WORKING, "attend", "if offer is not None and offer.cancelled:", "if False:")),
    fault("a machine is told so again and again", "quiet", "matching", "matching.notice.*told [0-9]+ times",
          (WORKING, "attend", "changes.note_notified(market, now, worker_id)", "pass")),
    fault("a machine is told to leave what others have", "busy", "matching", "matching.notice",
          (WORKING, "attend", "list(offer.cancelled)",
           "[one for other in market.pool.offers.values() for one in other.jobs]")),
    fault("an account that was served goes on being served", "queue", "matching", "matching.turn",
          (WAITING, "WaitingJobs.serve", "self._queues.move_to_end(account)", "pass")),
    fault("who waits is not looked at when room comes free", "queue", "matching", "matching.starved",
          (CHANGES, "_leave_worker", "market.grown.add(offer.worker_id)", "pass")),
)  # fmt: skip
