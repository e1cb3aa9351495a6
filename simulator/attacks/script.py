"""Attacks of several steps: a script yields what to do next, and is told what came of it. No I/O.

A script is a generator. A world plays it: it does each step, records it in the history, and sends the outcome back in.
So the same script runs over real sockets and in virtual time.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import msgspec

from simulator.attacks.catalogue import Attack
from simulator.attacks.defences import Defences
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.fleet.acts import Acts, Unrecorded
from simulator.fleet.machine import Machine
from simulator.history.rows import NO_MACHINE, NONE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.contract.features import Feature
    from simulator.contract.profiles import Basis
    from simulator.history.rows import History

NO_NONCE = b"\0" * 12
_Result = TypeVar("_Result")


class Expect(msgspec.Struct, frozen=True):
    """What a correct server answers: one of `statuses` with `error` in its message, and why.

    `answer` is how the history counts it. `basis` is what the expectation rests on, where not on what its attack does.
    `success` is a status past 2xx by which a hostile request would be let through, as a login is by a redirect.
    """

    answer: Answer
    statuses: tuple[int, ...]
    error: str = ""
    because: str = ""
    basis: Basis | None = None
    success: int = 0


def refused(status: int, error: str, because: str, basis: Basis | None = None) -> Expect:
    """Expect a refusal that is no worker auth failure."""
    return Expect(Answer.REFUSED, (status,), error, because, basis)


def granted(status: int, because: str = "it is what its owner may do", basis: Basis | None = None) -> Expect:
    """Expect success."""
    return Expect(Answer.ACCEPTED, (status,), "", because, basis)


def heartbeat_gets(answer: Answer, because: str) -> Expect:
    """Expect what a heartbeat, or a policy fetch, gets: acceptance or a named refusal (contract §3, §4)."""
    return Expect(answer, (), "", because)


class ExpectedEvent(msgspec.Struct, frozen=True):
    """The audit event that a request must leave in the streams of `owners`, besides those that rows imply."""

    type: str
    actor: str
    object_id: str
    owners: tuple[str, ...]
    reason: str = ""


class Send(msgspec.Struct, frozen=True):
    """Send one whole request from one of the script's addresses, and wait for its answer. Returns an `Outcome`.

    `client` numbers the script's addresses; each has a connection of its own, kept open from step to step. What hits
    the heartbeat or the policy route must say so in `operation`, because the alerts are judged by it. `source` is an
    address to speak from instead of the client's own, one of `ScriptContext.peer_sources`.
    """

    request: bytes
    expect: Expect
    operation: Operation = Operation.OTHER
    machine: int = NO_MACHINE
    nonce: bytes = NO_NONCE
    certificate: int = NONE
    consent: int = NONE
    client: int = 0
    expected_events: tuple[ExpectedEvent, ...] = ()
    source: str = ""
    instance: int = 0
    """Which of the sandbox's servers it goes to."""


class Wire(msgspec.Struct, frozen=True):
    """Write raw bytes on a fresh connection: each part, then its pause in seconds. Returns a `WireOutcome`.

    The connection is made `after_seconds`; patience counts from there.
    `then` says what follows: read answers until the server closes or patience ends, half-close first, reset once
    `reset_after_bytes` of answers have come, or read at `read_bytes_per_second` for `slow_seconds` and freely after.

    `expect` is about the first answer; a status of 0 among its statuses means closing without one, which is no lost
    answer then. `operation` and `expected_events` say what the bytes may do, as in `Send`: a registration among them
    must be named, and what a connection that was cut off may have left is counted as possible.
    """

    parts: tuple[tuple[bytes, float], ...]
    expect: Expect
    then: Literal["read", "half-close", "reset", "read-slowly"] = "read"
    patience_seconds: float = 10.0
    read_bytes_per_second: int = 0
    client: int = 0
    after_seconds: float = 0.0
    slow_seconds: float = math.inf
    reset_after_bytes: int = 0
    operation: Operation = Operation.OTHER
    expected_events: tuple[ExpectedEvent, ...] = ()
    http2: bool = False
    """Whether to agree on HTTP/2 while the TLS connection is made; what it answers is no HTTP/1.1 then."""


class Together(msgspec.Struct, frozen=True):
    """Do several requests at the same moment, each on a connection of its own. Returns their outcomes, in order."""

    sends: tuple[Send | Wire, ...]


class Pause(msgspec.Struct, frozen=True):
    """Wait until a moment of the run. Returns nothing."""

    until_ns: int


class Claim(msgspec.Struct, frozen=True):
    """Claim what the steps so far have shown. `held` is None when it cannot be known. Returns nothing."""

    rule: str
    held: bool | None
    message: str
    evidence: dict[str, Any] = {}


class JoinFleet(msgspec.Struct, frozen=True):
    """Hand a machine of the script over to the honest fleet, so that it does not fall silent. Returns nothing."""

    machine: Machine


class BeginFault(msgspec.Struct, frozen=True):
    """Begin a fault in the sandbox: `kind` is a scenario's kind of fault. Returns nothing.

    It lasts until `EndFault`; of a server that is killed every connection is gone. `instance` says which one it is.
    """

    kind: str
    instance: int = 0


class EndFault(msgspec.Struct, frozen=True):
    """End a fault: start again what was killed, or let go on what was held. Returns nothing."""

    kind: str
    instance: int = 0


class StartOtherInstances(msgspec.Struct, frozen=True):
    """Start the other instances with a copy of what the first one has kept; it restarts for that. Returns nothing."""


class StepClock(msgspec.Struct, frozen=True):
    """Set the wall clock of the sandbox's server so many nanoseconds ahead or back of now. Returns nothing."""

    by_ns: int


class SandboxOptions(msgspec.Struct, frozen=True):
    """What an attempt has to itself: servers that keep their state, perhaps a Redis, perhaps a clock that can be set.

    Only one `instance` runs until `StartOtherInstances`. `settings` are the servers'; they take none of the scenario's.
    """

    instances: int = 1
    redis: bool = False
    durable: bool = True
    clock: bool = False
    settings: Mapping[str, str] = MappingProxyType({})


class Outcome(msgspec.Struct, frozen=True):
    """What came back. `got` is LOST, with status 0, when no whole answer came."""

    expect: Expect
    got: Answer
    status: int
    head: bytes
    body: bytes
    sent_ns: int
    answered_ns: int

    @property
    def right(self) -> bool:
        """Return whether it is what a correct server answers, or may answer where only it can decide."""
        return self.got is self.expect.answer or self.got in ALTERNATIVES.get(self.expect.answer, ())

    @property
    def known(self) -> bool:
        """Return whether the server judged the request at all."""
        return self.right or self.got not in {Answer.LOST, Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED}

    def data(self) -> dict[str, Any]:
        """Return an enveloped answer's data; empty when it has none."""
        try:
            data = msgspec.json.decode(self.body)["data"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}


class WireAnswer(msgspec.Struct, frozen=True):
    """One whole answer on a raw connection, and when its end came."""

    status: int
    head: bytes
    body: bytes
    at_ns: int


class WireOutcome(msgspec.Struct, frozen=True):
    """What a raw connection gave: each whole answer, bytes left over, and whether the server closed.

    `closed_ns` is when it did, or when the exchange ended otherwise; `parts_ns` is when the writing of each part began.
    A connection that was never made is neither `connected` nor closed.
    """

    answers: tuple[WireAnswer, ...] = ()
    rest: bytes = b""
    connected: bool = False
    closed: bool = False
    sent_ns: int = 0
    closed_ns: int = 0
    parts_ns: tuple[int, ...] = ()


Step = Send | Together | Wire | Pause | Claim | JoinFleet | BeginFault | EndFault | StartOtherInstances | StepClock
Script = Generator[Step, Any, _Result]


class PrerequisiteError(Exception):
    """A script cannot go on, because a step it builds on was not answered as it needs; says which."""


class NotTriedError(PrerequisiteError):
    """A script has nothing to try on this target, which is nobody's fault; says why."""


class ScriptContext:
    """What a script may use: who it plays against, the clocks, seeded randomness, and names of its own.

    `host` is the target's authority, `token` the owners'. `victims` are honest machines whose credentials the attacker
    has got hold of. `now` gives nanoseconds of the run, `wall` Unix nanoseconds. `rotation_ns` is how old a machine of
    the script lets its certificate become once it has joined the fleet. `own_addresses` says whether each client of the
    script speaks from an address of its own; `peer_sources` are addresses within one IPv6 /64 that it may speak from.
    `lacks` is what the target does not have: what depends on it is not tried. `metrics_public` says whether anybody may
    read its metrics, None where that is not known. The clocks of its instances may be `clocks_apart_ns` apart. `acts`
    are what the script's owners and machines do on the control plane. No run before had its `owner_prefix`.
    """

    def __init__(
        self,
        *,
        campaign: int,
        host: str,
        token: str,
        victims: list[Machine],
        history: History,
        rng: np.random.Generator,
        now: Callable[[], int],
        wall: Callable[[], int],
        new_number: Callable[[], int],
        interval_ns: int,
        rotation_ns: int,
        end_ns: int,
        owner_prefix: str,
        defences: Defences = Defences(),  # noqa: B008 - frozen
        own_addresses: bool = True,
        peer_sources: tuple[str, ...] = (),
        lacks: frozenset[Feature] = frozenset(),
        metrics_public: bool | None = None,
        clocks_apart_ns: int = 0,
    ) -> None:
        self.campaign = campaign
        self.host = host
        self.token = token
        self.victims = victims
        self.history = history
        self.rng = rng
        self.now = now
        self.wall = wall
        self.rotation_ns = rotation_ns
        self.end_ns = end_ns
        self.defences = defences
        self.own_addresses = own_addresses
        self.peer_sources = peer_sources
        self.lacks = lacks
        self.metrics_public = metrics_public
        self.clocks_apart_ns = clocks_apart_ns
        self.acts = Acts(history, token, rotation_ns, Unrecorded())
        self._new_number = new_number
        self._interval_ns = interval_ns
        self.owner_prefix = owner_prefix
        self._owners = 0

    def new_owner(self) -> str:
        """Make up an owner whom only this script acts as; its audit streams are read at the end of the run."""
        self._owners += 1
        owner_id = f"{self.owner_prefix}-{self._owners}"
        self.history.owners.append(owner_id)
        return owner_id

    def new_machine(self, owner_id: str) -> Machine:
        """Make a machine for an owner of the script, not yet registered."""
        machine = Machine(self._new_number(), owner_id, self._interval_ns)
        machine.stopped = True
        return machine

    def worst_lag_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how late the harness itself was at worst between two moments, as far as it was measured."""
        return max((one.loop_lag_ns for one in self.history.generator if since_ns <= one.at_ns <= until_ns), default=0)

    def victim(self) -> Machine:
        """Choose one of the victims that is set up. Raises PrerequisiteError when none is."""
        ready = [machine for machine in self.victims if machine.policy_id and not machine.rotate_due]
        if not ready:
            raise PrerequisiteError("no victim was ready")
        return ready[int(self.rng.integers(len(ready)))]


class ScriptAttack(Attack):
    """An attack told as a script; each attempt of a campaign plays it once."""

    wants_victims: ClassVar[bool] = False
    """Whether it needs machines of the honest fleet that are already set up."""
    needs_settings: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Settings of a server that a run starts for this attack alone, beside its own; none to attack the run's target."""
    needs_identity: ClassVar[bool] = False
    """Whether that server asks a provider of identities that the attack plays."""
    sandbox: ClassVar[SandboxOptions | None] = None
    """What is started for each attempt, one attempt at a time; None to attack the run's target."""
    connections: ClassVar[int] = 0
    """How many connections an attempt holds open at once, where it is more than a few."""
    needs_http2: ClassVar[bool] = False
    """Whether it can only be tried on a target that speaks HTTP/2."""
    needs: ClassVar[frozenset[Feature]] = frozenset()
    """What the contract adds to the published API and it cannot be tried without."""

    def obstacle(self, context: ScriptContext) -> str:
        """Return why this attack cannot be tried on this target; nothing when it can."""
        del context
        return ""

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        raise NotImplementedError
