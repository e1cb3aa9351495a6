"""Which recorded exchanges must be answered before another is sent again: those it came after and builds on. No I/O.

A slower server must not turn a replay of an attack into the attack's original. So what was answered before a request
was sent, and was about the same worker or under the same idempotency key, stays before it; what was under way together
stays free to race.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.traces.format import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.traces.format import Exchange

IDEMPOTENCY_KEY = "idempotency-key"
_POLICY = "pol_"
_WORKER = "wrk_"
_CHANGES = ("policy_create", "policy_activate")
_NEVER_NS = 1 << 63


def predecessors(
    exchanges: Sequence[Exchange],
    gives: Callable[[Exchange], set[str]],
    needs: Callable[[Exchange], set[str]],
) -> list[list[int]]:
    """Return for each exchange, in the order of sending, the indices of those it waits for, all of them smaller.

    `gives` names the ids and secrets an exchange's answer gave out, `needs` those its request holds.
    """
    given_by: dict[str, int] = {}
    worker_of: dict[str, str] = {}
    front: dict[str, list[int]] = {}
    waits: list[list[int]] = []
    for index, exchange in enumerate(exchanges):
        needed, given = needs(exchange), gives(exchange)
        waited = {given_by[name] for name in needed if name in given_by}
        keys = {worker_of.get(name, name) for name in needed | given if name in given_by or name in given}
        workers = {key for key in keys if key.startswith(_WORKER)}
        if len(workers) == 1:
            # A certificate or consent is a part of its worker: what revokes it and what it was for keep their order.
            worker_of |= {name: next(iter(workers)) for name in given if not name.startswith((_WORKER, _POLICY))}
        keys |= _idempotency_keys(exchange)
        for key in sorted(keys):
            before = [other for other in front.get(key, ()) if _answered_ns(exchanges[other]) <= exchange.sent_ns]
            waited.update(before)
            if key.startswith(_POLICY) and exchange.operation not in _CHANGES:
                continue  # it uses the policy beside many others, and changes nothing about it
            # Whoever waits for one of these has then also waited for all that was answered before it was sent.
            last_ns = max((exchanges[other].sent_ns for other in before), default=-_NEVER_NS)
            front[key] = [*(other for other in front.get(key, ()) if _answered_ns(exchanges[other]) >= last_ns), index]
        for name in given:
            given_by.setdefault(name, index)
        waits.append(sorted(waited))
    return waits


def _idempotency_keys(exchange: Exchange) -> set[str]:
    """Return the key under which a request is done once, if it has one: the first to come decides what it does."""
    request = exchange.request
    if not isinstance(request, HttpRequest):
        return set()
    return {f"{IDEMPOTENCY_KEY} {value}" for name, value in request.headers if name.lower() == IDEMPOTENCY_KEY}


def _answered_ns(exchange: Exchange) -> int:
    return _NEVER_NS if exchange.answered_ns is None else exchange.answered_ns
