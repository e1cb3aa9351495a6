"""Money, prices and capacity by the contract's rules, computed independently of any server (Wallet, Capacity, Jobs).

Everything is an integer: amounts in the smallest unit of their asset, cores and gigabytes in millionths, prices in
micro-USDT per hour.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Mapping

USDT, BTC = "USDT-TRC20", "BTC"
DECIMALS = {USDT: 6, BTC: 8}
PARTS = ("available", "held", "pending")
MICRO = 1_000_000
HOUR_NS, DAY_NS = 3_600 * SECOND_NS, 86_400 * SECOND_NS
ATTEMPTS_MAX = 3
"""A job fails when it is given back for the third time."""
ON_WORKER = frozenset({"assigned", "running"})
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
CORES_MAX, MEMORY_GB_MAX, GPUS_MAX = 1_024, 65_536, 64
_SHOWN = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,18})?")
_ASKED = re.compile(r"(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?")
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,18})?")
_BASIS_POINTS = 10_000
_PERCENT = 100 * MICRO


class Need(msgspec.Struct, frozen=True):
    """The resources that a job asks for. An empty `model` means any GPU model."""

    cpu: int
    memory: int
    gpus: int = 0
    model: str = ""


class Capacity(msgspec.Struct, frozen=True):
    """The resources that a machine has or offers; GPUs by model."""

    cpu: int
    memory: int
    gpus: Mapping[str, int] = {}

    def fits(self, need: Need) -> bool:
        """Return whether the capacity covers `need`, with all of its GPUs of one model."""
        if self.cpu < need.cpu or self.memory < need.memory:
            return False
        models = [need.model] if need.model else list(self.gpus)
        return not need.gpus or any(self.gpus.get(model, 0) >= need.gpus for model in models)


def units(shown: Any, asset: str = USDT) -> int | None:
    """Return the smallest units of a signed amount in an answer; None if it is not an amount of that asset."""
    if not isinstance(shown, str) or asset not in DECIMALS or _SHOWN.fullmatch(shown) is None:
        return None
    return _scaled(shown, DECIMALS[asset])


def asked_units(asked: Any, asset: str) -> int | None:
    """Return the smallest units of a withdrawal's amount; None if the contract refuses it as `invalid amount`."""
    if not isinstance(asked, str) or _ASKED.fullmatch(asked) is None:
        return None
    amount = units(asked, asset)
    return amount or None


def millionths(number: Any) -> int | None:
    """Return a JSON number or a decimal string in exact millionths; None for anything else.

    Fractions of a millionth are cut off. Numbers with an absolute value of a million million or more give None too.
    """
    if isinstance(number, str):
        if _NUMBER.fullmatch(number) is None:
            return None
        whole, _, rest = number.partition(".")
        return _scaled(f"{whole}.{rest[:6]}", 6)
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < MICRO * MICRO:
        return None
    return number * MICRO if isinstance(number, int) else int(Decimal(repr(number)).scaleb(6))


def need_of(resources: Any) -> Need | None:
    """Return the need stated by the `resources` of a job; None if they cannot be read."""
    if not isinstance(resources, dict):
        return None
    cpu, memory = millionths(resources.get("cpu_cores")), millionths(resources.get("memory_gb"))
    if cpu is None or memory is None:
        return None
    count = resources.get("gpu_count")
    gpus = int(bool(resources.get("gpu"))) if not isinstance(count, int) else count
    model = resources.get("gpu_model")
    return Need(cpu, memory, gpus, model if isinstance(model, str) else "")


def capacity_of(reported: Any) -> Capacity | None:
    """Return the capacity stated by a `metrics.capacity`; None if the contract ignores it or it cannot be read."""
    if not isinstance(reported, dict):
        return None
    cpu, memory = millionths(reported.get("cpu_cores")), millionths(reported.get("memory_gb"))
    listed = reported.get("gpus", [])
    if cpu is None or memory is None or not isinstance(listed, list):
        return None
    if not (0 < cpu <= CORES_MAX * MICRO and 0 < memory <= MEMORY_GB_MAX * MICRO):
        return None
    gpus: dict[str, int] = {}
    for one in listed:
        count = one.get("count") if isinstance(one, dict) else None
        if not isinstance(count, int) or not 0 < count <= GPUS_MAX or not isinstance(one.get("model"), str):
            return None
        gpus[one["model"]] = gpus.get(one["model"], 0) + count
    return Capacity(cpu, memory, gpus) if sum(gpus.values()) <= GPUS_MAX else None


def scale(capacity: Capacity, rules: Mapping[str, Any]) -> Capacity:
    """Return the share of `capacity` that a policy's rules allow, rounded down; an absent maximum counts as 0."""

    def percent(name: str) -> int:
        return millionths(rules.get(name, 0)) or 0

    gpus = {model: count * percent("max_gpu_percent") // _PERCENT for model, count in capacity.gpus.items()}
    return Capacity(
        capacity.cpu * percent("max_cpu_percent") // _PERCENT,
        capacity.memory * percent("max_memory_percent") // _PERCENT,
        {model: count for model, count in gpus.items() if count},
    )


def current_price(base: int, held: int, offered: int) -> int:
    """Return the price at the utilisation `held / offered`, rounded half up.

    `base` is multiplied by a factor that is 0.5 at 0, 1 at a half and 2 at 1, and linear between these.
    """
    if offered <= 0 or held >= offered:
        return 2 * base
    if 2 * held <= offered:
        return _half_up(base * (offered + 2 * held), 2 * offered)
    return _half_up(base * 2 * held, offered)


def hourly_rate(need: Need, cpu_price: int, memory_price: int, gpu_price: int) -> int:
    """Return the cost of `need` per hour at the given prices, rounded half up once, at the end."""
    return _half_up(need.cpu * cpu_price + need.memory * memory_price + need.gpus * gpu_price * MICRO, MICRO)


def highest_rate(maximum: int, minutes: int) -> int:
    """Return the highest hourly rate at which `minutes` cost no more than `maximum`."""
    return maximum * 60 // minutes


def fee_of(charge: int, basis_points: int) -> int:
    """Return the platform's share of a charge, rounded down."""
    return charge * basis_points // _BASIS_POINTS


def charge_of(metered_ns: int, rate: int) -> int:
    """Return the cost of `metered_ns` at an hourly rate, rounded down."""
    return metered_ns * rate // HOUR_NS


def normal_address(address: str) -> str:
    """Return an address in its canonical spelling: bech32, which may also be in capitals, in lower case (BIP 173)."""
    return address.lower() if address[:3].lower() == "bc1" else address


def _scaled(decimal: str, places: int) -> int | None:
    """Return `decimal` times ten to the power of `places`, exactly; None if it has more decimal places than that."""
    whole, _, rest = decimal.partition(".")
    return int(whole + rest.ljust(places, "0")) if len(rest) <= places else None


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
