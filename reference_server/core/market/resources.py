"""The list of offered resources, and the prices (contract: Capacity and resources)."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.money import MICRO, format_amount, shown_micro
from reference_server.core.market.prices import utilisation_text
from reference_server.core.market.working import tick
from reference_server.wire.replies import success
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Listed, Offer, Pool
    from reference_server.wire.values import Instant, Reply


_DEEP = 4
"""A page that ends beyond this fraction of the machines is found by sorting all of them."""
_TWICE = 2 * MICRO
_LAST = "\U0010ffff"
"""Sorts after every worker id."""


class Wanted(msgspec.Struct, frozen=True):
    """The filter of a list of resources: minimum free quantities, in millionths, and one GPU model.

    An empty `model` stands for any.
    """

    cpu: int = 0
    memory: int = 0
    gpus: int = 0
    model: str = ""


def list_resources(market: Market, now: Instant, wanted: Wanted, limit: int, offset: int) -> Reply:
    """`GET /resources`: the free capacity of each machine, cheapest first, then by id.

    A machine with less free than the smallest job needs is not listed.
    """
    tick(market, now)
    suited = range(len(market.pool.listed)) if wanted == Wanted() else _suited(market.pool, wanted)
    find = _page if _DEEP * (limit + offset) < len(suited) else _deep_page
    page = find(market.pool, suited, limit, offset)
    shown = [_show(market.pool.offers[worker_id], one, rate) for rate, worker_id, one in page]
    return success({"resources": shown, "total": len(suited), "limit": limit, "offset": offset})


def _suited(pool: Pool, wanted: Wanted) -> list[int]:
    """Return the positions in the pool's list of the machines that match `wanted`."""
    cpu, memory, gpus, model = wanted.cpu, wanted.memory, wanted.gpus, wanted.model
    columns = zip(pool.listed_cpu, pool.listed_memory, strict=True)
    suited = [place for place, (cores, gigabytes) in enumerate(columns) if cores >= cpu and gigabytes >= memory]
    if not (gpus or model):
        return suited
    listed = pool.listed
    return [place for place in suited if any(count >= gpus and model in {"", name} for name, count in listed[place][3])]


def _page(pool: Pool, suited: Sequence[int], limit: int, offset: int) -> list[tuple[int, str, Listed]]:
    """Return a page in the order of current prices, from positions in the order of base prices, with current rates.

    All prices are at least a common fraction of their base. So once a page is full, a machine that would cost more even
    at that fraction cannot be on it, which without GPUs is decided soon. Machines with equal free capacity cost the
    same.
    """
    last, listed = offset + limit, pool.listed
    least_plain, least = pool.least_factors()
    found: list[tuple[int, str, Listed]] = []
    most = most_plain = listed[-1][0] if listed else 0
    at = 0
    while at < len(suited):
        one = listed[suited[at]]
        base_rate, cpu, memory, gpus, worker_id = one
        at += 1
        if base_rate > most:
            break
        if not gpus and base_rate > most_plain:
            continue
        found.append((pool.rate_of(cpu, memory, gpus), worker_id, one))
        if len(found) == last:
            dearest = max(found)[0] + 1
            most, most_plain = dearest * MICRO // least + 1, dearest * MICRO // least_plain + 1
        if at >= last and listed[suited[at - last]][:4] == one[:4]:
            # The page is full of machines of equal cost, and all others of that cost have higher ids.
            at = bisect_left(suited, bisect_right(listed, (base_rate, cpu, memory, gpus, _LAST)))
    return heapq.nsmallest(last, found)[offset:]


def _deep_page(pool: Pool, suited: Sequence[int], limit: int, offset: int) -> list[tuple[int, str, Listed]]:
    """Return the same as `_page` when most machines would have to be examined: all are, at the least cost each.

    At current prices they are nearly in the list's order, which sorting exploits; ids decide only between equal costs.
    """
    listed, cpu_price, memory_price = pool.listed, pool.cpu_price, pool.memory_price
    rates = [
        pool.rate_of(cpu, memory, gpus) if gpus else (2 * (cpu * cpu_price + memory * memory_price) + MICRO) // _TWICE
        for _, cpu, memory, gpus, _ in map(listed.__getitem__, suited)
    ]
    order = sorted(range(len(rates)), key=rates.__getitem__)
    within = order[offset : offset + limit]
    if not within:
        return []
    begin = bisect_left(order, rates[within[0]], key=rates.__getitem__)
    end = bisect_right(order, rates[within[-1]], key=rates.__getitem__)
    alike = sorted((rates[place], listed[suited[place]][4], place) for place in order[begin:end])
    page = alike[offset - begin : offset - begin + limit]
    return [(rate, worker_id, listed[suited[place]]) for rate, worker_id, place in page]


def _show(offer: Offer, one: Listed, rate: int) -> dict[str, Any]:
    until_ns = offer.opening.until_ns
    _, cpu, memory, gpus, worker_id = one
    return {
        "worker_id": worker_id,
        "cpu_cores": shown_micro(cpu),
        "memory_gb": shown_micro(memory),
        "gpus": [{"model": model, "count": count} for model, count in gpus],
        "price_per_hour": format_amount(rate),
        "available_until": None if until_ns is None else format_timestamp(until_ns),
    }


def list_prices(market: Market, now: Instant) -> Reply:
    """`GET /resources/prices`: prices of CPU, memory and each GPU model on offer."""
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
