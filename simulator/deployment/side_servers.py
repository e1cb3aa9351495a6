"""Servers that a run starts beside its own, for attacks that need settings of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.client.access import Access
from simulator.client.target import Target, parse_target
from simulator.deployment.identity_provider import IdentityProvider, identity_provider
from simulator.deployment.own import side_server

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AsyncExitStack
    from datetime import datetime

    from simulator.deployment.own import Deployment
    from simulator.deployment.server_watch import ServerWatch
    from simulator.platform.ending import Ending
    from simulator.scenario.values import Scenario


async def side_servers(
    scenario: Scenario,
    token: str,
    own: Collection[str],
    stack: AsyncExitStack,
    deployment: Deployment,
    now: datetime,
    watch: ServerWatch,
    ending: Ending | None = None,
) -> dict[str, Target]:
    """Start them, one for each set of settings, for as long as the stack is open; return them by the attack's name.

    `own` are the variables that a server of the run's own takes from the scenario alone; `now` is
    when its certificate is made. Each of them is watched, and stopped without grace once `ending` is given up.
    """
    server = scenario.server
    started: dict[frozenset[tuple[str, str]], Target] = {}
    sides = {}
    provider: IdentityProvider | None = None
    for options in scenario.attacks:
        attack = CATALOGUE[options.name]
        if issubclass(attack, ScriptAttack) and attack.sandbox is not None:
            # Beside which it may have a sandbox with what it needs.
            sides[attack.name] = parse_target(deployment.server.url, token, Access(trusted=deployment.trusted))
        if not (issubclass(attack, ScriptAttack) and attack.needs_settings):
            continue
        if server.command and server.tls:
            continue  # how it is told to speak plain HTTP is not known
        settings = dict(attack.needs_settings)
        if attack.needs_identity:
            if provider is None:
                provider = await stack.enter_async_context(identity_provider())
            settings |= provider.settings
        needed = frozenset(settings.items())
        if needed not in started:
            # Over plain HTTP whatever the run's own speaks: what REQUIRE_HTTPS refuses is nothing else.
            side = await stack.enter_async_context(side_server(server, settings, token, own, now, ending))
            watch.add(side, f"the server beside the run's, for {attack.name},", needed=False)
            started[needed] = parse_target(side.url, token)
        sides[attack.name] = started[needed]
    return sides
