"""A machine is proved in one way on all its routes, and how long a refusal takes says nothing (contract §2, §4)."""

from __future__ import annotations

import hmac
from typing import Any, NamedTuple

import pytest

from reference_server.core.authentication import authenticate_machine
from reference_server.operations.callers import MACHINE
from reference_server.operations.table import OPERATIONS
from tests.core.server_under_test import CERTIFICATE_LIFE, UNKNOWN_WORKER, Answer, Machine, Server, hmac_base64

WRONG_TOKEN = "0" * 48
"""Also what an unknown worker's token is compared with: it must prove nothing."""
WRONG_CERTIFICATE = "mcert_" + "0" * 20
ROUTES = ("policy", "heartbeat")


class Claim(NamedTuple):
    """What a request says of who sends it, and for how long its certificate is older than it may be."""

    worker_id: str
    token: str
    certificate_id: str
    late_ns: int = 0


def claims(machine: Machine) -> dict[str, Claim]:
    right = Claim(machine.id, machine.token, machine.certificate["certificate_id"])
    return {
        "unknown worker": right._replace(worker_id=UNKNOWN_WORKER),
        "unknown worker, all zeros": Claim(UNKNOWN_WORKER, WRONG_TOKEN, WRONG_CERTIFICATE),
        "wrong token": right._replace(token=WRONG_TOKEN),
        "token wrong at its end": right._replace(token=machine.token[:-1] + "g"),
        "both wrong": right._replace(token=WRONG_TOKEN, certificate_id=WRONG_CERTIFICATE),
        "wrong certificate": right._replace(certificate_id=WRONG_CERTIFICATE),
        "expired": right._replace(late_ns=CERTIFICATE_LIFE),
        "right": right,
    }


REASONS = {
    "unknown worker": "invalid_machine_token",
    "unknown worker, all zeros": "invalid_machine_token",
    "wrong token": "invalid_machine_token",
    "token wrong at its end": "invalid_machine_token",
    "both wrong": "invalid_machine_token",
    "wrong certificate": "invalid_or_expired_machine_cert",
    "expired": "invalid_or_expired_machine_cert",
}


def make_claim(server: Server, machine: Machine, claim: Claim, route: str) -> Answer:
    server.pass_time(claim.late_ns)
    headers = {"x-machine-token": claim.token, "x-machine-certificate-id": claim.certificate_id}
    if route == "policy":
        return server.send("GET", f"/workers/{claim.worker_id}/policy", None, headers)
    body = server.heartbeat_body(machine, "pol_a", "nonce")
    body["signature"] = hmac_base64(claim.token, f"{claim.worker_id}|{body['timestamp']}|nonce|pol_a")
    return server.send("POST", f"/workers/{claim.worker_id}/heartbeat", body, headers)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """What is compared in constant time, in order: how long the secret is, and what was given."""
    compare = hmac.compare_digest
    seen: list[tuple[int, bytes]] = []

    def watched(expected: bytes, given: bytes) -> bool:
        seen.append((len(expected), given))
        return compare(expected, given)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    return seen


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_refusal_compares_the_same_whoever_is_named(
    server: Server, route: str, name: str, compared: list[tuple[int, bytes]]
) -> None:
    """Token and certificate, each as long as a real one: also for workers that do not exist, and once one is wrong."""
    machine = server.register()
    claim = claims(machine)[name]
    compared.clear()
    make_claim(server, machine, claim, route)
    assert compared == [(48, claim.token.encode()), (26, claim.certificate_id.encode())]


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_refusal_says_the_same_and_is_counted_for_its_reason(server: Server, route: str, name: str) -> None:
    machine = server.register()
    answer = make_claim(server, machine, claims(machine)[name], route)
    assert answer.error == (401, "unauthorized" if route == "policy" else "invalid heartbeat auth")
    counted = {reason: count for reason, count in server.api.state.failures.by_reason.items() if count}
    assert counted == {REASONS[name] + ("_policy_fetch" if route == "policy" else ""): 1}


class Secret(str):
    """Text that must not be compared but in constant time: to do so is an error."""

    __slots__ = ()
    __hash__ = str.__hash__

    def _compared(self, _other: object) -> bool:
        raise AssertionError("a secret was compared in a time that says how much of it is right")

    __eq__ = __ne__ = __contains__ = _compared


@pytest.mark.parametrize("name", [*REASONS, "right"])
def test_secrets_are_compared_in_constant_time_alone(server: Server, name: str) -> None:
    machine = server.register()
    claim = claims(machine)[name]
    server.pass_time(claim.late_ns)
    given = Secret(claim.token), Secret(claim.certificate_id)
    proved: Any = authenticate_machine(server.api.state, server.now, claim.worker_id, *given)
    assert proved == REASONS.get(name, server.api.state.workers[machine.id])


@pytest.mark.parametrize("token", ["\ud800" * 48, "é" * 48, "", "0"])
def test_any_text_may_be_given_for_a_secret(server: Server, token: str) -> None:
    machine = server.register()
    for worker_id in (machine.id, UNKNOWN_WORKER):
        proved = authenticate_machine(server.api.state, server.now, worker_id, token, token)
        assert proved == "invalid_machine_token"


def test_every_route_of_machines_is_known_here() -> None:
    paths = {operation.path for operation in OPERATIONS if operation.principal is MACHINE}
    assert paths == {f"/workers/{{id}}/{name}" for name in ROUTES}
