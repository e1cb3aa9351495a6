"""Reading scenario files strictly: every refusal names the place, what is wrong there, and the way out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any

import msgspec

from simulator import limits
from simulator.attacks import CATALOGUE
from simulator.fleet.hardware import HARDWARE
from simulator.fleet.load_users import LOAD_USERS
from simulator.limits import SCENARIO_DEPTH_MAX
from simulator.platform.wording import nearest, plural
from simulator.scenario.clock_problems import clock_problems
from simulator.scenario.kinds import decode_value
from simulator.scenario.market_problems import market_problems
from simulator.scenario.network_problems import network_problems
from simulator.scenario.overriding import NO_OVERRIDES, SET, Change, Expanded, OverrideError, Overrides, apply, expand
from simulator.scenario.places import Part  # noqa: TC001 - as above
from simulator.scenario.server_problems import problems_to_show
from simulator.scenario.source import SourceError, read_source
from simulator.scenario.source_lines import Problem, line_at, lines_of
from simulator.scenario.substituting import comes_of, known_keys, substitute
from simulator.scenario.threshold_problems import threshold_problems
from simulator.scenario.values import FAULTS, LASTING_FAULTS, Expressions, Scenario, SettingValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from simulator.scenario.server_problems import ServerSettings

_PLACE = re.compile(r"(.*?)(?: - at `\$\.?([\w.\[\]]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_SYNTAX = re.compile(r"(.*) \(at line ([0-9]+), column ([0-9]+)\)", re.DOTALL)
SHARE_ROUNDING = 1e-9
"""What adding up shares in binary may be off by: ten tenths are one."""
_HINTS = {
    "name": "write it in lower-case letters, digits, '.' and '-', the first a letter or digit, 64 at most",
    "version": "this program reads version 1",
    "server.command": 'write the program and each argument as a text of its own, like ["./farm", "--port", "{port}"]',
    "server.health": "write it as a path, like '/health'",
    "thresholds": 'write the metric in quotes and a list of expressions, like "heartbeat.accepted" = ["rate==1"]',
}
_OPEN_TABLES: dict[str, Any] = {
    "server.settings": SettingValues,
    "server.env": SettingValues,
    "thresholds": Expressions,
}
"""The tables whose keys the format does not name, with their types."""


class ScenarioError(Exception):
    """A scenario file that cannot be run; the message is for people, a line for each problem, and names the place."""

    def __init__(self, *problems: Problem, path: Path | None = None) -> None:
        super().__init__("\n".join(problem.at(path) for problem in problems))
        self.problems = problems


class Loaded(msgspec.Struct, frozen=True):
    """A scenario that was read: `source` is what stood there, `changes` what took the place of its values."""

    scenario: Scenario
    source: bytes
    changes: tuple[Change, ...] = ()
    options: tuple[str, ...] = ()
    """Flags that make the same of the source, wherever it is read again."""


def load_scenario(path: Path, known: ServerSettings | None = None) -> Scenario:
    """Read a scenario file, and hold its server settings against the `known` ones. Raises ScenarioError."""
    return load_with_source(path, known).scenario


def load_with_source(
    path: Path,
    known: ServerSettings | None = None,
    overrides: Overrides = NO_OVERRIDES,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read a scenario once, since a pipe gives its bytes only once; return what was read, too. Raises ScenarioError.

    Texts that name variables are filled from `environ`, and stay what they are where there is none.
    """
    try:
        raw = read_source(path)
        return _parse(raw, known, overrides, environ)
    except SourceError as error:
        raise ScenarioError(Problem(0, str(error)), path=path) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ScenarioError(Problem(line, "not UTF-8 text: save it as UTF-8"), path=path) from None
    except ScenarioError as error:
        raise ScenarioError(*error.problems, path=path) from None


def parse_scenario(text: str, known: ServerSettings | None = None, changes: Sequence[Change] = ()) -> Scenario:
    """Read a scenario's text. Raises ScenarioError, with every problem that can be seen, in the order of lines."""
    table = _table_of(text)
    try:
        apply(table, changes)
    except OverrideError as error:
        raise ScenarioError(Problem(0, str(error))) from None
    return _read(table, Origins(lines_of(text), tuple(changes)), known)


def _parse(raw: bytes, known: ServerSettings | None, overrides: Overrides, environ: Mapping[str, str] | None) -> Loaded:
    """Read a text with what flags and variables change of it. Raises ScenarioError, UnicodeDecodeError."""
    text = raw.decode("utf-8")
    table = _table_of(text)
    lines = lines_of(text)
    filled = _table_of(text)
    if environ is not None:
        expand(filled, environ)  # what cannot be filled is told once flags have had the chance to replace it
    try:
        changes = overrides.changes(filled)
        options = overrides.in_full(table, changes).options
        apply(table, changes)
    except OverrideError as error:
        raise ScenarioError(Problem(0, str(error))) from None
    expanded = Expanded() if environ is None else expand(table, environ)
    origins = Origins(lines, tuple(changes))
    if expanded.problems:
        raise ScenarioError(*(origins.problem(one.place, f"{one.place}: {one}") for one in expanded.problems))
    origins = Origins(lines, (*changes, *expanded.changes), expanded.hidden)
    for change in expanded.changes:
        options += (SET, change.option)
    return Loaded(_read(table, origins, known), raw, (*changes, *expanded.changes), options)


def _table_of(text: str) -> dict[str, Any]:
    """Read a scenario's text as TOML. Raises ScenarioError."""
    text = text.removeprefix("\ufeff")  # the mark that some editors write in front of UTF-8
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        line = text.count("\n") + 1 if match is None else int(match[2])
        what = str(error) if match is None else f"{match[1]} (column {match[3]})"
        raise ScenarioError(Problem(line, f"not TOML: {what}")) from None
    except (ValueError, RecursionError):  # what tomllib lets through of numbers too long and nests too deep
        what = "not TOML that can be read: a number is too long, or brackets are nested too deep"
        raise ScenarioError(Problem(0, what)) from None
    _refuse_too_deep(table)
    return table


def _refuse_too_deep(table: dict[str, Any]) -> None:
    """Raise ScenarioError where tables nest deeper than what reads them may call itself: dotted keys have no limit."""
    level: list[Any] = [table]
    for _ in range(SCENARIO_DEPTH_MAX):
        inside = (part for one in level for part in (one.values() if isinstance(one, dict) else one))
        level = [part for part in inside if isinstance(part, dict | list)]
        if not level:
            return
    raise ScenarioError(Problem(0, f"tables are nested more than {SCENARIO_DEPTH_MAX} deep, which no scenario is"))


def _read(table: dict[str, Any], origins: Origins, known: ServerSettings | None) -> Scenario:
    """Return a table as a scenario. Raises ScenarioError."""
    _refuse_too_deep(table)  # what flags and variables put there may be
    scenario, problems, substituted = _shaped(table, origins)
    if scenario is not None:
        found = [*_problems(scenario), *problems_to_show(scenario.server, known, origins.hidden)]
        problems += [
            origins.problem(place, f"{place}: {problem}")
            for place, problem in found
            if not any(comes_of(place, other) for other in substituted)
        ]
    if scenario is None or problems:
        raise ScenarioError(*sorted(problems, key=lambda one: one.line), *origins.remark(problems))
    return scenario


class Origins(msgspec.Struct, frozen=True):
    """Where the values of a scenario come from: lines of its file, and changes.

    `hidden` names the variable at each place that no message shows the value of.
    """

    lines: dict[str, int]
    changes: tuple[Change, ...]
    hidden: Mapping[tuple[Part, ...], str] = {}

    def problem(self, place: str, what: str) -> Problem:
        """Return what is wrong at a place, with its line, or with the flag that put it there."""
        change = next((one for one in reversed(self.changes) if one.concerns(place)), None)
        if change is None:
            return Problem(line_at(self.lines, place), what)
        if change.is_of_a_flag:
            return Problem(0, f"{change.given}: {what}")
        return Problem(line_at(self.lines, place), f"{what} (from {change.given})")

    def remark(self, problems: Sequence[Problem]) -> list[Problem]:
        """Name the flags where what is wrong may come of them, though it stands elsewhere."""
        flags = {one.given for one in self.changes if one.is_of_a_flag}
        unnamed = [one for one in problems if not any(one.what.startswith(flag) for flag in flags)]
        named = ", ".join(dict.fromkeys(one.given for one in self.changes if one.given in flags))
        return [Problem(0, f"that is with {named}")] if flags and unnamed else []


def _shaped(table: dict[str, Any], origins: Origins) -> tuple[Scenario | None, list[Problem], list[str]]:
    """Return a table as a scenario, what is wrong with its shape, and the places where that was mended to look further.

    The type checker stops at the first fault. So each is put right in the table as far as its shape goes, and it looks
    again: what else is wrong is found, and what only comes of the mending is told apart by its place.
    """
    problems: list[Problem] = []
    substituted: list[str] = []
    while True:
        try:
            return msgspec.convert(table, Scenario, dec_hook=decode_value), problems, substituted
        except msgspec.ValidationError as error:
            problem, place = _explain(str(error), table, origins)
            problems.append(problem)
            substituted.append(place)
        if len(problems) >= limits.SCENARIO_PROBLEMS_MAX or not substitute(table, place):
            return None, problems, substituted


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


def _explain(message: str, table: dict[str, Any], origins: Origins) -> tuple[Problem, str]:
    """Turn msgspec's message into one that names the key, its line, and the way out; and give the key's place."""
    match = _PLACE.fullmatch(message)
    what, place = (match[1], _named(match[2] or "", table)) if match else (message, "")
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        keys = known_keys(place)
        where = f"{place}.{unknown[1]}".lstrip(".")
        return origins.problem(where, f"{where}: unknown key; {nearest(unknown[1], keys)}"), where
    if missing:
        if not place:
            return Problem(0, f"{missing[1]}: missing; every scenario needs it"), missing[1]
        where = f"{place}.{missing[1]}"
        return origins.problem(where, f"{where}: missing; add it to [{place}]"), where
    value: Any = table
    for part in filter(None, re.split(r"[.\[\]]+", place)):
        if isinstance(value, list):
            value = value[int(part)] if part.isdigit() and int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    what = what[0].lower() + what[1:].replace("`", "").replace("object", "table")
    what = next((hint for start, hint in _HINTS.items() if place.startswith(start)), what)
    is_shown = not isinstance(value, str | int | float) or (isinstance(value, str) and repr(value) in what)
    shown = "" if is_shown else f" (it is {value!r})"
    return origins.problem(place, f"{place or 'the file'}: {what}{shown}"), place


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
    yield from market_problems(scenario)
    yield from threshold_problems(scenario)


def _attack_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if len(scenario.attacks) > limits.ATTACKS_MAX:
        yield "attacks", f"more than {limits.ATTACKS_MAX:,} campaigns"
    for number, attack in enumerate(scenario.attacks):
        if attack.name not in CATALOGUE:
            hint = nearest(attack.name, CATALOGUE, "`hatchfarm attack list` names them all")
            yield f"attacks[{number}].name", f"unknown attack {attack.name!r}; {hint}"
        if attack.start_ns >= scenario.duration_ns:
            yield f"attacks[{number}].start", "begins after the run has ended"
        if attack.duration_ns <= 0:
            yield f"attacks[{number}].duration", "must be longer than nothing"


def _load_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    kinds = [load.user for load in scenario.load]
    for number, load in enumerate(scenario.load):
        if load.user not in LOAD_USERS:
            yield f"load[{number}].user", f"unknown user {load.user!r}; {nearest(load.user, LOAD_USERS)}"
        if load.user in kinds[:number]:
            yield f"load[{number}].user", f"{load.user} again: put all of its stages into one [[load]]"
        for at, stage in enumerate(load.stages):
            if stage.target > limits.LOAD_USERS_MAX:
                yield f"load[{number}].stages[{at}].target", f"more than {limits.LOAD_USERS_MAX:,} users"


def _fault_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    if len(scenario.faults) > limits.FAULTS_MAX:
        yield "faults", f"more than {limits.FAULTS_MAX} faults"
    free_ns: dict[str, int] = {}
    for number, fault in sorted(enumerate(scenario.faults), key=lambda one: one[1].at_ns):
        place = f"faults[{number}]"
        if fault.kind not in FAULTS:
            yield f"{place}.kind", f"unknown fault {fault.kind!r}; {nearest(fault.kind, FAULTS)}"
            continue
        if fault.instance and (fault.subject == "Redis" or fault.instance >= scenario.server.instances):
            yield f"{place}.instance", f"counted from 0, and the run has {plural(scenario.server.instances, 'server')}"
        if fault.subject == "Redis" and not scenario.server.redis:
            yield f"{place}.kind", "the run has no Redis: write `redis = true` in [server]"
        if fault.kind == "disk.full" and not scenario.server.durable:
            yield f"{place}.kind", "the server writes no file: write `durable = true` in [server]"
        if fault.kind in LASTING_FAULTS and not fault.duration_ns:
            yield f"{place}.duration", f"{fault.kind} needs one that is longer than nothing"
        if fault.kind == "redis.flush" and fault.duration_ns:
            yield f"{place}.duration", "forgetting takes no time: remove it"
        for problems in (network_problems, clock_problems):
            yield from ((f"{place}.{key}", problem) for key, problem in problems(scenario, fault))
        if fault.at_ns + fault.duration_ns >= scenario.duration_ns:
            yield f"{place}.at", "is not over before the run ends"
        if fault.at_ns < free_ns.get(fault.subject, 0):
            yield f"{place}.at", f"begins while another fault of {fault.subject} lasts"
        free_ns[fault.subject] = fault.at_ns + fault.duration_ns


def _fleet_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    fleet = scenario.fleet
    if fleet.hardware not in HARDWARE:
        yield "fleet.hardware", f"unknown hardware {fleet.hardware!r}; {nearest(fleet.hardware, HARDWARE)}"
    if fleet.owners > fleet.machines:
        yield "fleet.owners", f"more owners ({fleet.owners:,}) than machines ({fleet.machines:,})"
    for number, stage in enumerate(fleet.stages):
        if stage.target > fleet.machines:
            yield f"fleet.stages[{number}].target", f"{stage.target:,} is more than fleet.machines ({fleet.machines:,})"
    if sum(clock.share for clock in fleet.clocks) > 1:
        yield "fleet.clocks", "the shares add up to more than 1"
    yield from _silence_problems(scenario)
    for number, clock in enumerate(fleet.clocks):
        if clock.step is not None and clock.step.at_ns >= scenario.duration_ns:
            yield f"fleet.clocks[{number}].step.at", "happens after the run has ended"


def _silence_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    fleet = scenario.fleet
    for number, silence in enumerate(fleet.silence):
        if silence.at_ns >= scenario.duration_ns:
            yield f"fleet.silence[{number}].at", "begins after the run has ended"
        if silence.duration_ns <= 0:
            yield f"fleet.silence[{number}].duration", "must be longer than nothing"
    silent = 0.0
    for _, change in sorted(
        moment
        for silence in fleet.silence
        for moment in ((silence.at_ns, silence.share), (silence.at_ns + silence.duration_ns, -silence.share))
    ):
        silent += change
        if silent > 1 + SHARE_ROUNDING:
            yield "fleet.silence", "the shares of those that are silent at one time add up to more than 1"
            break
