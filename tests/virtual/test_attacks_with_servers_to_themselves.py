"""In virtual time attacks have servers to themselves, and somebody who vouches for people, as they have live."""

from __future__ import annotations

from http import HTTPStatus

import numpy as np
import pytest
import trio

from reference_server.adapters.identity.fetching import Fetcher
from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.deployment.identity_provider import IdentityProvider
from simulator.worlds.virtual.vouching import VouchingTransport
from tests.faults.planted import PLANTED
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import planted
from tests.virtual.small_run import Played, play

RUN = """
version = 1
name = "small"
duration = "{}s"
[fleet]
machines = 2
owners = 2
heartbeat_interval = "5s"
stages = [{{ duration = "1s", target = 2 }}]
"""
ATTACK = '[[attacks]]\nname = "{}"\nstart = "3s"\nduration = "1s"\nrate = 1\n'
SCRIPTS = {name: attack for name, attack in CATALOGUE.items() if issubclass(attack, ScriptAttack)}
SANDBOXED = sorted(name for name, attack in SCRIPTS.items() if attack.sandbox is not None)
VOUCHED_FOR = sorted(name for name, attack in SCRIPTS.items() if attack.needs_identity)
SECONDS = 205
"""So long a server may refuse that does not know what a young Redis had held before."""


def played(*names: str, seed: int = 1, seconds: int = SECONDS) -> Played:
    return play(seed, RUN.format(seconds) + "".join(map(ATTACK.format, names)))


def unproven(run: Played) -> list[str]:
    attacks = run.verdict["attacks"]
    assert isinstance(attacks, list)
    return [f"{one['attack']}: {one['status']} {one['note']}" for one in attacks if one["status"] != "pass"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_of_them_prove_something_of_the_right_server(seed: int) -> None:
    run = played(*SANDBOXED, *VOUCHED_FOR, seed=seed)
    assert not unproven(run)
    assert run.code == 0, run.printed


def test_they_are_the_same_for_the_same_seed() -> None:
    names = ("replay.after-restart", "replay.redis-down", "oauth.code-replay", "moltbook.down")
    assert len({played(*names, seconds=20).digest for _ in range(2)}) == 1


def test_one_of_them_does_nothing_to_the_servers_of_another() -> None:
    """Each of them restarts, stops or confuses what it has, at the same time as the others."""
    alone = {name: len(played(name).history.claims) for name in SANDBOXED}
    together = played(*SANDBOXED)
    claims = dict.fromkeys(range(1, len(SANDBOXED) + 1), 0)
    for one in together.history.claims:
        claims[one.campaign] += 1
    assert list(claims.values()) == [alone[name] for name in SANDBOXED]


FORGETS = {one.name: one.edits for one in PLANTED}
WRONG = {
    "replay.after-restart": FORGETS["forgets nonces over a restart"],
    "replay.clock-step-back": (
        Edit("reference_server.core.nonces", "NonceMemory.expire", "now.monotonic_ns", "now.wall_ns"),
    ),
    "replay.redis-down": (
        Edit(
            "reference_server.adapters.memory.nonces", "MemoryNonces.reserve", "Reservation.UNAVAILABLE",
            "Reservation.RESERVED",
        ),
    ),
    "oauth.wrong-aud": (
        Edit(
            "reference_server.adapters.identity.id_tokens", "_refusal", "expected.client_id not in audience", "False"
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_server_is_found_out(name: str) -> None:
    with planted(WRONG[name]):
        run = played(name, seconds=30)
    assert run.code == 1, run.printed
    assert any(one["attack"] == name and one["status"] == "fail" for one in run.verdict["attacks"])  # type: ignore[attr-defined]


async def test_a_server_reaches_nobody_but_the_provider_of_its_world() -> None:
    async with trio.open_nursery() as nursery:
        for provider in (None, IdentityProvider("http://127.0.0.1:8090")):
            fetcher = Fetcher(transport=VouchingTransport(provider, np.random.default_rng(1)))
            await nursery.start(fetcher.run)
            assert await fetcher.fetch("GET", "http://127.0.0.1:8091/jwks") is None
            there = await fetcher.fetch("GET", "http://127.0.0.1:8090/jwks")
            assert (None if there is None else there.status) == (None if provider is None else HTTPStatus.OK)
        nursery.cancel_scope.cancel()
