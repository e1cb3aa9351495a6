"""Every rule of every checker and every attack says what it rests on: one that does not fails here."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import Attack
from simulator.contract.features import LACKS, Feature
from simulator.contract.profiles import Basis, Profile, farthest, profile_of
from simulator.judging import rules

SIMULATOR = Path(inspect.getfile(rules)).parent.parent
NEVER_FAILS = frozenset(
    {
        "answers.machine-too-busy",
        "attacks.proved-nothing",
        "generator.over-budget",
        "outage.machine-too-busy",
        "reach.unanswered",
        "replay.interrupted",
        "replay.missing",
        "run.interrupted",
        "statistics.differ",
    }
)
"""Rules of what could not be known, and of the harness's own accounts: they say nothing of a server."""


def rules_in(path: Path) -> set[str]:
    """Return the rules that a module names in full where it makes a finding."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"Finding", "_finding"}:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str) and "." in first.value:
                found.add(first.value)
    return found


def test_every_rule_of_a_checker_has_a_basis_and_a_description() -> None:
    described = {one.removeprefix("checker/") for one in rules.known_rules() if one.startswith("checker/")}
    assert described == rules.BASES.keys()


def test_every_rule_that_a_finding_is_made_with_is_known() -> None:
    made = {rule for path in sorted(SIMULATOR.rglob("*.py")) for rule in rules_in(path)}
    assert len(made) >= 20
    assert made - NEVER_FAILS <= rules.BASES.keys()


def test_no_rule_has_two_bases() -> None:
    named = [rule for names in rules._BASES.values() for rule in names.split()]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_attack_has_a_basis(name: str) -> None:
    """And each of its claims that has another one is a claim that it makes."""
    attack = CATALOGUE[name]
    assert "basis" not in vars(Attack)
    assert isinstance(attack.basis, Basis)
    sources = {inspect.getsource(sys.modules[one.__module__]) for one in attack.__mro__ if one.__module__ != "builtins"}
    for rule, basis in attack.claim_bases.items():
        assert basis is not attack.basis
        assert any(f'"{rule}"' in source for source in sources) or rule == "nobody-made"
    assert rules.rule_of(f"attack/{name}").basis is attack.basis


def test_what_a_target_may_lack_is_described_and_hardened() -> None:
    assert LACKS.keys() == set(Feature)
    assert {rules.basis_of(f"features.{feature}") for feature in Feature} == {Basis.HARDENED}


def test_a_rule_that_nobody_knows_holds_for_every_server() -> None:
    assert rules.basis_of("new-checker.new-rule") is Basis.PUBLISHED
    assert rules.rule_of("checker/new-checker.new-rule").basis is Basis.PUBLISHED


def test_a_published_server_speaks_http_too() -> None:
    asked = {profile: {basis for basis in Basis if profile.asks_for(basis)} for profile in Profile}
    assert asked == {Profile.PUBLISHED: {Basis.PUBLISHED, Basis.RFC}, Profile.HARDENED: set(Basis)}


def test_what_rests_on_two_things_rests_on_the_one_that_is_asked_for_less() -> None:
    assert farthest(Basis.PUBLISHED, Basis.RFC) is Basis.RFC
    assert farthest(Basis.HARDENED, Basis.PUBLISHED) is Basis.HARDENED
    assert farthest(Basis.PUBLISHED) is Basis.PUBLISHED


@pytest.mark.parametrize(
    ("asked", "given_target", "expected"),
    [
        (None, False, Profile.HARDENED),
        (None, True, Profile.PUBLISHED),
        ("published", False, Profile.PUBLISHED),
        (Profile.HARDENED, True, Profile.HARDENED),
    ],
)
def test_own_servers_keep_the_contract_and_targets_the_published_api(
    asked: str | None,
    given_target: bool,  # noqa: FBT001 - a parameter of the test
    expected: Profile,
) -> None:
    assert profile_of(asked, given_target=given_target) is expected
