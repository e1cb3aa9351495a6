"""Writing a bundle: first the verdict and the evidence, then the reports made from them, last the manifest.

An error in a later part does not remove what was written before.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from simulator.bundle.manifest import FILE as MANIFEST
from simulator.bundle.manifest import list_files, write_manifest
from simulator.errors import BundleError
from simulator.history.tables import write_history
from simulator.judging.record import write_record
from simulator.judging.verdict_file import point_latest, write_verdict
from simulator.limits import SCENARIO_MAX_BYTES
from simulator.platform.output_files import write_whole
from simulator.report.files import GATES, PAGE, VIEW_FILES, WriteResult
from simulator.report.gates import gates_markdown
from simulator.report.report_input import ReportInput
from simulator.scenario.redacting import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from simulator.judging.verdict_file import RunVerdict

SCENARIO = "scenario.toml"


def write_bundle(
    folder: Path,
    verdict: RunVerdict,
    record: RunRecord,
    history: History,
    scenario_text: str,
    *,
    reports: bool = True,
    others: Callable[[Path], list[str]] = lambda _: [],
) -> WriteResult:
    """Write a bundle, with or without reports, into a new folder. `others` writes more files and returns notes.

    The proof of a release's gates is evidence and not a report: it is written in either case. Raises OSError if not
    even the verdict can be written; then the folder is removed again.
    """
    fresh = not folder.exists()
    try:
        write_verdict(verdict, folder)
    except OSError:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    warnings = [warning] if (warning := point_latest(folder)) else []
    try:
        write_record(record, folder)
        write_history(history, folder)
        (folder / SCENARIO).write_text(scenario_text, encoding="utf-8", newline="")
    except OSError as error:
        warnings.append(f"the history could not be written ({error.strerror}): the verdict cannot be verified later")
    notes = others(folder)
    if reports:
        warnings += write_views(folder, verdict, record, history, scenario_text)
    else:
        warnings += _write(folder, {GATES: gates_markdown}, ReportInput(verdict, record, history, scenario_text))
    try:
        return WriteResult(write_manifest(folder).digest(), warnings, "\n".join(notes))
    except (OSError, BundleError) as error:
        return WriteResult(None, [*warnings, f"{folder} has no manifest ({error})"], "\n".join(notes))


def write_views(
    folder: Path, verdict: RunVerdict, record: RunRecord, history: History, scenario_text: str, *, follow: bool = False
) -> list[str]:
    """Write the reports: page, JUnit, SARIF and summary; return a warning for each that could not be written.

    Symlinks are followed if `follow` is true, for a folder that the user named, and replaced in a run's own folder.
    """
    from simulator.report.views import VIEWS  # noqa: PLC0415 - slow to load, and needed at the end of a run only

    made = ReportInput(verdict, record, history, scenario_text, _beside(folder, manifest=not follow))
    return _write(folder, VIEWS, made, follow=follow)


def _beside(folder: Path, *, manifest: bool) -> tuple[str, ...]:
    """Return the names of the files that will be beside the page.

    For a run's folder, with a `manifest`, these are all its files; for a folder that the user named, which may hold
    anything, or that cannot be read, only the other reports.
    """
    names = VIEW_FILES - {PAGE}
    if not manifest:
        return tuple(sorted(names))
    try:
        return tuple(sorted({*list_files(folder), *names, MANIFEST} - {PAGE}))
    except (OSError, BundleError):
        return tuple(sorted(names))


def _write(
    folder: Path,
    views: Mapping[str, Callable[[ReportInput], bytes]],
    report_input: ReportInput,
    *,
    follow: bool = False,
) -> list[str]:
    warnings = []
    for name, make in views.items():
        try:
            write_whole(folder / name, [make(report_input)], follow=follow)
        except Exception as error:  # noqa: BLE001 - a report that cannot be made must not lose the verdict
            warnings.append(f"{name} could not be made ({type(error).__name__}: {error})")
    return warnings


def read_scenario(path: Path) -> str:
    """Return the text of a stored run's scenario file without the server's passwords; empty if it is unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(SCENARIO_MAX_BYTES)
    except OSError:
        return ""
    return stored_scenario(data)


def stored_scenario(data: bytes) -> str:
    """Return a scenario file's text as bundles hold it: without the server's passwords."""
    return without_secrets(data.decode("utf-8", "replace"))
