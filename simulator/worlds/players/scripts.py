"""Playing attack scripts: sending each step over the target's network. `Performing` records the outcomes."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks.script import (
    BeginFault,
    Claim,
    EndFault,
    JoinFleet,
    Outcome,
    Pause,
    PrerequisiteError,
    ScriptAttack,
    ScriptContext,
    Send,
    StartOtherInstances,
    StepClock,
    Together,
    Wire,
    WireOutcome,
)
from simulator.client.connection import ControlConnection, LostError
from simulator.client.raw import exchange_raw, speaks_http2
from simulator.deployment.server_process import ServerError
from simulator.deployment.server_watch import SandboxGauges, ServerWatch
from simulator.history.losses import Loss
from simulator.history.rows import NEVER_NS, History
from simulator.limits import SANDBOXES_MAX_CONCURRENT, SCRIPT_CONNECTIONS_MAX, SCRIPTS_MAX_CONCURRENT
from simulator.scenario.values import ServerOptions
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.performing import (
    NO_HTTP2,
    Attempt,
    Performing,
    claim_of_end,
    next_attempt_ns,
    why_not_tried,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from simulator.attacks.script import Step
    from simulator.client.target import Target
    from simulator.fleet.machine import Machine
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress
    from simulator.worlds.world import Sandbox, Sandboxes


AnySandbox = TypeVar("AnySandbox", bound="Sandbox")


class ScriptPlayer:
    """Plays the scripts of campaigns against one target. `join` adds a machine to the honest fleet.

    `server` describes the servers to start for attacks that need their own. The timeout of a whole answer is
    `answer_seconds`, or the target's.
    """

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        context_of: Callable[[Campaign, np.random.Generator, int], ScriptContext],
        join: Callable[[Machine], None],
        rng: np.random.Generator,
        tape: Tape | None = None,
        sides: Mapping[str, Target] = MappingProxyType({}),
        shard: int = 0,
        *,
        sandboxes: Sandboxes,
        server: ServerOptions | None = None,
        answer_seconds: float | None = None,
    ) -> None:
        self.performing = Performing(target, history, progress, now, tape, shard)
        self.target = target
        self.now = now
        self.context_of = context_of
        self.join = join
        self.sides = sides
        self.sandboxes = sandboxes
        self.server = server or ServerOptions()
        self.answer_seconds = answer_seconds
        self._progress = progress
        self._rng = rng
        self._in_sandbox: set[int] = set()
        self._sandbox_limiter = trio.CapacityLimiter(SANDBOXES_MAX_CONCURRENT)
        self._under_way = 0
        self._held_connections = 0

    async def run(self, campaign: Campaign) -> None:
        """Start a campaign's attempts at its rate, and play each to its end."""
        attack = campaign.attack
        if not isinstance(attack, ScriptAttack):
            raise TypeError(f"{attack.name} is not a script")
        context = self.context_of(campaign, self._rng, 0)
        campaign.not_tried = why_not_tried(attack, self.target, self.sides, self.sandboxes, self.server, context)
        if not campaign.not_tried and attack.needs_http2:
            reached = await speaks_http2(self.sides.get(attack.name, self.target))
            campaign.not_tried = "" if reached else NO_HTTP2
        if campaign.not_tried:
            return
        # Attempts with servers of their own are played one at a time, however many are due.
        if attack.sandbox is None:
            campaign.count_planned()
        async with trio.open_nursery() as nursery:
            while (due_ns := next_attempt_ns(campaign)) is not None:
                await trio.sleep(max(0, due_ns - self.now()) / SECOND_NS)
                campaign.fired += 1
                if campaign.number in self._in_sandbox:
                    self._progress.attempts_skipped += 1
                    continue
                if not self._has_room_for(attack):
                    self._progress.attempts_skipped += 1
                    campaign.held_up += 1
                    continue
                self._under_way += 1
                self._held_connections += attack.connections
                nursery.start_soon(self._attempt, campaign, attack, campaign.fired)

    def _has_room_for(self, attack: ScriptAttack) -> bool:
        """Return whether another attempt may start beside those in progress."""
        held = self._held_connections + attack.connections
        return self._under_way < SCRIPTS_MAX_CONCURRENT and held <= SCRIPT_CONNECTIONS_MAX

    async def _attempt(self, campaign: Campaign, attack: ScriptAttack, attempt: int) -> None:
        rng = np.random.default_rng(self._rng.integers(1 << 62))
        context = self.context_of(campaign, rng, attempt)
        performance = _Performance(self, campaign, context)
        ended_by: BaseException | None = None
        try:
            await self._perform(campaign.number, performance, attack, context)
            campaign.completed += 1
        except Exception as error:  # noqa: BLE001 - one attempt that fails must not end the others; the verdict says so
            ended_by = error
        except BaseException as error:
            ended_by = error
            raise
        finally:
            if (claim := claim_of_end(attack, ended_by)) is not None:
                self.performing.claim(campaign.number, claim, self.now())
            self._under_way -= 1
            self._held_connections -= attack.connections
            performance.close()

    async def _perform(
        self, campaign: int, performance: _Performance, attack: ScriptAttack, context: ScriptContext
    ) -> None:
        """Play a script, in a sandbox if it needs one. Raises PrerequisiteError, also if the sandbox does not start."""
        if attack.sandbox is None:
            await performance.play(attack)
            return
        self._in_sandbox.add(campaign)
        unmet: PrerequisiteError | None = None
        watch = ServerWatch(SandboxGauges(0), f"a server of {attack.name}'s own", self.now)
        try:
            async with self._sandbox_limiter:
                opening = self.sandboxes.open(attack.sandbox, self.server, context.token, watch, self._progress.ending)
                # Not raised here, because it would leave the sandbox as an exception group.
                unmet = await play_watched(opening, watch, partial(performance.play_in, attack))
        except ExceptionGroup as group:
            problems = [one for one in leaf_errors(group) if isinstance(one, ServerError)]
            if not problems:
                raise
            unmet = PrerequisiteError(str(problems[0]))
        finally:
            self._in_sandbox.discard(campaign)
            self.performing.history.deaths += watch.deaths
            self.performing.history.cpu_waits += watch.cpu_waits()
        if unmet is not None:
            raise unmet


async def play_watched(
    opening: AbstractAsyncContextManager[AnySandbox], watch: ServerWatch, play: Callable[[AnySandbox], Awaitable[None]]
) -> PrerequisiteError | None:
    """Play in a sandbox whose servers are watched.

    Return why it could not continue: a server died, or a step failed.
    """
    unmet: PrerequisiteError | None = None
    looking = trio.CancelScope()

    async def look(playing: trio.CancelScope) -> None:
        with looking:
            await watch.until_death(playing)

    # Outside of the sandbox, which starts servers while it is used: they must end before the watch does.
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, nursery.cancel_scope)
        async with opening as sandbox:
            try:
                await play(sandbox)
                await watch.look()
            except PrerequisiteError as error:
                unmet = error
                await watch.died()
            except Exception:
                if not await watch.died():
                    raise
            finally:
                watch.end()
                looking.cancel()
                if watch.deaths:
                    unmet = PrerequisiteError(watch.why_down)
        nursery.cancel_scope.cancel()
    return unmet


class _Performance:
    """An attempt in progress: its connections, and the execution of its steps."""

    def __init__(self, player: ScriptPlayer, campaign: Campaign, context: ScriptContext) -> None:
        self._player = player
        self._campaign = campaign
        self._context = context
        side = player.sides.get(campaign.attack.name)
        self._attempt = Attempt(player.performing, campaign.number, side or player.target, aside=side is not None)
        self._connections: dict[tuple[int, str, int], ControlConnection] = {}
        self._sandbox: Sandbox | None = None

    async def play_in(self, attack: ScriptAttack, sandbox: Sandbox) -> None:
        """Play the script to its end against a sandbox; steps without an instance use the first one."""
        self._sandbox = sandbox
        self._attempt.target = sandbox.target(0)
        await self.play(attack)

    async def play(self, attack: ScriptAttack) -> None:
        """Play the script to its end."""
        script = attack.script(self._context)
        sent: Any = None
        try:
            while True:
                sent = await self._do(script.send(sent))
        except StopIteration:
            return
        finally:
            script.close()  # so that it records where it was cut off

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    async def _do(self, step: Step) -> Any:
        player = self._player
        match step:
            case Send():
                return await self._send(step, self._connection(step))
            case Together():
                return await self._together(step)
            case Wire():
                return await self._wire(step)
            case Pause():
                await trio.sleep(max(0, step.until_ns - player.now()) / SECOND_NS)
            case Claim():
                player.performing.claim(self._campaign.number, step, player.now())
            case JoinFleet():
                if self._attempt.aside:
                    raise ValueError("a machine of a side server cannot join the fleet")
                player.join(step.machine)
            case BeginFault() | EndFault() | StartOtherInstances() | StepClock():
                await self._in_the_sandbox(step)
        return None

    async def _in_the_sandbox(self, step: BeginFault | EndFault | StartOtherInstances | StepClock) -> None:
        sandbox = self._sandbox
        if sandbox is None:
            raise ValueError("this attempt has no sandbox")
        match step:
            case BeginFault():
                self.close()  # connections to a process that ends or hangs are useless
                await sandbox.begin_fault(step.kind, step.instance)
            case EndFault():
                await sandbox.end_fault(step.kind, step.instance)
            case StartOtherInstances():
                self.close()
                await sandbox.start_other_instances()
            case StepClock():
                sandbox.step_clock(step.by_ns)

    def _connection(self, step: Send) -> ControlConnection:
        key = step.client, step.source, step.instance
        if key not in self._connections:
            target = self._attempt.target if self._sandbox is None else self._sandbox.target(step.instance)
            self._connections[key] = self._connection_to(target, step)
        return self._connections[key]

    def _connection_to(self, target: Target, step: Send) -> ControlConnection:
        attempt = self._attempt
        return ControlConnection(
            target, attempt.source(step), attempt.witness, answer_seconds=self._player.answer_seconds
        )

    async def _together(self, step: Together) -> list[Outcome | WireOutcome]:
        """Open all connections first, so that the requests leave at the same moment."""
        outcomes: dict[int, Outcome | WireOutcome] = {}
        connections = {
            index: self._connection_to(self._attempt.target, one)
            for index, one in enumerate(step.sends)
            if isinstance(one, Send)
        }

        async def open_one(connection: ControlConnection) -> None:
            with suppress(LostError):  # sending will report it
                await connection.connect()

        async def do_one(index: int, one: Send | Wire) -> None:
            outcomes[index] = await (self._send(one, connections[index]) if isinstance(one, Send) else self._wire(one))

        try:
            async with trio.open_nursery() as nursery:
                for connection in connections.values():
                    nursery.start_soon(open_one, connection)
            async with trio.open_nursery() as nursery:
                for index, one in enumerate(step.sends):
                    nursery.start_soon(do_one, index, one)
        finally:
            for connection in connections.values():
                connection.close()
        return [outcomes[index] for index in range(len(step.sends))]

    async def _send(self, step: Send, connection: ControlConnection) -> Outcome:
        player, attempt = self._player, self._attempt
        progress, now = player.performing.progress, player.now
        sent_ns = now()
        progress.in_flight += 1
        try:
            answer = await connection.exchange(step.request)
        except LostError as error:
            loss = error.loss if self._sandbox is None else Loss.ENDED  # a fault may be active in the sandbox
            return attempt.lost(step, loss, sent_ns, now())
        except trio.Cancelled:
            attempt.lost(step, Loss.ENDED, sent_ns, now())
            raise
        finally:
            progress.in_flight -= 1
        return attempt.answered(step, answer, max(sent_ns, connection.sent_ns), now())

    async def _wire(self, step: Wire) -> WireOutcome:
        attempt = self._attempt
        outcome = WireOutcome(connected=True, sent_ns=self._player.now(), closed_ns=NEVER_NS)
        try:
            outcome = await exchange_raw(attempt.target, attempt.source(step), step, self._player.now)
        finally:
            attempt.exchanged(step, outcome)
        return outcome
