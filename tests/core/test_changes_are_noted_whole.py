"""A change is noted with all that it was given, or is none at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reference_server.core import changes
from tests.core.server_under_test import STARTED

if TYPE_CHECKING:
    from reference_server.wire.values import Instant


class Kept:
    """A state whose changes are noted, and where they end up."""

    def __init__(self) -> None:
        self.changes: list[tuple[Any, ...]] | None = []
        self.frozen = False
        self.seen: list[tuple[int, int]] = []


def test_what_is_given_by_name_would_be_missing_in_the_journal_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_recoveries", {})

    @changes.change("a_kind_of_this_test")
    def put(state: Kept, _at: Instant, key: int, value: int = 0) -> None:
        state.seen.append((key, value))

    state = Kept()
    put(state, STARTED, 1, 2)
    with pytest.raises(TypeError, match="'a_kind_of_this_test' is given value by name"):
        put(state, STARTED, 3, value=4)
    assert state.seen == [(1, 2)]
    assert state.changes is not None
    (noted,) = state.changes
    again = Kept()
    again.changes = None
    changes.recover_change(again, STARTED, noted)
    assert again.seen == state.seen
