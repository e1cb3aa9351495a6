"""Whatever happens on the market of a right server, and whatever of it gets lost on the way, it is not called wrong."""

from __future__ import annotations

import random  # noqa: TID251 - seeded

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.ports import PayoutOutcome
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Operation
from simulator.contract.pricing import BTC, USDT
from simulator.history.records import PartRecord
from simulator.history.rows import NEVER_NS
from tests.checkers.market_days import DAYS
from tests.checkers.market_play import DONE, FORGOTTEN, Play
from tests.core.market_server import BITCOIN, TRON
from tests.support.tiers import examples

CAPACITIES = (
    {"cpu_cores": 1, "memory_gb": 4},
    {"cpu_cores": 2.5, "memory_gb": 2, "gpus": [{"model": "A", "count": 2}]},
    {"cpu_cores": 4, "memory_gb": 16, "gpus": [{"model": "A", "count": 1}, {"model": "B", "count": 2}]},
)
PRICES = ("0.000400", "0.0165", "0.5", "2", "9")
LOSSES = ("", "", "", "", "", DONE, FORGOTTEN)


class Day:
    """A day that a source of randomness makes up, step by step."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        ways = (0, 0, 7 * MILLISECOND_NS, 800 * MILLISECOND_NS)
        self.play = Play(
            before=chance.choice(ways),
            after=chance.choice(ways),
            platform_fee_basis_points=chance.choice((0, 250, 10_000)),
            withdrawal_cooldown_seconds=chance.choice((0, 40)),
            withdrawals_per_hour=chance.choice((2, 10)),
            job_queue_timeout_seconds=chance.choice((60, 3_600)),
        )
        self.begin()

    def begin(self) -> None:
        play, chance = self.play, self.chance
        self.accounts = [play.agent("one"), play.agent("two"), play.owner("ada"), play.owner("max")]
        for owner in self.accounts[2:]:
            play.machine(owner, chance.choice(CAPACITIES))

    def step(self) -> None:
        self.chance.choice((
            self.post, self.post, self.read, self.read, self.cancel, self.withdraw, self.withdraw, self.beat, self.beat,
            self.work, self.work, self.wait, self.settle, self.restart, self.look, self.revoke,
        ))()  # fmt: skip

    def post(self) -> None:
        choice = self.chance.choice
        needs = choice(({}, {"cpu_cores": 2}, {"gpu_count": 1}, {"cpu_cores": 0.5, "gpu_count": 1, "gpu_model": "B"}))
        key = choice(("", "", "k", "l"))
        price, minutes = choice(PRICES), choice((1, 2, 60))
        self.play.post(
            choice(self.accounts), price, key=key, lose=choice(LOSSES), resources=needs, duration_minutes=minutes
        )

    def read(self) -> None:
        account, job_id = self.chance.choice(self.accounts), self.any_job()
        self.play.read(account, job_id if self.chance.random() < 0.3 else "")

    def any_job(self) -> str:
        return self.chance.choice([job for jobs in self.play.jobs.values() for job in jobs] or [""])

    def cancel(self) -> None:
        account = self.chance.choice(self.accounts)
        own = self.play.jobs[account]
        job_id = self.chance.choice(own) if own and self.chance.random() < 0.8 else self.any_job()
        if job_id:
            self.play.cancel(account, job_id, self.chance.choice(LOSSES))

    def withdraw(self) -> None:
        choice = self.chance.choice
        asset = choice((USDT, USDT, USDT, BTC))
        address = choice((BITCOIN, BITCOIN.upper())) if asset == BTC else TRON
        amount = choice(("0.1", "0.10", "1.234567", "4", "0", "-1", "0.0000001"))
        account, key = choice(self.accounts), choice(("k", "l", "m", "n", "o"))
        self.play.withdraw(account, amount, key, asset=asset, address=address, lose=choice(LOSSES))

    def beat(self) -> None:
        number = self.chance.choice(list(self.play.machines))
        capacity = self.chance.choice((None, None, *CAPACITIES))
        states = {
            job_id: self.chance.choice(("running", "succeeded", "failed")) for job_id in self.play.running[number]
        }
        claims = [{"job_id": self.any_job() or "job_0000000000000000", "state": "succeeded"}]
        claims = [one for one in claims if one["job_id"] not in states] if self.chance.random() < 0.2 else []
        self.play.beat(number, capacity, lose=self.chance.choice(LOSSES), claims=claims, **states)

    def work(self) -> None:
        self.play.beat_all(self.chance.randrange(1, 5), self.chance.choice((15, 59, 61)))

    def wait(self) -> None:
        self.play.wait(self.chance.choice((0.001, 1, 20, 70, 900, 3_700)))

    def settle(self) -> None:
        self.play.settle(self.chance.choice((PayoutOutcome.RETURNED, PayoutOutcome.UNKNOWN, PayoutOutcome.SETTLED)))

    def restart(self) -> None:
        if self.chance.random() < 0.3:
            self.play.restart()

    def look(self) -> None:
        account = self.chance.choice(self.accounts)
        self.play.resources(account)
        self.play.prices(account)
        if self.chance.random() < 0.2:
            self.play.settle()  # a gateway that says nothing for a day is not this server's
            self.play.show_all()

    def revoke(self) -> None:
        """A machine without a consent is not heard any more."""
        if len(self.play.machines) > 1 and self.chance.random() < 0.3:
            self.play.revoke(max(self.play.machines))


def widened(play: Play, chance: random.Random) -> None:
    """Have requests take longer on their ways, so that many are under way at once.

    What the server did stays where it was, between the two ends. What accounts are shown is read while nobody asks.
    """
    history = play.history
    read = sorted((one.sent_ns, one.answered_ns) for one in history.accounts_shown)

    def widen(sent_ns: int, answered_ns: int) -> tuple[int, int]:
        least = max((to_ns for _, to_ns in read if to_ns <= sent_ns), default=0)
        most = min((from_ns for from_ns, _ in read if from_ns >= answered_ns), default=answered_ns)
        before, after = (chance.choice((0, 1, MILLISECOND_NS, 40 * SECOND_NS)) for _ in range(2))
        later_ns = answered_ns if answered_ns == NEVER_NS else max(answered_ns, min(most, answered_ns + after))
        return min(sent_ns, max(least, sent_ns - before)), later_ns

    rows = history.rows()
    beats = {
        (int(row["machine"]), int(row["sent_ns"])): widen(int(row["sent_ns"]), int(row["answered_ns"])) for row in rows
    }
    for row in rows:
        row["sent_ns"], row["answered_ns"] = beats[int(row["machine"]), int(row["sent_ns"])]
    for name in ("capacity_reports", "assignments", "job_reports"):
        changed = [
            msgspec.structs.replace(one, sent_ns=ends[0], answered_ns=ends[1])
            for one in getattr(history, name)
            for ends in (beats[one.machine, one.sent_ns],)
        ]
        setattr(history, name, changed)
    for name in ("market_exchanges", "resources_shown"):
        changed = []
        for one in getattr(history, name):
            sent_ns, answered_ns = widen(one.sent_ns, one.answered_ns)
            changed.append(msgspec.structs.replace(one, sent_ns=sent_ns, answered_ns=answered_ns))
        setattr(history, name, changed)


def test_a_server_that_forgets_begins_anew() -> None:
    """What was there before is not missed, and what is there after is judged as ever."""
    day = Day(random.Random(3))  # noqa: S311 - for a test
    for _ in range(30):
        day.step()
    day.play.forget()
    day.begin()
    for _ in range(30):
        day.post()
        day.work()
        day.withdraw()
    day.play.finish()
    verdicts = day.play.judge()
    assert {one.name: one.summary for one in verdicts.values() if one.status is Status.FAIL} == {}
    shown = [one for one in day.play.history.accounts_shown if one.account == day.accounts[0]]
    shown[-1].balances[0]["available"] = "7.000001"
    assert day.play.judge()["ledger"].status is Status.FAIL


def test_what_a_lost_process_played_is_not_held_against_the_server() -> None:
    """Its machines' heartbeats are missing, and what it asked for."""
    for name in ("quiet", "crowded"):
        play = DAYS[name]()
        history = play.history.with_rows(play.history.rows()[:5])
        history.parts = [PartRecord(0, 1, 0, 0, 1)]
        history.job_reports, history.capacity_reports = [], history.capacity_reports[:1]
        history.market_exchanges = [one for one in history.market_exchanges if one.operation != Operation.JOB_CREATE]
        play.history = history
        assert Status.FAIL not in {one.status for one in play.judge().values()}
        assert Status.PASS not in {one.status for one in play.judge().values()}


@pytest.mark.long
@settings(deadline=None, max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.integers(5, 60))
def test_a_right_server_is_never_called_wrong(chance: random.Random, steps: int) -> None:
    """With delays, losses and restarts at any time, and with many requests under way at once."""
    day = Day(chance)
    for _ in range(steps):
        day.step()
    day.play.finish()
    for _ in range(2):
        verdicts = day.play.judge()
        found = [finding.message for one in verdicts.values() for finding in one.findings]
        assert {one.status for one in verdicts.values()} <= {Status.PASS, Status.NOT_APPLICABLE}, found
        widened(day.play, chance)
