"""Serves what the published API says, and no more: `python -m tests.published.double_server …`.

It is the reference server without what the contract adds. `WITHOUT` in the environment names what is taken away, as
`Feature` names it; everything that a test takes away by default unless given.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from simulator.contract.features import Feature
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import plant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

VARIABLE = "PUBLISHED_DOUBLE_WITHOUT"
TAKEN_AWAY = frozenset(Feature) - {Feature.HEALTH}
"""All but the health page, which most attacks need: without it they are not tried, and prove nothing of the others."""
REPLIES, VIEWS, EXPOSITION = (
    "reference_server.wire.replies",
    "reference_server.core.views",
    "reference_server.wire.exposition",
)
EDITS: Mapping[Feature, tuple[Edit, ...]] = {
    Feature.JSON_404: (
        Edit(
            REPLIES,
            "failure",
            "    return Reply(status,",
            "    if status == 404:\n"
            "        plain = (('content-type', 'text/plain; charset=utf-8'),)\n"
            "        return Reply(404, b'404 page not found\\n', plain + extra)\n"
            "    return Reply(status,",
        ),
    ),
    Feature.RETRY_AFTER: (
        Edit(
            REPLIES,
            "rate_limited",
            "return _rate_limited(-(-wait_ns // SECOND_NS))",
            "return RATE_LIMITED",
        ),
    ),
    Feature.CHAIN: (
        Edit(VIEWS, "audit_events", 'paged("events", [], 0, page, heads={})', 'paged("events", [], 0, page)'),
        Edit(
            VIEWS,
            "audit_events",
            'paged("events", events, total, page, heads=heads)',
            "paged('events', [{name: value for name, value in event.items() if name not in "
            "('stream', 'sequence', 'previous_hash', 'hash')} for event in events], total, page)",
        ),
    ),
    Feature.STALE_THRESHOLD: (
        Edit(VIEWS, "workers_summary", '"unknown": 0, "stale_threshold": threshold}', '"unknown": 0}'),
        Edit(VIEWS, "workers_summary", '            "stale_threshold": threshold,\n', ""),
    ),
    Feature.UNATTRIBUTED: (
        Edit(
            EXPOSITION,
            "_Collector.collect",
            "        (\n"
            '            "hatchfarm_worker_auth_failures_unattributed",\n'
            '            "Worker auth failures that named no known worker.",\n'
            "            figures.failures_unattributed,\n"
            "        ),\n",
            "",
        ),
    ),
}
ROUTES = {
    Feature.STATUS: ("/status", False),
    Feature.API_METRICS: ("/metrics", False),
    Feature.HEALTH: ("/health", True),
    Feature.KEYS: ("/.well-known/hatchfarm-keys", True),
}
"""Path, and whether it stands outside the prefixes."""
FAMILIES = {
    Feature.AGENTS: "/agents/",
    Feature.JOBS: "/jobs",
    Feature.WALLET: "/wallet/",
    Feature.FORUM: "/forum/",
    Feature.LOGINS: "/auth/",
}
"""How the paths of many routes at once begin."""


def take_away(features: Collection[Feature]) -> None:
    """Take features out of the server in this process, before anything of it is in use."""
    for feature in (Feature.JSON_404, Feature.RETRY_AFTER):  # first: whole replies are made when modules load
        if feature in features:
            plant(EDITS[feature])
    from reference_server.operations import table  # noqa: PLC0415 - once replies are what they shall be

    gone = {ROUTES[feature] for feature in features if feature in ROUTES}
    begin = tuple(FAMILIES[feature] for feature in features if feature in FAMILIES)
    table.OPERATIONS = tuple(
        one for one in table.OPERATIONS if (one.path, one.rooted) not in gone and not one.path.startswith(begin)
    )
    if Feature.V1 in features:
        table.PREFIXES = table.PREFIXES[:1]  # type: ignore[assignment]
        from reference_server.http import plain_heads  # noqa: PLC0415 - as above

        plain_heads._PLAIN = re.compile(plain_heads._PLAIN.pattern.replace(b"(?:api/)?v1", b"api/v1"))
    for feature in (Feature.CHAIN, Feature.STALE_THRESHOLD, Feature.UNATTRIBUTED):
        if feature in features:
            plant(EDITS[feature])


def main() -> int:
    """Run the command that the arguments name, on such a server."""
    named = os.environ.get(VARIABLE)
    take_away(TAKEN_AWAY if named is None else {Feature(name) for name in named.split()})
    from reference_server.__main__ import main as serve  # noqa: PLC0415 - as above

    return serve()


if __name__ == "__main__":
    sys.exit(main())
