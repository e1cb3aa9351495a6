"""What an honest client beside an attack was answered, and how long it waited."""

from __future__ import annotations

import math

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.attacks.honest import longest_wait_seconds
from simulator.attacks.script import Wire, WireAnswer, WireOutcome, granted

CLIENT = Wire(((b"one", 1.0), (b"two", 0.0)), granted(200, "it is honest"), patience_seconds=5.0)


@pytest.mark.parametrize(
    ("statuses", "seconds"),
    [((200, 200), 2.0), ((200, 429), 2.0), ((429, 429), 2.0), ((200,), math.inf), ((200, 503), math.inf)],
)
def test_a_refusal_by_the_limit_of_a_shared_address_is_an_answer(statuses: tuple[int, ...], seconds: float) -> None:
    """Behind a proxy the limit of who attacks is that of who is honest; else the limits checker judges it."""
    answers = tuple(WireAnswer(status, b"", b"", (2 * at + 1) * SECOND_NS) for at, status in enumerate(statuses))
    outcome = WireOutcome(answers, connected=True, parts_ns=(0, SECOND_NS))
    assert longest_wait_seconds(CLIENT, outcome) == seconds
