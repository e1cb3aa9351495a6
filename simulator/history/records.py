"""Record types of the history's side tables: plain values for what happens less often than a request.

Times are nanoseconds from the start of the run. The server acted at some moment between `sent_ns` and `answered_ns`;
`answered_ns` is `NEVER_NS` if no answer came. Types with several records per machine are `gc=False`, which makes them
smaller: they cannot be part of a reference cycle.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads it
from typing import Any

import msgspec


class Scrape(msgspec.Struct, frozen=True):
    """One reading of the server's metrics, made between the two times. `samples` maps exposed names to values."""

    sent_ns: int
    answered_ns: int
    samples: dict[str, float]


class GeneratorSample(msgspec.Struct, frozen=True):
    """The harness's own health over one second: worst loop lag, CPU share of one core (0-1), planned starts missed.

    `held_up` counts starts, of the fleet and of attacks, that were missed because the target had not yet answered; the
    harness is not at fault for them. `Wait` lists those of the fleet. `ending` marks a sample taken after the schedule
    had ended: it only shows how quickly answers were read.
    """

    at_ns: int
    loop_lag_ns: int
    cpu_share: float
    dropped_starts: int
    held_up: int = 0
    ending: bool = False


class CpuWait(msgspec.Struct, frozen=True):
    """How long a process that answers depend on was ready to run but had no CPU, of the time between two moments.

    `who` names the harness, one of the run's own servers, or a process that answers for a target on this computer, each
    with its `process` id. If that process is unknown, `who` names this machine, and `waited_ns` is how long the
    processes that wanted to run had to wait (`simulator.history.starvation`).
    """

    who: str
    process: int
    waited_from_ns: int
    waited_to_ns: int
    waited_ns: int


class Wait(msgspec.Struct, frozen=True, gc=False):
    """A wait that kept a machine from sending on time: for an answer, or for a connection to be established.

    It ended at `answered_ns`. `count` planned starts came due during the wait, the first at `planned_ns` and then every
    `interval_ns`; they were never sent. `count` is 0 for a connection that was merely slow to come up.
    """

    machine: int
    planned_ns: int
    interval_ns: int
    count: int
    answered_ns: int


class MachineRecord(msgspec.Struct, frozen=True, gc=False):
    """The worker id and the owner id that the server knows a machine by."""

    worker_id: str
    owner_id: str


class CertificateRecord(msgspec.Struct, frozen=True, gc=False):
    """A machine's certificate, issued between the two times, valid for `life_ns` from issue or until the next one."""

    machine: int
    certificate_id: str
    sent_ns: int
    answered_ns: int
    life_ns: int


class ConsentRecord(msgspec.Struct, frozen=True, gc=False):
    """A consent that binds a machine to a policy version, given between the two times."""

    machine: int
    policy_id: str
    consent_id: str
    sent_ns: int
    answered_ns: int


class Revocation(msgspec.Struct, frozen=True):
    """A request to revoke a consent, given by its number from `History.add_consent`. An answer acknowledges it."""

    consent: int
    sent_ns: int
    answered_ns: int


class Effect(msgspec.Struct, frozen=True, gc=False):
    """One audit event that a request must leave behind if `sure`, or may leave behind if its outcome is unknown.

    `owners` are the owners whose streams must show the event. An empty `object_id` matches any object. `reason` is the
    event's metadata field `reason`, empty if the contract names none.
    """

    sent_ns: int
    answered_ns: int
    type: str
    actor: str
    object_id: str
    owners: tuple[str, ...]
    reason: str
    sure: bool


class FailedExchange(msgspec.Struct, frozen=True):
    """The bytes of one failed exchange, as evidence; `reasoning` says what was expected and why.

    `expected` states the expectation in the contract's words alone, and may be empty. `basis` is what the expectation
    rests on (`Basis`); it is empty if the expectation follows from the attack or from the checker's rule.
    """

    sent_ns: int
    answered_ns: int
    campaign: int
    request: bytes
    answer: bytes
    reasoning: str
    expected: str = ""
    basis: str = ""


class ClaimRecord(msgspec.Struct, frozen=True):
    """A claim that an attack checked over several requests. `held` is None if the truth could not be established."""

    at_ns: int
    campaign: int
    rule: str
    held: bool | None
    message: str
    evidence: dict[str, Any] = {}


class CampaignRecord(msgspec.Struct, frozen=True):
    """One attack campaign: how many attempts (of a script) or shots were begun, and how many were completed.

    `not_tried` says why the campaign could not be run against this target. `planned` is the number that its rate and
    duration ask for, 0 if unknown. Of the attempts begun, `held_up` were not sent because earlier ones had not ended,
    and `unready` because no victim was ready.
    """

    number: int
    attack: str
    scripted: bool
    attempts: int
    completed: int
    not_tried: str = ""
    planned: int = 0
    held_up: int = 0
    unready: int = 0


class AuditReading(msgspec.Struct, frozen=True):
    """One page of an owner's audit list, as shown: `events` oldest first, chain `heads` by stream.

    `type` is the filter of the request, if any: only events of that type. `total` is -1 if the answer was not a page.
    """

    owner_id: str
    sent_ns: int
    answered_ns: int
    status: int
    offset: int
    total: int
    events: Sequence[dict[str, Any]] = []
    heads: dict[str, Any] = {}
    type: str = ""


class Fault(msgspec.Struct, frozen=True):
    """A fault that the run injected: it began between two moments, and ended between two others.

    `kind` is the scenario's name for it. The fault of a killed server ends when the server listens again, that of a
    paused server when it resumes. `problem` is the error message if the fault could not be injected or undone. During
    the fault a server's wall clock may have been ahead by anything from `clock_low_ns` to `clock_high_ns`. A correct
    server may refuse heartbeats for `refused_for_ns` after the fault.
    """

    kind: str
    began_from_ns: int
    began_to_ns: int
    ended_from_ns: int
    ended_to_ns: int
    problem: str = ""
    clock_low_ns: int = 0
    clock_high_ns: int = 0
    refused_for_ns: int = 0


class Unserved(msgspec.Struct, frozen=True):
    """A failed request of an owner or of the harness's own readers; requests of these kinds have no row.

    `operation`, `status` and `got` are as in a row.
    """

    sent_ns: int
    answered_ns: int
    operation: int
    status: int
    got: int


class ClosesAtRest(msgspec.Struct, frozen=True):
    """The number of idle connections, without a request under way, that their server closed.

    They had been idle for between `shortest_rest_ns` and `longest_rest_ns`. Only connections that were watched at all
    times are counted.
    """

    count: int
    shortest_rest_ns: int
    longest_rest_ns: int


class Death(msgspec.Struct, frozen=True):
    """The end of a server that the run had started and did not stop.

    It died after `died_from_ns`, when it was last seen running, and before `died_to_ns`, when it was seen to have
    ended. `server` is its name in reports. `exit_code` is that of its process, or minus the number of the signal that
    ended it. `words` is the end of its output, with secrets masked. `memory_bytes` is the highest memory use observed,
    None if unknown.
    """

    server: str
    died_from_ns: int
    died_to_ns: int
    exit_code: int
    words: str = ""
    memory_bytes: int | None = None


class StatusShown(msgspec.Struct, frozen=True, gc=False):
    """The fields of one machine's status other than its age; None or empty for a field that was not shown."""

    stale: bool | None = None
    policy_id: str = ""
    last_heartbeat: str = ""


class StatusReading(msgspec.Struct, frozen=True):
    """The status of all machines of one owner, as shown to the owner.

    `ages` has the seconds since each machine's last heartbeat, -1 if it has had none. `stale_seconds` is the threshold
    shown with them, -1 if none was shown.
    """

    owner_id: str
    sent_ns: int
    answered_ns: int
    ages: dict[str, float]
    statuses: dict[str, StatusShown] = {}
    stale_seconds: float = -1.0


class SummaryReading(msgspec.Struct, frozen=True):
    """The numbers of one owner's fleet summary, as shown to the owner; -1 for a number that was not shown."""

    owner_id: str
    sent_ns: int
    answered_ns: int
    total: int = -1
    fresh: int = -1
    stale: int = -1
    unknown: int = -1


class Deviation(msgspec.Struct, frozen=True):
    """A kind of answer that the contract does not allow, by rule and route, and how many answers were of that kind.

    `rule` is a checker's rule. `message` and the times are those of the first such answer, whose bytes are kept as a
    `FailedExchange`.
    """

    rule: str
    route: str
    message: str
    sent_ns: int
    answered_ns: int
    campaign: int
    count: int = 1


class Shown(msgspec.Struct, frozen=True, gc=False):
    """A value shown in an answer, to be compared with a clock or with other answers: `field` of `subject`."""

    sent_ns: int
    answered_ns: int
    campaign: int
    subject: str
    field: str
    value: str


class CertificateShown(msgspec.Struct, frozen=True, gc=False):
    """A certificate as shown in an answer, with every field that its signature covers (contract §3)."""

    sent_ns: int
    answered_ns: int
    campaign: int
    certificate_id: str
    machine_id: str
    issued_at: str
    expires_at: str
    signature: str


class KeyReading(msgspec.Struct, frozen=True):
    """The public keys that a server published: the `x` of each Ed25519 key. Empty if `status` is not 200."""

    sent_ns: int
    answered_ns: int
    status: int
    keys: list[str] = []


class WallReading(msgspec.Struct, frozen=True):
    """The harness's wall clock, in Unix nanoseconds, read between two moments of the run."""

    sent_ns: int
    answered_ns: int
    unix_ns: int


class HealthReading(msgspec.Struct, frozen=True):
    """The answer of /health on a new connection in an outage; `status` is 0 and `problem` set if no answer came."""

    sent_ns: int
    answered_ns: int
    status: int
    problem: str = ""


METRICS_PAGE = "metrics page"
"""`Trouble.what` if the answer to a scrape is not a page of metrics."""


class Trouble(msgspec.Struct, frozen=True):
    """A cause of missing answers: what was requested, why no answer came, how often, and first and last when.

    `what` is "heartbeat", "attack", "connecting" if no request was sent at all, "scrape", `METRICS_PAGE`,
    "audit list", or the name of a control-plane call. `seconds` maps each second of the run to its count.
    """

    what: str
    why: str
    count: int
    first_ns: int
    last_ns: int
    seconds: dict[int, int] = {}


class PartRecord(msgspec.Struct, frozen=True):
    """The share of one process of several: its range of machines, and the host it ran on (0 is the conductor's).

    `clock_width_ns` is how much longer the times to an answer look in its rows than they were, because the offset of
    the two clocks is only known within that width. Rows of its requests sent at or after `known_until_ns` may be
    missing; it is `NEVER_NS` if none can be missing.
    """

    first_machine: int
    machines: int
    host: int
    clock_width_ns: int
    known_until_ns: int


class LocustCount(msgspec.Struct, frozen=True):
    """One line of Locust's statistics at the end of a run, or the same counts for requests of the conductor itself."""

    method: str
    name: str
    requests: int
    failures: int
