"""Being late proves nothing where everything is late: not of a server that is busy, nor by a harness that is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks.defences import Defences
from simulator.attacks.honest import longest_wait_seconds, waited_seconds, watching_client
from simulator.attacks.http_slow import Slowloris
from simulator.attacks.script import Wire, WireAnswer, WireOutcome, granted
from simulator.history.records import GeneratorSample
from simulator.history.rows import History
from tests.attacks.live import play_live, wrong_server
from tests.attacks.playing import World
from tests.support.trying import tried_again_alone
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.attacks.live import Connection

SLOW_SENDERS = ["http.slowloris", "http.slow-body"]
ANSWER_AFTER_SECONDS = 0.1
HOLD_SECONDS = 2.0
STEP_NS = 10_000_000
LATE_NS, PUNCTUAL_NS = 300_000_000, 200_000_000
SOON = Defences(header_seconds=0.2, body_seconds=0.2)
NEGATIVE = Defences(body_seconds=-1.7)
"""So that the two seconds of patience behind the deadline are a third of one."""


SENDING_SOON = {
    "connections": 5, "margin_seconds": 0.3, "probe_asks": 5, "byte_seconds": 0.05,
}  # fmt: skip
NUMBERS: dict[str, dict[str, float]] = {
    **{name: {**SENDING_SOON, "probe_max_seconds": PATIENCE_SECONDS} for name in SLOW_SENDERS},
    "http.half-close": {"probe_asks": 5},
}


CLOSING = pytest.mark.parametrize(
    ("name", "rule", "defences"),
    [*((name, "closed-in-time", SOON) for name in SLOW_SENDERS), ("http.half-close", "closed", NEGATIVE)],
)


def keeping(wait_seconds: Callable[[int], float]) -> Callable[[Connection], Awaitable[None]]:
    """Make a server that keeps what does not end. It waits by how many it has answered on a connection."""

    async def serve(connection: Connection) -> None:
        answered = 0
        while message := await connection.message():
            await trio.sleep(wait_seconds(answered))
            answered += 1
            await connection.send(connection.handle(message))
            if b"Connection: close" in message:
                return
        if connection.unread:
            await trio.sleep(HOLD_SECONDS)

    return serve


late_for_all = keeping(lambda answered: ANSWER_AFTER_SECONDS * (answered > 0))
far_away = keeping(lambda _: ANSWER_AFTER_SECONDS)


@CLOSING
@pytest.mark.parametrize(("busy_seconds", "held"), [(ANSWER_AFTER_SECONDS / 2, None), (5.0, False)])
@tried_again_alone
async def test_a_server_that_keeps_its_honest_clients_waiting_too_is_not_called_late_in_closing(
    name: str, rule: str, defences: Defences, busy_seconds: float, *, held: bool | None
) -> None:
    """One that answers honest clients at once has no such excuse."""
    async with wrong_server(late_for_all) as target:
        played = await play_live(
            name, target, defences=defences, numbers={**NUMBERS[name], "busy_seconds": busy_seconds}
        )
    played.see_that_none_is_accused("honest-served", *([rule] if held is None else []))
    assert played.claims[rule] == [held], played.stated
    assert played.claims.get("honest-served", [True]) == [True], played.stated


@pytest.mark.parametrize(("busy_seconds", "held"), [(0.2, None), (5.0, False)])
@pytest.mark.parametrize("name", SLOW_SENDERS)
@tried_again_alone
async def test_a_server_that_stands_still_once_its_deadline_has_come_is_not_called_late(
    name: str, busy_seconds: float, *, held: bool | None
) -> None:
    """Honest clients are answered at once until then: who asks only so long learns nothing of it."""
    stands_from = trio.current_time() + SOON.header_seconds

    def wait_seconds(_: int) -> float:
        return HOLD_SECONDS / 2 * (trio.current_time() >= stands_from)

    numbers = {**NUMBERS[name], "busy_seconds": busy_seconds}
    async with wrong_server(keeping(wait_seconds)) as target:
        played = await play_live(name, target, defences=SOON, numbers=numbers)
    played.see_that_none_is_accused(*(["closed-in-time"] if held is None else []))
    assert played.claims["closed-in-time"] == [held], played.stated


@CLOSING
@tried_again_alone
async def test_a_server_that_is_far_away_is_still_found_to_close_nothing(
    name: str, rule: str, defences: Defences
) -> None:
    async with wrong_server(far_away) as target:
        played = await play_live(name, target, defences=defences, numbers=NUMBERS[name])
    assert played.claims[rule] == [False], played.stated


@pytest.mark.parametrize("seconds", [3.1, 13.0, 35.0])
@pytest.mark.parametrize(("burst", "refill_per_second"), [(20, 5.0), (40, 5.0), (4, 5.0), (1, 5.0), (1, 0.1)])
def test_a_server_is_watched_from_the_beginning_to_the_end(
    seconds: float, burst: int, refill_per_second: float
) -> None:
    context = World().context
    context.defences = Defences(burst, refill_per_second)
    asks = watching_client(context, seconds, 5.0).parts
    assert sum(after for _, after in asks) == pytest.approx(seconds)
    assert len({after for _, after in asks[:-1]}) == 1
    # Half of what the limit allows a client, so that nobody is refused who shares it with another.
    allowed = context.defences.allows(int(seconds * SECOND_NS))
    assert len(asks) <= max(2, allowed // 2)
    if refill_per_second >= 5.0:
        assert len(asks) >= min(12, allowed // 2)
        assert asks[0][1] <= 1.0


@pytest.mark.parametrize(("deadline_seconds", "may_wait_seconds"), [(1.0, 0.525), (10.0, 0.75), (30.0, 1.25)])
def test_the_longer_a_deadline_the_longer_an_honest_client_may_wait(
    deadline_seconds: float, may_wait_seconds: float
) -> None:
    assert Slowloris().may_wait_seconds(deadline_seconds) == pytest.approx(may_wait_seconds)


@pytest.mark.parametrize(
    ("answered", "waited_seconds_"),
    [
        ([0.0, 1.0, 2.0, 3.0], 0.0),
        ([0.4, 1.1, 2.0, 3.5], 1.0),  # one pause after the other adds up
        ([2.5, 2.5, 2.5, 3.0], 2.5),  # and one in which three asked counts once
        ([0.0, 1.9, 2.9, 3.9], 2.7),
        ([0.0, 1.0, 2.0], math.inf),
        ([0.1, 1.1, 2.1, 3.1], 0.0),  # far away
        ([0.1, 1.1, 2.7, 3.1], 0.6),
        ([0.9, 1.9, 2.9, 3.9], 2.6),  # nobody is as far away as that
    ],
)
def test_the_waits_of_an_honest_client_are_counted_once_each(answered: list[float], waited_seconds_: float) -> None:
    parts = tuple((b"ask", 1.0) for _ in range(4))
    answers = tuple(WireAnswer(200, b"", b"", round(at * SECOND_NS)) for at in answered)
    outcome = WireOutcome(answers, parts_ns=tuple(number * SECOND_NS for number in range(4)))
    assert waited_seconds(Wire(parts, granted(200, "it is honest")), outcome) == pytest.approx(waited_seconds_)


def test_who_answers_before_it_is_asked_has_not_answered() -> None:
    parts = tuple((b"ask", 1.0) for _ in range(4))
    client = Wire(parts, granted(200, "it is honest"))
    for sent in ((), (0,), (0, 1, 2)):
        outcome = WireOutcome(tuple(WireAnswer(200, b"", b"", 0) for _ in range(9)), parts_ns=sent)
        assert waited_seconds(client, outcome) == longest_wait_seconds(client, outcome) == math.inf


@pytest.mark.parametrize(("lag_ns", "held"), [(LATE_NS, None), (PUNCTUAL_NS, False)])
@pytest.mark.parametrize(
    ("rule", "probe_max_seconds"),
    [("closed-in-time", PATIENCE_SECONDS), ("honest-served", ANSWER_AFTER_SECONDS / 2)],
)
@tried_again_alone
async def test_a_harness_that_was_late_itself_calls_no_server_late(
    rule: str, probe_max_seconds: float, lag_ns: int, *, held: bool | None
) -> None:
    """Neither in closing nor in serving honest clients: it shares its CPUs with others, as the server may."""
    numbers = {**SENDING_SOON, "probe_max_seconds": probe_max_seconds, "busy_seconds": 5.0}
    history = History()
    history.generator = [GeneratorSample(number * STEP_NS, lag_ns, 0.1, 0) for number in range(1000)]
    async with wrong_server(late_for_all) as target:
        played = await play_live("http.slowloris", target, defences=SOON, history=history, numbers=numbers)
    played.see_that_none_is_accused(*(["closed-in-time", "honest-served"] if held is None else []))
    assert played.claims[rule] == [held], played.stated


@pytest.mark.parametrize("own_addresses", [True, False])
@tried_again_alone
async def test_no_server_starves_an_honest_client_that_shares_the_attackers_address(*, own_addresses: bool) -> None:
    """As behind a proxy: what keeps that one from an answer may be the limit of who attacks."""
    numbers = {**SENDING_SOON, "probe_max_seconds": ANSWER_AFTER_SECONDS / 2}
    async with wrong_server(late_for_all) as target:
        played = await play_live(
            "http.slowloris",
            msgspec.structs.replace(target, own_addresses=own_addresses),
            defences=SOON, numbers=numbers, own_addresses=own_addresses,
        )  # fmt: skip
    assert played.claims["honest-served"] == [False if own_addresses else None], played.stated
