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


def _asked(key: str, path: str) -> HttpRequest:
    return HttpRequest(method="POST", path=path, headers=(("authorization", f"Bearer {key}"),), body="")


def test_agents_have_columns_of_their_own_under_the_ids_by_which_findings_call_them() -> None:
    registered = '{"data":{"agent":{"id":"agt_1"},"api_key":"${secret.1}"}}'
    lines = draw_sequence(
        [
            exchange(1, 1, 2, request=_asked("${owner.token}", "/policies")),
            exchange(2, 3, 4, response=Response(status=201, headers=(), body=registered)),
            exchange(3, 5, 6, request=_asked("${secret.1}", "/key"),
                     response=Response(status=200, headers=(), body='{"data":{"api_key":"${secret.2}"}}')),
            exchange(4, 7, 8, request=_asked("${secret.2}", "/withdraw")),
        ],
        "why",
    ).splitlines()  # fmt: skip
    assert lines[2].split() == ["owners", "agt_1", "server"]
    assert [line.index("├") > lines[2].index("agt_1") - 1 for line in lines[3:] if "POST" in line] == [
        False, True, True, True,
    ]  # fmt: skip


def test_many_speakers_share_a_column_and_of_many_exchanges_the_first_are_drawn() -> None:
    many = [exchange(number, number, number + 0.5, machine=number) for number in range(1, SEQUENCE_ROWS_MAX + 3)]
    lines = draw_sequence(many, "why").splitlines()
    assert lines[2].count("machine") == SPEAKERS_MAX - 1
    assert OTHERS in lines[2]
    assert lines[-1].startswith("and 2 exchanges more")
