"""From a path to the operations that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.operations.table import OPERATIONS, PREFIXES

if TYPE_CHECKING:
    from reference_server.operations.table import Operation


class Routes:
    """Paths to operations: exact ones by dictionary, ones with a variable by their parts around it."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Operation]] = {}
        self._around: dict[tuple[str, str], dict[str, Operation]] = {}
        for operation in OPERATIONS:
            for prefix in ("",) if operation.rooted else PREFIXES:
                before, variable, after = (prefix + operation.path).partition("{id}")
                if variable:
                    self._around.setdefault((before, after), {})[operation.method] = operation
                else:
                    self._exact.setdefault(before, {})[operation.method] = operation
        self._parts_max = max(before.count("/") + after.count("/") for before, after in self._around) + 1

    def find(self, path: str) -> tuple[dict[str, Operation], tuple[str, ...]]:
        """Return a path's operations by method, and its variable's value. Nothing is decoded: ids need no escapes."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, ()
        parts = path.split("/", self._parts_max)
        if len(parts) > self._parts_max:
            return {}, ()  # deeper than any operation; a path may be 64 KiB of slashes
        for at in range(2, len(parts)):
            around = ("/".join(parts[:at]) + "/", "".join("/" + part for part in parts[at + 1 :]))
            by_method = self._around.get(around)
            if by_method is not None and parts[at]:
                return by_method, (parts[at],)
        return {}, ()


ROUTES = Routes()


def allowed_methods(by_method: dict[str, Operation]) -> str:
    """Name the methods of a path, as `Allow` does: `HEAD` goes with `GET` (contract §3), `OPTIONS` with all."""
    return ", ".join(sorted({*by_method, "OPTIONS"} | ({"HEAD"} if "GET" in by_method else set())))
