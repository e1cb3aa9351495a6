"""Merging the histories of several processes into one, for checkers that judge a single run.

Each part numbers its certificates and consents from 1, and counts its time from its own start by its own clock. Merging
renumbers them for the whole run and shifts the times. If the offset between the part's clock and the conductor's is
known only within bounds, each pair of times is widened so that the true moment still lies between its two ends:

- sending times move to the earliest possible moment, and answer times to the latest. Every checker asks what may have
  happened between the two ends (design: truth and verdicts), so a wider pair leaves more open: it can hide an error
  that is no longer than the bounds are wide, and it never makes up an error;
- `planned_ns` moves with `sent_ns`, so the lateness of a start stays exact. Durations to the answer become longer by
  the width of the bounds; `PartRecord.clock_width_ns` has that width, and `widened_ns` lets checkers subtract it;
- the two ends of an issue, a consent and a revoke are widened in the same way: a certificate then lives longer, and a
  revoke holds later, than in truth, which never leads to a false accusation;
- scrapes and readings of what owners see are compared with the rows of every part, and `check_looks` needs their order.
  They may only come from parts whose clock is the conductor's;
- records that are reported but not judged (samples of the harness, troubles, claims) get one possible time.

No checker needs rows in a particular order, but the order decides which finding it reports first. Rows are sorted by
the time of their outcomes, lost ones by their sending. `source` stands for an address, which two processes of one host
share; the host's number tells addresses of several hosts apart.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.history.records import CampaignRecord, GeneratorSample, PartRecord
from simulator.history.rows import NEVER_NS, NO_MACHINE, NONE, ROW, History, source_at
from simulator.history.tables import TABLES
from simulator.limits import EXCHANGE_MAX_SECONDS, EXCHANGES_MAX, HOSTS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulator.history.records import FailedExchange

    Record = TypeVar("Record", bound=msgspec.Struct)

EXCHANGE_MAX_NS = EXCHANGE_MAX_SECONDS * SECOND_NS
EARLIEST = frozenset({"planned_ns", "sent_ns", "at_ns", "first_ns"})
"""Fields that hold a single moment or the earlier of two bounds, as every `..._from_ns` does."""
LATEST = frozenset({"answered_ns", "last_ns"})
"""Fields that hold the later of two bounds, as every `..._to_ns` does."""
COUNTS = ("attempts", "completed", "planned", "held_up", "unready")
"""Fields of a `CampaignRecord` that are summed over all parts."""
ADDED_UP = frozenset({"machines", "owners", "troubles", "campaigns", "parts"})
"""Side tables that are combined over all parts; the records of the other tables are concatenated."""
OBSERVED = tuple(name for name in TABLES if name == "scrapes" or name.endswith("_readings"))
"""Side tables of what the server showed: scrapes and readings."""
UNKNOWN_NUMBER = int(np.iinfo(np.uint32).max)
"""Number of a certificate or consent whose record a lost part did not deliver; checkers draw no conclusion from it."""


class HistoryPart(msgspec.Struct, frozen=True):
    """The history of one process, and how its numbers and times map to the run's. A part may itself be merged.

    `machines` is the range of the run's machine numbers that the process played; `machine_base` is added to the part's
    own machine numbers to get them (0 if the part used the run's numbers). A time of the part becomes a time of the run
    by adding `shift_ns` and the lead of the conductor's clock over the part's, which lies between the two values of
    `clock_ns` at any moment of the run. `host` numbers the computer that the process ran on, 0 for the conductor's. A
    part that was lost has delivered every row and record that it had at `known_until_ns`, by its own time; requests
    under way at that moment may have been sent up to the longest duration of an exchange before.
    """

    history: History
    machines: range = range(0)
    machine_base: int = 0
    shift_ns: int = 0
    clock_ns: tuple[int, int] = (0, 0)
    host: int = 0
    known_until_ns: int = NEVER_NS

    def earliest_ns(self, at_ns: int) -> int:
        """Return the earliest time of the run that the part's time `at_ns` can stand for."""
        return at_ns + self.shift_ns + self.clock_ns[0]


def merge_histories(parts: Sequence[HistoryPart]) -> History:
    """Return one history of all `parts`, which stay unchanged.

    Cost: a few array operations for each part, however many rows it has. Raises ValueError for parts that contradict
    themselves or each other: reversed bounds, one number for two machines or two attacks, and scrapes or readings by a
    clock that is not the conductor's.
    """
    merged = History()
    merged.shown, merged.certificates_shown = [], []  # plain lists: packing them at every merge would cost too much
    rows = np.empty(sum(len(part.history) for part in parts), dtype=ROW)
    at = 0
    for part in parts:
        _see_that_it_can_be_merged(part)
        numbers = _Numbers(part, certificates=len(merged.certificates), consents=len(merged.consents))
        own = rows[at : at + len(part.history)]
        own[...] = part.history.rows()
        numbers.renumber(own)
        at += len(own)
        _add_tables(merged, part.history, numbers)
        merged.parts += [numbers.part(one) for one in part.history.parts]
        merged.parts.append(numbers.whole(part))
    merged.scrapes.sort(key=lambda one: one.sent_ns)
    merged.campaigns = _campaigns(parts)
    merged.exchanges = _evenly(merged.exchanges, parts)
    if sum(bool(part.history.generator) for part in parts) > 1:
        merged.generator = _by_second(merged.generator)
    lost = rows["answered_ns"] == NEVER_NS
    merged.extend(rows[np.argsort(np.where(lost, rows["sent_ns"], rows["answered_ns"]), kind="stable")])
    return merged


def _see_that_it_can_be_merged(part: HistoryPart) -> None:
    low_ns, high_ns = part.clock_ns
    if low_ns > high_ns:
        raise ValueError(f"a clock that is at least {low_ns} ns and at most {high_ns} ns behind")
    if not 0 <= part.host <= HOSTS_MAX:
        raise ValueError(f"host {part.host} of at most {HOSTS_MAX}")
    if part.host and any(one.host for one in part.history.parts):
        raise ValueError("parts of several hosts were merged on a host that is not the conductor's")
    if part.clock_ns != (0, 0) and any(getattr(part.history, name) for name in OBSERVED):
        raise ValueError("scrapes or readings by a clock that is not the conductor's")


def _add_tables(merged: History, own: History, numbers: _Numbers) -> None:
    """Add the side tables of a part to `merged`. A new table in `History` is merged without any change here."""
    for number, machine in own.machines.items():
        if merged.machines.setdefault(numbers.machine(number), machine) != machine:
            raise ValueError(f"machine {numbers.machine(number)} is two: {machine.worker_id} is another one")
    merged.owners = list(dict.fromkeys([*merged.owners, *own.owners]))
    for one in own.troubles:
        seconds = {numbers.earliest(at * SECOND_NS) // SECOND_NS: count for at, count in one.seconds.items()}
        merged.add_trouble(msgspec.structs.replace(numbers.moved(one), seconds=seconds))
    for name in TABLES.keys() - ADDED_UP:
        getattr(merged, name).extend(map(numbers.moved, getattr(own, name)))


def _campaigns(parts: Sequence[HistoryPart]) -> list[CampaignRecord]:
    """Return one record per campaign, with the counts of all parts: the scenario numbers campaigns, not the part."""
    campaigns: dict[int, CampaignRecord] = {}
    for one in chain.from_iterable(part.history.campaigns for part in parts):
        known = campaigns.setdefault(one.number, msgspec.structs.replace(one, **dict.fromkeys(COUNTS, 0)))
        if known.attack != one.attack:
            raise ValueError(f"campaign {one.number} is two attacks: {known.attack} and {one.attack}")
        campaigns[one.number] = msgspec.structs.replace(
            known,
            scripted=known.scripted or one.scripted,
            **{name: getattr(known, name) + getattr(one, name) for name in COUNTS},
            # A campaign that any part could try was tried.
            not_tried=known.not_tried if one.not_tried else "",
        )
    return [campaigns[number] for number in sorted(campaigns)]


def _evenly(exchanges: list[FailedExchange], parts: Sequence[HistoryPart]) -> list[FailedExchange]:
    """Return at most `EXCHANGES_MAX` exchanges, taken from the parts in turn: no part's errors hide another's."""
    if len(exchanges) <= EXCHANGES_MAX:
        return exchanges
    of_parts, at = [], 0
    for part in parts:
        of_parts.append(exchanges[at : at + len(part.history.exchanges)])
        at += len(part.history.exchanges)
    turns = [one for turn in zip_longest(*of_parts) for one in turn if one is not None]
    return sorted(turns[:EXCHANGES_MAX], key=lambda one: one.sent_ns)


def _by_second(samples: list[GeneratorSample]) -> list[GeneratorSample]:
    """Return one sample per second: the worst values of all processes, and the sum of the starts that they missed."""
    seconds: dict[int, list[GeneratorSample]] = defaultdict(list)
    for sample in samples:
        seconds[sample.at_ns // SECOND_NS].append(sample)
    return [
        GeneratorSample(
            at_ns=max(one.at_ns for one in same),
            loop_lag_ns=max(one.loop_lag_ns for one in same),
            cpu_share=max(one.cpu_share for one in same),
            dropped_starts=sum(one.dropped_starts for one in same),
            held_up=sum(one.held_up for one in same),
            ending=all(one.ending for one in same),
        )
        for _, same in sorted(seconds.items())
    ]


class _Numbers:
    """The conversion of a part's numbers and times to those of the run."""

    def __init__(self, part: HistoryPart, certificates: int, consents: int) -> None:
        self._host = part.host
        self._machine_base = part.machine_base
        self._earlier_ns, self._later_ns = (part.shift_ns + bound_ns for bound_ns in part.clock_ns)
        self._certificates, self._own_certificates = certificates, len(part.history.certificates)
        self._consents, self._own_consents = consents, len(part.history.consents)

    def renumber(self, rows: NDArray[Any]) -> None:
        """Convert the numbers and times of `rows` in place."""
        rows["planned_ns"] += self._earlier_ns
        rows["sent_ns"] += self._earlier_ns
        answered_ns, machines = rows["answered_ns"], rows["machine"]
        answered_ns += np.where(answered_ns != NEVER_NS, self._later_ns, 0)
        machines += np.where(machines != NO_MACHINE, self._machine_base, 0).astype(machines.dtype)
        rows["source"] = source_at(rows["source"], self._host)
        for field, before, own in (
            ("certificate", self._certificates, self._own_certificates),
            ("consent", self._consents, self._own_consents),
        ):
            number = rows[field].astype(np.int64)
            rows[field] = np.where(number == NONE, NONE, np.where(number <= own, number + before, UNKNOWN_NUMBER))

    def earliest(self, at_ns: int) -> int:
        """Return the earliest time of the run that the part's `at_ns` can stand for."""
        return NEVER_NS if at_ns == NEVER_NS else at_ns + self._earlier_ns

    def latest(self, at_ns: int) -> int:
        """Return the latest time of the run that the part's `at_ns` can stand for."""
        return NEVER_NS if at_ns == NEVER_NS else at_ns + self._later_ns

    def moved(self, record: Record) -> Record:
        """Return `record` with the run's numbers, and with each pair of times widened to its possible extremes."""
        changes: dict[str, int] = {}
        for name in record.__struct_fields__:
            if name in EARLIEST or name.endswith("_from_ns"):
                changes[name] = self.earliest(getattr(record, name))
            elif name in LATEST or name.endswith("_to_ns"):
                changes[name] = self.latest(getattr(record, name))
            elif name == "machine":
                changes[name] = self.machine(getattr(record, name))
            elif name == "consent":
                changes[name] = self.consent(getattr(record, name))
        return msgspec.structs.replace(record, **changes)

    def machine(self, number: int) -> int:
        """Return the run's number of the machine that the part calls `number`."""
        return number if number == NO_MACHINE else number + self._machine_base

    def consent(self, number: int) -> int:
        """Return the run's number of the consent that the part calls `number`, `NONE` if its record is missing."""
        return number + self._consents if NONE < number <= self._own_consents else NONE

    def whole(self, part: HistoryPart) -> PartRecord:
        """Return the record of this part."""
        known_ns = part.known_until_ns
        return PartRecord(
            first_machine=part.machines.start,
            machines=len(part.machines),
            host=self._host,
            clock_width_ns=self._later_ns - self._earlier_ns,
            # The part sent nothing before its own time 0.
            known_until_ns=self.earliest(NEVER_NS if known_ns == NEVER_NS else max(0, known_ns - EXCHANGE_MAX_NS)),
        )

    def part(self, record: PartRecord) -> PartRecord:
        """Return the record of a part that was merged into this part earlier; `widened_ns` adds up both widths."""
        return msgspec.structs.replace(
            record,
            first_machine=record.first_machine + self._machine_base,
            host=record.host or self._host,
            known_until_ns=self.earliest(record.known_until_ns),
        )
