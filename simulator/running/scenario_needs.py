"""The needs of one scenario on this computer and its target, and warnings about a target that limit what it proves."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.deployment.command_server import missing_program
from simulator.deployment.redis_process import PROGRAM
from simulator.limits import SCRIPT_CONNECTIONS_MAX, SCRIPTS_MAX_CONCURRENT
from simulator.platform.wording import plural
from simulator.running.doctor import Check
from simulator.scenario.metrics import MEMORY
from simulator.scenario.values import NETWORK_FAULTS

if TYPE_CHECKING:
    from simulator.client.target import Target
    from simulator.scenario.values import Scenario, ServerOptions


def check_scenario(scenario: Scenario, target: Target | None) -> list[Check]:
    """Return the checks of a scenario's needs other than its attacks, for a target, or for its own server if None."""
    return _checks_of_own_server(scenario.server) if target is None else _checks_of_target(scenario, target)


def _checks_of_own_server(server: ServerOptions) -> list[Check]:
    checks = []
    if server.redis:
        where = shutil.which(PROGRAM)
        hint = f"the scenario has `redis = true`: install {PROGRAM} (Debian's package is called so), or take it out"
        checks.append(
            Check("its Redis", where is not None, where or f"no {PROGRAM} on the PATH", hint, fatal=where is None)
        )
    if server.command:
        problem = missing_program(server.command[0])
        found = problem or f"{server.command[0]} is there"
        hint = "see [server] command of the scenario"
        checks.append(Check("its command", not problem, found, hint, fatal=bool(problem)))
    return checks


def _checks_of_target(scenario: Scenario, target: Target) -> list[Check]:
    checks = []
    if scenario.faults:
        kinds = ", ".join(dict.fromkeys(fault.kind for fault in scenario.faults))
        hint = "leave --target away, or take [[faults]] out of a copy of the scenario"
        found = f"{kinds} happen to what the run has started, not to {target.url}"
        checks.append(Check("faults", right=False, found=found, hint=hint, fatal=True))
    if MEMORY in scenario.judged_thresholds:
        hint = "it is left out: only of a server that the run starts itself can it be seen"
        checks.append(Check("thresholds", right=False, found=f"{MEMORY} is not judged", hint=hint))
    return checks


def faults_problem(scenario: Scenario) -> str:
    """Return why a scenario with faults cannot be played on a given target; empty if it has no faults."""
    if not scenario.faults:
        return ""
    kinds = ", ".join(dict.fromkeys(fault.kind for fault in scenario.faults))
    return (
        f"the scenario's faults ({kinds}) happen to processes that the run has started itself: leave --target "
        "away, or take [[faults]] out of a copy of the scenario"
    )


def connections_held(scenario: Scenario) -> int:
    """Return the most connections that a scenario's attacks hold at once, with both ends of the run's own network."""
    held = 0
    for options in scenario.attacks:
        attack = CATALOGUE[options.name]
        if issubclass(attack, ScriptAttack):
            attempts = math.ceil(options.rate * options.duration_ns / SECOND_NS)
            held += attack.connections * max(1, min(attempts, SCRIPTS_MAX_CONCURRENT))
    held = min(held, SCRIPT_CONNECTIONS_MAX)
    if any(fault.kind in NETWORK_FAULTS for fault in scenario.faults):
        held += 2 * (held + scenario.fleet.machines)  # both ends of the run's own network
    return held


def target_warnings(target: Target, workers: int, *, over_hosts: bool) -> list[str]:
    """Return warnings about a target before a run; `workers` is the number of workers that it already has."""
    warnings = []
    if not target.own_addresses:
        who = "the machines of one host share its" if over_hosts else "all machines share one"
        what = "each host" if over_hosts else "the whole fleet"
        warnings.append(f"{who} address, so the server's per-IP limits count {what} as one client")
    if workers:
        warnings.append(
            f"the target already has {plural(workers, 'worker')}: whatever they do widens what the checkers must "
            "allow, and when they go stale its alert fires, whatever this run does. Start it anew, or judge a fresh one"
        )
    return warnings
