"""Histories, right and wrong, and how several processes would have recorded them: each a part, by its own clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers import run_checkers
from simulator.contract.answers import Answer, Operation
from simulator.history.merging import UNKNOWN_NUMBER, HistoryPart
from simulator.history.records import (
    AuditReading,
    CampaignRecord,
    CertificateRecord,
    ClaimRecord,
    ConsentRecord,
    Effect,
    FailedExchange,
    Fault,
    GeneratorSample,
    LocustCount,
    MachineRecord,
    Revocation,
    Scrape,
    StatusReading,
    Trouble,
)
from simulator.history.rows import NEVER_NS, NO_MACHINE, NO_SOURCE, PEERS_SOURCE, ROW, History

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.checkers.facts import Facts

MACHINES, SECONDS = 12, 60


class Clock(NamedTuple):
    """How a part's clock differs: what its own times lack to those of the run, and what is known of a part of that."""

    shift_ns: int = 0
    offset_ns: int = 0
    low_ns: int = 0
    high_ns: int = 0

    def own(self, at_ns: int) -> int:
        """Return a moment of the run as this part's clock shows it."""
        return NEVER_NS if at_ns == NEVER_NS else at_ns - self.shift_ns - self.offset_ns


RIGHT = Clock()


def anything(seed: int, count: int = 400) -> History:
    """Make up a history that no server would leave: every checker finds much that is wrong."""
    rng = np.random.default_rng(seed)
    history = History()
    rows = np.zeros(count, dtype=ROW)
    rows["sent_ns"] = np.unique(rng.integers(0, SECONDS * SECOND_NS, 2 * count))[:count]
    rows["planned_ns"] = rows["sent_ns"] - rng.integers(0, SECOND_NS, count)
    rows["machine"] = rng.integers(NO_MACHINE, MACHINES, count)
    rows["nonce"] = np.frombuffer(rng.bytes(12 * count), dtype="V12")
    for field in ("nonce", "machine"):
        rows[field][: count // 4] = rows[field][count // 4 : count // 4 * 2]
    rows["operation"] = rng.choice([Operation.HEARTBEAT] * 4 + list(Operation), count)
    wanted = [Answer.ACCEPTED, Answer.INVALID_TOKEN, Answer.NONCE_REPLAYED, Answer.EITHER, Answer.WITHIN_LIMIT]
    rows["expected"] = rng.choice(wanted, count)
    rows["got"] = rng.choice([*wanted[:3], Answer.UNEXPECTED, Answer.LOST, Answer.RATE_LIMITED], count)
    rows["status"] = rng.choice([200, 401, 429, 503], count)
    rows["campaign"] = rng.integers(0, 4, count)
    rows["source"] = rng.choice([NO_SOURCE, PEERS_SOURCE, 1 << 20, 2 << 20], count)
    answered = rows["sent_ns"] + rng.integers(0, SECOND_NS, count)
    rows["answered_ns"] = np.where(rows["got"] == Answer.LOST, NEVER_NS, answered)
    _certify(history, rng)
    for field in ("certificate", "consent"):
        # Twice a machine: numbers one to twelve, then again, so a row's is one of its own machine's, or none.
        own = rows["machine"] + 1 + MACHINES * rng.integers(0, 2, count)
        rows[field] = np.where((rows["machine"] == NO_MACHINE) | (rng.random(count) < 0.2), 0, own)
    history.extend(rows[np.argsort(rows["answered_ns"], kind="stable")])
    _see(history, rng, rows)
    return history


def _certify(history: History, rng: np.random.Generator) -> None:
    owners = ("ada", "ben", "cy")
    history.owners += owners
    for machine in range(MACHINES):
        history.machines[machine] = MachineRecord(f"wrk_{machine}", owners[machine % 3])
    for turn in range(2):
        for machine in range(MACHINES):
            sent_ns = turn * 20 * SECOND_NS + int(rng.integers(0, 10 * SECOND_NS))
            answered_ns = sent_ns + int(rng.integers(0, SECOND_NS))
            life_ns = int(rng.integers(0, 40 * SECOND_NS))
            history.add_certificate(CertificateRecord(machine, f"c{machine}", sent_ns, answered_ns, life_ns))
            history.add_consent(ConsentRecord(machine, "pol", f"con{machine}", sent_ns, answered_ns))
    for consent in range(1, MACHINES, 2):
        sent_ns = int(rng.integers(20, 40)) * SECOND_NS
        answered_ns = NEVER_NS if consent == 1 else sent_ns + SECOND_NS
        history.revocations.append(Revocation(consent, sent_ns, answered_ns))


def _see(history: History, rng: np.random.Generator, rows: np.ndarray[Any, Any]) -> None:
    for second in range(0, SECONDS, 5):
        at_ns = second * SECOND_NS
        samples = {
            "hatchfarm_uptime_seconds": 100.0 + second,
            **{
                f"hatchfarm_{name}": float(rng.integers(0, 30))
                for name in (
                    "workers_total", "workers_stale_total", "workers_unknown_total", "alert_stale_workers",
                    "worker_auth_failures_total", "worker_auth_failures_recent", "alert_worker_auth_failures",
                )
            },
        }  # fmt: skip
        history.scrapes.append(Scrape(at_ns, at_ns + int(rng.integers(1, SECOND_NS)), samples))
        history.generator.append(GeneratorSample(at_ns, int(rng.integers(0, SECOND_NS)), 0.5, second % 2))
    for row in rows[:: len(rows) // 20]:
        sent_ns, answered_ns, campaign = int(row["sent_ns"]), int(row["answered_ns"]), int(row["campaign"])
        history.exchanges.append(FailedExchange(sent_ns, answered_ns, campaign, b"asked", b"told", f"at {sent_ns}"))
        effect = ("machine_registered", "owner:ada", "", ("ada",), "")
        history.effects.append(Effect(sent_ns, answered_ns, *effect, sure=answered_ns != NEVER_NS))
    for number, attack in enumerate(("replay", "skew", "flood"), 1):
        history.campaigns.append(CampaignRecord(number, attack, number == 1, 10 * number, 5 * number))
        history.claims.append(ClaimRecord(number * SECOND_NS, number, "held", number != 2, f"claim {number}"))
    history.faults.append(Fault("pause", SECOND_NS, SECOND_NS + 1, 2 * SECOND_NS, 2 * SECOND_NS + 1))
    history.status_readings.append(StatusReading("ada", 5 * SECOND_NS, 5 * SECOND_NS + 1, {"wrk_0": 1.0}))
    history.locust_counts.append(LocustCount("POST", "heartbeat", 100, 3))
    history.audit_readings.append(AuditReading("ada", 50 * SECOND_NS, 51 * SECOND_NS, 503, 0, -1))
    for why in ("refused", "reset"):
        history.add_trouble(Trouble("heartbeat", why, 3, SECOND_NS, 2 * SECOND_NS))


def split(history: History, machines: Sequence[range], clocks: Sequence[Clock]) -> list[HistoryPart]:
    """Return what a conductor, and one process for each range of machines, would have recorded by clocks of their own.

    The conductor comes first, by its own clock; it has what belongs to no machine of the others. They number machines,
    certificates and consents from their own first one.
    """
    rows = history.rows()
    reported: set[int] = set()
    others = [_of_machines(history, own, clock, reported) for own, clock in zip(machines, clocks, strict=True)]
    rest = ~np.isin(rows["machine"], [number for own in machines for number in own])
    first = History()
    first.extend(rows[rest].copy())
    for table in (
        "scrapes",
        "generator",
        "audit_readings",
        "troubles",
        "claims",
        "campaigns",
        "faults",
        "status_readings",
        "locust_counts",
    ):
        setattr(first, table, list(getattr(history, table)))
    for table in ("effects", "exchanges"):
        setattr(first, table, [one for one in getattr(history, table) if id(one) not in reported])
    taken = {number for own in machines for number in own}
    first.machines = {number: one for number, one in history.machines.items() if number not in taken}
    first.owners = history.owners[:1]
    _keep_numbers(history, first, [number for number in range(-1, 10_000) if number not in taken], RIGHT, 0)
    return [HistoryPart(first), *others]


def _of_machines(history: History, machines: range, clock: Clock, reported: set[int]) -> HistoryPart:
    part, every = History(), history.rows()
    rows = every[np.isin(every["machine"], list(machines))].copy()
    sent = set(rows["sent_ns"].tolist())
    lost = rows["answered_ns"] == NEVER_NS
    for field in ("planned_ns", "sent_ns", "answered_ns"):
        rows[field] -= clock.shift_ns + clock.offset_ns
    rows["answered_ns"][lost] = NEVER_NS
    rows["machine"] -= machines.start
    part.extend(rows)
    for table in ("effects", "exchanges"):
        for one in getattr(history, table):
            if one.sent_ns in sent and id(one) not in reported:
                reported.add(id(one))
                ends = {"sent_ns": clock.own(one.sent_ns), "answered_ns": clock.own(one.answered_ns)}
                getattr(part, table).append(msgspec.structs.replace(one, **ends))
    part.machines = {
        number - machines.start: history.machines[number] for number in machines if number in history.machines
    }
    part.owners = list(reversed(history.owners))
    _keep_numbers(history, part, list(machines), clock, machines.start)
    bounds = clock.low_ns, clock.high_ns
    return HistoryPart(part, machines, machine_base=machines.start, shift_ns=clock.shift_ns, clock_ns=bounds)


def _keep_numbers(history: History, part: History, machines: Sequence[int], clock: Clock, first: int) -> None:
    """Return a part the certificates, consents and revokes of its machines, numbered from 1."""
    rows, mine = part.rows(), set(machines)
    renumbered: dict[str, dict[int, int]] = {}
    for field, table in (("certificate", "certificates"), ("consent", "consents")):
        numbers = renumbered[field] = {0: 0}
        for number, one in enumerate(getattr(history, table), 1):
            if one.machine in mine:
                ends = {"sent_ns": clock.own(one.sent_ns), "answered_ns": clock.own(one.answered_ns)}
                getattr(part, table).append(msgspec.structs.replace(one, machine=one.machine - first, **ends))
                numbers[number] = len(getattr(part, table))
        rows[field] = [numbers.get(number, UNKNOWN_NUMBER) for number in rows[field].tolist()]
    for one in history.revocations:
        if one.consent in renumbered["consent"]:
            ends = {"sent_ns": clock.own(one.sent_ns), "answered_ns": clock.own(one.answered_ns)}
            number = renumbered["consent"][one.consent]
            part.revocations.append(msgspec.structs.replace(one, consent=number, **ends))


def judged(history: History, facts: Facts) -> dict[str, tuple[Any, ...]]:
    """Return what each checker says, but for the order in which it says it."""
    return {
        one.name: (one.status, one.figures, sorted((found.rule, found.message) for found in one.findings))
        for one in run_checkers(history, facts)
    }
