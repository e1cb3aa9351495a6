"""A Locust worker's node: it has a shard beside it, counts what the shard reports, and passes it on to the master."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from gevent.fileobject import FileObject
from locust.runners import LocalRunner, WorkerRunner

from simulator.client.target import NO_ACCESS
from simulator.limits import SHARD_OTHER_MACHINES_MAX
from simulator.load.bridge import ShardBridge
from simulator.load.host_clock import read_boot_id, read_network_host
from simulator.load.messages import Begin, pack, unpack
from simulator.load.ordered import scenario_of, target_of
from simulator.load.owners import OwnerSession, OwnersPart
from simulator.load.statistics import merge_tallies
from simulator.scenario.market_values import MarketOptions

if TYPE_CHECKING:
    from locust.env import Environment

    from simulator.client.access import Access
    from simulator.load.messages import Report

HELLO, BEGIN, FINISH, FINISHED = "hatchfarm-hello", "hatchfarm-begin", "hatchfarm-finish", "hatchfarm-finished"
REPORT, LOST = "hatchfarm-report", "hatchfarm-lost"
CAMPAIGN, LAUNCH = "hatchfarm-campaign", "hatchfarm-launch"
CLOCK, CLOCK_READ = "hatchfarm-clock", "hatchfarm-clock-read"
SHARD_PART, OWNERS_PART = 0, 1
"""The two parts of a worker."""
OWNERS_REPORT_SECONDS = 1.0
BEGIN_SECONDS = 30.0
"""How long users wait for the beginning of their test."""
LOST_EXIT_CODE = 5
_log = logging.getLogger("hatchfarm")


class WorkerNode:
    """One worker's side of a test. Users find it with `node_of`.

    `token_given` says that the token is the conductor's own, and so needs no asking whether the target takes it;
    `of_conductor` that this process was started by who started the master.
    """

    def __init__(
        self,
        environment: Environment,
        token: str,
        access: Access = NO_ACCESS,
        *,
        token_given: bool,
        of_conductor: bool = False,
    ) -> None:
        self._access = access
        self._token_given = token_given
        self._environment = environment
        self._token = token
        self._bridge: ShardBridge | None = None
        self._owners: OwnersPart | None = None
        self._begun = Event()
        self._beside_owners: list[gevent.Greenlet] = []
        self._rates: dict[str, float] = {}
        self._machines = 0
        self._finished = False
        _NODES[id(environment)] = self
        runner: Any = environment.runner
        runner.register_message(BEGIN, self._begin)
        runner.register_message(LAUNCH, self._launch)
        runner.register_message(FINISH, self._finish, concurrent=True)
        runner.register_message(CLOCK, self._read_clock)
        environment.events.quitting.add_listener(self._quitting)
        pid = os.getpid() if of_conductor else 0
        self._tell(HELLO, {"boot": read_boot_id(), "host": read_network_host(), "pid": pid})

    # --- what users ask for

    def change_machines(self, machines: int) -> None:
        """Have that many more machines take part, or fewer."""
        self._machines += machines
        if self._bridge is not None:
            self._bridge.change(machines)

    def ask_for_campaign(self) -> None:
        """Ask the master for the campaign that is due next; it answers with its number."""
        self._tell(CAMPAIGN, {})

    def owners(self) -> OwnersPart:
        """Return what the owners of this test share. Raises RuntimeError where none begins.

        Locust starts users on a worker that comes late before the master has told it what to play.
        """
        self._begun.wait(BEGIN_SECONDS)
        if self._owners is None:
            raise RuntimeError("no test has begun")
        return self._owners

    def rate_of(self, kind: str) -> float:
        """Return how often a second each user of a kind asks."""
        return self._rates.get(kind, 1.0)

    # --- what the master tells

    def _begin(self, msg: Any, **_: Any) -> None:
        """Start a shard for a test that begins, or has begun."""
        begin = unpack(msg.data)
        if not isinstance(begin, Begin):
            raise TypeError(f"not the beginning of a test: {type(begin).__name__}")
        self._end()
        scenario = scenario_of(begin.order)
        self._rates = {load.user: load.rate for load in scenario.load}
        order, options = begin.order, scenario.fleet
        prefix = order.prefix if order.policies is not None else f"{order.prefix}-s{begin.shard}"
        owners = self._owners = OwnersPart(
            begin,
            target_of(order, self._token, self._access),
            begin.first_machine + options.machines + SHARD_OTHER_MACHINES_MAX,
            options.certificate_rotation_ns,
            [f"{prefix}-{index}" for index in range(options.owners)],
            (scenario.market or MarketOptions()).habits(),
        )
        self._finished = False
        self._begun.set()
        if not self._token_given and OwnerSession(owners, self._environment, 0).is_refused():
            owners.end()
            self._lost("the target refuses this worker's owner token: look at HATCHFARM_API_TOKEN")
            return
        if owners.ended:
            return  # the test has ended meanwhile
        self._bridge = ShardBridge(begin, self._report, self._lost)
        self._bridge.change(self._machines)  # users may have been here first
        if order.keep_history:
            self._beside_owners = [gevent.spawn(self._report_owners, owners), gevent.spawn(owners.watch)]

    def _launch(self, msg: Any, **_: Any) -> None:
        if self._bridge is not None:
            self._bridge.launch(msg.data["campaign"])

    def _finish(self, **_: Any) -> None:
        """End the test here: last answers, last reports, last statistics; then say so."""
        bridge, owners = self._bridge, self._owners
        if owners is not None and not self._finished:
            self._finished = True
            owners.end()
            if bridge is not None:
                bridge.finish()
            if self._beside_owners:
                owners.read_accounts(self._environment)
                gevent.killall(self._beside_owners)
                self._pass_on(OWNERS_PART, owners.report(last=True))
            runner = self._environment.runner
            if isinstance(runner, WorkerRunner):
                runner._send_stats()  # noqa: SLF001 - Locust has no public way, and sends its last ones too late
        self._tell(FINISHED, {})

    def _read_clock(self, msg: Any, **_: Any) -> None:
        self._tell(CLOCK_READ, {**msg.data, "read_ns": time.monotonic_ns()})

    # --- what the shard reports

    def _report(self, report: Report) -> None:
        now = time.time()  # noqa: TID251 - Locust counts by the second of the wall clock
        merge_tallies(self._environment.stats, report.tallies, now)
        self._pass_on(SHARD_PART, report)

    def _report_owners(self, owners: OwnersPart) -> None:
        while True:
            gevent.sleep(OWNERS_REPORT_SECONDS)
            self._pass_on(OWNERS_PART, owners.report())

    def _pass_on(self, part: int, report: Report) -> None:
        if self._owners is not None and self._owners.begin.order.keep_history:
            self._tell(REPORT, {"shard": self._owners.begin.shard, "part": part, "report": pack(report)})

    def _lost(self, why: str) -> None:
        """End this worker: users without a shard are none, and Locust gives them to other workers."""
        _log.error("this worker's shard is lost: %s", why)
        self._tell(LOST, {"why": why})
        self._environment.process_exit_code = LOST_EXIT_CODE
        gevent.spawn(self._environment.runner.quit)  # type: ignore[union-attr]

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        self._environment.runner.send_message(kind, data)  # type: ignore[union-attr]

    def _end(self) -> None:
        gevent.killall(self._beside_owners)
        self._beside_owners = []
        if self._bridge is not None:
            self._bridge.kill()
            self._bridge = None

    def _quitting(self, **_: Any) -> None:
        """End the shard. In a Locust of one process that a signal ends, its test is ended first: it has more to report.

        Locust itself does that only after this.
        """
        runner = self._environment.runner
        if isinstance(runner, LocalRunner) and not self._token_given:  # a conductor ends the test itself
            runner.stop()
        self._end()


_NODES: dict[int, WorkerNode] = {}


def node_of(environment: Environment) -> WorkerNode:
    """Find the node of a Locust environment."""
    return _NODES[id(environment)]


def end_with(lifeline: int) -> None:
    """End this process when the other end of a pipe is closed: whoever started it is gone, however it went."""

    def watch() -> None:
        with FileObject(lifeline, "rb", buffering=0) as pipe:
            while pipe.read(1):
                pass
        os._exit(LOST_EXIT_CODE)

    gevent.spawn(watch)
