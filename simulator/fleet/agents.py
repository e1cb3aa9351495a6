"""An agent of the market, without I/O: asked for its next act, it returns a script.

Every world plays the same agent: under Trio, or under gevent as one of Locust's users. It has no clock: times are
arguments, in nanoseconds of the run. Its key is only in memory.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.fleet import market_requests as requests
from simulator.limits import OTHERS_ASKED_MAX

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.acts import Act
    from simulator.fleet.market_acts import MarketActs, MarketReply
    from simulator.fleet.market_requests import Caller

MINUTE_NS = 60 * SECOND_NS
MICRO = 1_000_000
ADDRESSES = 2
"""Withdrawal addresses of each agent; no two agents share one."""
POSTS_KNOWN_MAX = 50
"""The most posts that an agent remembers, to comment on."""
OTHERS_SHARE = 0.05
"""The share of an agent's readings that ask for another account's object: at most `OTHERS_ASKED_MAX`."""
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
UNSETTLED = "pending"
JOB_TYPES = ("inference", "training", "rendering", "batch")
TOPICS = ("prices", "gpus", "jobs", "help")


class AgentHabits(msgspec.Struct, frozen=True):
    """The behaviour of agents. Money is in millionths of USDT, shares are from 0 to 1, other values are per minute."""

    jobs_per_minute: float = 2.0
    minutes: tuple[int, ...] = (1,)
    max_price_micro: int = 500_000
    gpu_jobs: float = 0.3
    cancelled: float = 0.1
    withdrawals_per_minute: float = 0.5
    withdrawal_micro: int = 100_000
    repeated: float = 0.1
    posts_per_minute: float = 0.2
    only_talks: bool = False
    """Whether it only uses the forum."""


class MarketCounts(Protocol):
    """Counters of a market for the live view."""

    jobs_posted: int
    jobs_ended: int
    withdrawals_asked: int
    withdrawals_settled: int


class Doing(Enum):
    """The recurring activities of an agent."""

    JOB = "jobs_per_minute"
    WITHDRAWAL = "withdrawals_per_minute"
    POST = "posts_per_minute"


class Agent:
    """An agent with its account: its requests, and the last shown state of their objects.

    `name` is unique on the target. `withdrawals` has the last shown state of each withdrawal.
    """

    def __init__(
        self, name: str, acts: MarketActs, habits: AgentHabits, rng: np.random.Generator, counts: MarketCounts
    ) -> None:
        self._name = name
        self._acts = acts
        self._habits = habits
        self._rng = rng
        self._counts = counts
        self._addresses = [requests.tron_address(rng.bytes(20)) for _ in range(ADDRESSES)]
        self._due_ns: dict[Doing, int] = {}
        self._unfinished: dict[str, int | None] = {}
        self._keys = 0
        self._registrations = 0
        self._posts: list[str] = []
        self._others_asked = 0
        self.caller: Caller | None = None
        self.withdrawals: dict[str, dict[str, Any]] = {}

    def next_act(self, now_ns: int) -> Act[None]:
        """Return the next act: registering, an activity that is due, or reading something."""
        if self.caller is None:
            yield from self._register(now_ns)
            return
        for job_id, cancel_ns in self._unfinished.items():
            if cancel_ns is not None and cancel_ns <= now_ns:
                yield from self._cancel(self.caller, job_id)
                return
        due = [(at_ns, doing) for doing, at_ns in self._due_ns.items() if at_ns <= now_ns]
        if not due:
            yield from self._look(self.caller)
            return
        _, doing = min(due, key=lambda one: one[0])
        self._plan(doing, now_ns)
        match doing:
            case Doing.JOB:
                yield from self._post_job(self.caller, now_ns)
            case Doing.WITHDRAWAL:
                yield from self._withdraw(self.caller)
            case Doing.POST:
                yield from self._write(self.caller)

    # --- activities

    def _register(self, now_ns: int) -> Act[None]:
        # A lost registration may have been granted, which takes the name: each try has another.
        self._registrations += 1
        more = f"-{self._registrations}" if self._registrations > 1 else ""
        self.caller = yield from self._acts.register({"name": f"{self._name}{more}", "description": "Tries a market."})
        if self.caller is not None:
            for doing in Doing:
                self._plan(doing, now_ns, first=True)

    def _plan(self, doing: Doing, now_ns: int, *, first: bool = False) -> None:
        """Plan an activity's next time: between 0 and twice its interval from now, so that agents spread out."""
        rate = 0 if self._habits.only_talks and doing is not Doing.POST else getattr(self._habits, doing.value)
        if rate:
            interval_ns = MINUTE_NS / rate
            self._due_ns[doing] = now_ns + int(interval_ns * self._rng.random() * (1 if first else 2))

    def _post_job(self, caller: Caller, now_ns: int) -> Act[None]:
        body, minutes = self._job()
        key = self._new_key()
        self._counts.jobs_posted += 1
        answer = yield from self._acts.insist(caller, requests.post_job_call(caller, body, key), key=key)
        job = _object(answer, "job")
        if job:
            cancelled = self._rng.random() < self._habits.cancelled
            cancel_ns = now_ns + int(minutes * MINUTE_NS * self._rng.random()) if cancelled else None
            self._unfinished[str(job.get("id"))] = cancel_ns
        yield from self._perhaps_again(answer, caller, requests.post_job_call(caller, body, key), key)

    def _job(self) -> tuple[dict[str, Any], int]:
        """Return a random job, and its duration in minutes."""
        habits, rng = self._habits, self._rng
        minutes = habits.minutes[int(rng.integers(len(habits.minutes)))]
        resources: dict[str, Any] = {
            "cpu_cores": int(rng.integers(1, 4)) / 2,
            "memory_gb": int(rng.integers(1, 5)),
        }
        if rng.random() < habits.gpu_jobs:
            resources |= {"gpu": True, "gpu_count": 1}
        return {
            "type": JOB_TYPES[int(rng.integers(len(JOB_TYPES)))],
            "resources": resources,
            "duration_minutes": minutes,
            "max_price_usdt": usdt(int(habits.max_price_micro * (0.5 + rng.random() / 2))),
            "payload": {"input": int(rng.integers(1_000_000))},
        }, minutes

    def _cancel(self, caller: Caller, job_id: str) -> Act[None]:
        answer = yield from self._acts.insist(caller, requests.cancel_job_call(caller, job_id), object_id=job_id)
        if answer.got in {Answer.ACCEPTED, Answer.REFUSED}:
            self._ended(job_id)
        elif job_id in self._unfinished:
            self._unfinished[job_id] = None

    def _withdraw(self, caller: Caller) -> Act[None]:
        body = {
            "asset": requests.USDT,
            "amount": usdt(max(1, int(self._habits.withdrawal_micro * self._rng.random()))),
            "address": self._addresses[int(self._rng.integers(ADDRESSES))],
        }
        key = self._new_key()
        self._counts.withdrawals_asked += 1
        answer = yield from self._acts.insist(caller, requests.withdraw_call(caller, body, key), key=key)
        self._take_withdrawal(answer)
        yield from self._perhaps_again(answer, caller, requests.withdraw_call(caller, body, key), key)

    def _perhaps_again(self, answer: MarketReply, caller: Caller, call: Any, key: str) -> Act[None]:
        """Sometimes repeat a granted request with the same key: it must not take effect twice."""
        if answer.done and self._rng.random() < self._habits.repeated:
            yield from self._acts.exchange(caller, call, key=key)

    def _write(self, caller: Caller) -> Act[None]:
        if self._posts and self._rng.random() < 0.5:  # noqa: PLR2004 - as many comments as posts
            post_id = self._posts[int(self._rng.integers(len(self._posts)))]
            call = requests.write_comment_call(caller, post_id, f"I have seen {int(self._rng.integers(100))} of them.")
            yield from self._acts.exchange(caller, call, object_id=post_id)
            return
        topic = TOPICS[int(self._rng.integers(len(TOPICS)))]
        body = {"title": f"About {topic}", "body": f"What do you think of the {topic} today?", "tags": [topic]}
        answer = yield from self._acts.exchange(caller, requests.write_post_call(caller, body))
        self._know_posts([_object(answer, "post")])

    # --- reading

    def _look(self, caller: Caller) -> Act[None]:
        pending = [one for one, shown in self.withdrawals.items() if shown.get("state") == UNSETTLED]
        if self._habits.only_talks:
            yield from self._look_at_the_forum(caller)
            return
        if self._others_asked < OTHERS_ASKED_MAX and self._rng.random() < OTHERS_SHARE:
            others = self._acts.ids_of_others(caller.account)
            if others:
                yield from self._look_at_anothers(caller, others)
                return
        looks = [self._look_at_prices, self._look_at_offers, self._look_at_money, self._look_at_the_forum]
        if self._unfinished:
            looks += [self._look_at_a_job] * 4
        if pending:
            looks += [self._look_at_a_withdrawal] * min(len(pending), 8)
        yield from looks[int(self._rng.integers(len(looks)))](caller)

    def _look_at_prices(self, caller: Caller) -> Act[None]:
        yield from self._acts.exchange(caller, requests.prices_call(caller))

    def _look_at_offers(self, caller: Caller) -> Act[None]:
        narrowed = {"min_gpu_count": 1} if self._rng.random() < self._habits.gpu_jobs else {}
        yield from self._acts.exchange(caller, requests.resources_call(caller, limit=20, **narrowed))

    def _look_at_money(self, caller: Caller) -> Act[None]:
        calls = (requests.balance_call(caller), requests.transactions_call(caller, limit=20))
        yield from self._acts.exchange(caller, calls[int(self._rng.integers(len(calls)))])

    def _look_at_a_job(self, caller: Caller) -> Act[None]:
        job_id = list(self._unfinished)[int(self._rng.integers(len(self._unfinished)))]
        answer = yield from self._acts.exchange(caller, requests.read_job_call(caller, job_id), object_id=job_id)
        if _object(answer, "job").get("state") in ENDED:
            self._ended(job_id)

    def _look_at_a_withdrawal(self, caller: Caller) -> Act[None]:
        pending = [one for one, shown in self.withdrawals.items() if shown.get("state") == UNSETTLED]
        withdrawal_id = pending[int(self._rng.integers(len(pending)))]
        call = requests.read_withdrawal_call(caller, withdrawal_id)
        self._take_withdrawal((yield from self._acts.exchange(caller, call, object_id=withdrawal_id)))

    def _look_at_anothers(self, caller: Caller, others: list[tuple[Operation, str]]) -> Act[None]:
        """Ask for another account's job or withdrawal: the answer must be as if it did not exist."""
        self._others_asked += 1
        reads, name = others[int(self._rng.integers(len(others)))]
        read = requests.read_job_call if reads == Operation.JOB_READ else requests.read_withdrawal_call
        yield from self._acts.ask_for_anothers(caller, read(caller, name), name)

    def _look_at_the_forum(self, caller: Caller) -> Act[None]:
        if self._posts and self._rng.random() < 0.5:  # noqa: PLR2004 - as often a post as the list
            post_id = self._posts[int(self._rng.integers(len(self._posts)))]
            yield from self._acts.exchange(caller, requests.read_post_call(caller, post_id), object_id=post_id)
            return
        answer = yield from self._acts.exchange(caller, requests.posts_call(caller, limit=20))
        shown = answer.data.get("posts")
        self._know_posts(shown if answer.done and isinstance(shown, list) else [])

    # --- results

    def _ended(self, job_id: str) -> None:
        if job_id in self._unfinished:
            del self._unfinished[job_id]
            self._counts.jobs_ended += 1

    def _take_withdrawal(self, answer: MarketReply) -> None:
        shown = _object(answer, "withdrawal")
        withdrawal_id = shown.get("id")
        if isinstance(withdrawal_id, str):
            before = self.withdrawals.get(withdrawal_id, {}).get("state", UNSETTLED)
            self.withdrawals[withdrawal_id] = shown
            self._counts.withdrawals_settled += before == UNSETTLED and shown.get("state") != UNSETTLED

    def _know_posts(self, shown: list[Any]) -> None:
        found = [one["id"] for one in shown if isinstance(one, dict) and isinstance(one.get("id"), str)]
        self._posts = list(dict.fromkeys([*found, *self._posts]))[:POSTS_KNOWN_MAX]

    def _new_key(self) -> str:
        self._keys += 1
        return f"{self._name}-{self._keys}"


def usdt(micro: int) -> str:
    """Return millionths of USDT as a decimal string."""
    return f"{micro // MICRO}.{micro % MICRO:06d}"


def _object(answer: MarketReply, name: str) -> dict[str, Any]:
    """Return the object of a success, or an empty one."""
    found = answer.data.get(name)
    return found if answer.done and isinstance(found, dict) else {}
