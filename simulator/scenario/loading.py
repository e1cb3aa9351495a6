"""Reading scenario files strictly: every refusal names the place, what is wrong there, and the way out."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

from simulator import limits
from simulator.attacks import CATALOGUE
from simulator.fleet.hardware import HARDWARE
from simulator.scenario.thresholds import ThresholdError, parse_threshold
from simulator.scenario.values import Scenario, decode_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PLACE = re.compile(r" - at `\$\.?(.*?)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")
_MISSING = re.compile(r"Object missing required field `(.*?)`")
LATER = {
    "faults": "faults",
    "load": "owner and agent load",
}
"""Sections of the scenario format that this version does not run."""


class ScenarioError(Exception):
    """A scenario file that cannot be run; the message is for people and names the place."""


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file. Raises ScenarioError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); scenarios are TOML files, see scenarios/"
        ) from None
    if len(raw) > limits.SCENARIO_MAX_BYTES:
        raise ScenarioError(f"{path}: larger than {limits.SCENARIO_MAX_BYTES} bytes, which is no scenario")
    try:
        return parse_scenario(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise ScenarioError(f"{path}: not UTF-8 text") from None
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def parse_scenario(text: str) -> Scenario:
    """Read a scenario's text. Raises ScenarioError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"not TOML: {error}") from None
    for section, what in LATER.items():
        if section in table:
            raise ScenarioError(f"{section}: this version does not run {what} yet: remove the section")
    try:
        scenario = msgspec.convert(table, Scenario, dec_hook=decode_value)
    except msgspec.ValidationError as error:
        raise ScenarioError(_explain(str(error), table, text)) from None
    problems = list(_problems(scenario))
    if problems:
        raise ScenarioError("; ".join(f"{_line(text, place)}{place}: {problem}" for place, problem in problems))
    return scenario


def _nearest(name: str, names: Iterable[str]) -> str:
    options = sorted(names)
    close = difflib.get_close_matches(name, options, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"one of {', '.join(options)}"


def _known_keys(place: str) -> list[str]:
    """Name the keys a table of the file may have, by asking the struct behind it."""
    kind: Any = Scenario
    for part in filter(None, re.split(r"[.\[\]]+", re.sub(r"\[\.\.\.\]|\[[0-9]+\]", "", place))):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        kind = fields.get(part)
        arguments = [argument for argument in getattr(kind, "__args__", ()) if isinstance(argument, type)]
        structs = [argument for argument in arguments if issubclass(argument, msgspec.Struct)]
        kind = structs[0] if structs else kind
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _explain(message: str, table: dict[str, Any], text: str) -> str:
    """Turn msgspec's message into one that names the key, its line, and the way out."""
    match = _PLACE.search(message)
    place = match[1] if match else ""
    what = message[: match.start()] if match else message
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        keys = _known_keys(place)
        where = f"{place}.{unknown[1]}".lstrip(".")
        return f"{_line(text, where)}{where}: unknown key; {_nearest(unknown[1], keys)}"
    if missing:
        where = f"{place}.{missing[1]}".lstrip(".")
        return f"{where}: missing; every scenario needs it" if not place else f"{where}: missing; add it to [{place}]"
    value: Any = table
    for part in filter(None, re.split(r"[.\[\]]+", place)):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    shown = f" (it is {value!r})" if isinstance(value, str | int | float | bool) and repr(value) not in what else ""
    return f"{_line(text, place)}{place or 'the file'}: {what[0].lower()}{what[1:].replace('`', '')}{shown}"


def _line(text: str, place: str) -> str:
    """Find the line a key stands on, by its last name; empty when it stands on several or on none."""
    key = re.sub(r"\[.*?\]", "", place).rpartition(".")[2].strip('"')
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if key and re.match(rf'\s*(\[+{re.escape(key)}\b|"?{re.escape(key)}"?\s*=|\[+[\w.]*\.{re.escape(key)}\])', line)
    ]
    return f"line {lines[0]}: " if len(lines) == 1 else ""


def _problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Find what is well-formed but makes no sense."""
    for name, duration_ns in (
        ("duration", scenario.duration_ns),
        ("metrics_interval", scenario.metrics_interval_ns),
        ("fleet.heartbeat_interval", scenario.fleet.heartbeat_interval_ns),
        ("fleet.certificate_rotation", scenario.fleet.certificate_rotation_ns),
    ):
        if duration_ns <= 0:
            yield name, "must be longer than nothing"
    yield from _fleet_problems(scenario)
    if len(scenario.attacks) > limits.ATTACKS_MAX:
        yield "attacks", f"more than {limits.ATTACKS_MAX} campaigns"
    for number, attack in enumerate(scenario.attacks):
        if attack.name not in CATALOGUE:
            yield f"attacks[{number}].name", f"unknown attack {attack.name!r}; {_nearest(attack.name, CATALOGUE)}"
        if attack.start_ns >= scenario.duration_ns:
            yield f"attacks[{number}].start", "begins after the run has ended"
    if scenario.server.redis:
        yield "server.redis", "this version does not start Redis yet: remove it"
    if scenario.server.instances != 1:
        yield "server.instances", "this version runs one instance: remove it"
    for metric, expressions in scenario.thresholds.items():
        for expression in expressions:
            try:
                parse_threshold(metric, expression)
            except ThresholdError as error:
                yield f'thresholds."{metric}"', str(error)


def _fleet_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    fleet = scenario.fleet
    if fleet.hardware not in HARDWARE:
        yield "fleet.hardware", f"unknown hardware {fleet.hardware!r}; {_nearest(fleet.hardware, HARDWARE)}"
    if fleet.owners > fleet.machines:
        yield "fleet.owners", f"more owners ({fleet.owners}) than machines ({fleet.machines})"
    for number, stage in enumerate(fleet.stages):
        if stage.target > fleet.machines:
            yield f"fleet.stages[{number}].target", f"{stage.target} is more than fleet.machines ({fleet.machines})"
    if sum(clock.share for clock in fleet.clocks) > 1:
        yield "fleet.clocks", "the shares add up to more than 1"
    for number, silence in enumerate(fleet.silence):
        if silence.at_ns >= scenario.duration_ns:
            yield f"fleet.silence[{number}].at", "begins after the run has ended"
