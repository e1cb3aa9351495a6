"""A heartbeat is refused for the first of its checks that fails, and counted for that one alone (contract §4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from reference_server.core import heartbeats
from reference_server.core.nonces import NonceMemory
from reference_server.ports import Reservation
from tests.core.server_under_test import (
    CERTIFICATE_LIFE,
    SKEW,
    UNKNOWN_WORKER,
    Answer,
    Machine,
    Server,
    hmac_base64,
    timestamp_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Beat:
    """A heartbeat in the making, by a machine whose certificate was rotated once and who was heard from once."""

    def __init__(self) -> None:
        self.server = Server()
        self.other = self.server.register("ada")
        machine = self.server.register("ada")
        self.policy_id = self.server.policy("ada")
        self.revoked_id = self.server.policy("ada")
        self.server.revoke("ada", self.server.consent(machine, self.revoked_id))
        self.server.consent(machine, self.policy_id)
        assert self.server.beat(machine, self.policy_id, "used").status == 200
        headers = {"authorization": "Bearer owners-bearer-token", "x-owner-id": "ada", "x-machine-token": machine.token}
        newest = self.server.send("POST", f"/machines/{machine.id}/certificate", None, headers).data
        self.retired_id = machine.certificate["certificate_id"]
        self.machine = Machine(machine.id, "ada", machine.token, newest)
        self.worker_id, self.token, self.certificate_id = machine.id, machine.token, newest["certificate_id"]
        self.key = machine.token
        self.wait = 0
        self.age = 0
        self.fields: dict[str, Any] = {"nonce": "fresh", "policy_id": self.policy_id, "metrics": {}}
        self.after_signing: dict[str, Any] = {}

    def body(self) -> bytes:
        fields = {"timestamp": timestamp_text(self.server.now.wall_ns - self.age), **self.fields}
        signed = "|".join(str(fields[name]) for name in ("timestamp", "nonce", "policy_id"))
        fields["signature"] = hmac_base64(self.key, f"{self.worker_id}|{signed}")
        return json.dumps({**fields, **self.after_signing}).encode()

    def send(self, way: str) -> Answer:
        self.server.pass_time(self.wait)
        body = self.body()
        if way == "lane":
            return self.server.lane(self.worker_id, self.token, self.certificate_id, body)
        headers = {"x-machine-token": self.token, "x-machine-certificate-id": self.certificate_id}
        return self.server.send("POST", f"/workers/{self.worker_id}/heartbeat", body, headers, prefix=way)


def change(**changes: Any) -> Callable[[Beat], None]:
    def commit(beat: Beat) -> None:
        for name, value in changes.items():
            setattr(beat, name, value(beat) if callable(value) else value)

    return commit


def sign(**fields: Any) -> Callable[[Beat], None]:
    return lambda beat: beat.fields.update(fields)


def alter(**fields: Any) -> Callable[[Beat], None]:
    """Change the body after it was signed."""
    return lambda beat: beat.after_signing.update(fields)


def nested(levels: int) -> Any:
    return {} if levels == 1 else {"in": [nested(levels - 2)] if levels > 2 else {}}


def sized(characters: int) -> dict[str, str]:
    return {"p": "x" * (characters - len('{"p": ""}'))}


class Check(NamedTuple):
    status: int
    error: str
    reason: str
    faults: dict[str, Callable[[Beat], None]]


AUTH = "invalid heartbeat auth"
CHECKS = [
    Check(400, "invalid request", "", {"unknown field": alter(extra=1), "metrics a list": alter(metrics=[])}),
    Check(
        400,
        "missing required heartbeat fields",
        "missing_heartbeat_fields",
        {
            "signature": alter(signature=""),
            "timestamp": alter(timestamp=""),
            "nonce": alter(nonce=""),
            "policy": alter(policy_id=""),
            "token": change(token=""),
            "certificate": change(certificate_id=""),
        },
    ),
    Check(
        400,
        "invalid heartbeat fields",
        "malformed_heartbeat_fields",
        {
            "deep metrics": alter(metrics=nested(9)),
            "large metrics": alter(metrics=sized(16_385)),
            "long nonce": sign(nonce="n" * 129),
            "bar in the nonce": sign(nonce="a|b"),
            "control character in the nonce": sign(nonce="a\n"),
            "bar in the policy": sign(policy_id="a|b"),
            "control character in the policy": sign(policy_id="\x7f"),
        },
    ),
    Check(400, "invalid timestamp", "invalid_timestamp", {"no time": sign(timestamp="yesterday")}),
    Check(
        401,
        AUTH,
        "timestamp_out_of_window",
        {"too old": change(age=SKEW + 1), "too new": change(age=-SKEW - 1)},
    ),
    Check(
        401,
        AUTH,
        "invalid_machine_token",
        {
            "wrong token": change(token="0" * 48),
            "another's token": change(token=lambda beat: beat.other.token),
            "another's path": change(worker_id=lambda beat: beat.other.id),
            "unknown worker": change(worker_id=UNKNOWN_WORKER),
            "unknown worker with its stand-in": change(worker_id=UNKNOWN_WORKER, token="0" * 48),
        },
    ),
    Check(
        401,
        AUTH,
        "invalid_or_expired_machine_cert",
        {
            "expired": change(wait=CERTIFICATE_LIFE),
            "retired": change(certificate_id=lambda beat: beat.retired_id),
            "another's": change(certificate_id=lambda beat: beat.other.certificate["certificate_id"]),
        },
    ),
    Check(
        401,
        AUTH,
        "invalid_heartbeat_signature",
        {
            "another's key": change(key=lambda beat: beat.other.token),
            "garbled": alter(signature="AAAA"),
            "other nonce": alter(nonce="another"),
            "other policy": alter(policy_id="pol_another"),
        },
    ),
    Check(
        403,
        "no active consent for worker/policy",
        "",
        {
            "revoked": lambda beat: beat.fields.update(policy_id=beat.revoked_id),
            "unknown policy": sign(policy_id="pol_unknown"),
        },
    ),
    Check(401, AUTH, "nonce_replayed", {"used nonce": sign(nonce="used")}),
]
CASES = [(at, name) for at, check in enumerate(CHECKS) for name in check.faults]


@pytest.mark.parametrize("way", ["/api/v1", "/v1", "lane"])
@pytest.mark.parametrize(("at", "name"), CASES, ids=[f"{at + 1}: {name}" for at, name in CASES])
def test_a_heartbeat_is_refused_for_its_first_fault(at: int, name: str, way: str) -> None:
    """Commit one fault alone, then it and one of every later check at once: answer, count and audit are the same."""
    check = CHECKS[at]
    for later in ([], CHECKS[at + 1 :]):
        beat = Beat()
        for each in reversed(later):
            next(iter(each.faults.values()))(beat)
        check.faults[name](beat)
        assert beat.send(way).error == (check.status, check.error)
        counted = [reason for reason, count in beat.server.api.state.failures.by_reason.items() if count]
        assert counted == [check.reason] * bool(check.reason)
        events = beat.server.audit("ada", "type=worker_auth_failed")["events"]
        known = check.reason and beat.worker_id != UNKNOWN_WORKER
        assert [event["metadata"] for event in events] == [{"reason": check.reason}] * bool(known)


@pytest.mark.parametrize("way", ["/api/v1", "/v1", "lane"])
@pytest.mark.parametrize(
    "at_its_bound",
    [
        sign(nonce="n" * 128),
        sign(nonce="é" * 128),
        alter(metrics=nested(8)),
        alter(metrics={"text": "[" * 100, "list": [[]] * 40}),
        alter(metrics=sized(16_384)),
        change(age=SKEW),
        change(age=-SKEW),
        change(wait=CERTIFICATE_LIFE - 1),
    ],
)
def test_a_heartbeat_at_a_bound_is_accepted(at_its_bound: Callable[[Beat], None], way: str) -> None:
    beat = Beat()
    at_its_bound(beat)
    answer = beat.send(way)
    assert answer.error == (200, "")
    assert answer.data == {"worker_id": beat.worker_id, "accepted": True}


@pytest.mark.parametrize("way", ["left out", "null"])
def test_metrics_may_be_none(server: Server, way: str) -> None:
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    body = server.heartbeat_body(machine, policy_id, "nonce")
    if way == "null":
        body["metrics"] = None
    else:
        del body["metrics"]
    assert server.send("POST", f"/workers/{machine.id}/heartbeat", body, machine.headers).status == 200


@pytest.mark.parametrize(
    ("at", "name"),
    [case for case in CASES if case[0] < 9 and case[1] != "expired"],
    ids=[f"{at + 1}: {name}" for at, name in CASES if at < 9 and name != "expired"],
)
def test_a_refused_heartbeat_does_not_burn_its_nonce(at: int, name: str) -> None:
    """Whoever cannot pass the first nine checks cannot use up a victim's nonce."""
    beat = Beat()
    genuine = beat.body()
    worker_id, token, certificate_id = beat.worker_id, beat.token, beat.certificate_id
    CHECKS[at].faults[name](beat)
    assert beat.send("lane").status == CHECKS[at].status
    assert beat.server.lane(worker_id, token, certificate_id, genuine).status == 200


@pytest.mark.parametrize(
    ("reservation", "revoked", "status", "error"),
    [
        (Reservation.RESERVED, False, 200, ""),
        (Reservation.RESERVED, True, 403, "no active consent for worker/policy"),
        (Reservation.REPLAYED, True, 401, "invalid heartbeat auth"),
        (Reservation.UNAVAILABLE, True, 503, "nonce backend unavailable"),
        (Reservation.UNAVAILABLE, False, 503, "nonce backend unavailable"),
    ],
)
def test_a_revoke_while_the_nonce_is_reserved_is_seen(
    server: Server,
    reservation: Reservation,
    revoked: bool,  # noqa: FBT001 - a column of the table
    status: int,
    error: str,
) -> None:
    """Check 11 sees what happened after check 9; check 10 comes before it."""
    machine = server.register()
    policy_id = server.policy()
    consent_id = server.consent(machine, policy_id)
    body = json.dumps(server.heartbeat_body(machine, policy_id, "nonce")).encode()
    state, certificate_id = server.api.state, machine.certificate["certificate_id"]
    verified: heartbeats.Verified | heartbeats.Refused = heartbeats.verify(
        state, server.now, machine.id, machine.token, certificate_id, body
    )
    assert isinstance(verified, heartbeats.Verified)
    if revoked:
        server.revoke("ada", consent_id)
    reply = heartbeats.accept(state, server.now, verified, reservation)
    assert Answer(reply.status, {}, reply.body).error == (status, error)
    heard = server.send("GET", f"/workers/{machine.id}/status", None, {"authorization": "Bearer owners-bearer-token"})
    assert heard.status == (200 if status == 200 else 404)


def test_a_full_nonce_store_refuses_with_503_and_counts_no_failure(server: Server) -> None:
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    server.api.state.nonces = NonceMemory(300_000_000_000, 90_000_000_000, 1)
    assert server.beat(machine, policy_id, "first").status == 200
    assert server.beat(machine, policy_id, "second").error == (503, "nonce backend unavailable")
    assert server.beat(machine, policy_id, "first").error == (401, "invalid heartbeat auth")
    assert server.api.state.failures.total == 1
