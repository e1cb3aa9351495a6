"""Findings are kept as far as they fit, one of each kind first, and counted beyond that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.keeping import EXCHANGED, LINK_BYTES, kept, one_of_each_first
from simulator.checkers.verdict import Finding
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

texts = st.text(max_size=40)
findings = st.lists(
    st.builds(
        Finding,
        rule=st.sampled_from(["a", "b", "c"]),
        message=texts,
        at_ns=st.integers(0, 2**62),
        evidence=st.dictionaries(st.sampled_from([*EXCHANGED, "machine"]), st.text(max_size=200), max_size=3),
    ),
    max_size=20,
)


def size(finding: Finding) -> int:
    return len(msgspec.json.encode(finding)) + LINK_BYTES


@settings(deadline=None, max_examples=examples(100))
@given(findings, st.integers(0, 4000))
def test_what_is_kept_fits_and_is_the_beginning(found: list[Finding], most_bytes: int) -> None:
    """But for the bytes that were exchanged nothing of it is left out."""
    left = kept(found, most_bytes)
    assert sum(map(size, left)) <= most_bytes
    for before, after in zip(found, left, strict=False):
        assert (after.rule, after.message, after.at_ns) == (before.rule, before.message, before.at_ns)
        rest = {name: value for name, value in before.evidence.items() if name not in EXCHANGED}
        assert after.evidence in (before.evidence, rest)
    if len(left) < len(found):
        assert sum(map(size, left)) + size(found[len(left)]) > most_bytes


def test_long_answers_push_no_other_finding_out() -> None:
    """Half of the room is theirs."""
    long = [Finding("long", "x", number, {"machine": 1, "answer": "y" * 900}) for number in range(10)]
    short = [Finding("short", "x", number, {"machine": 1}) for number in range(10)]
    left = kept([*long, *short], 6000)
    assert len(left) == 20
    assert sum("answer" in one.evidence for one in left) == 2


def test_a_name_that_is_not_utf_8_is_kept() -> None:
    (one,) = kept([Finding("a", "\udcff", 0)])
    assert one.message == "\udcff"


def test_nothing_is_made_that_is_not_kept() -> None:
    """A million like the first cost no more than those that fit."""
    made = []

    def make() -> Iterator[Finding]:
        for number in range(1_000_000):
            made.append(number)
            yield Finding("a", "x" * 100, number)

    assert len(kept(make(), 1000)) + 1 == len(made) < 10


@given(findings)
def test_one_of_each_kind_comes_first_and_none_is_lost(found: list[Finding]) -> None:
    ordered = one_of_each_first(found, lambda one: one.rule)
    kinds = list(dict.fromkeys(one.rule for one in found))
    assert [one.rule for one in ordered[: len(kinds)]] == kinds
    assert sorted(map(id, ordered)) == sorted(map(id, found))
