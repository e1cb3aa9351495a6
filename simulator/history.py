"""The append-only record of what was sent, when, what a correct server must say, and what came back.

Times are nanoseconds on the harness's monotonic clock, counted from the start of the run. A row costs 46 bytes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEVER_NS = int(np.iinfo(np.int64).max)
"""`answered_ns` of a request whose answer was lost: it took effect at any time after it was sent, or never."""


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
    """5xx: refused; whether it was counted cannot be known."""
    UNEXPECTED = 16
    """An answer the contract does not allow here."""
    LOST = 17
    """No whole answer came: the request may or may not have taken effect."""
    EITHER = 18
    """Only as `expected`: too near an edge for anyone but the server to know."""


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

HONEST = 0
"""`campaign` of a row that no attack made; attack campaigns are numbered from 1 in the order of the scenario."""

NO_MACHINE = -1

ROW = np.dtype(
    [
        ("planned_ns", "<i8"),
        ("sent_ns", "<i8"),
        ("answered_ns", "<i8"),
        ("nonce", "V12"),
        ("machine", "<i4"),
        ("status", "<i2"),
        ("operation", "u1"),
        ("expected", "u1"),
        ("got", "u1"),
        ("campaign", "u1"),
    ],
)


class Scrape(msgspec.Struct, frozen=True):
    """One reading of the server's metrics, made between its two times: exposed sample name to value."""

    sent_ns: int
    answered_ns: int
    samples: dict[str, float]


class GeneratorSample(msgspec.Struct, frozen=True):
    """The harness's own health over one second: worst loop lag, CPU share of one core (0-1), planned starts missed."""

    at_ns: int
    loop_lag_ns: int
    cpu_share: float
    dropped_starts: int


class History:
    """Rows in the order their outcomes became known. Grows by whole blocks; `rows()` is a view."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[Any]] = []
        self._pending: list[tuple[int, int, int, bytes, int, int, int, int, int, int]] = []
        self.scrapes: list[Scrape] = []
        self.generator: list[GeneratorSample] = []

    def append(
        self,
        planned_ns: int,
        sent_ns: int,
        answered_ns: int,
        nonce: bytes,
        machine: int,
        status: int,
        operation: int,
        expected: int,
        got: int,
        campaign: int,
    ) -> None:
        """Add one row. Rows wait as tuples and are packed by blocks, because a numpy row write costs ten times more."""
        pending = self._pending
        pending.append(
            (planned_ns, sent_ns, answered_ns, nonce, machine, status, operation, expected, got, campaign),
        )
        if len(pending) >= 4096:  # noqa: PLR2004 - a block small enough to keep the tuples' memory negligible
            self._pack()

    def _pack(self) -> None:
        if self._pending:
            self._blocks.append(np.array(self._pending, dtype=ROW))
            self._pending.clear()

    def rows(self) -> NDArray[Any]:
        """All rows so far as one structured array of dtype `ROW`."""
        self._pack()
        if not self._blocks:
            return np.empty(0, dtype=ROW)
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0]

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks) + len(self._pending)
