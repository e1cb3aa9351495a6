"""Words that are said in many places: counts with their nouns, and names that were meant."""

from __future__ import annotations

import pytest

from simulator.platform.wording import all_of, nearest, plural, sentence


@pytest.mark.parametrize(
    ("number", "says", "everything"),
    [(0, "0 machines", "no machine"), (1, "1 machine", "the 1 machine"), (2, "2 machines", "all 2 machines"),
     (12_000, "12,000 machines", "all 12,000 machines")],
)  # fmt: skip
def test_a_count_agrees_with_its_noun_and_has_its_thousands_apart(number: int, says: str, everything: str) -> None:
    assert plural(number, "machine") == says
    assert all_of(number, "machine") == everything
    assert plural(number, "entry", "entries") == says.replace("machines", "entries").replace("machine", "entry")


def test_a_sentence_begins_with_a_capital() -> None:
    assert [sentence(text) for text in ("no machine", "Ada's", "")] == ["No machine", "Ada's", ""]


def test_what_was_meant_is_said_where_it_can_be_guessed() -> None:
    names = ("replay.exact", "nonce.reused")
    assert nearest("replay.exakt", names) == "did you mean 'replay.exact'?"
    assert nearest("zzz", names) == "one of nonce.reused, replay.exact"
    assert nearest("zzz", names, "`list` names them") == "`list` names them"
