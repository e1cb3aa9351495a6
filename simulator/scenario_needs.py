"""What one scenario needs of this machine and its target, and which of its attacks cannot be tried there."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from simulator.attacks import CATALOGUE
from simulator.attacks.limits import PEERS_MIN, RotatedAddress
from simulator.attacks.script import ScriptAttack
from simulator.command_server import missing_program
from simulator.doctor import Check
from simulator.redis_process import PROGRAM
from simulator.scenario.thresholds import MEMORY
from simulator.wording import plural
from simulator.worlds.backstage import obstacle_to
from simulator.worlds.target import peers_of

if TYPE_CHECKING:
    from simulator.scenario.values import Scenario, ServerOptions
    from simulator.worlds.target import Target


def check_scenario(scenario: Scenario, target: Target | None) -> list[Check]:
    """Look at what a scenario needs, against a target or a server of its own."""
    checks = _checks_of_own_server(scenario.server) if target is None else _checks_of_target(scenario, target)
    reasons: dict[str, list[str]] = {}
    names = sorted({attack.name for attack in scenario.attacks})
    for name in names:
        if reason := _not_tried(name, scenario.server, target):
            reasons.setdefault(reason, []).append(name)
    left_out = sum(map(len, reasons.values()))
    if names and not left_out:
        checks.append(Check("attacks", right=True, found=f"{plural(len(names), 'attack')}, all of which can be tried"))
    for reason, which in reasons.items():
        found = f"{len(which)} of {plural(len(names), 'attack')} not tried: {', '.join(which)}"
        checks.append(Check("attacks", right=False, found=found, mend=reason))
    return checks


def _checks_of_own_server(server: ServerOptions) -> list[Check]:
    checks = []
    if server.redis:
        where = shutil.which(PROGRAM)
        mend = f"the scenario has `redis = true`: install {PROGRAM} (Debian's package is called so), or take it out"
        checks.append(
            Check("its Redis", where is not None, where or f"no {PROGRAM} on the PATH", mend, fatal=where is None)
        )
    if server.command:
        problem = missing_program(server.command[0])
        found = problem or f"{server.command[0]} is there"
        mend = "see [server] command of the scenario"
        checks.append(Check("its command", not problem, found, mend, fatal=bool(problem)))
    return checks


def _checks_of_target(scenario: Scenario, target: Target) -> list[Check]:
    checks = []
    if scenario.faults:
        kinds = ", ".join(dict.fromkeys(fault.kind for fault in scenario.faults))
        mend = "leave --target away, or take [[faults]] out of a copy of the scenario"
        found = f"{kinds} happen to what the run has started, not to {target.url}"
        checks.append(Check("faults", right=False, found=found, mend=mend, fatal=True))
    if MEMORY in scenario.thresholds:
        mend = "it is left out: only of a server that the run starts itself can it be seen"
        checks.append(Check("thresholds", right=False, found=f"{MEMORY} is not judged", mend=mend))
    return checks


def _not_tried(name: str, server: ServerOptions, target: Target | None) -> str:
    """Say why an attack cannot be tried, as far as that is known before a run; nothing where it can."""
    attack = CATALOGUE[name]
    if not issubclass(attack, ScriptAttack):
        return ""
    if attack.staging is not None:
        return obstacle_to(attack.staging, server, allowed=target is None)
    if attack.needs_settings and (target is not None or (server.command and server.tls)):
        needs = " ".join(f"{setting}={value}" for setting, value in attack.needs_settings.items())
        return f"it needs a server of the run's own that speaks plain HTTP, started with {needs}"
    if attack.needs_http2 and not (server.tls if target is None else target.tls):
        return "it needs a target that speaks HTTP/2, over TLS"
    if issubclass(attack, RotatedAddress) and (target is None or len(peers_of(target)) < PEERS_MIN):
        return f"it needs a target at an IPv6 address of this machine, and {PEERS_MIN} others within one /64"
    return ""
