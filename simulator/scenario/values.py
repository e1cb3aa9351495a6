"""The scenario as values: what a file may hold, its types and defaults. Durations are nanoseconds."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from reference_server.wire.units import SECOND_NS, drifted_ns
from simulator import limits
from simulator.attacks import CATALOGUE
from simulator.fleet.hardware import HARDWARE
from simulator.fleet.load_users import LOAD_USERS
from simulator.scenario.kinds import Duration, Offset, Share, Table
from simulator.scenario.market_values import MarketOptions  # noqa: TC001 - a Struct resolves its annotations

OWN_RAMP_PER_SECOND = 200
OWN_RAMP_SECONDS = 5
SettingValues = dict[str, str | int | float | bool]
HEALTH = "/health"
OWNERS = 10
"""Owners where a scenario does not say how many."""
Expressions = dict[str, tuple[str, ...]]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        max_length=64,
        description="What the run is called, and its folder of results.",
    ),
]


def as_environ(values: SettingValues) -> dict[str, str]:
    """Return values as environment variables hold them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


class ServerOptions(Table, frozen=True, kw_only=True):
    """The server a run starts for itself; with `--target` none, and the settings say how the target must be set up."""

    instances: Annotated[
        int,
        Meta(ge=1, le=limits.INSTANCES_MAX, description="Servers to start, which share all state through Redis."),
    ] = 1
    redis: Annotated[bool, Meta(description="Start a redis-server for it, and keep nonces there.")] = False
    durable: Annotated[
        bool, Meta(description="Let it keep its state in a file of the run's own, so that a restart forgets nothing.")
    ] = False
    tls: Annotated[
        bool,
        Meta(description="Let it speak TLS, and so HTTP/2 as well, by a certificate that the run makes and trusts."),
    ] = False
    settings: Annotated[
        SettingValues,
        Meta(description="The server's environment variables; `hatchfarm serve --help` lists them."),
    ] = msgspec.field(default_factory=dict)
    command: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="A program to start in place of the reference server, and its arguments: `{port}` stands for "
            "its environment variable PORT, and so on. A path is relative to where the run is started.",
        ),
    ] = ()
    env: Annotated[
        SettingValues,
        Meta(description="Variables of the command's environment besides `settings`; `{port}` and its like as above."),
    ] = msgspec.field(default_factory=dict)
    health: Annotated[
        str,
        Meta(pattern=r"^/[!-~]*$", description="The path at which the command answers 2xx once it is ready."),
    ] = HEALTH

    def environ(self) -> dict[str, str]:
        """Return the settings as the environment holds them."""
        return as_environ(self.settings)


class TargetOptions(Table, frozen=True, kw_only=True):
    """What is known of a deployment that `--target` names; without it none of this counts."""

    addresses: Annotated[
        Literal["", "own", "shared"],
        Meta(
            description="`shared` where the server sees all machines at one address, as behind a published container "
            "port; `own` where it tells their addresses apart; found out by default."
        ),
    ] = ""


class Stage(Table, frozen=True, kw_only=True):
    """Move evenly to `target` machines, or users, within `duration`."""

    duration_ns: Annotated[Duration, Meta(description="How long the move takes.")] = msgspec.field(name="duration")
    target: Annotated[int, Meta(ge=0, le=limits.MACHINES_MAX, description="Machines, or users, at the stage's end.")]


class ClockStep(Table, frozen=True, kw_only=True):
    """A clock that jumps by `by` at `at`."""

    at_ns: Annotated[Duration, Meta(description="When, from the start of the run.")] = msgspec.field(name="at")
    by_ns: Annotated[Offset, Meta(description="How far: ahead, or with a minus back.")] = msgspec.field(name="by")


class ClockOptions(Table, frozen=True, kw_only=True):
    """A share of the fleet whose clocks are wrong."""

    share: Share
    offset_ns: Annotated[Offset, Meta(description="How far off from the start: ahead, or with a minus behind.")] = (
        msgspec.field(name="offset", default_factory=Offset)
    )
    drift_ppm: Annotated[
        float,
        Meta(ge=-1_000_000, le=1_000_000, description="Microseconds gained a second; with a minus lost."),
    ] = 0.0
    step: Annotated[ClockStep | None, Meta(description="One jump during the run.")] = None


class SilenceOptions(Table, frozen=True, kw_only=True):
    """A share of the fleet that sends nothing for a while."""

    share: Share
    at_ns: Annotated[Duration, Meta(description="When, from the start of the run.")] = msgspec.field(name="at")
    duration_ns: Annotated[Duration, Meta(description="For how long.")] = msgspec.field(name="duration")


class FleetOptions(Table, frozen=True, kw_only=True):
    """The machines. Without `stages` all start within five seconds or at 200 a second, whichever takes longer."""

    machines: Annotated[int, Meta(ge=1, le=limits.MACHINES_MAX, description="The size of the whole fleet.")]
    owners: Annotated[int, Meta(ge=1, le=limits.OWNERS_MAX, description="Owners, who share the machines evenly.")] = (
        OWNERS
    )
    heartbeat_interval_ns: Annotated[
        Duration, Meta(description="From one heartbeat of a machine to its next; 5s by default.")
    ] = msgspec.field(name="heartbeat_interval", default_factory=partial(Duration, 5 * SECOND_NS))
    processes: Annotated[
        int,
        Meta(
            ge=1,
            le=limits.SHARDS_MAX,
            description="Processes that play the machines, conducted by Locust where there are several.",
        ),
    ] = 1
    jitter: Annotated[Share, Meta(description="The share of the interval by which each one varies at random.")] = 0.1
    certificate_rotation_ns: Annotated[
        Duration, Meta(description="How old a machine lets its certificate become; 12m by default and at most.")
    ] = msgspec.field(name="certificate_rotation", default_factory=partial(Duration, 720 * SECOND_NS))
    stages: Annotated[
        tuple[Stage, ...], Meta(description="How many machines take part when, one stage after the other.")
    ] = ()
    hardware: Annotated[str, Meta(description="The kind of machines.", extra_json_schema={"enum": list(HARDWARE)})] = (
        "mixed"
    )
    clocks: Annotated[tuple[ClockOptions, ...], Meta(description="Shares of the fleet whose clocks are wrong.")] = ()
    silence: Annotated[tuple[SilenceOptions, ...], Meta(description="Shares of the fleet that fall silent.")] = ()

    @property
    def own_ramp_ns(self) -> float:
        """How long all machines take to start where no `stages` say so."""
        return max(OWN_RAMP_SECONDS, self.machines / OWN_RAMP_PER_SECOND) * SECOND_NS


class AttackOptions(Table, frozen=True, kw_only=True):
    """One campaign: `rate` requests a second for `duration` from `start`, against a share of the honest machines."""

    name: Annotated[
        str,
        Meta(description="An attack; `hatchfarm attack list` explains them.", extra_json_schema={"enum": [*CATALOGUE]}),
    ]
    start_ns: Annotated[Duration, Meta(description="When, from the start of the run.")] = msgspec.field(name="start")
    duration_ns: Annotated[Duration, Meta(description="For how long.")] = msgspec.field(name="duration")
    rate: Annotated[float, Meta(gt=0, le=limits.ATTACK_RATE_MAX, description="Hostile requests a second.")]
    share: Annotated[Share, Meta(description="The share of the machines with right clocks that are its victims.")] = 0.1


class LoadOptions(Table, frozen=True, kw_only=True):
    """Users of one kind, who come and go: as many as the stages say, each acting `rate` times a second."""

    user: Annotated[
        str,
        Meta(
            description="`owner-dashboard` reads what an owner's dashboard shows; `owner-onboarding` registers "
            "machines, consents, rotates and revokes; `agent-market` is an agent that looks at prices, posts, watches "
            "and cancels jobs, and withdraws; `forum-crowd` reads and writes in the forum.",
            extra_json_schema={"enum": [*LOAD_USERS]},
        ),
    ]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, description="How many users when, one after the other.")]
    rate: Annotated[
        float,
        Meta(gt=0, le=limits.USER_RATE_MAX, description="What each user asks a second; 1 by default."),
    ] = 1.0


FAULTS = {
    "server.kill": "kill -9, and start again when it has been down for `duration`",
    "server.restart": "stop it in order, and start again when it has been down for `duration`",
    "server.pause": "stop the process where it stands for `duration`",
    "disk.full": "let the server write no byte to any file for `duration`",
    "redis.down": "kill -9, and start again, with all that it had acknowledged, after `duration`",
    "redis.pause": "stop the process where it stands for `duration`",
    "redis.flush": "let it forget everything it holds",
    "redis.crash": "kill -9, and start again after `duration` without what it was told in its last second",
    "server.clock": "set its wall clock ahead by `by`, with a minus back, and have it drift, for `duration`",
    "network.latency": "let bytes take `latency` longer each way, `jitter` more or less",
    "network.reordering": "hold back a `share` of requests for up to `latency`, so that others overtake them",
    "network.loss": "reset a `share` of connections in place of passing on a request",
    "network.cut": "close a `share` of connections in the middle of an answer",
    "network.duplication": "send a `share` of accepted heartbeats again, as a middlebox that retries",
    "network.partition": "let nothing pass either way for `duration`; connections stay open",
}
LATE_NETWORK_FAULTS = frozenset({"network.latency", "network.reordering"})
"""Those that make bytes come later, and need to be told by how much."""
SHARED_NETWORK_FAULTS = frozenset({"network.reordering", "network.loss", "network.cut", "network.duplication"})
"""Those that happen to a share of what passes."""
PARTITION = "network.partition"
NETWORK_FAULTS = LATE_NETWORK_FAULTS | SHARED_NETWORK_FAULTS | {PARTITION}
CLOCK_FAULT, CRASH_FAULT = "server.clock", "redis.crash"
LASTING_FAULTS = frozenset({"server.pause", "disk.full", "redis.down", "redis.pause", CLOCK_FAULT}) | NETWORK_FAULTS
"""Those that are none without a length."""
DOWN_FAULTS = frozenset({"server.kill", "server.restart"})
"""Those after which a server begins anew, with what it has kept."""
READING_FAULTS = DOWN_FAULTS | {"disk.full"}
"""Those after which a server reads what it has kept: after a full disk, too, as what was refused must be gone."""


class FaultOptions(Table, frozen=True, kw_only=True):
    """Something that goes wrong with what the run has started for itself."""

    kind: Annotated[
        str,
        Meta(
            description="; ".join(f"`{kind}`: {what}" for kind, what in FAULTS.items()) + ".",
            extra_json_schema={"enum": [*FAULTS]},
        ),
    ]
    at_ns: Annotated[Duration, Meta(description="When, from the start of the run.")] = msgspec.field(name="at")
    duration_ns: Annotated[Duration, Meta(description="For how long; as short as can be by default.")] = msgspec.field(
        name="duration", default_factory=Duration
    )

    instance: Annotated[int, Meta(ge=0, description="Which server it happens to, counted from 0.")] = 0
    share: Annotated[Share, Meta(description="Of `network.*`, the share of what passes that it happens to.")] = 1.0
    latency_ns: Annotated[
        Duration, Meta(description="Of `network.latency` and `network.reordering`, how much later bytes come.")
    ] = msgspec.field(name="latency", default_factory=Duration)
    jitter_ns: Annotated[
        Duration, Meta(description="Of `network.latency`, by how much it varies at random, either way.")
    ] = msgspec.field(name="jitter", default_factory=Duration)

    by_ns: Annotated[
        Offset, Meta(description="Of `server.clock`, how far the clock is set: ahead, or with a minus back.")
    ] = msgspec.field(name="by", default_factory=Offset)
    drift_ppm: Annotated[
        float,
        Meta(ge=-1_000_000, le=1_000_000, description="Of `server.clock`, how wrong it goes."),
    ] = 0.0

    @property
    def clock_bounds_ns(self) -> tuple[int, int]:
        """Return how far ahead a clock may be meanwhile, at least and at most."""
        by_ns = int(self.by_ns)
        end_ns = by_ns + drifted_ns(self.drift_ppm, self.duration_ns)
        return min(0, by_ns, end_ns), max(0, by_ns, end_ns)

    @property
    def subject(self) -> str:
        """Name what it happens to: two faults of one subject must not overlap."""
        if self.kind == CLOCK_FAULT:
            return f"the clock of server {self.instance}"
        if self.kind in NETWORK_FAULTS:
            return f"the network before server {self.instance}"
        return "Redis" if self.kind.startswith("redis.") else f"server {self.instance}"


class AbortOptions(Table, frozen=True, kw_only=True):
    """A threshold that ends the run, and fails it, as soon as it does not hold."""

    metric: Annotated[str, Meta(description="What it is about, of what is known while the run goes on.")]
    threshold: Annotated[str, Meta(description="What must hold, like `p(99)<2s`.")]
    delay_ns: Annotated[
        Duration, Meta(description="From when on it is looked at, from the start of the run; at once by default.")
    ] = msgspec.field(name="delay", default_factory=Duration)


class Scenario(Table, frozen=True, kw_only=True):
    """A whole scenario file."""

    version: Annotated[int, Meta(ge=1, le=1, description="The version of this format.")]
    name: Name
    description: Annotated[str, Meta(description="What the run proves, in a sentence.")] = ""
    seed: Annotated[
        int, Meta(ge=0, le=limits.SEED_MAX, description="What everything random follows from; `--seed` overrides it.")
    ] = 1
    duration_ns: Annotated[Duration, Meta(description="How long the run takes.")] = msgspec.field(name="duration")
    metrics_interval_ns: Annotated[
        Duration, Meta(description="From one look at the server's metrics to the next; 1s by default.")
    ] = msgspec.field(name="metrics_interval", default_factory=partial(Duration, SECOND_NS))
    server: Annotated[ServerOptions, Meta(description="The server a run starts for itself.")] = ServerOptions()
    target: Annotated[TargetOptions, Meta(description="What is known of a deployment given by --target.")] = (
        TargetOptions()
    )
    fleet: Annotated[FleetOptions, Meta(description="The machines.")]
    attacks: Annotated[tuple[AttackOptions, ...], Meta(description="Attack campaigns.")] = ()
    faults: Annotated[tuple[FaultOptions, ...], Meta(description="What goes wrong with the run's own server.")] = ()
    load: Annotated[tuple[LoadOptions, ...], Meta(description="What owners and agents do meanwhile.")] = ()
    market: Annotated[
        MarketOptions | None, Meta(description="Agents, jobs and money. Without it no machine offers anything.")
    ] = None
    thresholds: Annotated[
        Expressions,
        Meta(description="What must hold, by metric: expressions like `p(99)<250ms`, `rate>0.999` or `count==0`."),
    ] = msgspec.field(default_factory=dict)
    abort_on_fail: Annotated[
        tuple[AbortOptions, ...], Meta(description="Thresholds that end the run early as soon as they do not hold.")
    ] = ()

    @property
    def clocks_apart_ns(self) -> int:
        """Return by how much the wall clocks of instances that share what they know may differ."""
        bounds = [one.clock_bounds_ns for one in self.faults] if self.server.instances > 1 else []
        return max((high for _, high in bounds), default=0) - min((low for low, _ in bounds), default=0)

    @property
    def judged_thresholds(self) -> Expressions:
        """Return every threshold that the run is judged by: those that end it early, too."""
        judged = {metric: [*expressions] for metric, expressions in self.thresholds.items()}
        for one in self.abort_on_fail:
            expressions = judged.setdefault(one.metric, [])
            if one.threshold not in expressions:
                expressions.append(one.threshold)
        return {metric: tuple(expressions) for metric, expressions in judged.items()}
