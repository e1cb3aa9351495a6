"""What the model of the control plane remembers: plain lists, and what can be read from them by searching."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.core.server_under_test import CERTIFICATE_LIFE, SECOND, timestamp_text

STALE = 60 * SECOND
FAILURE_WINDOW = 300 * SECOND
FAILURE_STEP = FAILURE_WINDOW // 65_536
"""A failure may leave the window this much early."""
NONCE_LIFE = 300 * SECOND
FAILURE_THRESHOLD = 3
STREAMS = ("routine", "notable", "refused")
"""Of events of one moment, in the order in which they are listed."""
EVENTS_KEPT = 6
REASONS = (
    "missing_heartbeat_fields",
    "malformed_heartbeat_fields",
    "invalid_timestamp",
    "timestamp_out_of_window",
    "invalid_machine_token",
    "invalid_or_expired_machine_cert",
    "invalid_heartbeat_signature",
    "nonce_replayed",
    "missing_worker_policy_auth_headers",
    "invalid_machine_token_policy_fetch",
    "invalid_or_expired_machine_cert_policy_fetch",
)


@dataclass
class MachineRecord:
    id: str
    owner_id: str
    name: str
    token: str
    certificate_id: str
    issued_mono: int
    retired_certificates: list[str] = field(default_factory=list)


@dataclass
class PolicyRecord:
    shown: dict[str, Any]

    @property
    def owner_id(self) -> str:
        return str(self.shown["owner_id"])

    @property
    def active(self) -> bool:
        return bool(self.shown["state"] == "active")


@dataclass
class Event:
    type: str
    actor: str
    object_id: str
    metadata: dict[str, Any]
    created_ns: int
    id: str = ""


class Acceptance(NamedTuple):
    worker_id: str
    policy_id: str
    nonce: str
    stamped_ns: int
    wall: int
    mono: int


class Records:
    """Everything that happened, and when it is now."""

    def __init__(self, wall: int, mono: int) -> None:
        self.wall = wall
        self.mono = mono
        self.machines: list[MachineRecord] = []
        self.policies: list[PolicyRecord] = []
        self.consents: list[dict[str, Any]] = []
        self.accepted: list[Acceptance] = []
        self.failures: list[tuple[int, str, bool]] = []
        self.streams: dict[str, dict[str, list[Event]]] = {}
        self.unattributed: list[Event] = []
        self.ids: set[str] = set()

    # -- what the server chose

    def learn(self, value: str, prefix: str, digits: int) -> str:
        assert re.fullmatch(f"{prefix}[0-9a-f]{{{digits}}}", value), value
        assert value not in self.ids, f"{value} was given twice"
        self.ids.add(value)
        return value

    def learn_certificate(self, shown: Any, machine_id: str) -> dict[str, str]:
        return {
            "certificate_id": self.learn(shown["certificate_id"], "mcert_", 20),
            "machine_id": machine_id,
            "issued_at": timestamp_text(self.wall),
            "expires_at": timestamp_text(self.wall + CERTIFICATE_LIFE),
            "signature": shown["signature"],
        }

    # -- finding and noting

    def machine(self, machine_id: str) -> MachineRecord | None:
        return next((machine for machine in self.machines if machine.id == machine_id), None)

    def policy(self, policy_id: str) -> PolicyRecord | None:
        return next((policy for policy in self.policies if policy.shown["id"] == policy_id), None)

    def note(self, stream: str, event: Event, owner_id: str) -> None:
        self.streams.setdefault(owner_id, {name: [] for name in STREAMS})[stream].append(event)

    def act(self, kind: str, owner_id: str, object_id: str, metadata: dict[str, Any]) -> None:
        """Note what an owner did; what was granted makes it one."""
        self.note("notable", Event(kind, f"owner:{owner_id}", object_id, metadata, self.wall), owner_id)

    def refuse(self, kind: str, actor: str, object_id: str, metadata: dict[str, Any], *owner_ids: str) -> None:
        """Note what was refused, for those of all it concerns who are owners; for nobody who only says so."""
        event = Event(kind, actor, object_id, metadata, self.wall)
        concerned = [owner_id for owner_id in dict.fromkeys(owner_ids) if owner_id in self.streams]
        for owner_id in concerned:
            self.note("refused", event, owner_id)
        if not concerned:
            self.unattributed.append(event)

    def deny(self, reason: str, actor: str, object_id: str, owner_of_object: str) -> None:
        metadata = {"reason": reason, "actor_owner_id": actor}
        self.refuse("owner_access_denied", f"owner:{actor}", object_id, metadata, owner_of_object, actor)

    def fail(self, reason: str, worker_id: str) -> None:
        machine = self.machine(worker_id)
        self.failures.append((self.mono, reason, machine is not None))
        owner_ids = [machine.owner_id] if machine else []
        self.refuse("worker_auth_failed", f"worker:{worker_id}", worker_id, {"reason": reason}, *owner_ids)

    # -- what is read

    def status(self, machine: MachineRecord) -> dict[str, Any]:
        heard = [each for each in self.accepted if each.worker_id == machine.id]
        if not heard:
            return {"worker_id": machine.id, "stale": True, "age_seconds": -1}
        last = heard[-1]
        return {
            "worker_id": machine.id,
            "last_heartbeat": timestamp_text(last.wall),
            "updated_at": timestamp_text(last.wall),
            "policy_id": last.policy_id,
            "stale": self.mono - last.mono > STALE,
            "age_seconds": (self.mono - last.mono) // SECOND,
        }

    def statuses(self, owner_id: str) -> list[dict[str, Any]]:
        """Return an owner's statuses by worker id, or everybody's for no owner."""
        mine = [machine for machine in self.machines if owner_id in ("", machine.owner_id)]
        shown = [{**self.status(machine), "name": machine.name} for machine in mine]
        return sorted(shown, key=lambda status: str(status["worker_id"]))

    def summary(self, owner_id: str) -> dict[str, int]:
        statuses = self.statuses(owner_id)
        unknown = sum(status["age_seconds"] < 0 for status in statuses)
        stale = sum(status["stale"] for status in statuses) - unknown
        fresh = len(statuses) - stale - unknown
        return {"total": len(statuses), "fresh": fresh, "stale": stale, "unknown": unknown, "stale_threshold": 60}

    def recent_failures(self) -> tuple[int, int]:
        """Return the fewest and the most auth failures that may count as recent."""
        ages = [self.mono - when for when, _, _ in self.failures]
        return sum(age < FAILURE_WINDOW - FAILURE_STEP for age in ages), sum(age < FAILURE_WINDOW for age in ages)

    def audit(self, owner_id: str, kind: str) -> list[tuple[str, int, Event]]:
        """Return (stream, sequence, event) of an owner's kept events of a type, merged by time."""
        kept = [
            (name, at, event)
            for name in STREAMS
            for at, event in list(enumerate(self.streams.get(owner_id, {}).get(name, []), 1))[-EVENTS_KEPT:]
            if kind in ("", event.type)
        ]
        merged = []
        while kept:
            # The wall clock may have been set back: each stream stays in its order, and the earliest next one is first.
            heads = [next(entry for entry in kept if entry[0] == name) for name in dict.fromkeys(e[0] for e in kept)]
            earliest = min(heads, key=lambda entry: entry[2].created_ns)
            merged.append(earliest)
            kept.remove(earliest)
        return merged
