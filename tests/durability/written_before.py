"""One life of a server, the same each time, so that what two versions write of it can be compared byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.snapshots import snapshot
from tests.durability.test_recovery_is_exact import BAD, SEGMENT, Story, later

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS: tuple[Callable[[Story], object], ...] = (
    lambda story: story.register("ada"),
    lambda story: story.register("céline <&>"),
    lambda story: story.make_policy("ada"),
    lambda story: story.make_policy("céline <&>"),
    lambda story: story.make_policy("ada", BAD),
    lambda story: story.consent(0, 0),
    lambda story: story.consent(1, 1),
    lambda story: story.consent(0, 1),
    lambda story: story.beat(0, 0),
    lambda story: story.beat(1, 1, ahead_seconds=80),
    lambda story: story.rotate(0),
    lambda story: story.rotate(1, BAD),
    lambda story: story.send(story.api, "wrk_unknown", "t", "c", b'{"timestamp":"2026"}'),
    lambda story: story.beat(0, 0),
    lambda story: story.revoke(1, "céline <&>"),
    lambda story: story.revoke(0, "céline <&>"),
    lambda story: story.beat(1, 1),
    lambda story: story.make_policy("ada"),
    lambda story: story.consent(0, 2),
    lambda story: story.beat(0, 2),
    lambda story: story.beat(0, 2),
)
SNAPSHOT_AT = 12
"""How many steps are in the snapshot; the rest is in the journal only."""


def written() -> dict[str, object]:
    """Return what is written of that life: a snapshot, the groups after it, and a snapshot of the end."""
    story = Story()
    kept = b""
    for number, step in enumerate(STEPS):
        if number == SNAPSHOT_AT:
            kept, story.groups = b"".join(snapshot(story.state, story.now, SEGMENT)), []
        step(story)
        story.commit()
        story.now = later(story.now, 7)
    end = b"".join(snapshot(story.state, story.now, SEGMENT))
    return {"state_file": kept.decode(), "groups": [group.hex() for group in story.groups], "end": end.decode()}
