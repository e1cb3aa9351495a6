"""Bodies of agents, jobs, wallet and forum that are right but for one text in them, of any length."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.growth.entries_server import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.growth.entries_server import Entry

TEXTS: dict[str, Callable[[int], str]] = {
    "letters": lambda n: "a" * n,
    "accents": lambda n: "a" + "\u0301\u0316" * (n // 2),  # each pair is in the wrong order
    "spaces": lambda n: "a" + " " * n + "a",
    "digits": lambda n: "1" * n,
    "decimals": lambda n: "0." + "1" * n,
    "an address": lambda n: "T" + "z" * n,
}
ADDRESS = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
RESOURCES = {"cpu_cores": 1, "memory_gb": 1, "gpu": True, "gpu_model": "A"}
RIGHT: dict[str, dict[str, Any]] = {
    "/agents/register": {"name": "Ada", "description": "d", "moltbook_id": "m", "wallet_address": ADDRESS},
    "/jobs": {"type": "t", "resources": RESOURCES, "duration_minutes": 1, "max_price_usdt": "1", "payload": {"a": ""}},
    "/wallet/withdraw": {"asset": "BTC", "amount": "1", "address": ADDRESS},
    "/forum/posts": {"title": "t", "body": "b", "tags": ["a"]},
}


def _changed(right: dict[str, Any]) -> dict[str, Callable[[Any], dict[str, Any]]]:
    """Return, for each text in a body, what puts another in its place."""
    changed: dict[str, Callable[[Any], dict[str, Any]]] = {}
    for name, value in right.items():
        if isinstance(value, str):
            changed[name] = lambda text, name=name: {**right, name: text}  # type: ignore[misc]
        elif isinstance(value, dict):
            for inner, change in _changed(value).items():
                changed[f"{name}.{inner}"] = lambda text, name=name, change=change: {**right, name: change(text)}  # type: ignore[misc]
        elif isinstance(value, list):
            changed[f"{name}[]"] = lambda text, name=name: {**right, name: [text]}  # type: ignore[misc]
    return changed


def entries() -> dict[str, Entry]:
    """Return every entry by its name."""
    return {
        f"market body: {path}, {field}, {name}": (
            lambda n, path=path, change=change, text=text: ask(  # type: ignore[misc]
                "POST", path, n, changed={"idempotency-key": "k"}, body=json.dumps(change(text(n))).encode()
            )
        )
        for path, right in RIGHT.items()
        for field, change in _changed(right).items()
        for name, text in TEXTS.items()
    }
