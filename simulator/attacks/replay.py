"""Replays: requests that were accepted once, sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, Moment, Shot, ShotAttack
from simulator.history import Answer

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.machine import Machine

FRESH_NS = 60_000_000_000
"""A captured heartbeat older than this is near the skew window's edge, where another check may refuse it first."""


class ReplayExact(ShotAttack):
    """An accepted heartbeat, byte for byte again."""

    name = "replay.exact"
    shape = "an accepted heartbeat, byte for byte again"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason nonce_replayed"
    anchor = "RFC 9421 §7.2"

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Take only what was captured lately, under the certificate that is still the victim's."""
        return (
            super().ready(victim, moment)
            and moment.now_ns - victim.last_accepted_ns < FRESH_NS
            and victim.certificate_id.encode() in victim.last_accepted
            and victim.certificate_until_ns - moment.now_ns > CERTIFICATE_MARGIN_NS
        )

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Send what was captured."""
        del moment, rng
        nonce = victim.last_accepted.split(b'"nonce":"', 1)[1][:24]
        return Shot(
            victim.last_accepted, bytes.fromhex(nonce.decode()), Answer.NONCE_REPLAYED, victim.certificate_number
        )
