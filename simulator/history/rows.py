"""The append-only record of what was sent, when, what a correct server must say, and what came back.

Times are nanoseconds on the harness's monotonic clock, counted from the start of the run. A row costs 58 bytes; what
happens less often than a request is in side tables.
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
"""`answered_ns` of a request whose answer was lost: it took effect at any time after it was sent, or never."""

HONEST = 0
"""`campaign` of a row that no attack made; attack campaigns are numbered from 1 in the order of the scenario."""

MIDDLEBOX = 255
"""`campaign` of a row that the run's own network made, of a request that it sent again: above all campaigns."""

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
"""One request. `status` is HTTP's, of a lost answer it says why (`simulator.history.losses`). `source` numbers the
address it came from (`at_host`), `NO_SOURCE` where all share one; `certificate` and `consent` are numbers from
`add_certificate` and `add_consent`, 0 for none that was ever valid."""

_pack_row = struct.Struct("<qqq12sihBBBBiII").pack
"""Writes a row's bytes: a tenth of what numpy takes to write one, and a quarter of what it takes for many at once."""
_BLOCK_BYTES = 4096 * ROW.itemsize

NO_SOURCE = -1
PEERS_SOURCE = -2
"""All addresses of one IPv6 network: a right server takes them for one client."""
NONE = 0
OTHER_CAUSES = "other causes"
_HOST_BITS = 24
"""What is above the three bytes of a loopback address in `source`: the number of the host it is an address of."""


def source_at(sources: NDArray[Any], host: int) -> NDArray[Any]:
    """Return the numbers that sources of host 0 have on another one: no two hosts have an address in common."""
    found: NDArray[Any] = np.where(sources < 0, sources - 2 * host, sources + (host << _HOST_BITS))
    return found


def at_host(source: int) -> tuple[int, int]:
    """Return the number that a source has on its own host, and the host's number."""
    if source >= 0:
        return source & ((1 << _HOST_BITS) - 1), source >> _HOST_BITS
    return NO_SOURCE - (source + 1) % 2, (NO_SOURCE - source) // 2


class History:
    """Rows in the order their outcomes became known. Grows by whole blocks; `rows()` is a view."""

    # The side tables, declared so that they can be stored without naming each: `simulator/history/tables.py`.
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
        """Add one row. Rows wait as bytes, and become arrays by blocks."""
        pending = self._pending
        pending += _pack_row(
            planned_ns, sent_ns, answered_ns, nonce, machine, status, operation, expected, got, campaign,
            source, certificate, consent,
        )  # fmt: skip
        if len(pending) >= _BLOCK_BYTES:
            self._pack()

    def add_certificate(self, record: CertificateRecord) -> int:
        """Note a machine's new certificate; return its number for rows."""
        self.certificates.append(record)
        return len(self.certificates)

    def add_consent(self, record: ConsentRecord) -> int:
        """Note a consent; return its number for rows."""
        self.consents.append(record)
        return len(self.consents)

    def keep(self, exchange: FailedExchange) -> None:
        """Keep the bytes of an exchange that went wrong, without its secrets, while there is room for evidence."""
        if len(self.exchanges) < EXCHANGES_MAX:
            request, answer = as_evidence(exchange.request), as_evidence(exchange.answer)
            self.exchanges.append(msgspec.structs.replace(exchange, request=request, answer=answer))

    def fail(self, found: Unserved, exchange: FailedExchange | None = None) -> None:
        """Note what was asked in vain and has no row, while there is room, and keep its bytes."""
        if len(self.unserved) < UNSERVED_MAX:
            self.unserved.append(found)
            if exchange is not None:
                self.keep(exchange)

    def deviate(self, found: Deviation, exchange: FailedExchange) -> None:
        """Count an answer that is not what the contract lets it be; the bytes of the first few of a kind are kept."""
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
        """Count one more answer of a kind that is known well enough; returns false where its bytes are still wanted."""
        for index, known in enumerate(self.deviations):
            if known.rule == rule and known.route == route and known.count >= DEVIATION_EXCHANGES_MAX:
                self.deviations[index] = msgspec.structs.replace(known, count=known.count + 1)
                return True
        return False

    def shift_effects(self, by_ns: int) -> None:
        """Count the times of all effects so far from another moment: what came before the run has negative ones.

        So are those of what answers showed until then.
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
            getattr(self, table)[:] = shifted  # in place, for some are no plain lists

    @property
    def rests_watched(self) -> bool:
        """Return whether closes at rest were counted: bundles of earlier versions know nothing of them."""
        return self._rests_watched

    def leave_rests_unknown(self) -> None:
        """Take it that nobody counted closes at rest."""
        self._rests_watched = False

    def closed_at_rest(self, rested_ns: int) -> None:
        """Count a connection that its server closed while it rested, `rested_ns` after its last answer."""
        known = self.closes_at_rest[0] if self.closes_at_rest else ClosesAtRest(0, rested_ns, rested_ns)
        shortest_rest_ns, longest_rest_ns = (
            min(known.shortest_rest_ns, rested_ns),
            max(known.longest_rest_ns, rested_ns),
        )
        self.closes_at_rest[:1] = [ClosesAtRest(known.count + 1, shortest_rest_ns, longest_rest_ns)]

    def trouble(self, at_ns: int, what: str, why: str) -> None:
        """Count something that went wrong on the way to the target; past the bound its cause is not told apart."""
        self.add_trouble(Trouble(what, why, 1, at_ns, at_ns, {at_ns // SECOND_NS: 1}))

    def add_trouble(self, more: Trouble) -> None:
        """Count what went wrong several times, as `trouble` counts each."""
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
        """Add rows of dtype `ROW` after those there are, as they were read from a file."""
        self._pack()
        self._blocks.append(rows)

    def drain(self) -> NDArray[Any]:
        """Take the rows out: gives those there are, of dtype `ROW`, and keeps none."""
        rows = self.rows()
        self._blocks = []
        return rows

    def with_rows(self, rows: NDArray[Any]) -> History:
        """Return a history with the same side tables, and other rows of dtype `ROW`."""
        other = History()
        vars(other).update(vars(self))
        other._blocks, other._pending = [rows], bytearray()
        return other

    def _pack(self) -> None:
        if self._pending:
            # Mapped memory, of a whole number of pages where the block is whole: the system has it back as soon as the
            # block is copied. Private mappings beside each other are one to the system, which has a bound for them.
            block = mmap(-1, len(self._pending), MAP_PRIVATE | MAP_ANONYMOUS)
            block[:] = self._pending
            self._blocks.append(np.frombuffer(block, dtype=ROW))
            self._pending.clear()

    def rows(self) -> NDArray[Any]:
        """All rows so far as one structured array of dtype `ROW`."""
        self._pack()
        if not self._blocks:
            return np.empty(0, dtype=ROW)
        if len(self._blocks) > 1:
            rows, at = np.empty(len(self), dtype=ROW), 0
            for number, block in enumerate(self._blocks):
                # Each is let go once it is copied, so that there are never two of all of them.
                copied = rows[at : at + len(block)]
                copied[:] = block
                self._blocks[number] = copied
                at += len(block)
            self._blocks = [rows]
        return self._blocks[0]

    def since(self, number: int) -> NDArray[Any]:
        """Return the rows from a number on, counted from 0. Its cost is theirs, however long the history is."""
        wanted = len(self) - number
        found: list[NDArray[Any]] = []
        # What is pending stays so: a block for each look would be thousands of small ones.
        for block in chain([np.frombuffer(bytes(self._pending), dtype=ROW)], reversed(self._blocks)):
            if wanted <= 0:
                break
            found.append(block[-wanted:] if wanted < len(block) else block)
            wanted -= len(block)
        return np.concatenate(found[::-1]) if found else np.empty(0, dtype=ROW)

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks) + len(self._pending) // ROW.itemsize
