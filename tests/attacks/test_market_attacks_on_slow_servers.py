"""Attacks on money and jobs accuse no server that is slow or busy, and find one that uses it for an excuse."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.replies import failure
from reference_server.wire.units import SECOND_NS
from simulator.attacks.defences import Defences, defences_of
from tests.attacks.playing import LOST, World, script_attack, served
from tests.attacks.wrong_servers import broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance

SETTINGS: dict[str, Any] = {"wallet_dev_credit_usdt": Decimal(1000), "withdrawal_cooldown_seconds": 2}
WITHDRAW = "/api/v1/wallet/withdraw"
RATE_LIMITED, POOR = failure(429, "rate limit exceeded"), failure(402, "insufficient balance")


def held_of(performance: Performance) -> dict[str, bool | None]:
    return {one.rule: one.held for one in performance.stated}


def nth_withdrawal(count: int, answer: Callable[[], Reply | None]) -> Callable[[Api, Request, Instant], Reply | None]:
    """Answer one withdrawal of a script otherwise."""
    seen = 0

    def answering(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal seen
        seen += request.path == WITHDRAW
        return answer() if request.path == WITHDRAW and seen == count else None

    return answering


@pytest.mark.parametrize(("count", "rule"), [(2, "held-up"), (3, "held-up"), (6, "held-up"), (8, "never-at-once")])
def test_an_address_may_have_cooled_down_before_a_late_answer(count: int, rule: str) -> None:
    def stall() -> None:
        world.now_ns += 3 * SECOND_NS

    world = World(SETTINGS, answer=nth_withdrawal(count, stall))
    performance = world.play("wallet.cooldown")
    assert not performance.wrong
    assert not performance.broken
    assert [rule for rule, held in held_of(performance).items() if held is None] == [rule]


@pytest.mark.parametrize(
    ("count", "rule"), [(2, "held-up"), (3, "held-up"), (6, "held-up"), (7, "never-at-once"), (10, "never-at-once")]
)
@pytest.mark.parametrize("reply", [POOR, failure(403, "forbidden")])
def test_an_address_that_is_not_held_up_in_time_is_found(count: int, rule: str, reply: Reply) -> None:
    performance = World(SETTINGS, answer=nth_withdrawal(count, lambda: reply)).play("wallet.cooldown")
    assert rule in broken(performance)


@pytest.mark.parametrize("served_first", [True, False])
def test_a_retried_withdrawal_that_was_lost_may_have_come_about(*, served_first: bool) -> None:
    poor: set[str] = set()

    def losing(api: Api, request: Request, now: Instant) -> Reply | None:
        if request.path != WITHDRAW:
            return None
        key = dict(request.headers).get("idempotency-key", "")
        if key not in poor:
            reply = served(api, request, now)
            poor.update({key} if reply.status == 402 else ())
            return reply
        if served_first:
            served(api, request, now)
        return LOST

    performance = World(SETTINGS, answer=losing).play("wallet.idempotency")
    assert poor
    assert not performance.broken
    assert held_of(performance)["one-effect"] is None


def test_three_withdrawals_need_an_hour_that_allows_them() -> None:
    attack, world = script_attack("wallet.idempotency"), World()
    for per_hour, why in ((2, "2 withdrawals an hour may be made, and it makes 3"), (3, "")):
        world.context.defences = Defences(withdrawals_per_hour=per_hour)
        assert attack.obstacle(world.context) == why


@pytest.mark.parametrize("name", ["wallet.double-spend", "wallet.idempotency", "wallet.velocity"])
def test_an_address_was_not_used_by_who_was_over_the_rate_limit(name: str) -> None:
    performance = World(SETTINGS, answer=nth_withdrawal(1, lambda: RATE_LIMITED)).play(name)
    assert performance.unsettled == "use an address: it got HTTP 429"
    assert not performance.wrong


@pytest.mark.parametrize("which", [b'"running"', b'"succeeded"'])
def test_a_job_on_a_server_that_stalls_is_no_cheat(which: bytes) -> None:
    """Nothing is billed where a machine was not heard for too long, and its job may be given back."""
    stalled = False

    def stalling(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal stalled
        if not stalled and which in request.body.replace(b"\\", b"") and b"uptime_seconds" in request.body:
            stalled, world.now_ns = True, world.now_ns + 8 * SECOND_NS
        return None

    world = World({**SETTINGS, "stale_seconds": 5}, answer=stalling)
    world.context.defences = Defences(stale_seconds=5)
    performance = world.play("job.inflate")
    assert stalled
    assert not performance.wrong
    assert not performance.broken
    held = held_of(performance)
    assert {held[rule] for rule in ("covered-only", "covered-paid", "rest-returned", "earned-no-more")} == {None}


@pytest.mark.parametrize("stale_seconds", [1, 2, 5])
def test_a_job_is_judged_on_a_server_that_soon_calls_machines_stale(stale_seconds: int) -> None:
    world = World({**SETTINGS, "stale_seconds": stale_seconds})
    world.context.defences = Defences(stale_seconds=stale_seconds)
    performance = world.play("job.inflate")
    held = held_of(performance)
    assert {held[rule] for rule in ("covered-only", "covered-paid", "rest-returned", "earned-no-more")} == {True}
    assert not performance.wrong


def test_how_long_a_machine_may_be_silent_is_a_setting() -> None:
    assert defences_of({}).stale_seconds == 60
    assert defences_of({"WORKER_STATUS_STALE_SECONDS": 5}).stale_seconds == 5
