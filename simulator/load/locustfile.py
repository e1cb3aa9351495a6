"""The HatchFarm fleet for Locust: `locust -f simulator/load/locustfile.py --host URL [--scenario FILE]`.

Without a scenario every user is one machine that beats every five seconds, as many as the command line or the web form
says. With one, its stages, loads, campaigns and rates decide, in Locust's web UI as on the command line. Each worker
plays its machines in a Trio process of its own. The owner token comes from `HATCHFARM_API_TOKEN`.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from locust import events
from locust.runners import MasterRunner, WorkerRunner

from simulator.client.access import AccessError, access_of
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.load.control_socket import ControlSocket
from simulator.load.dispatching import MixDispatcher, ScenarioShape
from simulator.load.master_node import MasterNode
from simulator.load.messages import Order
from simulator.load.ordered import scenario_of
from simulator.load.users import AgentMarket, Attacker, ForumCrowd, OwnerDashboard, OwnerOnboarding, ProviderMachine
from simulator.load.worker_node import WorkerNode, end_with
from simulator.scenario.loading import Loaded, ScenarioError, load_with_source, parse_scenario

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser
    from locust.env import Environment

    from simulator.client.access import Access

__all__ = ["AgentMarket", "Attacker", "ForumCrowd", "OwnerDashboard", "OwnerOnboarding", "ProviderMachine"]

TOKEN_VARIABLE = "HATCHFARM_API_TOKEN"  # noqa: S105 - the variable's name, not its value
CONTROL_VARIABLE = "HATCHFARM_CONDUCTOR_FD"
LIFELINE_VARIABLE = "HATCHFARM_LIFELINE_FD"
NO_SCENARIO = """\
version = 1
name = "locust"
duration = "168h"
[fleet]
machines = 20000
owners = 10
"""
USAGE_ERROR = 2
STOP_SECONDS = ANSWER_TIMEOUT_SECONDS + 1
"""How long users who stop may wait for what they have asked for: an answer that nobody waits for would be lost."""


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser, **_: Any) -> None:
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        default="",
        env_var="HATCHFARM_SCENARIO",
        include_in_web_ui=False,
        help="A scenario file: its stages, loads, attacks and rates decide which users run when",
    )
    parser.add_argument(
        "--scenario-seed",
        metavar="SEED",
        type=int,
        default=None,
        include_in_web_ui=False,
        help="What everything random follows from; the scenario's own seed by default",
    )


@events.init.add_listener
def _set_up(environment: Environment, **_: Any) -> None:
    """Make this process its node: a worker's, the master's, or both where Locust has no workers."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token:
        _refuse(f"{TOKEN_VARIABLE} is not set: it must hold the owner token of {environment.host or 'the target'}")
    environment.stop_timeout = max(environment.stop_timeout or 0.0, STOP_SECONDS)
    runner = environment.runner
    if lifeline := os.environ.pop(LIFELINE_VARIABLE, ""):
        end_with(int(lifeline))
    control = None
    if not isinstance(runner, WorkerRunner):
        if descriptor := os.environ.pop(CONTROL_VARIABLE, ""):
            control = ControlSocket(int(descriptor))
        order = control.first() if control is not None else _own_order(environment)
        _follow(environment, MasterNode(environment, order, control), order)
    if not isinstance(runner, MasterRunner):
        given = bool(lifeline) or control is not None
        WorkerNode(environment, token, _access(), token_given=given, of_conductor=bool(lifeline))


def _access() -> Access:
    try:
        return access_of(os.environ)
    except AccessError as error:
        _refuse(str(error))


def _own_order(environment: Environment) -> Order:
    """Make the order that nobody else gives: from the command line."""
    options: Any = environment.parsed_options
    if not environment.host and options.headless:
        _refuse("give the target with --host, like --host http://127.0.0.1:8080")
    path = options.scenario
    try:
        loaded = (
            load_with_source(Path(path), environ=os.environ)
            if path
            else Loaded(parse_scenario(NO_SCENARIO), NO_SCENARIO.encode())
        )
    except ScenarioError as error:
        _refuse(str(error))
    scenario, text = loaded.scenario, loaded.source.decode("utf-8")
    seed = scenario.seed if options.scenario_seed is None else options.scenario_seed
    prefix = f"owner-{time.time_ns():x}"  # noqa: TID251 - owners of their own for each run
    return Order(text, seed, environment.host or "", prefix, keep_history=False, changes=loaded.changes)


def _follow(environment: Environment, node: MasterNode, order: Order) -> None:
    """Follow the scenario in who runs when; without one, the form or the command line does, for machines."""
    options: Any = environment.parsed_options
    if order.scenario == NO_SCENARIO:
        if not options.user_classes and not options.class_picker:
            environment.user_classes = [ProviderMachine]
        return
    shape = ScenarioShape(scenario_of(order), node.elapsed_ns, node.workers)
    shape.runner = environment.runner
    environment.shape_class = shape
    environment.dispatcher_class = partial(MixDispatcher, lambda: shape.wanted)  # type: ignore[assignment]


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"hatchfarm: {why}\n")
    sys.stderr.flush()
    os._exit(USAGE_ERROR)
