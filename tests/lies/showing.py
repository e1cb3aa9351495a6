"""Lies about what is shown: audit, statuses, metrics, each with the rules that it must break."""

from __future__ import annotations

import msgspec

from tests.lies.changing import (
    AUDIT,
    HEALTH,
    STATUSES,
    SUMMARY,
    FoundLie,
    body,
    data,
    filtered,
    foreign_machine,
    hours_on,
    old_metrics,
    put,
    rechained,
    shift_events,
    to,
    wrong_hour,
)

SHOWN: dict[str, FoundLie] = {
    # what is shown
    "events stamped an hour ahead": FoundLie(to(AUDIT, rechained(shift_events)), ("contents.event-times",)),
    "events stamped an hour ahead, with the old hashes": FoundLie(
        to(AUDIT, data(lambda shown: shift_events(shown["events"]))), ("contents.event-times", "audit.hash")
    ),
    "one heartbeat's event left out": FoundLie(
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
    "an event told twice": FoundLie(
        to(AUDIT, rechained(lambda events: events.append(dict(events[-1])))), ("audit.duplicate",)
    ),
    "an audit page that says another total": FoundLie(
        to(AUDIT, data(lambda shown: shown.update(total=shown["total"] + 1))), ("contents.page-total",)
    ),
    "an audit page of another offset": FoundLie(to(AUDIT, put(7, "offset")), ("contents.page-echo",)),
    "statuses from an hour ago": FoundLie(to(STATUSES, data(wrong_hour)), ("contents.status-age",)),
    "last heartbeats by another clock than their ages": FoundLie(
        to(STATUSES, hours_on("last_heartbeat")), ("contents.status-age",)
    ),
    "a machine that is not shown": FoundLie(
        to(STATUSES, data(lambda shown: (shown["workers"].pop(), shown.update(total=1)))), ("contents.status-missing",)
    ),
    "fresh machines shown as stale": FoundLie(
        to(STATUSES, data(lambda shown: [one.update(stale=True) for one in shown["workers"]])),
        ("contents.status-stale",),
    ),
    "another owner's machine": FoundLie(foreign_machine, ("contents.status-foreign",)),
    "a machine under another policy": FoundLie(
        to(STATUSES, data(lambda shown: [one.update(policy_id="pol_00000000000000aa") for one in shown["workers"]])),
        ("contents.status-policy",),
    ),
    "statuses in another order": FoundLie(
        to(STATUSES, data(lambda shown: shown["workers"].reverse())), ("contents.page-order",)
    ),
    "more machines than there are": FoundLie(
        to(SUMMARY, data(lambda shown: shown.update(total=3, fresh=shown["fresh"] + 1))), ("contents.summary",)
    ),
    "a summary that does not add up": FoundLie(to(SUMMARY, put(9, "stale")), ("contents.summary",)),
    "events that the filter leaves out": FoundLie(
        filtered(lambda shown: shown.update(events=[{"type": "x"}], total=1)), ("contents.page-filter",)
    ),
    "a longer page than asked for": FoundLie(
        filtered(lambda shown: shown.update(events=[{"type": "owner_access_denied"}] * 2, total=2)),
        ("contents.page-size",),
    ),
    "a health page without a version": FoundLie(
        to(HEALTH, body(lambda page: page.replace(b'"version"', b'"build"'))), ("contents.health",)
    ),
    "a health page that is a list": FoundLie(to(HEALTH, body(lambda page: b"[" + page + b"]")), ("contents.bare",)),
    "metrics that are partly old": FoundLie(old_metrics("hatchfarm_workers_unknown_total"), ("alerts.unknown",)),
    "failures that were never counted": FoundLie(
        old_metrics("hatchfarm_worker_auth_failures_total", "hatchfarm_worker_auth_failures_recent"),
        ("alerts.failures", "alerts.recent", "alerts.sum"),
    ),
    "a bare success": FoundLie(
        to(SUMMARY, body(lambda content: msgspec.json.encode(msgspec.json.decode(content)["data"]))),
        ("contents.envelope",),
    ),
}
