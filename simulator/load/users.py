"""The users that Locust starts and stops. Each finds its worker's node in the environment and does little by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from locust import User, constant, constant_throughput, task

from simulator.fleet.load_users import DASHBOARD, FORUM, MARKET, ONBOARDING, make_user
from simulator.load.owners import OwnerSession
from simulator.load.worker_node import node_of

if TYPE_CHECKING:
    from locust.env import Environment

FOREVER_SECONDS = 7 * 86_400.0


class ProviderMachine(User):
    """One machine of the fleet, which lives in the shard beside this worker: it comes and goes with this user."""

    wait_time = constant(FOREVER_SECONDS)

    def on_start(self) -> None:
        """Have one more machine take part."""
        node_of(self.environment).change_machines(1)

    def on_stop(self) -> None:
        """Have one machine fewer take part; it keeps its registration."""
        node_of(self.environment).change_machines(-1)

    @task
    def live(self) -> None:
        """Do nothing: the machine lives by itself."""


class Attacker(User):
    """One campaign of the scenario, which the shard beside this worker plays; it ends by itself."""

    wait_time = constant(FOREVER_SECONDS)

    def on_start(self) -> None:
        """Ask the master which campaign is due."""
        node_of(self.environment).ask_for_campaign()

    @task
    def watch(self) -> None:
        """Do nothing: the campaign goes on by itself."""


def _paced(user: Any) -> float:
    """Return how long a user waits until its next request is due."""
    return float(user.pace(user))


class _Paced(User):
    """A user of a kind, with a connection and an address of its own, that asks `rate` times a second."""

    abstract = True
    kind: ClassVar[str]
    wait_time = _paced

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        node = node_of(environment)
        part = self.part = node.owners()
        number = part.new_user()
        self.session = OwnerSession(part, environment, number)
        acts, market_acts = self.session.acts, self.session.market
        self.played = make_user(self.kind, number, part.crowd, acts, market_acts, part.rng(number))
        self.pace = constant_throughput(node.rate_of(self.kind))

    def on_stop(self) -> None:
        """Close the connection."""
        self.session.close()

    @task
    def act(self) -> None:
        """Do the next thing, as such users in every world do."""
        self.session.play(self.played.next_act(self.part.now()), self.wait)


class OwnerDashboard(_Paced):
    """Looks at what a dashboard shows: the summary, the machines page by page, single ones, the audit, the metrics."""

    kind = DASHBOARD


class OwnerOnboarding(_Paced):
    """Brings a machine into the pool and out of it again: policy, registration, consent, rotation, revocation."""

    kind = ONBOARDING


class AgentMarket(_Paced):
    """An agent: registers, looks at prices and at what is offered, posts, watches and cancels jobs, and withdraws."""

    kind = MARKET


class ForumCrowd(_Paced):
    """An agent that only reads and writes in the forum."""

    kind = FORUM
