"""A market without sockets: scripts of acts are played against the server itself, on a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Request
from simulator.contract.answer_check import check_answer
from simulator.contract.heads import HeadMemory
from simulator.fleet.acts import Ask, Reconnect, Reply, Sleep
from simulator.fleet.agents import Agent, AgentHabits
from simulator.fleet.market_acts import MarketActs
from simulator.fleet.work import MachineWork, Manner, WorkHabits, make_work
from simulator.history.losses import Loss
from simulator.history.rows import History
from simulator.worlds.progress import Progress
from simulator.worlds.recording import record_act
from tests.core.market_server import Market

if TYPE_CHECKING:
    from simulator.contract.parsed_request import Violation
    from simulator.fleet.acts import Act, Exchanged

_Result = TypeVar("_Result")
STEP_NS = SECOND_NS // 100
QUIET = AgentHabits()
HABITS = WorkHabits({"cpu_cores": 8, "memory_gb": 32, "gpus": [{"model": "a100", "count": 4}]})


class MarketInProcess:
    """A server, a history of what is asked of it, and what its answers said wrong.

    Of `losing` answers that were sent, by their place, none arrives: the request was carried out all the same.
    """

    def __init__(self, losing: frozenset[int] = frozenset(), **settings: Any) -> None:
        self.server = Market(**{"withdrawals_per_hour": 1_000, **settings})
        self.start_ns = self.server.now.monotonic_ns
        self.history = History()
        self.progress = Progress()
        self.acts = MarketActs(self.history, self)
        self.odd: list[tuple[str, Violation]] = []
        self.exchanged: list[tuple[bytes, int, bytes]] = []
        self._losing = losing
        self._asked = 0

    def now(self) -> int:
        """Return nanoseconds since the start."""
        return self.server.now.monotonic_ns - self.start_ns

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Add the row."""
        record_act(self.history, ask, exchanged, -1)

    def play(self, act: Act[_Result]) -> _Result:
        """Play a script to its end."""
        sent: Any = None
        while True:
            try:
                step = act.send(sent)
            except StopIteration as end:
                result: _Result = end.value
                return result
            sent = None
            match step:
                case Ask():
                    sent = self._answer(step)
                case Sleep():
                    self.server.pass_time(int(step.seconds * SECOND_NS))
                case Reconnect():
                    pass
                case _:
                    raise TypeError(type(step).__name__)

    def agent(self, habits: AgentHabits = QUIET, name: str = "ada", seed: int = 1) -> Agent:
        """Return an agent that has not yet registered."""
        return Agent(name, self.acts, habits, np.random.default_rng(seed), self.progress)

    def live(self, agent: Agent, seconds: int, provider: Provider | None = None) -> None:
        """Have an agent act once a second, and a machine beat as often."""
        for _ in range(seconds):
            self.play(agent.next_act(self.now()))
            if provider is not None:
                provider.beat()
            self.server.pass_time(SECOND_NS)

    def _answer(self, ask: Ask) -> Reply:
        sent_ns = self.now()
        message = ask.call.message("host")
        path, _, query = ask.call.full_path.partition("?")
        headers = tuple((name.lower(), value) for name, value in ask.call.headers.items())
        answer = self.server.request(
            Request(ask.call.method, path, query, headers, message.partition(b"\r\n\r\n")[2])
        )  # fmt: skip
        self.server.pass_time(STEP_NS)
        self._asked += 1
        lines = [f"{name}: {value}" for name, value in answer.headers.items()]
        head = "\r\n".join([f"HTTP/1.1 {answer.status}", *lines]).encode()
        found = check_answer(message, answer.status, head, answer.body, HeadMemory())
        self.odd += [(found.asked.name if found.asked else "", one) for one in found.odd]
        self.exchanged.append((message, answer.status, answer.body))
        if self._asked in self._losing:
            return Reply(sent_ns, self.now(), loss=Loss.CUT, why="lost")
        return Reply(sent_ns, self.now(), answer.status, head, answer.body)


class Provider:
    """A machine with its work, that beats when it is told to."""

    def __init__(self, market: MarketInProcess, manner: Manner = Manner.HONEST, habits: WorkHabits = HABITS) -> None:
        self._market = market
        self.machine, self.policy_id, _ = market.server.machine("max")
        self.work = one_work(manner, habits)
        self.silent_until_ns = 0

    def beat(self) -> None:
        """Send a heartbeat, unless it is silent."""
        market, machine = self._market, self.machine
        if market.now() < self.silent_until_ns:
            return
        sent_ns = market.now()
        metrics = msgspec.json.decode(f"{{{self.work.metrics(sent_ns)}}}")
        data = market.server.heard(machine, self.policy_id, metrics)
        body = msgspec.json.encode({"success": True, "data": {"accepted": True, "worker_id": machine.id, **data}})
        if self.work.accepted(market.history, sent_ns, market.now(), body):
            self.work.forget()
            self.silent_until_ns = market.now() + self.work.silence_ns


def one_work(manner: Manner = Manner.HONEST, habits: WorkHabits = HABITS, seed: int = 1) -> MachineWork:
    """Return the work of one machine."""
    shares: dict[Manner, float] = {} if manner is Manner.HONEST else {manner: 1.0}
    return make_work([0], habits, shares, np.random.default_rng(seed))[0]
