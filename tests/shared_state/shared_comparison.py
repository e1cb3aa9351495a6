"""Three instances that are asked in turn as if they were one server, compared with the plain model of one."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.redis import journal as redis_journal
from reference_server.adapters.redis import nonces as redis_nonces
from reference_server.adapters.redis.link import RedisLink
from reference_server.operations.api import Api
from reference_server.pipeline.resolving import Resolver
from reference_server.wire.signing import CertificateSigner
from tests.core.control_plane_comparison import Comparison
from tests.core.control_plane_records import EVENTS_KEPT, FAILURE_THRESHOLD
from tests.core.server_under_test import STARTED, Answer, Server, as_answer
from tests.support.patience import PATIENT, PATIENT_LINK
from tests.support.redis_servers import EVERY_WRITE, redis_server
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.settings import Settings
    from reference_server.wire.values import Instant, Reply, Request
    from tests.support.redis_servers import RedisServer

INSTANCES = 3
ENDED = "the loop has ended"


class Clock:
    """The clock of all instances, which stands still until the test moves it."""

    def __init__(self) -> None:
        self.moment = STARTED

    def now(self) -> Instant:
        """Return the moment it was set to."""
        return self.moment


class Loop:
    """Trio in a thread of its own, for a test that does not wait by itself, with a Redis that keeps every write."""

    def __init__(self) -> None:
        self._started: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)
        self._thread.start()
        self.redis: RedisServer
        self.nursery: trio.Nursery
        self._token, self.nursery, self.redis, self._over = self._started.get(timeout=PATIENCE_SECONDS)

    async def _main(self) -> None:
        over = trio.Event()
        async with redis_server(*EVERY_WRITE) as redis, trio.open_nursery() as nursery:
            self._started.put((trio.lowlevel.current_trio_token(), nursery, redis, over))
            await over.wait()

    def run(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Wait for a call that runs there."""

        async def bounded() -> Any:
            with trio.fail_after(PATIENCE_SECONDS):
                return await call(*arguments)

        return trio.from_thread.run(bounded, trio_token=self._token)

    def end(self) -> None:
        """End it. All that was started there has to have ended."""
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), ENDED


CENTURY_SECONDS = 100 * 365 * 86_400
"""How far the tests' clock, which they move themselves, may be off the one of Redis."""
BOUNDS = msgspec.structs.replace(PATIENT, clock_off_seconds_max=CENTURY_SECONDS)


class SharedInstance:
    """One of the instances."""

    def __init__(self, settings: Settings, clock: Clock, port: int) -> None:
        entropy = SystemEntropy()
        self.api = Api(settings, entropy, CertificateSigner.from_seed(b"k" * 32), STARTED)
        scripts = (*redis_nonces.SCRIPTS, *redis_journal.SCRIPTS)
        link = RedisLink("127.0.0.1", port, "", scripts, PATIENT_LINK)
        self.journal = redis_journal.RedisJournal(
            link, settings, entropy, clock, "alike", election_seconds=0.0, bounds=BOUNDS
        )
        self.api.share_state(self.journal, None, (link.run, self.journal.nonces.run))
        self.resolver = Resolver(self.api, clock)


class SharedServer(Server):
    """A server that is three: each request goes to the next one, and any may be lost and replaced between two."""

    def __init__(self, loop: Loop, **settings: Any) -> None:
        self.clock = Clock()
        super().__init__(**settings)
        self._loop = loop
        self._asked = 0
        self._accepted_by_lost = 0
        loop.run(loop.redis.says, "FLUSHALL")
        self.instances = [self._join() for _ in range(INSTANCES)]

    @property
    def now(self) -> Instant:
        """Tell the time of all instances."""
        return self.clock.moment

    @now.setter
    def now(self, moment: Instant) -> None:
        self.clock.moment = moment

    def step_wall(self, nanoseconds: int) -> None:
        """Leave the wall clock as it is: an instance that starts has nothing else to tell how old things are."""

    def _join(self) -> SharedInstance:
        one = SharedInstance(self.settings, self.clock, self._loop.redis.port)
        self._loop.run(self._loop.nursery.start, one.resolver.run)
        return one

    def _leave(self, which: int) -> None:
        self._accepted_by_lost += self.instances[which].api.state.heartbeat_answers[200]
        self._loop.run(self.instances[which].resolver.stop)

    def replace(self, which: int) -> None:
        """Lose an instance, and start another in its place, which knows nothing but what is shared."""
        self._leave(which % INSTANCES)
        self.instances[which % INSTANCES] = self._join()

    def restart_redis(self) -> None:
        """End Redis as `kill -9` does, and start it again."""
        self._loop.run(self._loop.redis.kill)
        self._loop.run(self._loop.redis.start)

    def end(self) -> None:
        """End all instances."""
        for which in range(INSTANCES):
            self._leave(which)

    def _settled(self, ask: Callable[[Api], Reply]) -> Answer:
        self._asked += 1
        one = self.instances[self._asked % INSTANCES]
        self.api = one.api

        async def served() -> Reply:
            while True:  # while an instance finds its connection, or the state, again
                reply = await one.resolver.resolved(ask(one.api))
                if reply.status != 503:
                    return reply
                await trio.sleep(0.01)

        return as_answer(self._loop.run(served))

    def request(self, request: Request) -> Answer:
        """Ask the next instance."""
        return self._settled(lambda api: api.handle(request, self.now))

    def lane(self, worker_id: str, token: str, certificate_id: str, body: bytes) -> Answer:
        """Send a heartbeat by the express entry of the next instance."""
        sent = (worker_id, token, certificate_id, body, "127.0.0.1")
        return self._settled(lambda api: api.handle_heartbeat(*sent, self.now))

    def metrics(self) -> dict[str, float]:
        """Read the metrics of the next instance; what each counts for itself is added up over all there were."""
        shown = super().metrics()
        accepted = sum(one.api.state.heartbeat_answers[200] for one in self.instances)
        shown['hatchfarm_heartbeats_total{status="200"}'] = accepted + self._accepted_by_lost
        nonces = self._loop.run(self._loop.redis.says, "KEYS", "hf:nonce:*")
        shown["hatchfarm_nonces_live"] = nonces.count("hf:nonce:")
        return shown


class SharedComparison(Comparison):
    """The instances and the model."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        settings = {"audit_events_per_stream": EVENTS_KEPT, "auth_failure_threshold": FAILURE_THRESHOLD}
        self.shared = SharedServer(loop, **settings, journal_bytes=16_384)
        self.server = self.shared
