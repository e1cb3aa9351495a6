"""Jobs that are none: for or of less than nothing, or with fields that are the server's (contract: Jobs)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks.acting import OK, ask, items_of
from simulator.attacks.agents.wallet import MovesNothing
from simulator.attacks.script import Claim, Outcome, granted, refused
from simulator.contract.features import Feature
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext

CORES_MAX, MEMORY_MAX, GPUS_MAX, MINUTES_MAX = 1024, 65_536, 64, 10_080
PRICE_MAX = 1_000_000
TYPE_CHARACTERS_MAX, PAYLOAD_MAX_BYTES = 64, 16 * 1024
RIGHT: dict[str, Any] = {
    "type": "attack",
    "resources": {"cpu_cores": 1, "memory_gb": 1},
    "duration_minutes": 1,
    "max_price_usdt": "0.000001",
}
"""A job that is one: each that is tried is wrong in one thing."""
BY_THE_SERVER: dict[str, Any] = {
    "id": "job_0000000000000000",
    "state": "succeeded",
    "worker_id": "wrk_0000000000000000",
    "price_per_hour": "0.000001",
    "escrow": "0.000000",
    "billed": "-1.000000",
    "attempts": -100,
    "account": "owner:somebody-else",
}
"""Fields that a caller might have a server take over."""


def wrong_jobs() -> Iterator[dict[str, Any]]:
    """Return bodies of jobs that nobody can have posted, each wrong in one thing."""
    for price in ("-1.000000", "-0.000001", "0", "0.000000", "", "1,5", "NaN", "Infinity", "0.0000001", "1.0000001"):
        yield {**RIGHT, "max_price_usdt": price}
    amounts: tuple[Any, ...] = (-1, 0, None, True, [], {"usdt": "1"}, msgspec.Raw(b"0.0000001"), msgspec.Raw(b"-0.5"))
    for amount in amounts:
        yield {**RIGHT, "max_price_usdt": amount}
    for much in (f"{PRICE_MAX}.000001", str(2**63), "9" * 400):
        yield {**RIGHT, "max_price_usdt": much}
    for minutes in (0, -60, MINUTES_MAX + 1, 1.5, "60", None, 2**63):
        yield {**RIGHT, "duration_minutes": minutes}
    for name, most in (("cpu_cores", CORES_MAX), ("memory_gb", MEMORY_MAX)):
        for number in (0, -4, 0.09, most + 1, "4", None, True, [1]):
            yield {**RIGHT, "resources": {**RIGHT["resources"], name: number}}
    for gpus in (
        {"gpu_count": -1},
        {"gpu_count": GPUS_MAX + 1},
        {"gpu_count": 1.5},
        {"gpu": True, "gpu_count": 0},
        {"gpu_model": "a-model"},
        {"gpu": "yes"},
        {"cores": 4},
    ):
        yield {**RIGHT, "resources": {**RIGHT["resources"], **gpus}}
    for kind in ("", "With-Capitals", "two words", "a" * (TYPE_CHARACTERS_MAX + 1), "a\n", "ä", None, 7):
        yield {**RIGHT, "type": kind}
    payloads: tuple[Any, ...] = ([], "text", 7, {"text": "a" * PAYLOAD_MAX_BYTES})
    for payload in payloads:
        yield {**RIGHT, "payload": payload}
    for name in RIGHT:
        yield {field: value for field, value in RIGHT.items() if field != name}
    for name, value in BY_THE_SERVER.items():
        yield {**RIGHT, name: value}


class Bodies(MovesNothing):
    """Jobs that would make money, cost nothing, or say themselves what they are billed."""

    name = "job.bodies"
    shape = (
        "jobs for less than nothing, nothing or too much, of resources, lengths and types that there are not, and with "
        "fields that are the server's"
    )
    verdict = "400 invalid request"
    effect = "no job is made, and nothing is held or moved"
    anchor = "OWASP API6:2023, API3:2023; CWE-20; contract: Jobs"
    severity = 8.6
    needs = frozenset({Feature.JOBS, Feature.WALLET})

    def attempts(self, context: ScriptContext, account: Account, addresses: Addresses) -> Script[None]:
        """Post every wrong job, and look whether one was made."""
        expect = refused(HTTPStatus.BAD_REQUEST, "invalid request", "there is no such job")
        for body in wrong_jobs():
            yield ask(context, "POST", "/jobs", account.headers, expect, body, client=addresses.take())
        own = granted(OK, "it is its own")
        listed: Outcome = yield ask(context, "GET", "/jobs?limit=500", account.headers, own, client=addresses.take())
        if listed.right:
            made = [one.get("id") for one in items_of(listed, "jobs")]
            message = f"bodies that are no jobs made {plural(len(made), 'job')}"
            yield Claim("nothing-made", not made, message, {"jobs": made[:10]})
