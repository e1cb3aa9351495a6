"""Attacks below HTTP find nothing on the reference server, over real sockets and with short deadlines."""

from __future__ import annotations

import pytest

from simulator.attacks import CATALOGUE, http_slow
from simulator.attacks.script import Defences
from simulator.contract.answers import Answer, Operation
from tests.attacks.live import OPEN, play_live
from tests.simulator.conftest import serving, sockets_closed_after

AT_ONCE = [
    "http.cl-te", "http.two-cl", "http.bad-length", "http.bare-lf", "http.obs-fold", "http.space-colon", "http.nul",
    "http.large-headers", "json.huge", "http.half-close", "http.reset",
]  # fmt: skip
SLOW = ["http.slowloris", "http.slow-body", "http.slow-read"]
DEADLINES = {"header_timeout_seconds": 0.4, "body_timeout_seconds": 0.4}
HURRIED = Defences(header_seconds=0.4, body_seconds=0.4)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have slow attacks be as slow as short deadlines need."""
    for name in SLOW:
        attack = CATALOGUE[name]
        monkeypatch.setattr(attack, "connections", 5 if name == "http.slow-read" else 28)
        monkeypatch.setattr(attack, "probe_seconds", 0.1)
        if name != "http.slow-read":
            monkeypatch.setattr(attack, "byte_seconds", 0.05)
    monkeypatch.setattr(http_slow, "PROBE_MAX_SECONDS", 2.0)


@pytest.mark.parametrize("name", AT_ONCE)
async def test_nothing_is_found_and_no_socket_stays(name: str) -> None:
    async with serving() as (_, target), sockets_closed_after():
        (await play_live(name, target)).see_that_all_is_well()


@pytest.mark.parametrize("name", SLOW)
async def test_slow_clients_are_closed_and_honest_ones_served(name: str) -> None:
    async with serving(**OPEN, **DEADLINES) as (_, target), sockets_closed_after():
        (await play_live(name, target, defences=HURRIED)).see_that_all_is_well()


async def test_answers_that_a_kernel_keeps_say_nothing_about_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has long sent them all, so that it has nothing to give up."""
    monkeypatch.setattr(CATALOGUE["http.slow-read"], "events", 1)
    monkeypatch.setattr(CATALOGUE["http.slow-read"], "margin_seconds", 0.3)
    monkeypatch.setattr(http_slow, "DRAIN_SECONDS", 1.5)
    async with serving(**OPEN, **DEADLINES) as (_, target):
        played = await play_live("http.slow-read", target, defences=HURRIED)
    played.see_that_all_is_well(undecided=frozenset({"closed-in-time"}))


async def test_a_thousand_requests_in_one_write_are_answered_in_order_and_limited() -> None:
    async with serving() as (api, target), sockets_closed_after():
        played = await play_live("http.pipeline", target)
        played.see_that_all_is_well()
        assert len(api.heard) == 1000
        assert {one.status for one in api.heard} == {200, 404, 405, 429}


@pytest.mark.parametrize("name", ["http.reset", "http.half-close"])
async def test_what_may_have_been_registered_or_made_is_told(name: str) -> None:
    """Every change on the server is in the history, for sure or as possible, and none is called sure that is not."""
    async with serving() as (api, target):
        played = await play_live(name, target)
    rows = played.history.rows()
    registered = rows[rows["operation"] == Operation.REGISTER]
    sure = int((registered["got"] == Answer.ACCEPTED).sum())
    assert sure <= len(api.state.workers) <= len(registered)
    for event in ("policy_created", "machine_registered"):
        noted = [one for one in played.history.effects if one.type == event]
        for owner_id in played.history.owners:
            owner = api.state.owners.get(owner_id)
            types = [] if owner is None else [one.type for one in owner.notable.kept()]
            there = types.count(event)
            mine = [one for one in noted if owner_id in one.owners]
            assert sum(one.sure for one in mine) <= there <= len(mine)
