from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.wire.values import Request
from tests.http.corpus import WORLD, Case, get, make_world, plain
from tests.http.corpus_framing import FRAMING_CASES
from tests.http.corpus_routes import ROUTE_CASES
from tests.http.serving import Answer, Server, direct_answer, serving
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.certificates import Pair

CASES = [*ROUTE_CASES, *FRAMING_CASES]
WAYS = {"lane": CASES, "hypercorn": CASES, "tls": CASES if SOAK else CASES[::5]}
NAMES = {"google": "{provider}"}
ASKS_OUTSIDE = {"/auth/{provider}/callback"}
"""What succeeds only with a provider outside, which `tests/logins` has."""
BEFORE = plain("before", 200, WORLD.machine.heartbeat("before"))
AFTER = plain("after", 200, WORLD.machine.heartbeat("after")).then(plain("last", 200, get("/api/v1/status")))


async def exchange(server: Server, case: Case) -> list[Answer]:
    """Send a case at once on a connection of its own; afterwards the server closes, and says nothing more."""
    async with server.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_what_it_takes, case.sent)
            answers = [await client.answer(method) for method in case.methods]
        assert await (client.rest() if case.closes else client.end()) == b""
    return answers


@cache
def answers_of_the_table(case: Case) -> list[tuple[Case, list[Answer]]]:
    """Return a case alone and among others, each with the table's answers: the same whichever way it is sent."""
    twin = make_world()[0]
    return [(sent, sent.direct(twin)) for sent in (case, BEFORE.then(case).then(AFTER))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_corpus_means_what_it_says(case: Case) -> None:
    """Each case gets the status the contract gives it, from the operation table alone."""
    alone, answers = answers_of_the_table(case)[0]
    assert alone is case
    assert [answer.status for answer in answers] == [meant.status for meant in case.meant]


def test_corpus_answers_every_route_with_success() -> None:
    def succeeded(cases: Iterable[Case]) -> set[tuple[str, str]]:
        asked = [(meant.request, meant.status) for case in cases for meant in case.meant]
        ids = {WORLD.machine.worker_id, WORLD.bare.worker_id, WORLD.draft_policy_id, WORLD.machine.consent_id}
        ids |= {WORLD.job_id, WORLD.post_id, WORLD.withdrawal_id}
        return {
            (
                request.method,
                "/".join(NAMES.get(part, "{id}" if part in ids else part) for part in request.path.split("/")),
            )
            for request, status in asked
            if request is not None and status in {200, 201, 202, 302, 303}
        }

    routes = {
        (operation.method, prefix + operation.path)
        for operation in OPERATIONS
        if operation.path not in ASKS_OUTSIDE
        for prefix in (("",) if operation.rooted else PREFIXES)
    }
    assert routes - succeeded(CASES) == set()


@pytest.mark.parametrize(
    ("case", "way"),
    [(case, way) for way, cases in WAYS.items() for case in cases],
    ids=lambda part: part.name if isinstance(part, Case) else part,
)
async def test_transport_answers_as_the_table_does(case: Case, way: str, pair: Pair) -> None:
    """Alone on its connection, and pipelined among others, each case gets the table's status, headers and body."""
    api = make_world(**pair.settings_of(way))[0]
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server:
        for sent, answers in answers_of_the_table(case):
            assert await exchange(server, sent) == answers


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
async def test_rate_limit_counts_every_request_but_options(*, express_lane: bool) -> None:
    """The client's address pays for heartbeats and reads alike, learns when to return, and may then."""
    limits = {"rate_limit_burst": 20, "rate_limit_refill_per_second": 0.5}
    api, twin, clock = make_world(**limits)[0], make_world(**limits)[0], SetClock()
    beats = [WORLD.machine.heartbeat(f"n{number}") for number in range(20)]
    options = Request("OPTIONS", "/health")
    async with serving(api, clock, express_lane=express_lane) as server, server.client() as client:
        for request in [*beats[:10], get("/health"), options, *beats[10:], get("/health"), options]:
            expected = direct_answer(twin.handle(request, clock.now()), request.method, closes=False)
            assert await client.ask(request) == expected
        refused = await client.ask(get("/health"))
        assert (refused.status, refused.header("retry-after")) == (429, "2")
        async with server.client() as other:
            assert (await other.ask(beats[-1])).header("retry-after") == "2"
        clock.advance(2.0)
        assert [(await client.ask(beats[-1])).status for _ in range(2)] == [200, 429]
