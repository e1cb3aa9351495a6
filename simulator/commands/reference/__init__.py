"""The reference pages of the docs, made from the code, so that they cannot say anything else than it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.commands.reference.attacks import attacks_page
from simulator.commands.reference.commands import commands_page
from simulator.commands.reference.metrics import metrics_page
from simulator.commands.reference.rules import rules_page
from simulator.commands.reference.scenario import scenario_page
from simulator.commands.reference.settings import settings_page
from simulator.commands.reference.thresholds import thresholds_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGES: Mapping[str, Callable[[], str]] = {
    "scenario": scenario_page,
    "thresholds": thresholds_page,
    "attacks": attacks_page,
    "rules": rules_page,
    "settings": settings_page,
    "metrics": metrics_page,
    "commands": commands_page,
}
"""By the name of its file."""


def reference_pages() -> dict[str, str]:
    """Return every page's text, by the name of its file."""
    return {f"{name}.md": page() for name, page in PAGES.items()}
