"""Attacks on keys, money, jobs and the forum: a right server passes, and one that is wrong in one thing does not."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.replies import failure, success
from simulator.attacks import CATALOGUE
from simulator.attacks.agents.accounts import AccountAttack
from simulator.attacks.defences import Defences
from simulator.attacks.script import NotTriedError, PrerequisiteError
from simulator.checkers.attacks import NOT_TRIED, check_attacks, not_tried, proved_nothing
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.history.records import CampaignRecord, ClaimRecord
from simulator.history.rows import History
from simulator.judging.campaigns import summarise_campaigns
from simulator.limits import ADDRESS_BURST_REQUESTS
from simulator.worlds.performing import claim_of_end
from tests.attacks.market_faults import FAULTS
from tests.attacks.planting import planted
from tests.attacks.playing import LOST, World, served
from tests.attacks.wrong_servers import accepted, broken
from tests.checkers.conftest import Story

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance

MINE = [name for name, attack in CATALOGUE.items() if issubclass(attack, AccountAttack)]
SETTINGS: dict[str, Any] = {"wallet_dev_credit_usdt": Decimal(1000), "withdrawal_cooldown_seconds": 2}
CLAIMS = {
    "key.revoked": ["new-key", "same-agent"],
    "key.guess": ["same-answer"],
    "key.as-owner": ["nothing-made", "as-itself"],
    "agent.names": ["keeps-its-name", "one-of-copies"],
    "wallet.double-spend": ["one-withdrawal", "one-effect", "never-negative", "adds-up"],
    "wallet.idempotency": ["same-answer", "same-answer", "one-of-copies", "one-effect", "own-keys", "untold"],
    "wallet.amounts": ["nothing-moved"],
    "wallet.address": ["nothing-moved"],
    "wallet.velocity": ["never-more", "never-fewer", "one-effect"],
    "wallet.cooldown": ["retry-after", "not-begun-anew", "held-up", "never-at-once", "nothing-moved"],
    "job.inflate": ["covered-only", "covered-paid", "rest-returned", "earned-no-more"],
    "job.foreign": ["same-answer", "own-jobs"] * 2 + ["untouched", "cancelled-once"],
    "job.hoard": ["never-more", "never-fewer", "freed"],
    "job.bodies": ["nothing-made", "nothing-moved"],
    "forum.script": ["never-more", "never-fewer", "as-given", "same-to-all", "counted", "shown-as-json", "by-tag"],
}


def play(name: str, **settings: Any) -> Performance:
    return World({**SETTINGS, **settings}).play(name)


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_attempt_plays_to_its_end_on_a_right_server(name: str, seed: int) -> None:
    world = World(SETTINGS, seed=seed)
    performance = world.play(name)
    assert performance.unsettled == ""
    assert not performance.wrong
    assert [one.rule for one in performance.stated] == [*CLAIMS[name], "no-breakdown"]
    assert all(one.held is True for one in performance.stated), performance.stated
    sources = world.history.rows()["source"].tolist()
    assert max(map(sources.count, set(sources))) <= ADDRESS_BURST_REQUESTS


@pytest.mark.parametrize("name", MINE)
def test_lost_answers_accuse_nobody(name: str) -> None:
    for every in (2, 3, 7):
        count = 0

        def losing(api: Api, request: Request, now: Instant, every: int = every) -> Reply | None:
            """Do what is asked, and lose every so many answers; others are lost on their way there."""
            nonlocal count
            count += 1
            if count % (2 * every) == 0:
                served(api, request, now)
            return LOST if count % every == 0 else None

        performance = World(SETTINGS, answer=losing).play(name)
        assert not performance.wrong
        assert not performance.broken


@pytest.mark.parametrize("name", MINE)
def test_a_server_that_breaks_down_over_one_hostile_request_is_found(name: str) -> None:
    count = 0

    def fragile(api: Api, request: Request, now: Instant) -> Reply:
        nonlocal count
        reply = served(api, request, now)
        count += reply.status in {400, 401, 403, 404, 413}
        return failure(500, "internal error") if reply.status >= 400 and count == 1 else reply

    performance = World(SETTINGS, answer=fragile).play(name)
    assert not count or broken(performance) == {"no-breakdown"}


@pytest.mark.parametrize(
    "name", [name for name in MINE if name != "job.inflate"]
)  # of which a right server refuses none
@pytest.mark.parametrize("data", [{}, None, {"agent": 1, "withdrawal": [], "job": "x", "balances": {}, "jobs": 7}])
def test_a_server_that_lets_everything_through_is_found_whatever_it_shows(name: str, data: Any) -> None:
    def lenient(api: Api, request: Request, now: Instant) -> Reply:
        reply = served(api, request, now)
        return success(data) if reply.status in {400, 401, 402, 403, 404, 422, 429} else reply

    assert accepted(World(SETTINGS, answer=lenient).play(name))


@pytest.mark.parametrize("name", MINE)
@pytest.mark.parametrize("data", [{}, [], {"agent": 1, "withdrawal": [], "job": "x", "balances": {}, "jobs": 7}])
def test_a_server_that_shows_nothing_that_can_be_read_settles_nothing(name: str, data: Any) -> None:
    for status in (200, 201, 202):
        performance = World(SETTINGS, answer=lambda *_, status=status: success(data, status)).play(name)
        assert performance.unsettled or performance.broken


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    name, rules, edits = FAULTS[fault]
    with planted(*edits):
        performance = play(name)
    assert performance.wrong or performance.broken, performance
    assert rules <= broken(performance)
    assert not play(name).wrong


@pytest.mark.parametrize("name", ["wallet.double-spend", "wallet.idempotency", "wallet.velocity", "job.inflate"])
def test_without_money_there_is_nothing_to_try(name: str) -> None:
    performance = play(name, wallet_dev_credit_usdt=Decimal(0))
    assert "WALLET_DEV_CREDIT_USDT" in performance.unsettled
    assert not performance.wrong


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("wallet.double-spend", {"withdrawal_cooldown_seconds": 86_400}, "cool down for 86,400 s"),
        ("wallet.double-spend", {"withdrawal_daily_limit_usdt": Decimal(10)}, "past a limit"),
        ("wallet.cooldown", {"withdrawal_cooldown_seconds": 0}, "no cooldown"),
        ("key.revoked", {"agent_registration": "closed"}, "HTTP 403"),
        ("key.guess", {"agent_registration": "moltbook"}, "HTTP 401"),
        ("job.inflate", {"price_gpu_hour": Decimal(100)}, "price may be too high"),
    ],
)
def test_what_a_target_leaves_nothing_of_to_try_says_so(name: str, settings: dict[str, Any], why: str) -> None:
    performance = play(name, **settings)
    assert why in performance.unsettled
    assert not performance.wrong
    assert not performance.broken


def test_a_cooldown_of_a_day_is_tried_as_far_as_it_can_be() -> None:
    performance = play("wallet.cooldown", withdrawal_cooldown_seconds=86_400)
    assert [one.rule for one in performance.stated] == [*CLAIMS["wallet.cooldown"], "no-breakdown"]
    assert all(one.held for one in performance.stated)


@pytest.mark.parametrize(("per_hour", "made"), [(0, 0), (1, 1), (40, 40)])
def test_posts_of_an_hour_are_counted_up_to_any_limit(per_hour: int, made: int) -> None:
    """One that is too low for the rest ends the attempt there; none is a limit as well."""
    world = World({**SETTINGS, "forum_posts_per_hour": per_hour})
    world.context.defences = Defences(posts_per_hour=per_hour)
    performance = world.play("forum.script")
    (never_more,) = (one for one in performance.stated if one.rule == "never-more")
    assert f"{made} were made" in never_more.message
    assert not performance.wrong
    assert not performance.broken
    assert bool(performance.unsettled) is (per_hour < 16)


def test_agents_that_cannot_register_leave_owners_to_try() -> None:
    performance = play("job.foreign", agent_registration="closed")
    assert [one.rule for one in performance.stated].count("own-jobs") == 1
    assert not performance.wrong


def test_a_server_that_is_too_busy_for_what_is_hostile_has_proven_nothing() -> None:
    """Whatever was set up before: a campaign passes by the hostile requests that were judged."""

    def busy(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return failure(429, "rate limit exceeded") if request.path.endswith("/withdraw") else None

    facts = Story().facts
    for answer, status in ((busy, Status.INCONCLUSIVE), (None, Status.PASS)):
        world = World(SETTINGS, answer=answer)
        performance = world.play("wallet.amounts")
        world.history.claims += [ClaimRecord(1, 1, one.rule, one.held, one.message) for one in performance.stated]
        world.history.campaigns.append(CampaignRecord(1, "wallet.amounts", scripted=True, attempts=1, completed=1))
        (summary,) = summarise_campaigns(world.history, [], facts)
        assert summary.status is status
        assert not summary.wrong
        assert check_attacks(world.history, facts).status is status


def test_what_was_not_tried_is_told_from_what_proved_nothing() -> None:
    attack = CATALOGUE["key.revoked"]()
    untried = claim_of_end(attack, NotTriedError("nobody can register"))  # type: ignore[arg-type]
    unmet = claim_of_end(attack, PrerequisiteError("it got HTTP 500"))  # type: ignore[arg-type]
    assert untried is not None
    assert unmet is not None
    assert (untried.rule, untried.message) == (NOT_TRIED, "nobody can register")
    campaign = CampaignRecord(1, attack.name, True, 1, 0)  # noqa: FBT003 - it is a record
    for claim, because in ((untried, "nobody can register"), (unmet, "")):
        history = History()
        history.append(1, 1, 2, bytes(12), 0, 403, 9, Answer.MAY_BE_REFUSED, Answer.REFUSED, 1, 1)
        history.claims.append(ClaimRecord(3, 1, claim.rule, claim.held, claim.message))
        assert not_tried(history, campaign) == because
        assert bool(proved_nothing(history, campaign)) is not bool(because)


@pytest.mark.parametrize("name", MINE)
def test_each_needs_what_it_asks_for(name: str) -> None:
    attack = CATALOGUE[name]
    assert issubclass(attack, AccountAttack)
    family = {
        "key": Feature.AGENTS,
        "agent": Feature.AGENTS,
        "wallet": Feature.WALLET,
        "job": Feature.JOBS,
        "forum": Feature.FORUM,
    }
    assert family[name.partition(".")[0]] in attack.needs
