"""The attack catalogue, one module a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.certificate import RotatedOut
from simulator.attacks.credential import WrongToken
from simulator.attacks.replay import ReplayExact
from simulator.attacks.signature import ForgedSignature
from simulator.attacks.skew import SkewAhead, SkewBehind

if TYPE_CHECKING:
    from simulator.attacks.catalogue import Attack

CATALOGUE: dict[str, type[Attack]] = {
    attack.name: attack for attack in (ReplayExact, SkewBehind, SkewAhead, WrongToken, ForgedSignature, RotatedOut)
}
"""Every attack by its stable name."""


def shot_attack(name: str) -> ShotAttack:
    """Make an attack of single heartbeats. Raises TypeError for a script."""
    attack = CATALOGUE[name]()
    if not isinstance(attack, ShotAttack):
        raise TypeError(f"{name} is a script")
    return attack
