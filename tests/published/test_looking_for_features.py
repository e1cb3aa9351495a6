"""What a target lacks is found out once, before a run; what is not answered is not said to be lacking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.routes import PREFIXES, ROUTES, prefixes, routes_of
from simulator.attacks.script import Expect, ScriptAttack
from simulator.checkers.features import check_features
from simulator.checkers.verdict import Status
from simulator.client.checking import check_target
from simulator.client.probing import look_for_features
from simulator.client.target import parse_target
from simulator.contract.answers import Answer
from simulator.contract.features import LACKS, Feature
from simulator.contract.metrics import UNATTRIBUTED
from simulator.contract.profiles import Profile
from simulator.deployment.server_process import own_server
from simulator.running import doctor
from simulator.worlds.recording import within
from tests.published.conftest import ROOT
from tests.published.double_server import VARIABLE
from tests.published.run_on_double import SERVE

if TYPE_CHECKING:
    from collections.abc import Collection

TOKEN = "owner-token-of-the-published-double"


async def lacking(without: Collection[Feature], **settings: str) -> frozenset[Feature]:
    """Start a double without some features, and look at it as a run does."""
    settings = {"PYTHONPATH": str(ROOT), VARIABLE: " ".join(without), **settings}
    async with own_server(settings, TOKEN, command=SERVE) as server:
        target = parse_target(server.url, TOKEN)
        return await look_for_features(target, await check_target(target))


async def test_the_reference_server_lacks_nothing() -> None:
    assert await lacking(()) == frozenset()


async def test_all_that_may_be_lacking_is_found() -> None:
    """Even the health page, which no published route is."""
    assert await lacking(frozenset(Feature)) == frozenset(Feature)


async def test_each_is_told_from_the_others() -> None:
    some = {Feature.V1, Feature.STALE_THRESHOLD, Feature.RETRY_AFTER}
    assert await lacking(some) == some


async def test_a_limit_out_of_reach_shows_no_refusal() -> None:
    assert await lacking({Feature.RETRY_AFTER}, RATE_LIMIT_BURST="1000") == frozenset()


async def test_a_target_that_is_gone_lacks_nothing_that_anybody_knows_of() -> None:
    """The run will say that it is not there."""
    closed = parse_target("http://127.0.0.1:9", TOKEN)
    assert await look_for_features(closed, {UNATTRIBUTED: 0.0}) == frozenset()


def test_each_thing_that_is_lacking_is_one_finding_that_says_what_is_not_tried() -> None:
    verdict = check_features({"v1", "chain"})
    assert verdict.status is Status.FAIL
    assert [one.rule for one in verdict.findings] == ["features.chain", "features.v1"]
    for one in verdict.findings:
        lack = LACKS[Feature(one.evidence["feature"])]
        assert lack.does in one.message
        assert one.evidence["not_tried"] == lack.not_tried
    assert check_features(()).status is Status.PASS


def test_nothing_is_asked_of_a_route_or_a_prefix_that_is_lacking() -> None:
    class Some:
        lacks = frozenset({Feature.V1, Feature.STATUS, Feature.KEYS})

    class All:
        lacks: frozenset[Feature] = frozenset()

    some, everything = Some(), All()
    assert prefixes(some) == PREFIXES[:1]  # type: ignore[arg-type]
    assert prefixes(everything) == PREFIXES  # type: ignore[arg-type]
    assert len(routes_of(some)) == len(ROUTES) - 2  # type: ignore[arg-type]
    assert routes_of(everything) == ROUTES  # type: ignore[arg-type]


def test_a_404_without_envelope_has_no_message_to_expect() -> None:
    expect = Expect(Answer.REFUSED, (404,), "machine not found", "nobody has that id")
    assert within(expect, frozenset()) == expect
    assert within(expect, frozenset({Feature.JSON_404})).error == ""
    other = Expect(Answer.REFUSED, (403,), "forbidden")
    assert within(other, frozenset(Feature)) == other


@pytest.mark.parametrize("name", ["limit.burst", "http.cl-te", "http.slowloris", "strain.flood", "skew.edge"])
def test_attacks_that_ask_for_the_health_page_need_it(name: str) -> None:
    attack = CATALOGUE[name]
    assert issubclass(attack, ScriptAttack)
    assert Feature.HEALTH in attack.needs


@pytest.mark.parametrize(
    ("profile", "stated"), [(Profile.PUBLISHED, "said as advisories"), (Profile.HARDENED, "each of this fails")]
)
def test_the_doctor_says_what_is_lacking(profile: Profile, stated: str) -> None:
    """Neither profile keeps a run from beginning for it."""
    (contract,) = doctor._features({Feature.V1}, profile)
    assert not contract.right
    assert not contract.fatal
    assert LACKS[Feature.V1].does in contract.found
    assert LACKS[Feature.V1].not_tried in contract.found
    assert stated in contract.hint
    assert doctor._features((), profile)[0].right
