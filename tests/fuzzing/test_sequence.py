"""The drawing of a trace: each exchange at its moments, in its speaker's column."""

from __future__ import annotations

from simulator.fuzzing.sequence import OTHERS, SPEAKERS_MAX, draw_sequence
from simulator.limits import SEQUENCE_ROWS_MAX
from simulator.traces.format import Exchange, HttpRequest, Response

SECOND_NS = 1_000_000_000


def exchange(sequence: int, sent: float, answered: float | None, **changed: object) -> Exchange:
    values: dict[str, object] = {
        "sequence": sequence, "planned_ns": 0, "sent_ns": int(sent * SECOND_NS),
        "answered_ns": None if answered is None else int(answered * SECOND_NS), "at": "", "source": "", "attack": None,
        "campaign": 0, "machine": None, "operation": "heartbeat", "expected": "accepted", "got": "accepted",
        "request": HttpRequest(method="POST", path="/beat", headers=(), body=""),
        "response": None if answered is None else Response(status=200, headers=(), body=""),
    }  # fmt: skip
    return Exchange(**(values | changed))  # type: ignore[arg-type]  # a test's shorthand


REFUSED = Response(status=401, headers=(), body='{"success":false,"error":"bad"}')


def test_exchanges_are_drawn_in_the_order_of_time_in_their_speakers_columns() -> None:
    drawn = draw_sequence(
        [
            exchange(1, 1, 4, machine=0),
            exchange(2, 2, 3, attack="replay.exact", campaign=1, response=REFUSED, got="nonce_replayed"),
            exchange(3, 5, None, machine=0, got="lost"),
        ],
        "why",
    )
    assert drawn.splitlines() == [
        "why",
        "",
        "            machine 0         replay.exact      server",
        "   1.0000 s ├─────────────────┼────────────────▶│  #1 POST /beat",
        "   2.0000 s │                 ├────────────────▶│  #2 POST /beat",
        "   3.0000 s │                 │◀────────────────┤  #2 401 nonce_replayed: bad   <== accepted is right",
        "   4.0000 s │◀────────────────┼─────────────────┤  #1 200 accepted",
        "   5.0000 s ├─────────────────┼────────────────▶│  #3 POST /beat",
    ]


def test_many_speakers_share_a_column_and_of_many_exchanges_the_first_are_drawn() -> None:
    many = [exchange(number, number, number + 0.5, machine=number) for number in range(1, SEQUENCE_ROWS_MAX + 3)]
    lines = draw_sequence(many, "why").splitlines()
    assert lines[2].count("machine") == SPEAKERS_MAX - 1
    assert OTHERS in lines[2]
    assert lines[-1].startswith("and 2 exchanges more")
