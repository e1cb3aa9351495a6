"""The result of a search for a capacity, as values and as `capacity.json`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.capacity.search import Interval, Search  # noqa: TC001 - the schema is made from the annotations
from simulator.capacity.step import Step  # noqa: TC001 - as above
from simulator.platform.output_files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 1
FILE = "capacity.json"


class Conclusion(StrEnum):
    """How a search ended.

    FOUND: the server's limit is between the interval's ends. AT_LEAST: the highest rate allowed still held. HARNESS:
    the harness was the limit, so the server bears at least the rate that held. NOTHING_HELD: not even the lowest rate
    held. UNFINISHED: the search ended early, with what was known by then. For a required rate: AT_LEAST if it held,
    TOO_SLOW if the server broke a limit, and HARNESS if the harness did.
    """

    FOUND = "found"
    AT_LEAST = "at_least"
    HARNESS = "harness"
    NOTHING_HELD = "nothing_held"
    TOO_SLOW = "too_slow"
    UNFINISHED = "unfinished"


EXIT_CODES = {
    Conclusion.FOUND: 0,
    Conclusion.AT_LEAST: 0,
    Conclusion.TOO_SLOW: 1,
    Conclusion.HARNESS: 3,
    Conclusion.NOTHING_HELD: 3,
    Conclusion.UNFINISHED: 3,
}
"""Exit codes. 3 means that the server's capacity is not known; 2 is a usage, scenario or reachability error."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a search. Rates are heartbeats per second of the whole fleet.

    `width` is the width of the interval as a share of its upper end, None if it has no upper end; `wide` is true if the
    width is more than the `precision` asked for. `limit` is the first limit that broke at `interval.failed`.
    `ended_early` says why the search ended early, if it did. `required` is the rate tried, if one was required.
    """

    schema_version: int = SCHEMA_VERSION
    scenario: str
    seed: int
    target: str
    started_at: str
    conclusion: Conclusion
    exit_code: int
    precision: float
    interval: Interval
    width: float | None
    wide: bool
    limit: str
    why: str
    ended_early: str
    notes: list[str]
    thresholds: dict[str, tuple[str, ...]]
    steps: list[Step]
    summary: str
    required: int | None = None


class SearchRequest(msgspec.Struct, frozen=True):
    """The parameters of a search, which its result repeats."""

    scenario: str
    seed: int
    target: str
    started_at: str
    precision: float
    highest: int
    notes: list[str]
    thresholds: dict[str, tuple[str, ...]]
    required: int | None = None


def conclude(asked: SearchRequest, search: Search, steps: list[Step], ended_early: str) -> Capacity:
    """Return the result of a search; `ended_early` is the reason if it ended early, else empty."""
    interval = search.interval()
    width = interval.width
    conclusion = _conclusion(interval, search, ended_early, required=asked.required is not None)
    broken = next((one for one in steps if one.rate == interval.failed and one.limit), None)
    wide = (
        conclusion in {Conclusion.FOUND, Conclusion.HARNESS}
        and asked.required is None
        and (width is None or width > asked.precision)
    )
    limit, why = (broken.limit, broken.why) if broken else ("", "")
    return Capacity(
        scenario=asked.scenario,
        seed=asked.seed,
        target=asked.target,
        started_at=asked.started_at,
        conclusion=conclusion,
        exit_code=EXIT_CODES[conclusion],
        precision=asked.precision,
        interval=interval,
        width=width,
        wide=wide,
        limit=limit,
        why=why,
        ended_early=ended_early,
        notes=asked.notes,
        thresholds=asked.thresholds,
        steps=steps,
        summary=_summary(conclusion, interval, limit, ended_early, asked.required)
        + (_width_text(asked, width) if wide else ""),
        required=asked.required,
    )


def _conclusion(interval: Interval, search: Search, ended_early: str, *, required: bool) -> Conclusion:
    if ended_early:
        return Conclusion.UNFINISHED
    if interval.held is None and required:
        return Conclusion.HARNESS if search.harness_was_the_limit() else Conclusion.TOO_SLOW
    if interval.held is None:
        return Conclusion.NOTHING_HELD
    if interval.failed is None:
        return Conclusion.AT_LEAST
    return Conclusion.HARNESS if search.harness_was_the_limit() else Conclusion.FOUND


def _summary(conclusion: Conclusion, interval: Interval, limit: str, ended_early: str, required: int | None) -> str:
    held, failed = interval.held, interval.failed
    match conclusion:
        case Conclusion.TOO_SLOW:
            return f"Too slow: {required}/s is required, and at that rate {limit} broke"
        case Conclusion.AT_LEAST if required is not None:
            return f"Fast enough: {required}/s is required, and held"
        case Conclusion.HARNESS if required is not None:
            return (
                f"The harness itself was the limit at {failed}/s: whether the server bears the {required}/s that are "
                "required is not known"
            )
        case Conclusion.FOUND:
            return (
                f"Capacity: {held}/s (between {_rate(interval.low)} and {_rate(interval.high)}); "
                f"at {failed}/s the first limit to break was {limit}"
            )
        case Conclusion.AT_LEAST:
            return f"Capacity: at least {held}/s, the highest rate allowed: give a higher --max-rate to find more"
        case Conclusion.HARNESS:
            return (
                f"The harness itself was the limit at {failed}/s (between {_rate(interval.low)} and "
                f"{_rate(interval.high)}); the server's capacity is at least {held}/s"
            )
        case Conclusion.NOTHING_HELD:
            return f"Not even {failed}/s held: {limit} broke; give a lower --min-rate"
        case _:
            known = "nothing had held by then" if held is None else f"up to then {held}/s was the highest that held"
            return f"Ended early: {ended_early}; {known}"


def _rate(rate: int | None) -> str:
    return "what is not known" if rate is None else f"{rate}/s"


def _width_text(asked: SearchRequest, width: float | None) -> str:
    spread = "open" if width is None else f"{width:.0%} wide"
    return f". Trials contradicted each other: the interval is {spread}, not the {asked.precision:.0%} asked for"


def capacity_schema() -> dict[str, Any]:
    """Return the JSON Schema of `capacity.json`."""
    schema = msgspec.json.schema(Capacity)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "HatchFarm Harness capacity", **schema}


def write_capacity(capacity: Capacity, folder: Path) -> Path:
    """Write `capacity.json` into a new folder, whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    write_whole(path, [msgspec.json.format(msgspec.json.encode(capacity), indent=2) + b"\n"], follow=False)
    return path
