"""Names of agents that look alike: a server that gives one of them twice, or none back, is found."""

from __future__ import annotations

import unicodedata

import pytest

from simulator.attacks.agents.names import lookalikes
from tests.attacks.planting import planted
from tests.attacks.playing import World
from tests.attacks.wrong_servers import broken

AGENTS = "core.community.agents"
FOLDED = 'return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())'
Edit = tuple[str, str, str, str]


def test_what_looks_alike_is_one_name_in_many_spellings() -> None:
    name = "classifier k attacker 0123456789abcdef"
    spelt = lookalikes(name)
    assert len({unicodedata.normalize("NFKC", one).casefold() for one in spelt}) == 1
    assert len(set(spelt)) == len(spelt) - 1  # in capitals it is swapped
    assert spelt[0] == name


@pytest.mark.parametrize(
    ("edit", "made", "one_of_copies"),
    [
        ((AGENTS, "unique_name", FOLDED, "return name"), 6, False),
        ((AGENTS, "unique_name", FOLDED, "return name.lower()"), 3, True),
        ((AGENTS, "unique_name", FOLDED, "return unicodedata.normalize('NFKC', name).lower()"), 1, True),
        ((AGENTS, "unique_name", FOLDED, "return name.casefold()"), 1, True),
        ((AGENTS, "register", "if agents.named(read.name) is not None:", "if False:"), 8, False),
        ((AGENTS, "valid_name", "not 1 <= len(normal) <= AGENT_NAME_MAX_CHARACTERS or", "not normal or"), 1, True),
        ((AGENTS, "valid_name", "for character in name + normal", "for character in ''"), 3, True),
    ],
)
def test_a_name_that_is_given_twice_or_is_none_is_found(edit: Edit, made: int, *, one_of_copies: bool) -> None:
    with planted(edit):
        performance = World().play("agent.names")
    assert sum(one.status == 201 for one in performance.wrong) == made
    assert ("one-of-copies" in broken(performance)) is not one_of_copies


def test_an_agent_that_takes_anothers_name_later_is_found() -> None:
    with planted((AGENTS, "update", "other = agents.named(name)", "other = None")):
        performance = World().play("agent.names")
    assert {one.status for one in performance.wrong} == {200}


def test_a_name_that_is_never_free_again_is_found() -> None:
    kept: Edit = (AGENTS, "Agents.rename", "del self._by_name[unique_name(agent.name)]", "pass")
    with planted(kept):
        (wrong,) = World().play("agent.names").wrong
    assert (wrong.status, wrong.expect.statuses) == (409, (201,))
