"""Money leaves once for each key: checked in the contract's order, within limits, to addresses that cooled down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.market.idempotency import digest_of, valid_key
from reference_server.core.market.job_routes import post_job
from reference_server.core.market.ledger import AVAILABLE
from reference_server.core.market.money import BTC, USDT
from reference_server.core.market.payouts import PayoutQueue
from reference_server.core.market.wallet import (
    apply_payout,
    balance,
    ensure_account,
    read_withdrawal,
    withdraw,
)
from reference_server.ports import PayoutOutcome
from tests.market.small_market import (
    BITCOIN,
    SECOND,
    TRON,
    assert_sound,
    at,
    data_of,
    error_of,
    job_body,
    recovered,
    rich,
    take_out,
)

DAY = 86_400.0


def test_a_withdrawal_is_pending_until_the_gateway_says() -> None:
    market = rich()
    reply = take_out(market, "12.50", id="wdr_1")
    assert reply.status == 202
    assert data_of(reply)["withdrawal"] == {
        "id": "wdr_1",
        "asset": USDT,
        "amount": "12.500000",
        "address": TRON,
        "state": "pending",
        "created_at": "2027-01-15T08:00:00Z",
        "updated_at": "2027-01-15T08:00:00Z",
    }
    shown = data_of(balance(market, "agent:a"))["balances"]
    assert shown[0] == {"asset": USDT, "available": "99987.500000", "held": "0.000000", "pending": "12.500000"}
    assert shown[1] == {"asset": BTC, "available": "2.00000000", "held": "0.00000000", "pending": "0.00000000"}
    assert not apply_payout(market, at(1), "wdr_1", PayoutOutcome.UNKNOWN)
    assert data_of(read_withdrawal(market, "agent:a", "wdr_1"))["withdrawal"]["state"] == "pending"
    assert apply_payout(market, at(2), "wdr_1", PayoutOutcome.SETTLED)
    shown = data_of(read_withdrawal(market, "agent:a", "wdr_1"))["withdrawal"]
    assert (shown["state"], shown["updated_at"]) == ("settled", "2027-01-15T08:00:02Z")
    assert not apply_payout(market, at(3), "wdr_1", PayoutOutcome.RETURNED)
    assert market.ledger.balance("platform:payouts", USDT, AVAILABLE) == 12_500_000
    assert error_of(read_withdrawal(market, "agent:b", "wdr_1")) == (404, "withdrawal not found")
    assert_sound(market)


def test_what_is_returned_is_there_again_and_counts_to_the_limit() -> None:
    market = rich(daily_limit_usdt=10_000_000)
    take_out(market, "6", id="wdr_1")
    assert apply_payout(market, at(1), "wdr_1", PayoutOutcome.RETURNED)
    assert not apply_payout(market, at(1), "wdr_1", PayoutOutcome.RETURNED)
    assert market.ledger.balance("agent:a", USDT, AVAILABLE) == 10**11
    assert error_of(take_out(market, "4.000001", key="k2")) == (429, "withdrawal limit exceeded")
    assert take_out(market, "4", key="k3").status == 202
    assert_sound(market)


@pytest.mark.parametrize(
    ("fields", "key", "refusal"),
    [
        ({"amount": None}, "", (400, "invalid request")),
        ({"amount": True}, "", (400, "invalid request")),
        ({"address": 1}, "", (400, "invalid request")),
        ({"more": 1}, "", (400, "invalid request")),
        ({"asset": "x", "amount": "x", "address": "x"}, "", (400, "idempotency key required")),
        ({"asset": "x", "amount": "x", "address": "x"}, "a b", (400, "idempotency key required")),
        ({"asset": "x", "amount": "x", "address": "x"}, "k" * 129, (400, "idempotency key required")),
        ({"asset": "x", "amount": "x", "address": "x"}, "k", (400, "invalid asset")),
        ({"amount": "x", "address": "x"}, "k", (400, "invalid amount")),
        ({"amount": 1}, "k", (400, "invalid amount")),
        ({"amount": 1.5}, "k", (400, "invalid amount")),
        ({"amount": "0"}, "k", (400, "invalid amount")),
        ({"amount": "999999", "address": "x"}, "k", (400, "invalid address")),
        ({"amount": "999999", "address": BITCOIN}, "k", (400, "invalid address")),
        ({"amount": "999999"}, "k", (403, "address in cooldown")),
    ],
)
def test_checks_come_in_the_contracts_order(fields: dict[str, Any], key: str, refusal: tuple[int, str]) -> None:
    market = rich(cooldown_ns=SECOND)
    body = {"asset": USDT, "amount": "1", "address": TRON, **fields}
    assert error_of(withdraw(market, at(0), "agent:a", key, json.dumps(body).encode(), "w")) == refusal
    assert (len(market.answers), len(market.withdrawals.all)) == (0, 0)


def test_limits_come_before_the_balance() -> None:
    market = rich(daily_limit_usdt=10**12)
    assert error_of(take_out(market, "1000001")) == (429, "withdrawal limit exceeded")
    assert error_of(take_out(market, "100000.000001")) == (402, "insufficient balance")
    assert take_out(market, "100000").status == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'{"asset":"BTC"}', b"[" * 5_000])
def test_what_is_no_request(body: bytes) -> None:
    assert error_of(withdraw(rich(), at(0), "agent:a", "k", body, "w")) == (400, "invalid request")


def test_the_first_use_of_an_address_begins_its_cooldown() -> None:
    market = rich(cooldown_ns=100 * SECOND)
    first = take_out(market, "1")
    assert error_of(first) == (403, "address in cooldown")
    assert ("retry-after", "100") in first.headers
    assert ("retry-after", "1") in take_out(market, "1", now=99.5).headers
    assert take_out(market, "1", now=100).status == 202
    other = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
    assert error_of(take_out(market, "1", now=100, key="k2", address=other))[0] == 403
    ensure_account(market, at(100), "agent:b")
    assert error_of(take_out(market, "1", now=100, account="agent:b"))[0] == 403


def test_another_spelling_of_an_address_is_the_same_address() -> None:
    """A cooldown neither begins again with it, nor is it a way around."""
    market = rich(cooldown_ns=100 * SECOND)
    assert error_of(take_out(market, "0.1", asset=BTC, address=BITCOIN))[0] == 403
    again = take_out(market, "0.1", now=60, asset=BTC, address=BITCOIN.upper())
    assert ("retry-after", "40") in again.headers
    assert len(market.withdrawals.addresses) == 1
    assert take_out(market, "0.1", now=100, asset=BTC, address=BITCOIN.upper()).status == 202


def test_who_fills_the_table_of_addresses_loses_its_own() -> None:
    """Others' first uses are noted as ever; the oldest of its own cools down anew."""
    market = rich({"addresses_max": 3}, cooldown_ns=100 * SECOND)
    ensure_account(market, at(0), "agent:b")
    addresses = [TRON, "TLa2f6VPqDgRE67v1736s7bJ8Ray5wYjU7", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"]
    for second, address in enumerate(addresses):
        assert take_out(market, "1", now=second, address=address).status == 403
    assert take_out(market, "1", now=3, account="agent:b").status == 403
    assert take_out(market, "1", now=103, account="agent:b").status == 202
    assert take_out(market, "1", now=103, key="new", address=addresses[1]).status == 202
    assert take_out(market, "1", now=103, key="old").status == 403
    assert len(market.withdrawals.addresses) == 3


def test_no_other_refusal_begins_a_cooldown() -> None:
    market = rich(cooldown_ns=100 * SECOND)
    take_out(market, "x")
    take_out(market, "1", key="")
    take_out(market, "1", asset="x")
    assert market.withdrawals.addresses == {}


def test_addresses_are_bounded() -> None:
    market = rich({"addresses_an_account_max": 1}, cooldown_ns=100 * SECOND)
    assert error_of(take_out(market, "1"))[0] == 403
    assert error_of(take_out(market, "1", asset=BTC, address=BITCOIN)) == (503, "capacity reached")


def test_the_limit_of_an_hour_slides() -> None:
    market = rich(withdrawals_per_hour=2)
    assert take_out(market, "1", now=0, key="a").status == 202
    assert take_out(market, "1", now=1_800, key="b").status == 202
    assert error_of(take_out(market, "1", now=3_599, key="c"))[0] == 429
    assert take_out(market, "1", now=3_600, key="c").status == 202
    assert error_of(take_out(market, "1", now=3_601, key="d"))[0] == 429


def test_the_limit_of_a_day_slides_and_is_each_assets_own() -> None:
    market = rich(daily_limit_usdt=10_000_000)
    assert take_out(market, "10", key="a").status == 202
    assert error_of(take_out(market, "0.000001", now=DAY - 1, key="b"))[0] == 429
    assert take_out(market, "1", now=5, key="c", asset=BTC, address=BITCOIN).status == 202
    assert error_of(take_out(market, "0.00000001", now=6, key="d", asset=BTC, address=BITCOIN))[0] == 429
    assert take_out(market, "10", now=DAY, key="e").status == 202


def test_a_key_has_one_effect_for_a_day() -> None:
    """Whether it was settled, returned, or the balance would not do any more."""
    market = rich()
    first = take_out(market, "6000", id="wdr_1")
    again = take_out(market, "6000", now=100, id="wdr_2")
    assert (again.status, again.body) == (202, first.body)
    assert ("idempotent-replayed", "true") in again.headers
    assert ("idempotent-replayed", "true") not in first.headers
    apply_payout(market, at(200), "wdr_1", PayoutOutcome.RETURNED)
    assert take_out(market, "6000", now=DAY - 1, id="wdr_3").body == first.body
    assert error_of(take_out(market, "6001", now=300)) == (422, "idempotency key reused")
    assert list(market.withdrawals.all) == ["wdr_1"]
    assert take_out(market, "6000", now=DAY, id="wdr_4").status == 202
    assert list(market.withdrawals.all) == ["wdr_1", "wdr_4"]


def test_a_refusal_is_not_kept_under_its_key() -> None:
    market = rich(cooldown_ns=10 * SECOND)
    assert error_of(take_out(market, "1"))[0] == 403
    assert take_out(market, "2", now=10).status == 202


def test_a_key_is_its_accounts_and_its_routes_own() -> None:
    market = rich()
    ensure_account(market, at(0), "agent:b")
    assert take_out(market, "1", id="w1").status == 202
    assert take_out(market, "1", account="agent:b", id="w2").status == 202
    assert post_job(market, at(0), "agent:a", "k", job_body(), "job_1").status == 201
    assert list(market.withdrawals.all) == ["w1", "w2"]


def test_keys_survive_a_restart_and_are_shared() -> None:
    """What another instance, or this one after a restart, makes of the changes knows the key."""
    market = rich()
    first = take_out(market, "1", id="wdr_1")
    assert market.changes is not None
    again = recovered(market, at(1), [])
    again.ledger.sums = dict(market.ledger.sums)
    replayed = take_out(again, "1", now=2, id="wdr_2")
    assert (replayed.status, replayed.body) == (202, first.body)
    assert list(again.withdrawals.all) == ["wdr_1"]


def test_kept_answers_are_bounded_in_number() -> None:
    """Nothing is granted whose key could not be kept."""
    market = rich({"idempotency_keys_max": 1})
    take_out(market, "1")
    assert error_of(take_out(market, "1", key="k2")) == (503, "capacity reached")
    assert take_out(market, "1", now=DAY, key="k2").status == 202
    assert_sound(market)


def test_kept_answers_are_bounded_in_bytes() -> None:
    """A job's answer, of which room for the longest is asked, has none where a withdrawal's still has."""
    market = rich({"idempotency_bytes_max": 1_000})
    assert take_out(market, "1").status == 202
    assert error_of(post_job(market, at(1), "agent:a", "k", job_body(), "j")) == (503, "capacity reached")
    assert_sound(market)


def test_one_account_leaves_the_others_room_for_their_keys() -> None:
    market = rich({"idempotency_keys_an_account_max": 2, "idempotency_bytes_an_account_max": 17_500})
    ensure_account(market, at(0), "agent:b")
    assert [take_out(market, "1", key=key).status for key in ("k1", "k2", "k3")] == [202, 202, 503]
    assert take_out(market, "1", account="agent:b").status == 202
    assert take_out(market, "1", now=DAY, key="k3").status == 202
    assert error_of(post_job(market, at(DAY), "agent:a", "j1", job_body(), "j1"))[0] == 503
    assert post_job(market, at(DAY), "agent:b", "j1", job_body(), "j2").status == 201


def test_the_gateway_is_asked_again_with_longer_pauses() -> None:
    market = rich()
    take_out(market, "1", key="a", id="w1")
    take_out(market, "1", key="b", id="w2")
    queue = PayoutQueue()

    def asked(seconds: float, most: int = 9) -> list[str]:
        return [one.id for one in queue.due(market.withdrawals, at(seconds).monotonic_ns, most)]

    assert asked(0, most=1) == ["w1"]
    assert asked(0) == ["w2"]
    assert asked(0.5) == []
    assert asked(1) == ["w1", "w2"]
    assert asked(2.9) == []
    apply_payout(market, at(2.9), "w1", PayoutOutcome.SETTLED)
    assert asked(3) == ["w2"]
    assert [second for second in range(4, 200) if asked(second)] == [7, 15, 31, 63, 123, 183]


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(VALUES)
def test_the_same_value_has_the_same_digest_however_written(value: Any) -> None:
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    spaced = json.dumps(value, indent=2, sort_keys=True).encode()
    assert digest_of(compact) == digest_of(spaced)


@settings(max_examples=50)
@given(VALUES, VALUES)
def test_other_values_have_other_digests(one: Any, other: Any) -> None:
    same = _typed(one) == _typed(other)
    assert (digest_of(json.dumps(one).encode()) == digest_of(json.dumps(other).encode())) is same


def _typed(value: Any) -> Any:
    """In Python True equals 1, in JSON it does not."""
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {name: _typed(item) for name, item in value.items()}
    return type(value).__name__, value


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "1.0", True),
        ("100", "1e2", True),
        ("0", "-0.0", True),
        ("0.1", "0.10000000000000000001", False),
        ("9007199254740993", "9007199254740992", False),
        ("1e400", "1e401", False),
        ('"1"', "1", False),
        ("[1,2]", "[2,1]", False),
        ('["a","b"]', '["ab",""]', False),
        ('{"a":1,"b":2}', '{"b":2.0,"a":1}', True),
        ('"\\u0041"', '"A"', True),
        ("true", "1", False),
        ("null", "false", False),
    ],
)
def test_bodies_are_compared_by_value(one: str, other: str, same: bool) -> None:  # noqa: FBT001 - a table's column
    assert (digest_of(one.encode()) == digest_of(other.encode())) is same


def test_keys_are_visible_ascii() -> None:
    assert all(map(valid_key, ["k", "!~", "k" * 128, "a|b"]))
    assert not any(map(valid_key, ["", " ", "k k", "k\n", "k" * 129, "\u00e4", "\x7f"]))
