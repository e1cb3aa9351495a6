"""What owners and machines do on the control plane: policies, registration, consent, policy fetch, rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from simulator.client.answers import HttpAnswer, retry_after_ns
from simulator.client.connection import ControlConnection, LostError, MalformedDataError, data_of
from simulator.client.target import Target, TargetError, machine_source, owner_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import failure_of, in_words
from simulator.fleet.grants import GrantError, read_id
from simulator.fleet.machine import Action, Machine
from simulator.fleet.requests import (
    EVENT_OF,
    OPERATION_OF,
    ApiCall,
    activate_call,
    apply_grant,
    call_of,
    note,
    policy_call,
)
from simulator.history.losses import Loss, lost_status
from simulator.history.records import FailedExchange, Unserved
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.limits import ONBOARDING_MAX_CONCURRENT, POLICY_PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.traces.tape import Tape
    from simulator.worlds.progress import Progress

NO_NONCE = b"\0" * 12
OK, CREATED, BAD_REQUEST, NOT_FOUND, TOO_MANY, SERVER_ERROR = 200, 201, 400, 404, 429, 500
ZONES = ("UTC", "Europe/Berlin", "Asia/Seoul", "America/New_York")
POLICY_TRIES = 5
POLICY_SILENT_TRIES = 2
"""Of these, how many may wait as long as any client does: a third would only be waiting."""


def make_rules(index: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make an owner's policy: maxima, and for some owners allowed hours in their time zone."""
    rules: dict[str, Any] = {
        "max_cpu_percent": int(rng.integers(40, 96)),
        "max_memory_percent": int(rng.integers(60, 96)),
        "max_gpu_percent": int(rng.integers(50, 101)),
    }
    if index % 3 == 0:
        first = int(rng.integers(24))
        rules["timezone"] = ZONES[index % len(ZONES)]
        rules["allowed_hours"] = sorted((first + hour) % 24 for hour in range(16))
    return rules


class SetUpError(TargetError):
    """The target served until its owners' policies were to be created, and did not serve that: the run is judged."""


class Onboarding:
    """Does control-plane calls for machines, a bounded number at once, and records each in the history."""

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        rng: np.random.Generator,
        rotation_ns: int,
        tape: Tape | None = None,
    ) -> None:
        self._target = target
        self._history = history
        self._progress = progress
        self._now = now
        self._rng = rng
        self._rotation_ns = rotation_ns
        self._tape = tape
        self._witness = Witness(history, now)
        self._limiter = trio.CapacityLimiter(ONBOARDING_MAX_CONCURRENT)
        self._renewing = trio.Lock()
        self.policies: dict[str, str] = {}
        self._unserved: list[tuple[Unserved, ApiCall, str | None, str]] = []

    async def create_policies(self, owner_ids: list[str]) -> None:
        """Sign and activate one policy for each owner. Raises TargetError: without them there is no run.

        A SetUpError among them has in the history what was not served.
        """

        async def create(index: int, owner_id: str) -> None:
            self._history.owners.append(owner_id)
            async with self._limiter:
                self.policies[owner_id] = await self._create_policy(index, owner_id)

        self._unserved.clear()
        try:
            async with trio.open_nursery() as nursery:
                for index, owner_id in enumerate(owner_ids):
                    nursery.start_soon(create, index, owner_id)
        except* SetUpError:
            # Where no run begins they are all that there is.
            self._history.unserved.clear()
            for one, call, source, why in self._unserved:
                self._history.append(
                    one.sent_ns, one.sent_ns, one.answered_ns, NO_NONCE, NO_MACHINE, one.status, one.operation,
                    Answer.ACCEPTED, one.got, HONEST, source_number(source),
                )  # fmt: skip
                if why:
                    self._history.trouble(one.sent_ns, _named(call), why)
            raise

    async def _create_policy(self, index: int, owner_id: str) -> str:
        target = self._target
        create = policy_call(target.token, owner_id, make_rules(index, self._rng))
        source = owner_source(target, index)
        problem, kind = "", TargetError
        silent = 0
        with trio.move_on_after(POLICY_PATIENCE_SECONDS):
            for _ in range(POLICY_TRIES):
                try:
                    async with ControlConnection(target, source, self._witness) as connection:
                        answer = await self._owner_call(connection, create, owner_id, source)
                        if answer.status == TOO_MANY:
                            wait_seconds = retry_after_ns(answer.head) / 1e9 or 1
                            problem = f"POST /policies answered 429, to wait {wait_seconds:g} s"
                            await trio.sleep(wait_seconds)
                            continue
                        if answer.status != CREATED:
                            error = SetUpError if answer.status >= SERVER_ERROR else TargetError
                            raise error(f"POST /policies answered {answer.status}: {answer.body[:200]!r}")
                        policy_id = read_id(data_of(answer))
                        answer = await self._owner_call(
                            connection, activate_call(target.token, owner_id, policy_id), owner_id, source
                        )
                        if answer.status == OK:
                            return policy_id
                        problem = f"activation answered {answer.status}"
                except MalformedDataError as error:
                    raise TargetError(f"POST /policies: {error}: is this a HatchFarm server?") from None
                except GrantError as error:
                    raise TargetError(f"POST /policies answered what the contract does not allow: {error}") from None
                except LostError as error:
                    problem, kind = str(error), SetUpError
                    silent += isinstance(error.__cause__, trio.TooSlowError)
                    if silent == POLICY_SILENT_TRIES:
                        break
        problem = problem or f"no answer within {POLICY_PATIENCE_SECONDS:g} s"
        raise kind(f"cannot create a policy for {owner_id}: {problem}")

    async def _owner_call(
        self, connection: ControlConnection, call: ApiCall, owner_id: str, source: str | None
    ) -> HttpAnswer:
        """Do one of an owner's changes, and note the event it must, or may, have left."""
        sent_ns = self._now()
        event = EVENT_OF[call.operation]
        try:
            answer = await connection.call(call)
        except LostError as error:
            note(self._history, sent_ns, NEVER_NS, event, owner_id, sure=False)
            self._take(call, sent_ns, NEVER_NS, NO_MACHINE, None, Answer.LOST, source)
            lost = Unserved(
                sent_ns, NEVER_NS, call.operation, lost_status(error.loss, self._now() - sent_ns), Answer.LOST
            )
            self._history.fail(lost)
            self._unserved.append((lost, call, source, str(error)))
            raise
        self._take(call, sent_ns, self._now(), NO_MACHINE, answer, answer_kind(answer), source)
        if answer.status < BAD_REQUEST:
            note(self._history, sent_ns, self._now(), event, owner_id)
        elif answer.status >= SERVER_ERROR:
            answered_ns = self._now()
            note(self._history, sent_ns, answered_ns, event, owner_id, sure=False)
            failed = Unserved(sent_ns, answered_ns, call.operation, answer.status, answer_kind(answer))
            self._history.fail(failed)
            self._keep(call, sent_ns, answer, f"an honest {_named(call)} is not answered {answer.status}")
            self._unserved.append((failed, call, source, ""))
        return answer

    async def serve(self, machine: Machine) -> None:
        """Do what a machine wants done on the control plane, until it wants to send heartbeats or to wait."""
        async with self._limiter:
            source = machine_source(self._target, machine.index)
            async with ControlConnection(self._target, source, self._witness) as connection:
                while (action := machine.action(self._now())) not in {Action.HEARTBEAT, Action.WAIT}:
                    call = call_of(machine, action, self._target.token, self.policies.get(machine.owner_id, ""))
                    sent_ns = self._now()
                    try:
                        answer = await connection.call(call)
                        got = self._apply(machine, action, call, answer, sent_ns)
                    except trio.Cancelled:
                        self._unknown(machine, call, sent_ns, source, Loss.ENDED)
                        raise
                    except LostError as error:
                        self._unknown(machine, call, sent_ns, source, error.loss)
                        self._progress.onboarding_failures += 1
                        self._history.trouble(sent_ns, _named(call), str(error))
                        self._progress.last_problem = f"{_named(call)}: {error}"
                        machine.refused(0, self._now(), float(self._rng.random()))
                        continue
                    self._record(machine, call, sent_ns, self._now(), answer, got, source)
                    if action is Action.ROTATE and _says(answer, NOT_FOUND, b"machine not found"):
                        machine.forgotten()  # so it registers anew, at once
                        continue
                    if action is Action.CONSENT and _says(answer, BAD_REQUEST, b"active policy not found for owner"):
                        await self._renew_policy(machine.owner_id)
                    if got is not Answer.ACCEPTED:
                        self._progress.onboarding_failures += 1
                        self._progress.last_problem = f"{_named(call)} answered {answer.status}"
                        wait_ns = retry_after_ns(answer.head)
                        machine.refused(answer.status, self._now(), float(self._rng.random()), wait_ns)

    async def _renew_policy(self, owner_id: str) -> None:
        """Give an owner another policy for the one that the server has forgotten, unless somebody has just done so."""
        forgotten = self.policies.get(owner_id)
        async with self._renewing:
            if self.policies.get(owner_id) == forgotten:
                try:
                    self.policies[owner_id] = await self._create_policy(list(self.policies).index(owner_id), owner_id)
                except TargetError as error:
                    self._history.trouble(self._now(), "policy create", str(error))

    def _unknown(self, machine: Machine, call: ApiCall, sent_ns: int, source: str | None, loss: Loss) -> None:
        """Record a request whose outcome will never be known, and the event that it may have left."""
        lost = lost_status(loss, self._now() - sent_ns)
        self._record(machine, call, sent_ns, NEVER_NS, None, Answer.LOST, source, lost)
        self._possible(machine, call.operation, sent_ns, NEVER_NS)

    def _possible(self, machine: Machine, operation: Operation, sent_ns: int, answered_ns: int) -> None:
        event = EVENT_OF.get(operation)
        if event is not None:
            note(self._history, sent_ns, answered_ns, event, machine.owner_id, sure=False)

    def _record(
        self,
        machine: Machine,
        call: ApiCall,
        sent_ns: int,
        answered_ns: int,
        answer: HttpAnswer | None,
        got: Answer,
        source: str | None,
        lost: int = 0,
    ) -> None:
        status = lost if answer is None else answer.status
        self._history.append(
            sent_ns, sent_ns, answered_ns, NO_NONCE, machine.index, status, call.operation, Answer.ACCEPTED, got,
            HONEST, source_number(source), machine.certificate_number, machine.consent_number,
        )  # fmt: skip
        self._take(call, sent_ns, answered_ns, machine.index, answer, got, source)

    def _take(
        self,
        call: ApiCall,
        sent_ns: int,
        answered_ns: int,
        machine: int,
        answer: HttpAnswer | None,
        got: Answer,
        source: str | None,
    ) -> None:
        """Put a call on the tape, if there is one."""
        if self._tape is not None:
            self._tape.take(
                sent_ns, sent_ns, answered_ns, source, HONEST, machine, call.operation,
                call.message(self._target.authority), None if answer is None else answer.raw, Answer.ACCEPTED, got,
            )  # fmt: skip

    def _apply(self, machine: Machine, action: Action, call: ApiCall, answer: HttpAnswer, sent_ns: int) -> Answer:
        """Let the machine take what it asked for. Success that does not hold what it must is a wrong answer."""
        got = answer_kind(answer)
        if got is Answer.ACCEPTED:
            spread = 0.9 + 0.2 * float(self._rng.random())
            try:
                apply_grant(
                    self._history, machine, action, data_of(answer), sent_ns, self._now(), self._rotation_ns, spread
                )
            except (MalformedDataError, GrantError) as error:
                got = Answer.UNEXPECTED
                self._keep(call, sent_ns, answer, f"its answer is not what the contract says ({error})")
        elif got in {Answer.UNEXPECTED, Answer.FAILED}:
            self._keep(call, sent_ns, answer, f"an honest {_named(call)} is not answered {answer.status}")
        if got in {Answer.UNAVAILABLE, Answer.FAILED} or (got is Answer.UNEXPECTED and answer.status < BAD_REQUEST):
            self._possible(machine, OPERATION_OF[action], sent_ns, self._now())
        return got

    def _keep(self, call: ApiCall, sent_ns: int, answer: HttpAnswer, why: str) -> None:
        """Keep the bytes of a call that got a wrong answer."""
        message = call.message(self._target.authority)
        wanted = in_words(Answer.ACCEPTED, call.operation)
        self._history.keep(FailedExchange(sent_ns, self._now(), HONEST, message, answer.raw, why, wanted))


def _says(answer: HttpAnswer, status: int, error: bytes) -> bool:
    return answer.status == status and error in answer.body


def _named(call: ApiCall) -> str:
    return call.operation.name.lower().replace("_", " ")


def answer_kind(answer: HttpAnswer) -> Answer:
    """Return what an honest call, which must succeed, got."""
    if answer.status in {OK, CREATED}:
        return Answer.ACCEPTED
    if answer.status == TOO_MANY:
        return Answer.RATE_LIMITED
    return failure_of(answer.status, answer.body) if answer.status >= SERVER_ERROR else Answer.UNEXPECTED
