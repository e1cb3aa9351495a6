"""Playing attack scripts in the live world: each step on real sockets, each outcome into the history."""

from __future__ import annotations

from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

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
from simulator.checkers.attacks import FAULT
from simulator.client.answers import HttpAnswer
from simulator.client.connection import ControlConnection, LostError
from simulator.client.raw import exchange_raw, speaks_http2
from simulator.client.target import SCRIPT_ADDRESSES, Target, script_source, source_number
from simulator.client.witness import Witness
from simulator.contract.answers import Answer
from simulator.contract.features import LACKS
from simulator.deployment.sandbox import obstacle_to, open_sandbox
from simulator.deployment.server_process import ServerError
from simulator.history.evidence import as_figures
from simulator.history.losses import Loss, lost_status
from simulator.history.records import ClaimRecord
from simulator.history.rows import NEVER_NS, NO_MACHINE, History
from simulator.limits import SANDBOXES_MAX_CONCURRENT, SCRIPTS_MAX_CONCURRENT
from simulator.scenario.values import ServerOptions
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.recording import classify, elsewhere, record_send, record_wire, within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.attacks.script import Step
    from simulator.deployment.sandbox import Sandbox
    from simulator.fleet.machine import Machine
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress

SECOND_NS = 1_000_000_000
SHARD_CLIENTS = SCRIPT_ADDRESSES // 16
"""Addresses from which one shard's scripts begin to the next's, so that shards on one machine do not meet soon."""


NO_HTTP2 = "it needs a target that speaks HTTP/2, over TLS"


def needs_own_server(attack: ScriptAttack) -> str:
    """Return why an attack cannot be tried on anybody's server that is not started for it, over plain HTTP."""
    needs = " ".join(f"{name}={value}" for name, value in attack.needs_settings.items())
    return f"it needs a server of the run's own that speaks plain HTTP, started with {needs}"


class ScriptPlayer:
    """Plays the scripts of campaigns against one target. `join` takes a machine into the honest fleet.

    `server` says what is started where an attack needs servers to itself.
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
        server: ServerOptions | None = None,
    ) -> None:
        self._in_sandbox: set[int] = set()
        self._sandboxes = trio.CapacityLimiter(SANDBOXES_MAX_CONCURRENT)
        self.target = target
        self.history = history
        self.progress = progress
        self.now = now
        self.context_of = context_of
        self.join = join
        self.tape = tape
        self.sides = sides
        self.server = server or ServerOptions()
        self._rng = rng
        self._clients = shard * SHARD_CLIENTS
        self._limiter = trio.CapacityLimiter(SCRIPTS_MAX_CONCURRENT)

    async def run(self, campaign: Campaign) -> None:
        """Start a campaign's attempts at its rate, and let each play to its end."""
        attack, options = campaign.attack, campaign.options
        if not isinstance(attack, ScriptAttack):
            raise TypeError(f"{attack.name} is not a script")
        if attack.needs_settings and attack.name not in self.sides:
            campaign.not_tried = needs_own_server(attack)
            return
        own = attack.name in self.sides
        if attack.sandbox is not None and (obstacle := obstacle_to(attack.sandbox, self.server, allowed=own)):
            campaign.not_tried = obstacle
            return
        if missing := attack.needs & self.target.lacks:
            campaign.not_tried = f"of this target {'; '.join(LACKS[one].does for one in sorted(missing))}"
            return
        problem = attack.obstacle(self.context_of(campaign, self._rng, 0))
        if problem:
            campaign.not_tried = problem
            return
        if attack.needs_http2 and not await speaks_http2(self.sides.get(attack.name, self.target)):
            campaign.not_tried = NO_HTTP2
            return
        async with trio.open_nursery() as nursery:
            while True:
                due_ns = options.start_ns + round(campaign.fired * SECOND_NS / options.rate)
                if campaign.fired and due_ns >= options.start_ns + options.duration_ns:
                    return
                await trio.sleep(max(0, due_ns - self.now()) / SECOND_NS)
                campaign.fired += 1
                if campaign.number in self._in_sandbox:
                    self.progress.attempts_skipped += 1
                    continue
                try:
                    self._limiter.acquire_on_behalf_of_nowait((campaign.number, campaign.fired))
                except trio.WouldBlock:
                    self.progress.attempts_skipped += 1
                    continue
                nursery.start_soon(self._attempt, campaign, attack, campaign.fired)

    async def _attempt(self, campaign: Campaign, attack: ScriptAttack, attempt: int) -> None:
        rng = np.random.default_rng(self._rng.integers(1 << 62))
        context = self.context_of(campaign, rng, attempt)
        performance = _Performance(self, campaign, context)
        try:
            await self._perform(campaign.number, performance, attack, context)
            campaign.completed += 1
        except PrerequisiteError as error:
            self.say(campaign, Claim("unsettled", None, f"{attack.name} could not go on: {error}"))
        except Exception as error:  # noqa: BLE001 - one attempt that fails must not end the others; the verdict says so
            message = f"{attack.name} failed by a fault of its own, please report it: {type(error).__name__}: {error}"
            self.say(campaign, Claim(FAULT, None, message))
        except BaseException:  # cancelled, alone or in a group of steps that were done together
            self.say(campaign, Claim("cut-off", None, f"{attack.name} was cut off by the end of the run"))
            raise
        finally:
            self._limiter.release_on_behalf_of((campaign.number, attempt))
            with trio.CancelScope(shield=True):
                await performance.close()

    async def _perform(
        self, campaign: int, performance: _Performance, attack: ScriptAttack, context: ScriptContext
    ) -> None:
        """Play a script, in its sandbox if it needs one. Raises PrerequisiteError, also when that does not start."""
        if attack.sandbox is None:
            await performance.play(attack)
            return
        self._in_sandbox.add(campaign)
        unmet: PrerequisiteError | None = None
        try:
            async with self._sandboxes, open_sandbox(attack.sandbox, self.server, context.token) as sandbox:
                performance.move_to(sandbox)
                try:
                    await performance.play(attack)
                except PrerequisiteError as error:
                    unmet = error  # not raised here, where it would end what is open_sandbox as a group of errors
        except ExceptionGroup as group:
            problems = [one for one in leaf_errors(group) if isinstance(one, ServerError)]
            if not problems:
                raise
            unmet = PrerequisiteError(str(problems[0]))
        finally:
            self._in_sandbox.discard(campaign)
        if unmet is not None:
            raise unmet

    def say(self, campaign: Campaign, made: Claim) -> None:
        """Record what an attempt claims."""
        evidence = as_figures(made.evidence)
        claim = ClaimRecord(self.now(), campaign.number, made.rule, made.held, made.message, evidence)
        self.history.claims.append(claim)

    def new_client(self) -> int:
        """Number an address that no attempt has used, or none has for long."""
        self._clients += 1
        return self._clients


class _Performance:
    """One attempt on its way: its connections, and how its steps are done.

    What is done to a side server says nothing about the main one, so its rows name no operation, machine or event, and
    no tape takes it.
    """

    def __init__(self, player: ScriptPlayer, campaign: Campaign, context: ScriptContext) -> None:
        self._player = player
        self._campaign = campaign
        self._context = context
        side = player.sides.get(campaign.attack.name)
        self._aside = side is not None
        self._target = side or player.target
        self._witness = None if self._aside else Witness(player.history, player.now, campaign.number)
        self._sources: dict[int, str | None] = {}
        self._connections: dict[tuple[int, str, int], ControlConnection] = {}
        self._sandbox: Sandbox | None = None

    def move_to(self, sandbox: Sandbox) -> None:
        """Play against what was open_sandbox, its first instance where a step names none."""
        self._sandbox = sandbox
        self._target = sandbox.target(0)

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
            script.close()  # so that it notes what it was cut off from

    async def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            await connection.close()
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
                player.say(self._campaign, step)
            case JoinFleet():
                if self._aside:
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
                await self.close()  # what leads to a process that ends or hangs is of no more use
                await sandbox.begin_fault(step.kind, step.instance)
            case EndFault():
                await sandbox.end_fault(step.kind, step.instance)
            case StartOtherInstances():
                await self.close()
                await sandbox.start_other_instances()
            case StepClock():
                sandbox.step_clock(step.by_ns)

    def _source(self, step: Send | Wire) -> str | None:
        if isinstance(step, Send) and step.source:
            return step.source
        if step.client not in self._sources:
            self._sources[step.client] = script_source(self._target, self._player.new_client())
        return self._sources[step.client]

    def _connection(self, step: Send) -> ControlConnection:
        key = step.client, step.source, step.instance
        if key not in self._connections:
            target = self._target if self._sandbox is None else self._sandbox.target(step.instance)
            self._connections[key] = ControlConnection(target, self._source(step), self._witness)
        return self._connections[key]

    async def _together(self, step: Together) -> list[Outcome | WireOutcome]:
        """Open every connection of a whole request first, so that they really leave at the same moment."""
        outcomes: dict[int, Outcome | WireOutcome] = {}
        connections = {
            index: ControlConnection(self._target, self._source(one), self._witness)
            for index, one in enumerate(step.sends)
            if isinstance(one, Send)
        }

        async def open_one(connection: ControlConnection) -> None:
            with suppress(LostError):  # sending will say so
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
            with trio.CancelScope(shield=True):  # else the end of the run would leave all but the first one open
                for connection in connections.values():
                    await connection.close()
        return [outcomes[index] for index in range(len(step.sends))]

    async def _send(self, step: Send, connection: ControlConnection) -> Outcome:
        player, now = self._player, self._player.now
        sent_ns, loss = now(), Loss.UNKNOWN
        player.progress.in_flight += 1
        try:
            answer = await connection.exchange(step.request)
        except LostError as error:
            outcome = Outcome(step.expect, Answer.LOST, 0, b"", b"", sent_ns, NEVER_NS)
            loss = error.loss if self._sandbox is None else Loss.ENDED  # a fault may be on in the sandbox
        except trio.Cancelled:
            self._record(step, Outcome(step.expect, Answer.LOST, 0, b"", b"", sent_ns, NEVER_NS), Loss.ENDED)
            raise
        else:
            got = classify(answer, within(step.expect, player.target.lacks))
            outcome = Outcome(step.expect, got, answer.status, answer.head, answer.body, sent_ns, now())
        finally:
            player.progress.in_flight -= 1
        self._record(step, outcome, loss)
        return outcome

    def _record(self, step: Send, outcome: Outcome, loss: Loss) -> None:
        player = self._player
        if player.tape is not None and not self._aside:
            answer = HttpAnswer(outcome.status, outcome.head, outcome.body, keep=False).raw if outcome.status else None
            player.tape.take(
                outcome.sent_ns, outcome.sent_ns, outcome.answered_ns, self._source(step), self._campaign.number,
                step.machine, step.operation, step.request, answer, step.expect.answer, outcome.got,
            )  # fmt: skip
        source = source_number(self._source(step))
        if self._aside:
            step, outcome = elsewhere(step, outcome)
        lost = lost_status(loss, player.now() - outcome.sent_ns)
        record_send(player.history, self._campaign.number, step, outcome, source, lost)
        player.progress.attacked(outcome.got, step.expect.answer)

    async def _wire(self, step: Wire) -> WireOutcome:
        outcome = WireOutcome(connected=True, sent_ns=self._player.now(), closed_ns=NEVER_NS)
        try:
            outcome = await exchange_raw(self._target, self._source(step), step, self._player.now)
        finally:
            self._record_wire(step, outcome)  # what the end of the run has cut off may still take effect
        return outcome

    def _record_wire(self, step: Wire, outcome: WireOutcome) -> None:
        player = self._player
        if self._witness is not None and not step.http2:
            self._witness.saw_raw(step, outcome)
        source = self._source(step)
        sent = Wire(step.parts, step.expect) if self._aside else step
        got = record_wire(player.history, self._campaign.number, sent, outcome, source_number(source))
        player.progress.attacked(got, step.expect.answer)
        if player.tape is not None and not self._aside:
            first = outcome.answers[0] if outcome.answers else None
            answer = None if first is None else first.head + b"\r\n\r\n" + first.body
            player.tape.take(
                outcome.sent_ns, outcome.sent_ns, NEVER_NS if first is None else first.at_ns, source,
                self._campaign.number, NO_MACHINE, step.operation, b"".join(part for part, _ in step.parts),
                answer, step.expect.answer, got, step,
            )  # fmt: skip
