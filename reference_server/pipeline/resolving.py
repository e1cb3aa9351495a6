"""Answers that have to wait before they are sent: for nonces reserved outside, for changes to be durable, or shared.

A request whose decision has to ask outside leaves its batch once what it has changed is durable, and comes back with
the answer in a later one.

One task resolves them. It takes all that wait at that moment as one batch, waits once for each thing they wait for, and
gives every answer out in the order in which it was asked for; what comes meanwhile is the next batch. So a store that
takes a millisecond costs a millisecond, not one a heartbeat, and nothing that the core decides ever waits in between.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.core.heartbeats import Verified
from reference_server.core.inquiry import Inquiry
from reference_server.limits import DEFERRED_MAX
from reference_server.operations.outcomes import PERSISTENCE_FAILED, Chore, Deferred, Resumed, Undecided
from reference_server.pipeline.answering import internal_error
from reference_server.pipeline.chores import Chores
from reference_server.pipeline.committing import Committer
from reference_server.pipeline.inquiring import Inquirer
from reference_server.pipeline.sharing import Sharer
from reference_server.ports import NonceRequest, Reservation
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reference_server.operations.api import Api
    from reference_server.operations.outcomes import Outcome
    from reference_server.ports import BackgroundTask, Clock, NonceStore, RateLimiter
    from reference_server.wire.values import Instant


async def _run_guarded(task: BackgroundTask, *, task_status: trio.TaskStatus[None]) -> None:
    try:
        await task(task_status=task_status)
    except Exception:  # noqa: BLE001 - what depends on it says that it is down; all else goes on
        internal_error("something outside")


class Resolver:
    """Hands deferred answers out once what they wait for has happened. `run` has to run while the API is served."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._committer = None if api.journal is None else Committer(api, clock, api.journal, self._wake)
        self._sharer = None if api.shared is None else Sharer(api, clock, api.shared)
        self._inquirer = Inquirer(api)
        self._chores = Chores(api, clock, self.resolved)
        self._waiting: list[tuple[Deferred, Callable[[Reply], None]]] = []
        self._wanted = trio.Event()
        self._room = trio.Event()
        self._stopping = False
        self._stopped = trio.Event()

    @property
    def full(self) -> bool:
        """Return whether nothing more should be decided before `room` returns."""
        return len(self._waiting) >= DEFERRED_MAX

    async def room(self) -> None:
        """Wait until there is room for another answer."""
        while self.full:
            await self._room.wait()

    def defer(self, deferred: Deferred, resolved: Callable[[Reply], None]) -> None:
        """Call `resolved` with the answer to send, once it may be sent. In the order of these calls."""
        self._waiting.append((deferred, resolved))
        self._wanted.set()

    def _wake(self) -> None:
        self._wanted.set()

    async def resolved(self, reply: Reply) -> Reply:
        """Wait for an answer, if it is a deferred one."""
        if not isinstance(reply, Deferred):
            return reply
        answer: list[Reply] = []
        done = trio.Event()

        def resolved(reply: Reply) -> None:
            answer.append(reply)
            done.set()

        self.defer(reply, resolved)
        await done.wait()
        return answer[0]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Resolve until told to stop, and then what still waits."""
        async with trio.open_nursery() as nursery:
            for task in self._api.background_tasks:
                await nursery.start(_run_guarded, task)
            if self._committer is not None:
                await nursery.start(self._committer.run)
            if self._sharer is not None:
                await nursery.start(self._sharer.run)
            await nursery.start(self._inquirer.run)
            await nursery.start(self._chores.run)
            nursery.start_soon(self._end_when_cancelled)
            task_status.started()
            with trio.CancelScope(shield=True):
                while not (self._stopping and not self._waiting and not self._inquirer.asking):
                    await self._wanted.wait()
                    self._wanted = trio.Event()
                    await self._resolve(self._take())
                if self._committer is not None:
                    await self._committer.close()
            nursery.cancel_scope.cancel()
        self._stopped.set()

    async def _end_when_cancelled(self) -> None:
        """Have `run` end when all around it is cancelled: nobody calls `stop` then, and no more requests come."""
        try:
            await trio.sleep_forever()
        finally:
            self._stopping = True
            self._wanted.set()

    def _take(self) -> list[tuple[Deferred, Callable[[Reply], None]]]:
        batch, self._waiting = self._waiting, []
        self._room.set()
        self._room = trio.Event()
        return batch

    async def stop(self) -> None:
        """End `run` once nothing waits any more. Call when no more requests come."""
        self._stopping = True
        self._inquirer.stop()
        self._wanted.set()
        await self._stopped.wait()

    async def _resolve(self, batch: list[tuple[Deferred, Callable[[Reply], None]]]) -> None:
        outcomes: list[Outcome] = [deferred.decided for deferred, _ in batch]
        if self._api.limiter is not None:
            await self._admit(self._api.limiter, outcomes)
        self._resume(outcomes)
        if self._sharer is not None:
            await self._share(self._sharer, outcomes)
        if self._api.nonces is not None:
            await self._reserve(self._api.nonces, outcomes)
        if self._committer is not None and not await self._committer.commit():
            # What was decided meanwhile builds on what is undone now.
            batch = [*batch, *self._take()]
            outcomes = [PERSISTENCE_FAILED] * len(batch)
        for (deferred, resolved), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Inquiry):
                self._inquirer.ask(outcome, partial(self._come_back, deferred, resolved))
            else:
                resolved(self._api.add_common_headers(deferred, outcome if isinstance(outcome, Reply) else deferred))

    def _come_back(self, deferred: Deferred, resolved: Callable[[Reply], None], resumed: Resumed) -> None:
        self.defer(msgspec.structs.replace(deferred, decided=resumed), resolved)

    def _resume(self, outcomes: list[Outcome]) -> None:
        """Put the decision in the place of chores, and of requests whose inquiry was answered.

        For the sharer it is one to be made.
        """
        now = self._clock.now()
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, Resumed):
                decide: Callable[[Instant], Reply | Inquiry] = partial(self._api.resume, outcome)
            elif isinstance(outcome, Chore):
                decide = partial(self._api.do, outcome)
            else:
                continue
            if self._sharer is not None:
                outcomes[at] = Undecided("", decide)
                continue
            try:
                outcomes[at] = decide(now)
            except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
                outcomes[at] = internal_error("an answer from outside, or a chore")

    async def _admit(self, limiter: RateLimiter, outcomes: list[Outcome]) -> None:
        """Put the decision, as far as it goes, in the place of each request that its client's rate limit admits."""
        asked = [(at, outcome) for at, outcome in enumerate(outcomes) if isinstance(outcome, Undecided)]
        if not asked:
            return
        waits: Sequence[int | None]
        try:
            waits = await limiter.take([request.client for _, request in asked])
        except Exception:  # noqa: BLE001 - a fault of ours is a limiter that is down
            internal_error("requests counted outside")
            waits = [None] * len(asked)
        now = self._clock.now()
        for (at, request), wait_ns in zip(asked, waits, strict=True):
            try:
                outcomes[at] = self._api.admit_counted(request, wait_ns, now)
            except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
                outcomes[at] = internal_error("a request")

    async def _share(self, sharer: Sharer, outcomes: list[Outcome]) -> None:
        """Put the answer in the place of each request that is decided on a state that is shared."""
        asked = [(at, outcome) for at, outcome in enumerate(outcomes) if isinstance(outcome, Undecided)]
        replies = await sharer.resolve([request for _, request in asked])
        for (at, _), reply in zip(asked, replies, strict=True):
            outcomes[at] = reply

    async def _reserve(self, nonces: NonceStore, outcomes: list[Outcome]) -> None:
        """Put the decision in the place of each heartbeat whose nonce was asked for."""
        now = self._clock.now()
        asked = [
            (at, outcome, NonceRequest(outcome.worker.id, outcome.nonce, outcome.timestamp_ns, now))
            for at, outcome in enumerate(outcomes)
            if isinstance(outcome, Verified)
        ]
        if not asked:
            return
        try:
            reservations = await nonces.reserve([request for _, _, request in asked])
        except Exception:  # noqa: BLE001 - a fault of ours lets no heartbeat in, and costs none its answer
            internal_error("nonces asked for outside")
            reservations = [Reservation.UNAVAILABLE] * len(asked)
        now = self._clock.now()
        for (at, verified, _), reservation in zip(asked, reservations, strict=True):
            try:
                outcomes[at] = self._api.accept(verified, reservation, now)
            except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
                outcomes[at] = internal_error("a heartbeat")
