"""What owners' streams hold after an attack, against what must be there; an effect may leave object and reason open."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from reference_server.wire.values import Request
from tests.attacks.effects import events_due
from tests.attacks.playing import TOKEN

if TYPE_CHECKING:
    from tests.attacks.effects import Event
    from tests.attacks.playing import World


def compare(world: World, owner_id: str) -> tuple[Counter[Event], Counter[Event]]:
    """Return the events that an owner's list lacks, and those that nothing explains: read through the API, by pages."""
    missing = events_due(world, owner_id)
    extra = Counter(events_listed(world, owner_id))
    exact = missing & extra
    missing -= exact
    extra -= exact
    for wanted in list(missing.elements()):
        fitting = next((event for event in sorted(extra) if _fits(event, wanted)), None)
        if fitting is not None:
            missing -= Counter([wanted])
            extra -= Counter([fitting])
    return missing, extra


def events_listed(world: World, owner_id: str) -> list[Event]:
    """Read an owner's whole list but for accepted heartbeats."""
    events: list[Event] = []
    offset = 0
    while True:
        headers = (("authorization", f"Bearer {TOKEN}"), ("x-owner-id", owner_id))
        request = Request("GET", "/api/v1/audit/events", f"limit=500&offset={offset}", headers, client="10.9.9.9")
        data = json.loads(world.api.handle(request, world.instant).body)["data"]
        events += [
            (event["type"], event["actor"], event["object_id"], event["metadata"].get("reason", ""))
            for event in data["events"]
            if event["type"] != "worker_heartbeat"
        ]
        offset += 500
        if offset >= data["total"]:
            return events


def _fits(event: Event, wanted: Event) -> bool:
    kind, actor, object_id, reason = wanted
    return (
        event[:2] == (kind, actor) and (not object_id or event[2] == object_id) and (not reason or event[3] == reason)
    )
