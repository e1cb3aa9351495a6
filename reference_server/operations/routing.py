"""From a path to the operations that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.operations.table import OPERATIONS, PREFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.operations.operation import Operation

    ByMethod = dict[str, Operation]


class Routes:
    """Paths to operations: exact ones by dictionary, ones with variables by all their parts but those.

    `credentials` are the headers by which any of them knows who calls, and which a page may set: no cookies.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._exact: dict[str, ByMethod] = {}
        self._templates: dict[int, dict[tuple[int, ...], dict[tuple[str, ...], ByMethod]]] = {}
        for operation in operations:
            for prefix in ("",) if operation.rooted else PREFIXES:
                self._add(prefix + operation.path, operation)
        self._parts_max = max(self._templates, default=0)
        credentials = [credential for one in operations for credential in one.principal.credentials]
        cookies = {one.header for one in credentials if one.scheme and one.scheme.get("in") == "cookie"}
        self.credentials = tuple(sorted({one.header for one in credentials} - cookies))
        self.single_headers = frozenset(name.lower() for name in self.credentials)
        """What may be said once only."""

    def _add(self, path: str, operation: Operation) -> None:
        parts = path.split("/")
        places = tuple(at for at, part in enumerate(parts) if part.startswith("{"))
        if not places:
            self._exact.setdefault(path, {})[operation.method] = operation
            return
        of_length = self._templates.setdefault(len(parts), {})
        of_length.setdefault(places, {}).setdefault(_others(parts, places), {})[operation.method] = operation

    def find(self, path: str) -> tuple[ByMethod, tuple[str, ...]]:
        """Return a path's operations by method, and its variables' values. Nothing is decoded: ids need no escapes."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ()
        parts = path.split("/", self._parts_max)
        if len(parts) > self._parts_max:
            return {}, ()  # deeper than any operation; a path may be 64 KiB of slashes
        for places, templates in self._templates.get(len(parts), {}).items():
            by_method = templates.get(_others(parts, places))
            if by_method is not None and all(parts[at] for at in places):
                return by_method, tuple(parts[at] for at in places)
        return {}, ()


def _others(parts: list[str], places: tuple[int, ...]) -> tuple[str, ...]:
    others = parts.copy()
    for at in reversed(places):
        del others[at]
    return tuple(others)


ROUTES = Routes(OPERATIONS)


def allowed_methods(by_method: ByMethod) -> str:
    """Name the methods of a path, as `Allow` does: `HEAD` goes with `GET` (contract §3), `OPTIONS` with all."""
    return ", ".join(sorted({*by_method, "OPTIONS"} | ({"HEAD"} if "GET" in by_method else set())))
