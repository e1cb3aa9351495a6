"""The attack catalogue, one module a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
