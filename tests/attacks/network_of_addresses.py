"""Plays limit.ipv6-rotate inside a network namespace of its own, and prints what came of it as JSON.

Run as a program inside a fresh network namespace, where it may give the loopback interface addresses: a server on an
IPv6 address, and a script that speaks from others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import trio

from reference_server.core.rate_limit import TokenBuckets
from simulator.client.target import peers_of
from tests.attacks.live import OPEN, play_live, written, wrong_server
from tests.simulator.conftest import serving

if TYPE_CHECKING:
    from tests.attacks.live import Connection, Played

SERVER = "fd00:5::1"
PEERS = [f"fd00:6::{number:x}" for number in range(1, 31)]
LONELY = "fd00:7::1"


def ip(*arguments: str) -> None:
    """Run iproute2."""
    subprocess.run(["ip", *arguments], check=True)  # noqa: S607 - found by PATH, as people run it


def reported(played: Played, peers: tuple[str, ...]) -> dict[str, Any]:
    """Shape what came of an attempt."""
    rows = played.history.rows()
    return {
        "peers": len(peers),
        "claims": played.claims,
        "not_tried": played.campaign.not_tried,
        "sources": sorted(set(rows["source"].tolist())),
        "served": int((rows["status"] == 200).sum()),
        "wrong": played.wrong,
    }


async def per_address(connection: Connection, buckets: TokenBuckets) -> None:
    """Limit each address on its own."""
    while message := await connection.message():
        if buckets.take(connection.client, time.monotonic_ns()):
            await connection.send(written(429, b"{}", "retry-after: 1"))
        else:
            await connection.send(connection.handle(message))


async def main() -> None:
    """Play it three times: against the reference server, against one that counts addresses, and without peers."""
    results = {}
    async with serving(host=SERVER) as (_, target):
        results["few"] = reported(
            await play_live("limit.ipv6-rotate", target, peers=peers_of(target)), peers_of(target)
        )
        for address in PEERS:
            ip("address", "add", f"{address}/64", "dev", "lo", "nodad")
        peers = peers_of(target)
        results["right"] = reported(await play_live("limit.ipv6-rotate", target, peers=peers), peers)
    buckets = TokenBuckets(5.0, 20, 1000)
    async with wrong_server(lambda connection: per_address(connection, buckets), SERVER, **OPEN) as target:
        results["wrong"] = reported(await play_live("limit.ipv6-rotate", target, peers=peers), peers)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    ip("link", "set", "lo", "up")
    for one in (SERVER, LONELY):
        ip("address", "add", f"{one}/64", "dev", "lo", "nodad")
    trio.run(main)
