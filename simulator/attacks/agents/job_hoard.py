"""More unfinished jobs than an account may have: what waits is looked at again and again (contract: Jobs)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from simulator.attacks.acting import CREATED, OK, ask, part_of
from simulator.attacks.agents.accounts import JOB, UNIT, AccountAttack, funded, new_owner
from simulator.attacks.catalogue import random_hex
from simulator.attacks.script import Claim, Expect, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.features import Feature

if TYPE_CHECKING:
    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Outcome, Script, ScriptContext, Send

TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
UNFINISHED_MAX = 1_000
"""How many unfinished jobs an account may have (contract: Jobs)."""
BEYOND = 4
"""How many more than that are asked for."""


class Hoard(AccountAttack):
    """An account that fills the queue with jobs that no machine can take."""

    name = "job.hoard"
    shape = f"{UNFINISHED_MAX + BEYOND:,} jobs for a GPU that nobody has, one more once one is cancelled, and again"
    verdict = f"201 to {UNFINISHED_MAX:,} of them, then 429 too many unfinished jobs; 201 for one that was cancelled"
    effect = f"never more than {UNFINISHED_MAX:,} unfinished jobs of an account"
    anchor = "OWASP API4:2023; contract: Jobs"
    severity = 6.5
    needs = frozenset({Feature.JOBS, Feature.WALLET})

    def obstacle(self, context: ScriptContext) -> str:
        """Return why not: from one address so many requests would be over the rate limit."""
        count = UNFINISHED_MAX + BEYOND
        if context.own_addresses or context.defences.burst > count:
            return ""
        return f"it asks {count:,} times, and all of its requests are seen at one address"

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt, which cancels what it has posted."""
        account = new_owner(context)
        yield from funded(context, account, addresses.take(), (UNFINISHED_MAX + BEYOND) * UNIT)
        resources = {"cpu_cores": 1, "memory_gb": 1, "gpu_model": f"none-{random_hex(context.rng, 12)}", "gpu_count": 1}
        body = {**JOB, "resources": resources}

        def post(expect: Expect) -> Send:
            return ask(context, "POST", "/jobs", account.headers, expect, body, client=addresses.take())

        why = f"{UNFINISHED_MAX:,} unfinished jobs are all that an account may have"
        some = Expect(Answer.MAY_BE_REFUSED, (CREATED, TOO_MANY), "", why)
        made: list[str] = []
        known = True
        for _ in range(UNFINISHED_MAX + BEYOND):
            outcome: Outcome = yield post(some)
            known = known and outcome.known and b"rate limit exceeded" not in outcome.body
            if outcome.status == CREATED:
                made.append(str(part_of(outcome, "job").get("id")))
        message = f"an account has {len(made):,} unfinished jobs, where {UNFINISHED_MAX:,} are allowed"
        yield Claim("never-more", len(made) <= UNFINISHED_MAX, message)
        yield Claim("never-fewer", len(made) >= UNFINISHED_MAX if known else None, message)
        if known and len(made) == UNFINISHED_MAX:
            yield post(refused(TOO_MANY, "too many unfinished jobs", why))
            yield from _cancel(context, account, made.pop(), addresses)
            again: Outcome = yield post(granted(CREATED, "one of its jobs was cancelled"))
            busy = b"rate limit exceeded" in again.body
            held = again.right if not busy and (again.known or again.status == TOO_MANY) else None
            yield Claim("freed", held, f"a job in the place of one that was cancelled got HTTP {again.status}")
            if again.right:
                made.append(str(part_of(again, "job").get("id")))
            yield post(refused(TOO_MANY, "too many unfinished jobs", why))
        for job_id in made:
            yield from _cancel(context, account, job_id, addresses)


def _cancel(context: ScriptContext, account: Account, job_id: str, addresses: Addresses) -> Script[None]:
    own = granted(OK, "it is its own")
    yield ask(context, "DELETE", f"/jobs/{job_id}", account.headers, own, client=addresses.take())
