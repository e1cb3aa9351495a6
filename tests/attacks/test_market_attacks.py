"""Attacks on keys, money, jobs and the forum: a right server passes, and one that is wrong in one thing does not."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.replies import failure, success
from simulator.attacks import CATALOGUE
from simulator.attacks.agents.accounts import AccountAttack
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
    "key.as-owner": ["nothing-made"],
    "agent.names": ["keeps-its-name", "one-of-copies"],
    "wallet.double-spend": ["one-withdrawal", "one-effect", "never-negative", "adds-up"],
    "wallet.idempotency": ["same-answer", "same-answer", "one-of-copies", "one-effect", "own-keys"],
    "wallet.amounts": ["nothing-moved"],
    "wallet.address": ["nothing-moved"],
    "wallet.velocity": ["never-more", "never-fewer", "one-effect"],
    "wallet.cooldown": ["retry-after", "not-begun-anew", "held-up", "never-at-once", "nothing-moved"],
    "job.inflate": ["covered-only", "covered-paid", "rest-returned", "earned-no-more"],
    "job.foreign": ["same-answer", "own-jobs"] * 2 + ["untouched", "cancelled-once"],
    "job.bodies": ["nothing-made", "nothing-moved"],
    "forum.script": ["as-given", "same-to-all", "shown-as-json"],
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


WALLET, ADDRESSES = "core.market.wallet", "core.market.addresses"
KEPT, PAID = "core.market.idempotency", "core.market.withdrawals"
AGENTS, CALLERS, JOBS, FORUM = (
    "core.community.agents",
    "operations.callers",
    "core.market.job_routes",
    "core.community.forum",
)
OVERDRAWN = ("core.market.ledger", "Ledger.post", "units < 0 and account", "units < -1 << 60 and account")
POOR = "amount > market.ledger.balance(account, asset, AVAILABLE)"
FAULTS: dict[str, tuple[str, set[str], tuple[tuple[str, str, str, str], ...]]] = {
    "a balance that was read before": (
        "wallet.double-spend",
        {"one-withdrawal", "never-negative"},
        (OVERDRAWN, (WALLET, "withdraw", POOR, "amount > market.ledger.accounts[account].entries[0].amount")),
    ),
    "a balance that shows more than there is": (
        "wallet.double-spend",
        {"one-withdrawal", "adds-up"},
        (("core.market.ledger", "show_balances", "format_amount(ledger.balance(name, asset, part),",
          "format_amount(ledger.balance(name, asset, part) + (part == 'available'),"),),
    ),
    "no answer is kept": (
        "wallet.idempotency",
        {"same-answer", "one-of-copies"},
        ((WALLET, "withdraw", "if replayed is not None:", "if replayed is None and digest is None:"),),
    ),
    "a key for any body": (
        "wallet.idempotency",
        set(),
        ((KEPT, "KeptAnswers.find", "if kept.digest != digest:", "if not kept.digest:"),),
    ),
    "one key for all accounts": (
        "wallet.idempotency",
        {"own-keys"},
        (
            (KEPT, "KeptAnswers.find", "(account, route, key)", "('', route, key)"),
            (KEPT, "KeptAnswers.keep", "place = answer.account,", "place = '',"),
        ),
    ),
    "a key that a refusal uses up": (
        "wallet.idempotency",
        set(),
        (
            (
                WALLET,
                "withdraw",
                "        return INSUFFICIENT_BALANCE",
                ("        keep_answer(market, now, account, WITHDRAW_ROUTE, key, digest, 402, b'{}')\n"
                "        return INSUFFICIENT_BALANCE"),
            ),
        ),
    ),
    "an amount and whatever follows": (
        "wallet.amounts",
        set(),
        (("core.market.money", "parse_amount", "_AMOUNT.fullmatch(text)", "_AMOUNT.match(text)"),),
    ),
    "amounts that are numbers": (
        "wallet.amounts",
        set(),
        ((WALLET, "withdraw", "parse_amount(read.amount, asset) if isinstance(read.amount, str) else None",
          "parse_amount(str(read.amount), asset)"),),
    ),
    "any text that begins as an address": (
        "wallet.address",
        set(),
        ((ADDRESSES, "normal_address", "_prefix(address) == _TRON_PREFIX", 'address.startswith("T")'),),
    ),
    "an address of any chain": (
        "wallet.address",
        set(),
        ((ADDRESSES, "normal_address", "_prefix(address) in {_P2PKH_PREFIX, _P2SH_PREFIX}", "_prefix(address)"),),
    ),
    "one withdrawal more": (
        "wallet.velocity",
        {"never-more"},
        ((PAID, "Withdrawals.exceeds", "in_an_hour >= ", "in_an_hour > "),),
    ),
    "a day's limit for each withdrawal": (
        "wallet.velocity",
        set(),
        ((PAID, "Withdrawals.exceeds", "in_a_day + amount > most", "amount > most"),),
    ),
    "an address that anybody has waited for": (
        "wallet.cooldown",
        set(),
        ((WALLET, "_cooldown", "if not wait_ns:",
          ("if not wait_ns or any(one.address == address and one.account != account"
          " for one in market.withdrawals.addresses.values()):")),),
    ),
    "capitals are another address": (
        "wallet.cooldown",
        set(),
        ((ADDRESSES, "_segwit", "return address.lower()", "return address"),),
    ),
    "capitals have no cooldown": (
        "wallet.cooldown",
        {"held-up"},
        ((WALLET, "withdraw", "refusal = _cooldown(market, now, account, asset, address)",
          "refusal = None if address != read.address else _cooldown(market, now, account, asset, address)"),),
    ),
    "a cooldown that begins with the second use": (
        "wallet.cooldown",
        {"retry-after", "not-begun-anew"},
        ((WALLET, "_cooldown", "retry_after(IN_COOLDOWN, wait_ns)",
          "IN_COOLDOWN if wait_ns == market.conditions.cooldown_ns else retry_after(IN_COOLDOWN, wait_ns)"),),
    ),
    "billed for all that it might have run": (
        "job.inflate",
        {"covered-only"},
        (("core.market.metering", "charge_for", "metered(job, offer) *", "duration_ns(job) *"),),
    ),
    "billed twice for each heartbeat": (
        "job.inflate",
        {"covered-only"},
        (("core.market.metering", "metered", "max(0, end - begin)", "2 * max(0, end - begin)"),),
    ),
    "billed for nothing": (
        "job.inflate",
        {"covered-paid"},
        (("core.market.metering", "charge_for", "return min(", "return 0 * min("),),
    ),
    "anybody's job": (
        "job.foreign",
        {"untouched"},
        ((JOBS, "_own", "and job.account == account", ""),),
    ),
    "everybody's jobs in a list": (
        "job.foreign",
        {"own-jobs"},
        ((JOBS, "list_jobs", "market.jobs_of.get(account, {}).values()", "market.jobs.values()"),),
    ),
    "another's job is untried from nobody's": (
        "job.foreign",
        {"same-answer"},
        ((JOBS, "cancel_job", "return JOB_NOT_FOUND",
          "return failure(404, 'not your job') if job_id in market.jobs else JOB_NOT_FOUND"),),
    ),
    "text is escaped where it is kept": (
        "forum.script",
        {"as-given"},
        ((FORUM, "create_post", "account, read.title, read.body,",
          "account, read.title, read.body.replace('<', '&lt;'),"),),
    ),
    "comments are escaped where they are shown": (
        "forum.script",
        {"as-given", "same-to-all"},
        ((FORUM, "show_comment", '"body": comment.body', '"body": comment.body.replace("<", "&lt;")'),),
    ),
    "posts of any length": (
        "forum.script",
        set(),
        ((FORUM, "valid_text", "1 <= len(text) <= most and", ""),),
    ),
    "a replaced key is good": (
        "key.revoked",
        set(),
        (
            (AGENTS, "Agents.replace_key", "del self._by_key[agent.key_digest]", "pass"),
            (AGENTS, "Agents.with_key", "and compare_digest(agent.key_digest, digest)", ""),
        ),
    ),
    "a key and whatever follows": (
        "key.guess",
        set(),
        ((AGENTS, "Agents.with_key", "key_digest(key)", "key_digest(key[:68])"),),
    ),
    "wrong keys are untried apart": (
        "key.guess",
        {"same-answer"},
        ((CALLERS, "_prove_key", "return _refuse_bearer(state, headers) if agent is None else",
          'return failure(401, f"unauthorized: {_bearer(headers)}") if agent is None else'),),
    ),
    "agents are owners": (
        "key.as-owner",
        {"nothing-made"},
        ((CALLERS, "_prove_owner", "else FORBIDDEN", "else Caller(OWNER_KIND, _owner_named(headers) or '')"),),
    ),
}  # fmt: skip


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
