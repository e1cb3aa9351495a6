"""A server's files after each of its answers: what is there when a file ends early, or is not what was written."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from simulator.client.connection import ControlConnection
from simulator.client.target import Target, parse_target
from simulator.contract.answers import Operation
from simulator.contract.reading import read_data
from simulator.deployment.server_process import ServerError, own_server
from simulator.fleet.requests import ApiCall, owner_headers
from tests.durability.ledger_records import HOST
from tests.durability.reading import read_back
from tests.durability.writing import FREELY, TOKEN, World, do

if TYPE_CHECKING:
    from pathlib import Path

Heads = dict[str, Any]
STATE_FILE = "state.json"


class Moment(NamedTuple):
    """A moment at which everything was answered: the files, what everybody knew, and the heads of every audit."""

    files: dict[str, bytes]
    world: World
    heads: Heads


def settings_of(folder: Path) -> dict[str, str]:
    """Return the settings of a server that keeps its state in a folder."""
    return {**FREELY, "HATCHFARM_STATE_FILE": str(folder / STATE_FILE)}


def files_of(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


async def heads_of(target: Target, world: World) -> Heads:
    """Read where every audit stream ends: each change and each refusal moves one of them."""
    heads: Heads = {}
    async with ControlConnection(target, None) as connection:
        for ledger in world.everyone:
            headers = owner_headers(TOKEN, ledger.owner_id)
            call = ApiCall(Operation.OTHER, "GET", "/audit/events?limit=1", headers)
            answer = await connection.exchange(call.message(HOST))
            heads[ledger.owner_id] = read_data(answer.status, answer.body)["heads"]
    return heads


async def record(folder: Path, world: World, steps: int) -> list[Moment]:
    """Have one client after the other do steps, heartbeats among them, then kill the server. Gives every moment.

    The fleet is in the snapshot, the steps in the journal.
    """
    moments: list[Moment] = []
    async with own_server(settings_of(folder), TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        await server.stop()
        await server.start()
        target = parse_target(server.url, TOKEN)

        async def take() -> None:
            moments.append(Moment(files_of(folder), copy.deepcopy(world), await heads_of(target, world)))

        await take()
        async with ControlConnection(target, None) as connection:
            for number in range(steps):
                beater = world.beaters[number % len(world.beaters)]
                ledger = world.ledgers[number % len(world.ledgers)]
                if number % 4 == 0:
                    assert await do(connection, world.fleet, beater.heartbeat())
                else:
                    assert await do(connection, ledger, ledger.next_step())
                await take()
        await server.kill()
    return moments


async def start_from(folder: Path, moments: list[Moment]) -> Moment | str:
    """Start a server from a folder's files: give the moment that it shows, as a whole, or its words when it refuses.

    Raises AssertionError when it shows anything else.
    """
    found: list[Moment] = []
    stated = ""
    try:
        async with own_server(settings_of(folder), TOKEN) as server:
            heads = await heads_of(parse_target(server.url, TOKEN), moments[0].world)
            found += [moment for moment in moments if moment.heads == heads][-1:]
            assert found, f"a state that never was: {msgspec.json.encode(heads).decode()}"
            (moment,) = found
            assert await read_back(server.url, copy.deepcopy(moment.world), everything=True) == []
    except* ServerError as group:
        stated = str(group.exceptions[0])
    return stated or found[0]
