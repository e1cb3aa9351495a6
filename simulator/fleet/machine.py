"""A virtual provider machine, without I/O: it is asked for its next action, and told the outcome.

Both worlds run this code. It has no clock, socket or randomness: times and jitter are arguments, times in nanoseconds
of the run.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Any

from reference_server.wire.signing import sign_text
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.fleet.clocks import PERFECT, ClockError

HOLD_NS = 60 * SECOND_NS
"""A machine rotates after a 401, and fetches its policy after a 403, at most once in this time."""
BACK_OFF_MAX_NS = 60 * SECOND_NS
BACK_OFF_DOUBLINGS_MAX = 6
UNAUTHORIZED, FORBIDDEN = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN


class Action(Enum):
    """A machine's next action."""

    REGISTER = 1
    CONSENT = 2
    FETCH_POLICY = 3
    ROTATE = 4
    HEARTBEAT = 5
    WAIT = 6


class Machine:
    """The state of a machine. `due_ns` is its next turn; `silence` are the (from, to) times of its silences.

    Certificates and the consent have numbers of the history, 0 for none. `free_ns` is the end of its last control-plane
    request.
    """

    __slots__ = (
        "certificate_id", "certificate_number", "certificate_until_ns", "clock", "consent_number", "consented",
        "due_ns", "failures", "free_ns", "index", "interval_ns", "last_accepted", "last_accepted_ns", "name",
        "owner_id", "policy_id", "previous_certificate_id", "previous_certificate_number", "refetched_ns", "rotate_due",
        "rotated_ns", "rules", "silence", "stopped", "token", "worker_id",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        owner_id: str,
        interval_ns: int,
        clock: ClockError = PERFECT,
        silence: tuple[tuple[int, int], ...] = (),
    ) -> None:
        self.index = index
        self.name = f"machine {index}"
        self.owner_id = owner_id
        self.interval_ns = interval_ns
        self.clock = clock
        self.silence = silence
        self.worker_id = ""
        self.token = b""
        self.certificate_id = ""
        self.previous_certificate_id = ""
        self.certificate_until_ns = 0
        self.certificate_number = 0
        self.previous_certificate_number = 0
        self.consented = False
        self.consent_number = 0
        self.policy_id = ""
        self.rules: dict[str, Any] = {}
        self.due_ns = 0
        self.free_ns = 0
        self.failures = 0
        self.rotate_due = False
        self.rotated_ns = -HOLD_NS
        self.refetched_ns = -HOLD_NS
        self.last_accepted = b""
        self.last_accepted_ns = 0
        self.stopped = False

    def action(self, now_ns: int) -> Action:
        """Return what to do now. For WAIT, `due_ns` becomes the time to ask again."""
        if self.due_ns > now_ns:
            return Action.WAIT
        for start_ns, end_ns in self.silence:
            if start_ns <= now_ns < end_ns:
                self.due_ns = end_ns
                return Action.WAIT
        if not self.worker_id:
            return Action.REGISTER
        if not self.consented:
            return Action.CONSENT
        if not self.policy_id:
            return Action.FETCH_POLICY
        if self.rotate_due or now_ns >= self.certificate_until_ns:
            return Action.ROTATE
        return Action.HEARTBEAT

    def beats(self, now_ns: int) -> bool:
        """Return whether `action` would return HEARTBEAT now."""
        if self.silence and any(start_ns <= now_ns < end_ns for start_ns, end_ns in self.silence):
            return False
        known = self.worker_id and self.consented and self.policy_id
        return bool(known) and not self.rotate_due and now_ns < self.certificate_until_ns

    def registered(self, worker_id: str, token: str, certificate_id: str, until_ns: int) -> None:
        """Store a registration; `until_ns` is when to rotate."""
        self.worker_id = worker_id
        self.token = token.encode()
        self.certificate_id = certificate_id
        self.certificate_until_ns = until_ns

    def rotated(self, certificate_id: str, now_ns: int, until_ns: int) -> None:
        """Store a new certificate; the old one is invalid."""
        self.previous_certificate_id = self.certificate_id
        self.certificate_id = certificate_id
        self.certificate_until_ns = until_ns
        self.rotated_ns = now_ns
        self.rotate_due = False

    def forgotten(self) -> None:
        """Forget the registration, because the server no longer knows this machine: it registers anew."""
        self.worker_id = self.policy_id = ""
        self.consented = self.rotate_due = False
        self.rotated_ns = self.refetched_ns = -HOLD_NS
        self.failures = 0
        self.last_accepted = b""

    def fetched_policy(self, policy_id: str, rules: dict[str, Any], now_ns: int) -> None:
        """Store the policy to obey."""
        self.policy_id = policy_id
        self.rules = rules
        self.refetched_ns = now_ns

    def heartbeat(self, wall_ns: int, elapsed_ns: int, nonce: str, metrics: str) -> bytes:
        """Return a signed heartbeat's body, with the time of this machine's own clock."""
        if self.clock is not PERFECT:
            wall_ns += self.clock.at(elapsed_ns)
        timestamp = format_timestamp(wall_ns // MILLISECOND_NS * MILLISECOND_NS)
        return signed_heartbeat(self.token, self.worker_id, timestamp, nonce, self.policy_id, metrics)

    def accepted(self, planned_ns: int, interval_ns: int) -> None:
        """Plan the next heartbeat one interval after the planned start of this one."""
        self.failures = 0
        self.due_ns = planned_ns + interval_ns

    def refused(self, status: int, now_ns: int, jitter: float, retry_after_ns: int = 0) -> None:
        """Back off, and plan a recovery: a 401 may mean an invalid certificate, a 403 a changed consent.

        `status` is 0 when there was no answer; `jitter` is a random number from 0 to 1.
        """
        if status == UNAUTHORIZED and now_ns - self.rotated_ns >= HOLD_NS:
            self.rotate_due = True
            self.rotated_ns = now_ns
        if status == FORBIDDEN and now_ns - self.refetched_ns >= HOLD_NS:
            self.policy_id = ""
            self.refetched_ns = now_ns
        self.due_ns = now_ns + max(retry_after_ns, back_off_ns(self.interval_ns, self.failures, jitter))
        self.failures += 1


def back_off_ns(interval_ns: int, failures: int, jitter: float) -> int:
    """Return the wait after consecutive failures: doubled each time up to a minute, with jitter."""
    doubled = max(interval_ns, SECOND_NS) << min(failures, BACK_OFF_DOUBLINGS_MAX)
    return int(min(doubled, BACK_OFF_MAX_NS) * (0.75 + 0.5 * jitter))


def signed_heartbeat(
    token: bytes,
    worker_id: str,
    timestamp: str,
    nonce: str,
    policy_id: str,
    metrics: str,
) -> bytes:
    """Return a heartbeat's body, signed with a machine's token (contract §4, §5). All texts must be plain ASCII."""
    signature = sign_text(token, f"{worker_id}|{timestamp}|{nonce}|{policy_id}").decode()
    return (
        f'{{"timestamp":"{timestamp}","nonce":"{nonce}","policy_id":"{policy_id}","metrics":{metrics},'
        f'"signature":"{signature}"}}'
    ).encode()


def heartbeat_head(host: str, worker_id: str, token: str, certificate_id: str) -> bytes:
    """Return the start of a heartbeat's HTTP request, up to the length of its body."""
    return (
        f"POST /api/v1/workers/{worker_id}/heartbeat HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"X-Machine-Token: {token}\r\nX-Machine-Certificate-Id: {certificate_id}\r\n"
        "Content-Length: "
    ).encode()


def with_body(head: bytes, body: bytes) -> bytes:
    """Return the HTTP request with this start and body."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def heartbeat_request(host: str, worker_id: str, token: str, certificate_id: str, body: bytes) -> bytes:
    """Return the HTTP request of a heartbeat."""
    return with_body(heartbeat_head(host, worker_id, token, certificate_id), body)
