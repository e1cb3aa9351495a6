"""Policy fetches by those who may not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import OK, enrol, heartbeat
from simulator.attacks.catalogue import random_hex
from simulator.attacks.certificate import CERTIFICATE_DIGITS
from simulator.attacks.credential import TOKEN_DIGITS, WORKER_DIGITS, near_miss
from simulator.attacks.script import Claim, JoinFleet, Outcome, ScriptAttack, Send, Together, granted, heartbeat_gets
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import ApiCall, http_message
from simulator.history.rows import NO_MACHINE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.script import Script, ScriptContext
    from simulator.fleet.machine import Machine

AT_ONCE = 1000
FETCHES_A_CLIENT = 10
"""Half of the burst that any limit must allow."""
TOKEN, CERTIFICATE = "X-Machine-Token", "X-Machine-Certificate-Id"


class Bogus(ScriptAttack):
    """A thousand wrong policy fetches at the same moment: each is refused for its reason, and the server lives on."""

    name = "policy-fetch.bogus"
    basis = Basis.PUBLISHED
    shape = f"{AT_ONCE:,} policy fetches at once with missing headers, wrong tokens and wrong certificates"
    verdict = "401 unauthorized; the server stays live"
    effect = "one worker_auth_failed event each, with the three reasons of policy fetches"
    anchor = "contract §3, §4; OWASP API2:2023"
    severity = 7.5
    needs = frozenset({Feature.HEALTH})

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        fetches = tuple(
            msgspec.structs.replace(send, client=1 + number // FETCHES_A_CLIENT)
            for number, send in zip(range(AT_ONCE), _bogus_fetches(context, machine), strict=False)
        )
        outcomes: list[Outcome] = yield Together(fetches)
        health = http_message("GET", "/health", context.host, {})
        alive: Outcome = yield Send(health, granted(OK, "it stays live"), Operation.OTHER)
        beaten: Outcome = yield heartbeat(context, machine, Answer.ACCEPTED, "the machine is as good as before")
        answered = sum(outcome.known for outcome in outcomes)
        message = f"after {AT_ONCE:,} wrong policy fetches at once, {answered:,} of them answered, the server "
        held: bool | None = True
        if alive.right and beaten.right:
            message += "answered its health page and took a heartbeat"
        else:
            # One answer that is lost is no server that is dead; none to a thousand fetches and a heartbeat is.
            held = False if beaten.got is Answer.LOST and (alive.got is Answer.LOST or not answered) else None
            message += f"answered {alive.status} to its health page and {beaten.status} to a heartbeat (0: nothing)"
        yield Claim("stays-live", held, message)
        yield JoinFleet(machine)


def _bogus_fetches(context: ScriptContext, machine: Machine) -> Iterator[Send]:
    """Yield every way of being wrong, over and over."""
    token, certificate_id = machine.token.decode(), machine.certificate_id
    while True:
        unknown = f"wrk_{random_hex(context.rng, WORKER_DIGITS)}"
        wrong_token = random_hex(context.rng, TOKEN_DIGITS)
        near_token = near_miss(context.rng, token, int(context.rng.integers(TOKEN_DIGITS)))
        wrong_certificate = f"mcert_{random_hex(context.rng, CERTIFICATE_DIGITS)}"
        for headers, answer in (
            ({}, Answer.POLICY_MISSING_HEADERS),
            ({TOKEN: token}, Answer.POLICY_MISSING_HEADERS),
            ({CERTIFICATE: certificate_id}, Answer.POLICY_MISSING_HEADERS),
            ({TOKEN: wrong_token, CERTIFICATE: certificate_id}, Answer.POLICY_INVALID_TOKEN),
            ({TOKEN: near_token, CERTIFICATE: certificate_id}, Answer.POLICY_INVALID_TOKEN),
            ({TOKEN: token, CERTIFICATE: wrong_certificate}, Answer.POLICY_INVALID_CERTIFICATE),
        ):
            yield _fetch(context, machine.worker_id, headers, answer, machine.index)
        yield _fetch(
            context, unknown, {TOKEN: token, CERTIFICATE: certificate_id}, Answer.POLICY_INVALID_TOKEN, NO_MACHINE
        )


def _fetch(context: ScriptContext, worker_id: str, headers: dict[str, str], answer: Answer, machine: int) -> Send:
    wanted = ApiCall(Operation.POLICY_FETCH, "GET", f"/workers/{worker_id}/policy", headers)
    expect = heartbeat_gets(answer, "only the machine itself may fetch its policy")
    return Send(wanted.message(context.host), expect, Operation.POLICY_FETCH, machine)
