"""What an order means to those who play it: the scenario with what is known of the target, and the target itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.client.access import Access
from simulator.client.target import parse_target
from simulator.judging.facts import with_settings
from simulator.scenario.loading import parse_scenario

if TYPE_CHECKING:
    from simulator.client.target import Target
    from simulator.load.messages import Order
    from simulator.scenario.values import Scenario


def scenario_of(order: Order) -> Scenario:
    """Return the scenario. Raises ScenarioError."""
    return with_settings(parse_scenario(order.scenario, changes=order.changes), order.settings)


def target_of(order: Order, token: str, access: Access) -> Target:
    """Return the target, as this process reaches it. Raises TargetError."""
    target = parse_target(order.target, token, access, order.addresses)
    return msgspec.structs.replace(
        target, lacks=order.lacks, others=order.others, addresses_known=order.addresses_known,
        settings_known=order.settings_known,
    )  # fmt: skip


def sides_of(order: Order, token: str, access: Access) -> dict[str, Target]:
    """Return the servers of attacks that need one of their own; those that speak TLS do as the run's own does."""
    sides = {
        name: parse_target(url, token, access if url.startswith("https:") else Access())
        for name, url in order.sides.items()
    }
    return {name: msgspec.structs.replace(side, lacks=order.lacks) for name, side in sides.items()}
