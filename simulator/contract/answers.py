"""The operations of a target, the kinds of answers to them, and the reasons of refusals (contract §3, §4)."""

from __future__ import annotations

from enum import IntEnum


class Operation(IntEnum):
    """The operation that a request asks for."""

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
    """Return the readable name of an operation, given by its number, such as `policy create`."""
    return Operation(operation).name.lower().replace("_", " ")


class Answer(IntEnum):
    """The kind of answer to a request: acceptance, or the reason for which it is refused (contract §3, §4).

    Each row of the history has two: `expected`, the answer of a correct server, and `got`, the answer of this server.
    The wire shows only a status and a message, so for a refusal `got` is the expected reason if both fit that reason,
    and UNEXPECTED otherwise.
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
    """429: refused before authentication, so neither an auth failure nor an acceptance."""
    UNAVAILABLE = 15
    """5xx that names a missing backend (contract §4, §6, §7): refused; whether it was counted cannot be known."""
    UNEXPECTED = 16
    """An answer that the contract does not allow for the request."""
    LOST = 17
    """No whole answer came: the request may or may not have taken effect."""
    EITHER = 18
    """Only as `expected`: so close to the edge of the time window that only the server can know the answer."""
    REFUSED = 19
    """Refused as the contract says, by a status and message that do not count as a worker auth failure."""
    ONE_OF_COPIES = 20
    """Only as `expected`: one of several simultaneous copies; one copy is accepted, the others are replays."""
    WHILE_REVOKING = 21
    """Only as `expected`: the request was under way while its consent was being revoked."""
    WITHIN_LIMIT = 22
    """Only as `expected`: accepted, or refused for exceeding the rate limit."""
    UNCOVERED = 23
    """Only as `expected`: changed in bytes that no signature covers; accepted, or refused for its signature."""
    FAILED = 24
    """Any other 5xx: a fault of the server. Whether the request took effect cannot be known from it."""
    MAY_BE_REFUSED = 25
    """Only as `expected`: granted or refused, both correct, such as for simultaneous requests of which one can win."""


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
"""The reason label of each answer that counts as a worker auth failure (contract §4)."""

ALTERNATIVES: dict[Answer, frozenset[Answer]] = {
    Answer.EITHER: frozenset({Answer.ACCEPTED, Answer.TIMESTAMP_OUT_OF_WINDOW}),
    Answer.ONE_OF_COPIES: frozenset({Answer.ACCEPTED, Answer.NONCE_REPLAYED}),
    Answer.WHILE_REVOKING: frozenset({Answer.ACCEPTED, Answer.NO_CONSENT}),
    Answer.WITHIN_LIMIT: frozenset({Answer.ACCEPTED, Answer.RATE_LIMITED}),
    Answer.UNCOVERED: frozenset({Answer.ACCEPTED, Answer.INVALID_SIGNATURE}),
    Answer.MAY_BE_REFUSED: frozenset({Answer.ACCEPTED, Answer.REFUSED}),
}
"""The answers that are correct for each expectation that leaves a choice to the server."""
