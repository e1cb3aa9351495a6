"""A small run as the recorder would have taken it: one owner, machines, heartbeats and attacks, made from a seed."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import heartbeat_request, signed_heartbeat
from simulator.fleet.requests import ApiCall, activate_call, consent_call, owner_headers, policy_call
from simulator.history.rows import NEVER_NS
from simulator.traces.format import Exchange, Header, Trace
from simulator.traces.tape import Taken
from simulator.traces.writing import Origin, TraceWriter

OWNER_TOKEN = "0wner-T0ken_of.the+tests/with=odd"
STARTED_UNIX_NS = 1_790_000_000_123_456_789
AUTHORITY = "127.0.0.1:8080"
RULES = {"max_cpu_percent": 50, "timezone": "Europe/Berlin"}
ATTACKS = ("replay.exact", "credential.wrong-token", "signature.forged")


def digits(name: str, count: int) -> str:
    """Return hexadecimal digits that are the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()[:count]


def answer_of(status: int, data: Any = None, error: str = "") -> bytes:
    """Write an answer as the API's server does."""
    body = msgspec.json.encode({"success": True, "data": data} if not error else {"success": False, "error": error})
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body


class Recording:
    """Makes exchanges one after the other, a tenth of a second apart; `world` makes its ids and tokens its own."""

    def __init__(self, world: str = "recorded", owner_id: str = "ada") -> None:
        self.world = world
        self.owner_id = owner_id
        self.taken: list[Taken] = []
        self.policy_id = f"pol_{digits(f'{world} policy', 16)}"

    def token(self, machine: int) -> str:
        return digits(f"{self.world} token {machine}", 48)

    def worker(self, machine: int) -> str:
        return f"wrk_{digits(f'{self.world} worker {machine}', 16)}"

    def certificate(self, machine: int) -> str:
        return f"mcert_{digits(f'{self.world} certificate {machine}', 20)}"

    def take(
        self,
        request: bytes,
        answer: bytes | None,
        *,
        got: Answer = Answer.ACCEPTED,
        operation: Operation = Operation.OTHER,
        **more: Any,
    ) -> Taken:
        """Take an exchange right after the last one, or as `more` says."""
        sent_ns = (len(self.taken) - 2) * SECOND_NS // 10
        fields: dict[str, Any] = {
            "planned_ns": sent_ns,
            "sent_ns": sent_ns,
            "answered_ns": NEVER_NS if answer is None else sent_ns + SECOND_NS // 100,
            "source": "127.16.0.1",
            "campaign": 0,
            "machine": -1,
            "operation": operation,
            "request": request,
            "answer": answer,
            "expected": got,
            "got": got,
        }
        taken = Taken(**{**fields, **more})
        self.taken.append(taken)
        return taken

    def call(self, call: ApiCall, answer: bytes, **more: Any) -> Taken:
        return self.take(call.message(AUTHORITY), answer, operation=call.operation, **more)

    def policy(self) -> None:
        """Create and activate the owner's policy."""
        create = policy_call(OWNER_TOKEN, self.owner_id, dict(RULES))
        shown = {"id": self.policy_id, "signature": create.body["signature"], "state": "draft"}
        self.call(create, answer_of(201, shown))
        self.call(activate_call(OWNER_TOKEN, self.owner_id, self.policy_id), answer_of(200, shown))

    def enrol(self, machine: int) -> None:
        """Register a machine and consent to it."""
        headers = owner_headers(OWNER_TOKEN, self.owner_id)
        body = {"owner_id": self.owner_id, "name": f"machine {machine}"}
        register = ApiCall(Operation.REGISTER, "POST", "/machines/register", headers, body)
        data = {
            "machine": {"id": self.worker(machine), "owner_id": self.owner_id},
            "machine_token": self.token(machine),
            "machine_certificate": {"certificate_id": self.certificate(machine)},
        }
        self.call(register, answer_of(201, data), machine=machine)
        consent = consent_call(OWNER_TOKEN, self.owner_id, self.worker(machine), self.policy_id)
        consent_id = f"con_{digits(f'{self.world} consent {machine}', 16)}"
        self.call(consent, answer_of(201, {"id": consent_id, "signature": consent.body["signature"]}), machine=machine)

    def heartbeat(
        self,
        machine: int,
        nonce: str,
        *,
        got: Answer = Answer.ACCEPTED,
        token: str = "",
        key: str = "",
        skew_ns: int = 0,
        campaign: int = 0,
    ) -> Taken:
        """Send a heartbeat stamped with its own moment, with another token or signing key where one is given."""
        wall_ns = STARTED_UNIX_NS + (len(self.taken) - 2) * SECOND_NS // 10 + skew_ns
        stamp = format_timestamp(wall_ns // 1_000_000 * 1_000_000)
        signing = (key or token or self.token(machine)).encode()
        body = signed_heartbeat(signing, self.worker(machine), stamp, nonce, self.policy_id, '{"cpu_percent":1.5}')
        sent = token or self.token(machine)
        request = heartbeat_request(AUTHORITY, self.worker(machine), sent, self.certificate(machine), body)
        return self.heartbeat_bytes(machine, request, got=got, campaign=campaign)

    def heartbeat_bytes(self, machine: int, request: bytes, *, got: Answer, campaign: int = 0) -> Taken:
        accepted = got is Answer.ACCEPTED
        data = {"worker_id": self.worker(machine), "accepted": True}
        answer = answer_of(200, data) if accepted else answer_of(401, error="invalid heartbeat auth")
        return self.take(request, answer, got=got, operation=Operation.HEARTBEAT, machine=machine, campaign=campaign)

    def origin(self, **more: Any) -> Origin:
        fields: dict[str, Any] = {
            "scenario": "small",
            "seed": 3,
            "target": "its own server",
            "authority": AUTHORITY,
            "started_unix_ns": STARTED_UNIX_NS,
            "attacks": ATTACKS,
        }
        return Origin(**{**fields, **more})

    def lines(self, *, redact: bool = True) -> list[Header | Exchange]:
        return list(TraceWriter(self.taken, self.origin(), OWNER_TOKEN, redact=redact).lines())

    def trace(self, *, redact: bool = True) -> Trace:
        header, *exchanges = self.lines(redact=redact)
        assert isinstance(header, Header)
        return Trace(header, tuple(one for one in exchanges if isinstance(one, Exchange)))


def small_recording(world: str = "recorded") -> Recording:
    """Record two machines, and a replay, a near miss of a token and a forged signature against the first."""
    recording = Recording(world)
    recording.policy()
    recording.enrol(0)
    recording.enrol(1)
    first = recording.heartbeat(0, "aa" * 12)
    recording.heartbeat(1, "bb" * 12, skew_ns=-45 * SECOND_NS)
    recording.heartbeat_bytes(0, first.request, got=Answer.NONCE_REPLAYED, campaign=1)
    recording.heartbeat(0, "cc" * 12, got=Answer.INVALID_TOKEN, token=missed(recording.token(0)), campaign=2)
    recording.heartbeat(0, "dd" * 12, got=Answer.INVALID_SIGNATURE, key="another key", campaign=3)
    return recording


def missed(token: str) -> str:
    """Return a token with one digit wrong."""
    return token[:17] + ("0" if token[17] != "0" else "1") + token[18:]


def distance(first: str, second: str) -> int:
    """Count the places in which two texts of one length differ."""
    return sum(a != b for a, b in zip(first, second, strict=True))


def nearest(text: str, secret: str) -> int:
    """Return how near any part of a text comes to a secret, in differing characters, whatever their case."""
    low, wanted = text.lower(), secret.lower()
    windows = (low[at : at + len(wanted)] for at in range(len(low) - len(wanted) + 1))
    return min((distance(window, wanted) for window in windows), default=len(wanted))


def in_order(values: list[int]) -> bool:
    """Return whether numbers only grow."""
    return all(a <= b for a, b in pairwise(values))
