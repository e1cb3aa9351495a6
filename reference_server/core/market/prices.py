"""Prices of resources: a base price times a factor of their utilisation (contract: Capacity and resources).

Quantities are millionths of a core or a gigabyte, and whole GPUs; prices micro-USDT an hour. Integers only.
"""

from __future__ import annotations

import msgspec

from reference_server.core.market.money import MICRO, divide_half_up

_UTILISATION_STEPS = 10_000
"""Utilisation is shown with four decimals."""
MINUTES_AN_HOUR = 60


class BasePrices(msgspec.Struct, frozen=True):
    """Micro-USDT for an hour of one core, one gigabyte and one GPU, at half use."""

    cpu: int = 10_000
    memory: int = 1_000
    gpu: int = 500_000


class Need(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a job asks for. `model` is empty where any GPU will do."""

    cpu: int
    memory: int
    gpus: int = 0
    model: str = ""


def current_price(base: int, held: int, offered: int) -> int:
    """Return a price at utilisation u = held / offered, rounded half up.

    The factor is linear from 0.5 at u = 0 to 1 at 0.5, to 2 at 1; where nothing is offered, u is 1.
    """
    if offered <= 0 or held >= offered:
        return 2 * base
    if 2 * held <= offered:
        return divide_half_up(base * (offered + 2 * held), 2 * offered)
    return divide_half_up(base * 2 * held, offered)


def utilisation_text(held: int, offered: int) -> str:
    """Write held / offered with four decimals, rounded half up; 1 where nothing is offered."""
    if offered <= 0 or held >= offered:
        return "1.0000"
    steps = divide_half_up(held * _UTILISATION_STEPS, offered)
    return f"{steps // _UTILISATION_STEPS}.{steps % _UTILISATION_STEPS:04d}"


def hourly_rate(cpu: int, memory: int, gpu_price_total: int, cpu_price: int, memory_price: int) -> int:
    """Return the micro-USDT an hour of quantities at prices, rounded half up once, over the whole sum."""
    return divide_half_up(cpu * cpu_price + memory * memory_price + gpu_price_total * MICRO, MICRO)


def highest_rate(maximum: int, minutes: int) -> int:
    """Return the highest hourly rate at which a whole duration costs no more than a maximum."""
    return maximum * MINUTES_AN_HOUR // minutes
