"""What a table of the state is: one row of `tables.TABLES`, from which all that is kept of its records follows.

The state's container for it, the section of snapshots and state files, what `hatchfarm state check` looks at and shows,
recovery, its bound, what instances that share the state agree on, and its metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from reference_server.wire.schema1 import SCHEMA_1
from reference_server.wire.sections import Record, Section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Sized

    from reference_server.wire.exposition import Figure
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

Container = TypeVar("Container", bound="Sized")


class HasTables(Protocol):
    """A state: the containers of its tables, by name."""

    tables: Tables
    rows: dict[str, Any]


class Table(msgspec.Struct, Generic[Container, Record], frozen=True, kw_only=True):
    """One table.

    `section` names it, and says how a record stands in a file, under which key, how it is checked, its bound, and which
    of its fields are never shown.

    `make` makes the container of an empty state: a dictionary, or whatever has the indexes that are asked for.
    `keep` gives (key, record) pairs to be written; `restore` fills the container from a file whose records were all
    checked, the tables before it being filled. Both may be left out where a dictionary holds the records as they are
    written.
    """

    section: Section[Record]
    make: Callable[[], Container] = dict  # type: ignore[assignment] # the default is for tables that are dictionaries
    keep: Callable[[Any], Iterable[tuple[str, Any]]] | None = None
    restore: Callable[[Any, StateFile, Instant], None] | None = None
    figures: Callable[[Any], Sequence[Figure]] | None = None
    """What the metrics show of it."""

    @property
    def name(self) -> str:
        """Return the table's name, which is its section's."""
        return self.section.name

    def of(self, state: HasTables) -> Container:
        """Return a state's container."""
        held: Container = state.rows[self.name]
        return held

    def has_room(self, state: HasTables) -> bool:
        """Return whether one more record is within the table's bound."""
        most = state.tables[self.name].section.most
        return most is None or len(self.of(state)) < most

    def kept(self, state: HasTables) -> Iterable[tuple[str, Any]]:
        """Return what is to be written, as (key, record)."""
        return state.rows[self.name].items() if self.keep is None else self.keep(state)

    def fill(self, state: HasTables, file: StateFile, now: Instant) -> None:
        """Fill an empty container with what a file holds."""
        if self.restore is None:
            state.rows[self.name].update(self.section.of(file.sections))
        else:
            self.restore(state, file, now)


class Tables:
    """The tables of a state. Each comes after those that its records name, and later ones are added at the end."""

    def __init__(self, rows: Iterable[Table[Any, Any]]) -> None:
        self._rows = {row.name: row for row in rows}
        places = {section.name: at for at, section in enumerate(SCHEMA_1)}
        self.in_file = tuple(
            sorted(
                (row for row in self if row.section.record is not None),
                key=lambda row: places.get(row.name, len(places)),
            )
        )
        """Those that have a section, in the order in which they stand in a file."""
        self.sections = tuple(row.section for row in sorted(self, key=lambda row: places.get(row.name, len(places))))
        """What a file may hold, for reading one."""
        self.later = tuple(row.name for row in self if row.name not in places)
        """The names of those that schema 1 has not, in the order in which they were added."""

    def __iter__(self) -> Iterator[Table[Any, Any]]:
        return iter(self._rows.values())

    def __getitem__(self, name: str) -> Table[Any, Any]:
        return self._rows[name]

    def with_row(self, row: Table[Any, Any]) -> Tables:
        """Return these tables with one more, or with another in the place of the one of its name."""
        return Tables({**self._rows, row.name: row}.values())

    def make_rows(self) -> dict[str, Any]:
        """Make the containers of an empty state."""
        return {row.name: row.make() for row in self}
