"""What a client knows of one machine, policy and consent of its owner, of a step, and of an event by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


Key = tuple[str, ...]
Event = dict[str, Any]
OK, CREATED, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 201, 400, 401, 403, 404, 409
FIRST_HEAD = (0, "0" * 64)
REFUSALS = ("machine_certificate_issue_denied", "owner_access_denied", "worker_auth_failed")
"""Events of refusals: once for each that was answered and is audited, at most once for any other."""
HEARTBEAT = "worker_heartbeat"
HOST = "127.0.0.1"
"""The `Host` of every message, without the port: sent again after a restart, a message is the same to the byte."""


class Machine(msgspec.Struct):
    """A machine with the certificates it has, or had, by which it can be told whether a rotation took place."""

    worker_id: str
    token: str
    certificate_id: str
    replaced_id: str = ""

    def __repr__(self) -> str:
        """Hide the token."""
        return f"Machine({self.worker_id})"

    def rotated(self, certificate_id: str) -> None:
        """Take a new certificate, which ends the old one."""
        self.replaced_id, self.certificate_id = self.certificate_id, certificate_id


class Policy(msgspec.Struct):
    """A policy. `shown` is what the API last showed of it, None while that was lost."""

    rules: dict[str, Any]
    version: int
    active: bool = False
    shown: Event | None = None


class Consent(msgspec.Struct):
    """A consent. `shown` is what the API last showed of it, None while that was lost."""

    id: str
    revoked: bool = False
    shown: Event | None = None


class Step(NamedTuple):
    """One request. `key` is of the event that it leaves when it succeeds; one without must change nothing.

    `learn` takes the data of a right answer and gives the identity of what was changed; `resolve` takes the event in
    place of an answer that was lost. `audited` is of a refusal that leaves an event.
    """

    message: bytes
    status: int
    key: Key | None
    learn: Callable[[Event], str]
    resolve: Callable[[Event], None]
    audited: bool = False


def key_of(event: Event) -> Key:
    """Tell by what a client knows an event before it has seen an answer."""
    kind, metadata = event["type"], event["metadata"]
    match kind:
        case "machine_registered":
            return kind, metadata["name"]
        case "policy_created":
            return kind, str(metadata["version"])
        case "consent_created":
            return kind, metadata["worker_id"], metadata["policy_id"]
        case "worker_heartbeat":
            return kind, event["object_id"], metadata["policy_id"]
        case "machine_certificate_issued" | "policy_activated" | "consent_revoked":
            return kind, event["object_id"]
        case _:
            return (kind,)


def identity_of(event: Event) -> str:
    """Return what the server chose: the id that an answer tells."""
    return str(event["metadata"].get("certificate_id", event["object_id"]))


def nothing(_: Event) -> None:
    """Learn nothing."""


def no_identity(_: Event) -> str:
    """Learn nothing, and name nothing."""
    return ""
