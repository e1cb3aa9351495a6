"""Playing a scenario's `[[load]]` over connections under Trio: owners and agents that come and go with their stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.target import owner_user_source
from simulator.client.witness import Witness
from simulator.fleet.acts import Acts
from simulator.fleet.load_users import Crowd, make_user
from simulator.fleet.market_acts import MarketActs
from simulator.scenario.market_values import MarketOptions
from simulator.worlds.plan import level_at, steady_level_until
from simulator.worlds.players.act_player import ActPlayer
from simulator.worlds.recording import ActRecorder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.client.target import Target
    from simulator.fleet.agents import Agent
    from simulator.fleet.load_users import LoadUser
    from simulator.history.rows import History
    from simulator.scenario.values import LoadOptions, Scenario
    from simulator.traces.tape import Tape
    from simulator.worlds.progress import Progress

CROWD = 8
"""The child of the seed's sequence for users; others are for the fleet, the auditor and the market."""
ONLY_SHARD = 0
"""The shard number for the users' addresses. Locust's shards begin with 1."""
TICK_SECONDS = 0.05
"""The least interval between two checks of how many users are wanted."""


class CrowdPlayer:
    """Users of all kinds, each from an address of its own. Everything random follows from the seed.

    `prefix` starts the users' own names, `owner_ids` are the fleet's owners, and `new_machine` returns the number of a
    machine outside of the fleet.
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
        new_machine: Callable[[], int],
        tape: Tape | None = None,
    ) -> None:
        self._scenario = scenario
        self._target = target
        self._history = history
        self._now = now
        self._tape = tape
        self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(CROWD + 1)[CROWD])
        self._player = ActPlayer(target, now, Witness(history, now))
        habits = (scenario.market or MarketOptions()).habits()
        self._crowd = Crowd(
            history, target.token, f"{prefix}-o", [*owner_ids], habits, progress, new_machine, target.lacks
        )
        self._came = 0
        self._here: dict[_Stay, None] = {}

    @property
    def agents(self) -> Sequence[Agent]:
        """All agents that have appeared so far."""
        return self._crowd.agents

    async def play(self) -> None:
        """Start and stop users until cancelled; then no more requests are sent, and pending answers are awaited."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end)
            for load in self._scenario.load:
                nursery.start_soon(self._follow, nursery, load)

    async def _follow(self, nursery: trio.Nursery, load: LoadOptions) -> None:
        """Keep as many users of a kind as its stages say."""
        stays: list[_Stay] = []
        while True:
            now_ns = self._now()
            wanted = level_at(load.stages, now_ns)
            while len(stays) < wanted:
                stay = _Stay(1 / load.rate, self._target.patience.answer_seconds)
                stays.append(stay)
                self._here[stay] = None
                nursery.start_soon(self._live, load.user, stay)
            while len(stays) > wanted:
                stays.pop().end()
            seconds = (steady_level_until(load.stages, now_ns) - self._now()) / SECOND_NS
            await trio.sleep(max(TICK_SECONDS, seconds))

    async def _live(self, kind: str, stay: _Stay) -> None:
        """Have one user act repeatedly."""
        with stay.scope:
            await stay.begin()
            number, self._came = self._came, self._came + 1
            source = owner_user_source(self._target, ONLY_SHARD, number)
            user = self._user(kind, number, source)
            async with self._player.connection(source) as connection:
                while True:
                    await self._player.play_on(connection, user.next_act(self._now()), stay.pace)
                    await stay.pace()
        del self._here[stay]

    def _user(self, kind: str, number: int, source: str | None) -> LoadUser:
        target, history = self._target, self._history
        recorder = ActRecorder(history, source, target.authority, self._tape)
        acts = Acts(history, target.token, self._scenario.fleet.certificate_rotation_ns, recorder)
        (rng,) = self._rng.spawn(1)
        return make_user(kind, number, self._crowd, acts, MarketActs(history, recorder), rng)

    async def _end(self) -> None:
        """End all of them once the run ends."""
        try:
            await trio.sleep_forever()
        finally:
            for stay in self._here:
                stay.end()


class _Stay:
    """A user's stay and pace: one request per interval, or later if an answer took longer.

    A request that is pending at the end of the stay is still awaited, for the answer timeout and a second.
    """

    def __init__(self, interval_seconds: float, answer_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._patience_seconds = answer_seconds + 1
        self._due = trio.current_time()
        self._rests = True
        self._ends = False
        self.scope = trio.CancelScope(shield=True)

    async def begin(self) -> None:
        """Start the stay, unless it has ended already."""
        await trio.lowlevel.checkpoint()
        self._rests = False

    async def pace(self) -> None:
        """Wait until the next request is due."""
        self._due = max(self._due + self._interval_seconds, trio.current_time())
        if self._ends:
            self.scope.cancel()
        self._rests = True
        await trio.sleep_until(self._due)
        self._rests = False

    def end(self) -> None:
        """Send no more requests."""
        self._ends = True
        if self._rests:
            self.scope.cancel()
        else:
            self.scope.deadline = trio.current_time() + self._patience_seconds
