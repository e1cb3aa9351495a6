"""Reading the public keys that a server publishes, by which anyone can check its certificates (contract §3)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.client.connection import LostError
from simulator.contract.envelopes import KEYS, read_keys
from simulator.history.records import KeyReading

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.client.connection import ControlConnection
    from simulator.history.rows import History

OK, TOO_MANY = HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS


async def read_published_keys(connection: ControlConnection, history: History, now: Callable[[], int]) -> None:
    """Read them once into the history. What is lost, or refused as too fast, says nothing and is not noted."""
    sent_ns = now()
    try:
        answer = await connection.request("GET", KEYS, {}, rooted=True)
    except LostError:
        return
    if answer.status == TOO_MANY:
        return
    keys: list[str] = []
    if answer.status == OK:
        try:
            keys = read_keys(msgspec.json.decode(answer.body))
        except (ValueError, RecursionError):
            keys = []
    history.key_readings.append(KeyReading(sent_ns, now(), answer.status, keys))
