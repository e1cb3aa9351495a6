"""Signed policies: rules, versions, activation and storage (contract §3, §5, §7)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.changes import Kind, change
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.core.records import Policy
from reference_server.core.table import Table
from reference_server.limits import JSON_MAX_DEPTH
from reference_server.wire.canonical_json import canonical_json, decode_strict
from reference_server.wire.ids import POLICY_ID
from reference_server.wire.replies import FORBIDDEN, FULL, failure, success
from reference_server.wire.rules import rules_error, valid_owner_id
from reference_server.wire.schema1 import POLICIES, PolicyRecord
from reference_server.wire.sections import kept_time
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.state_file import StateFileError
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant, Reply

OWNER_AND_SIGNATURE_REQUIRED = failure(HTTPStatus.BAD_REQUEST, "owner_id and signature are required")
INVALID_SIGNATURE = failure(HTTPStatus.UNAUTHORIZED, "invalid policy signature")
POLICY_NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "policy not found")


class PolicyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /policies`."""

    owner_id: str = ""
    rules: dict[str, Any] = {}
    signature: str = ""


@change(Kind.POLICY)
def add_policy(state: State, at: Instant, policy_id: str, owner_id: str, rules: str, signature: str) -> None:
    """Add an owner's next policy version as a draft; `rules` are canonical JSON."""
    owner = state.owner(owner_id)
    if owner is None:
        raise ValueError("no room for another owner")
    owner.policy_version += 1
    now_ns = at.wall_ns
    state.policies[policy_id] = Policy(
        policy_id,
        owner_id,
        owner.policy_version,
        rules,
        signature,
        False,  # noqa: FBT003 - a record's field
        now_ns,
        now_ns,
    )


@change(Kind.ACTIVATION)
def make_active(state: State, at: Instant, policy_id: str) -> None:
    """Activate a draft."""
    policy = state.policies[policy_id]
    policy.active = True
    policy.updated_ns = at.wall_ns


def show_policy(policy: Policy) -> dict[str, Any]:
    """Return a policy as the API shows it."""
    return {
        "id": policy.id,
        "owner_id": policy.owner_id,
        "version": policy.version,
        "rules": msgspec.Raw(policy.rules.encode()),
        "signature": policy.signature,
        "state": "active" if policy.active else "draft",
        "created_at": format_timestamp(policy.created_ns),
        "updated_at": format_timestamp(policy.updated_ns),
    }


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name, "")
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def read_policy_request(raw: bytes) -> PolicyRequest | None:
    """Decode the body of a new policy, or return None. Numbers keep the text that was signed."""
    try:
        body = decode_strict(raw, JSON_MAX_DEPTH)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not body.keys() <= {"owner_id", "rules", "signature"}:
        return None
    owner_id, signature, rules = _text(body, "owner_id"), _text(body, "signature"), body.get("rules", {})
    if owner_id is None or signature is None or not isinstance(rules, dict):
        return None
    return PolicyRequest(owner_id, rules, signature)


def create_policy(state: State, call: Call[PolicyRequest]) -> Reply:
    """`POST /policies`."""
    owner_id, rules, signature = call.body.owner_id, call.body.rules, call.body.signature
    if not (owner_id and signature):
        return OWNER_AND_SIGNATURE_REQUIRED
    if not valid_owner_id(owner_id):
        return INVALID_OWNER_ID
    if call.owner_id and call.owner_id != owner_id:
        state.deny_owner(call.now, "owner_mismatch", call.owner_id, "", owner_id)
        return FORBIDDEN
    error = rules_error(rules)
    if error is not None:
        return failure(HTTPStatus.BAD_REQUEST, error)
    canonical = canonical_json(rules)
    if not matches(sign_text(state.api_token, f"{owner_id}|{canonical}"), signature):
        state.deny_owner(call.now, "invalid_policy_signature", owner_id, "", owner_id)
        return INVALID_SIGNATURE
    if not state.has_room_for(owner_id) or not TABLE.has_room(state):
        return FULL
    policy_id = state.new_id(POLICY_ID)
    add_policy(state, call.now, policy_id, owner_id, canonical, signature)
    policy = state.policies[policy_id]
    state.audit(
        call.now,
        "policy_created",
        f"owner:{owner_id}",
        policy_id,
        {"version": policy.version},
        (owner_id,),
    )
    return success(show_policy(policy), HTTPStatus.CREATED)


def activate_policy(state: State, call: Call[bytes]) -> Reply:
    """`POST /policies/{id}/activate`. Other active policies stay active: an owner may have several."""
    (policy_id,) = call.ids
    policy = state.policies.get(policy_id)
    if policy is None:
        return POLICY_NOT_FOUND
    if call.owner_id != policy.owner_id:
        if call.owner_id:
            state.deny_owner(call.now, "not_the_owner", call.owner_id, policy_id, policy.owner_id)
        return FORBIDDEN
    if not policy.active:
        make_active(state, call.now, policy_id)
        state.audit(
            call.now,
            "policy_activated",
            f"owner:{call.owner_id}",
            policy_id,
            {"version": policy.version},
            (call.owner_id,),
        )
    return success(show_policy(policy))


def _keep(state: State) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((policy.id, show_policy(policy)) for policy in state.policies.values())


def _restore(state: State, file: StateFile, _now: Instant) -> None:
    for policy in POLICIES.of(file.sections).values():
        owner = state.owner(policy.owner_id)
        if owner is None:
            raise StateFileError("it has more owners than this server can hold")
        owner.policy_version = max(owner.policy_version, policy.version)
        state.policies[policy.id] = Policy(
            policy.id,
            owner.id,
            policy.version,
            canonical_json(policy.rules),
            policy.signature,
            policy.state == "active",
            kept_time(policy.created_at) or 0,
            kept_time(policy.updated_at) or 0,
        )


TABLE: Table[dict[str, Policy], PolicyRecord] = Table(section=POLICIES, keep=_keep, restore=_restore)
