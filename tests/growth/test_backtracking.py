"""The linter finds the patterns that took quadratic time, passes those in their place, and agrees with counting."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.growth.automata import trouble
from tests.growth.backtracking import findings
from tests.growth.stepping import Matcher, count_steps
from tests.support.tiers import examples

STRUCTURE = r'"(?:[^"\\]|\\.)*"|[\[{\]}]'


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (STRUCTURE, "finditer"),
        (r"([+-]?)(?=[0-9])0*([0-9]*)", "fullmatch"),
        (r"(a+)+b", "match"),
        (r"(?:a|a)*b", "match"),
        (r"(a*)*b", "match"),
        (r"\s+$", "search"),
        (r"[^=;\s]+=", "findall"),
        (r"a.*b.*c", "match"),
        (r"(?i)A*a*b", "match"),
        (r"x*(?!y)x*z", "match"),
        (r"a(?:[ab]*c)?", "findall"),
    ],
)
def test_a_pattern_that_backtracks_is_found(pattern: str, method: str) -> None:
    assert trouble(pattern, re.DOTALL, method) != ""


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', "finditer"),
        (r"([+-]?)([0-9]+)", "fullmatch"),
        (r'"[^"]*"', "search"),
        (r"(?<![a-z])[a-z]+=", "findall"),
        (r"(?m)^a+b", "search"),
        (r"a*b*", "match"),
        (r"[ \t]*(.*)", "fullmatch"),
        (r"(a+)+b", "nowhere"),
    ],
)
def test_a_pattern_that_does_not_is_passed(pattern: str, method: str) -> None:
    if method == "nowhere":
        assert findings({"a.py": "import re\nX = re.compile(r'(a+)+b')  # backtracking: never used\n"}) == []
    else:
        assert trouble(pattern, re.DOTALL, method) == ""


def test_patterns_are_found_in_source_with_their_methods() -> None:
    source = (
        "import re\nA = re.compile(r'0*[0-9]*')\nB = re.compile('|'.join(words))\nA.match(x)\nre.search('a+b', x)\n"
    )
    assert [(one.line, one.why.partition(":")[0]) for one in findings({"a.py": source})] == [
        (3, "cannot be judged"),
        (5, "quadratic at least"),
    ]


def steps(pattern: str, method: str, text: str) -> int:
    counted: list[int] = []
    count_steps(re.compile(pattern, re.DOTALL), method, text, 0, counted.append)
    return sum(counted)


PIECES = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", "(?:ab)", "(?:a|b)", "(?:a|ab)", r"\b", "(?=a)", "(?!b)"])
TIMES = st.sampled_from(["", "", "*", "+", "?", "*?", "{1,3}", "*+"])


@settings(max_examples=examples(60), deadline=None)
@given(
    pattern=st.lists(st.tuples(PIECES, TIMES).map("".join), min_size=1, max_size=4).map("".join),
    method=st.sampled_from(["search", "match", "fullmatch"]),
    word=st.text("abc", min_size=1, max_size=3),
    around=st.tuples(st.text("abc", max_size=2), st.text("abc", max_size=2)),
)
def test_what_is_passed_takes_steps_in_proportion(
    pattern: str, method: str, word: str, around: tuple[str, str]
) -> None:
    """And the matcher that counts them finds what `re` finds."""
    before, behind = around
    text = before + word * 20 + behind
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error:
        return
    if trouble(pattern, re.DOTALL, method) == "":
        long = before + word * 80 + behind
        assert steps(pattern, method, long) <= 6 * steps(pattern, method, text) + 200
    if method == "search":
        found = next(Matcher(compiled, text, lambda _: None).search(0), None)
        match = compiled.search(text)
        assert found == (None if match is None else match.span())
