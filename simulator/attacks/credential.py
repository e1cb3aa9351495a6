"""Wrong machine tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.catalogue import HEX_DIGITS, Moment, Shot, ShotAttack, forge, random_hex
from simulator.history import Answer

if TYPE_CHECKING:
    import numpy as np

    from simulator.fleet.machine import Machine

TOKEN_DIGITS = 48


class WrongToken(ShotAttack):
    """Random and near-miss tokens."""

    name = "credential.wrong-token"
    shape = "a heartbeat with a random token, or with the victim's token but for one digit"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_machine_token"
    anchor = "OWASP API2:2023"

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Guess."""
        token = random_hex(rng, TOKEN_DIGITS)
        if rng.random() < 0.5:  # noqa: PLR2004 - half and half
            true = victim.token.decode()
            at = int(rng.integers(TOKEN_DIGITS))
            other = HEX_DIGITS[(HEX_DIGITS.index(true[at]) + 1 + int(rng.integers(15))) % 16]
            token = true[:at] + other + true[at + 1 :]
        return forge(victim, moment, rng, Answer.INVALID_TOKEN, token=token, signing_key=token.encode())
