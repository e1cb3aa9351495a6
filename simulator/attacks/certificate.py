"""Certificates that are no longer the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.catalogue import Moment, Shot, ShotAttack, forge
from simulator.history import Answer

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.machine import Machine


class RotatedOut(ShotAttack):
    """The certificate before the last rotation, unexpired."""

    name = "certificate.rotated-out"
    shape = "an otherwise right heartbeat under the certificate from before the victim's last rotation"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_or_expired_machine_cert"
    anchor = "contract §3: rotation kills the old certificate at once"

    def prepare(self, victim: Machine) -> None:
        """Have the owner rotate the victim's certificate."""
        victim.rotate_due = True

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Wait for the rotation."""
        return super().ready(victim, moment) and bool(victim.previous_certificate_id)

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Use the old certificate."""
        return forge(
            victim,
            moment,
            rng,
            Answer.INVALID_CERTIFICATE,
            certificate_id=victim.previous_certificate_id,
            certificate=victim.previous_certificate_number,
        )
