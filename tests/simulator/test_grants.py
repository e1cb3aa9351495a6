"""What the control plane grants is taken only where it can go on into requests and arithmetic unharmed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.fleet.grants import (
    CERTIFICATE_LIFE_MAX_NS,
    CERTIFICATE_LIFE_NS,
    Certificate,
    Consent,
    GrantError,
    PolicyGrant,
    Registration,
    read_grant,
    read_id,
)
from simulator.fleet.machine import Action, Machine, heartbeat_request
from simulator.fleet.requests import apply_grant, call_of
from simulator.history.rows import History

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from(["a\r\nX: 1", "a\n", "a b", 'a"b', "a/b", "é", "a\0", "", "x" * 201, "a|b", "%0d%0a", "?", "#"])
IDS = st.text("abcdef0123456789_", min_size=1, max_size=30).map("wrk_".__add__)
ACTIONS: dict[Action, dict[str, Any]] = {
    Action.REGISTER: {
        "machine": {"id": "wrk_1"},
        "machine_token": "5a" * 24,
        "machine_certificate": {"certificate_id": "mcert_1"},
    },
    Action.CONSENT: {"id": "con_1"},
    Action.FETCH_POLICY: {"policy": {"id": "pol_1", "rules": {"max_cpu_percent": 50}}},
    Action.ROTATE: {"certificate_id": "mcert_2"},
}


def learned(machine: Machine, action: Action, data: Any) -> History:
    history = History()
    apply_grant(history, machine, action, data, 1, 2, 1 << 40)
    return history


@given(text=ODD | st.text().filter(lambda text: not text.isascii()))
def test_an_id_that_a_request_cannot_carry_is_none(text: str) -> None:
    with pytest.raises(GrantError):
        read_id({"id": text})
    with pytest.raises(GrantError, match=r"`\$\.id` holds what no id or token may hold|Expected"):
        read_grant(Consent, {"id": text})


@given(identifier=IDS)
@example("a" * 200)
@example("7b8e1c2e-3f7a-4a5e-9d9e-0123456789ab")
@example("urn:worker:7.1~a")
def test_ids_of_any_deployment_are_taken(identifier: str) -> None:
    assert read_id({"id": identifier, "more": [1]}) == identifier


@given(token=st.text(min_size=1, max_size=60))
@example("5a\r\nX-Evil: 1")
@example("5a\n")
@example("5a 5a")
@example("é")
def test_a_token_goes_into_one_header_and_nowhere_else(token: str) -> None:
    machine = Machine(0, "ada", 1)
    data = {**ACTIONS[Action.REGISTER], "machine_token": token}
    try:
        learned(machine, Action.REGISTER, data)
    except GrantError:
        assert not machine.worker_id
        return
    message = call_of(machine, Action.FETCH_POLICY, "owner", "").message("host")
    assert message.count(b"\r\n") == message.count(b"\n") == 5
    assert token.strip() == token
    assert b"\r\nX-Machine-Token: %b\r\n" % token.encode() in message
    beat = heartbeat_request("host", machine.worker_id, token, machine.certificate_id, b"{}")
    assert beat.count(b"\r\n") == 7


@pytest.mark.parametrize("action", ACTIONS)
@given(data=JSON)
def test_data_of_any_shape_is_taken_or_refused_and_changes_nothing_when_it_is_refused(
    action: Action, data: Any
) -> None:
    machine = Machine(0, "ada", 1)
    before = [getattr(machine, name) for name in Machine.__slots__]
    history = History()
    try:
        apply_grant(history, machine, action, data, 1, 2, 1 << 40)
    except GrantError:
        assert [getattr(machine, name) for name in Machine.__slots__] == before
        assert not any((history.certificates, history.consents, history.machines, history.effects))


@pytest.mark.parametrize("action", ACTIONS)
def test_what_the_contract_says_is_taken(action: Action) -> None:
    learned(Machine(0, "ada", 1), action, ACTIONS[action])


@given(rules=st.dictionaries(st.sampled_from(["max_cpu_percent", "timezone", "allowed_hours", "other"]), JSON))
def test_rules_that_are_taken_can_be_obeyed(rules: dict[str, Any]) -> None:
    """Each of its type and within its bounds, so that the whole fleet's load can be held under them."""
    try:
        taken = read_grant(PolicyGrant, {"policy": {"id": "pol_1", "rules": rules}}).rules
    except GrantError:
        return
    assert set(taken) <= {"max_cpu_percent", "timezone", "allowed_hours"}
    assert 0 <= taken.get("max_cpu_percent", 0) <= 100
    assert isinstance(taken.get("timezone", ""), str)
    assert all(0 <= hour <= 23 for hour in taken.get("allowed_hours", []))


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "life_ns"),
    [
        (None, None, CERTIFICATE_LIFE_NS),
        ("2026-01-01T00:00:00Z", None, CERTIFICATE_LIFE_NS),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z", 900 * 10**9),
        ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z", CERTIFICATE_LIFE_MAX_NS),
    ],
)
def test_a_certificate_lives_as_long_as_it_says_and_no_longer_than_can_be_reckoned_with(
    issued_at: str | None, expires_at: str | None, life_ns: int
) -> None:
    data = {"certificate_id": "mcert_1", "issued_at": issued_at, "expires_at": expires_at}
    assert read_grant(Certificate, data).life_ns == life_ns


@pytest.mark.parametrize(
    ("issued_at", "expires_at", "says"),
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "that ends .* before it begins"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "that ends .* before it begins"),
        ("yesterday", "2026-01-01T00:00:00Z", "are no times"),
    ],
)
def test_a_certificate_of_an_impossible_life_is_none(issued_at: str, expires_at: str, says: str) -> None:
    machine = Machine(0, "ada", 1)
    certificate = {"certificate_id": "mcert_1", "issued_at": issued_at, "expires_at": expires_at}
    data = {**ACTIONS[Action.REGISTER], "machine_certificate": certificate}
    with pytest.raises(GrantError, match=says):
        learned(machine, Action.REGISTER, data)
    assert not machine.worker_id


def test_no_certificate_makes_a_machine_rotate_without_end() -> None:
    machine = Machine(0, "ada", 1)
    times = {"issued_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:00:00.000000001Z"}
    learned(machine, Action.ROTATE, {"certificate_id": "mcert_1", **times})
    assert machine.certificate_until_ns >= 200_000_000


def test_nesting_without_end_is_refused_too() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(GrantError):
        read_grant(Registration, {"machine": deep})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(deep, str)
