"""The history's side tables: what happens less often than a request, as plain values.

Times are nanoseconds from the start of the run; `sent_ns` and `answered_ns` are the two ends between which the server
did it, `NEVER_NS` for an answer that never came. Those of which every machine has some are `gc=False`: nothing leads
from them back to themselves, and they are smaller for it.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads it
from typing import Any

import msgspec


class Scrape(msgspec.Struct, frozen=True):
    """One reading of the server's metrics, made between its two times: exposed sample name to value."""

    sent_ns: int
    answered_ns: int
    samples: dict[str, float]


class GeneratorSample(msgspec.Struct, frozen=True):
    """The harness's own health over one second: worst loop lag, CPU share of one core (0-1), planned starts missed.

    `held_up` are starts that were missed because the target still owed an answer, those of attacks included; that is no
    fault of the harness. `Wait` has those of the fleet one by one. One of after the `ending` says only how fast answers
    were read then: there is no schedule to keep.
    """

    at_ns: int
    loop_lag_ns: int
    cpu_share: float
    dropped_starts: int
    held_up: int = 0
    ending: bool = False


class CpuWait(msgspec.Struct, frozen=True):
    """For how long somebody whom answers depend on was ready to run and had no CPU, of the time between two moments.

    `who` is the harness, a server of the run's own or one that answers for a target on this machine, each with its
    `process`; or this machine, where it is not known who does: then it is how long whoever wanted to run waited
    (`simulator.history.starvation`).
    """

    who: str
    process: int
    waited_from_ns: int
    waited_to_ns: int
    waited_ns: int


class Wait(msgspec.Struct, frozen=True, gc=False):
    """What kept a machine from sending when it was to: an answer that was long owed, or a connection that was.

    It ended at `answered_ns`. `count` planned starts came due meanwhile, from `planned_ns` on, an interval apart; they
    were never sent. None for a connection that was merely slow to come up.
    """

    machine: int
    planned_ns: int
    interval_ns: int
    count: int
    answered_ns: int


class MachineRecord(msgspec.Struct, frozen=True, gc=False):
    """Who a machine number is on the server."""

    worker_id: str
    owner_id: str


class CertificateRecord(msgspec.Struct, frozen=True, gc=False):
    """A certificate of a machine: issued between the two times, good for `life_ns` from then, until the next one."""

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
    """A request to revoke; `consent` is the number from `History.add_consent`. Acknowledged when it has an answer."""

    consent: int
    sent_ns: int
    answered_ns: int


class Effect(msgspec.Struct, frozen=True, gc=False):
    """One audit event that a request must leave behind: surely, or only possibly when its outcome is not known.

    `owners` are those whose stream must show it. An empty `object_id` fits any. `reason` is the event's metadata
    `reason`, empty where the contract names none.
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
    """The bytes of one exchange that went wrong, as evidence; `reasoning` says what was expected and why.

    `expected` says it in the contract's words alone; it is empty where nobody put it so. `basis` is what the
    expectation rests on (`Basis`), empty where on what its attack does, or the checker's rule.
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
    """What an attack found out over several requests. `held` is None when it could not be known."""

    at_ns: int
    campaign: int
    rule: str
    held: bool | None
    message: str
    evidence: dict[str, Any] = {}


class CampaignRecord(msgspec.Struct, frozen=True):
    """One attack campaign: how many attempts (of a script) or shots were begun, and how many played to their end.

    `not_tried` says why it could not be run against this target. `planned` is how many its rate and duration ask for, 0
    where that is not known; of those begun `held_up` were not sent as what was under way had no end yet, and `unready`
    as no victim was ready.
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
    """One page of an owner's audit list, as shown: `events` oldest first, `heads` by stream.

    `type` is the filter that was asked for: events of that type only. `total` is -1 for an answer that is no page.
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
    """A fault that the run brought about: it began between two moments, and was over between two others.

    `kind` is the scenario's. A killed server is over its fault once it listens again, a paused one once it goes on.
    `problem` says why it could not be carried out or mended, in the words of what failed. Meanwhile a server's wall
    clock may have been anything from `clock_low_ns` to `clock_high_ns` ahead. A right server may refuse heartbeats for
    `refused_for_ns` after it.
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
    """What an owner, or who observes the target, asked in vain, and of which only this is known: its like has no row.

    `operation`, `status` and `got` are as in a row.
    """

    sent_ns: int
    answered_ns: int
    operation: int
    status: int
    got: int


class ClosesAtRest(msgspec.Struct, frozen=True):
    """How many connections that rested were closed by their server, no request being under way on any of them.

    They had rested between `shortest_rest_ns` and `longest_rest_ns`. Only those watched at all times
    are counted.
    """

    count: int
    shortest_rest_ns: int
    longest_rest_ns: int


class Death(msgspec.Struct, frozen=True):
    """A server that the run had started, and that ended by itself: after it was last seen to run, before it was not.

    `server` names it for people. `exit_code` is its process's, minus the number of a signal that ended it. `words` are
    the last that it wrote, without secrets, and `memory_bytes` the most memory that it was seen to take, None for
    unknown.
    """

    server: str
    died_from_ns: int
    died_to_ns: int
    exit_code: int
    words: str = ""
    memory_bytes: int | None = None


class StatusShown(msgspec.Struct, frozen=True, gc=False):
    """What a status said of one machine besides its age; nothing for what it did not say."""

    stale: bool | None = None
    policy_id: str = ""
    last_heartbeat: str = ""


class StatusReading(msgspec.Struct, frozen=True):
    """What an owner was shown of all its machines after a fault: seconds since the last heartbeat, -1 for none.

    `stale_seconds` is the threshold that was shown with them, -1 for none.
    """

    owner_id: str
    sent_ns: int
    answered_ns: int
    ages: dict[str, float]
    statuses: dict[str, StatusShown] = {}
    stale_seconds: float = -1.0


class SummaryReading(msgspec.Struct, frozen=True):
    """What an owner was shown of its fleet in numbers; -1 for a number that was not shown."""

    owner_id: str
    sent_ns: int
    answered_ns: int
    total: int = -1
    fresh: int = -1
    stale: int = -1
    unknown: int = -1


class Deviation(msgspec.Struct, frozen=True):
    """A way in which answers to one route were not what the contract lets them be, and how many were so.

    The message and the times are those of the first one, whose bytes are a `FailedExchange`. `rule` is a checker's.
    """

    rule: str
    route: str
    message: str
    sent_ns: int
    answered_ns: int
    campaign: int
    count: int = 1


class Shown(msgspec.Struct, frozen=True, gc=False):
    """A value that an answer showed, to be held against a clock or against other answers: `field` of `subject`."""

    sent_ns: int
    answered_ns: int
    campaign: int
    subject: str
    field: str
    value: str


class CertificateShown(msgspec.Struct, frozen=True, gc=False):
    """A certificate as an answer showed it, with all that its signature covers (contract §3)."""

    sent_ns: int
    answered_ns: int
    campaign: int
    certificate_id: str
    machine_id: str
    issued_at: str
    expires_at: str
    signature: str


class KeyReading(msgspec.Struct, frozen=True):
    """The public keys that a server published: the `x` of each Ed25519 one. None with another status than 200."""

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
    """What /health answered on a fresh connection while nothing else did: `status` 0 and a `problem` for no answer."""

    sent_ns: int
    answered_ns: int
    status: int
    problem: str = ""


METRICS_PAGE = "metrics page"
"""What a trouble is about when a scrape was answered with a page that is none."""


class Trouble(msgspec.Struct, frozen=True):
    """What kept the harness from getting an answer: what it wanted, why in words, how often, and from when to when.

    `what` is "heartbeat", "attack", "connecting" where no request was sent at all, "scrape", `METRICS_PAGE`,
    "audit list", or the name of a control-plane call. `seconds` says how often in which second of the run.
    """

    what: str
    why: str
    count: int
    first_ns: int
    last_ns: int
    seconds: dict[int, int] = {}


class PartRecord(msgspec.Struct, frozen=True):
    """What one process of several played: machines from a number on, and the host it ran on (0 is the conductor's).

    `clock_width_ns` is how much longer times to an answer look in its rows than they were, because the two clocks were
    only known within so much. Of its requests sent from `known_until_ns` on, rows may be missing; `NEVER_NS` for none.
    """

    first_machine: int
    machines: int
    host: int
    clock_width_ns: int
    known_until_ns: int


class LocustCount(msgspec.Struct, frozen=True):
    """One line of Locust's statistics at the end of a run that it conducted, or of what its conductor asked besides."""

    method: str
    name: str
    requests: int
    failures: int
