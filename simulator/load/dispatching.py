"""Locust's dispatcher and shape for a scenario: so many users of each kind as it says, evenly over the workers.

Locust's own dispatcher mixes classes by weights, which never gives exact numbers; and it distributes anew when a worker
comes or goes, where here everybody stays who can, as a machine that moves has to register again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locust.dispatch import UsersDispatcher
from locust.shape import LoadTestShape

from reference_server.wire.units import MILLISECOND_NS
from simulator.load.mix import spread, users_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from simulator.scenario.values import Scenario

LOOKAHEAD_NS = 500 * MILLISECOND_NS
"""Locust asks its shape once a second; users are wanted as for the middle of it."""
RATE = 50.0
"""What Locust is told of how many users a second to start. The shape paces the ramp; a step comes all at once."""
STEP = 1e-6


class MixDispatcher(UsersDispatcher):
    """Dispatches what `wanted` says, by class, all at once, whatever total it is asked for."""

    def __init__(self, wanted: Callable[[], dict[str, int]], **locusts: Any) -> None:
        self._wanted = wanted
        super().__init__(**locusts)

    def _prepare_rebalance(self) -> None:
        """Keep the users of the workers that are there; the next dispatch evens them out."""
        nobody = {user_class.__name__: 0 for user_class in self._original_user_classes}
        self._users_on_workers = {
            node.id: dict(self._users_on_workers.get(node.id, nobody)) for node in self._worker_nodes
        }
        self._current_user_count = self.get_current_user_count()

    def _dispatcher(self) -> Generator[dict[str, dict[str, int]], None, None]:
        self._dispatch_in_progress = True
        wanted, users = self._wanted(), self._users_on_workers
        for name in [user_class.__name__ for user_class in self._original_user_classes]:
            target = wanted.get(name, 0)
            for worker, count in spread(target, {worker: counts[name] for worker, counts in users.items()}).items():
                users[worker][name] = count
        self._current_user_count = self.get_current_user_count()
        yield users
        self._dispatch_in_progress = False


class ScenarioShape(LoadTestShape):
    """Follows a scenario from its start to its end. `elapsed_ns` gives its time, `workers` how many take part."""

    abstract = True  # Locust must not find it by itself: it is made when the scenario is known

    def __init__(
        self,
        scenario: Scenario,
        elapsed_ns: Callable[[], int],
        workers: Callable[[], int],
    ) -> None:
        super().__init__()
        self._scenario = scenario
        self._elapsed_ns = elapsed_ns
        self._workers = workers
        self._last: Any = None
        self._steps = 0
        self.wanted: dict[str, int] = {}

    def tick(self) -> tuple[int, float] | None:
        """Return how many users Locust is to run; None ends the test.

        Locust dispatches anew only when what it is told differs, and it is told no classes and no workers: so each
        change of those changes the rate by a millionth.
        """
        elapsed_ns = self._elapsed_ns()
        if elapsed_ns >= self._scenario.duration_ns:
            return None
        self.wanted = users_wanted(self._scenario, elapsed_ns + LOOKAHEAD_NS)
        now = (self.wanted, self._workers())
        if now != self._last:
            self._last = now
            self._steps += 1
        return sum(self.wanted.values()), RATE + self._steps * STEP
