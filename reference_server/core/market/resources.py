"""What callers see of what is offered: the list of resources and the prices (contract: Capacity and resources)."""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.money import format_amount, shown_micro
from reference_server.core.market.prices import utilisation_text
from reference_server.core.market.working import tick
from reference_server.limits import JOB_LEAST_MICRO
from reference_server.wire.replies import success
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Offer
    from reference_server.wire.values import Instant, Reply


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
    offers = [(rate, market.pool.offers[worker_id]) for rate, worker_id in market.pool.listed]
    suited = [(rate, offer) for rate, offer in offers if _suits(offer, wanted)]
    shown = [_show(offer, rate) for rate, offer in _page(market, suited, limit, offset)]
    return success({"resources": shown, "total": len(suited), "limit": limit, "offset": offset})


def _suits(offer: Offer, wanted: Wanted) -> bool:
    if offer.free_cpu < max(wanted.cpu, JOB_LEAST_MICRO) or offer.free_memory < max(wanted.memory, JOB_LEAST_MICRO):
        return False
    if not (wanted.gpus or wanted.model):
        return True
    models = (wanted.model,) if wanted.model else offer.gpus
    return any(offer.free_of(model) >= max(wanted.gpus, 1) for model in models)


def _page(market: Market, suited: list[tuple[int, Offer]], limit: int, offset: int) -> list[tuple[int, Offer]]:
    """Return a page in the order of today's prices from machines in the order of base prices.

    No price is further from its base than the least and the greatest are, so what comes late enough in the order of
    base prices cannot be among the first in that of today's.
    """
    last = offset + limit
    least, greatest = market.pool.factors()
    if len(suited) <= last:
        candidates = suited
    else:
        # The first `last` of them cost no more than this today; whoever costs more at the least factor comes after.
        most = (suited[last - 1][0] + 1) * greatest // least + 4
        candidates = [one for one in suited if one[0] <= most]
    rated = ((market.pool.offer_rate(offer), offer.worker_id, offer) for _, offer in candidates)
    first = heapq.nsmallest(last, rated)
    return [(rate, offer) for rate, _, offer in islice(first, offset, None)]


def _show(offer: Offer, rate: int) -> dict[str, Any]:
    until_ns = offer.opening.until_ns
    gpus = ((model, offer.free_of(model)) for model in offer.gpus)
    return {
        "worker_id": offer.worker_id,
        "cpu_cores": shown_micro(offer.free_cpu),
        "memory_gb": shown_micro(offer.free_memory),
        "gpus": [{"model": model, "count": count} for model, count in gpus if count],
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
