"""What takes the place of a scenario's own values: flags, and variables of the environment. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.limits import SCENARIO_DEPTH_MAX
from simulator.platform.secret_names import SECRET_NAME
from simulator.scenario.places import Part, PlaceError, as_number_or_flag, kind_at, parts_of, place_of_parts, put, typed
from simulator.scenario.redacting import without_assignments
from simulator.scenario.values import OWNERS

if TYPE_CHECKING:
    from collections.abc import Iterator

SET, DURATION, MACHINES = "--set", "--duration", "--machines"
_VARIABLE = re.compile(r"\$\$(?=\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")
_SETTINGS = (("server", "settings"), ("server", "env"))
"""Tables of what a server is given: what is secret may stand there, so what a variable holds is not written down."""
_COMMAND = ("server", "command")
"""Where `${…}` is the shell's."""


class Change(msgspec.Struct, frozen=True):
    """One value, as text, in place of a scenario's own, and how it was `given`, for messages."""

    place: str
    text: str
    given: str

    @property
    def option(self) -> str:
        """Return what `--set` takes to make the same change; there `$${` stands for the text itself."""
        return f"{self.place}={self.text.replace('${', '$${')}"

    @property
    def is_of_a_flag(self) -> bool:
        """Return whether a flag gave it, and no variable of the environment."""
        return self.given.startswith("--")

    def concerns(self, place: str) -> bool:
        """Return whether a place is the one changed, or within it."""
        place, changed = place.replace('"', ""), self.place.replace('"', "")
        return place == changed or place.startswith((f"{changed}.", f"{changed}["))


class OverrideError(Exception):
    """A flag or a variable that cannot take the place of a value; the message says why. `place` is empty for a flag."""

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(what)
        self.place = place


class Overrides(msgspec.Struct, frozen=True):
    """What the flags say: `duration` and `machines` as text, `values` as KEY=VALUE."""

    duration: str | None = None
    machines: int | None = None
    values: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Return the flags again, as a command line has them."""
        options = [] if self.duration is None else [DURATION, self.duration]
        options += [] if self.machines is None else [MACHINES, str(self.machines)]
        for value in self.values:
            options += [SET, value]
        return tuple(options)

    def changes(self, table: Mapping[str, Any]) -> list[Change]:
        """Return what the flags change of a scenario's table, with its variables filled. Raises OverrideError."""
        found = [] if self.machines is None else [*_changes_of_size(table, self.machines)]
        if self.duration is not None:
            found.append(Change("duration", self.duration, f"{DURATION} {self.duration}"))
        return found + [_change_of(value) for value in self.values]

    def in_full(self, table: Mapping[str, Any], changes: Sequence[Change]) -> Overrides:
        """Return flags that make these `changes` of a table whose variables are not filled. Raises OverrideError.

        How a fleet's stages are scaled may depend on variables, which whoever runs it again may not have.
        """
        without = self.changes(table)
        more = (f"{one.place}={one.text}" for one in changes if one not in without)
        return msgspec.structs.replace(self, values=(*more, *self.values))


NO_OVERRIDES = Overrides()


def _changes_of_size(table: Mapping[str, Any], machines: int) -> Iterator[Change]:
    """Change the size of the fleet: its stages in proportion, and no more owners than machines."""
    given = f"{MACHINES} {machines}"
    yield Change("fleet.machines", str(machines), given)
    fleet = table.get("fleet")
    if not isinstance(fleet, dict):
        return
    before, owners = fleet.get("machines"), fleet.get("owners", OWNERS)
    if isinstance(owners, int) and owners > machines:
        yield Change("fleet.owners", str(machines), given)
    stages = fleet.get("stages")
    for number, stage in enumerate(stages if isinstance(stages, list) else ()):
        target = stage.get("target") if isinstance(stage, dict) else None
        if isinstance(target, int) and isinstance(before, int) and before > 0:
            scaled = min(machines, -(-target * machines // before))
            yield Change(f"fleet.stages[{number}].target", str(scaled), given)


def _change_of(text: str) -> Change:
    """Read KEY=VALUE. Raises OverrideError."""
    key, sign, value = text.partition("=")
    if not sign:
        raise OverrideError(f"{SET} {text}: write it as KEY=VALUE, like fleet.machines=50 or attacks[0].rate=20")
    try:
        place = place_of_parts(parts_of(key.strip()))
    except PlaceError as error:
        raise OverrideError(f"{SET} {key}: {error}") from None
    value = value.strip()
    parts = parts_of(place)
    for inner, leaf in _leaves(typed(value, kind_at(parts), quoted=True), parts):
        _refuse_secret(place_of_parts(inner), inner, leaf, key)
    return Change(place, value, f"{SET} {key.strip()}={without_assignments(value)}")


def _refuse_secret(place: str, parts: tuple[Part, ...], leaf: Any, key: str) -> None:
    """Refuse a value of a flag that may be secret, by its name, or that assigns one. Raises OverrideError."""
    why = "every user of the machine can read a command line, so what may be secret goes into none"
    name = next((part for part in parts if isinstance(part, str) and SECRET_NAME.search(part)), None)
    text = str(leaf)
    if name is not None and text and not _is_variable(text):
        raise OverrideError(f"{SET} {key}: {why}: write '{place}=${{{name}}}', and set the variable {name}")
    if without_assignments(text) != text:
        raise OverrideError(f"{SET} {key}: {why}: name a variable in its place")


def _is_variable(text: str) -> bool:
    match = _VARIABLE.fullmatch(text.strip())
    return match is not None and match[1] is not None and not match[2]


def apply(table: dict[str, Any], changes: Sequence[Change]) -> None:
    """Put changes into a scenario's table. Raises OverrideError."""
    for change in changes:
        parts = parts_of(change.place)
        try:
            put(table, parts, typed(change.text, kind_at(parts), quoted=True))
        except PlaceError as error:
            raise OverrideError(f"{change.given}: {error}") from None


class Expanded(msgspec.Struct, frozen=True):
    """What came of `${VARIABLE}` in a scenario's texts.

    What may be secret is not among the `changes`: it is in no result, and no other host needs it. `hidden` names the
    variables whose names, or whose places, are those of secrets, by the place's parts: no message shows what they hold.
    """

    changes: Sequence[Change] = ()
    problems: Sequence[OverrideError] = ()
    hidden: Mapping[tuple[Part, ...], str] = {}


def expand(table: dict[str, Any], environ: Mapping[str, str]) -> Expanded:
    """Replace `${VARIABLE}` in a scenario's texts."""
    changes: list[Change] = []
    problems: list[OverrideError] = []
    hidden: dict[tuple[Part, ...], str] = {}
    for parts, text in [*_leaves(table)]:
        if not isinstance(text, str) or "${" not in text or parts[:2] == _COMMAND:
            continue
        try:
            value = typed(_filled(text, environ), kind_at(parts))
            names = [match[1] for match in _VARIABLE.finditer(text) if match[1]]
            written = _may_be_written(parts, names, value)
        except OverrideError as error:
            problems.append(OverrideError(str(error), place_of_parts(parts)))
            continue
        put(table, parts, value)
        if names and parts[:2] in _SETTINGS and any(map(SECRET_NAME.search, (*names, str(parts[-1])))):
            hidden[parts] = next(filter(SECRET_NAME.search, names), names[0])
        if written and value != text:
            filled = _filled(text, environ)
            is_plain = filled == filled.strip() and typed(filled, kind_at(parts), quoted=True) == value
            as_given = filled if is_plain else json.dumps(value, ensure_ascii=False)
            changes.append(Change(place_of_parts(parts), as_given, text))
    return Expanded(changes, problems, hidden)


def _leaves(value: Any, parts: tuple[Part, ...] = ()) -> Iterator[tuple[tuple[Part, ...], Any]]:
    """Find every value within a table that is neither a table nor a list, and where it stands. Raises OverrideError."""
    if len(parts) > SCENARIO_DEPTH_MAX:
        raise OverrideError(f"{SET} {parts[0]}…: nested more than {SCENARIO_DEPTH_MAX} deep, which no scenario is")
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*parts, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*parts, number))
    else:
        yield parts, value


def _filled(text: str, environ: Mapping[str, str]) -> str:
    """Replace the variables in a text; one that is empty counts as unset, as in a shell. Raises OverrideError."""

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        if match[1] is None:
            raise OverrideError("write a variable like ${NAME} or ${NAME:-default}, and `$${` for the text itself")
        value = environ.get(match[1]) or match[2]
        if value is None:
            raise OverrideError(
                f"the variable {match[1]} is not set: set it, or write ${{{match[1]}:-…}} with a default"
            )
        return value

    return _VARIABLE.sub(value_of, text)


def _may_be_written(parts: tuple[Part, ...], names: Sequence[str], value: Any) -> bool:
    """Return whether what variables hold may stand in results. Raises OverrideError where it must not, and would."""
    secret = next(filter(SECRET_NAME.search, names), None)
    if parts[:2] in _SETTINGS and (secret is None or parts[2:]):
        return secret is None and not SECRET_NAME.search(str(parts[-1])) and (not names or as_number_or_flag(value))
    if secret is not None:
        raise OverrideError(
            f"{secret} may be a secret, by its name, and this is written into results: "
            "use it for values of [server.settings] and [server.env] alone"
        )
    return True
