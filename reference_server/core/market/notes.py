"""Where parts of a state note their changes: with the state that holds them, or by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_server.core.changes import Changing


class Notes:
    """Changes of what is not part of a larger state."""

    def __init__(self) -> None:
        self.changes: list[tuple[Any, ...]] | None = None
        self.frozen = False


class Part:
    """A part of a state: what is changed of it is noted where `notes` says, and frozen with it."""

    def __init__(self, notes: Changing | None = None) -> None:
        self.notes = notes or Notes()

    @property
    def changes(self) -> list[tuple[Any, ...]] | None:
        """Return the changes that a journal wants to know of; None where none does."""
        return self.notes.changes

    @changes.setter
    def changes(self, changes: list[tuple[Any, ...]] | None) -> None:
        self.notes.changes = changes

    @property
    def frozen(self) -> bool:
        """Return whether nothing may be changed now."""
        return self.notes.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self.notes.frozen = frozen
