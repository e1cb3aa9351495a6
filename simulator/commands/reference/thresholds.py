"""The page of the metrics that thresholds are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.commands.reference.markdown import code, page, prose, sentence, table
from simulator.scenario.metrics import AGGREGATES, METRIC_ROWS, PART_EXAMPLES, PART_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.scenario.metrics import Metric

_PARTS = {
    "operation": "One kind of honest request, like `policy-fetch`.",
    "attack": "All campaigns of an attack, like `replay.exact`; [attacks](attacks.md) names them.",
    "campaign": "One campaign, by its number from 1 among the scenario's `[[attacks]]`.",
}


def thresholds_page() -> str:
    """Return the page: each metric, what may be asked of it, and what it measures."""
    blocks = []
    for kind, rows in PART_ROWS.items():
        blocks += [f"## Of one {kind}", _PARTS[kind], _rows(rows, f"{kind}.{PART_EXAMPLES[kind]}.")]
    return page(
        "Metrics of thresholds",
        "A threshold is an expression over a metric: `p(95)<250ms`, `rate>0.999`, `count==0`, `max<256MB`. Times have "
        "a unit, all else but memory has none. `hatchfarm metrics` says the same.",
        table(("asked", "what it is"), ((code(name), prose(sentence(what))) for name, what in AGGREGATES.items())),
        "## Of the whole run",
        _rows(METRIC_ROWS, ""),
        *blocks,
    )


def _rows(rows: Iterable[Metric], prefix: str) -> str:
    cells = [
        (code(f"{prefix}{one.name}"), ", ".join(map(code, one.aggregates)), code(one.example), sentence(one.meaning))
        for one in rows
    ]
    return table(("metric", "may be asked", "example", "what it measures"), cells)
