"""What a world gives to those who play in it: its clocks, what carries heartbeats, and how the harness is watched.

The way to a target is the target's own (`Target.network`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Protocol

import msgspec

from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from simulator.attacks.script import SandboxOptions
    from simulator.client.target import Target
    from simulator.deployment.server_watch import ServerWatch
    from simulator.fleet.machine import Machine
    from simulator.platform.ending import Ending
    from simulator.scenario.values import ServerOptions
    from simulator.worlds.plan import Campaign


class Clock(Protocol):
    """Two clocks, in nanoseconds: one that only goes on, and Unix time."""

    def monotonic_ns(self) -> int:
        """Return the time of the one that only goes on."""

    def wall_ns(self) -> int:
        """Return Unix time."""


class Shard(Protocol):
    """Carries what `Playing` sends, for machines and attackers of single heartbeats."""

    def resume(self, machine: Machine, given_up_ns: int = NEVER_NS, /) -> None:
        """Take a machine (back) into the schedule at its `due_ns`; `given_up_ns` is a start that it could not make."""

    def stop_machine(self, machine: Machine, /) -> None:
        """Take a machine off the fleet; it keeps its registration, and the answer that it is owed still counts."""

    def launch(self, campaign: Campaign, /) -> None:
        """Begin a campaign's schedule."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def finish(self, patience_seconds: float, /) -> None:
        """Stop sending, wait for the answers that are due for a moment, and count the rest as lost."""


class Sandbox(Protocol):
    """The servers that one attempt has to itself, and what it may do to them."""

    def target(self, instance: int, /) -> Target:
        """Return an instance as a target."""

    async def begin_fault(self, kind: str, instance: int, /) -> None:
        """Begin a fault. Raises ServerError."""

    async def end_fault(self, kind: str, instance: int, /) -> None:
        """End a fault. Raises ServerError."""

    async def start_other_instances(self) -> None:
        """Start the other instances from what the first has kept. Raises ServerError."""

    def step_clock(self, by_ns: int, /) -> None:
        """Set the servers' wall clock ahead, or with a minus back."""


class Sandboxes(Protocol):
    """Where sandboxes come from."""

    def obstacle(self, wanted: SandboxOptions, options: ServerOptions, /, *, allowed: bool) -> str:
        """Return why one cannot be made; nothing when it can. `allowed`: the run's target is its own."""

    def open(
        self, wanted: SandboxOptions, options: ServerOptions, token: str, watch: ServerWatch, ending: Ending, /
    ) -> AbstractAsyncContextManager[Sandbox]:
        """Start what an attempt needs, and end it at the end, soon if `ending` is given up. Raises ServerError."""


class World(msgspec.Struct, frozen=True):
    """One world. `make_shard` takes what `worlds.live.shard.Shard` does.

    `watch` records how the harness does until cancelled, as `worlds.live.watching.watch_generator` does.
    `steady_seconds` is from one look to the next while as many machines take part as are wanted, and nothing is to
    begin before.
    """

    clock: Clock
    make_shard: Callable[..., Shard]
    watch: Callable[..., Awaitable[None]]
    sandboxes: Sandboxes
    steady_seconds: float = 0.5


def owner_prefix(wall_ns: int) -> str:
    """Begin the names of a run's owners: its own, so that a target that has seen runs before is no different."""
    return f"owner-{wall_ns:x}"
