"""Worker auth failures: totals by reason, and how many are recent (contract §4, §10)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from reference_server.limits import RECENT_FAILURE_BUCKETS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

HEARTBEAT_REASONS = (
    "missing_heartbeat_fields",
    "malformed_heartbeat_fields",
    "invalid_timestamp",
    "timestamp_out_of_window",
    "invalid_machine_token",
    "invalid_or_expired_machine_cert",
    "invalid_heartbeat_signature",
    "nonce_replayed",
)
POLICY_FETCH_REASONS = (
    "missing_worker_policy_auth_headers",
    "invalid_machine_token_policy_fetch",
    "invalid_or_expired_machine_cert_policy_fetch",
)


class AuthFailures:
    """Counts that only grow, and a sliding window over the monotonic clock.

    The window is kept as (start, count) steps of 1/65,536 of its length, so its memory is bounded however hard the
    server is attacked; a failure leaves it at most one step early.
    """

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._step_ns = window_ns // RECENT_FAILURE_BUCKETS_MAX
        self._buckets: deque[list[int]] = deque()
        self._recent = 0
        self.total = 0
        self.unattributed = 0
        self.by_reason = dict.fromkeys(HEARTBEAT_REASONS + POLICY_FETCH_REASONS, 0)

    def count(self, reason: str, monotonic_ns: int, *, attributed: bool) -> None:
        """Count one failure. `attributed` says whether it named a known worker."""
        self.by_reason[reason] += 1
        self.total += 1
        if not attributed:
            self.unattributed += 1
        self._recent += 1
        buckets = self._buckets
        if buckets and monotonic_ns - buckets[-1][0] < self._step_ns:
            buckets[-1][1] += 1
        else:
            buckets.append([monotonic_ns, 1])
            self._slide(monotonic_ns)

    def dump(self) -> dict[str, Any]:
        """Return all counts, with the window's steps as (monotonic ns, count), for `load`."""
        return {
            "by_reason": dict(self.by_reason),
            "unattributed": self.unattributed,
            "recent": [tuple(bucket) for bucket in self._buckets],
        }

    def load(self, by_reason: dict[str, int], unattributed: int, recent: Iterable[tuple[int, int]]) -> None:
        """Restore counts from `dump`; the window's steps are oldest first."""
        for reason in self.by_reason:
            self.by_reason[reason] = by_reason.get(reason, 0)
        self.total, self.unattributed = sum(self.by_reason.values()), unattributed
        self._buckets.extend([since_ns, count] for since_ns, count in recent)
        self._recent = sum(count for _, count in self._buckets)

    def recent(self, monotonic_ns: int) -> int:
        """Return the number of failures in the window that ends now."""
        self._slide(monotonic_ns)
        return self._recent

    def _slide(self, monotonic_ns: int) -> None:
        buckets = self._buckets
        oldest_ns = monotonic_ns - self._window_ns
        while buckets and buckets[0][0] <= oldest_ns:
            self._recent -= buckets.popleft()[1]
