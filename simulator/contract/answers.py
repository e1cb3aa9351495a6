"""What may be asked of a target, and what may come back, with the reasons of refusals (contract §3, §4)."""

from __future__ import annotations

from enum import IntEnum


class Operation(IntEnum):
    """What was asked."""

    HEARTBEAT = 0
    POLICY_FETCH = 1
    REGISTER = 2
    CERTIFICATE = 3
    POLICY_CREATE = 4
    POLICY_ACTIVATE = 5
    CONSENT_CREATE = 6
    CONSENT_REVOKE = 7
    METRICS = 8
    OTHER = 9
    AGENT_REGISTER = 10
    AGENT_UPDATE = 11
    RESOURCES_READ = 12
    PRICES_READ = 13
    JOB_CREATE = 14
    JOB_READ = 15
    JOB_CANCEL = 16
    WALLET_READ = 17
    WITHDRAW = 18
    FORUM_READ = 19
    FORUM_WRITE = 20


def operation_name(operation: int) -> str:
    """Return an operation's number as its name for people, like `policy create`."""
    return Operation(operation).name.lower().replace("_", " ")


class Answer(IntEnum):
    """What a machine-authenticated request may get: acceptance, or the reason it is refused for (contract §3, §4).

    Used twice in a row: `expected`, what a correct server must say, and `got`, what this one said. The wire shows
    only a status and a message, so for refusals `got` is the expected reason when both fit it, else UNEXPECTED.
    """

    ACCEPTED = 0
    MISSING_FIELDS = 1
    MALFORMED_FIELDS = 2
    INVALID_TIMESTAMP = 3
    TIMESTAMP_OUT_OF_WINDOW = 4
    INVALID_TOKEN = 5
    INVALID_CERTIFICATE = 6
    INVALID_SIGNATURE = 7
    NO_CONSENT = 8
    NONCE_REPLAYED = 9
    POLICY_MISSING_HEADERS = 10
    POLICY_INVALID_TOKEN = 11
    POLICY_INVALID_CERTIFICATE = 12
    INVALID_REQUEST = 13
    RATE_LIMITED = 14
    """429: refused before it was judged, so neither a failure nor an acceptance."""
    UNAVAILABLE = 15
    """5xx that names what the server lacks (contract §4, §6, §7): refused; whether it was counted cannot be known."""
    UNEXPECTED = 16
    """An answer the contract does not allow here."""
    LOST = 17
    """No whole answer came: the request may or may not have taken effect."""
    EITHER = 18
    """Only as `expected`: too near an edge for anyone but the server to know."""
    REFUSED = 19
    """Refused as the contract says, by a status and message that are no worker auth failure."""
    ONE_OF_COPIES = 20
    """Only as `expected`: sent several times at once; one is accepted, the others are replays."""
    WHILE_REVOKING = 21
    """Only as `expected`: under way while its consent was being revoked."""
    WITHIN_LIMIT = 22
    """Only as `expected`: accepted, or over the rate limit."""
    UNCOVERED = 23
    """Only as `expected`: changed where no signature covers it; accepted, or refused as badly signed."""
    FAILED = 24
    """Any other 5xx: a fault of the server. What it did all the same cannot be known from it."""
    MAY_BE_REFUSED = 25
    """Only as `expected`: granted, or refused as is right too; of several at once perhaps one can be granted."""


REASONS: dict[Answer, str] = {
    Answer.MISSING_FIELDS: "missing_heartbeat_fields",
    Answer.MALFORMED_FIELDS: "malformed_heartbeat_fields",
    Answer.INVALID_TIMESTAMP: "invalid_timestamp",
    Answer.TIMESTAMP_OUT_OF_WINDOW: "timestamp_out_of_window",
    Answer.INVALID_TOKEN: "invalid_machine_token",
    Answer.INVALID_CERTIFICATE: "invalid_or_expired_machine_cert",
    Answer.INVALID_SIGNATURE: "invalid_heartbeat_signature",
    Answer.NONCE_REPLAYED: "nonce_replayed",
    Answer.POLICY_MISSING_HEADERS: "missing_worker_policy_auth_headers",
    Answer.POLICY_INVALID_TOKEN: "invalid_machine_token_policy_fetch",
    Answer.POLICY_INVALID_CERTIFICATE: "invalid_or_expired_machine_cert_policy_fetch",
}
"""The answers that count as a worker auth failure, each with its reason label (contract §4)."""

ALTERNATIVES: dict[Answer, frozenset[Answer]] = {
    Answer.EITHER: frozenset({Answer.ACCEPTED, Answer.TIMESTAMP_OUT_OF_WINDOW}),
    Answer.ONE_OF_COPIES: frozenset({Answer.ACCEPTED, Answer.NONCE_REPLAYED}),
    Answer.WHILE_REVOKING: frozenset({Answer.ACCEPTED, Answer.NO_CONSENT}),
    Answer.WITHIN_LIMIT: frozenset({Answer.ACCEPTED, Answer.RATE_LIMITED}),
    Answer.UNCOVERED: frozenset({Answer.ACCEPTED, Answer.INVALID_SIGNATURE}),
    Answer.MAY_BE_REFUSED: frozenset({Answer.ACCEPTED, Answer.REFUSED}),
}
"""What each expectation that only the server can decide leaves open."""
