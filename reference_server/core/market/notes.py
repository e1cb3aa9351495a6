"""Where a part of a state notes its changes: in the state that contains it, or by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reference_server.core.changes import Changing


class Notes:
    """The notes of a part that belongs to no larger state."""

    def __init__(self) -> None:
        self.changes: list[tuple[Any, ...]] | None = None
        self.frozen = False


class Part:
    """A part of a state: its changes are noted in `notes`, and it is frozen whenever `notes` is."""

    def __init__(self, notes: Changing | None = None) -> None:
        self.notes = notes or Notes()

    @property
    def changes(self) -> list[tuple[Any, ...]] | None:
        """The changes noted for a journal; None without a journal."""
        return self.notes.changes

    @changes.setter
    def changes(self, changes: list[tuple[Any, ...]] | None) -> None:
        self.notes.changes = changes

    @property
    def frozen(self) -> bool:
        """Whether changes are refused now."""
        return self.notes.frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self.notes.frozen = frozen
