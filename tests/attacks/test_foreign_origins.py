"""Servers that let pages of other sites read: however they tell an origin, the attack finds one that passes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from reference_server.wire.replies import failure
from simulator.attacks.origins import DEFAULT
from tests.attacks.playing import World, served
from tests.attacks.wrong_servers import broken, header

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request

NAME = "owner.foreign-origin"
LENIENT: dict[str, Callable[[str], bool]] = {
    "any": lambda _: True,
    "none that is a site": lambda origin: origin == "null",
    "what begins as an allowed one": lambda origin: origin.startswith(DEFAULT),
    "what ends as an allowed one": lambda origin: origin.endswith("localhost:3000"),
    "what has an allowed one in it": lambda origin: DEFAULT in origin,
    "what a pattern without an end matches": lambda origin: re.match(r"https?://.*localhost:3000", origin) is not None,
}


def allowing(is_allowed: Callable[[str], bool], of: str = "") -> Callable[[Api, Request, Instant], Reply]:
    """Answer as a server that names whatever origin it takes for an allowed one, to requests of one method alone."""

    def answer(api: Api, request: Request, now: Instant) -> Reply:
        reply, origin = served(api, request, now), header(request, "origin")
        if not origin or not is_allowed(origin) or of not in {"", request.method}:
            return reply
        kept = tuple(one for one in reply.headers if one[0] != "access-control-allow-origin")
        return msgspec.structs.replace(reply, headers=(*kept, ("Access-Control-Allow-Origin", origin)))

    return answer


@pytest.mark.parametrize("lenient", LENIENT)
@pytest.mark.parametrize("of", ["", "GET", "OPTIONS"])
def test_a_server_that_lets_a_foreign_page_read_is_found(lenient: str, of: str) -> None:
    assert broken(World(answer=allowing(LENIENT[lenient], of)).play(NAME)) == {"not-let-in"}


def test_an_origin_that_is_allowed_may_be_named_to_everybody() -> None:
    def answer(api: Api, request: Request, now: Instant) -> Reply:
        reply = served(api, request, now)
        kept = tuple(one for one in reply.headers if one[0] != "access-control-allow-origin")
        return msgspec.structs.replace(reply, headers=(*kept, ("access-control-allow-origin", DEFAULT)))

    performance = World(answer=answer).play(NAME)
    assert not performance.wrong
    assert not performance.broken


def test_a_server_that_asks_for_a_token_before_a_preflight_is_found() -> None:
    """No browser sends one then, so that no page of an allowed origin could ask for anything."""

    def answer(api: Api, request: Request, now: Instant) -> Reply:
        return failure(401, "unauthorized") if request.method == "OPTIONS" else served(api, request, now)

    assert World(answer=answer).play(NAME).wrong


def test_a_route_without_options_is_found() -> None:
    def answer(api: Api, request: Request, now: Instant) -> Reply:
        lacks = request.method == "OPTIONS" and request.path == "/v1/workers/summary"
        return failure(405, "method not allowed") if lacks else served(api, request, now)

    assert World(answer=answer).play(NAME).wrong
