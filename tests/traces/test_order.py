"""What a replayed exchange waits for: what it builds on and came after, and nothing that raced with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.traces.order import predecessors
from simulator.traces.resign import Resigner
from tests.traces.recorded import Recording, small_recording

if TYPE_CHECKING:
    from simulator.traces.format import Exchange

POLICY, ACTIVATE, REGISTER, CONSENT, REGISTER_1, CONSENT_1, FIRST, OTHER, REPLAY = range(9)


def waits_of(recording: Recording) -> list[list[int]]:
    trace = recording.trace()
    resigner = Resigner(trace.header, trace.exchanges, "t", "a", "s")
    return predecessors(trace.exchanges, resigner.gives, resigner.needs)


def reaches(waits: list[list[int]], later: int, earlier: int) -> bool:
    """Return whether one exchange waits for another, perhaps by way of others."""
    return earlier in waits[later] or any(reaches(waits, between, earlier) for between in waits[later])


def test_an_exchange_waits_for_what_gave_out_its_ids_and_its_token() -> None:
    waits = waits_of(small_recording())
    assert waits[POLICY] == []
    assert waits[ACTIVATE] == [POLICY]
    assert waits[REGISTER] == []
    assert {ACTIVATE, REGISTER} <= set(waits[CONSENT])
    assert reaches(waits, FIRST, CONSENT)


def test_an_exchange_waits_for_what_it_needs_even_where_clocks_say_it_was_sent_before_that_was_answered() -> None:
    """Browsers round times to milliseconds."""
    recording = small_recording()
    late = msgspec.structs.replace(recording.taken[REGISTER], answered_ns=10**12)
    recording.taken[REGISTER] = late
    assert REGISTER in waits_of(recording)[FIRST]


def test_a_replay_waits_for_what_it_replays_and_machines_do_not_wait_for_each_other() -> None:
    waits = waits_of(small_recording())
    assert FIRST in waits[REPLAY]
    assert not reaches(waits, OTHER, FIRST)
    assert not reaches(waits, REGISTER_1, REGISTER)


def test_what_is_asked_under_one_idempotency_key_keeps_its_order_unless_it_raced() -> None:
    recording = Recording()
    asked = [
        b"POST /api/v1/wallet/withdraw HTTP/1.1\r\nIdempotency-Key: %s\r\n\r\n" % key for key in (b"a", b"a", b"b")
    ]
    for number, request in enumerate(asked):
        recording.take(request, b"HTTP/1.1 402 X\r\n\r\n", sent_ns=number * 10**9, answered_ns=number * 10**9 + 1)
    assert waits_of(recording) == [[], [0], []]
    recording.taken[0] = msgspec.structs.replace(recording.taken[0], answered_ns=10**9 + 1)
    assert waits_of(recording) == [[], [], []]


def test_what_was_under_way_together_stays_free_to_race() -> None:
    recording = small_recording()
    original = recording.taken[FIRST]
    copies = [recording.take(original.request, None, sent_ns=5_000_000_000, machine=0) for _ in range(3)]
    waits = waits_of(recording)
    at = len(recording.taken) - len(copies)
    assert all(not reaches(waits, later, earlier) for later in range(at, at + 3) for earlier in range(at, at + 3))


def test_a_revocation_is_ordered_with_the_heartbeats_of_its_worker() -> None:
    """It names the consent only; whose that is was in the answer that gave it out."""
    recording = small_recording()
    consent = recording.trace().exchanges[CONSENT].response
    assert consent is not None
    consent_id = consent.body.split('"id":"')[1].split('"')[0]
    recording.take(
        f"POST /api/v1/consents/{consent_id}/revoke HTTP/1.1\r\nContent-Length: 0\r\n\r\n".encode(),
        b"HTTP/1.1 200 X\r\n\r\n",
    )
    recording.heartbeat(0, "ff" * 12)
    waits = waits_of(recording)
    revoke = len(waits) - 2
    assert reaches(waits, revoke, FIRST)
    assert not reaches(waits, revoke, OTHER)
    assert reaches(waits, revoke + 1, revoke)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8), st.integers(0, 2)), max_size=14))
def test_waiting_keeps_exactly_the_recorded_order_of_each_worker(spans: list[tuple[int, int, int]]) -> None:
    """Against the definition: whoever was answered before another was sent, about the same worker, comes before it."""
    recording = small_recording()
    spans = sorted((start, lasting, worker) for start, lasting, worker in spans)
    for start, lasting, worker in spans:
        recording.take(
            f"GET /x/{recording.worker(worker)} HTTP/1.1\r\n\r\n".encode(), b"HTTP/1.1 200 X\r\n\r\n",
            sent_ns=10**10 + start, answered_ns=10**10 + start + lasting,
        )  # fmt: skip
    exchanges = recording.trace().exchanges
    waits = waits_of(recording)
    first = len(exchanges) - len(spans)
    for later in range(first, len(exchanges)):
        for earlier in range(first, later):
            wanted = _about(exchanges[later], recording) == _about(exchanges[earlier], recording) < 2 and (
                (exchanges[earlier].answered_ns or 0) <= exchanges[later].sent_ns
            )
            assert reaches(waits, later, earlier) == wanted


def _about(exchange: Exchange, recording: Recording) -> int:
    """Return the machine an exchange is about; 2 is none that was registered."""
    return next(index for index in range(3) if recording.worker(index) in str(exchange.request))
