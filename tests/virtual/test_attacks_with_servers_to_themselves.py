"""In virtual time attacks have servers to themselves, and somebody who vouches for people, as they have live."""

from __future__ import annotations

from http import HTTPStatus

import numpy as np
import pytest
import trio

from reference_server.adapters.identity.fetching import Fetcher
from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.replay_faults import AfterRestart
from simulator.attacks.script import BeginFault, Claim, SandboxOptions, Script, ScriptAttack, ScriptContext
from simulator.contract.answers import Answer
from simulator.deployment.identity_provider import IdentityProvider
from simulator.worlds.virtual.vouching import VouchingTransport
from tests.faults.planted import PLANTED
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import planted
from tests.support.tiers import SOAK
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


@pytest.mark.parametrize("seed", [1, 2, 3] if SOAK else [1])
def test_all_of_them_prove_something_of_the_right_server(seed: int) -> None:
    run = played(*SANDBOXED, *VOUCHED_FOR, seed=seed)
    assert not unproven(run)
    assert run.code == 0, run.printed


def test_they_are_the_same_for_the_same_seed() -> None:
    names = ("replay.after-restart", "replay.redis-down", "oauth.code-replay", "moltbook.down")
    assert len({played(*names, seconds=20).digest for _ in range(2)}) == 1


def proven(run: Played, campaign: int) -> tuple[list[tuple[str, bool | None]], list[tuple[int, int]]]:
    """Return what an attack claimed, and how its requests were answered, but for what it waits for."""
    rows = run.history.rows()
    mine = rows[(rows["campaign"] == campaign) & ~np.isin(rows["got"], (Answer.UNAVAILABLE, Answer.RATE_LIMITED))]
    answers = list(zip(mine["got"].tolist(), mine["status"].tolist(), strict=True))
    return [(one.rule, one.held) for one in run.history.claims if one.campaign == campaign], answers


def test_one_of_them_does_nothing_to_the_servers_of_another() -> None:
    """Each of them restarts, stops or confuses what it has, at the same time as the others."""
    names = SANDBOXED if SOAK else [name for name in SANDBOXED if not SCRIPTS[name].takes_ns]
    seconds = SECONDS if SOAK else 30
    together = played(*names, seconds=seconds)
    for number, name in enumerate(names, 1):
        claimed, answered = proven(played(name, seconds=seconds), 1)
        assert proven(together, number)[0] == claimed
        assert set(proven(together, number)[1]) == set(answered)


def test_a_server_of_theirs_that_fails_is_an_outage_and_says_by_what() -> None:
    fails = "self._room.set()\n    if batch and self._api.nonces is not None: raise LookupError('torn')"
    with planted((Edit("reference_server.pipeline.resolving", "Resolver._take", "self._room.set()", fails),)):
        run = played("replay.redis-down", seconds=20)
    assert run.code == 1, run.printed
    (death,) = run.history.deaths
    assert death.server == "a server of replay.redis-down's own"
    assert death.words.endswith("LookupError: torn")
    assert 3 * SECOND_NS <= death.died_from_ns <= death.died_to_ns <= 6 * SECOND_NS
    assert "FAILED outage" in run.printed


class Pausing(AfterRestart):
    name = "replay.after-restart"
    sandbox = SandboxOptions()

    def script(self, context: ScriptContext) -> Script[None]:
        yield BeginFault("server.pause")
        yield Claim("paused", held=True, message=f"it is, by {context.now()}")


def test_a_server_of_theirs_that_stands_still_at_its_end_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGUE, Pausing.name, Pausing)
    run = played(Pausing.name, seconds=20)
    assert [one.rule for one in run.history.claims] == ["paused"]
    assert not run.verdict["interrupted"]


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
