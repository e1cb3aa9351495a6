"""Every bound of the simulator, units last, each with its reason."""

from __future__ import annotations

MACHINES_MAX = 1_000_000
"""More than the 16 million loopback addresses and one shard's memory (12 KB each) are meant for."""
OWNERS_MAX = 10_000
DURATION_MAX_SECONDS = 7 * 86_400
"""A week: what a history of 64 bytes a request still fits in memory at a modest rate."""
SEED_MAX = (1 << 63) - 1
"""What a signed 64-bit integer holds: TOML promises no more, and no reader of verdict.json is surprised."""
ATTACK_RATE_MAX = 10_000
ATTACKS_MAX = 200
"""A history row has one byte for the campaign."""
SCENARIO_MAX_BYTES = 1 << 20
ONBOARDING_MAX_CONCURRENT = 32
"""Machines registering at once: enough to keep a server busy, too few to time out behind each other."""
ANSWER_TIMEOUT_SECONDS = 10.0
ANSWER_MAX_BYTES = 4 << 20
"""An answer longer than this is not one of this API's."""
ATTACKER_RATE_PER_SECOND = 4.0
"""Requests a second from one attacker's address: inside the default limit of 5, so that refusals say something."""
LATENCIES_KEPT = 50_000
"""Response times the live display remembers of the last second."""
FINDINGS_MAX = 20
"""Findings a verdict lists; the rest is counted."""
VICTIMS_MAX = 200
"""Machines one campaign attacks at most; more would only dilute the evidence."""
