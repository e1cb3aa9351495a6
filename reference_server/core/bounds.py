"""The bounds of a state, as one value that is passed when it is made; the reasons are in `limits.py`.

Bounds may only be lowered: state files are checked against `limits.py`.
"""

from __future__ import annotations

import msgspec

from reference_server import limits
from reference_server.core.community.bounds import COMMUNITY_BOUNDS, CommunityBounds
from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds


class StateBounds(msgspec.Struct, frozen=True):
    """Bounds of the data that requests leave behind; the bounds of tables are in the tables' rows.

    `audit_*` bound the streams of all owners together; the two fields after them bound a single stream.
    """

    audit_routine_max_bytes: int = limits.AUDIT_ROUTINE_MAX_BYTES
    audit_notable_max_bytes: int = limits.AUDIT_NOTABLE_MAX_BYTES
    audit_refused_max_bytes: int = limits.AUDIT_REFUSED_MAX_BYTES
    audit_market_max_bytes: int = limits.AUDIT_MARKET_MAX_BYTES
    unattributed_events_max: int = limits.UNATTRIBUTED_EVENTS_MAX
    market_of_agents_events_max: int = limits.MARKET_OF_AGENTS_EVENTS_MAX
    nonces_max: int = limits.NONCES_MAX
    nonces_a_machine_max: int = limits.NONCES_A_MACHINE_MAX
    rate_limit_buckets_max: int = limits.RATE_LIMIT_BUCKETS_MAX
    market: MarketBounds = MARKET_BOUNDS
    community: CommunityBounds = COMMUNITY_BOUNDS


STATE_BOUNDS = StateBounds()
