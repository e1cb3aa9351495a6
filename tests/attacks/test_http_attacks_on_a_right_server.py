"""Attacks below HTTP find nothing on the reference server, over real sockets and with short deadlines."""

from __future__ import annotations

import pytest

from simulator.attacks.defences import Defences
from simulator.contract.answers import Answer, Operation
from tests.attacks.live import OPEN, play_live, play_patiently
from tests.simulator.conftest import serving, sockets_closed_after
from tests.support.trying import tried_again_where_undecided

AT_ONCE = [
    "http.cl-te", "http.two-cl", "http.bad-length", "http.bare-lf", "http.obs-fold", "http.space-colon", "http.nul",
    "http.large-headers", "json.huge", "http.half-close", "http.reset",
]  # fmt: skip
SLOW = ["http.slowloris", "http.slow-body", "http.slow-read"]
DEADLINES = {"header_timeout_seconds": 0.4, "body_timeout_seconds": 0.4}
HURRIED = Defences(header_seconds=0.4, body_seconds=0.4)


READING = {"connections": 5, "probe_asks": 5}
SENDING = {**READING, "connections": 28, "byte_seconds": 0.05}
"""Slow attacks are as slow as short deadlines need."""


@pytest.mark.parametrize("name", AT_ONCE)
@tried_again_where_undecided
async def test_nothing_is_found_and_no_socket_stays(name: str) -> None:
    async with serving() as (_, target), sockets_closed_after():
        (await play_patiently(name, target)).see_that_all_is_well()


@pytest.mark.parametrize("name", SLOW)
@tried_again_where_undecided
async def test_slow_clients_are_closed_and_honest_ones_served(name: str) -> None:
    async with serving(**OPEN, **DEADLINES) as (_, target), sockets_closed_after():
        numbers = READING if name == "http.slow-read" else SENDING
        (await play_patiently(name, target, defences=HURRIED, numbers=numbers)).see_that_all_is_well()


@tried_again_where_undecided
async def test_answers_that_a_kernel_keeps_say_nothing_about_a_deadline() -> None:
    """The server has long sent them all, so that it has nothing to give up."""
    numbers = {**READING, "events": 1, "margin_seconds": 0.3, "drain_seconds": 1.5}
    async with serving(**OPEN, **DEADLINES) as (_, target):
        played = await play_patiently("http.slow-read", target, defences=HURRIED, numbers=numbers)
    played.see_that_all_is_well(undecided=frozenset({"closed-in-time"}))


@tried_again_where_undecided
async def test_a_thousand_requests_in_one_write_are_answered_in_order_and_limited() -> None:
    async with serving() as (api, target), sockets_closed_after():
        played = await play_patiently("http.pipeline", target)
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
