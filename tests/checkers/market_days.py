"""Market days that are played the same way each time: between them they do all that money can be lost by."""

from __future__ import annotations

from reference_server.ports import PayoutOutcome
from tests.checkers.market_play import BTC, DONE, Play
from tests.checkers.market_twins import twin_day
from tests.core.market_server import BITCOIN


def busy_day() -> Play:
    """Jobs that run, are cancelled, given back and expire, and withdrawals that are settled and returned."""
    play = Play(withdrawal_cooldown_seconds=0, job_queue_timeout_seconds=600)
    one, two = play.agent("one"), play.agent("two")
    ada, max_ = play.owner("ada"), play.owner("max")
    first = play.machine(max_, {"cpu_cores": 2, "memory_gb": 8})
    second = play.machine(ada, {"cpu_cores": 1, "memory_gb": 8})
    a = play.post(one, "0.5", duration_minutes=60, key="job-a")
    play.wait(1)
    b = play.post(two, "0.5", resources={"cpu_cores": 1.5})
    play.post(one, "0.5", duration_minutes=60, key="job-a")
    for job_id in (a, b):
        play.read(one, job_id)
        play.read(two, job_id)
    play.beat_all(3, every=17)
    play.read(one), play.read(two)
    c = play.post(two, "0.6", resources={"cpu_cores": 1})
    play.withdraw(one, "0.1", "w1")
    play.withdraw(one, "0.1", "w1")
    play.withdraw(one, "0.25", "w2")
    play.settle(PayoutOutcome.SETTLED, PayoutOutcome.RETURNED)
    play.withdraw(two, "0.3", "w3", lose=DONE)
    play.withdraw(two, "0.3", "w3")
    play.withdraw(two, "1.5", "w4")
    play.scrape()
    play.restart()
    play.withdraw(one, "0.1", "w1")
    play.withdraw(two, "0.3", "w3")
    play.beat_all(2, every=13)
    play.read(one), play.read(two)
    play.cancel(two, b)
    play.wait(1)
    play.read(two)
    d = play.post(one, "0.4", resources={"cpu_cores": 1})
    play.cancel(one, d)
    play.cancel(one, d)
    play.beat(first, **{a: "succeeded"}) if a in play.running[first] else play.beat(second, **{a: "succeeded"})
    play.read(one)
    play.beat_all(2)
    # The first falls silent, and what it had is given back.
    for _ in range(6):
        play.wait(15)
        play.beat(second)
    play.read(two)
    play.beat(first)
    play.beat_all(2)
    play.read(two, c)
    play.beat(first, **dict.fromkeys(play.running[first], "failed"))
    play.beat(second, **dict.fromkeys(play.running[second], "failed"))
    play.wait(300)
    play.finish()
    return play


def strict_day() -> Play:
    """Cooldowns and limits: each is reached, and each is over once."""
    play = Play(withdrawal_cooldown_seconds=100, withdrawals_per_hour=3)
    one, two = play.agent("one"), play.agent("two")
    play.withdraw(one, "0.1", "first")
    play.withdraw(one, "0.1", "second")
    play.withdraw(one, "0.1", "coin", asset=BTC)
    play.withdraw(two, "99", "much")
    play.wait(50)
    play.withdraw(one, "0.1", "third")
    play.withdraw(one, "0.1", "coin-2", asset=BTC, address=BITCOIN.upper())
    play.wait(51)
    play.withdraw(one, "0.1", "coin-3", asset=BTC, address=BITCOIN.upper())
    play.withdraw(two, "99", "much")
    play.withdraw(two, "98", "much-2")
    play.withdraw(two, "97", "much-3")
    play.withdraw(two, "1", "little")
    play.settle()
    for number in range(4):
        play.withdraw(one, "0.123456", f"w{number}")
        play.wait(10)
    play.settle(PayoutOutcome.RETURNED)
    play.withdraw(one, "0.1", "over")
    play.wait(3_600)
    play.withdraw(one, "0.1", "after")
    play.finish()
    return play


def crowded_day() -> Play:
    """More jobs than there is room for: accounts take turns, prices rise, and one machine has its capacity cut."""
    play = Play()
    one, two = play.agent("one"), play.agent("two")
    mia = play.owner("mia")
    small = play.machine(mia, {"cpu_cores": 2, "memory_gb": 4, "gpus": [{"model": "A", "count": 1}]})
    for account in (one, one, one, two):
        play.post(account, "2", duration_minutes=10)
        play.wait(1)
    gpu = play.post(two, "3", resources={"cpu_cores": 0.5, "gpu_count": 1, "gpu_model": "A"}, duration_minutes=30)
    play.resources(one)
    play.prices(two)
    for _ in range(10):
        play.beat_all()
        play.read(one), play.read(two)
    play.resources(two)
    # A machine may say what it likes of what is not its own.
    play.beat(
        small, claims=[{"job_id": gpu, "state": "succeeded"}, {"job_id": "job_0000000000000000", "state": "failed"}]
    )
    for _ in range(4):
        for job_id in list(play.running[small]):
            play.beat(small, **{job_id: "succeeded"})
            play.read(one), play.read(two)
        play.beat_all(2)
        play.read(one), play.read(two)
    play.post(two, "2", duration_minutes=10)
    play.post(one, "2", duration_minutes=10)
    play.beat_all(2)
    play.read(one), play.read(two)
    play.beat(small, {"cpu_cores": 1, "memory_gb": 4})
    play.read(one), play.read(two)
    play.beat_all(3)
    play.read(one), play.read(two)
    play.cancel(one, play.jobs[two][0])
    play.read(one, play.jobs[two][0])
    play.read(two, play.jobs[two][0])
    play.beat(small, **dict.fromkeys(play.running[small], "succeeded"))
    play.beat_all(2)
    play.finish()
    return play


def quiet_day() -> Play:
    """Jobs that run for odd times: one is cancelled, one succeeds early, one runs to its end, one never starts."""
    play = Play()
    one, two = play.agent("one"), play.agent("two")
    max_ = play.owner("max")
    number = play.machine(max_, {"cpu_cores": 4, "memory_gb": 8})
    a = play.post(one, "0.5", duration_minutes=60)
    play.beat_all(3, every=17)
    b = play.post(one, "0.5", duration_minutes=2)
    c = play.post(two, "0.25", duration_minutes=30)
    play.beat_all(2, every=13)
    play.read(one), play.read(two)
    play.show_all()
    play.cancel(one, a)
    play.beat_all(4, every=19)
    play.beat(number, **{c: "succeeded"})
    play.read(two)
    # What is silent for longer than the threshold is not billed for that time.
    play.wait(50)
    play.beat_all(1)
    play.beat_all(5, every=19)
    play.read(one, b)
    play.beat_all(8, every=19)
    d = play.post(two, "0.25")
    play.cancel(two, d)
    play.finish()
    return play


def queue_day() -> Play:
    """One machine, more jobs than it takes at once, and it comes to offer less."""
    play = Play()
    one, two = play.agent("one"), play.agent("two")
    mia = play.owner("mia")
    small = play.machine(mia, {"cpu_cores": 2, "memory_gb": 4})
    for account in (one, one, one, one, one, one, two, two):
        play.post(account, "1", duration_minutes=10)

    def look() -> None:
        play.read(one), play.read(two)
        play.resources(one)

    def end_one() -> None:
        play.beat_all()
        look()
        play.beat(small, **dict.fromkeys(list(play.running[small])[:1], "succeeded"))
        look()
        play.beat_all(2)
        look()

    for _ in range(4):
        end_one()
    for account in (one, one, two):
        play.post(account, "1", duration_minutes=10)
    play.beat(small, {"cpu_cores": 1, "memory_gb": 4})
    for _ in range(3):
        look()
        play.beat_all()
    play.beat(small, **dict.fromkeys(play.running[small], "failed"))
    play.beat_all(2)
    play.finish()
    return play


DAYS = {
    "quiet": quiet_day,
    "queue": queue_day,
    "busy": busy_day,
    "strict": strict_day,
    "crowded": crowded_day,
    "twin": twin_day,
}
