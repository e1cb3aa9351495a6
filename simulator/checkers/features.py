"""The features checker: the target has all that the contract adds to the published API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.features import LACKS, Feature

if TYPE_CHECKING:
    from collections.abc import Collection


def check_features(lacks: Collection[str]) -> Verdict:
    """Return the verdict on what the target was found to lack before the run; each of it is one finding."""
    figures = {"lacks": sorted(lacks)}
    if not lacks:
        return Verdict("features", Status.PASS, "The target has all that the contract adds.", (), figures)
    findings = tuple(
        Finding(
            f"features.{one}",
            f"{LACKS[one].does}; not tried: {LACKS[one].not_tried}",
            0,
            {"feature": str(one), "not_tried": LACKS[one].not_tried},
        )
        for one in Feature
        if one in lacks
    )
    what = "; ".join(LACKS[one].does for one in Feature if one in lacks)
    summary = f"The target lacks {len(findings)} of {len(Feature)} things that the contract adds: {what}."
    return Verdict("features", Status.FAIL, summary, findings, figures)
