"""The files that a run is reported in, by name, and what became of them."""

from __future__ import annotations

import msgspec

PAGE, JUNIT, SARIF, SUMMARY, METRICS = "report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om"
GATES = "gates.md"
VIEW_FILES = frozenset({PAGE, JUNIT, SARIF, SUMMARY, METRICS, GATES})
"""What is made from the rest, and can be made again."""


class WriteResult(msgspec.Struct, frozen=True):
    """What became of the files: the bundle's digest, None without a manifest, and a line for each that is missing.

    `note` is what else there is to say.
    """

    digest: str | None
    warnings: list[str]
    note: str = ""

    def lacks(self, name: str) -> bool:
        """Return whether a file could not be made: one of that name may be there all the same, from before."""
        return any(line.startswith(f"{name} ") for line in self.warnings)
