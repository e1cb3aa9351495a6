"""Planting a fault in the server of this process for a while."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING

from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import plant

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def planted(*edits: tuple[str, str, str, str]) -> Iterator[None]:
    """Plant edits, each as module below `reference_server`, function, old text, new text; and take them out again."""
    written = tuple(Edit(f"reference_server.{module}", *rest) for module, *rest in edits)
    found = [inspect.unwrap(attrgetter(one.function)(import_module(one.module))) for one in written]
    before = [(function, function.__code__) for function in found]
    plant(written)
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code
