"""Lies about what is shown: audit, statuses, metrics, each with the rules that it must break."""

from __future__ import annotations

import msgspec

from tests.lies.telling import (
    AUDIT,
    HEALTH,
    STATUSES,
    SUMMARY,
    Told,
    body,
    data,
    filtered,
    foreign_machine,
    old_metrics,
    put,
    rechained,
    shift_events,
    to,
    wrong_hour,
)

SHOWN: dict[str, Told] = {
    # what is shown
    "events stamped an hour ahead": Told(to(AUDIT, rechained(shift_events)), ("contents.event-times",)),
    "events stamped an hour ahead, with the old hashes": Told(
        to(AUDIT, data(lambda shown: shift_events(shown["events"]))), ("contents.event-times", "audit.hash")
    ),
    "one heartbeat's event left out": Told(
        to(
            AUDIT,
            rechained(
                lambda events: events.remove(
                    next((one for one in events if one["type"] == "worker_heartbeat"), events[0])
                )
            ),
        ),
        ("audit.missing",),
    ),
    "an event told twice": Told(
        to(AUDIT, rechained(lambda events: events.append(dict(events[-1])))), ("audit.duplicate",)
    ),
    "an audit page that says another total": Told(
        to(AUDIT, data(lambda shown: shown.update(total=shown["total"] + 1))), ("contents.page-total",)
    ),
    "an audit page of another offset": Told(to(AUDIT, put(7, "offset")), ("contents.page-echo",)),
    "statuses from an hour ago": Told(to(STATUSES, data(wrong_hour)), ("contents.status-age",)),
    "a machine that is not shown": Told(
        to(STATUSES, data(lambda shown: (shown["workers"].pop(), shown.update(total=1)))), ("contents.status-missing",)
    ),
    "fresh machines shown as stale": Told(
        to(STATUSES, data(lambda shown: [one.update(stale=True) for one in shown["workers"]])),
        ("contents.status-stale",),
    ),
    "another owner's machine": Told(foreign_machine, ("contents.status-foreign",)),
    "a machine under another policy": Told(
        to(STATUSES, data(lambda shown: [one.update(policy_id="pol_00000000000000aa") for one in shown["workers"]])),
        ("contents.status-policy",),
    ),
    "statuses in another order": Told(
        to(STATUSES, data(lambda shown: shown["workers"].reverse())), ("contents.page-order",)
    ),
    "more machines than there are": Told(
        to(SUMMARY, data(lambda shown: shown.update(total=3, fresh=shown["fresh"] + 1))), ("contents.summary",)
    ),
    "a summary that does not add up": Told(to(SUMMARY, put(9, "stale")), ("contents.summary",)),
    "events that the filter leaves out": Told(
        filtered(lambda shown: shown.update(events=[{"type": "x"}], total=1)), ("contents.page-filter",)
    ),
    "a longer page than asked for": Told(
        filtered(lambda shown: shown.update(events=[{"type": "owner_access_denied"}] * 2, total=2)),
        ("contents.page-size",),
    ),
    "a health page without a version": Told(
        to(HEALTH, body(lambda page: page.replace(b'"version"', b'"build"'))), ("contents.health",)
    ),
    "a health page that is a list": Told(to(HEALTH, body(lambda page: b"[" + page + b"]")), ("contents.bare",)),
    "metrics that are partly old": Told(old_metrics("hatchfarm_workers_unknown_total"), ("alerts.unknown",)),
    "failures that were never counted": Told(
        old_metrics("hatchfarm_worker_auth_failures_total", "hatchfarm_worker_auth_failures_recent"),
        ("alerts.failures", "alerts.recent", "alerts.sum"),
    ),
    "a bare success": Told(
        to(SUMMARY, body(lambda content: msgspec.json.encode(msgspec.json.decode(content)["data"]))),
        ("contents.envelope",),
    ),
}
