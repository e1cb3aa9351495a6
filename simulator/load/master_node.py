"""The Locust master's node, or that of a Locust alone: it orders shards, and tells the conductor what it hears."""

from __future__ import annotations

import logging
import os
import select
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import gevent
import msgspec
from gevent.event import Event
from locust import runners
from locust.runners import LocalRunner

from reference_server.wire.units import SECOND_NS
from simulator.limits import SHARD_OTHER_MACHINES_MAX, SHARDS_MAX, WORKER_SILENCE_MAX_SECONDS
from simulator.load.host_clock import offset_bounds, read_boot_id, read_network_host
from simulator.load.messages import Begin, Counted, Halt, Joined, Left, PartReport, Report, Started, pack, unpack
from simulator.load.mix import campaigns_due
from simulator.load.ordered import scenario_of
from simulator.load.statistics import counts_of
from simulator.load.worker_node import (
    BEGIN,
    CAMPAIGN,
    CLOCK,
    CLOCK_READ,
    FINISH,
    FINISHED,
    HELLO,
    LAUNCH,
    LOST,
    OWNERS_PART,
    REPORT,
    SHARD_PART,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from locust.env import Environment

    from simulator.load.control_socket import ControlSocket
    from simulator.load.messages import Order

FINISH_SECONDS = 45.0
"""How long workers may take to finish: the shard's patience, and what it takes to say it."""
CLOCK_TRIPS = 8
MISSING_LOOK_SECONDS = 0.25
PARTS_OF_A_WORKER = 2
LOOKAHEAD_NS = 2 * SECOND_NS
"""How early a campaign may be asked for: Locust starts users when it looks, which is once a second."""
_log = logging.getLogger("hatchfarm")


class _Worker(msgspec.Struct):
    """A worker as the master knows it: whether it shares this host's clock, and which shard it plays in this test.

    `process` becomes readable when it ends; None where it is not of this run's own processes.
    """

    boot: str
    host: str
    process: int | None = None
    shard: int = -1
    finished: bool = False
    gone: bool = False
    trips: list[tuple[int, int, int]] = []


class MasterNode:
    """The master's side of a test. `control` leads to a conductor; without one nobody keeps a history.

    `now_ns` is a monotonic clock, which the conductor's is too.
    """

    def __init__(
        self,
        environment: Environment,
        order: Order,
        control: ControlSocket | None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._now_ns = now_ns
        self._environment = environment
        self._order = order
        self._scenario = scenario_of(order)
        self._control = control
        self._workers: dict[str, _Worker] = {}
        self._shards = count(1)  # numbered anew in each test: the web UI starts many, one after the other
        self._boot = read_boot_id()
        self._hosts = {read_network_host(): 0}
        self._start_ns = 0
        self._launched: set[int] = set()
        self._running = False
        self._all_finished = Event()
        self._users_max = 0
        # It has no option for this; the three seconds that it gives are less than busy machines take now and then.
        runners.HEARTBEAT_LIVENESS = WORKER_SILENCE_MAX_SECONDS // runners.HEARTBEAT_INTERVAL
        runner: Any = environment.runner
        runner.register_message(HELLO, self._hello)
        runner.register_message(REPORT, self._report)
        runner.register_message(LOST, self._lost)
        runner.register_message(FINISHED, self._finished)
        runner.register_message(CAMPAIGN, self._campaign)
        runner.register_message(CLOCK_READ, self._clock_read)
        environment.events.test_start.add_listener(self._test_start)
        environment.events.test_stopping.add_listener(self._test_stopping)
        gevent.spawn(self._watch_workers)
        if control is not None:
            control.listen(self._receive)

    def elapsed_ns(self) -> int:
        """Return the test's time; 0 until it has begun."""
        return self._now_ns() - self._start_ns if self._running else 0

    def workers(self) -> int:
        """Count the workers that take part."""
        return sum(not worker.gone for worker in self._workers.values())

    # --- the test

    def _test_start(self, **_: Any) -> None:
        if self._control is None:  # the web form may name another
            self._order = msgspec.structs.replace(self._order, target=self._environment.host or "")
        self._start_ns = self._now_ns()
        self._running = True
        self._launched.clear()
        self._all_finished.clear()
        self._users_max = 0
        self._shards = count(1)
        self._say(Started(self._start_ns))
        for client, worker in self._workers.items():
            worker.finished = False
            worker.shard = -1
            if not worker.gone and (worker.boot == self._boot or len(worker.trips) >= CLOCK_TRIPS):
                self._start_shard(client, worker)

    def _start_shard(self, client: str, worker: _Worker) -> None:
        shard = next(self._shards)
        if shard > SHARDS_MAX:
            _log.error("no more than %d shards in one run: %s plays none", SHARDS_MAX, client)
            return
        worker.shard = shard
        machines = self._scenario.fleet.machines
        first = (shard - 1) * (machines + 2 * SHARD_OTHER_MACHINES_MAX)
        offset_ns = (0, 0) if worker.boot == self._boot else offset_bounds(worker.trips)
        owners_first = first + machines + SHARD_OTHER_MACHINES_MAX
        start_ns = self._start_ns + sum(offset_ns) // 2
        host = self._hosts.setdefault(worker.host, len(self._hosts))
        for part, number, numbers in (
            (SHARD_PART, first, machines + SHARD_OTHER_MACHINES_MAX),
            (OWNERS_PART, owners_first, SHARD_OTHER_MACHINES_MAX),
        ):
            self._say(Joined(_part(shard, part), client, number, numbers, start_ns, host, offset_ns))
        each = max(1, machines // max(1, self.workers()))
        self._send(client, BEGIN, pack(Begin(self._order, shard, first, start_ns, each)))

    def _test_stopping(self, **_: Any) -> None:
        """Have every worker finish before Locust stops its users, so that the last answers count as well."""
        if not self._running:
            return
        self._running = False
        for client, worker in self._workers.items():
            if not worker.gone:
                if worker.boot != self._boot:  # clocks may have drifted meanwhile
                    worker.trips = []
                    self._ask_clock(client)
                self._send(client, FINISH, {})
        self._see_whether_all_finished()
        if not self._all_finished.wait(FINISH_SECONDS):
            for client, worker in self._workers.items():
                if not (worker.finished or worker.gone):
                    self._say(Left(client, f"it did not finish within {FINISH_SECONDS:g} s"))
        statistics = self._environment.stats
        bounds = {client: offset_bounds(worker.trips) for client, worker in self._workers.items() if worker.trips}
        self._say(Counted(counts_of(statistics), self._users_max, bounds))

    def _see_whether_all_finished(self) -> None:
        if all(worker.finished or worker.gone for worker in self._workers.values()):
            self._all_finished.set()

    # --- what workers say

    def _hello(self, msg: Any, **_: Any) -> None:
        process = os.pidfd_open(msg.data["pid"]) if msg.data["pid"] else None
        worker = self._workers[msg.node_id] = _Worker(msg.data["boot"], msg.data["host"], process)
        if worker.boot != self._boot:
            self._ask_clock(msg.node_id)
        elif self._running:
            self._start_shard(msg.node_id, worker)

    def _ask_clock(self, client: str) -> None:
        self._send(client, CLOCK, {"left_ns": self._now_ns()})

    def _clock_read(self, msg: Any, **_: Any) -> None:
        worker = self._workers[msg.node_id]
        worker.trips.append((msg.data["left_ns"], msg.data["read_ns"], self._now_ns()))
        if len(worker.trips) < CLOCK_TRIPS:
            self._ask_clock(msg.node_id)
        elif self._running and worker.shard < 0:
            self._start_shard(msg.node_id, worker)

    def _report(self, msg: Any, **_: Any) -> None:
        report = unpack(msg.data["report"])
        if isinstance(report, Report):
            self._users_max = max(self._users_max, self._environment.runner.user_count)  # type: ignore[union-attr]
            self._say(PartReport(_part(msg.data["shard"], msg.data["part"]), report))

    def _finished(self, msg: Any, **_: Any) -> None:
        worker = self._workers.get(msg.node_id)
        if worker is not None:
            worker.finished = True
            self._see_whether_all_finished()

    def _lost(self, msg: Any, **_: Any) -> None:
        self._gone(msg.node_id, msg.data["why"])

    def _campaign(self, msg: Any, **_: Any) -> None:
        """Send a worker the campaign that is due next and that nobody plays yet."""
        late_ns = self.elapsed_ns() + LOOKAHEAD_NS
        for number in campaigns_due(self._scenario, late_ns):
            if number not in self._launched:
                self._launched.add(number)
                self._send(msg.node_id, LAUNCH, {"campaign": number})
                return

    def _gone(self, client: str, why: str) -> None:
        worker = self._workers.get(client)
        if worker is None or worker.gone:
            return
        worker.gone = True
        if self._running and worker.shard >= 0:
            self._say(Left(client, why))
        self._see_whether_all_finished()

    def _watch_workers(self) -> None:
        """Notice workers that Locust misses: it has no event for that."""
        runner: Any = self._environment.runner
        while not isinstance(runner, LocalRunner):
            gevent.sleep(MISSING_LOOK_SECONDS)
            self._give_up_ended(runner)
            present = {client.id for client in runner.clients.all if client.state != "missing"}
            for client, worker in list(self._workers.items()):
                if client not in present and not worker.finished:
                    self._gone(client, "Locust hears from it no more")

    def _give_up_ended(self, runner: Any) -> None:
        """Have Locust know at once of workers whose process has ended: it would go on waiting for them."""
        for client in runner.clients.all:
            worker = self._workers.get(client.id)
            if worker is not None and worker.process is not None and _ended(worker.process):
                client.heartbeat = min(client.heartbeat, -1)

    # --- the conductor

    def _receive(self, message: Any) -> None:
        if isinstance(message, Halt):
            gevent.spawn(self._environment.runner.stop)  # type: ignore[union-attr]

    def _say(self, message: Any) -> None:
        if self._control is not None:
            self._control.send(message)

    def _send(self, client: str, kind: str, data: Any) -> None:
        self._environment.runner.send_message(kind, data, client)  # type: ignore[union-attr]


def _ended(process: int) -> bool:
    return bool(select.select([process], [], [], 0)[0])


def _part(shard: int, part: int) -> int:
    """Number a part over all shards."""
    return shard * PARTS_OF_A_WORKER + part
