"""The requests the model test sends: rules of policies, and heartbeats genuine and with one thing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.core.control_plane_model import Sent
from tests.core.server_under_test import UNKNOWN_WORKER, hmac_base64, timestamp_text

if TYPE_CHECKING:
    from tests.core.control_plane_records import MachineRecord

MISSING: Any = object()
"""Marks a body's field to leave out."""


def nested(levels: int) -> Any:
    return {} if levels == 1 else {"in": nested(levels - 1)}


def sized(characters: int) -> dict[str, str]:
    return {"p": "x" * (characters - len('{"p": ""}'))}


CHANGED_BODIES: dict[str, dict[str, Any]] = {
    "metrics at their bounds": {"metrics": nested(8)},
    "metrics at their size": {"metrics": sized(16_384)},
    "no metrics": {"metrics": MISSING},
    "unknown field": {"extra": 1},
    "nonce a number": {"nonce": 5},
    "metrics a list": {"metrics": []},
    "metrics null": {"metrics": None},
    "no timestamp": {"timestamp": MISSING},
    "empty timestamp": {"timestamp": ""},
    "no nonce": {"nonce": MISSING},
    "empty nonce": {"nonce": ""},
    "no policy": {"policy_id": MISSING},
    "no signature": {"signature": MISSING},
    "empty signature and a long nonce": {"signature": "", "nonce": "n" * 129},
    "long nonce": {"nonce": "n" * 129},
    "bar in the nonce": {"nonce": "a|b"},
    "control character in the nonce": {"nonce": "a\x00b"},
    "bar in the policy": {"policy_id": "pol|"},
    "late control character in the policy": {"policy_id": "pol\x85"},
    "deep metrics": {"metrics": nested(9)},
    "large metrics": {"metrics": sized(16_385)},
    "timestamp of no day": {"timestamp": "2026-02-30T00:00:00Z"},
    "timestamp without a zone": {"timestamp": "2026-02-20T00:00:00"},
    "other nonce than signed": {"nonce": "another"},
    "garbled signature": {"signature": "AAAA"},
    "signature that is no base64": {"signature": "é"},
}
CHANGED_SENDERS = (
    "no token",
    "no certificate",
    "wrong token",
    "another's token",
    "wrong certificate",
    "another's certificate",
    "retired certificate",
    "unknown worker",
    "another's path",
    "signed by another",
    "signed for another path",
)
RULES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"max_cpu_percent": 50}, ""),
    ({"max_cpu_percent": 1, "max_memory_percent": 100, "max_gpu_percent": 99.5}, ""),
    ({"max_cpu_percent": 10, "timezone": "Asia/Seoul <é>", "allowed_hours": [22, 23, 0]}, ""),
    ({}, "max_cpu_percent is required"),
    ({"max_cpu_percent": 101}, "max_cpu_percent must be a number from 1 to 100"),
    ({"max_cpu_percent": 5, "max_power": 1}, "unsupported policy field: max_power"),
    (
        {"max_cpu_percent": 5, "allowed_hours": [24]},
        "allowed_hours must be a non-empty array of at most 24 integers from 0 to 23",
    ),
)


def signed_heartbeat(
    machine: MachineRecord,
    policy_id: str,
    nonce: str,
    stamped_ns: int,
    offset_minutes: int = 0,
) -> Sent:
    timestamp = timestamp_text(stamped_ns, offset_minutes)
    text = f"{machine.id}|{timestamp}|{nonce}|{policy_id}"
    signature = hmac_base64(machine.token, text)
    body = {"timestamp": timestamp, "nonce": nonce, "policy_id": policy_id, "metrics": {}, "signature": signature}
    return Sent(machine.id, machine.token, machine.certificate_id, body, stamped_ns, machine.token, text)


def with_changed_body(sent: Sent, changes: dict[str, Any]) -> Sent:
    body = {name: value for name, value in {**sent.body, **changes}.items() if value is not MISSING}
    sent = sent._replace(body=body)
    if "signature" in changes:
        sent = sent._replace(signed_with="nobody")
    if "timestamp" in changes:
        sent = sent._replace(stamped_ns=None)
    return sent


def with_changed_sender(sent: Sent, machine: MachineRecord, other: MachineRecord, change: str) -> Sent:
    """Change who sends; `other` may be the machine itself while there is only one."""
    of_policy = f"{sent.body.get('nonce')}|{sent.body.get('policy_id')}"
    other_text = f"{other.id}|{sent.body['timestamp']}|{of_policy}"
    changed: dict[str, dict[str, Any]] = {
        "no token": {"token": ""},
        "no certificate": {"certificate_id": ""},
        "wrong token": {"token": "0" * 48},
        "another's token": {"token": other.token},
        "wrong certificate": {"certificate_id": "mcert_00000000000000000000"},
        "another's certificate": {"certificate_id": other.certificate_id},
        "retired certificate": {"certificate_id": [machine.certificate_id, *machine.retired_certificates][-1]},
        "unknown worker": {"worker_id": UNKNOWN_WORKER},
        "another's path": {"worker_id": other.id},
        "signed by another": {"signed_with": other.token},
        "signed for another path": {"worker_id": other.id, "signed_text": other_text},
    }
    sent = sent._replace(**changed[change])
    return sent._replace(body={**sent.body, "signature": hmac_base64(sent.signed_with, sent.signed_text)})
