"""axe-core as a test brings it into a page: its script, and what it finds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

FINDINGS = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(
  one => one.id + ": " + one.nodes.map(node => node.html + " " + node.failureSummary).join("; ")))"""
"""An expression for what axe finds wrong in the open page, which has its script."""


def axe() -> str:
    """Return axe's script."""
    package = find_spec("axe_core_python")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8")
