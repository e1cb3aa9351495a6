"""Attacks of several steps: a script yields its next step, and receives the outcome. No I/O.

A script is a generator. A world plays it: it executes each step, records it in the history, and sends the outcome back
into the generator. So the same script runs over real sockets and in virtual time.
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
    """A correct server's answer: one of `statuses` with `error` in its message, and the reason.

    `answer` is its classification in the history. `basis` is the profile that requires it, if not the attack's own.
    `success` is a status other than 2xx that would mean success of a hostile request, as a redirect does for a login.
    """

    answer: Answer
    statuses: tuple[int, ...]
    error: str = ""
    because: str = ""
    basis: Basis | None = None
    success: int = 0


def refused(status: int, error: str, because: str, basis: Basis | None = None) -> Expect:
    """Return the expectation of a refusal that does not count as a worker auth failure."""
    return Expect(Answer.REFUSED, (status,), error, because, basis)


def granted(status: int, because: str = "it is what its owner may do", basis: Basis | None = None) -> Expect:
    """Return the expectation of a success."""
    return Expect(Answer.ACCEPTED, (status,), "", because, basis)


def heartbeat_gets(answer: Answer, because: str) -> Expect:
    """Return the expectation of a heartbeat's or a policy fetch's answer: acceptance or a refusal (contract §3, §4)."""
    return Expect(answer, (), "", because)


class ExpectedEvent(msgspec.Struct, frozen=True):
    """An audit event that a request must leave in the streams of `owners`, besides those that rows imply."""

    type: str
    actor: str
    object_id: str
    owners: tuple[str, ...]
    reason: str = ""


class Send(msgspec.Struct, frozen=True):
    """A step: send one whole request from one of the script's addresses, and wait for its answer. Gives an `Outcome`.

    `client` is the number of the script's address; each has one connection, which stays open between steps. Requests to
    the heartbeat or the policy route must say so in `operation`, because alerts are judged by it. `source` is another
    source address, one of `ScriptContext.peer_sources`.
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
    """The number of the sandbox's server to which it is sent."""


class Wire(msgspec.Struct, frozen=True):
    """A step: write raw bytes on a new connection, each part followed by its pause in seconds. Gives a `WireOutcome`.

    The connection is opened `after_seconds`; the patience counts from then. `then` says what follows: read answers
    until the server closes or the patience ends, half-close first, reset after `reset_after_bytes` of answers, or read
    at `read_bytes_per_second` for `slow_seconds` and at full speed afterwards.

    `expect` is about the first answer; status 0 among its statuses stands for a close without an answer, which is not a
    lost answer then. `operation` and `expected_events` say what the bytes may do, as in `Send`: a registration among
    them must be named. Effects of a connection that was cut off count as possible.
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
    """Whether to negotiate HTTP/2 in the TLS handshake; answers are then not HTTP/1.1."""


class Together(msgspec.Struct, frozen=True):
    """A step: send several requests at the same moment, each on its own connection. Gives their outcomes, in order."""

    sends: tuple[Send | Wire, ...]


class Pause(msgspec.Struct, frozen=True):
    """A step: wait until a time of the run. Gives None."""

    until_ns: int


class Claim(msgspec.Struct, frozen=True):
    """A step: claim what the earlier steps have shown. `held` is None if it cannot be known. Gives None."""

    rule: str
    held: bool | None
    message: str
    evidence: dict[str, Any] = {}


class JoinFleet(msgspec.Struct, frozen=True):
    """A step: move a machine of the script into the honest fleet, so that it does not fall silent. Gives None."""

    machine: Machine


class BeginFault(msgspec.Struct, frozen=True):
    """A step: begin a fault in the sandbox; `kind` is a scenario's kind of fault. Gives None.

    It lasts until `EndFault`. A killed server loses all its connections. `instance` is the number of the server.
    """

    kind: str
    instance: int = 0


class EndFault(msgspec.Struct, frozen=True):
    """A step: end a fault, by restarting a killed process or resuming a paused one. Gives None."""

    kind: str
    instance: int = 0


class StartOtherInstances(msgspec.Struct, frozen=True):
    """A step: restart the first instance, and start the others with a copy of its stored state. Gives None."""


class StepClock(msgspec.Struct, frozen=True):
    """A step: set the wall clock of the sandbox's server `by_ns` ahead, or back if negative. Gives None."""

    by_ns: int


class SandboxOptions(msgspec.Struct, frozen=True):
    """The servers of a sandbox: durable ones, optionally with a Redis and with a clock that can be set.

    Only one instance runs until `StartOtherInstances`. `settings` are the servers' settings; the scenario's do not
    apply.
    """

    instances: int = 1
    redis: bool = False
    durable: bool = True
    clock: bool = False
    settings: Mapping[str, str] = MappingProxyType({})


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a request. `got` is LOST, with status 0, if no whole answer came."""

    expect: Expect
    got: Answer
    status: int
    head: bytes
    body: bytes
    sent_ns: int
    answered_ns: int

    @property
    def right(self) -> bool:
        """Whether it is the answer of a correct server, or one of those that only the server can decide between."""
        return self.got is self.expect.answer or self.got in ALTERNATIVES.get(self.expect.answer, ())

    @property
    def known(self) -> bool:
        """Whether the server judged the request at all."""
        return self.right or self.got not in {Answer.LOST, Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED}

    def data(self) -> dict[str, Any]:
        """Return the data of an answer's envelope; empty if it has none."""
        try:
            data = msgspec.json.decode(self.body)["data"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}


class WireAnswer(msgspec.Struct, frozen=True):
    """A whole answer on a raw connection, and the time of its end."""

    status: int
    head: bytes
    body: bytes
    at_ns: int


class WireOutcome(msgspec.Struct, frozen=True):
    """The outcome of a raw connection: whole answers, remaining bytes, and whether the server closed it.

    `closed_ns` is when the exchange ended, by that or otherwise; `parts_ns` is when the writing of each part began. A
    connection that was never opened is neither `connected` nor closed.
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
    """Raised when a script cannot continue because an earlier step got another answer than it needs.

    The message says which.
    """


class NotTriedError(PrerequisiteError):
    """Raised when a script has nothing to try on this target, which is no fault; the message says why."""


class ScriptContext:
    """What a script may use: the target, the clocks, seeded randomness, and unique names.

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
        """Return a new owner id of this script; the owner's audit streams are read at the end of the run."""
        self._owners += 1
        owner_id = f"{self.owner_prefix}-{self._owners}"
        self.history.owners.append(owner_id)
        return owner_id

    def new_machine(self, owner_id: str) -> Machine:
        """Return a new machine, not yet registered, of an owner of the script."""
        machine = Machine(self._new_number(), owner_id, self._interval_ns)
        machine.stopped = True
        return machine

    def worst_lag_ns(self, since_ns: int, until_ns: int) -> int:
        """Return the greatest measured lateness of the harness itself between two times."""
        return max((one.loop_lag_ns for one in self.history.generator if since_ns <= one.at_ns <= until_ns), default=0)

    def victim(self) -> Machine:
        """Return a random victim that is set up. Raises PrerequisiteError if there is none."""
        ready = [machine for machine in self.victims if machine.policy_id and not machine.rotate_due]
        if not ready:
            raise PrerequisiteError("no victim was ready")
        return ready[int(self.rng.integers(len(ready)))]


class ScriptAttack(Attack):
    """An attack by a script, which each attempt of a campaign plays once."""

    wants_victims: ClassVar[bool] = False
    """Whether the script needs machines of the honest fleet that are set up."""
    needs_settings: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Settings of a server that the run starts for this attack alone; empty to attack the run's target."""
    needs_identity: ClassVar[bool] = False
    """Whether that server uses an identity provider that the attack plays."""
    sandbox: ClassVar[SandboxOptions | None] = None
    """The sandbox that is started for each attempt, one at a time; None to attack the run's target."""
    connections: ClassVar[int] = 0
    """How many connections an attempt has open at once, if more than a few."""
    needs_http2: ClassVar[bool] = False
    """Whether the attack needs a target that speaks HTTP/2."""
    needs: ClassVar[frozenset[Feature]] = frozenset()
    """Additions of the contract to the published API that the attack needs."""

    def obstacle(self, context: ScriptContext) -> str:
        """Return why this attack cannot be tried on this target, or an empty text."""
        del context
        return ""

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        raise NotImplementedError
