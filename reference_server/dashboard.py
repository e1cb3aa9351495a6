"""A dashboard for Grafana over the server's metrics (contract §10), as JSON to be imported: all its panels, in rows.

Each server is one `instance`, and those of one group one `job`, both chosen above the panels. Counters are shown as
rates over Grafana's own interval. What a server without Redis or a state file has not is an empty panel.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH, HEIGHT = 24, 8
"""Grafana's grid: columns, and how many of its rows a panel is high."""
SCHEMA_VERSION = 39
"""Of Grafana 10.4 and later; an older one says that it reads a newer dashboard, and shows it."""
SOURCE = {"type": "prometheus", "uid": "${source}"}
TARGET = 'job=~"$job",instance=~"$instance"'
LEFT_OUT: Mapping[str, str] = {}
"""Metrics that no panel shows, each with the reason."""

Unit = Literal["short", "reqps", "s", "bool"]


class Query(msgspec.Struct, frozen=True):
    """What is asked of Prometheus: `{}` stands for the labels of the chosen servers. `legend` names each series."""

    expression: str
    legend: str


class Panel(msgspec.Struct, frozen=True):
    """One panel: `words` say how to read it. One of `kind` stat shows the newest value, `bool` being yes or no."""

    title: str
    words: str
    queries: tuple[Query, ...]
    unit: Unit = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 12
    bad: Literal["", "zero", "other"] = ""
    """Which value of a stat is bad and red: none, zero, or any other."""


def _rate(metric: str, by: str = "") -> str:
    """Return a counter's rate by server, and by a label of its own."""
    return f"sum by (instance{f', {by}' if by else ''}) (rate({metric}{{}}[$__rate_interval]))"


def _is_on(title: str, metric: str, words: str, bad: Literal["zero", "other"]) -> Panel:
    return Panel(title, words, (Query(f"{metric}{{}}", "{{instance}}"),), "bool", "stat", 4, bad)


_LABELLED = "{{instance}} {{%s}}"
ROWS: Mapping[str, tuple[Panel, ...]] = {
    "Now": (
        _is_on(
            "Stale workers", "hatchfarm_alert_stale_workers",
            "Yes when any worker is stale. The runbook is that of HatchFarmStaleWorkers.", "other",
        ),
        _is_on(
            "Worker auth failures", "hatchfarm_alert_worker_auth_failures",
            "Yes when recent failures reach the threshold. The runbook is that of HatchFarmWorkerAuthFailures.",
            "other",
        ),
        _is_on("State durable", "hatchfarm_state_durable", "No when a change could not be made durable.", "zero"),
        _is_on("Shared state up", "hatchfarm_shared_state_up", "No while the state is not shared.", "zero"),
        _is_on("Nonce store up", "hatchfarm_nonce_store_up", "No while nonces are not shared.", "zero"),
        _is_on("Rate limiter up", "hatchfarm_rate_limiter_up", "No while the shared rate limit is away.", "zero"),
        Panel(
            "Up for", "Seconds since the server started: a fall to zero is a restart.",
            (Query("hatchfarm_uptime_seconds{}", "{{instance}}"),), "s", "stat", 4,
        ),
        Panel(
            "Ledger off by", "By how much all balances are off zero. Anything but 0 is money that came from nowhere.",
            (Query("abs(hatchfarm_ledger_imbalance{})", "{{instance}}"),), "short", "stat", 4, "other",
        ),
    ),
    "Fleet": (
        Panel(
            "Workers", "Fresh are those that are neither stale nor unknown, which were never heard from.",
            (
                Query(
                    "hatchfarm_workers_total{} - hatchfarm_workers_stale_total{} - hatchfarm_workers_unknown_total{}",
                    "{{instance}} fresh",
                ),
                Query("hatchfarm_workers_stale_total{}", "{{instance}} stale"),
                Query("hatchfarm_workers_unknown_total{}", "{{instance}} unknown"),
            ),
        ),
        Panel(
            "Heartbeats a second, by status",
            "Those that were decided; what the rate limit refuses never gets so far.",
            (Query(_rate("hatchfarm_heartbeats_total", "status"), _LABELLED % "status"),), "reqps",
        ),
    ),
    "Who is let in": (
        Panel(
            "Worker auth failures a second, by reason", "Nonces shown again are replays; guessed tokens are an attack.",
            (Query(_rate("hatchfarm_worker_auth_failures_by_reason_total", "reason"), _LABELLED % "reason"),), "reqps",
        ),
        Panel(
            "Worker auth failures in the alert's window", "What the alert goes by.",
            (Query("hatchfarm_worker_auth_failures_recent{}", "{{instance}}"),),
        ),
        Panel(
            "Worker auth failures a second, and those that name no worker",
            "Many that name none are somebody who guesses ids.",
            (
                Query(_rate("hatchfarm_worker_auth_failures_total"), "{{instance}} all"),
                Query(_rate("hatchfarm_worker_auth_failures_unattributed_total"), "{{instance}} name no worker"),
            ),
            "reqps",
        ),
        Panel(
            "Keys and sessions refused a second", "Agents' keys and people's sessions that are none.",
            (Query(_rate("hatchfarm_auth_failures_total", "principal"), _LABELLED % "principal"),), "reqps",
        ),
        Panel(
            "Requests over the rate limit a second", "Many at once may be many machines at one address.",
            (Query(_rate("hatchfarm_rate_limited_total"), "{{instance}}"),), "reqps",
        ),
        Panel(
            "Shared rate limit: requests it did not decide", "A second: while it is away each server counts alone.",
            (Query(_rate("hatchfarm_rate_limiter_failures_total"), "{{instance}}"),), "reqps",
        ),
    ),
    "Market": (
        Panel("Jobs by state", "Now.", (Query("hatchfarm_jobs{}", _LABELLED % "state"),)),
        Panel(
            "Jobs that came to a state, a second", "",
            (Query(_rate("hatchfarm_job_transitions_total", "to"), _LABELLED % "to"),), "reqps",
        ),
        Panel(
            "Withdrawals that came to a state, a second", "",
            (Query(_rate("hatchfarm_withdrawals_total", "state"), _LABELLED % "state"),), "reqps",
        ),
        Panel(
            "Reports ignored a second", "What machines reported and could not be read.",
            (Query(_rate("hatchfarm_reports_ignored_total", "kind"), _LABELLED % "kind"),), "reqps",
        ),
        Panel(
            "Agents and people", "Registered agents, and sessions of people that logged in.",
            (
                Query("hatchfarm_agents{}", "{{instance}} agents"),
                Query("hatchfarm_sessions{}", "{{instance}} sessions"),
            ),
        ),
    ),
    "What it keeps": (
        Panel(
            "Nonces remembered, and addresses with a token bucket", "Both are bounded, and take memory.",
            (
                Query("hatchfarm_nonces_live{}", "{{instance}} nonces"),
                Query("hatchfarm_rate_limit_buckets{}", "{{instance}} addresses"),
            ),
        ),
        Panel(
            "Changes made durable a second", "Groups of changes, and snapshots put in place.",
            (
                Query(_rate("hatchfarm_state_commits_total"), "{{instance}} commits"),
                Query(_rate("hatchfarm_state_snapshots_total"), "{{instance}} snapshots"),
            ),
            "reqps",
        ),
        Panel(
            "Groups of changes in each instance", "Lines that part are an instance that does not keep up.",
            (Query("hatchfarm_shared_groups{}", "{{instance}}"),),
        ),
        Panel(
            "Nonces without the shared store",
            "Decided by memory a second, found accepted elsewhere too, and how many it is still to be told.",
            (
                Query(_rate("hatchfarm_nonce_fallbacks_total"), "{{instance}} by memory"),
                Query(_rate("hatchfarm_nonce_conflicts_total"), "{{instance}} accepted twice"),
                Query("hatchfarm_nonces_owed{}", "{{instance}} to be told"),
            ),
        ),
    ),
}  # fmt: skip


def queries() -> list[str]:
    """Return every expression, with `{}` where the labels of the chosen servers go."""
    return [query.expression for panels in ROWS.values() for panel in panels for query in panel.queries]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _at(0, y, WIDTH, 1)})
        y += 1
        x = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            panels.append(_panel(panel, _at(x, y, panel.width, HEIGHT)))
            x += panel.width
        y += HEIGHT
    return {
        "uid": "hatchfarm-server",
        "title": "HatchFarm server",
        "description": "Printed by `hatchfarm serve --print-dashboard`.",
        "tags": ["hatchfarm"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def dashboard_json() -> str:
    """Return the dashboard as text, as it is imported."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _variables() -> list[dict[str, Any]]:
    def chosen(name: str, label: str, query: str) -> dict[str, Any]:
        return {
            "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "definition": query,
            "refresh": 2, "includeAll": True, "allValue": ".*", "multi": True, "sort": 1,
            "current": {"text": ["All"], "value": ["$__all"]},
        }  # fmt: skip

    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        chosen("job", "Job", "label_values(hatchfarm_uptime_seconds, job)"),
        chosen("instance", "Server", 'label_values(hatchfarm_uptime_seconds{job=~"$job"}, instance)'),
    ]


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": "short" if panel.unit == "bool" else panel.unit}
    if panel.unit == "bool":
        defaults["mappings"] = [{"type": "value", "options": {"0": {"text": "no"}, "1": {"text": "yes"}}}]
    if panel.bad:
        first, rest = ("red", "green") if panel.bad == "zero" else ("green", "red")
        # The first colour is of all below the second's value.
        steps = [{"color": first, "value": None}, {"color": rest, "value": 1}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    else:
        defaults["min"] = 0
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.words,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if panel.kind == "stat" else {},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": query.expression.replace("{}", f"{{{TARGET}}}"),
                "legendFormat": query.legend,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
