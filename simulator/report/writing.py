"""Writing what a run leaves behind: first the verdict and the evidence, then what is made from them, last the manifest.

Nothing that goes wrong on the way takes away what was written before it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from simulator.bundle.errors import BundleError
from simulator.bundle.manifest import write_manifest
from simulator.bundle.record import write_record
from simulator.bundle.tables import write_history
from simulator.limits import SCENARIO_MAX_BYTES
from simulator.report.verdict_file import write_verdict

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.bundle.record import RunRecord
    from simulator.history import History
    from simulator.report.verdict_file import RunVerdict

SCENARIO = "scenario.toml"
PAGE, JUNIT, SARIF, SUMMARY, METRICS = "report.html", "junit.xml", "findings.sarif", "summary.md", "metrics.om"
VIEW_FILES = frozenset({PAGE, JUNIT, SARIF, SUMMARY, METRICS})
"""What is made from the rest, and can be made again."""


_SECRET_SETTING = re.compile(  # backtracking: a text in quotes ends at the first that close it
    r"""((?:PASSWORD|SECRET|TOKEN)[\w"']{0,64}\s*=\s*)"""
    r"""("{3}.*?"{3}|'{3}.*?'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,}\#]+)""",
    re.DOTALL,
)
"""A setting that may hold a secret, by its name, and its value in any of TOML's forms."""


class Written(msgspec.Struct, frozen=True):
    """What became of the files: the bundle's digest, None without a manifest, and a line for each that is missing.

    `note` is what else there is to say.
    """

    digest: str | None
    warnings: list[str]
    note: str = ""


def write_bundle(
    folder: Path,
    verdict: RunVerdict,
    record: RunRecord,
    history: History,
    scenario_text: str,
    *,
    reports: bool = True,
) -> Written:
    """Write everything, or all but the reports, into a new folder.

    Raises OSError when not even the verdict can be written.
    """
    write_verdict(verdict, folder)
    warnings = []
    try:
        write_record(record, folder)
        write_history(history, folder)
        (folder / SCENARIO).write_text(scenario_text, encoding="utf-8", newline="")
    except OSError as error:
        warnings.append(f"the history could not be written ({error.strerror}): the verdict cannot be verified later")
    if reports:
        warnings += write_views(folder, verdict, record, history, scenario_text)
    try:
        return Written(write_manifest(folder).digest(), warnings)
    except (OSError, BundleError) as error:
        return Written(None, [*warnings, f"{folder} has no manifest ({error})"])


def write_views(
    folder: Path, verdict: RunVerdict, record: RunRecord, history: History, scenario_text: str
) -> list[str]:
    """Write the page, JUnit, SARIF and summary; gives a line for each that could not be made."""
    from simulator.report.views import VIEWS, Material  # noqa: PLC0415 - slow to load, and needed at the end of a run only

    material = Material(verdict, record, history, scenario_text)
    warnings = []
    for name, make in VIEWS.items():
        try:
            temporary = folder / f".{name}.tmp"
            temporary.write_bytes(make(material))
            temporary.replace(folder / name)
        except Exception as error:  # noqa: BLE001 - a report that cannot be drawn must not cost the verdict
            warnings.append(f"{name} could not be made ({type(error).__name__}: {error})")
    return warnings


def read_scenario(path: Path) -> str:
    """Read a scenario file for the bundle, without passwords of the server's; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(SCENARIO_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return _SECRET_SETTING.sub(r'\1"[redacted]"', text)
