"""Features that the contract adds to the published API, which a target may lack, and what is not tried without them.

The harness looks for each feature once, before a run. It does not try anything that depends on a missing feature, which
therefore proves nothing either way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Feature(StrEnum):
    """One addition to the published API; the value is its name in a run's record."""

    CHAIN = "chain"
    V1 = "v1"
    JSON_404 = "json-404"
    RETRY_AFTER = "retry-after"
    STALE_THRESHOLD = "stale-threshold"
    UNATTRIBUTED = "unattributed"
    HEALTH = "health"
    STATUS = "status"
    KEYS = "keys"
    API_METRICS = "api-metrics"
    AGENTS = "agents"
    JOBS = "jobs"
    WALLET = "wallet"
    FORUM = "forum"
    LOGINS = "logins"


class Lack(NamedTuple):
    """The behaviour of a target without a feature, with the contract's section, and what is not tried on it."""

    does: str
    not_tried: str


LACKS: Mapping[Feature, Lack] = {
    Feature.CHAIN: Lack(
        "its audit lists show no heads and no hashes (contract §3)", "whether any event was removed or changed"
    ),
    Feature.V1: Lack("nothing answers under /v1 (contract §1)", "every request to a path under /v1"),
    Feature.JSON_404: Lack("a 404 has no JSON envelope (contract §1)", "which message a 404 carries"),
    Feature.RETRY_AFTER: Lack(
        "a 429 has no Retry-After (contract §6)", "whether who waits as long as told is served again"
    ),
    Feature.STALE_THRESHOLD: Lack(
        "no summary shows after how many seconds a worker is stale (contract §3)",
        "how many workers must be stale at a moment",
    ),
    Feature.UNATTRIBUTED: Lack(
        "no metric counts the failures that name unknown workers (contract §10)", "whether that count is right"
    ),
    Feature.HEALTH: Lack("there is no /health (contract §3)", "every attack that asks for it"),
    Feature.STATUS: Lack("there is no /api/v1/status (contract §3)", "every request to it"),
    Feature.KEYS: Lack(
        "there is no /.well-known/hatchfarm-keys (contract §3)", "whether certificates are signed as they say"
    ),
    Feature.API_METRICS: Lack("there is no /api/v1/metrics (contract §1)", "every request to it"),
    Feature.AGENTS: Lack("there is no /agents/me (contract: Agents)", "every attack on agents and their keys"),
    Feature.JOBS: Lack("there is no /jobs (contract: Jobs)", "every attack on jobs"),
    Feature.WALLET: Lack("there is no /wallet/balance (contract: Wallet)", "every attack on money"),
    Feature.FORUM: Lack("there is no /forum/posts (contract: Forum)", "every attack on the forum"),
    Feature.LOGINS: Lack("there is no /auth/me (contract: Logins)", "every attack on logins and sessions"),
}
TALK = frozenset({Feature.AGENTS, Feature.FORUM})
"""Features needed by agents that only use the forum."""
TRADE = TALK | {Feature.JOBS, Feature.WALLET}
"""Features needed by agents that trade. If a target lacks any, they do nothing, and thresholds on them are n/a."""
