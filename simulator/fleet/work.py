"""What one machine offers and works on, without I/O: what its next heartbeat says of it, and what an answer tells it.

It holds no clock and no randomness of its own: moments are arguments, in nanoseconds on the run's clock. Some machines
do wrong, each in a way of its own: a right server ignores what they say, and gives their jobs to others.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.history.market_records import Assignment, CapacityReport, JobReport
from simulator.history.rows import NEVER_NS
from simulator.limits import FOREIGN_JOBS_KNOWN_MAX, JOBS_AT_WORK_MAX

if TYPE_CHECKING:
    import numpy as np

    from simulator.history.rows import History

MINUTE_NS = 60 * SECOND_NS
RUNNING, SUCCEEDED, FAILED = "running", "succeeded", "failed"
CLAIM_EVERY = 3
"""Of a machine's heartbeats that claim more than it may, every third does; the others say what is true."""
FOREIGN_EVERY = 2
"""Of those that report what is not theirs, every second one does."""
OVERRUN = 0.1
"""The share of jobs, of those that do not end early, that a machine goes on with past their duration: it is the
server that ends them."""
OVERRUN_SHARE = 1.5
"""How long it would take them, in durations."""
ABANDONED_AFTER = 0.3
"""The share of a job's duration after which its machine falls silent."""
WRONG_CAPACITIES: tuple[dict[str, Any], ...] = (
    {"cpu_cores": 4096, "memory_gb": 65536, "gpus": []},
    {"cpu_cores": 8, "memory_gb": 1 << 30, "gpus": []},
    {"cpu_cores": 8, "memory_gb": 16, "gpus": [{"model": "rtx-4090", "count": 4096}]},
    {"cpu_cores": -8, "memory_gb": 16, "gpus": []},
    {"cpu_cores": "many", "memory_gb": 16},
    {"cpu_cores": 8, "gpus": "all"},
)
"""More than the bounds of the contract, or no capacity at all: a right server takes nothing of it."""


class Manner(Enum):
    """How a machine takes part in the market."""

    HONEST = "honest"
    CLAIMS_MORE = "claims_more"
    FOREIGN = "foreign"
    ABANDONS = "abandons"


class WorkHabits(msgspec.Struct, frozen=True):
    """What machines offer, and how they work: the shares of jobs that end early, and that fail, are from 0 to 1."""

    capacity: dict[str, Any]
    early: float = 0.3
    failing: float = 0.05
    abandoned_ns: int = 30 * SECOND_NS


class _Job(msgspec.Struct):
    """A job at work: when it is to end, how, and what the server was last told of it."""

    minutes: int
    ends: str
    share: float
    started_ns: int = NEVER_NS
    reported: str = ""

    def state_at(self, now_ns: int) -> str:
        """Return what is to be reported of it."""
        if self.started_ns == NEVER_NS or now_ns - self.started_ns < self.minutes * MINUTE_NS * self.share:
            return RUNNING
        return self.ends


class MachineWork:
    """One machine's part in the market. `others` are jobs that machines of its fleet were given, newest last."""

    def __init__(
        self, machine: int, habits: WorkHabits, manner: Manner, rng: np.random.Generator, others: deque[str]
    ) -> None:
        self._machine = machine
        self.rules: dict[str, Any] = {}
        """Those of the policy that its last heartbeat was sent under."""
        self._habits = habits
        self._manner = manner
        self._rng = rng
        self._others = others
        self._jobs: dict[str, _Job] = {}
        self._put_off: set[str] = set()
        """Jobs that the last answer with any told of, and that it does not work on: it has its fill of others."""
        self._beats = 0
        self._known: dict[str, Any] | None = None
        """The capacity that was last noted in the history."""
        self._capacity: dict[str, Any] = {}
        self._reports: list[dict[str, Any]] = []

    # --- what it says

    def metrics(self, now_ns: int) -> str:
        """Return what the next heartbeat says of it, as members of its metrics in JSON."""
        self._beats += 1
        self._capacity = self._claim()
        self._reports = [
            self._report(job_id, job.state_at(now_ns), now_ns, job) for job_id, job in self._jobs.items()
        ] + self._foreign()
        metrics: dict[str, Any] = {"capacity": self._capacity}
        if self._reports:
            metrics["jobs"] = self._reports
        return msgspec.json.encode(metrics).decode()[1:-1]

    def _claim(self) -> dict[str, Any]:
        if self._manner is Manner.CLAIMS_MORE and self._beats % CLAIM_EVERY == 0:
            return WRONG_CAPACITIES[int(self._rng.integers(len(WRONG_CAPACITIES)))]
        return self._habits.capacity

    def _report(self, job_id: str, state: str, now_ns: int, job: _Job) -> dict[str, Any]:
        report: dict[str, Any] = {"job_id": job_id, "state": state}
        if state == RUNNING:
            begun_ns = 0 if job.started_ns == NEVER_NS else now_ns - job.started_ns
            report["progress"] = round(min(1.0, begun_ns / (job.minutes * MINUTE_NS)), 2)
        elif state == SUCCEEDED:
            report["result"] = {"output": int(self._rng.integers(1_000_000))}
        else:
            report["error"] = "it could not be done"
        return report

    def _foreign(self) -> list[dict[str, Any]]:
        """Report the end of what is not its own: another machine's job, or one that there is not."""
        if self._manner is not Manner.FOREIGN or self._beats % FOREIGN_EVERY:
            return []
        others = [one for one in self._others if one not in self._jobs]
        made_up = f"job_{self._rng.bytes(8).hex()}"
        named = others[int(self._rng.integers(len(others)))] if others and self._rng.random() < 0.8 else made_up  # noqa: PLR2004 - mostly real ones
        return [{"job_id": named, "state": SUCCEEDED, "result": {"output": 0}}]

    # --- what came of it

    def unanswered(self, history: History, sent_ns: int) -> None:
        """Note what a heartbeat said whose answer was lost: it may have been taken."""
        self._note(history, sent_ns, NEVER_NS, accepted=False)

    def refused(self, history: History, sent_ns: int, answered_ns: int) -> None:
        """Note what a heartbeat said that was refused: nothing of it was taken."""
        for report in self._reports:
            self._note_report(history, report, sent_ns, answered_ns, accepted=False)

    def accepted(self, history: History, sent_ns: int, answered_ns: int, body: bytes) -> bool:
        """Take an acceptance and what it tells; returns whether the machine falls silent now, with jobs in hand."""
        self._note(history, sent_ns, answered_ns, accepted=True)
        for report in self._reports:
            job = self._jobs.get(report["job_id"])
            if job is None:
                continue
            job.reported = report["state"]
            if job.reported != RUNNING:
                del self._jobs[report["job_id"]]
            elif job.started_ns == NEVER_NS:
                job.started_ns = answered_ns
        if b'"assignments"' in body or b'"cancelled"' in body:
            self._take_notices(history, sent_ns, answered_ns, body)
        return self._gives_up(answered_ns)

    def _gives_up(self, now_ns: int) -> bool:
        if self._manner is not Manner.ABANDONS:
            return False
        return any(
            job.started_ns != NEVER_NS and now_ns - job.started_ns > job.minutes * MINUTE_NS * ABANDONED_AFTER
            for job in self._jobs.values()
        )

    @property
    def silence_ns(self) -> int:
        """Return for how long a machine is silent that gives up."""
        return self._habits.abandoned_ns

    def forget(self) -> None:
        """Give up every job in hand."""
        self._jobs.clear()
        self._put_off.clear()

    def _take_notices(self, history: History, sent_ns: int, answered_ns: int, body: bytes) -> None:
        """Take what an answer tells of jobs. One that is malformed tells nothing; the witness says what is wrong."""
        try:
            notices = msgspec.json.decode(body, type=_Envelope).data
        except (msgspec.DecodeError, RecursionError):
            return
        for job_id in notices.cancelled:
            self._jobs.pop(job_id, None)
            history.assignments.append(Assignment(self._machine, sent_ns, answered_ns, job_id, cancelled=True))
        known, self._put_off = self._put_off, set()
        for one in notices.assignments:
            if one.job_id in self._jobs or one.job_id in self._put_off:
                continue
            if len(self._jobs) < JOBS_AT_WORK_MAX:
                self._jobs[one.job_id] = self._new_job(one.duration_minutes)
            else:
                self._put_off.add(one.job_id)
            if one.job_id in known:
                continue  # what was put off is told again until it is reported
            self._others.append(one.job_id)
            history.assignments.append(
                Assignment(self._machine, sent_ns, answered_ns, one.job_id, one.resources, one.duration_minutes)
            )

    def _new_job(self, minutes: int) -> _Job:
        """Draw how a job goes: some end early, some fail, the others take all of their time, and some want more."""
        rng, habits = self._rng, self._habits
        drawn = rng.random()
        ends = FAILED if rng.random() < habits.failing else SUCCEEDED
        if drawn < habits.early or ends == FAILED:
            return _Job(minutes, ends, 0.2 + 0.7 * float(rng.random()))
        overruns = drawn >= 1 - OVERRUN * (1 - habits.early)
        return _Job(minutes, ends, OVERRUN_SHARE if overruns else 1.0)

    # --- what is kept of it

    def _note(self, history: History, sent_ns: int, answered_ns: int, *, accepted: bool) -> None:
        honest = self._capacity is self._habits.capacity
        if self._capacity != self._known or answered_ns == NEVER_NS:
            history.capacity_reports.append(
                CapacityReport(self._machine, sent_ns, answered_ns, self._capacity, honest, self.rules)
            )
            self._known = self._capacity if accepted else None
        for report in self._reports:
            self._note_report(history, report, sent_ns, answered_ns, accepted=accepted)

    def _note_report(
        self, history: History, report: dict[str, Any], sent_ns: int, answered_ns: int, *, accepted: bool
    ) -> None:
        """Note a report, but for one that says once more that a job is running, and was heard before."""
        job_id, state = report["job_id"], report["state"]
        job = self._jobs.get(job_id)
        if job is not None and state == RUNNING and job.reported == RUNNING and accepted:
            return
        record = JobReport(self._machine, sent_ns, answered_ns, job_id, state, accepted, honest=job is not None)
        history.job_reports.append(record)


class _Assigned(msgspec.Struct, frozen=True):
    job_id: str
    duration_minutes: int
    resources: dict[str, Any] = {}


class _Notices(msgspec.Struct, frozen=True):
    assignments: list[_Assigned] = []
    cancelled: list[str] = []


class _Envelope(msgspec.Struct, frozen=True):
    data: _Notices


def make_work(
    machines: list[int], habits: WorkHabits, shares: dict[Manner, float], rng: np.random.Generator
) -> dict[int, MachineWork]:
    """Return each machine its work: shares of them do wrong, whom the seed chooses, and each in one way only."""
    others: deque[str] = deque(maxlen=FOREIGN_JOBS_KNOWN_MAX)
    order = rng.permutation(len(machines))
    manners = [Manner.HONEST] * len(machines)
    taken = 0
    for manner, share in shares.items():
        count = round(share * len(machines))
        for place in order[taken : taken + count]:
            manners[place] = manner
        taken += count
    rngs = rng.spawn(len(machines))
    return {
        machine: MachineWork(machine, habits, manner, own, others)
        for machine, manner, own in zip(machines, manners, rngs, strict=True)
    }
