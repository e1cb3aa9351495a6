"""The history: an append-only record of each request, when it was sent, the answer expected and the answer received.

Times are nanoseconds on the harness's monotonic clock, counted from the start of the run. Each request is one row of
58 bytes; everything that happens less often than a request is a record in a side table.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import MutableSequence  # noqa: TC003 - `tables.py` reads the hints
from itertools import chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.history.evidence import as_evidence
from simulator.history.packed import Packed
from simulator.history.records import CertificateShown, ClosesAtRest, Shown, Trouble
from simulator.limits import (
    DEVIATION_EXCHANGES_MAX,
    DEVIATIONS_MAX,
    EXCHANGES_MAX,
    TROUBLE_MAX_CHARACTERS,
    TROUBLES_MAX,
    UNSERVED_MAX,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.history.market_records import (
        AccountShown,
        Assignment,
        CapacityReport,
        JobReport,
        MarketExchange,
        ResourcesShown,
    )
    from simulator.history.records import (
        AuditReading,
        CampaignRecord,
        CertificateRecord,
        ClaimRecord,
        ConsentRecord,
        CpuWait,
        Death,
        Deviation,
        Effect,
        FailedExchange,
        Fault,
        GeneratorSample,
        HealthReading,
        KeyReading,
        LocustCount,
        MachineRecord,
        PartRecord,
        Revocation,
        Scrape,
        StatusReading,
        SummaryReading,
        Unserved,
        Wait,
        WallReading,
    )

NEVER_NS = int(np.iinfo(np.int64).max)
"""`answered_ns` of a request whose answer was lost: the request took effect at any time after its sending, or never."""

HONEST = 0
"""`campaign` of a row that no attack made; attack campaigns are numbered from 1 in the order of the scenario."""

MIDDLEBOX = 255
"""`campaign` of a request that the run's own network sent a second time: higher than the number of any campaign."""

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
        ("source", "<i4"),
        ("certificate", "<u4"),
        ("consent", "<u4"),
    ],
)
"""One request. `status` is the HTTP status, or, for a lost answer, the cause (`simulator.history.losses`). `source`
numbers the client address (`at_host`); it is `NO_SOURCE` if all clients share one address. `certificate` and `consent`
are numbers from `add_certificate` and `add_consent`, 0 if the request used none that was ever valid."""

_pack_row = struct.Struct("<qqq12sihBBBBiII").pack
"""Packs one row into bytes, in a tenth of numpy's time for one row and a quarter of its time per row for many."""
_BLOCK_BYTES = 4096 * ROW.itemsize

NO_SOURCE = -1
PEERS_SOURCE = -2
"""`source` for all addresses of one IPv6 network: a correct server counts them as one client."""
NONE = 0
OTHER_CAUSES = "other causes"
_HOST_BITS = 24
"""Low bits of `source`: the last three bytes of a loopback address. The bits above are the number of its host."""


def source_at(sources: NDArray[Any], host: int) -> NDArray[Any]:
    """Return `sources`, numbered on host 0, as numbers of the host `host`: no two hosts share a source."""
    found: NDArray[Any] = np.where(sources < 0, sources - 2 * host, sources + (host << _HOST_BITS))
    return found


def at_host(source: int) -> tuple[int, int]:
    """Return the number that `source` has on its own host, and the number of that host."""
    if source >= 0:
        return source & ((1 << _HOST_BITS) - 1), source >> _HOST_BITS
    return NO_SOURCE - (source + 1) % 2, (NO_SOURCE - source) // 2


class History:
    """Rows in the order in which their outcomes became known, and side tables. `rows()` returns a view, not a copy."""

    # The side tables. `simulator/history/tables.py` reads these annotations, and so stores any table declared here.
    scrapes: list[Scrape]
    generator: list[GeneratorSample]
    machines: dict[int, MachineRecord]
    owners: list[str]
    certificates: list[CertificateRecord]
    consents: list[ConsentRecord]
    revocations: list[Revocation]
    effects: list[Effect]
    exchanges: list[FailedExchange]
    claims: list[ClaimRecord]
    campaigns: list[CampaignRecord]
    audit_readings: list[AuditReading]
    troubles: list[Trouble]
    faults: list[Fault]
    status_readings: list[StatusReading]
    parts: list[PartRecord]
    locust_counts: list[LocustCount]
    waits: list[Wait]
    health_readings: list[HealthReading]
    deviations: list[Deviation]
    shown: MutableSequence[Shown]
    certificates_shown: MutableSequence[CertificateShown]
    key_readings: list[KeyReading]
    wall_readings: list[WallReading]
    summary_readings: list[SummaryReading]
    deaths: list[Death]
    unserved: list[Unserved]
    closes_at_rest: list[ClosesAtRest]
    cpu_waits: list[CpuWait]
    market_exchanges: list[MarketExchange]
    accounts_shown: list[AccountShown]
    resources_shown: list[ResourcesShown]
    capacity_reports: list[CapacityReport]
    assignments: list[Assignment]
    job_reports: list[JobReport]

    def __init__(self) -> None:
        self._blocks: list[NDArray[Any]] = []
        self._pending = bytearray()
        self.scrapes = []
        self.generator = []
        self.machines = {}
        self.owners = []
        self.certificates = []
        self.consents = []
        self.revocations = []
        self.effects = []
        self.exchanges = []
        self.claims = []
        self.campaigns = []
        self.audit_readings = []
        self.troubles = []
        self.faults = []
        self.status_readings = []
        self.parts = []
        self.locust_counts = []
        self.waits = []
        self.health_readings = []
        self.deviations = []
        self.shown = Packed(Shown)
        self.certificates_shown = Packed(CertificateShown)
        self.key_readings = []
        self.wall_readings = []
        self.summary_readings = []
        self.deaths = []
        self.unserved = []
        self.closes_at_rest = []
        self.cpu_waits = []
        self.market_exchanges = []
        self.accounts_shown = []
        self.resources_shown = []
        self.capacity_reports = []
        self.assignments = []
        self.job_reports = []
        self._rests_watched = True

    def append(  # noqa: PLR0917 - once a request: keywords would cost more than the row
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
        source: int = NO_SOURCE,
        certificate: int = NONE,
        consent: int = NONE,
    ) -> None:
        """Add one row. Rows are buffered as bytes, and become an array a block at a time."""
        pending = self._pending
        pending += _pack_row(
            planned_ns, sent_ns, answered_ns, nonce, machine, status, operation, expected, got, campaign,
            source, certificate, consent,
        )  # fmt: skip
        if len(pending) >= _BLOCK_BYTES:
            self._pack()

    def add_certificate(self, record: CertificateRecord) -> int:
        """Add a machine's new certificate; return its number for rows."""
        self.certificates.append(record)
        return len(self.certificates)

    def add_consent(self, record: ConsentRecord) -> int:
        """Add a consent; return its number for rows."""
        self.consents.append(record)
        return len(self.consents)

    def keep(self, exchange: FailedExchange) -> None:
        """Keep the bytes of a failed exchange as evidence, with secrets masked, up to `EXCHANGES_MAX` exchanges."""
        if len(self.exchanges) < EXCHANGES_MAX:
            request, answer = as_evidence(exchange.request), as_evidence(exchange.answer)
            self.exchanges.append(msgspec.structs.replace(exchange, request=request, answer=answer))

    def fail(self, found: Unserved, exchange: FailedExchange | None = None) -> None:
        """Add a failed request that has no row, and keep the bytes of `exchange`, up to `UNSERVED_MAX` requests."""
        if len(self.unserved) < UNSERVED_MAX:
            self.unserved.append(found)
            if exchange is not None:
                self.keep(exchange)

    def deviate(self, found: Deviation, exchange: FailedExchange) -> None:
        """Count an answer that the contract does not allow, by rule and route, and keep the bytes of `exchange`."""
        deviations = self.deviations
        for index, known in enumerate(deviations):
            if (known.rule, known.route) == (found.rule, found.route):
                deviations[index] = msgspec.structs.replace(known, count=known.count + found.count)
                self.keep(exchange)
                return
        if len(deviations) < DEVIATIONS_MAX:
            deviations.append(found)
            self.keep(exchange)

    def deviated_again(self, rule: str, route: str) -> bool:
        """Count one more answer that breaks `rule` on `route`, if enough exchanges of that kind are kept already.

        Returns false, and counts nothing, if its bytes are still wanted: then call `deviate`.
        """
        for index, known in enumerate(self.deviations):
            if known.rule == rule and known.route == route and known.count >= DEVIATION_EXCHANGES_MAX:
                self.deviations[index] = msgspec.structs.replace(known, count=known.count + 1)
                return True
        return False

    def shift_effects(self, by_ns: int) -> None:
        """Add `by_ns` to the times of all effects recorded so far; times before the start of the run become negative.

        The times of the values shown, deviations, exchanges and unserved requests so far are shifted too.
        """
        for table in ("effects", "shown", "deviations", "exchanges", "unserved"):
            shifted = [
                msgspec.structs.replace(
                    one,
                    sent_ns=one.sent_ns + by_ns,
                    answered_ns=NEVER_NS if one.answered_ns == NEVER_NS else one.answered_ns + by_ns,
                )
                for one in getattr(self, table)
            ]
            getattr(self, table)[:] = shifted  # in place: some of these tables are `Packed`, not plain lists

    @property
    def rests_watched(self) -> bool:
        """Return whether closes of idle connections were counted: bundles of earlier versions do not have the count."""
        return self._rests_watched

    def leave_rests_unknown(self) -> None:
        """Mark closes of idle connections as not counted."""
        self._rests_watched = False

    def closed_at_rest(self, rested_ns: int) -> None:
        """Count an idle connection that the server closed `rested_ns` after the connection's last answer."""
        known = self.closes_at_rest[0] if self.closes_at_rest else ClosesAtRest(0, rested_ns, rested_ns)
        shortest_rest_ns, longest_rest_ns = (
            min(known.shortest_rest_ns, rested_ns),
            max(known.longest_rest_ns, rested_ns),
        )
        self.closes_at_rest[:1] = [ClosesAtRest(known.count + 1, shortest_rest_ns, longest_rest_ns)]

    def trouble(self, at_ns: int, what: str, why: str) -> None:
        """Count one failure to get `what` from the target, with cause `why`; see `add_trouble` for the bound."""
        self.add_trouble(Trouble(what, why, 1, at_ns, at_ns, {at_ns // SECOND_NS: 1}))

    def add_trouble(self, more: Trouble) -> None:
        """Add the counts of `more`. Once `TROUBLES_MAX` causes are known, new causes count as `OTHER_CAUSES`."""
        troubles = self.troubles
        why = more.why
        why = why if len(why) <= TROUBLE_MAX_CHARACTERS else f"{why[:TROUBLE_MAX_CHARACTERS]} ..."
        for cause in (why, OTHER_CAUSES):
            for index, known in enumerate(troubles):
                if (known.what, known.why) == (more.what, cause):
                    count = known.count + more.count
                    first_ns, last_ns = min(known.first_ns, more.first_ns), max(known.last_ns, more.last_ns)
                    seconds = dict(Counter(known.seconds) + Counter(more.seconds))
                    troubles[index] = Trouble(more.what, cause, count, first_ns, last_ns, seconds)
                    return
            if len(troubles) < TROUBLES_MAX or cause == OTHER_CAUSES:
                troubles.append(msgspec.structs.replace(more, why=cause))
                return

    def extend(self, rows: NDArray[Any]) -> None:
        """Append rows of dtype `ROW`, such as those read from a file, without copying them."""
        self._pack()
        self._blocks.append(rows)

    def drain(self) -> NDArray[Any]:
        """Remove all rows from the history and return them, as an array of dtype `ROW`."""
        rows = self.rows()
        self._blocks = []
        return rows

    def with_rows(self, rows: NDArray[Any]) -> History:
        """Return a history that shares this one's side tables and has `rows`, of dtype `ROW`, in place of its rows."""
        other = History()
        vars(other).update(vars(self))
        other._blocks, other._pending = [rows], bytearray()
        return other

    def _pack(self) -> None:
        if self._pending:
            # Mapped memory, a whole number of pages for a full block: it returns to the system as soon as the block is
            # copied. The kernel merges adjacent private mappings into one, so they stay below its limit on mappings.
            block = mmap(-1, len(self._pending), MAP_PRIVATE | MAP_ANONYMOUS)
            block[:] = self._pending
            self._blocks.append(np.frombuffer(block, dtype=ROW))
            self._pending.clear()

    def rows(self) -> NDArray[Any]:
        """Return all rows so far as one structured array of dtype `ROW`."""
        self._pack()
        if not self._blocks:
            return np.empty(0, dtype=ROW)
        if len(self._blocks) > 1:
            rows, at = np.empty(len(self), dtype=ROW), 0
            for number, block in enumerate(self._blocks):
                # Each block is released as soon as it is copied, so that memory never holds every row twice.
                copied = rows[at : at + len(block)]
                copied[:] = block
                self._blocks[number] = copied
                at += len(block)
            self._blocks = [rows]
        return self._blocks[0]

    def since(self, number: int) -> NDArray[Any]:
        """Return the rows from index `number` on. Its cost grows with the rows returned, not with the history."""
        wanted = len(self) - number
        found: list[NDArray[Any]] = []
        # Pending rows stay pending: packing them at each call would make thousands of small blocks.
        for block in chain([np.frombuffer(bytes(self._pending), dtype=ROW)], reversed(self._blocks)):
            if wanted <= 0:
                break
            found.append(block[-wanted:] if wanted < len(block) else block)
            wanted -= len(block)
        return np.concatenate(found[::-1]) if found else np.empty(0, dtype=ROW)

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks) + len(self._pending) // ROW.itemsize
