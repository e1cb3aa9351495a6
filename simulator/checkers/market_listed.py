"""The page of prices: each is its base times the factor of the utilisation beside it, which is so (contract: Capacity).

A utilisation is shown with four decimals, so that each price has two bounds by the page alone; and what was surely and
what may have been held and offered while the page was asked for gives two more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers.ledger_entries import amount_text
from simulator.checkers.market_prices import CPU_HOUR, GPU_HOUR, MEMORY_HOUR
from simulator.checkers.market_view import granted, seconds
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Operation
from simulator.contract.pricing import USDT, current_price, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulator.checkers.facts import MarketFacts
    from simulator.checkers.market_prices import Prices
    from simulator.history.market_records import MarketExchange
    from simulator.history.rows import History

STEPS = 10_000
"""A utilisation has four decimals."""


def price_pages(history: History) -> list[MarketExchange]:
    """Return each page of prices that was shown."""
    return [one for one in history.market_exchanges if one.operation == Operation.PRICES_READ and granted(one)]


def wrong_page(page: MarketExchange, market: MarketFacts, prices: Prices | None) -> Iterator[Finding]:
    """Find a price of a page that its own utilisation does not give, or that none at that time can have given.

    Without `prices` nothing is known of that time.
    """
    listed = page.data.get("prices")
    possible = None if prices is None else prices.possible(page.sent_ns, page.answered_ns)
    for row in listed if isinstance(listed, list) else ():
        read = _read(row)
        if read is None:
            continue
        resource, model, price, steps = read
        base = {CPU_HOUR: market.price_cpu_hour, GPU_HOUR: market.price_gpu_hour}.get(
            resource, market.price_memory_gb_hour
        )
        # Rounded half up to four decimals: within half a step of what it is shown as.
        shown = current_price(base, max(0, 2 * steps - 1), 2 * STEPS), current_price(base, 2 * steps + 1, 2 * STEPS)
        bounds = [(shown, f"at its utilisation of {row['utilisation']}")]
        if possible is not None:
            bounds.append((possible.prices(base, resource, model), "by what was held and offered"))
        for (low, high), why in bounds:
            if not low <= price <= high:
                name = f"{resource} of {model}" if model else resource
                message = (
                    f"a {name} was listed at {amount_text(price, USDT)} at {seconds(page.sent_ns)}; {why} it is "
                    f"{amount_text(low, USDT)} to {amount_text(high, USDT)}"
                )
                evidence = {"account": page.account, "listed": row, "low": low, "high": high}
                yield Finding("metering.listed", message, page.sent_ns, evidence)
                return


def _read(row: Any) -> tuple[str, str, int, int] | None:
    """Read a row: what of, of which model, its price and its utilisation; None for what is judged by its form."""
    if not isinstance(row, dict) or row.get("resource") not in (CPU_HOUR, MEMORY_HOUR, GPU_HOUR):
        return None
    price, steps = units(row.get("price")), _steps(row)
    model = row.get("model", "")
    return (
        (row["resource"], model, price, steps)
        if price is not None and steps is not None and isinstance(model, str)
        else None
    )


def _steps(row: Mapping[str, Any]) -> int | None:
    """Return a utilisation in its last decimals."""
    whole, _, decimals = str(row.get("utilisation")).partition(".")
    right = whole in {"0", "1"} and len(decimals) == len(str(STEPS)) - 1 and decimals.isascii() and decimals.isdigit()
    return min(STEPS, int(whole) * STEPS + int(decimals)) if right else None
