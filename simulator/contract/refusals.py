"""The statuses and messages of answers, in the contract's own words (§3, §4)."""

from __future__ import annotations

from http import HTTPStatus

from simulator.contract.answers import ALTERNATIVES, REASONS, Answer, Operation

OK, CREATED, SERVER_ERROR = HTTPStatus.OK, HTTPStatus.CREATED, 500
CREATING = frozenset(
    {
        Operation.REGISTER,
        Operation.POLICY_CREATE,
        Operation.CONSENT_CREATE,
        Operation.AGENT_REGISTER,
        Operation.JOB_CREATE,
        Operation.FORUM_WRITE,
    }
)
"""Operations that answer a success with 201."""
PROMISING = frozenset({Operation.WITHDRAW})
"""Operations that answer a success with 202: the result comes later."""
REFUSALS: dict[Answer, tuple[int, bytes]] = {
    Answer.MISSING_FIELDS: (HTTPStatus.BAD_REQUEST, b"missing required heartbeat fields"),
    Answer.MALFORMED_FIELDS: (HTTPStatus.BAD_REQUEST, b"invalid heartbeat fields"),
    Answer.INVALID_TIMESTAMP: (HTTPStatus.BAD_REQUEST, b"invalid timestamp"),
    Answer.TIMESTAMP_OUT_OF_WINDOW: (HTTPStatus.UNAUTHORIZED, b"invalid heartbeat auth"),
    Answer.INVALID_TOKEN: (HTTPStatus.UNAUTHORIZED, b"invalid heartbeat auth"),
    Answer.INVALID_CERTIFICATE: (HTTPStatus.UNAUTHORIZED, b"invalid heartbeat auth"),
    Answer.INVALID_SIGNATURE: (HTTPStatus.UNAUTHORIZED, b"invalid heartbeat auth"),
    Answer.NONCE_REPLAYED: (HTTPStatus.UNAUTHORIZED, b"invalid heartbeat auth"),
    Answer.NO_CONSENT: (HTTPStatus.FORBIDDEN, b"no active consent for worker/policy"),
    Answer.INVALID_REQUEST: (HTTPStatus.BAD_REQUEST, b"invalid request"),
    Answer.POLICY_MISSING_HEADERS: (HTTPStatus.UNAUTHORIZED, b"unauthorized"),
    Answer.POLICY_INVALID_TOKEN: (HTTPStatus.UNAUTHORIZED, b"unauthorized"),
    Answer.POLICY_INVALID_CERTIFICATE: (HTTPStatus.UNAUTHORIZED, b"unauthorized"),
}
"""The status and message by which a heartbeat or a policy fetch is refused, for each reason."""
OUTAGES: dict[tuple[int, bytes], str] = {
    (HTTPStatus.SERVICE_UNAVAILABLE, b"nonce backend unavailable"): "redis",
    (HTTPStatus.SERVICE_UNAVAILABLE, b"rate limiter unavailable"): "redis",
    (HTTPStatus.SERVICE_UNAVAILABLE, b"shared state unavailable"): "redis",
    (HTTPStatus.SERVICE_UNAVAILABLE, b"capacity reached"): "memory",
    (HTTPStatus.INTERNAL_SERVER_ERROR, b"state persistence failed"): "disk",
}
"""The missing backend named by each 5xx refusal of the contract (§4, §6, §7). Every other 5xx is a fault."""
_IN_WORDS = {
    Answer.RATE_LIMITED: "429 rate limit exceeded",
    Answer.UNAVAILABLE: "503 nonce backend unavailable",
    Answer.REFUSED: "a refusal",
}


def failure_of(status: int, body: bytes) -> Answer:
    """Return the kind of a 5xx answer: a refusal that names a missing backend, or a fault of the server."""
    named = any(status == one and error in body for one, error in OUTAGES)
    return Answer.UNAVAILABLE if named else Answer.FAILED


def backend_of(operation: Operation, status: int) -> str:
    """Return the backend that a server lacks if it refuses `operation` with `status`, as `OUTAGES` names it."""
    if status == SERVER_ERROR:
        return "disk"
    return "redis" if operation in {Operation.HEARTBEAT, Operation.POLICY_FETCH} else "memory"


def success_of(operation: Operation) -> HTTPStatus:
    """Return the status with which a correct server answers a success of `operation`."""
    if operation in PROMISING:
        return HTTPStatus.ACCEPTED
    return CREATED if operation in CREATING else OK


def in_words(answer: Answer, operation: Operation) -> str:
    """Return a correct server's status and message for `answer`, and the reason if only the metrics show it."""
    if answer in ALTERNATIVES:
        return " or ".join(in_words(one, operation) for one in sorted(ALTERNATIVES[answer]))
    if answer is Answer.ACCEPTED:
        return "200 accepted" if operation is Operation.HEARTBEAT else str(int(success_of(operation)))
    if answer in REFUSALS:
        status, error = REFUSALS[answer]
        # Several reasons share one status and message.
        why = f" ({REASONS[answer]})" if answer in REASONS and status == HTTPStatus.UNAUTHORIZED else ""
        return f"{status} {error.decode()}{why}"
    return _IN_WORDS[answer]
