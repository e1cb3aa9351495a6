"""What owners do under Locust: calls over plain gevent sockets, each a row of the history and one of Locust's requests.

Calls, answers and what is learnt from them are the live world's own values; only the waiting is gevent's. So an owner's
requests are judged like everybody's, and Locust's statistics count the same ones.
"""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Any

import gevent
import numpy as np
from gevent import socket
from gevent.event import Event
from locust.exception import StopUser

from simulator.client.answers import AnswerReader, GarbageError
from simulator.client.connection import MalformedDataError, data_of
from simulator.client.target import owner_user_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import in_words
from simulator.fleet.grants import GrantError
from simulator.fleet.requests import ANY_OWNER, EVENT_OF, ApiCall, apply_grant, call_of, note, owner_headers
from simulator.history.losses import Loss, loss_of_close, lost_status
from simulator.history.records import FailedExchange
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, NONE, History
from simulator.judging.tally import UNKNOWN, answer_name, operation_name
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.load.deltas import Cursor
from simulator.load.messages import Report
from simulator.worlds.live.onboarding import NO_NONCE, answer_kind

if TYPE_CHECKING:
    from locust.env import Environment

    from simulator.client.answers import HttpAnswer
    from simulator.client.target import Target
    from simulator.fleet.machine import Action, Machine
    from simulator.load.messages import Begin

READ_BYTES = 65_536
BAD_REQUEST, UNAUTHORIZED, SERVER_ERROR = 400, 401, 500


class OwnersPart:
    """What the owners of one worker do in one test: their history, and who of them is still asking."""

    def __init__(self, begin: Begin, target: Target, first_machine: int, rotation_ns: int, owners: list[str]) -> None:
        self.begin = begin
        self.target = target
        self.history = History()
        self.witness = Witness(self.history, self.now)
        self.owners = owners
        self.rotation_ns = rotation_ns
        self.machine_numbers = count(first_machine)
        self.prefix = f"{begin.order.prefix}-o{begin.shard}"
        self._user_numbers = count()
        self._cursor = Cursor(self.history)
        self._asking = 0
        self._idle = Event()
        self._idle.set()
        self.ended = False

    def now(self) -> int:
        """Return nanoseconds since the start of the run."""
        return time.monotonic_ns() - self.begin.start_ns

    def new_user(self) -> int:
        """Number a user: shards apart, so that each has an address and an owner of its own."""
        return next(self._user_numbers)

    def rng(self, user: int) -> np.random.Generator:
        """Return a user's own randomness."""
        return np.random.default_rng((self.begin.order.seed, self.begin.shard, user))

    def enter(self) -> None:
        """Count a request as under way. Raises StopUser once the test has ended."""
        if self.ended:
            raise StopUser
        self._asking += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count it as over."""
        self._asking -= 1
        if not self._asking:
            self._idle.set()

    def end(self) -> None:
        """Refuse new requests, and wait for the answers that are due."""
        self.ended = True
        self._idle.wait(ANSWER_TIMEOUT_SECONDS + 1)

    def report(self, *, last: bool = False) -> Report:
        """Return what happened since the last call. Locust has counted it already."""
        at_ns = time.monotonic_ns()
        delta = self._cursor.delta(self._cursor.rows())
        return Report(at_ns, [], {}, delta, last)


class OwnerSession:
    """One owner's connection, kept open, from an address of its own where the target sees addresses."""

    def __init__(self, part: OwnersPart, environment: Environment, user: int) -> None:
        self.part = part
        self._environment = environment
        self._source = owner_user_source(part.target, part.begin.shard, user)
        self._socket: Any = None
        self._asked = self._begun = False
        self._free_ns = NEVER_NS

    def close(self) -> None:
        """Close the connection, if it is open."""
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def is_refused(self) -> bool:
        """Return whether the target refuses this process's owner token, asked once and beside the history."""
        target = self.part.target
        try:
            answer = self._exchange(
                ApiCall(Operation.OTHER, "GET", "/workers/summary", owner_headers(target.token, ANY_OWNER)).message(
                    target.authority
                )
            )
        except (OSError, GarbageError):
            return False
        finally:
            self.close()
        return answer.status == UNAUTHORIZED

    def call(self, call: ApiCall, name: str = "", machine: Machine | None = None) -> HttpAnswer | None:
        """Send a call; None when no whole answer came. `name` is its line in the statistics, if not the operation's."""
        part, answer, loss = self.part, None, Loss.ENDED
        part.enter()
        sent_ns = part.now()
        try:
            message = call.message(part.target.authority)
            answer = self._exchange(message)
            part.witness.saw(message, answer, sent_ns)
        except (OSError, GarbageError) as error:
            loss = self._loss_of(error, part.now() - sent_ns)
            part.history.trouble(sent_ns, operation_name(call.operation), f"{type(error).__name__}: {error}")
        finally:  # whoever is stopped meanwhile has asked all the same
            if answer is None:
                self.close()
            self._record(call, name, machine, sent_ns, answer, loss)
            part.leave()
        return answer

    def act(self, machine: Machine, action: Action, policy_id: str) -> bool:
        """Do what a machine wants done, and let it learn from the answer; returns whether it could."""
        part, target = self.part, self.part.target
        call = call_of(machine, action, target.token, policy_id)
        sent_ns = part.now()
        answer = self.call(call, machine=machine)
        if answer is None or answer.status >= SERVER_ERROR:
            self.possible(call, machine.owner_id, sent_ns, answered=answer is not None)
            return False
        if answer.status >= BAD_REQUEST:
            return False
        try:
            apply_grant(part.history, machine, action, data_of(answer), sent_ns, part.now(), part.rotation_ns)
        except (MalformedDataError, GrantError) as error:
            why = f"its answer is not what the contract says ({error})"
            message = call.message(target.authority)
            part.history.keep(FailedExchange(sent_ns, part.now(), HONEST, message, answer.raw, why))
            self.possible(call, machine.owner_id, sent_ns, answered=True)
            return False
        return True

    def changed(self, call: ApiCall, owner_id: str) -> HttpAnswer | None:
        """Send an owner's change, and note the event it must, or may, have left; None unless it succeeded."""
        part, sent_ns = self.part, self.part.now()
        answer = self.call(call)
        if answer is None or answer.status >= SERVER_ERROR:
            self.possible(call, owner_id, sent_ns, answered=answer is not None)
            return None
        if answer.status >= BAD_REQUEST:
            return None
        note(part.history, sent_ns, part.now(), EVENT_OF[call.operation], owner_id)
        return answer

    def possible(self, call: ApiCall, owner_id: str, sent_ns: int, *, answered: bool) -> None:
        """Note the event that a change of unknown outcome may have left."""
        event = EVENT_OF.get(call.operation)
        if event is not None:
            until_ns = self.part.now() if answered else NEVER_NS
            note(self.part.history, sent_ns, until_ns, event, owner_id, sure=False)

    def _exchange(self, message: bytes) -> HttpAnswer:
        self._asked, self._begun = False, False
        with gevent.Timeout(
            ANSWER_TIMEOUT_SECONDS, TimeoutError(f"no whole answer within {ANSWER_TIMEOUT_SECONDS:g} s")
        ):
            if self._socket is None:
                self._free_ns = NEVER_NS
                self._socket = self._connect()
            front = self.part.target.front
            self._socket.sendall(message if front is None else front.written(message))
            self._asked = True
            reader = AnswerReader()
            while True:
                piece = self._socket.recv(READ_BYTES)
                answer = reader.feed(piece, ended=not piece)
                if answer is not None:
                    break
                if not piece:
                    raise ConnectionError("closed before the answer was whole")
                self._begun = True
        self._free_ns = self.part.now()
        if not answer.keep:
            self.close()
        return answer

    def _loss_of(self, error: OSError | GarbageError, waited_ns: int) -> Loss:
        """Return why the last request has no answer."""
        if not self._asked:
            return Loss.UNSENT
        if isinstance(error, GarbageError):
            return Loss.GARBAGE
        if isinstance(error, TimeoutError):
            return Loss.TIMED_OUT
        rested_ns = self.part.now() - waited_ns - self._free_ns
        return loss_of_close(rested_ns, 0, waited_ns, nothing_came=not self._begun)

    def _connected(self, source: tuple[str, int] | None) -> Any:
        """Connect to the first address of the target that takes it. Raises OSError, of the last one."""
        target, problem = self.part.target, OSError("no address")
        for address in target.addresses:
            try:
                return socket.create_connection((address, target.port), source_address=source)
            except OSError as error:
                problem = error
        raise problem

    def _connect(self) -> Any:
        target = self.part.target
        source = None if self._source is None else (self._source, 0)
        sock = self._connected(source)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if target.tls is None else target.tls.wrap_socket(sock, server_hostname=target.host)

    def _record(
        self, call: ApiCall, name: str, machine: Machine | None, sent_ns: int, answer: HttpAnswer | None, loss: Loss
    ) -> None:
        """Add the row, and let Locust count the request."""
        part = self.part
        got = Answer.LOST if answer is None else answer_kind(answer)
        answered_ns = NEVER_NS if answer is None else part.now()
        status = lost_status(loss, part.now() - sent_ns) if answer is None else answer.status
        index, certificate, consent = NO_MACHINE, NONE, NONE
        if machine is not None:
            index, certificate, consent = machine.index, machine.certificate_number, machine.consent_number
        part.history.append(
            sent_ns, sent_ns, answered_ns, NO_NONCE, index, status, call.operation,
            Answer.ACCEPTED, got, HONEST, source_number(self._source), certificate, consent,
        )  # fmt: skip
        if answer is not None and got in {Answer.UNEXPECTED, Answer.FAILED}:
            why = f"an honest {operation_name(call.operation)} is not answered {answer.status}"
            message = call.message(part.target.authority)
            wanted = in_words(Answer.ACCEPTED, call.operation)
            part.history.keep(FailedExchange(sent_ns, answered_ns, HONEST, message, answer.raw, why, wanted))
        problem = None
        if got is Answer.LOST:
            problem = UNKNOWN
        elif got is not Answer.ACCEPTED:
            problem = f"refused: {answer_name(got)}"
        self._environment.events.request.fire(
            request_type=call.method,
            name=name or operation_name(call.operation),
            response_time=None if answer is None else (answered_ns - sent_ns) / 1e6,
            response_length=0 if answer is None else len(answer.body),
            exception=problem,
            context={},
        )
