"""Playing scripts of acts over connections under Trio: requests are sent, and answers given to the script."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from simulator.client.connection import ControlConnection, LostError
from simulator.fleet.acts import Ask, CutOffError, Reconnect, RenewPolicy, Reply, Sleep
from simulator.history.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from simulator.client.target import Target
    from simulator.client.witness import Witness
    from simulator.fleet.acts import Act, ActStep

_Result = TypeVar("_Result")


async def _renew_nothing(step: RenewPolicy) -> int:
    raise TypeError(f"{step.owner_id} has no policy here that could be renewed")


async def _at_once() -> None:
    """Return at once."""


class ActPlayer:
    """Plays scripts against a target. `renew` makes a new policy for an owner, and returns the time afterwards."""

    def __init__(
        self,
        target: Target,
        now: Callable[[], int],
        witness: Witness,
        renew: Callable[[RenewPolicy], Awaitable[int]] = _renew_nothing,
    ) -> None:
        self._target = target
        self._now = now
        self._witness = witness
        self._renew = renew

    def connection(self, source: str | None) -> ControlConnection:
        """Return a connection from an address, which its first request opens."""
        return ControlConnection(self._target, source, self._witness)

    async def play(self, script: Act[_Result], source: str | None) -> _Result:
        """Play a script on connections from one address."""
        async with self.connection(source) as connection:
            return await self.play_on(connection, script)

    async def play_on(
        self, connection: ControlConnection, script: Act[_Result], pace: Callable[[], Awaitable[None]] = _at_once
    ) -> _Result:
        """Play a script on a connection that stays open, and wait for `pace` before each request but the first.

        An exception of `pace` ends the act.
        """
        sent: Any = None
        asked = False
        while True:
            try:
                step = script.send(sent)
            except StopIteration as end:
                result: _Result = end.value
                return result
            if isinstance(step, Ask):
                if asked:
                    await pace()
                asked = True
            sent = await self._do(script, step, connection)

    async def _do(self, script: Act[_Result], step: ActStep, connection: ControlConnection) -> Any:
        match step:
            case Ask():
                return await self._ask(script, step, connection)
            case Sleep():
                await trio.sleep(step.seconds)
            case Reconnect():
                connection.close()
            case RenewPolicy():
                return await self._renew(step)
        return None

    async def _ask(self, script: Act[_Result], ask: Ask, connection: ControlConnection) -> Reply:
        sent_ns = self._now()
        try:
            answer = await connection.call(ask.call)
        except LostError as error:
            silent = isinstance(error.__cause__, trio.TooSlowError)
            return Reply(sent_ns, self._now(), loss=error.loss, why=str(error), silent=silent)
        except trio.Cancelled:
            with suppress(CutOffError):
                script.throw(CutOffError(Reply(sent_ns, self._now(), loss=Loss.ENDED)))
            raise
        return Reply(max(sent_ns, connection.sent_ns), self._now(), answer.status, answer.head, answer.body)
