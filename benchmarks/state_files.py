"""State files of any size for servers to start from: schema 1, as any implementation of the contract writes it (§7)."""

from __future__ import annotations

import secrets  # noqa: TID251 - ids and tokens as random as a server's
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from pathlib import Path

OWNERS = 20
EVENTS_OF_AN_OWNER = 5_000
"""As many as an audit stream keeps by default."""
CERTIFICATE_LIFE_NS = 900 * SECOND_NS
AGE_NS = 300 * SECOND_NS
"""How old a state is: old enough that no nonce of its time matters any more (contract §4)."""
RULES = {"max_cpu_percent": 50}


def write_state(path: Path, token: str, machines: int, shown: int, now_ns: int) -> list[dict[str, str]]:
    """Write a state in which every machine is consented to and was heard; give the credentials of `shown` of them.

    `token` is the owners', `now_ns` Unix time. Credentials are dicts of worker_id, token, certificate_id and policy_id,
    of machines spread evenly over all.
    """
    saved_ns = now_ns - AGE_NS
    then = format_timestamp(saved_ns)
    expires = format_timestamp(saved_ns + CERTIFICATE_LIFE_NS)
    document: dict[str, Any] = {"schema_version": 1, "saved_at": then}
    sections = ("machines", "machine_certs", "worker_status", "policies", "consents")
    kept, certificates, statuses, policies, consents = ({} for _ in sections)
    events: list[dict[str, Any]] = []
    policy_of: dict[str, str] = {}
    for number in range(OWNERS):
        owner_id, policy_id = f"owner-{number}", "pol_" + secrets.token_hex(8)
        policy_of[owner_id] = policy_id
        policies[policy_id] = {
            "id": policy_id, "owner_id": owner_id, "version": 1, "rules": RULES,
            "signature": _signed(token, f"{owner_id}|{canonical_json(RULES)}"),
            "state": "active", "created_at": then, "updated_at": then,
        }  # fmt: skip
    for index in range(machines):
        owner_id, worker_id = f"owner-{index * OWNERS // machines}", "wrk_" + secrets.token_hex(8)
        policy_id, consent_id = policy_of[owner_id], "con_" + secrets.token_hex(8)
        name = f"machine {index}"
        kept[worker_id] = {
            "id": worker_id, "owner_id": owner_id, "name": name, "secret": secrets.token_hex(24), "created_at": then,
        }  # fmt: skip
        certificates[worker_id] = {
            "certificate_id": "mcert_" + secrets.token_hex(10), "machine_id": worker_id, "issued_at": then,
            "expires_at": expires, "signature": secrets.token_hex(24),
        }  # fmt: skip
        statuses[worker_id] = {
            "worker_id": worker_id, "last_heartbeat": then, "policy_id": policy_id, "updated_at": then,
        }  # fmt: skip
        consents[consent_id] = {
            "id": consent_id, "owner_id": owner_id, "worker_id": worker_id, "policy_id": policy_id,
            "signature": _signed(token, f"{owner_id}|{worker_id}|{policy_id}"), "effective_at": then,
        }  # fmt: skip
        if index % max(1, machines // OWNERS) < EVENTS_OF_AN_OWNER:
            event = {
                "id": "aud_" + secrets.token_hex(8), "type": "machine_registered", "actor": f"owner:{owner_id}",
                "object_id": worker_id, "metadata": {"name": name}, "created_at": then,
            }  # fmt: skip
            events.append(event)
    document |= dict(zip(sections, (kept, certificates, statuses, policies, consents), strict=True))
    document["audit_events"] = events
    path.write_bytes(msgspec.json.encode(document))
    path.chmod(0o600)
    step = max(1, machines // shown)
    return [
        {
            "worker_id": worker_id,
            "token": kept[worker_id]["secret"],
            "certificate_id": certificates[worker_id]["certificate_id"],
            "policy_id": statuses[worker_id]["policy_id"],
        }
        for worker_id in list(kept)[::step][:shown]
    ]


def _signed(token: str, text: str) -> str:
    return sign_text(token.encode(), text).decode()
