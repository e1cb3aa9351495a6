"""Jobs that are another's, and machines that claim more work than they were heard to do (contract: Jobs, Metering)."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import CREATED, OK, ask, enrol, heartbeat, items_of, make_policy, part_of, require
from simulator.attacks.agents.accounts import (
    NOT_FOUND,
    UNIT,
    AccountAttack,
    funded,
    new_owner,
    read_amount,
    read_balance,
    register_agent,
    shown,
)
from simulator.attacks.catalogue import random_hex
from simulator.attacks.script import (
    Claim,
    JoinFleet,
    NotTriedError,
    Outcome,
    Pause,
    PrerequisiteError,
    granted,
    refused,
)
from simulator.contract.answers import Answer
from simulator.contract.features import Feature

if TYPE_CHECKING:
    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext
    from simulator.fleet.machine import Machine

EVERYTHING = {"max_cpu_percent": 100, "max_memory_percent": 100, "max_gpu_percent": 100}
PRICE = Decimal(5)
"""What a job may cost in all: more than an hour of one GPU at twice its price by default."""
HOUR_NS = 3600 * SECOND_NS
COVERED_NS = 1500 * SECOND_NS // 1000
"""For how long a job is seen to run: its price shows at every usual price."""
BEATS_BETWEEN_MAX = 8
"""Heartbeats meanwhile: one in a quarter of the second that is the least in which a machine can be stale."""
STAMPED_NS = 60 * SECOND_NS
"""How far a machine stamps its heartbeats off its own clock: within the window, and forty times what it has worked."""
GOOD = "it is the machine's own, and fresh"


def own_job(context: ScriptContext, account: Account, model: str, client: int, price: Decimal = PRICE) -> Script[str]:
    """Post a job that only a machine with such a GPU can take, and return its id. Raises PrerequisiteError."""
    body = {
        "type": "attack",
        "resources": {"cpu_cores": 1, "memory_gb": 1, "gpu": True, "gpu_count": 1, "gpu_model": model},
        "duration_minutes": 60,
        "max_price_usdt": shown(price),
        "payload": {"by": account.id},
    }
    because = granted(CREATED, "there is enough for it")
    outcome = yield from require(ask(context, "POST", "/jobs", account.headers, because, body, client=client), "a job")
    job_id = part_of(outcome, "job").get("id")
    if not isinstance(job_id, str):
        raise PrerequisiteError("a job: it was given no id")
    return job_id


def read_job(context: ScriptContext, account: Account, job_id: str, client: int) -> Script[dict[str, Any]]:
    """Read one of an account's own jobs. Raises PrerequisiteError."""
    send = ask(context, "GET", f"/jobs/{job_id}", account.headers, granted(OK, "it is its own"), client=client)
    outcome = yield from require(send, "read a job")
    return part_of(outcome, "job")


class Inflate(AccountAttack):
    """A machine that reports more work than it was there for, in every way in which it can say so."""

    name = "job.inflate"
    shape = "a job that a machine has for a second: stamped minutes apart, with hours in its metrics, report and result"
    verdict = "200; billed for the time between its heartbeats, by the server's clock"
    effect = "the machine's owner earns what was covered, the rest of the escrow goes back"
    anchor = "contract: Metering; OWASP API6:2023"
    severity = 8.1
    needs = frozenset({Feature.JOBS, Feature.WALLET})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        client, worker = new_owner(context), new_owner(context)
        before = yield from funded(context, client, addresses.take(), PRICE)
        earned = yield from read_balance(context, worker, addresses.take())
        policy_id = yield from make_policy(context, worker.id, EVERYTHING, client=addresses.take(2))
        machine = yield from enrol(context, worker.id, policy_id, client=addresses.take(3))
        beat = addresses.take(8 + BEATS_BETWEEN_MAX)
        model = f"attack-{random_hex(context.rng, 12)}"
        capacity = {"cpu_cores": 4, "memory_gb": 8, "gpus": [{"model": model, "count": 1}]}
        yield from _beat(context, machine, {"capacity": capacity}, beat)
        job_id = yield from own_job(context, client, model, addresses.take())
        offered = yield from _beat(context, machine, {"capacity": capacity}, beat)
        given = [one.get("job_id") for one in items_of(offered, "assignments")]
        rate = (yield from read_job(context, client, job_id, addresses.take())).get("price_per_hour")
        if job_id not in given or rate is None:
            yield from _leave(context, machine, beat)
            raise NotTriedError(
                "the job was not given to the only machine that could take it: its price may be too high"
            )
        heard = [(yield from _report(context, machine, job_id, "running", beat, stamped_ns=-STAMPED_NS))]
        until_ns = heard[0].answered_ns + COVERED_NS
        stale_ns = int(context.defences.stale_seconds * SECOND_NS)
        # Where silence soon counts, it is heard between: else nothing would be billed, whatever it claims.
        while (due_ns := heard[-1].sent_ns + stale_ns // 4) < until_ns and len(heard) <= BEATS_BETWEEN_MAX:
            yield Pause(due_ns)
            stamped_ns = STAMPED_NS if len(heard) % 2 else -STAMPED_NS
            heard.append((yield from _report(context, machine, job_id, "running", beat, stamped_ns)))
        yield Pause(until_ns)
        heard.append((yield from _report(context, machine, job_id, "succeeded", beat, stamped_ns=STAMPED_NS)))
        begun, ended = heard[0], heard[-1]
        yield from _leave(context, machine, beat)
        job = yield from read_job(context, client, job_id, addresses.take())
        billed, per_hour = read_amount(job.get("billed")), read_amount(rate)
        most = _price(per_hour, ended.answered_ns - begun.sent_ns)
        least = _price(per_hour, ended.sent_ns - begun.answered_ns) - UNIT
        message = (
            f"{billed} were billed at {per_hour} an hour, where what its heartbeats cover costs {most:.6f} at most"
        )
        evidence = {"billed": str(billed), "most": str(most), "least": str(least), "state": str(job.get("state"))}
        # Nothing is billed between heartbeats too far apart, and a job whose machine was not heard is given back.
        silent_ns = max(later.answered_ns - before.sent_ns for before, later in pairwise(heard))
        sure = job.get("state") == "succeeded" and silent_ns < stale_ns
        yield Claim("covered-only", False if billed > most else (True if sure else None), message, evidence)
        at_least = f"{message}, and {max(least, Decimal(0)):.6f} at least"
        yield Claim("covered-paid", billed >= least if sure else None, at_least, evidence)
        after = yield from read_balance(context, client, addresses.take())
        message = f"of {before.available} {after.available} are left and {after.held} held, where {billed} were billed"
        returned = before.available - billed == after.available and not after.held
        yield Claim("rest-returned", returned if sure else None, message)
        wages = (yield from read_balance(context, worker, addresses.take())).available - earned.available
        message = f"{wages} were earned, where {billed} were billed"
        yield Claim("earned-no-more", wages <= billed if sure else None, message)


def _price(per_hour: Decimal, length_ns: int) -> Decimal:
    return per_hour * length_ns / HOUR_NS


def _beat(
    context: ScriptContext, machine: Machine, metrics: dict[str, Any], client: int, stamped_ns: int = 0
) -> Script[Outcome]:
    """Send a heartbeat with metrics. Raises PrerequisiteError."""
    text = msgspec.json.encode(metrics).decode()
    send = heartbeat(context, machine, Answer.ACCEPTED, GOOD, metrics=text, client=client, skew_ns=stamped_ns)
    return (yield from require(send, "a heartbeat"))


def _report(
    context: ScriptContext, machine: Machine, job_id: str, state: str, client: int, stamped_ns: int
) -> Script[Outcome]:
    """Report a job, with all that could be taken for work: only when its heartbeats came counts."""
    claimed = {"hours": 1000, "billed": "5.000000", "runtime_seconds": 3_600_000, "started_at": "2020-01-01T00:00:00Z"}
    report = {"job_id": job_id, "state": state, "progress": 1, "result": claimed, **claimed}
    return (yield from _beat(context, machine, {"jobs": [report], "uptime_seconds": 3_600_000}, client, stamped_ns))


def _leave(context: ScriptContext, machine: Machine, client: int) -> Script[None]:
    """Offer next to nothing, so that no honest job comes here, and go on as one of the fleet."""
    nothing = {"capacity": {"cpu_cores": 0.000001, "memory_gb": 0.000001, "gpus": []}}
    yield from _beat(context, machine, nothing, client)
    yield JoinFleet(machine)


class Foreign(AccountAttack):
    """Another's job: read, cancelled, found in lists, reported by a machine that it was not given to."""

    name = "job.foreign"
    shape = "another's job and withdrawal: read, cancelled, listed by another owner and by an agent; ids of nobody's"
    verdict = "404, the same as for an id that nobody has"
    effect = "the job stays as it is, and is its owner's to cancel"
    anchor = "OWASP API1:2023; contract: Principals and accounts"
    severity = 8.1
    needs = frozenset({Feature.JOBS, Feature.WALLET})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        victim = new_owner(context)
        yield from funded(context, victim, addresses.take(), UNIT)
        model = f"attack-{random_hex(context.rng, 12)}"
        job_id = yield from own_job(context, victim, model, addresses.take(), UNIT)
        before = yield from read_job(context, victim, job_id, addresses.take())
        attackers = [new_owner(context)]
        if Feature.AGENTS not in context.lacks:
            with suppress(NotTriedError):  # then only owners can try
                attackers.append((yield from register_agent(context, addresses.take())))
        for attacker in attackers:
            yield from self._reach(context, attacker, job_id, addresses)
        after = yield from read_job(context, victim, job_id, addresses.take())
        message = f"the job was {before.get('state')}, and is {after.get('state')} after others reached for it"
        yield Claim("untouched", after == before, message, {"before": before, "after": after})
        cancelled: list[Any] = []
        for why in ("it is its own", "it is its own, and cancelled already"):
            send = ask(context, "DELETE", f"/jobs/{job_id}", victim.headers, granted(OK, why), client=addresses.take())
            outcome: Outcome = yield send
            cancelled.append(outcome.data() if outcome.right else None)
        known = None not in cancelled
        yield Claim(
            "cancelled-once", cancelled[0] == cancelled[1] if known else None, "to cancel again changed something"
        )

    @staticmethod
    def _reach(context: ScriptContext, attacker: Account, job_id: str, addresses: Addresses) -> Script[None]:
        nobodys = f"job_{random_hex(context.rng, 16)}"
        answers: dict[str, set[bytes]] = {job_id: set(), nobodys: set()}
        for method in ("GET", "DELETE"):
            for reached in (job_id, nobodys, job_id.upper(), f"{job_id}%00"):
                expect = refused(NOT_FOUND, "", "the job is another's, or nobody's")
                outcome: Outcome = yield ask(
                    context, method, f"/jobs/{reached}", attacker.headers, expect, client=addresses.take()
                )
                if outcome.right and reached in answers:
                    answers[reached].add(outcome.body)
        alike = answers[job_id] == answers[nobodys] or not all(answers.values())
        yield Claim("same-answer", alike, "it can be told whether an id is another's or nobody's")
        expect = granted(OK, "everybody may list their own")
        listed: Outcome = yield ask(
            context, "GET", "/jobs?limit=500", attacker.headers, expect, client=addresses.take()
        )
        if listed.right:
            shown_jobs = [one.get("id") for one in items_of(listed, "jobs")]
            yield Claim("own-jobs", not shown_jobs, f"{len(shown_jobs)} jobs are listed to one who has none")
        gone = refused(HTTPStatus.NOT_FOUND, "", "nobody of that id is the caller's")
        path = f"/wallet/withdrawals/wdr_{random_hex(context.rng, 16)}"
        yield ask(context, "GET", path, attacker.headers, gone, client=addresses.take())
