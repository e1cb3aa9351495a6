"""A market played in process and written down as a run writes it: a server, its clock in hand, and a history.

Requests take as long as the play says, answers get lost where it says so, and the server is started anew from what it
has written. What is written down is what a client can know, and nothing else.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.attending import do_what_is_due, take_payouts
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.ports import PayoutOutcome
from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.facts import Facts, MarketFacts
from simulator.contract.answers import Answer, Operation
from simulator.contract.pricing import BTC, USDT
from simulator.history.market_records import (
    AccountShown,
    Assignment,
    CapacityReport,
    JobReport,
    MarketExchange,
    ResourcesShown,
)
from simulator.history.records import ConsentRecord, Fault, MachineRecord, Revocation, Scrape
from simulator.history.rows import HONEST, NEVER_NS, History
from tests.core.market_server import BITCOIN, TRON, Market
from tests.core.server_under_test import SECOND, STARTED, Machine, as_answer, owner_headers

if TYPE_CHECKING:
    from reference_server.wire.values import Request
    from simulator.checkers.verdict import Verdict
    from tests.core.server_under_test import Answer as Reply

MARKET_CHECKERS = ("ledger", "metering", "matching", "isolation")
RULES = {"max_cpu_percent": 100, "max_memory_percent": 100, "max_gpu_percent": 100}
CREDIT = 10_000_000
FEE = 250
LOST = 0
FORGOTTEN, DONE = "never came", "answer lost"
"""How a request may get no answer: it was not done, or it was."""


class PlayServer(Market):
    """A server that need not be right: what it answers is not held against what it declares."""

    def request(self, request: Request) -> Reply:
        return as_answer(self.api.handle(request, self.now))


class Play:
    """A market day and its history. `before` and `after` are how long requests take on their two ways, in ns."""

    server_type = PlayServer

    def __init__(self, *, before: int = 0, after: int = 0, **settings: Any) -> None:
        asked = {"platform_fee_basis_points": FEE, "withdrawal_cooldown_seconds": 0, **settings}
        self.server = self.server_type(wallet_dev_credit_usdt=Decimal(10), **asked)
        self.before, self.after = before, after
        self.history = History()
        set_to = self.server.settings
        self.facts = Facts(
            stale_seconds=set_to.stale_seconds,
            auth_window_seconds=300,
            auth_threshold=10,
            baseline={},
            only_client=True,
            durable=True,
            market=MarketFacts(
                fee_basis_points=set_to.platform_fee_basis_points,
                dev_credit=CREDIT,
                cooldown_seconds=set_to.withdrawal_cooldown_seconds,
                withdrawals_per_hour=set_to.withdrawals_per_hour,
                daily_limit_usdt=int(set_to.withdrawal_daily_limit_usdt * 1_000_000),
                queue_timeout_seconds=set_to.job_queue_timeout_seconds,
            ),
        )
        self.headers: dict[str, dict[str, str]] = {}
        self.machines: dict[int, tuple[Machine, str, str]] = {}
        self.running: dict[int, dict[str, str]] = {}
        """By machine, the jobs that it was told of, each with the state that it reports."""
        self.jobs: dict[str, list[str]] = {}
        self.withdrawals: dict[str, list[str]] = {}
        self._capacities: dict[int, Any] = {}

    @property
    def at_ns(self) -> int:
        return self.server.now.monotonic_ns - STARTED.monotonic_ns

    def agent(self, name: str) -> str:
        one = self.server.agent(name)
        return self._begin(f"agent:{one.id}", one.headers)

    def owner(self, name: str) -> str:
        self.history.owners.append(name)
        return self._begin(f"owner:{name}", owner_headers(name))

    def _begin(self, account: str, headers: dict[str, str]) -> str:
        self.headers[account] = headers
        self.jobs[account], self.withdrawals[account] = [], []
        self.server.send("GET", "/wallet/balance", None, headers)
        return account

    # --- what accounts do

    def ask(
        self,
        account: str,
        operation: Operation,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "",
        object_id: str = "",
        lose: str = "",
        query: str = "",
    ) -> tuple[int, Any]:
        """Ask in an account's name and write down what came of it; `lose` says how no answer came."""
        sent_ns = self._begins()
        self.wait_ns(self.before)
        status, data, replayed = LOST, {}, False
        if lose != FORGOTTEN:
            headers = self.headers[account] | ({"idempotency-key": key} if key else {})
            try:
                answer = self.server.send(method, path, body, headers, query=query)
            except Exception:  # noqa: BLE001 - whatever a planted bug raises, a server answers 500
                status, data = 500, {"message": "internal error"}
            else:
                shown, status = answer.json, answer.status
                data = shown["data"] if shown["success"] else {"message": shown["error"]}
                replayed = answer.headers.get("idempotent-replayed") == "true"
        self.wait_ns(self.after)
        answered_ns = self.at_ns
        if lose:
            status, data, replayed, answered_ns = LOST, {}, False, NEVER_NS
        asked = body if isinstance(body, dict) else {}
        self.history.market_exchanges.append(
            MarketExchange(account, operation, sent_ns, answered_ns, status, object_id, key, replayed, asked, data)
        )
        return status, data

    def post(self, account: str, price: str = "1", *, key: str = "", lose: str = "", **changed: Any) -> str:
        """Post a job; return its id, empty where nobody was told."""
        resources = {"cpu_cores": 1, "memory_gb": 1, **changed.pop("resources", {})}
        body = {"type": "render", "resources": resources, "duration_minutes": 60, "max_price_usdt": price, **changed}
        _, data = self.ask(account, Operation.JOB_CREATE, "POST", "/jobs", body, key=key, lose=lose)
        job_id = str(data.get("job", {}).get("id", ""))
        if job_id and job_id not in self.jobs[account]:
            self.jobs[account].append(job_id)
        return job_id

    def read(self, account: str, job_id: str = "") -> Any:
        """Read a job, or the list of all."""
        path, query = (f"/jobs/{job_id}", "") if job_id else ("/jobs", "limit=500")
        return self.ask(account, Operation.JOB_READ, "GET", path, object_id=job_id, query=query)[1]

    def cancel(self, account: str, job_id: str, lose: str = "") -> Any:
        return self.ask(account, Operation.JOB_CANCEL, "DELETE", f"/jobs/{job_id}", object_id=job_id, lose=lose)

    def withdraw(
        self, account: str, amount: Any, key: str, *, asset: str = USDT, address: str = "", lose: str = ""
    ) -> tuple[int, Any]:
        body = {"asset": asset, "amount": amount, "address": address or (TRON if asset == USDT else BITCOIN)}
        status, data = self.ask(account, Operation.WITHDRAW, "POST", "/wallet/withdraw", body, key=key, lose=lose)
        name = data.get("withdrawal", {}).get("id")
        if name and name not in self.withdrawals[account]:
            self.withdrawals[account].append(name)
        return status, data

    def withdrawal(self, account: str, withdrawal_id: str) -> Any:
        path = f"/wallet/withdrawals/{withdrawal_id}"
        return self.ask(account, Operation.WALLET_READ, "GET", path, object_id=withdrawal_id)[1]

    def prices(self, account: str) -> Any:
        return self.ask(account, Operation.PRICES_READ, "GET", "/resources/prices")[1]

    def resources(self, account: str) -> None:
        sent_ns = self._begins()
        listed = self._get(account, "/resources")["resources"]
        self.history.resources_shown.append(ResourcesShown(sent_ns, self.at_ns, listed))

    # --- what machines do

    def machine(self, owner: str, capacity: Any) -> int:
        """Bring up a machine of an owner that has a capacity; return its number."""
        machine, policy_id, consent_id = self.server.machine(owner.removeprefix("owner:"), RULES)
        number = len(self.history.machines)
        self.machines[number] = (machine, policy_id, consent_id)
        self.running[number] = {}
        self.history.machines[number] = MachineRecord(machine.id, machine.owner_id)
        self.history.add_consent(ConsentRecord(number, policy_id, consent_id, self.at_ns, self.at_ns))
        self.beat(number, capacity)
        return number

    def beat(self, number: int, capacity: Any = None, *, lose: str = "", claims: Any = (), **states: str) -> None:
        """Send a heartbeat: with a capacity, with the state of each job that it has, and with claims of others.

        `states` are by job; what it was told of and has not started yet, it starts.
        """
        machine, policy_id, _ = self.machines[number]
        mine = self.running[number]
        reports = [{"job_id": job_id, "state": states.get(job_id, state)} for job_id, state in mine.items()]
        metrics: dict[str, Any] = {"jobs": [*reports, *claims]} if reports or claims else {}
        if capacity is not None:
            metrics["capacity"] = capacity
        sent_ns = self._begins()
        self.wait_ns(self.before)
        notices = {} if lose == FORGOTTEN else self.server.heard(machine, policy_id, metrics)
        self.wait_ns(self.after)
        answered_ns = NEVER_NS if lose else self.at_ns
        got, status = (Answer.LOST, 0) if lose else (Answer.ACCEPTED, 200)
        nonce = len(self.history).to_bytes(12, "big")
        self.history.append(
            sent_ns, sent_ns, answered_ns, nonce, number, status, Operation.HEARTBEAT, Answer.ACCEPTED, got, HONEST
        )
        if capacity is not None and capacity != self._capacities.get(number):
            self._capacities[number] = None if lose else capacity
            self.history.capacity_reports.append(CapacityReport(number, sent_ns, answered_ns, capacity, rules=RULES))
        for report in metrics.get("jobs", ()):
            is_own = report["job_id"] in mine
            self.history.job_reports.append(
                JobReport(number, sent_ns, answered_ns, report["job_id"], report["state"], not lose, is_own)
            )
            if not lose and report["state"] != "running":
                mine.pop(report["job_id"], None)
        for job in () if lose else notices.get("assignments", ()):
            if job["job_id"] not in mine:
                mine[job["job_id"]] = "running"
                found = Assignment(
                    number, sent_ns, answered_ns, job["job_id"], job["resources"], job["duration_minutes"]
                )
                self.history.assignments.append(found)
        for job_id in () if lose else notices.get("cancelled", ()):
            mine.pop(job_id, None)
            self.history.assignments.append(Assignment(number, sent_ns, answered_ns, job_id, cancelled=True))

    def beat_all(self, times: int = 1, every: int = 15) -> None:
        for _ in range(times):
            self.wait(every)
            for number in self.machines:
                self.beat(number)

    def revoke(self, number: int) -> None:
        machine, _, consent_id = self.machines.pop(number)
        sent_ns = self._begins()
        self.server.revoke(machine.owner_id, consent_id)
        self.history.revocations.append(Revocation(number + 1, sent_ns, self.at_ns))

    # --- what time and the operator do

    def _begins(self) -> int:
        """Return the moment of something new: later than whatever has ended."""
        self.wait_ns(1)
        return self.at_ns

    def wait(self, seconds: float) -> None:
        self.wait_ns(round(seconds * SECOND))

    def wait_ns(self, nanoseconds: int) -> None:
        self.server.pass_time(nanoseconds)

    def settle(self, *outcomes: PayoutOutcome) -> None:
        """Have the gateway say what became of what is on its way: settled, but for the first ones as given."""
        state = self.server.api.state
        pending = list(state.market.withdrawals.pending)
        known = dict(zip(pending, [*outcomes, *[PayoutOutcome.SETTLED] * len(pending)], strict=False))
        take_payouts(state, self.server.now, known)
        do_what_is_due(state, self.server.now)

    def restart(self, *, noted: bool = True) -> None:
        """Start the server anew from what it has written, as another instance that takes over does."""
        api, now = self.server.api, self.server.now
        again = api.empty_state()
        recover(again, MemoryJournal(Storage(b"".join(snapshot(api.state, now, "s")), {"s": []})), now)
        again.nonces = api.state.nonces
        api.state = again
        if noted:
            self.history.faults.append(Fault("server.kill", self.at_ns, self.at_ns, self.at_ns, self.at_ns))
            self.wait(1)

    def forget(self) -> None:
        """Start the server anew without anything that it knew: everybody begins anew, and the old ones are gone."""
        self.server.api.state = self.server.api.empty_state()
        self.facts = msgspec.structs.replace(self.facts, durable=False)
        self.history.faults.append(Fault("server.kill", self.at_ns, self.at_ns, self.at_ns, self.at_ns))
        self.wait(1)
        for known in (self.headers, self.machines, self.running, self.jobs, self.withdrawals):
            known.clear()

    def scrape(self) -> None:
        answer = self.server.send("GET", "/metrics", None, owner_headers(), prefix="")
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        samples = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
        self.history.scrapes.append(Scrape(self.at_ns, self.at_ns, samples))

    # --- the end

    def _get(self, account: str, path: str) -> Any:
        return self.server.send("GET", path, None, self.headers[account], query="limit=500").data

    def show_all(self) -> None:
        """Read all that every account is shown."""
        for account in self.headers:
            sent_ns = self._begins()
            balances = self.server.send("GET", "/wallet/balance", None, self.headers[account]).data["balances"]
            jobs, entries = self._get(account, "/jobs"), self._get(account, "/wallet/transactions")
            withdrawals = []
            for one in self.withdrawals[account]:
                answer = self.server.send("GET", f"/wallet/withdrawals/{one}", None, self.headers[account])
                withdrawals += [answer.data["withdrawal"]] if answer.status == 200 else []
            self.history.accounts_shown.append(
                AccountShown(
                    account, sent_ns, self.at_ns, balances, entries["transactions"], entries["total"], jobs["jobs"],
                    jobs["total"], withdrawals,
                )
            )  # fmt: skip

    def finish(self) -> None:
        """End as a run does: nobody asks for anything more, money settles, and all is read, twice."""
        for account in self.headers:
            self.read(account)
        self.wait(5)
        self.settle()
        self.scrape()
        for account, names in self.withdrawals.items():
            for one in names:
                self.withdrawal(account, one)
        self.show_all()

    def judge(self) -> dict[str, Verdict]:
        """Return the verdicts of the market's checkers, on the history as it would be read from its files."""
        verdicts = run_checkers(self.history, self.facts, {name: CHECKERS[name] for name in MARKET_CHECKERS})
        return {one.name: one for one in verdicts}


def as_json(verdict: Verdict) -> str:
    """Return a verdict's findings as text."""
    return json.dumps(msgspec.to_builtins(verdict.findings))


__all__ = ["BTC", "DONE", "FORGOTTEN", "Play", "as_json"]
