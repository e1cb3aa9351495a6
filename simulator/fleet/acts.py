"""Acts of machines and owners on the control plane: scripts that yield requests and receive the replies.

No I/O and no clock: a script yields an `Ask` and is sent a `Reply` with its times. The live world plays scripts under
Trio, Locust's users under gevent, attack scripts as steps of their own. This module decides what an answer means, what
it changes in a machine, and which audit events it must or may have left; a `Recorder` stores the exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import msgspec

from simulator.contract.answers import Answer, Operation, operation_name
from simulator.contract.reading import BAD_REQUEST, MalformedDataError, honest_answer, read_data
from simulator.fleet.grants import GrantError, read_id
from simulator.fleet.requests import (
    EVENT_OF,
    ApiCall,
    activate_call,
    apply_grant,
    call_of,
    note,
    policy_call,
    revoke_call,
)
from simulator.history.losses import Loss
from simulator.history.records import Revocation
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from typing import Any

    from simulator.fleet.machine import Action, Machine
    from simulator.history.rows import History

_Result = TypeVar("_Result")


class Ask(msgspec.Struct, frozen=True):
    """Yielded to send a call for an owner. The script is sent a `Reply`.

    `action` is the action of `machine` that it belongs to; `object_id` is the object it changes, if known. `name` is
    its name in Locust's statistics, if that is not the operation's.
    """

    call: ApiCall
    owner_id: str
    machine: Machine | None = None
    action: Action | None = None
    object_id: str = ""
    name: str = ""


class Sleep(msgspec.Struct, frozen=True):
    """Yielded to wait. The script is sent None."""

    seconds: float


class Reconnect(msgspec.Struct, frozen=True):
    """Yielded to send the next request on a new connection. The script is sent None."""


class RenewPolicy(msgspec.Struct, frozen=True):
    """Yielded to replace a policy that the server has lost. The script is sent the run's time afterwards.

    `forgotten` is the lost policy's id: if another script has replaced it meanwhile, there is nothing to do.
    """

    owner_id: str
    forgotten: str


ActStep = Ask | Sleep | Reconnect | RenewPolicy
Act = Generator[ActStep, "Any", _Result]


class Reply(msgspec.Struct, frozen=True):
    """The outcome of an `Ask`, with times of the run. A `status` of 0 means that no whole answer came.

    Then `loss` and `why` give the reason, the latter as text, and `silent` says that the whole timeout passed. `got` is
    the classification of the answer, if the player has its own expectation.
    """

    sent_ns: int
    ended_ns: int
    status: int = 0
    head: bytes = b""
    body: bytes = b""
    loss: Loss = Loss.UNKNOWN
    why: str = ""
    silent: bool = False
    got: Answer | None = None

    @property
    def answered_ns(self) -> int:
        """When the answer had come, or `NEVER_NS`."""
        return self.ended_ns if self.status else NEVER_NS

    @property
    def raw(self) -> bytes:
        """The answer's bytes: the head as received, and the body without its framing."""
        return self.head + b"\r\n\r\n" + self.body


class Exchanged(NamedTuple):
    """A request's reply and its classification. `problem` says what is wrong with a success that grants nothing.

    `expected` is a correct server's answer: acceptance, unless it may rightly refuse.
    """

    reply: Reply
    got: Answer
    problem: str
    expected: Answer = Answer.ACCEPTED


class CutOffError(Exception):
    """Thrown into a script whose request is cut off; the request may still take effect."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("cut off")
        self.reply = reply


class ActError(Exception):
    """Raised when an act's answer does not allow the next step; the message names the act and the reason."""


class Recorder(Protocol):
    """Stores the exchanges of a player."""

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Store one exchange."""


class Unrecorded:
    """Stores nothing: the world that plays an attack script records the steps itself."""

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Do nothing."""


def _evenly() -> float:
    return 1.0


class Acts:
    """The acts of one player, for a history. `token` is the owners'.

    Certificates are rotated at the age `rotation_ns` times `spread()`, so that a fleet does not rotate at once.
    """

    def __init__(
        self,
        history: History,
        token: str,
        rotation_ns: int,
        recorder: Recorder,
        spread: Callable[[], float] = _evenly,
    ) -> None:
        self._history = history
        self._token = token
        self._rotation_ns = rotation_ns
        self._recorder = recorder
        self._spread = spread

    # --- one request, and the meaning of its answer

    def exchange(self, ask: Ask) -> Act[Exchanged]:
        """Send one request, and return the exchange. A request that is cut off is recorded as lost."""
        try:
            reply: Reply = yield ask
        except CutOffError as cut:
            self._take(ask, cut.reply)
            raise
        return self._take(ask, reply)

    def _take(self, ask: Ask, reply: Reply) -> Exchanged:
        """Apply an answer, note the audit event that it must or may have left, and record the exchange."""
        got, problem = reply.got, ""
        if got is None:
            got = honest_answer(reply.status, reply.body) if reply.status else Answer.LOST
        if got is Answer.ACCEPTED:
            try:
                self._apply(ask, reply)
            except (MalformedDataError, GrantError) as error:
                got, problem = Answer.UNEXPECTED, f"its answer is not what the contract says ({error})"
        if ask.call.operation is Operation.CONSENT_REVOKE and ask.machine is not None:
            note_revocation(self._history, ask.machine, reply.sent_ns, reply.answered_ns, sure=got is Answer.ACCEPTED)
        event = EVENT_OF.get(ask.call.operation)
        if event is not None and _is_doubtful(got, reply.status):
            note(self._history, reply.sent_ns, reply.answered_ns, event, ask.owner_id, ask.object_id, sure=False)
        exchanged = Exchanged(reply, got, problem)
        self._recorder.record(ask, exchanged)
        return exchanged

    def _apply(self, ask: Ask, reply: Reply) -> None:
        """Store a grant in the machine, or note an owner's change. Raises MalformedDataError and GrantError."""
        event = EVENT_OF.get(ask.call.operation)
        if ask.machine is not None and ask.action is not None:
            spread, data = self._spread(), read_data(reply.status, reply.body)
            moments = reply.sent_ns, reply.ended_ns
            apply_grant(self._history, ask.machine, ask.action, data, *moments, self._rotation_ns, spread)
        elif event is not None:
            note(self._history, reply.sent_ns, reply.ended_ns, event, ask.owner_id, ask.object_id)

    # --- the requests

    def machine_ask(self, machine: Machine, action: Action, policy_id: str) -> Ask:
        """Return the request for a machine's action; `policy_id` is the policy to consent to."""
        return Ask(call_of(machine, action, self._token, policy_id), machine.owner_id, machine, action)

    def draft_ask(self, owner_id: str, rules: dict[str, Any]) -> Ask:
        """Return the creation of a signed policy, which is a draft until it is activated."""
        return Ask(policy_call(self._token, owner_id, rules), owner_id)

    def activation_ask(self, owner_id: str, policy_id: str) -> Ask:
        """Return the activation of a policy."""
        return Ask(activate_call(self._token, owner_id, policy_id), owner_id, object_id=policy_id)

    def revoke_ask(self, machine: Machine) -> Ask:
        """Return the revocation of a machine's consent."""
        consent_id = self._history.consents[machine.consent_number - 1].consent_id
        call = revoke_call(self._token, machine.owner_id, consent_id)
        return Ask(call, machine.owner_id, machine, object_id=consent_id)

    # --- the acts. Each raises ActError if its answer is not the required one

    def act(self, machine: Machine, action: Action, policy_id: str = "") -> Act[None]:
        """Register, consent, fetch the policy or rotate, by `action`."""
        yield from self._must(self.machine_ask(machine, action, policy_id))

    def draft_policy(self, owner_id: str, rules: dict[str, Any]) -> Act[str]:
        """Create a policy, and return its id."""
        ask = self.draft_ask(owner_id, rules)
        reply = yield from self._must(ask)
        try:
            return read_id(read_data(reply.status, reply.body))
        except (MalformedDataError, GrantError) as error:
            raise ActError(f"{_named(ask)}: its answer is not what the contract says ({error})") from None

    def make_policy(self, owner_id: str, rules: dict[str, Any]) -> Act[str]:
        """Create and activate a policy, and return its id."""
        policy_id = yield from self.draft_policy(owner_id, rules)
        yield from self._must(self.activation_ask(owner_id, policy_id))
        return policy_id

    def revoke(self, machine: Machine) -> Act[None]:
        """Revoke a machine's consent."""
        yield from self._must(self.revoke_ask(machine))

    def _must(self, ask: Ask) -> Act[Reply]:
        reply, got, problem, _ = yield from self.exchange(ask)
        if got is Answer.ACCEPTED:
            return reply
        came = f"it got HTTP {reply.status}" if reply.status else "no whole answer came"
        raise ActError(f"{_named(ask)}: {problem or came}")


def note_revocation(history: History, machine: Machine, sent_ns: int, answered_ns: int, *, sure: bool) -> None:
    """Record that a machine's consent was revoked, or, if not `sure`, may have been."""
    history.revocations.append(Revocation(machine.consent_number, sent_ns, answered_ns if sure else NEVER_NS))


def _is_doubtful(got: Answer, status: int) -> bool:
    """Return whether a request without a success as its answer may have taken effect."""
    if got in {Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED}:
        return True
    return got is Answer.UNEXPECTED and status < BAD_REQUEST


def _named(ask: Ask) -> str:
    """Return an act's name for messages."""
    return operation_name(ask.call.operation) if ask.action is None else ask.action.name.lower()
