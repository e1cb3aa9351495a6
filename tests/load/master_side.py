"""A `MasterNode` among workers that are not there, in a process of its own: Locust patches all of one with gevent.

`python -m tests.load.master_side PLAY ARGUMENTS` plays one of the plays below and prints what came of it as JSON.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from locust.env import Environment
from locust.runners import LocalRunner

from simulator.load.host_clock import read_boot_id
from simulator.load.master_node import MasterNode
from simulator.load.messages import Begin, Counted, Order, unpack
from simulator.load.worker_node import BEGIN, CLOCK, CLOCK_READ, FINISH, FINISHED, HELLO

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.load.control_socket import ControlSocket

SCENARIO = 'version = 1\nname = "any"\nduration = "10s"\n[fleet]\nmachines = 10\n'
ASKED_NS, BACK_NS = 40_000, 60_000
"""How long a question is under way, and its answer."""


class Runner(LocalRunner):
    """Keeps what the master sends, and answers as a worker does whose clock is `ahead_ns` ahead."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.now_ns = 1_000_000_000
        self.ahead_ns = 0
        self.answers_clock = True
        self.heard: dict[str, Callable[..., None]] = {}
        self.begun: list[Begin] = []

    def register_message(self, msg_type: str, listener: Any, concurrent: bool = False) -> None:  # noqa: FBT001, FBT002 - Locust's
        """Keep who listens to what."""
        del concurrent
        self.heard[msg_type] = listener

    def tell(self, kind: str, data: Any) -> None:
        """Say something as the worker."""
        self.heard[kind](msg=SimpleNamespace(node_id="worker", data=data))

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        """Take what the master says to the worker, and answer."""
        del client_id
        if msg_type == BEGIN:
            begin = unpack(data)
            assert isinstance(begin, Begin)
            self.begun.append(begin)
        elif msg_type == FINISH:
            self.tell(FINISHED, {})
        elif msg_type == CLOCK and self.answers_clock:
            self.now_ns += ASKED_NS
            read_ns = self.now_ns + self.ahead_ns
            self.now_ns += BACK_NS
            self.tell(CLOCK_READ, {**data, "read_ns": read_ns})


class Control:
    """Keeps what the master tells its conductor."""

    def __init__(self) -> None:
        self.reported: list[Any] = []

    def listen(self, reported: Any) -> None:
        """Have nothing to tell."""

    def send(self, message: Any) -> None:
        """Keep it."""
        self.reported.append(message)


def master() -> tuple[Environment, Runner, Control]:
    """Make a master with one worker that has not said hello yet."""
    environment = Environment(host="http://127.0.0.1:1")
    runner, control = Runner(environment), Control()
    environment.runner = runner
    order, twin = Order(SCENARIO, 1, "http://127.0.0.1:1", "owner"), cast("ControlSocket", control)
    MasterNode(environment, order, twin, lambda: runner.now_ns)
    return environment, runner, control


def many_tests(tests: int) -> list[int]:
    """Start and stop tests one after the other; gives the number of the shard in each."""
    environment, runner, _ = master()
    runner.tell(HELLO, {"boot": read_boot_id(), "host": "one", "pid": 0})
    for _ in range(tests):
        environment.events.test_start.fire(environment=environment)
        environment.events.test_stopping.fire(environment=environment)
    return [begin.shard for begin in runner.begun]


def other_clock(ahead_ns: int, drift_ns: int) -> dict[str, Any]:
    """Start a test before the clock of a worker of another boot is known, and end it when that clock has drifted."""
    environment, runner, control = master()
    runner.ahead_ns, runner.answers_clock = ahead_ns, False
    runner.tell(HELLO, {"boot": "another", "host": "another", "pid": 0})
    began_ns = runner.now_ns
    environment.events.test_start.fire(environment=environment)
    before = len(runner.begun)
    runner.answers_clock = True
    runner.send_message(CLOCK, {"left_ns": runner.now_ns})
    runner.ahead_ns += drift_ns
    environment.events.test_stopping.fire(environment=environment)
    (counted,) = [one for one in control.reported if isinstance(one, Counted)]
    joined = [one for one in control.reported if hasattr(one, "offset_ns")]
    return {
        "begun": [before, len(runner.begun)],
        "start": runner.begun[-1].start_ns - began_ns,
        "at_start": sorted({one.offset_ns for one in joined}),
        "at_end": counted.offsets_ns["worker"],
    }


if __name__ == "__main__":
    plays: dict[str, Callable[..., Any]] = {"many_tests": many_tests, "other_clock": other_clock}
    sys.stdout.write(json.dumps(plays[sys.argv[1]](*map(int, sys.argv[2:]))))
