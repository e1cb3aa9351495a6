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
from simulator.scenario.values import (
    FAULTS,
    LASTING_FAULTS,
    LOAD_USERS,
    Expressions,
    Scenario,
    SettingValues,
    decode_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

_PLACE = re.compile(r"(.*?)(?: - at `\$\.?([\w.\[\]]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_HEADER = re.compile(r"\s*(\[\[?)([\w.\s-]+)\]")
_KEY = re.compile(r'\s*("[^"]*"|[\w.-]+)\s*=')
PLACE_MAX_CHARACTERS = 1000
"""Of a place whose line is looked for; each part of it may be looked up."""
_HINTS = {
    "name": "write it in lower-case letters, digits, '.' and '-', the first a letter or digit, 64 at most",
    "version": "this program reads version 1",
    "thresholds": 'write the metric in quotes and a list of expressions, like "heartbeat.accepted" = ["rate==1"]',
}
_OPEN_TABLES: dict[str, Any] = {"server.settings": SettingValues, "thresholds": Expressions}
"""The tables whose keys the format does not name, with their types."""
_CHOSEN_BY_THE_RUN = {
    "HATCHFARM_API_TOKEN": "the run chooses it: remove it",
    "HOST": "the run chooses it: remove it",
    "PORT": "the run chooses it: remove it",
    "HATCHFARM_STATE_FILE": "the run chooses the file: write `durable = true` in [server] in its place",
    "REDIS_ADDR": "the run starts a Redis of its own: write `redis = true` in [server] in its place",
}


class ScenarioError(Exception):
    """A scenario file that cannot be run; the message is for people and names the place."""


class ServerSettings(msgspec.Struct, frozen=True):
    """What the server knows of its settings: all names, and what is wrong with an environment that holds some."""

    names: Collection[str]
    problem: Callable[[Mapping[str, str]], str]


def load_scenario(path: Path, known: ServerSettings | None = None) -> Scenario:
    """Read a scenario file, and hold its server settings against the `known` ones. Raises ScenarioError."""
    return load_with_source(path, known)[0]


def load_with_source(path: Path, known: ServerSettings | None = None) -> tuple[Scenario, bytes]:
    """Read a scenario file once, since a pipe gives its bytes only once; gives them too. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            raw = file.read(limits.SCENARIO_MAX_BYTES + 1)
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); scenarios are TOML files, see scenarios/"
        ) from None
    if len(raw) > limits.SCENARIO_MAX_BYTES:
        raise ScenarioError(f"{path}: larger than {limits.SCENARIO_MAX_BYTES} bytes, which is no scenario")
    try:
        return parse_scenario(raw.decode("utf-8"), known), raw
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ScenarioError(f"{path}: line {line}: not UTF-8 text: save it as UTF-8") from None
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def parse_scenario(text: str, known: ServerSettings | None = None) -> Scenario:
    """Read a scenario's text. Raises ScenarioError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"not TOML: {error}") from None
    except (ValueError, RecursionError):  # what tomllib lets through of numbers too long and nests too deep
        raise ScenarioError(
            "not TOML that can be read: a number is too long, or brackets are nested too deep"
        ) from None
    try:
        scenario = msgspec.convert(table, Scenario, dec_hook=decode_value)
    except msgspec.ValidationError as error:
        raise ScenarioError(_explain(str(error), table, text)) from None
    problems = [*_problems(scenario), *_settings_problems(scenario, known)]
    if problems:
        lines = _lines(text)
        raise ScenarioError("; ".join(f"{_line(lines, place)}{place}: {problem}" for place, problem in problems))
    return scenario


def _nearest(name: str, names: Iterable[str], otherwise: str = "") -> str:
    options = sorted(names)
    close = difflib.get_close_matches(name, options, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else otherwise or f"one of {', '.join(options)}"


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """Find the struct within a field's type: itself, or that of its items."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_in, getattr(kind, "__args__", ()))), None)


def _known_keys(place: str) -> list[str]:
    """Name the keys a table of the file may have, by asking the struct behind it."""
    kind: type[msgspec.Struct] | None = Scenario
    for part in filter(None, re.sub(r"\[[0-9]+\]", "", place).split(".")):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)} if kind else {}
        kind = _struct_in(fields.get(part))
    return [field.encode_name for field in msgspec.structs.fields(kind)] if kind else []


def _named(place: str, table: dict[str, Any]) -> str:
    """Name the key where msgspec only says that it is one of a table's: the first whose value is of a wrong type."""
    section, dots, rest = place.partition("[...]")
    if dots:
        values = table
        for part in section.split("."):
            values = values[part]
        for key, value in values.items():
            try:
                msgspec.convert({key: value}, _OPEN_TABLES[section])
            except msgspec.ValidationError:
                return f'{section}."{key}"{rest}'
    return place


def _explain(message: str, table: dict[str, Any], text: str) -> str:
    """Turn msgspec's message into one that names the key, its line, and the way out."""
    match = _PLACE.fullmatch(message)
    what, place = (match[1], _named(match[2] or "", table)) if match else (message, "")
    lines = _lines(text)
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        keys = _known_keys(place)
        where = f"{place}.{unknown[1]}".lstrip(".")
        return f"{_line(lines, where)}{where}: unknown key; {_nearest(unknown[1], keys)}"
    if missing:
        if not place:
            return f"{missing[1]}: missing; every scenario needs it"
        return f"{_line(lines, place)}{place}.{missing[1]}: missing; add it to [{place}]"
    value: Any = table
    for part in filter(None, re.split(r"[.\[\]]+", place)):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    what = what[0].lower() + what[1:].replace("`", "").replace("object", "table")
    what = next((hint for start, hint in _HINTS.items() if place.startswith(start)), what)
    said = not isinstance(value, str | int | float) or (isinstance(value, str) and repr(value) in what)
    shown = "" if said else f" (it is {value!r})"
    return f"{_line(lines, place)}{place or 'the file'}: {what}{shown}"


def _line(lines: dict[str, int], place: str) -> str:
    """Name the line of a key; of what it stands in, where it has no line of its own; or none."""
    place = place.replace('"', "")[:PLACE_MAX_CHARACTERS]
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), 0)]
    return f"line {lines[place]}: " if place else ""


def _lines(text: str) -> dict[str, int]:
    """Number the lines on which tables and keys begin, by place as messages name it."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = ""
            for part in header[2].strip().split("."):
                if table in counts:
                    table += f"[{counts[table]}]"
                table = f"{table}.{part.strip()}".lstrip(".")
            lines.setdefault(table, number)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table += f"[{counts[table]}]"
                lines[table] = number
        elif key := _KEY.match(line):
            lines.setdefault(f"{table}.{key[1]}".lstrip(".").replace('"', ""), number)
    return lines


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
    yield from _attack_problems(scenario)
    yield from _load_problems(scenario)
    yield from _fault_problems(scenario)
    if scenario.server.instances > 1:
        if not scenario.server.redis:
            yield "server.instances", "they share their state through Redis: write `redis = true` in [server]"
        if scenario.server.durable:
            yield "server.durable", "several instances keep their state in Redis: remove it"
    for metric, expressions in scenario.thresholds.items():
        for expression in expressions:
            try:
                parse_threshold(metric, expression)
            except ThresholdError as error:
                yield f'thresholds."{metric}"', str(error)


def _attack_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if len(scenario.attacks) > limits.ATTACKS_MAX:
        yield "attacks", f"more than {limits.ATTACKS_MAX} campaigns"
    for number, attack in enumerate(scenario.attacks):
        if attack.name not in CATALOGUE:
            hint = _nearest(attack.name, CATALOGUE, "`hatchfarm attack list` names them all")
            yield f"attacks[{number}].name", f"unknown attack {attack.name!r}; {hint}"
        if attack.start_ns >= scenario.duration_ns:
            yield f"attacks[{number}].start", "begins after the run has ended"
        if attack.duration_ns <= 0:
            yield f"attacks[{number}].duration", "must be longer than nothing"


def _load_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    kinds = [load.user for load in scenario.load]
    for number, load in enumerate(scenario.load):
        if load.user not in LOAD_USERS:
            yield f"load[{number}].user", f"unknown user {load.user!r}; {_nearest(load.user, LOAD_USERS)}"
        if load.user in kinds[:number]:
            yield f"load[{number}].user", f"{load.user} again: put all of its stages into one [[load]]"
        for at, stage in enumerate(load.stages):
            if stage.target > limits.LOAD_USERS_MAX:
                yield f"load[{number}].stages[{at}].target", f"more than {limits.LOAD_USERS_MAX} users"


def _fault_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if len(scenario.faults) > limits.FAULTS_MAX:
        yield "faults", f"more than {limits.FAULTS_MAX} faults"
    free_ns: dict[str, int] = {}
    for number, fault in sorted(enumerate(scenario.faults), key=lambda one: one[1].at_ns):
        place = f"faults[{number}]"
        if fault.kind not in FAULTS:
            yield f"{place}.kind", f"unknown fault {fault.kind!r}; {_nearest(fault.kind, FAULTS)}"
            continue
        if fault.instance and (fault.subject == "Redis" or fault.instance >= scenario.server.instances):
            yield f"{place}.instance", f"there are {scenario.server.instances} servers, counted from 0"
        if fault.subject == "Redis" and not scenario.server.redis:
            yield f"{place}.kind", "the run has no Redis: write `redis = true` in [server]"
        if fault.kind == "disk.full" and not scenario.server.durable:
            yield f"{place}.kind", "the server writes no file: write `durable = true` in [server]"
        if fault.kind in LASTING_FAULTS and not fault.duration_ns:
            yield f"{place}.duration", f"{fault.kind} needs one that is longer than nothing"
        if fault.kind == "redis.flush" and fault.duration_ns:
            yield f"{place}.duration", "forgetting takes no time: remove it"
        if fault.at_ns + fault.duration_ns >= scenario.duration_ns:
            yield f"{place}.at", "is not over before the run ends"
        if fault.at_ns < free_ns.get(fault.subject, 0):
            yield f"{place}.at", f"begins while another fault of {fault.subject} lasts"
        free_ns[fault.subject] = fault.at_ns + fault.duration_ns


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
        if silence.duration_ns <= 0:
            yield f"fleet.silence[{number}].duration", "must be longer than nothing"
    for number, clock in enumerate(fleet.clocks):
        if clock.step is not None and clock.step.at_ns >= scenario.duration_ns:
            yield f"fleet.clocks[{number}].step.at", "happens after the run has ended"


def _settings_problems(scenario: Scenario, known: ServerSettings | None) -> Iterator[tuple[str, str]]:
    """Find server settings that the server does not know, does not take, or would not get."""
    settings = scenario.server.environ()
    strange = [name for name in settings if known is not None and name not in known.names]
    for name, problem in _CHOSEN_BY_THE_RUN.items():
        if name in settings:
            yield f"server.settings.{name}", problem
    for name in strange:
        yield f"server.settings.{name}", f"unknown server setting; {_nearest(name, known.names if known else ())}"
    given = {name: value for name, value in settings.items() if name not in _CHOSEN_BY_THE_RUN}
    if known is not None and not strange and (problem := known.problem(given)):
        name, _, what = problem.partition(": ")
        yield (f"server.settings.{name}", what) if name in settings else ("server.settings", problem)
