"""The interface of a world: its clocks, its shards, its sandboxes, and the watch on the harness.

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
    """A monotonic clock and Unix time, in nanoseconds."""

    def monotonic_ns(self) -> int:
        """Return monotonic time."""

    def wall_ns(self) -> int:
        """Return Unix time."""


class Shard(Protocol):
    """Carries the requests of `Playing`, for machines and attackers of single heartbeats."""

    def resume(self, machine: Machine, given_up_ns: int = NEVER_NS, /) -> None:
        """Take a machine (back) into the schedule at its `due_ns`; `given_up_ns` is a start that it could not make."""

    def stop_machine(self, machine: Machine, /) -> None:
        """Take a machine off the fleet; it keeps its registration, and the answer that it is owed still counts."""

    def launch(self, campaign: Campaign, /) -> None:
        """Begin a campaign's schedule."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def finish(self, patience_seconds: float, /) -> None:
        """Stop sending, wait for pending answers up to `patience_seconds`, and count the rest as lost."""


class Sandbox(Protocol):
    """The servers that one attempt has to itself, and the faults it may inject."""

    def target(self, instance: int, /) -> Target:
        """Return an instance as a target."""

    async def begin_fault(self, kind: str, instance: int, /) -> None:
        """Begin a fault. Raises ServerError."""

    async def end_fault(self, kind: str, instance: int, /) -> None:
        """End a fault. Raises ServerError."""

    async def start_other_instances(self) -> None:
        """Start the other instances from the first one's stored state. Raises ServerError."""

    def step_clock(self, by_ns: int, /) -> None:
        """Set the servers' wall clock ahead by `by_ns`, or back if it is negative."""


class Sandboxes(Protocol):
    """A factory of sandboxes."""

    def obstacle(self, wanted: SandboxOptions, options: ServerOptions, /, *, allowed: bool) -> str:
        """Return why a sandbox cannot be made, or an empty text.

        `allowed` says that the run's target is its own server.
        """

    def open(
        self, wanted: SandboxOptions, options: ServerOptions, token: str, watch: ServerWatch, ending: Ending, /
    ) -> AbstractAsyncContextManager[Sandbox]:
        """Start an attempt's servers, and stop them at the end, quickly if `ending` is given up. Raises ServerError."""


class World(msgspec.Struct, frozen=True):
    """One world. `make_shard` takes what `worlds.live.shard.Shard` does.

    `watch` records the harness's health until cancelled, as `worlds.live.watching.watch_generator` does.
    `steady_seconds` is the interval between looks at the fleet while the number of machines does not change.
    """

    clock: Clock
    make_shard: Callable[..., Shard]
    watch: Callable[..., Awaitable[None]]
    sandboxes: Sandboxes
    steady_seconds: float = 0.5


def owner_prefix(wall_ns: int) -> str:
    """Return the prefix of a run's owner ids, unique to the run, so that earlier runs on a target do not matter."""
    return f"owner-{wall_ns:x}"
