"""One section of a state file: which records stand in it under which keys, and how each is checked (contract §7)."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from reference_server.wire.rules import valid_owner_id
from reference_server.wire.timestamps import NEWEST_NS, OLDEST_NS, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from reference_server.wire.ids import IdForm

kept_time = lru_cache(maxsize=4096)(parse_timestamp)
"""`parse_timestamp` for the times of records, of which most stand there twice or more: a large file is read faster."""
OWNERS = "owners"
"""The name under which `Reading.owner` counts owners."""
Record = TypeVar("Record", bound=msgspec.Struct)


class Section(msgspec.Struct, Generic[Record], frozen=True, kw_only=True):
    """A section that maps keys to records of one type.

    A section without a `record` is none of the file: its `most` bounds the keys that other records name.
    `check` holds one record against what its type cannot say: given are the reading, the record's place for what is
    wrong, the key it stands under, and the record. The key itself is checked already.
    What is `required` belongs to schema 1; another one may be missing, and is empty then.
    `hidden` fields are secret, or let one be guessed: they are never shown.
    """

    name: str
    record: type[Record] | None
    most: int | None
    """How many records this server has room for; None where another section's bound holds it."""
    form: IdForm | None = None
    """The form of its keys; None where any text is one."""
    key: Callable[[Any], str] = attrgetter("id")
    check: Callable[[Reading, str, str, Any], None] | None = None
    required: bool = False
    hidden: frozenset[str]

    def __post_init__(self) -> None:
        """Raise ValueError for a type that would read what it does not know, and lose it."""
        if self.record is not None and not self.record.__struct_config__.forbid_unknown_fields:
            raise ValueError(f"{self.name}: its records have to forbid unknown fields")

    def of(self, sections: Mapping[str, Any]) -> dict[str, Record]:
        """Return this section's records out of those of all sections."""
        found: dict[str, Record] = sections.get(self.name, {})
        return found


class Reading:
    """Turns values into records, and notes what is wrong with each under its place in the file."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.sections: dict[str, dict[str, Any]] = {}
        self._named: dict[str, set[str]] = {}
        self._seen: set[Hashable] = set()

    def read(self, document: dict[str, Any], section: Section[Any]) -> None:
        """Read a section. An empty one is null in files of some implementations."""
        values = self.value(document, section.name, required=section.required)
        records = self.sections[section.name] = {}
        if not isinstance(values, dict):
            if values is not None:
                self.problems.append(f"{section.name}: it is no object")
            return
        for key, value in values.items():
            record = self.record(f"{section.name}.{key}", value, section.record)
            if record is not None:
                records[key] = record

    def value(self, document: dict[str, Any], name: str, *, required: bool) -> Any:
        """Return what stands under a section's name."""
        if required and name not in document:
            self.problems.append(f"{name}: the section is missing")
        return document.get(name)

    def record(self, place: str, value: Any, kind: type[Record] | None) -> Record | None:
        """Turn a value into a record; None where it is none."""
        if kind is None:
            return None
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            self.problems.append(f"{place}: {error}")
            return None

    def check(self, section: Section[Any]) -> None:
        """Hold the records of a section, all sections being read, against their keys, their check and their bound."""
        records = self.sections.get(section.name, {})
        for key, record in records.items():
            place = f"{section.name}.{key}"
            own = section.key(record)
            if section.form is not None:
                self.require(place, section.form.expected, right=section.form.fits(own))
            self.require(place, "it stands under another id than its own", right=key == own)
            if section.check is not None:
                section.check(self, place, key, record)
        count = len(self._named.get(section.name, records))
        self.require(
            section.name,
            f"there are {count}, and this server has room for {section.most}",
            right=section.most is None or count <= section.most,
        )

    def require(self, place: str, problem: str, *, right: bool) -> None:
        """Note a problem unless it is right."""
        if not right:
            self.problems.append(f"{place}: {problem}")

    def find(self, section: Section[Record], key: str) -> Record | None:
        """Return the record that stands under a key; None where there is none."""
        return section.of(self.sections).get(key)

    def is_first(self, *words: Hashable) -> bool:
        """Return whether nothing before was asked about by the same words: what must be unique is there once."""
        first = words not in self._seen
        self._seen.add(words)
        return first

    def times(self, place: str, **times: str) -> None:
        """Hold times against the contract's form (§1)."""
        for name, text in times.items():
            unix_ns = kept_time(text)
            self.require(place, f"{name} is no timestamp", right=unix_ns is not None)
            if unix_ns is not None and not OLDEST_NS <= unix_ns <= NEWEST_NS:
                self.problems.append(f"{place}: {name} is in no year from 1 to 9999, in UTC")

    def owner(self, place: str, owner_id: str) -> None:
        """Hold an owner's id against what one can act under (contract §5), and count the owner."""
        self.require(place, "it has no owner", right=owner_id != "")
        self.require(
            place,
            "its owner_id is longer than 256 characters, has | or control characters in it, or white space around it",
            right=valid_owner_id(owner_id),
        )
        self._named.setdefault(OWNERS, set()).add(owner_id)


def known_names(sections: Sequence[Section[Any]]) -> frozenset[str]:
    """Return the names of the sections that stand in a file."""
    return frozenset(section.name for section in sections if section.record is not None)
