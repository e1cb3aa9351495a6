"""Signatures that were not made with the machine's token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, Moment, Shot, ShotAttack, forge, random_hex
from simulator.history import Answer

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.machine import Machine


class ForgedSignature(ShotAttack):
    """Signatures made with another key."""

    name = "signature.forged"
    shape = "a heartbeat with the victim's token and certificate, signed with another key"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_heartbeat_signature"
    anchor = "RFC 9421 §7.3"

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Keep off a certificate that may die first: the server judges it before the signature."""
        return super().ready(victim, moment) and victim.certificate_until_ns - moment.now_ns > CERTIFICATE_MARGIN_NS

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Sign with a key the attacker made up."""
        key = random_hex(rng, 48).encode()
        return forge(victim, moment, rng, Answer.INVALID_SIGNATURE, signing_key=key)
