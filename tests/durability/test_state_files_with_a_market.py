"""What the check of state files says of agents, jobs, money and posts that another program wrote (contract §7)."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.core.market.working import look_again
from reference_server.core.recovery import restore
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.wire.own_sections import (
    CHECKSUM,
    OWN,
    OwnerSection,
    OwnSection,
    StreamSection,
    check_state_file,
    load_state_file,
)
from reference_server.wire.state_file import StateFile
from tests.core.market_server import ADA, Market
from tests.market.small_market import assert_sound

if TYPE_CHECKING:
    from collections.abc import Callable

MARKET_SECTIONS = {
    *("agents", "accounts", "offers", "jobs", "withdrawals", "addresses", "idempotency_keys", "market"),
    *("posts", "comments"),
}


@cache
def traded() -> tuple[Market, str]:
    """Return a server on which everything there is was done, and its file as another program would write it."""
    server = Market(withdrawal_cooldown_seconds=1)
    machine, policy_id, _ = server.offering()
    agent = server.agent()
    first, second = server.post(agent.headers), server.post(agent.headers)
    server.heard(machine, policy_id, {"jobs": [{"job_id": first["id"], "state": "running", "result": 1}]})
    server.send("DELETE", f"/jobs/{second['id']}", None, agent.headers)
    server.post(ADA, resources={"cpu_cores": 500, "memory_gb": 1})
    assert server.withdraw(ADA, "1").status == 403
    server.pass_time(10**9)
    assert server.withdraw(ADA, "1").status == 202
    post = server.send("POST", "/forum/posts", {"title": "t", "body": "b", "tags": ["x"]}, ADA).data["post"]
    server.send("POST", f"/forum/posts/{post['id']}/comments", {"body": "c"}, agent.headers)
    document = json.loads(b"".join(snapshot(server.api.state, server.now, "s")))
    del document[OWN], document[CHECKSUM]
    return server, json.dumps(document)


def first_of(section: str) -> Callable[[Any], dict[str, Any]]:
    return lambda document: next(iter(document[section].values()))


def test_all_of_it_is_kept_and_read_again() -> None:
    server, text = traded()
    document = json.loads(text)
    assert document.keys() >= MARKET_SECTIONS
    state = check_state_file(text.encode(), TABLES.sections)
    assert isinstance(state, StateFile)
    assert state.problems == []
    again = server.api.empty_state()
    restore(again, load_state_file(text.encode(), TABLES.sections), server.now)
    look_again(again.market, server.now)
    assert_sound(again.market)
    written = json.loads(b"".join(snapshot(again, server.now, "s")))
    assert {name: written[name] for name in MARKET_SECTIONS} == {name: document[name] for name in MARKET_SECTIONS}


class OwnSectionBefore(msgspec.Struct):
    """What a version that knows no stream of the market asks for."""

    nonce_key: str
    unattributed: StreamSection
    streams: dict[str, OwnerSection]


def test_a_version_without_streams_of_the_market_refuses_what_has_any_and_reads_all_else() -> None:
    """It would drop what agents were granted, and write the file anew without it."""
    server, _ = traded()
    own = msgspec.json.encode(json.loads(b"".join(snapshot(server.api.state, server.now, "s")))[OWN])
    with pytest.raises(msgspec.ValidationError, match="unattributed"):
        msgspec.json.decode(own, type=OwnSectionBefore)
    read = msgspec.json.decode(own, type=OwnSection)
    again = server.api.empty_state()
    restore(again, load_state_file(b"".join(snapshot(server.api.state, server.now, "s")), TABLES.sections), server.now)
    assert again.unattributed.hash == server.api.state.unattributed.hash
    assert again.market_of_agents.hash == server.api.state.market_of_agents.hash
    assert read.market is not msgspec.UNSET
    empty = json.loads(b"".join(snapshot(Market().api.state, server.now, "s")))[OWN]
    msgspec.json.decode(msgspec.json.encode(empty), type=OwnSectionBefore)
    del empty["unattributed"]
    with pytest.raises(msgspec.ValidationError, match="nobody"):
        msgspec.json.decode(msgspec.json.encode(empty), type=OwnSection)


@pytest.mark.parametrize(
    ("section", "changed", "says"),
    [
        ("agents", {"name": " x"}, "its name is none that an agent can have"),
        ("agents", {"key_digest": "0"}, "its key_digest is not 64 hex digits"),
        ("agents", {"created_at": "today"}, "created_at is no timestamp"),
        ("accounts", {"balances": {"USDT-TRC20": {"available": 1}}}, "all balances of USDT-TRC20 come to"),
        ("accounts", {"balances": {"ETH": {"available": 0}}}, "a balance of it is of no asset or part there is"),
        ("accounts", {"balances": {"USDT-TRC20": {"lost": 0}}}, "a balance of it is of no asset or part there is"),
        ("offers", {"capacity": "{}"}, "its capacity is none"),
        ("jobs", {"state": "lost"}, "its state is none that jobs have"),
        ("jobs", {"escrow": -1}, "a number of it is none"),
        ("jobs", {"billed": 10**12}, "it costs more than its maximum"),
        ("jobs", {"minutes": 0}, "its minutes are none"),
        ("jobs", {"state": "running", "worker_id": "wrk_" + "0" * 16}, "it is on a machine that offers nothing"),
        ("jobs", {"state": "queued", "expires_at": None}, "it has no time at which it began, or expires"),
        ("withdrawals", {"amount": 0}, "its amount is none"),
        ("withdrawals", {"state": "lost"}, "its state is none"),
        ("addresses", {"address": "x"}, "its address is none of its asset"),
        ("idempotency_keys", {"digest": "x"}, "its digest is not 64 hex digits"),
        ("idempotency_keys", {"status": 400}, "its status is none of a success"),
        ("market", {"jobs": -1}, "a count of it is below zero"),
        ("posts", {"title": ""}, "its title or its body is too long, or there is none"),
        ("posts", {"tags": ["X"]}, "its tags are none"),
        ("comments", {"post_id": "post_" + "0" * 16}, "no such post"),
        ("posts", {"more": 1}, "unknown field `more`"),
    ],
    ids=range(23),
)
def test_what_is_wrong_is_named(section: str, changed: dict[str, Any], says: str) -> None:
    document = json.loads(traded()[1])
    first_of(section)(document).update(changed)
    state = check_state_file(json.dumps(document).encode(), TABLES.sections)
    assert isinstance(state, StateFile)
    assert any(says in problem for problem in state.problems), state.problems


def test_keys_are_never_shown() -> None:
    hidden = {name: TABLES[name].section.hidden for name in MARKET_SECTIONS}
    assert {name: names for name, names in hidden.items() if names} == {"agents": {"key_digest"}}
