"""Tables of the state: each is one row of `tables.TABLES`, from which the storage of its records follows.

That is: its container, its section in snapshots and state files, the checks and output of `hatchfarm state`, recovery,
its bound, what instances with shared state agree on, and its metrics.
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
    """A state: anything that has the containers of its tables by name."""

    tables: Tables
    rows: dict[str, Any]


class Table(msgspec.Struct, Generic[Container, Record], frozen=True, kw_only=True):
    """One table.

    `section` has its name, how a record is stored in a file and under which key, how it is checked, its bound, and the
    fields that are never shown.

    `make` makes the container of an empty state: a dictionary, or an object with the needed indexes. `keep` yields the
    (key, record) pairs to be written. `restore` fills the container from a file whose records are all checked, after
    the tables before this one are filled. Both can be left out if the container is a dictionary of the records.
    """

    section: Section[Record]
    make: Callable[[], Container] = dict  # type: ignore[assignment] # the default fits tables that are dictionaries
    keep: Callable[[Any], Iterable[tuple[str, Any]]] | None = None
    restore: Callable[[Any, StateFile, Instant], None] | None = None
    figures: Callable[[Any], Sequence[Figure]] | None = None
    """The metrics of the container, if there are any."""

    @property
    def name(self) -> str:
        """The table's name, which is its section's."""
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
        """Return the (key, record) pairs to be written."""
        return state.rows[self.name].items() if self.keep is None else self.keep(state)

    def fill(self, state: HasTables, file: StateFile, now: Instant) -> None:
        """Fill an empty container from a file."""
        if self.restore is None:
            state.rows[self.name].update(self.section.of(file.sections))
        else:
            self.restore(state, file, now)


class Tables:
    """The tables of a state. Each comes after the tables that its records refer to; new ones are added at the end."""

    def __init__(self, rows: Iterable[Table[Any, Any]]) -> None:
        self._rows = {row.name: row for row in rows}
        places = {section.name: at for at, section in enumerate(SCHEMA_1)}
        self.in_file = tuple(
            sorted(
                (row for row in self if row.section.record is not None),
                key=lambda row: places.get(row.name, len(places)),
            )
        )
        """The tables with a section of schema 1, in the order of the file."""
        self.sections = tuple(row.section for row in sorted(self, key=lambda row: places.get(row.name, len(places))))
        """The sections that a file may contain."""
        self.later = tuple(row.name for row in self if row.name not in places)
        """The names of the tables that are not in schema 1, in the order in which they were added."""

    def __iter__(self) -> Iterator[Table[Any, Any]]:
        return iter(self._rows.values())

    def __getitem__(self, name: str) -> Table[Any, Any]:
        return self._rows[name]

    def with_row(self, row: Table[Any, Any]) -> Tables:
        """Return these tables with `row` added, or in place of the table with its name."""
        return Tables({**self._rows, row.name: row}.values())

    def make_rows(self) -> dict[str, Any]:
        """Return the containers of an empty state, by name."""
        return {row.name: row.make() for row in self}
