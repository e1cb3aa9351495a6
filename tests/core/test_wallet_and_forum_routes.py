"""Money, posts and the audit of both over the whole way of a request (contract: market)."""

from __future__ import annotations

from tests.core.market_server import (
    ADA,
    BITCOIN,
    Market,
)
from tests.core.server_under_test import SECOND

# -- wallet


def test_money_goes_out_once_for_each_key() -> None:
    server = Market()
    assert server.withdraw(ADA, "x", None).error == (400, "idempotency key required")
    assert server.withdraw(ADA, "1.5", asset="ETH").error == (400, "invalid asset")
    assert server.withdraw(ADA, 1.5).error == (400, "invalid amount")
    assert server.withdraw(ADA, "1.5", address=BITCOIN).error == (400, "invalid address")
    assert server.withdraw(ADA, "11").error == (402, "insufficient balance")
    first = server.withdraw(ADA, "1.5")
    assert first.status == 202
    shown = first.data["withdrawal"]
    assert (shown["state"], shown["amount"]) == ("pending", "1.500000")
    again = server.withdraw(ADA, "1.5")
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (202, first.body, "true")
    assert server.withdraw(ADA, "1.6").error == (422, "idempotency key reused")
    assert server.withdraw(server.agent().headers, "1.5").status == 202
    assert server.usdt(ADA) == ("8.500000", "0.000000", "1.500000")
    assert server.send("GET", f"/wallet/withdrawals/{shown['id']}", None, ADA).data["withdrawal"] == shown
    rows = server.send("GET", "/wallet/transactions", None, ADA, query="asset=USDT-TRC20").data
    assert [row["amount"] for row in rows["transactions"]] == ["1.500000", "-1.500000", "10.000000"]
    assert server.send("GET", "/wallet/transactions", None, ADA, query="asset=BTC").data["total"] == 0
    assert server.send("GET", "/wallet/transactions", None, ADA, query="asset=x").error == (400, "invalid asset")
    assert server.metrics()['hatchfarm_withdrawals_total{state="pending"}'] == 2


def test_addresses_cool_down_and_limits_hold() -> None:
    server = Market(withdrawal_cooldown_seconds=100, withdrawals_per_hour=2)
    refused = server.withdraw(ADA, "1")
    assert (refused.error, refused.headers["retry-after"]) == ((403, "address in cooldown"), "100")
    server.pass_time(99 * SECOND)
    assert server.withdraw(ADA, "1").headers["retry-after"] == "1"
    server.pass_time(SECOND)
    assert [server.withdraw(ADA, "1", key).status for key in "abc"] == [202, 202, 429]
    assert server.withdraw(ADA, "1", "c").error == (429, "withdrawal limit exceeded")
    assert server.withdraw(ADA, "1", "a").status == 202


# -- forum


def test_posts_and_comments_are_kept_as_they_are_given() -> None:
    server = Market(forum_posts_per_hour=3)
    agent = server.agent("Ada")
    text = "<b>&amp;\u2028 ünï</b>"
    post = server.send("POST", "/forum/posts", {"title": text, "body": text, "tags": ["b", "a"]}, agent.headers)
    assert post.status == 201
    shown = post.data["post"]
    assert (shown["title"], shown["tags"]) == (text, ["b", "a"])
    assert shown["author"] == {"type": "agent", "id": agent.id, "name": "Ada"}
    path = f"/forum/posts/{shown['id']}"
    comment = server.send("POST", f"{path}/comments", {"body": text}, ADA).data["comment"]
    assert comment["author"] == {"type": "owner", "id": "ada", "name": "ada"}
    read = server.send("GET", path, None, ADA, query="limit=1").data
    assert read["comments"] == [comment]
    assert read["post"] == {**shown, "comment_count": 1}
    assert server.send("GET", "/forum/posts", None, ADA, query="tag=a").data["posts"] == [read["post"]]
    assert server.send("GET", "/forum/posts", None, ADA, query="tag=c").data["total"] == 0
    assert server.send("GET", "/forum/posts/post_1", None, ADA).error == (404, "post not found")
    assert server.send("POST", "/forum/posts/x/comments", {"body": "b"}, ADA).error == (404, "post not found")
    assert server.send("POST", "/forum/posts", {"title": "t"}, ADA).error == (400, "invalid request")
    for _ in range(2):
        assert server.send("POST", f"{path}/comments", {"body": "b"}, ADA).status == 201
    refused = server.send("POST", f"{path}/comments", {"body": "b"}, ADA)
    assert (refused.error, refused.headers["retry-after"]) == ((429, "posting limit exceeded"), "3600")


def test_where_nobody_may_post_nobody_does() -> None:
    server = Market(forum_posts_per_hour=0)
    for _ in range(2):
        refused = server.send("POST", "/forum/posts", {"title": "t", "body": "b"}, ADA)
        assert (refused.error, refused.headers["retry-after"]) == ((429, "posting limit exceeded"), "3600")
    assert server.send("GET", "/forum/posts", None, ADA).data["total"] == 0


# -- audit


def test_what_happens_stands_in_the_market_stream_of_those_it_concerns() -> None:
    server = Market()
    machine, policy_id, _ = server.offering()
    job = server.post(ADA, max_price_usdt="2")
    server.heard(machine, policy_id, {"jobs": [{"job_id": job["id"], "state": "failed", "error": "no"}]})
    server.withdraw(ADA, "1")
    mine = [(one["type"], one["actor"]) for one in server.audit("ada")["events"]]
    assert mine == [
        ("job_created", "owner:ada"),
        ("job_assigned", "system"),
        ("job_started", f"worker:{machine.id}"),
        ("job_finished", f"worker:{machine.id}"),
        ("withdrawal_requested", "owner:ada"),
    ]
    assert server.audit("ada")["heads"].keys() == {"market"}
    its = [one["type"] for one in server.audit("max")["events"] if one["stream"] == "market"]
    assert its == ["job_assigned", "job_started", "job_finished"]
    assert server.audit("ada")["events"][3]["metadata"] == {"state": "failed"}
    assert server.job(ADA, job["id"])["error"] == "no"


def test_agents_that_nobody_owns_are_audited_for_nobody() -> None:
    server = Market()
    server.post(server.agent().headers)
    state = server.api.state
    assert [one.type for one in state.market_of_agents.kept()] == ["agent_registered", "job_created"]
    assert len(state.unattributed) == 0
    assert state.owners == {}
