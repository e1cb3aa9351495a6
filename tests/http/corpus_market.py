"""The request corpus, of the market: every route of agents, jobs, wallet and forum, and of the API's description."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tests.http.corpus import ADDRESS, BEARER, JOB, WITHDRAWAL, WORLD, get, plain, post, with_key
from tests.http.twins import OWNER

if TYPE_CHECKING:
    from reference_server.wire.values import Headers, Request

AGENT: Headers = (("authorization", f"Bearer {WORLD.agent_key}"),)
NOBODY: Headers = (("authorization", f"Bearer hfk_{'0' * 64}"),)
MALLORY: Headers = (*BEARER, ("x-owner-id", "mallory"))
JOB_PATH = f"/api/v1/jobs/{WORLD.job_id}"
POST_PATH = f"/api/v1/forum/posts/{WORLD.post_id}"
WITHDRAWAL_PATH = f"/api/v1/wallet/withdrawals/{WORLD.withdrawal_id}"
WRITTEN = {"title": "Who rents at night?", "body": "I do.", "tags": ["prices"]}
FILES = ("/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")


def by(method: str, request: Request) -> Request:
    return msgspec.structs.replace(request, method=method)


def withdrawal(key: str, headers: Headers = OWNER, **fields: object) -> Request:
    return with_key(post("/api/v1/wallet/withdraw", {**WITHDRAWAL, **fields}, headers), key)


MARKET_SUCCESSES = [
    *(plain(f"description, {path}", 200, get(path)) for path in FILES),
    plain("agent, registers", 201, post("/api/v1/agents/register", {"name": "Bea's", "wallet_address": ADDRESS}, ())),
    plain("agent, itself", 200, get("/api/v1/agents/me", AGENT)),
    plain("agent, changes", 200, by("PUT", post("/api/v1/agents/me", {"description": "Plans."}, AGENT))),
    plain("job, posted", 201, post("/api/v1/jobs", JOB)),
    plain("job, posted by an agent under a key", 201, with_key(post("/api/v1/jobs", JOB, AGENT), "once")),
    plain("jobs", 200, get("/api/v1/jobs", OWNER, "state=queued&limit=1")),
    plain("job", 200, get(JOB_PATH, OWNER)),
    plain("job, cancelled", 200, by("DELETE", get(JOB_PATH, OWNER))),
    plain("resources", 200, get("/api/v1/resources", AGENT, "min_cpu_cores=0.5")),
    plain("prices", 200, get("/api/v1/resources/prices", AGENT)),
    plain("balance", 200, get("/api/v1/wallet/balance", AGENT)),
    plain("transactions", 200, get("/api/v1/wallet/transactions", OWNER, "asset=USDT-TRC20")),
    plain("withdrawal", 202, withdrawal("second")),
    plain("withdrawal, replayed", 202, withdrawal("first")),
    plain("withdrawal, read", 200, get(WITHDRAWAL_PATH, OWNER)),
    plain("posts", 200, get("/api/v1/forum/posts", AGENT, "tag=prices")),
    plain("post, written", 201, post("/api/v1/forum/posts", WRITTEN, AGENT)),
    plain("post, read", 200, get(POST_PATH, AGENT)),
    plain("comment", 201, post(f"{POST_PATH}/comments", {"body": "Me too."}, AGENT)),
]
MARKET_REFUSED = [
    plain("agent, name taken", 409, post("/api/v1/agents/register", {"name": "ADA'S"}, ())),
    plain("agent, no name", 400, post("/api/v1/agents/register", {}, ())),
    plain("agent, unknown key", 401, get("/api/v1/agents/me", NOBODY)),
    plain("agent, an owner", 403, get("/api/v1/agents/me", OWNER)),
    plain("agent, on an owner's route", 403, get("/api/v1/workers/summary", AGENT)),
    plain("agent, nothing to change", 400, by("PUT", post("/api/v1/agents/me", {}, AGENT))),
    plain("job, no account", 403, post("/api/v1/jobs", JOB, BEARER)),
    plain("job, too dear", 402, post("/api/v1/jobs", {**JOB, "max_price_usdt": "1000"})),
    plain("job, no type", 400, post("/api/v1/jobs", {**JOB, "type": ""})),
    plain("job, another's", 404, get(JOB_PATH, MALLORY)),
    plain("job, another's cancelled", 404, by("DELETE", get(JOB_PATH, MALLORY))),
    plain("jobs, of no state", 400, get("/api/v1/jobs", OWNER, "state=lost")),
    plain("resources, of words", 400, get("/api/v1/resources", OWNER, "min_gpu_count=many")),
    plain("withdrawal, without a key", 400, post("/api/v1/wallet/withdraw", WITHDRAWAL)),
    plain("withdrawal, a key reused", 422, withdrawal("first", amount="2")),
    plain("withdrawal, of nothing", 400, withdrawal("third", amount="0")),
    plain("withdrawal, to nowhere", 400, withdrawal("third", address=ADDRESS[:-1] + "u")),
    plain("withdrawal, of too much", 402, withdrawal("third", amount="5000")),
    plain("withdrawal, another's", 404, get(WITHDRAWAL_PATH, MALLORY)),
    plain("transactions, of no asset", 400, get("/api/v1/wallet/transactions", OWNER, "asset=ETH")),
    plain("post, no title", 400, post("/api/v1/forum/posts", {**WRITTEN, "title": ""}, AGENT)),
    plain("post, unknown", 404, get("/api/v1/forum/posts/post_0", AGENT)),
    plain("comment, on nothing", 404, post("/api/v1/forum/posts/post_0/comments", {"body": "x"}, AGENT)),
]
