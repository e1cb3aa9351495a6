"""Playing the market's agents over connections under Trio, and reading every account at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.target import account_source, agent_source
from simulator.client.witness import Witness
from simulator.contract.features import TRADE
from simulator.fleet.accounts import ACCOUNTS, WITHDRAWALS, AccountReader, read_resources
from simulator.fleet.agents import Agent
from simulator.fleet.market_acts import MarketActs
from simulator.fleet.market_requests import owner_caller
from simulator.fleet.requests import ANY_OWNER
from simulator.limits import ACCOUNTS_MAX_CONCURRENT, ACCOUNTS_PATIENCE_SECONDS, ACCOUNTS_READ_MAX
from simulator.worlds.players.act_player import ActPlayer
from simulator.worlds.progress import Phase, Progress
from simulator.worlds.recording import ActRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.client.target import Target
    from simulator.fleet.market_requests import Caller
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.traces.tape import Tape

MARKET = 7
"""The child of the seed's sequence for agents; others are for the fleet and the auditor."""
RESOURCES_SECONDS = 5.0
"""The interval between readings of all offers."""
RESOURCES_LOOKS_MAX = 2000
"""The most such readings of a run, so that a week's run stores no more of them than one of three hours."""
START_SECONDS = 5.0
"""The time within which all agents start, so that they do not register all at once."""
LAST_ACTS_SECONDS = 3.0
"""The time that acts may still take after the end of the run."""


class MarketPlayer:
    """The agents of the scenario's `[market]`, each from its own address. Everything random follows from the seed.

    `prefix` starts their names. `owner_ids` are the fleet's owners, whose accounts are read at the end as well. If the
    target has no market, the agents do nothing.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        prefix: str,
        owner_ids: Sequence[str],
        tape: Tape | None = None,
    ) -> None:
        self._target = target
        self._history = history
        self._progress = progress
        self._now = now
        self._owner_ids = owner_ids
        self._seconds = scenario.duration_ns / SECOND_NS
        self._tape = tape
        self._player = ActPlayer(target, now, Witness(history, now))
        self._options = options = None if target.lacks & TRADE else scenario.market
        rngs = np.random.default_rng(np.random.SeedSequence(seed).spawn(MARKET + 1)[MARKET])
        self._agents: list[Agent] = []
        self._acting: set[trio.CancelScope] = set()
        if options is not None:
            habits = options.habits()
            for number, rng in enumerate(rngs.spawn(options.agents)):
                acts = self._acts(agent_source(target, number))
                self._agents.append(Agent(f"{prefix}-agent-{number}", acts, habits, rng, progress))

    async def play(self) -> None:
        """Have all agents act, and read the offers now and then, until cancelled."""
        if self._options is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_acts)
            nursery.start_soon(self._watch_resources)
            for number, agent in enumerate(self._agents):
                nursery.start_soon(self._live, number, agent, 1 / self._options.rate)

    async def finish(self, others: Sequence[Agent] = ()) -> None:
        """Wait until all withdrawals are finished, and read all accounts, within bounds of time and number.

        `others` are agents that another player has played.
        """
        if self._options is None and not others:
            return
        self._progress.phase = Phase.ACCOUNTS
        readers: list[AccountReader] = []
        callers: list[tuple[Caller, dict[str, Any]]] = [
            (agent.caller, agent.withdrawals) for agent in (*self._agents, *others) if agent.caller is not None
        ]
        if self._options is not None:
            callers += [(owner_caller(self._target.token, owner_id), {}) for owner_id in self._owner_ids]
        if len(callers) > ACCOUNTS_READ_MAX:
            left_out = len(callers) - ACCOUNTS_READ_MAX
            self._history.trouble(self._now(), ACCOUNTS, f"{left_out} of {len(callers)} were not read")
        limiter = trio.CapacityLimiter(ACCOUNTS_MAX_CONCURRENT)
        asked_ns, read = self._now(), 0
        with trio.move_on_after(ACCOUNTS_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                for number, (caller, withdrawals) in enumerate(callers[:ACCOUNTS_READ_MAX]):
                    reader = AccountReader(self._acts(self._account_source(number)), caller, withdrawals)
                    readers.append(reader)
                    nursery.start_soon(self._read, limiter, number, reader)
            if self._options is not None:
                await self._look_at_resources(len(callers))
        read = len(self._history.accounts_shown)
        if read < len(readers):
            self._history.trouble(asked_ns, ACCOUNTS, f"{len(readers) - read} of {len(readers)} could not be read")
        if unrested := sum(reader.unrested for reader in readers):
            self._history.trouble(self._now(), WITHDRAWALS, f"{unrested} had not come to rest when the run ended")

    async def _live(self, number: int, agent: Agent, interval_seconds: float) -> None:
        """Have one agent act repeatedly at an interval."""
        await trio.sleep(START_SECONDS * number / max(1, len(self._agents)))
        due = trio.current_time()
        async with self._player.connection(agent_source(self._target, number)) as connection:
            while True:
                with trio.CancelScope(shield=True) as acting:
                    self._acting.add(acting)
                    await self._player.play_on(connection, agent.next_act(self._now()))
                self._acting.discard(acting)
                due = max(due + interval_seconds, trio.current_time())
                await trio.sleep_until(due)

    async def _end_acts(self) -> None:
        """Wait a moment for acts that are under way at the end of the run, which would otherwise be cut off."""
        try:
            await trio.sleep_forever()
        finally:
            for acting in self._acting:
                acting.deadline = trio.current_time() + LAST_ACTS_SECONDS

    async def _watch_resources(self) -> None:
        # Free room must be seen twice while a job waits, and the list is as long as the fleet.
        pause = max(RESOURCES_SECONDS, self._seconds / RESOURCES_LOOKS_MAX)
        while True:
            await trio.sleep(pause)
            await self._look_at_resources(0)

    async def _look_at_resources(self, number: int) -> None:
        """Read all offers, as any owner can."""
        source = self._account_source(ACCOUNTS_READ_MAX + number)
        caller = owner_caller(self._target.token, ANY_OWNER)
        shown = await self._player.play(read_resources(self._acts(source), caller), source)
        if shown is not None:
            self._history.resources_shown.append(shown)

    async def _read(self, limiter: trio.CapacityLimiter, number: int, reader: AccountReader) -> None:
        async with limiter:
            shown = await self._player.play(reader.script(), self._account_source(number))
        if shown is not None:
            self._history.accounts_shown.append(shown)

    def _account_source(self, number: int) -> str | None:
        return account_source(self._target, number)

    def _acts(self, source: str | None) -> MarketActs:
        recorder = ActRecorder(self._history, source, self._target.authority, self._tape)
        return MarketActs(self._history, recorder)
