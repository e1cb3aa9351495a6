"""The page of what the server shows at `/metrics`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import reference_server
from reference_server.wire.exposition import Figures, expose
from simulator.commands.reference.markdown import code, page, prose, table

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN_WITH = {
    "adapters/nonce_figures.py": "With a Redis for nonces (`REDIS_ADDR`)",
    "adapters/redis/limiter.py": "With a Redis for the rate limit (`REDIS_RATE_LIMIT_ENABLED`)",
    "pipeline/committing.py": "With a state file (`HATCHFARM_STATE_FILE`)",
    "pipeline/sharing.py": "With shared state (`HATCHFARM_SHARED_STATE`)",
}
"""What a server needs to show the figures that a module makes; those of all others are always shown."""
_ALWAYS = "Always"
_HEAD = re.compile(r"^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)\n(?:\S+\{(\w+)=)?", re.MULTILINE)


class _Metric(msgspec.Struct, frozen=True):
    name: str
    kind: str
    label: str
    meaning: str


def metrics_page() -> str:
    """Return the page: each metric's name, type and label, and when it is shown."""
    shown: dict[str, list[_Metric]] = {_ALWAYS: [*_of_every_server()], **{when: [] for when in _SHOWN_WITH.values()}}
    room = Path(reference_server.__file__).parent
    for path in sorted(room.rglob("*.py")):
        shown[_SHOWN_WITH.get(path.relative_to(room).as_posix(), _ALWAYS)] += _made_by(path)
    blocks = []
    for when, metrics in shown.items():
        cells = [(code(one.name), one.kind, code(one.label), prose(one.meaning)) for one in metrics]
        blocks += [f"## {when.partition(' (')[0]}"]
        if needs := re.search("`([^`]+)`", when):
            blocks.append(f"Shown where [`{needs[1]}`](settings.md) is set.")
        blocks.append(table(("metric", "type", "label", "what it shows"), cells))
    return page(
        "Metrics of the server",
        "`GET /metrics` shows these in Prometheus' text format, to whoever has the owners' token (or to all, with "
        "`METRICS_PUBLIC`). All numbers of one scrape are of one moment. "
        "[Alerts and runbooks](../prometheus.md) are over them.",
        *blocks,
    )


def _of_every_server() -> Iterator[_Metric]:
    """Return those that are shown without any figures of the server's parts: read as Prometheus would."""
    values: dict[str, Any] = dict.fromkeys(Figures.__struct_fields__, 0)
    values |= {"failures_by_reason": {"": 0}, "heartbeat_answers": {200: 0}, "more": ()}
    figures = Figures(**values)
    for name, meaning, kind, label in _HEAD.findall(expose(figures).decode()):
        yield _Metric(name, kind, label, meaning)


def _made_by(path: Path) -> Iterator[_Metric]:
    """Find the figures that a module makes, in its source: many are made only where a server has started."""
    text = path.read_text(encoding="utf-8")
    if "Figure" not in text or path.name == "exposition.py":
        return
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call) or ast.unparse(call.func) not in {"Figure", "Figure.labelled"}:
            continue
        labelled = ast.unparse(call.func) == "Figure.labelled"
        name, meaning, label = (ast.literal_eval(one) for one in (call.args[0], call.args[1], call.args[2 * labelled]))
        counts = {one.arg: ast.literal_eval(one.value) for one in call.keywords if one.arg == "counts"}
        kind = "counter" if counts.get("counts", labelled) else "gauge"
        full = f"{name.removesuffix('_total')}_total" if kind == "counter" else name
        yield _Metric(full, kind, label if labelled else "", meaning)
