"""What callers see of what is offered: the list of resources and the prices (contract: Capacity and resources)."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.money import format_amount, shown_micro
from reference_server.core.market.prices import utilisation_text
from reference_server.core.market.working import tick
from reference_server.wire.replies import success
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Left, Listed, Offer, Pool
    from reference_server.wire.values import Instant, Reply


_LAST = "\U0010ffff"
"""After any worker id."""


class Wanted(msgspec.Struct, frozen=True):
    """What a list of resources is narrowed to: at least so much left, in millionths; GPUs of one model.

    `model` is empty for any.
    """

    cpu: int = 0
    memory: int = 0
    gpus: int = 0
    model: str = ""


def list_resources(market: Market, now: Instant, wanted: Wanted, limit: int, offset: int) -> Reply:
    """`GET /resources`: what is left of each machine, cheapest first, then by id.

    A machine with less left than the smallest job needs is not listed.
    """
    tick(market, now)
    listed = market.pool.listed
    if wanted != Wanted():
        listed = _suited(listed, wanted)
    page = _page(market.pool, listed, limit, offset)
    shown = [_show(market.pool.offers[worker_id], left, rate) for rate, worker_id, left in page]
    return success({"resources": shown, "total": len(listed), "limit": limit, "offset": offset})


def _suited(listed: list[Listed], wanted: Wanted) -> list[Listed]:
    """Return the machines that have as much left as is wanted, with its GPUs of one model."""
    cpu, memory, gpus, model = wanted.cpu, wanted.memory, wanted.gpus, wanted.model
    suited = [one for one in listed if one[1][0] >= cpu and one[1][1] >= memory]
    if not (gpus or model):
        return suited
    return [one for one in suited if any(count >= gpus and model in {"", name} for name, count in one.left[2])]


def _page(pool: Pool, listed: list[Listed], limit: int, offset: int) -> list[tuple[int, str, Left]]:
    """Return a page in the order of today's prices from machines in the order of base prices.

    No price is further from its base than the least and the greatest are, so what comes late enough in the order of
    base prices cannot be among the first in that of today's. Machines with as much left cost the same.
    """
    last = offset + limit
    least, greatest = pool.factors()
    found: list[tuple[int, str, Left]] = []
    most: int | None = None
    at = 0
    while at < len(listed) and (most is None or listed[at].rate <= most):
        base_rate, left, worker_id = listed[at]
        rate = pool.rate_of(left)
        end = at + 1
        if end < len(listed) and listed[end].left == left:
            end = bisect_right(listed, (base_rate, left, _LAST))
            found += ((rate, other.worker_id, left) for other in listed[at : min(end, at + last)])
        else:
            found.append((rate, worker_id, left))
        if most is None and len(found) >= last:
            # Those found cost no more than this today; whoever costs more at the least factor comes after them.
            most = (base_rate + 1) * greatest // least + 4
        at = end
    return heapq.nsmallest(last, found)[offset:]


def _show(offer: Offer, left: Left, rate: int) -> dict[str, Any]:
    until_ns = offer.opening.until_ns
    cpu, memory, gpus = left
    return {
        "worker_id": offer.worker_id,
        "cpu_cores": shown_micro(cpu),
        "memory_gb": shown_micro(memory),
        "gpus": [{"model": model, "count": count} for model, count in gpus],
        "price_per_hour": format_amount(rate),
        "available_until": None if until_ns is None else format_timestamp(until_ns),
    }


def list_prices(market: Market, now: Instant) -> Reply:
    """`GET /resources/prices`: CPU, memory, and each GPU model that is offered."""
    tick(market, now)
    pool = market.pool
    rows = [
        _price("cpu-hour", pool.cpu_price, pool.cpu_held, pool.cpu_offered),
        _price("memory-gb-hour", pool.memory_price, pool.memory_held, pool.memory_offered),
    ]
    for model, gpus in sorted(pool.models.items()):
        rows.append({"model": model, **_price("gpu-hour", gpus.price, gpus.held, gpus.offered)})
    return success({"prices": rows, "as_of": format_timestamp(now.wall_ns)})


def _price(resource: str, price: int, held: int, offered: int) -> dict[str, str]:
    return {"resource": resource, "price": format_amount(price), "utilisation": utilisation_text(held, offered)}
