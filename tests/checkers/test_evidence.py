"""What is kept as evidence tells no secret, and is no longer than anybody reads."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulator.history.evidence import REDACTED, as_evidence, as_figures, redacted, shown
from simulator.history.records import FailedExchange
from simulator.history.rows import History
from simulator.limits import EVIDENCE_MAX_BYTES, EXCHANGES_MAX


@given(
    evidence=st.dictionaries(st.text(max_size=9), st.integers() | st.lists(st.text(max_size=9), max_size=3), max_size=4)
)
def test_evidence_that_can_be_stored_is_kept_as_it_is(evidence: dict[str, Any]) -> None:
    assert as_figures(evidence) is evidence


def test_evidence_that_a_server_made_endless_is_cut() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert as_figures({"shown": deep}) == {"cut": "it holds what cannot be stored"}
    nested: Any = []
    for _ in range(500):
        nested = [nested]
    for evidence in ({"shown": nested}, {"shown": "x" * 10**6}):
        (cut,) = as_figures(evidence).values()
        assert len(cut) <= EVIDENCE_MAX_BYTES
        assert cut.startswith('{"shown":')


HEX = st.text("0123456789abcdef", min_size=48, max_size=48)


@given(
    token=HEX,
    name=st.sampled_from(["X-Machine-Token", "x-machine-token", "Authorization", "authorization"]),
    scheme=st.sampled_from(["", "Bearer ", "bearer "]),
    space=st.sampled_from(["", " ", "\t"]),
)
def test_a_token_in_a_header_is_masked_however_it_is_written(token: str, name: str, scheme: str, space: str) -> None:
    message = f"GET / HTTP/1.1\r\nHost: a\r\n{name}:{space}{scheme}{token}\r\nX-Owner-ID: ada\r\n\r\n".encode()
    kept = redacted(message)
    assert token.encode() not in kept
    assert REDACTED in kept
    assert b"X-Owner-ID: ada\r\n\r\n" in kept


@given(token=HEX, key=st.sampled_from(["machine_token", "api_key", "token", "secret"]))
def test_a_token_in_an_answer_is_masked(token: str, key: str) -> None:
    assert token.encode() not in redacted(f'{{"data":{{"{key}" : "{token}","id":"wrk_1"}}}}'.encode())


@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_what_is_no_secret_stays_as_it_was(before: bytes, after: bytes) -> None:
    message = before.replace(b":", b"") + b"\r\n" + after.replace(b":", b"")
    assert redacted(message) == message


@given(length=st.integers(0, 3 * EVIDENCE_MAX_BYTES))
def test_a_long_message_is_cut_and_says_by_how_much(length: int) -> None:
    kept = as_evidence(b"x" * length)
    assert len(kept) < EVIDENCE_MAX_BYTES + 40
    assert (f"[{length - EVIDENCE_MAX_BYTES} bytes more]" in kept.decode()) is (length > EVIDENCE_MAX_BYTES)


@given(message=st.binary(max_size=60))
def test_any_bytes_can_be_shown(message: bytes) -> None:
    shown(message).encode()


def test_a_history_keeps_no_secret_and_no_more_than_its_bound() -> None:
    history = History()
    for number in range(EXCHANGES_MAX + 5):
        history.keep(FailedExchange(number, number, 1, b"GET / HTTP/1.1\r\nX-Machine-Token: abc\r\n\r\n", b"", "why"))
    assert len(history.exchanges) == EXCHANGES_MAX
    assert all(b"abc" not in exchange.request for exchange in history.exchanges)
