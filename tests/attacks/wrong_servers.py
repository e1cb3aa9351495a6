"""Servers that are wrong in one thing, and what became of an attack on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.contract.answers import Answer
from tests.attacks.playing import World, served

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance


def play(name: str, change: Callable[[Api, Request], Request]) -> Performance:
    """Play an attack on a server that reads requests differently than it should."""

    def answer(api: Api, request: Request, now: Instant) -> Reply:
        return served(api, change(api, request), now)

    return World(answer=answer).play(name)


def header(request: Request, name: str) -> str:
    return dict(request.headers).get(name, "")


def with_header(request: Request, name: str, value: str) -> Request:
    kept = tuple(pair for pair in request.headers if pair[0] != name)
    return msgspec.structs.replace(request, headers=(*kept, (name, value)))


def without_header(request: Request, name: str) -> Request:
    return msgspec.structs.replace(request, headers=tuple(pair for pair in request.headers if pair[0] != name))


def broken(performance: Performance) -> set[str]:
    return {stated.rule for stated in performance.broken}


def accepted(performance: Performance) -> int:
    """Count the hostile requests that were let through."""
    return sum(one.got is Answer.ACCEPTED and one.expect.answer is not Answer.ACCEPTED for one in performance.outcomes)
