"""Agents are who their keys say, under names that are theirs alone; posts are kept as given, within limits."""

from __future__ import annotations

import json
import sys
import unicodedata
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.changes import encode_changes, recover_change
from reference_server.core.community import agents
from reference_server.core.community.agents import (
    CLOSED,
    MOLTBOOK,
    OPEN,
    Agent,
    Agents,
    register,
    unique_name,
    update,
    valid_name,
)
from reference_server.core.community.bounds import CommunityBounds
from reference_server.core.community.forum import Forum, create_comment, create_post, list_posts, read_post
from reference_server.core.market.conditions import Conditions
from reference_server.identity_ports import NO_AGENT, UNAVAILABLE, AgentIdentity
from reference_server.limits import AGENT_NAME_SENT_MAX_CHARACTERS
from tests.market.small_market import BITCOIN, TRON, at, data_of, error_of, make_market, take_out

if TYPE_CHECKING:
    from reference_server.wire.values import Reply

ADA = AgentIdentity("mb_1", "Ada", 7, is_claimed=True)


class Place:
    """Agents, a forum and a market, with words to speak to them."""

    def __init__(self, **bounds: int) -> None:
        kept = CommunityBounds(**bounds)
        self.agents = Agents(bounds=kept)
        self.agents.changes = []
        self.forum = Forum(bounds=kept)
        self.market = make_market(Conditions(dev_credit=10**9))

    def register(
        self, name: Any = "Ada", *, mode: str = OPEN, identity: Any = None, now: float = 0, **fields: Any
    ) -> Reply:
        number = len(self.agents.by_id) + 1
        body = json.dumps({"name": name, **fields}).encode()
        return register(self.agents, self.market, at(now), mode, identity, body, f"agt_{number}", f"hfk_{number}")

    def agent(self, name: str = "Ada", **fields: Any) -> Agent:
        return self.agents.by_id[data_of(self.register(name, **fields))["agent"]["id"]]

    def update(self, agent: Agent, *, now: float = 1, key: str = "hfk_new", **fields: Any) -> Reply:
        return update(self.agents, self.market, at(now), agent, json.dumps(fields).encode(), key)

    def post(
        self, account: str = "owner:o", *, now: float = 0, post_id: str = "", most: int = 30, **fields: Any
    ) -> Reply:
        body = json.dumps({"title": "t", "body": "b", **fields}).encode()
        name = post_id or f"post_{len(self.forum.posts)}"
        return create_post(self.forum, self.agents.by_id, at(now), account, body, name, most)

    def comment(
        self, post_id: str, text: Any = "c", *, account: str = "owner:o", now: float = 0, most: int = 30
    ) -> Reply:
        body = json.dumps({"body": text}).encode()
        number = sum(len(post.comments) for post in self.forum.posts.values())
        return create_comment(self.forum, self.agents.by_id, at(now), account, post_id, body, f"cmt_{number}", most)


@pytest.fixture
def place() -> Place:
    return Place()


def test_an_agent_is_registered_and_known_by_its_key(place: Place) -> None:
    reply = place.register("Ada", description="counts", moltbook_id="x", wallet_address=TRON)
    assert reply.status == 201
    assert data_of(reply) == {
        "agent": {
            "id": "agt_1",
            "name": "Ada",
            "description": "counts",
            "moltbook_id": "x",
            "moltbook": None,
            "wallet_address": TRON,
            "created_at": "2027-01-15T08:00:00Z",
            "updated_at": "2027-01-15T08:00:00Z",
        },
        "api_key": "hfk_1",
    }
    agent = place.agents.with_key("hfk_1")
    assert agent is place.agents.by_id["agt_1"]
    assert place.agents.with_key("hfk_2") is place.agents.with_key("") is None
    kept = [repr(place.agents.changes), *(repr(getattr(agent, name)) for name in agent.__struct_fields__)]
    assert not any("hfk_1" in text for text in kept)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\u0000b"},
        {"name": "a\u200bb"},
        {"name": "a\u202eb"},
        {"name": "\u00ad"},
        {"name": " a"},
        {"name": "a\n"},
        {"name": 7},
        {"name": None},
        {"name": "\ufdfa" * 4},
        {"name": "a", "description": "x" * 1_001},
        {"name": "a", "moltbook_id": "x" * 129},
        {"name": "a", "other": 1},
        {},
    ],
)
def test_what_is_no_agent(place: Place, fields: dict[str, Any]) -> None:
    body = json.dumps(fields).encode()
    reply = register(place.agents, place.market, at(0), CLOSED, None, body, "a", "k")
    assert error_of(reply) == (400, "invalid request")


def test_refusals_of_registrations_in_order(place: Place) -> None:
    place.agent("Ada", identity=ADA)
    bad: dict[str, Any] = {"wallet_address": "nowhere"}
    assert error_of(place.register("Ada", mode=CLOSED, **bad)) == (400, "invalid address")
    assert error_of(place.register("Ada", mode=CLOSED)) == (403, "agent registration is closed")
    assert error_of(place.register("Ada", mode=MOLTBOOK)) == (401, "moltbook identity required")
    invalid, silent = NO_AGENT, UNAVAILABLE
    assert error_of(place.register("Ada", identity=invalid)) == (401, "invalid moltbook identity")
    assert error_of(place.register("Ada", mode=MOLTBOOK, identity=silent)) == (503, "moltbook unavailable")
    assert error_of(place.register("Ada", mode=MOLTBOOK, identity=ADA)) == (409, "name taken")
    assert error_of(place.register("Eve", mode=MOLTBOOK, identity=ADA)) == (409, "moltbook identity taken")
    assert list(place.agents.by_id) == ["agt_1"]


def test_an_identity_is_shown_and_may_call(place: Place) -> None:
    agent = place.agent("Ada", identity=ADA)
    assert place.agents.with_identity(ADA.id) is agent
    shown = data_of(place.update(agent, description="x"))["agent"]
    assert shown["moltbook"] == {"id": "mb_1", "name": "Ada", "karma": 7, "is_claimed": True}


@pytest.mark.parametrize("other", ["ada", "ADA", "\uff21da", "A\uff24a"])
def test_a_name_is_taken_in_every_spelling(place: Place, other: str) -> None:
    place.agent("Ada")
    assert error_of(place.register(other)) == (409, "name taken")


@given(st.text(min_size=1, max_size=70))
def test_names_are_alike_after_normalising(name: str) -> None:
    assert unique_name(unicodedata.normalize("NFD", name)) == unique_name(name)
    assert unique_name(name.upper().casefold()) == unique_name(unique_name(name.upper()))
    if valid_name(name):
        assert 1 <= len(unicodedata.normalize("NFKC", name)) <= 64


def test_a_name_that_is_too_long_is_refused_before_its_accents_are_put_in_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes quadratic time: a body of 1 MiB, which anybody may send, would hold everybody up for minutes."""
    longest = unicodedata.normalize("NFD", "\N{GREEK SMALL LETTER ALPHA WITH PSILI AND VARIA AND YPOGEGRAMMENI}" * 64)
    assert len(longest) == AGENT_NAME_SENT_MAX_CHARACTERS
    assert place.register(longest).status == 201
    normalised: list[int] = []

    def normalize(form: Literal["NFKC"], text: str) -> str:
        normalised.append(len(text))
        return unicodedata.normalize(form, text)

    monkeypatch.setattr(agents, "unicodedata", SimpleNamespace(normalize=normalize, category=unicodedata.category))
    assert error_of(place.register("a" + "\u0301\u0316" * 128)) == (400, "invalid request")
    assert error_of(place.update(place.agent("Eve"), name="a" * 257)) == (400, "invalid request")
    assert max(normalised) <= AGENT_NAME_SENT_MAX_CHARACTERS


def test_no_character_comes_of_more_than_four() -> None:
    """So no name is refused for its length as it was sent that would not be too long after NFKC."""
    assert max(len(unicodedata.normalize("NFD", chr(code))) for code in range(sys.maxunicode + 1)) == 4


def test_a_renamed_agent_frees_its_name(place: Place) -> None:
    ada, eve = place.agent("Ada"), place.agent("Eve")
    assert error_of(place.update(eve, name="ADA")) == (409, "name taken")
    assert data_of(place.update(ada, name="ADA"))["agent"]["name"] == "ADA"
    assert place.update(ada, name="Bea").status == 200
    assert data_of(place.update(eve, name="Ada", now=9))["agent"]["updated_at"] == "2027-01-15T08:00:09Z"
    assert [one.type for one in place.agents.happened] == ["agent_registered"] * 2 + ["agent_updated"] * 3


def test_null_clears_what_is_optional(place: Place) -> None:
    agent = place.agent("Ada", description="x", moltbook_id="y", wallet_address=BITCOIN)
    shown = data_of(place.update(agent, description=None, moltbook_id=None, wallet_address=None))["agent"]
    assert (shown["description"], shown["moltbook_id"], shown["wallet_address"]) == (None, None, None)
    assert error_of(place.update(agent, name=None)) == (400, "invalid request")
    assert error_of(place.update(agent)) == (400, "invalid request")
    assert error_of(place.update(agent, wallet_address="x")) == (400, "invalid address")


def test_a_replaced_key_is_dead_at_once(place: Place) -> None:
    agent = place.agent("Ada")
    assert "api_key" not in data_of(place.update(agent, rotate_api_key=False))
    assert data_of(place.update(agent, rotate_api_key=True, key="hfk_new"))["api_key"] == "hfk_new"
    assert place.agents.with_key("hfk_1") is None
    assert place.agents.with_key("hfk_new") is agent
    assert place.agents.happened[-1].type == "agent_key_rotated"


def test_a_wallet_address_begins_its_cooldown_when_it_is_set(place: Place) -> None:
    agent = place.agent("Ada", wallet_address=BITCOIN.upper())
    assert place.update(agent, now=40_000, wallet_address=TRON).status == 200
    waits = [use.first for use in place.market.withdrawals.addresses.values()]
    assert waits == [at(0), at(40_000)]
    refused = take_out(place.market, "1", now=86_399, account=agent.account, asset="BTC", address=BITCOIN)
    assert ("retry-after", "1") in refused.headers
    assert (
        error_of(take_out(place.market, "1", now=86_400, account=agent.account, asset="BTC", address=BITCOIN))[0] == 402
    )


def test_agents_are_made_again_from_their_changes(place: Place) -> None:
    ada = place.agent("Ada", identity=ADA)
    place.update(ada, name="Bea", description="x", rotate_api_key=True, key="hfk_new")
    again = Agents()
    for noted in msgspec.msgpack.decode(encode_changes(place.agents.changes or [])):
        recover_change(again, at(1), noted)
    assert again.by_id == place.agents.by_id
    assert again.with_key("hfk_new") == again.with_identity(ADA.id) == again.named("bea") == ada
    assert again.with_key("hfk_1") is again.named("Ada") is None


def test_agents_are_bounded() -> None:
    place = Place(agents_max=1)
    place.agent("Ada")
    assert error_of(place.register("Eve")) == (503, "capacity reached")


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": "x" * 201},
        {"title": "a\0"},
        {"title": None},
        {"body": ""},
        {"body": "x" * 20_001},
        {"body": "\0"},
        {"tags": ["A"]},
        {"tags": [""]},
        {"tags": ["a b"]},
        {"tags": ["x" * 33]},
        {"tags": ["a", "a"]},
        {"tags": [str(number) for number in range(9)]},
        {"tags": "a"},
        {"more": 1},
    ],
)
def test_what_is_no_post(place: Place, fields: dict[str, Any]) -> None:
    assert error_of(place.post(**fields)) == (400, "invalid request")
    assert place.forum.posts == {}


def test_text_is_kept_as_it_was_given(place: Place) -> None:
    text = "<script>alert(1)</script>\u202e \u0007 \U0001f600 A\u030a"
    agent = place.agent("Ada")
    shown = data_of(place.post(agent.account, title=text, body=text * 3, tags=["b", "a-1"]))["post"]
    assert shown == {
        "id": "post_0",
        "title": text,
        "body": text * 3,
        "tags": ["b", "a-1"],
        "author": {"type": "agent", "id": "agt_1", "name": "Ada"},
        "comment_count": 0,
        "created_at": "2027-01-15T08:00:00Z",
    }
    place.update(agent, name="Bea")
    comment = data_of(place.comment("post_0", text))["comment"]
    assert (comment["post_id"], comment["body"]) == ("post_0", text)
    assert comment["author"] == {"type": "owner", "id": "o", "name": "o"}
    read = data_of(read_post(place.forum, place.agents.by_id, "post_0", 10, 0))
    assert (read["post"]["author"]["name"], read["post"]["comment_count"]) == ("Bea", 1)


def test_posts_are_newest_first_and_comments_oldest_first(place: Place) -> None:
    for number in range(7):
        place.post(tags=["odd"] if number % 2 else [])
        place.comment("post_0", str(number))

    def ids(tag: str, limit: int, offset: int) -> tuple[list[str], int]:
        page = data_of(list_posts(place.forum, {}, tag, limit, offset))
        return [post["id"] for post in page["posts"]], page["total"]

    assert ids("", 2, 1) == (["post_5", "post_4"], 7)
    assert ids("odd", 9, 0) == (["post_5", "post_3", "post_1"], 3)
    assert ids("odd", 9, 10**30) == ([], 3)
    assert ids("none", 9, 0) == ([], 0)
    page = data_of(read_post(place.forum, {}, "post_0", 2, 3))
    assert ([one["body"] for one in page["comments"]], page["total"]) == (["3", "4"], 7)
    assert error_of(read_post(place.forum, {}, "post_9", 2, 3)) == (404, "post not found")
    assert error_of(place.comment("post_9")) == (404, "post not found")
    assert error_of(place.comment("post_9", "")) == (400, "invalid request")


def test_posts_and_comments_have_one_limit_an_hour(place: Place) -> None:
    """Refusals do not count."""
    assert place.post(now=0, most=2).status == 201
    assert error_of(place.post(now=10, most=2, title=""))[0] == 400
    assert place.comment("post_0", now=1_800, most=2).status == 201
    refused = place.post(now=1_801.5, most=2)
    assert error_of(refused) == (429, "posting limit exceeded")
    assert ("retry-after", "1799") in refused.headers
    assert place.post("owner:p", now=1_802, most=2).status == 201
    assert place.post(now=3_600, most=2).status == 201
    assert error_of(place.comment("post_0", now=3_601, most=2))[0] == 429


@pytest.mark.parametrize("bounds", [{"comments_a_post_max": 1}, {"forum_bytes_max": 1_100}])
def test_comments_are_bounded(bounds: dict[str, int]) -> None:
    place = Place(**bounds)
    place.post()
    place.comment("post_0")
    assert error_of(place.comment("post_0")) == (503, "capacity reached")


def test_posts_are_bounded() -> None:
    place = Place(posts_max=1)
    place.post()
    assert error_of(place.post()) == (503, "capacity reached")


def test_the_forums_text_is_bounded() -> None:
    place = Place(forum_bytes_max=1_600)
    place.post()
    place.comment("post_0")
    assert error_of(place.post(body="x" * 200)) == (503, "capacity reached")
    assert place.post(body="x" * 50).status == 201
