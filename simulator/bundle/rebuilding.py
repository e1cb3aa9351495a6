"""Writing the reports of a stored run again, without making an altered run look genuine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.bundle import manifest
from simulator.bundle.verify import read_bundle, read_verdict
from simulator.bundle.writing import SCENARIO, read_scenario, write_views
from simulator.errors import BundleError
from simulator.report.files import VIEW_FILES, WriteResult

if TYPE_CHECKING:
    from pathlib import Path


def rebuild(folder: Path, to: Path | None) -> WriteResult:
    """Write the reports of the run in `folder` into that folder, or into `to`. Raises BundleError and OSError.

    In the run's own folder the manifest is written again. So nothing but reports may differ from the old manifest:
    otherwise altered evidence would get a new manifest that matches it.
    """
    verdict = read_verdict(folder)
    record, history = read_bundle(folder)
    scenario_text = read_scenario(folder / SCENARIO)
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        return WriteResult(None, write_views(to, verdict, record, history, scenario_text, follow=True))
    listed, _ = manifest.read_manifest(folder)
    altered = [one for one in manifest.differences(listed, folder) if one.name not in VIEW_FILES]
    if altered:
        raise BundleError(f"{altered[0]}: `hatchfarm verify` says more, and --to draws it elsewhere all the same")
    warnings = write_views(folder, verdict, record, history, scenario_text)
    renewed = manifest.write_manifest(folder).digest()
    note = ""
    if renewed != listed.digest():
        note = f"The reports are not those there were, so the bundle's digest is no longer {listed.digest()}"
    return WriteResult(renewed, warnings, note)
