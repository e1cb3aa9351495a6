"""What machines and owners do on the control plane, each act once: a script that asks and is told what came of it.

No I/O and no clock: a script yields an `Ask` and is sent a `Reply`, which carries its moments. The live world plays
scripts under Trio, Locust's users under gevent, attack scripts as steps of their own. What an answer means, what it
changes in a machine and which audit events it must or may have left is decided here; a `Recorder` keeps the exchange.
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
    """Send one call for an owner and wait for its answer. The script is sent a `Reply`.

    `action` is what `machine` wants with it; `object_id` is what it changes, where that is known beforehand. `name` is
    its line in statistics, where that is not the operation's.
    """

    call: ApiCall
    owner_id: str
    machine: Machine | None = None
    action: Action | None = None
    object_id: str = ""
    name: str = ""


class Sleep(msgspec.Struct, frozen=True):
    """Wait so long. The script is sent nothing."""

    seconds: float


class Reconnect(msgspec.Struct, frozen=True):
    """Send the next request on a new connection. The script is sent nothing."""


class RenewPolicy(msgspec.Struct, frozen=True):
    """Make an owner another policy for the one that the server has forgotten. The script is sent the run's time after.

    `forgotten` is the policy's id: where somebody has renewed it since, there is nothing to do.
    """

    owner_id: str
    forgotten: str


ActStep = Ask | Sleep | Reconnect | RenewPolicy
Act = Generator[ActStep, "Any", _Result]


class Reply(msgspec.Struct, frozen=True):
    """What came of an `Ask`, and when on the run's clock. A `status` of 0 says that no whole answer came.

    `loss` and `why` then say the reason, the latter for people; `silent` that it was waited as long as anybody does.
    `got` is what the answer is, where a player has its own expectation of it.
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
        """Return when the answer had come; `NEVER_NS` where none has."""
        return self.ended_ns if self.status else NEVER_NS

    @property
    def raw(self) -> bytes:
        """Return the answer's bytes: its head as it came, and the body without its framing."""
        return self.head + b"\r\n\r\n" + self.body


class Exchanged(NamedTuple):
    """What came of a request, and what that is. `problem` says what is wrong with a success that grants nothing.

    `expected` is what a right server says: acceptance, but where it may rightly refuse.
    """

    reply: Reply
    got: Answer
    problem: str
    expected: Answer = Answer.ACCEPTED


class CutOffError(Exception):
    """Thrown into a script whose request is cut off on its way: it may take effect all the same."""

    def __init__(self, reply: Reply) -> None:
        super().__init__("cut off")
        self.reply = reply


class ActError(Exception):
    """An act was not answered as what follows needs; the message names it and says why."""


class Recorder(Protocol):
    """Keeps what a player's asks came to."""

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Keep what one request came to."""


class Unrecorded:
    """Keeps nothing: the world that plays an attack script records its steps itself."""

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Do nothing."""


def _evenly() -> float:
    return 1.0


class Acts:
    """The acts of one player, for a history. `token` is the owners'.

    `rotation_ns` is how old a certificate may become, times what `spread` returns, so that no fleet rotates at once.
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

    # --- one request, and what its answer means

    def exchange(self, ask: Ask) -> Act[Exchanged]:
        """Send one request, and return what came of it. What is cut off is kept as lost."""
        try:
            reply: Reply = yield ask
        except CutOffError as cut:
            self._take(ask, cut.reply)
            raise
        return self._take(ask, reply)

    def _take(self, ask: Ask, reply: Reply) -> Exchanged:
        """Apply an answer, note the event it must or may have left, and have the exchange recorded."""
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
        """Put a grant into the machine, or note an owner's change. Raises MalformedDataError and GrantError."""
        event = EVENT_OF.get(ask.call.operation)
        if ask.machine is not None and ask.action is not None:
            spread, data = self._spread(), read_data(reply.status, reply.body)
            moments = reply.sent_ns, reply.ended_ns
            apply_grant(self._history, ask.machine, ask.action, data, *moments, self._rotation_ns, spread)
        elif event is not None:
            note(self._history, reply.sent_ns, reply.ended_ns, event, ask.owner_id, ask.object_id)

    # --- the requests

    def machine_ask(self, machine: Machine, action: Action, policy_id: str) -> Ask:
        """Return what a machine, or its owner for it, asks for; `policy_id` is what it will consent to."""
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

    # --- the acts. Each raises ActError when it is not answered as it must be

    def act(self, machine: Machine, action: Action, policy_id: str = "") -> Act[None]:
        """Register, consent, fetch the policy or rotate: what `action` says."""
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
    """Note that a machine's consent was revoked, or may have been where it is not `sure`."""
    history.revocations.append(Revocation(machine.consent_number, sent_ns, answered_ns if sure else NEVER_NS))


def _is_doubtful(got: Answer, status: int) -> bool:
    """Return whether a request may have taken effect although it was not answered as a success that it was."""
    if got in {Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED}:
        return True
    return got is Answer.UNEXPECTED and status < BAD_REQUEST


def _named(ask: Ask) -> str:
    """Return an act's name for people."""
    return operation_name(ask.call.operation) if ask.action is None else ask.action.name.lower()
