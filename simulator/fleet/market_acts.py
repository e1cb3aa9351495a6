"""Acts of accounts on the market: scripts as in `simulator.fleet.acts`, recorded as `MarketExchange`.

This module decides what an answer means. A job or withdrawal whose answer is lost may have been granted, so the request
is repeated with the same idempotency key until that is known.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.contract.market import IN_PROGRESS, data_shown, market_answer
from simulator.contract.reading import MalformedDataError, read_data, retry_after_ns
from simulator.fleet.acts import Act, Ask, CutOffError, Exchanged, Reconnect, Recorder, Reply, Sleep
from simulator.fleet.grants import GrantError, read_grant_id, read_key
from simulator.fleet.market_requests import STRANGER, Caller, agent_caller, register_agent_call
from simulator.history.market_records import MarketExchange
from simulator.limits import OTHERS_LOOKED_AT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.fleet.requests import ApiCall
    from simulator.history.rows import History

TRIES_MAX = 6
"""The most requests with one key: enough for a server's restart."""
WAIT_SECONDS = 0.5
"""The pause after a lost answer."""
WAIT_MAX_SECONDS = 5.0
_REPLAYED = b"\r\nidempotent-replayed: true"
_UNKNOWN = frozenset({Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED, Answer.RATE_LIMITED})
"""Answers that do not tell whether a request took effect."""

_READ_BY = {
    Operation.JOB_CREATE: (Operation.JOB_READ, "job"),
    Operation.WITHDRAW: (Operation.WALLET_READ, "withdrawal"),
}
"""For operations that create an object: the operation that reads it, and its name in answers."""


class MarketReply(NamedTuple):
    """The outcome of a market request. `data` is a success's data, or contains a refusal's `message`."""

    got: Answer
    data: dict[str, Any]
    reply: Reply

    @property
    def done(self) -> bool:
        """Whether the request was granted."""
        return self.got is Answer.ACCEPTED


class MarketActs:
    """The acts of one player, for a history. `campaign` is an attack's campaign number, 0 for honest players."""

    def __init__(self, history: History, recorder: Recorder) -> None:
        self._history = history
        self._recorder = recorder

    def exchange(
        self,
        caller: Caller,
        call: ApiCall,
        *,
        object_id: str = "",
        key: str = "",
        kept: bool = True,
        expected: Answer = Answer.ACCEPTED,
    ) -> Act[MarketReply]:
        """Send one request, and return its outcome. Readings for an `AccountShown` are not `kept` as exchanges.

        A request that is `expected` to be refused is for another account's object; an expected grant may also be
        refused.
        """
        ask = Ask(call, caller.account, object_id=object_id)
        try:
            reply: Reply = yield ask
        except CutOffError as cut:
            self._take(ask, cut.reply, key, expected, kept=kept)
            raise
        return self._take(ask, reply, key, expected, kept=kept)

    def ask_for_anothers(self, caller: Caller, call: ApiCall, object_id: str) -> Act[None]:
        """Ask for another account's object: it must not be found, like an unknown id."""
        yield from self.exchange(caller, call, object_id=object_id, expected=Answer.REFUSED)

    def ids_of_others(self, account: str) -> list[tuple[Operation, str]]:
        """Return recent jobs and withdrawals of other accounts, with the operations that read them."""
        found = []
        for one in self._history.market_exchanges[-OTHERS_LOOKED_AT_MAX:]:
            reads, name = _READ_BY.get(Operation(one.operation), (Operation.OTHER, ""))
            shown = one.data.get(name) if name and one.account != account else None
            if isinstance(shown, dict) and isinstance(shown.get("id"), str):
                found.append((reads, shown["id"]))
        return found

    def insist(self, caller: Caller, call: ApiCall, *, object_id: str = "", key: str = "") -> Act[MarketReply]:
        """Repeat a request with the same key until its outcome is known."""
        for attempt in range(TRIES_MAX):
            answer = yield from self.exchange(caller, call, object_id=object_id, key=key)
            in_progress = answer.got is Answer.REFUSED and answer.data.get("message") == IN_PROGRESS
            if answer.got not in _UNKNOWN and not in_progress:
                break
            asked_seconds = retry_after_ns(answer.reply.head) / SECOND_NS
            yield Reconnect()
            yield Sleep(min(max(asked_seconds, WAIT_SECONDS * (attempt + 1)), WAIT_MAX_SECONDS))
        return answer

    def register(self, body: Mapping[str, Any]) -> Act[Caller | None]:
        """Register an agent; return it as a caller, or None if it was refused."""
        answer = yield from self.exchange(STRANGER, register_agent_call(body))
        if not answer.done:
            return None
        data = read_data(answer.reply.status, answer.reply.body)
        return agent_caller(read_grant_id(data, "agent"), read_key(data))

    def _take(self, ask: Ask, reply: Reply, key: str, expected: Answer, *, kept: bool) -> MarketReply:
        """Classify an answer, keep the exchange, and record its row."""
        operation = ask.call.operation
        got, problem, data = Answer.LOST, "", {}
        if reply.status:
            got = reply.got or market_answer(operation, reply.status, reply.body)
            # The isolation checker decides which message is right.
            if expected is Answer.REFUSED and reply.status == HTTPStatus.NOT_FOUND:
                got = Answer.REFUSED
            try:
                data = data_shown(reply.status, reply.body)
                if got is Answer.ACCEPTED and ask.owner_id == STRANGER.account:
                    _see_grant(read_data(reply.status, reply.body))
            except (MalformedDataError, GrantError) as error:
                got, problem = Answer.UNEXPECTED, f"its answer is not what the contract says ({error})"
        expected = Answer.REFUSED if got is Answer.REFUSED else expected
        if kept:
            self._history.market_exchanges.append(
                MarketExchange(
                    ask.owner_id,
                    operation,
                    reply.sent_ns,
                    reply.answered_ns,
                    reply.status,
                    ask.object_id,
                    key,
                    _REPLAYED in reply.head.lower(),
                    _asked(ask.call),
                    data,
                )
            )
        self._recorder.record(ask, Exchanged(reply, got, problem, expected))
        return MarketReply(got, data, reply)


def _asked(call: ApiCall) -> dict[str, Any]:
    if call.body is not None:
        return dict(call.body)
    return dict(parse_qsl(call.path.partition("?")[2]))


def _see_grant(data: dict[str, Any]) -> None:
    """Raise GrantError for a registration that gives no agent, or no key that a header takes."""
    read_grant_id(data, "agent")
    read_key(data)
