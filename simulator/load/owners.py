"""Playing what owners do under Locust: over plain gevent sockets, each request a row and one of Locust's statistics.

What is asked and what an answer means are scripts of `fleet`, as everywhere; only the waiting is gevent's.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import gevent
import numpy as np
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from locust.exception import StopUser

from simulator.client.answers import AnswerReader, GarbageError
from simulator.client.target import owner_user_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer, Operation, operation_name
from simulator.fleet.accounts import ACCOUNTS, WITHDRAWALS, AccountReader
from simulator.fleet.acts import Acts, Ask, CutOffError, Reconnect, Reply, Sleep
from simulator.fleet.load_users import Crowd
from simulator.fleet.market_acts import MarketActs
from simulator.fleet.requests import ANY_OWNER, ApiCall, owner_headers
from simulator.history.losses import Loss, loss_of_close
from simulator.history.rows import NEVER_NS, History
from simulator.judging.tally import failure_of
from simulator.limits import (
    ACCOUNTS_MAX_CONCURRENT,
    ACCOUNTS_PATIENCE_SECONDS,
    ACCOUNTS_READ_MAX,
    ANSWER_TIMEOUT_SECONDS,
)
from simulator.load.deltas import Cursor
from simulator.load.messages import Report
from simulator.worlds.own_health import LAG_PROBE_SECONDS, OwnHealth
from simulator.worlds.progress import MARKET_COUNTERS, Progress
from simulator.worlds.recording import keep_wrong_act, record_act

if TYPE_CHECKING:
    from collections.abc import Callable

    from locust.env import Environment

    from simulator.client.answers import HttpAnswer
    from simulator.client.target import Target
    from simulator.fleet.acts import Act, ActStep, Exchanged
    from simulator.fleet.agents import AgentHabits
    from simulator.load.messages import Begin

READ_BYTES = 65_536
UNAUTHORIZED = HTTPStatus.UNAUTHORIZED
_Result = TypeVar("_Result")


class OwnersPart:
    """What the owners of one worker do in one test: their history, and who of them is still asking."""

    def __init__(
        self, begin: Begin, target: Target, first_machine: int, rotation_ns: int, owners: list[str], habits: AgentHabits
    ) -> None:
        self.begin = begin
        self.target = target
        self.history = History()
        self.witness = Witness(self.history, self.now)
        self.rotation_ns = rotation_ns
        self.progress = Progress()
        self.prefix = f"{begin.order.prefix}-o{begin.shard}"
        self.crowd = Crowd(
            self.history, target.token, self.prefix, owners, habits, self.progress, partial(next, count(first_machine)),
            target.lacks,
        )  # fmt: skip
        self._user_numbers = count()
        self._cursor = Cursor(self.history)
        self._asking = 0
        self._idle = Event()
        self._idle.set()
        self.ended = False

    def now(self) -> int:
        """Return nanoseconds since the start of the run."""
        return time.monotonic_ns() - self.begin.start_ns

    def watch(self) -> None:
        """Record how late this process reads what owners were answered, until it is killed."""
        health = OwnHealth(self.history, self.now, apart=True)
        while True:
            health.begin()
            before = time.monotonic()
            try:
                while health.seconds < 1:
                    before = time.monotonic()
                    gevent.sleep(LAG_PROBE_SECONDS)
                    health.woke(time.monotonic() - before)
            finally:
                health.woke(time.monotonic() - before)
                health.note()

    def new_user(self) -> int:
        """Number a user: shards apart, so that each has an address and an owner of its own."""
        return next(self._user_numbers)

    def rng(self, user: int) -> np.random.Generator:
        """Return a user's own randomness."""
        return np.random.default_rng((self.begin.order.seed, self.begin.shard, user))

    def enter(self, *, last: bool = False) -> None:
        """Count a request as under way. Raises StopUser once the test has ended, but for what is asked `last`."""
        if self.ended and not last:
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
        return Report(at_ns, [], {name: getattr(self.progress, name) for name in MARKET_COUNTERS}, delta, last)

    def read_accounts(self, environment: Environment) -> None:
        """Read the accounts of this part's agents, once they have ended, within bounds of time and number."""
        pool, asked_ns = Pool(ACCOUNTS_MAX_CONCURRENT), self.now()
        readers: list[AccountReader] = []
        for agent in self.crowd.agents:
            if agent.caller is not None and len(readers) < ACCOUNTS_READ_MAX:
                session = OwnerSession(self, environment, self.new_user(), last=True)
                reader = AccountReader(session.market, agent.caller, agent.withdrawals)
                readers.append(reader)
                pool.spawn(self._read_account, session, reader)
        pool.join(ACCOUNTS_PATIENCE_SECONDS)
        pool.kill()
        agents = len(self.crowd.agents)
        if (read := len(self.history.accounts_shown)) < agents:
            why = f"{agents - read} of {agents} could not be read"
            self.history.trouble(asked_ns, ACCOUNTS, why)
        if unrested := sum(reader.unrested for reader in readers):
            self.history.trouble(self.now(), WITHDRAWALS, f"{unrested} had not come to rest when the run ended")

    def _read_account(self, session: OwnerSession, reader: AccountReader) -> None:
        shown = session.play(reader.script(), lambda: None)
        session.close()
        if shown is not None:
            self.history.accounts_shown.append(shown)


class OwnerSession:
    """The connection of an owner or agent, kept open, from an address of its own where the target sees addresses.

    One that asks `last` does so after the test has ended.
    """

    def __init__(self, part: OwnersPart, environment: Environment, user: int, *, last: bool = False) -> None:
        self.part = part
        self._environment = environment
        self._source = owner_user_source(part.target, part.begin.shard, user)
        self._socket: Any = None
        self._asked = self._begun = False
        self._free_ns = NEVER_NS
        self._last = last
        self.acts = Acts(part.history, part.target.token, part.rotation_ns, self)
        self.market = MarketActs(part.history, self)

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

    def play(self, act: Act[_Result], pace: Callable[[], None]) -> _Result:
        """Play a script, and wait for `pace` before each request but its first. Raises what the script raises.

        Whoever is stopped meanwhile has asked all the same.
        """
        reply: Reply | None = None
        while True:
            try:
                ask = act.send(reply)
                while not isinstance(ask, Ask):
                    self._do(ask)
                    ask = act.send(None)
            except StopIteration as end:
                result: _Result = end.value
                return result
            if reply is not None:
                pace()
            self.part.enter(last=self._last)
            sent_ns = self.part.now()
            try:
                reply = self._ask(ask.call, sent_ns)
            except BaseException:
                self.close()
                with suppress(CutOffError):
                    act.throw(CutOffError(Reply(sent_ns, self.part.now(), loss=Loss.ENDED)))
                raise
            finally:
                self.part.leave()

    def _do(self, step: ActStep) -> None:
        """Do a step of a script that asks for nothing."""
        match step:
            case Sleep():
                gevent.sleep(step.seconds)
            case Reconnect():
                self.close()
            case _:
                raise TypeError(f"{type(step).__name__} is no step of an owner's")

    def _ask(self, call: ApiCall, sent_ns: int) -> Reply:
        """Send a call, and return what came of it."""
        part = self.part
        message = call.message(part.target.authority)
        try:
            answer = self._exchange(message)
        except (OSError, GarbageError) as error:
            loss = self._loss_of(error, part.now() - sent_ns)
            self.close()
            return Reply(sent_ns, part.now(), loss=loss, why=f"{type(error).__name__}: {error}")
        part.witness.saw(message, answer, sent_ns)
        return Reply(sent_ns, part.now(), answer.status, answer.head, answer.body)

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

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Add the row, keep what was wrong, and let Locust count the request."""
        part, (reply, got, _, expected) = self.part, exchanged
        record_act(part.history, ask, exchanged, source_number(self._source))
        if reply.why:
            part.history.trouble(reply.sent_ns, operation_name(ask.call.operation), reply.why)
        elif got in {Answer.UNEXPECTED, Answer.FAILED}:
            keep_wrong_act(part.history, ask, exchanged, part.target.authority)
        self._environment.events.request.fire(
            request_type=ask.call.method,
            name=ask.name or operation_name(ask.call.operation),
            response_time=(reply.ended_ns - reply.sent_ns) / 1e6 if reply.status else None,
            response_length=len(reply.body),
            exception=failure_of(expected, got),
            context={},
        )
