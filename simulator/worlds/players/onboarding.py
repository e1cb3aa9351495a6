"""Playing the control-plane scripts of `simulator.fleet` for owners and machines, over connections under Trio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from simulator.client.target import Target, TargetError, machine_source, owner_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer, operation_name
from simulator.contract.reading import SERVER_ERROR
from simulator.fleet.acts import Acts
from simulator.fleet.onboarding import PolicyError, PolicyTries, bring_up, make_rules
from simulator.history.losses import Loss
from simulator.history.records import Unserved
from simulator.limits import ONBOARDING_MAX_CONCURRENT
from simulator.worlds.players.act_player import ActPlayer
from simulator.worlds.recording import keep_wrong_act, record_act, record_asked, status_of, tape_act

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.fleet.acts import Ask, Exchanged, RenewPolicy, Reply
    from simulator.fleet.machine import Machine
    from simulator.history.rows import History
    from simulator.traces.tape import Tape
    from simulator.worlds.progress import Progress


class SetUpError(TargetError):
    """Raised when the target stops answering while policies are created, after it had answered: the run is judged."""


class Onboarding:
    """Makes control-plane calls for machines, a bounded number at once, and records each in the history."""

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
        self._tape = tape
        self._player = ActPlayer(target, now, Witness(history, now), self._renew_policy)
        self._limiter = trio.CapacityLimiter(ONBOARDING_MAX_CONCURRENT)
        self._renewing = trio.Lock()
        self._rotation_ns = rotation_ns
        self.policies: dict[str, str] = {}
        self._unserved: list[tuple[Ask, Exchanged, str | None]] = []

    async def create_policies(self, owner_ids: list[str]) -> None:
        """Sign and activate one policy for each owner. Raises TargetError: without them there is no run.

        For a SetUpError, the history has the requests that were not answered.
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
            # If the run does not start, these are all the rows there are.
            self._history.unserved.clear()
            for ask, exchanged, source in self._unserved:
                record_act(self._history, ask, exchanged, source_number(source))
                if exchanged.got is Answer.LOST:
                    self._trouble(ask, exchanged.reply)
            raise

    async def _create_policy(self, index: int, owner_id: str) -> str:
        source = owner_source(self._target, index)
        acts = self._acts(source)
        tries = PolicyTries(acts, owner_id, make_rules(index, self._rng))
        wait_seconds = self._target.patience.policy_seconds
        try:
            with trio.move_on_after(wait_seconds):
                return await self._player.play(tries.script(), source)
            raise tries.given_up(f"no answer within {wait_seconds:g} s")
        except PolicyError as error:
            kind = SetUpError if error.unserved else TargetError
            raise kind(str(error)) from None

    async def serve(self, machine: Machine) -> None:
        """Make a machine's control-plane calls until it is ready to send heartbeats or wants to wait."""
        async with self._limiter:
            source = machine_source(self._target, machine.index)
            acts = self._acts(source)
            script = bring_up(acts, machine, self.policies, self._now(), self._jitter, self._failed)
            await self._player.play(script, source)

    async def _renew_policy(self, step: RenewPolicy) -> int:
        """Create a new policy for an owner after the server lost the old one; return the time afterwards."""
        owner_id = step.owner_id
        async with self._renewing:
            if self.policies.get(owner_id, "") == step.forgotten:
                try:
                    self.policies[owner_id] = await self._create_policy(list(self.policies).index(owner_id), owner_id)
                except TargetError as error:
                    self._history.trouble(self._now(), "policy create", str(error))
        return self._now()

    # --- recording

    def _acts(self, source: str | None) -> Acts:
        recorder = _Recorder(self, source)
        return Acts(self._history, self._target.token, self._rotation_ns, recorder, self._spread)

    def _jitter(self) -> float:
        return float(self._rng.random())

    def _spread(self) -> float:
        return 0.9 + 0.2 * float(self._rng.random())

    def _failed(self, why: str) -> None:
        self._progress.onboarding_failures += 1
        self._progress.last_problem = why

    def _trouble(self, ask: Ask, reply: Reply) -> None:
        self._history.trouble(reply.sent_ns, operation_name(ask.call.operation), reply.why)

    def record(self, ask: Ask, exchanged: Exchanged, source: str | None) -> None:
        """Record a machine's request as a row, and an owner's failed request before the run without one."""
        reply, got, *_ = exchanged
        ended, authority = reply.loss is Loss.ENDED, self._target.authority
        if ask.machine is not None:
            record_asked(self._history, ask, exchanged, source, authority)
        elif (got is Answer.LOST and not ended) or reply.status >= SERVER_ERROR:
            status = status_of(reply)
            self._history.fail(Unserved(reply.sent_ns, reply.answered_ns, ask.call.operation, status, got))
            if reply.status:
                keep_wrong_act(self._history, ask, exchanged, authority)
            self._unserved.append((ask, exchanged, source))
        if self._tape is not None:
            tape_act(self._tape, ask, exchanged, source, authority)


class _Recorder:
    """Records requests from one address."""

    def __init__(self, onboarding: Onboarding, source: str | None) -> None:
        self._onboarding = onboarding
        self._source = source

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Record one exchange."""
        self._onboarding.record(ask, exchanged, self._source)
