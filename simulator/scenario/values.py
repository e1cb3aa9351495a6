"""The scenario as values: what a file may hold, its types and defaults. Durations are nanoseconds."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

import msgspec

from simulator import limits

SECOND_NS = 1_000_000_000
_UNITS_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_OFFSET = re.compile(r"([+-]?)(.+)")


class Duration(int):
    """A length of time in nanoseconds, written like `250ms`, `30s`, `1.5m`, `2h`."""


class Offset(int):
    """A signed length of time in nanoseconds, written like `+120s` or `-2m`."""


def parse_duration(text: str) -> Duration:
    """Read a duration. Raises ValueError, saying how one is written."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write it like '250ms', '30s', '1.5m' or '2h'")
    length_ns = round(float(match[1]) * _UNITS_NS[match[2]])
    if length_ns > limits.DURATION_MAX_SECONDS * SECOND_NS:
        raise ValueError(f"{text!r} is longer than a week")
    return Duration(length_ns)


def parse_offset(text: str) -> Offset:
    """Read a signed duration. Raises ValueError, saying how one is written."""
    match = _OFFSET.fullmatch(text)
    sign, rest = (match[1], match[2]) if match else ("", text)
    return Offset(-parse_duration(rest) if sign == "-" else parse_duration(rest))


def decode_value(kind: type, value: Any) -> Any:
    """Decode the types msgspec does not know."""
    if kind in (Duration, Offset):
        if not isinstance(value, str):
            raise ValueError("a duration is written as text, like '30s'")
        return parse_duration(value) if kind is Duration else parse_offset(value)
    raise NotImplementedError(kind)


Share = Annotated[float, msgspec.Meta(ge=0, le=1, description="A share from 0 to 1.")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=64)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ServerOptions(_Table, frozen=True, kw_only=True):
    """The server a run starts for itself; ignored with `--target`."""

    instances: Annotated[int, msgspec.Meta(ge=1)] = 1
    redis: bool = False
    settings: dict[str, str | int | float | bool] = {}


class Stage(_Table, frozen=True, kw_only=True):
    """Move evenly to `target` machines within `duration`."""

    duration_ns: Duration = msgspec.field(name="duration")
    target: Annotated[int, msgspec.Meta(ge=0, le=limits.MACHINES_MAX)]


class ClockStep(_Table, frozen=True, kw_only=True):
    """A clock that jumps by `by` at `at`."""

    at_ns: Duration = msgspec.field(name="at")
    by_ns: Offset = msgspec.field(name="by")


class ClockOptions(_Table, frozen=True, kw_only=True):
    """A share of the fleet whose clocks are wrong."""

    share: Share
    offset_ns: Offset = msgspec.field(name="offset", default_factory=Offset)
    drift_ppm: Annotated[float, msgspec.Meta(ge=-1_000_000, le=1_000_000)] = 0.0
    step: ClockStep | None = None


class SilenceOptions(_Table, frozen=True, kw_only=True):
    """A share of the fleet that sends nothing for a while."""

    share: Share
    at_ns: Duration = msgspec.field(name="at")
    duration_ns: Duration = msgspec.field(name="duration")


class FleetOptions(_Table, frozen=True, kw_only=True):
    """The machines. Without `stages` all start within five seconds or at 200 a second, whichever takes longer."""

    machines: Annotated[int, msgspec.Meta(ge=1, le=limits.MACHINES_MAX)]
    owners: Annotated[int, msgspec.Meta(ge=1, le=limits.OWNERS_MAX)] = 10
    heartbeat_interval_ns: Duration = msgspec.field(
        name="heartbeat_interval", default_factory=partial(Duration, 5 * SECOND_NS)
    )
    jitter: Share = 0.1
    certificate_rotation_ns: Duration = msgspec.field(
        name="certificate_rotation", default_factory=partial(Duration, 720 * SECOND_NS)
    )
    stages: tuple[Stage, ...] = ()
    hardware: str = "mixed"
    clocks: tuple[ClockOptions, ...] = ()
    silence: tuple[SilenceOptions, ...] = ()


class AttackOptions(_Table, frozen=True, kw_only=True):
    """One campaign: `rate` requests a second for `duration` from `start`, against a share of the honest machines."""

    name: str
    start_ns: Duration = msgspec.field(name="start")
    duration_ns: Duration = msgspec.field(name="duration")
    rate: Annotated[float, msgspec.Meta(gt=0, le=limits.ATTACK_RATE_MAX)]
    share: Share = 0.1


class Scenario(_Table, frozen=True, kw_only=True):
    """A whole scenario file."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    name: Name
    description: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 1
    duration_ns: Duration = msgspec.field(name="duration")
    metrics_interval_ns: Duration = msgspec.field(name="metrics_interval", default_factory=partial(Duration, SECOND_NS))
    server: ServerOptions = ServerOptions()
    fleet: FleetOptions
    attacks: tuple[AttackOptions, ...] = ()
    thresholds: dict[str, tuple[str, ...]] = {}


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of a scenario file, for editors."""

    def custom(kind: type) -> dict[str, Any]:
        sign = "[+-]?" if kind is Offset else ""
        return {"type": "string", "pattern": rf"^{sign}[0-9]+(\.[0-9]+)?(ms|s|m|h)$"}

    schema = msgspec.json.schema(Scenario, schema_hook=custom)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "HatchFarm Harness scenario", **schema}
