"""Recording copies of heartbeats that a network made: each must be refused as a replay.

A copy is sent after its original was accepted, and before its machine gets the answer, so its nonce is certainly used.
Copies are rows like those of an attack, from which every checker sees that the doubled request may take effect once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from simulator.client.answers import classify_heartbeat
from simulator.client.target import source_number
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import in_words
from simulator.history.losses import Loss, lost_status
from simulator.history.records import FailedExchange
from simulator.history.rows import MIDDLEBOX, NEVER_NS, NONE, History
from simulator.limits import COPY_SECONDS
from simulator.worlds.recording import WORTH_KEEPING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.client.answers import HttpAnswer
    from simulator.history.records import CertificateRecord, ConsentRecord

_HEARTBEAT = re.compile(
    rb"POST /api/v1/workers/([^/ ]+)/heartbeat HTTP/1\.1\r\n(?:[^\r]+\r\n)*?Content-Length: ([0-9]+)\r\n\r\n"
)
_NONCE = re.compile(rb'"nonce":"([0-9a-f]{24})"')


class CopyRecorder:
    """Records copies (`simulator.deployment.conditions.Recorder`)."""

    def __init__(self, history: History, now: Callable[[], int], *, own_addresses: bool) -> None:
        self._history = history
        self._now = now
        self._own_addresses = own_addresses
        self._numbers: dict[str, int] = {}
        self._certificates = _Last(history.certificates)
        self._consents = _Last(history.consents)

    def begin(self, request: bytes, client: str) -> CopyUnderWay | None:
        """Record that a request is sent again; return None unless it is a whole heartbeat of a machine of the fleet."""
        head = _HEARTBEAT.match(request)
        nonce = None if head is None else _NONCE.search(request, head.end())
        if head is None or nonce is None or len(request) != head.end() + int(head[2]):
            return None
        machine = self._machine(head[1].decode("ascii", "replace"))
        if machine is None:
            return None
        source = source_number(client if self._own_addresses else None)
        held = self._certificates.of(machine), self._consents.of(machine)
        return CopyUnderWay(self._history, self._now, request, bytes.fromhex(nonce[1].decode()), machine, source, held)

    def _machine(self, worker_id: str) -> int | None:
        machines = self._history.machines
        if len(machines) > len(self._numbers):
            self._numbers = {one.worker_id: index for index, one in machines.items()}
        return self._numbers.get(worker_id)


class _Last:
    """The number of the latest record of each machine, as rows refer to it; each record is read once."""

    def __init__(self, records: Sequence[CertificateRecord | ConsentRecord]) -> None:
        self._records = records
        self._read = 0
        self._numbers: dict[int, int] = {}

    def of(self, machine: int) -> int:
        """Return the number of a machine's latest record, or `NONE`."""
        for number in range(self._read, len(self._records)):
            self._numbers[self._records[number].machine] = number + 1
        self._read = len(self._records)
        return self._numbers.get(machine, NONE)


class CopyUnderWay:
    """A copy of a machine's heartbeat that waits for its answer."""

    def __init__(
        self, history: History, now: Callable[[], int], request: bytes, nonce: bytes, machine: int, source: int,
        held: tuple[int, int],
    ) -> None:  # fmt: skip
        self._history = history
        self._now = now
        self._request = request
        self._nonce = nonce
        self._machine = machine
        self._source = source
        self._certificate, self._consent = held
        self._sent_ns = now()

    def ended(self, answer: HttpAnswer | None) -> None:
        """Add the copy's row, and its bytes if the answer is wrong."""
        history = self._history
        expected, got = (Answer.NONCE_REPLAYED, Answer.LOST) if answer is None else _judged(answer)
        answered_ns = NEVER_NS if answer is None else self._now()
        status = lost_status(Loss.TIMED_OUT, int(COPY_SECONDS * 1e9)) if answer is None else answer.status
        history.append(
            self._sent_ns, self._sent_ns, answered_ns, self._nonce, self._machine, status, Operation.HEARTBEAT,
            expected, got, MIDDLEBOX, self._source, self._certificate, self._consent,
        )  # fmt: skip
        if answer is not None and got is not expected and got in WORTH_KEEPING:
            wanted = in_words(expected, Operation.HEARTBEAT)
            why = f"the network sent an accepted heartbeat again: a correct server answers {wanted}"
            sent_ns, request = self._sent_ns, self._request
            history.keep(FailedExchange(sent_ns, answered_ns, MIDDLEBOX, request, answer.raw, why, wanted))


def _judged(answer: HttpAnswer) -> tuple[Answer, Answer]:
    """Return a copy's expected and actual answer; its consent or certificate may have ended since the original.

    Whether one had is decided from the whole history (`simulator.checkers.copies`): its end may still be under way.
    """
    for expected in (Answer.NONCE_REPLAYED, Answer.NO_CONSENT, Answer.INVALID_CERTIFICATE):
        got = classify_heartbeat(answer, expected)
        if got is expected:
            return expected, got
    return Answer.NONCE_REPLAYED, classify_heartbeat(answer, Answer.NONCE_REPLAYED)
