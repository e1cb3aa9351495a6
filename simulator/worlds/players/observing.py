"""Observing a target during a run: scraping its metrics, and reading its audit heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.checking import MalformedError, read_metrics
from simulator.client.connection import ControlConnection, LostError
from simulator.client.keys import read_published_keys
from simulator.client.target import SCRAPER_ADDRESS, Target, TargetError
from simulator.client.witness import Witness
from simulator.history.records import METRICS_PAGE, HealthReading, Scrape, WallReading
from simulator.history.rows import NEVER_NS
from simulator.limits import (
    HEALTH_READINGS_MAX,
    STATUS_OWNERS_MAX,
    STATUS_PATIENCE_SECONDS,
    TROUBLE_MAX_CHARACTERS,
)
from simulator.worlds.players.auditing import Auditor
from simulator.worlds.players.statuses import AT_THE_END, StatusReader
from simulator.worlds.progress import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.worlds.progress import Progress

LOOKS, LOOK_SHARE = 3, 1e-5
"""How often a silence is checked for while it lasts, or after which share of the run: a week is not all checks."""
ALERTS = ("stale_workers", "worker_auth_failures")
"""The alerts that a target's metrics show (contract §10)."""
AUDITOR = 5
"""The child of the seed's sequence for the auditor; others are for the fleet."""


class Observer:
    """Reads a target's metrics and audit into the history while others load it.

    `owner_ids` are the honest fleet's owners; `wall` returns Unix nanoseconds by this machine's clock.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        owner_ids: Collection[str],
        wall: Callable[[], int],
    ) -> None:
        self._scenario = scenario
        # Uptime and counters are each instance's own.
        self._target = msgspec.structs.replace(target, others=())
        self._history = history
        self._progress = progress
        self._now = now
        self._wall = wall
        self._witness = Witness(history, now, reads=True)
        self._statuses = StatusReader(target, history, now, AT_THE_END, STATUS_PATIENCE_SECONDS)
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(AUDITOR + 1)[AUDITOR])
        self._auditor = Auditor(target, history, now, rng, owner_ids, scenario.duration_ns / SECOND_NS)

    async def watch(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scrape)
            nursery.start_soon(self._auditor.watch)
            nursery.start_soon(self._watch_for_silence)

    async def finish(self) -> None:
        """Scrape once more, and read whole audit lists, after all other players have finished."""
        self._progress.phase = Phase.AUDIT
        source = SCRAPER_ADDRESS if self._target.own_addresses else None
        async with ControlConnection(self._target, source, self._witness) as connection:
            answered = await self._scrape_once(connection)
            if answered:
                await read_published_keys(connection, self._history, self._now)
        if answered:
            owners = self._history.owners if self._target.own_addresses else self._history.owners[:1]
            await self._statuses.read(owners[:: -(-len(owners) // STATUS_OWNERS_MAX) or 1], summaries=True)
        else:
            await self.ask_for_health()
        await self._auditor.read()

    async def ask_for_health(self) -> None:
        """Request `/health` on a new connection, and record the outcome."""
        if len(self._history.health_readings) >= HEALTH_READINGS_MAX:
            return
        sent_ns = self._now()
        source = SCRAPER_ADDRESS if self._target.own_addresses else None
        async with ControlConnection(self._target, source) as connection:
            try:
                answer = await connection.request("GET", "/health", {}, rooted=True)
            except LostError as error:
                reading = HealthReading(sent_ns, NEVER_NS, 0, str(error)[:TROUBLE_MAX_CHARACTERS])
            else:
                reading = HealthReading(sent_ns, self._now(), answer.status)
        self._history.health_readings.append(reading)

    async def _watch_for_silence(self) -> None:
        """Request `/health` repeatedly while no request is answered."""
        progress = self._progress
        before: tuple[int, int] = (-1, 0)
        asked_at = trio.current_time()
        failed_before = 0
        silence_seconds = self._target.patience.silence_seconds
        pause = max(silence_seconds / LOOKS, self._scenario.duration_ns / SECOND_NS * LOOK_SHARE)
        while True:
            await trio.sleep(pause)
            life = progress.accepted + progress.refused, len(self._history.scrapes)
            failed = progress.lost + progress.connect_failures + progress.onboarding_failures + progress.scrape_failures
            if life != before:
                before, failed_before, asked_at = life, failed, trio.current_time()
            elif trio.current_time() - asked_at >= silence_seconds and (progress.in_flight or failed > failed_before):
                await self.ask_for_health()
                asked_at = trio.current_time()

    async def _scrape(self) -> None:
        interval_seconds = self._scenario.metrics_interval_ns / SECOND_NS
        source = SCRAPER_ADDRESS if self._target.own_addresses else None
        due = trio.current_time()
        async with ControlConnection(self._target, source, self._witness) as connection:
            await read_published_keys(connection, self._history, self._now)
            while True:
                await self._scrape_once(connection)
                due = max(due + interval_seconds, trio.current_time())
                await trio.sleep_until(due)

    async def _scrape_once(self, connection: ControlConnection) -> bool:
        """Scrape the metrics into the history, with this machine's clock; return whether there was an answer."""
        progress = self._progress
        sent_ns = self._now()
        unix_ns = self._wall()
        self._history.wall_readings.append(WallReading(sent_ns, self._now(), unix_ns))
        try:
            samples = await read_metrics(connection, self._target)
        except (LostError, TargetError) as error:
            progress.scrape_failures += 1
            what = METRICS_PAGE if isinstance(error, MalformedError) else "scrape"
            self._history.trouble(sent_ns, what, str(error))
            progress.last_problem = f"scrape: {error}"
            return not isinstance(error, LostError)
        # For a repeated request, the time of the second: the server may have restarted between the two.
        sent_ns = max(sent_ns, connection.sent_ns)
        self._history.scrapes.append(Scrape(sent_ns, self._now(), samples))
        for name in ALERTS:
            progress.see_alert(name.replace("_", " "), self._now(), on=samples.get(f"hatchfarm_alert_{name}", 0) > 0)
        return True
