"""What each page for people shows, asked of the API as who looks at it; and what its two forms do."""

from __future__ import annotations

from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.audit import HEARTBEAT_TYPE, MARKET_TYPES, REFUSED_TYPES
from reference_server.core.calls import OFFSET, OWNER, query_of
from reference_server.core.identity import session_routes
from reference_server.core.identity.cookies import new_key_cookie, read_cookie, session_cookie, set_cookie
from reference_server.core.identity.sessions import Session, digest_of, find_session, tokens_of
from reference_server.core.market.jobs import QUEUED, RUNNING, STATES
from reference_server.core.market.money import ASSETS
from reference_server.core.views import EVENT_TYPE
from reference_server.limits import LIST_LIMIT_MAX, NEW_KEY_LIFE_SECONDS, PAGE_ALERTS_MAX, PAGE_ROWS, PAGE_WORKERS_MAX
from reference_server.operations.people.asking import RefusedError, ask, newest
from reference_server.operations.people.rendering import page, see_other
from reference_server.wire.timestamps import format_timestamp, parse_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Reply, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call
    from reference_server.core.state import State

    Decision = Callable[[State, Call[bytes]], Reply]

HOME, KEY = "/", "/my/key"
AUTH_FAILED = "worker_auth_failed"
ENTRIES_A_WITHDRAWAL_MAX = 4
"""That it leaves among transactions: two when it is asked for, and two more at most when it ends."""
EVENT_TYPES = sorted(
    {
        HEARTBEAT_TYPE,
        *REFUSED_TYPES,
        *MARKET_TYPES,
        *("machine_registered", "machine_certificate_issued"),
        *("policy_created", "policy_activated", "consent_created", "consent_revoked"),
    }
)
"""What events may be chosen by (contract §3, Audit types added)."""


def for_who_is_signed_in(decide: Decision) -> Decision:
    """Show others how to sign in, and come back here then; and show what is refused as a page."""

    @wraps(decide)
    def decided(state: State, call: Call[bytes]) -> Reply:
        if call.caller.kind != OWNER:
            home = call.request.path == HOME
            return _sign_in(state, call, HTTPStatus.OK if home else HTTPStatus.UNAUTHORIZED)
        try:
            return decide(state, call)
        except RefusedError as refused:
            return _refusal(state, call, refused.reply)

    return decided


def _sign_in(state: State, call: Call[bytes], status: int) -> Reply:
    """Show how to sign in. Whoever shows a session that is over is told so, and rid of its cookie."""
    ended = bool(call.caller.session)
    settings = state.settings
    return page(
        "sign_in",
        status,
        (set_cookie(settings, session_cookie(settings), "", 0),) if ended else (),
        ended=ended,
        providers=list(state.login_providers),
        return_to=call.request.path,
        public_url=settings.public_url,
    )


def _refusal(state: State, call: Call[bytes], reply: Reply) -> Reply:
    """Show a refusal of the API as a page, with its status; or how to sign in, where the session is over by now."""
    try:
        common = _common(state, call)
    except RefusedError:
        return _sign_in(state, call, HTTPStatus.UNAUTHORIZED)
    return page("refusal", reply.status, error=msgspec.json.decode(reply.body)["error"], **common)


def _common(state: State, call: Call[bytes]) -> dict[str, Any]:
    """Return what every page of a person shows."""
    return {
        "path": call.request.path,
        "me": ask(state, call, "/auth/me"),
        "base": f"{state.settings.public_url}/api/v1",
        "version": state.settings.version,
    }


def _asked(call: Call[bytes]) -> dict[str, Any]:
    """Read what a page is asked for."""
    asked = query_of(call)
    if isinstance(asked, Reply):
        raise RefusedError(asked)
    return asked


@for_who_is_signed_in
def show_overview(state: State, call: Call[bytes]) -> Reply:
    """`GET /`: what needs looking at, and how much there is of everything."""
    summary = ask(state, call, "/workers/summary")
    quiet = _quiet(state, call) if summary["stale"] or summary["unknown"] else []
    jobs = {name: ask(state, call, "/jobs", limit=1, state=name)["total"] for name in (RUNNING, QUEUED, "")}
    recent = _recent_failures(state, call)
    return page(
        "overview",
        summary=summary,
        quiet=quiet,
        recent=recent,
        named=PAGE_ALERTS_MAX,
        window=state.settings.auth_failure_window_seconds,
        alarming=len(recent) >= state.settings.auth_failure_threshold,
        jobs=jobs,
        balances=ask(state, call, "/wallet/balance")["balances"],
        **_common(state, call),
    )


def _quiet(state: State, call: Call[bytes]) -> list[dict[str, Any]]:
    """Return a few workers that are not heard from, of as many as are looked through for them."""
    found: list[dict[str, Any]] = []
    for offset in range(0, PAGE_WORKERS_MAX, LIST_LIMIT_MAX):
        listed = ask(state, call, "/workers/statuses", limit=LIST_LIMIT_MAX, offset=offset)
        found += [worker for worker in listed["workers"] if worker["stale"]]
        if len(found) >= PAGE_ALERTS_MAX or offset + LIST_LIMIT_MAX >= listed["total"]:
            break
    return found[:PAGE_ALERTS_MAX]


def _recent_failures(state: State, call: Call[bytes]) -> list[dict[str, Any]]:
    """Return the newest auth failures of the caller's workers, as far as they are within the alert's window."""
    since_ns = call.now.wall_ns - state.settings.auth_failure_window_seconds * SECOND_NS
    events, _ = newest(state, call, "/audit/events", "events", PAGE_ROWS, **{EVENT_TYPE.name: AUTH_FAILED})
    return [event for event in events if (parse_timestamp(event["created_at"]) or 0) >= since_ns]


@for_who_is_signed_in
def show_fleet(state: State, call: Call[bytes]) -> Reply:
    """`GET /my/fleet`."""
    offset = _asked(call)[OFFSET.name]
    return page(
        "fleet",
        summary=ask(state, call, "/workers/summary"),
        listed=ask(state, call, "/workers/statuses", limit=PAGE_ROWS, offset=offset),
        **_common(state, call),
    )


@for_who_is_signed_in
def show_audit(state: State, call: Call[bytes]) -> Reply:
    """`GET /my/audit`: newest first, as people read it."""
    asked = _asked(call)
    offset, kind = asked[OFFSET.name], asked[EVENT_TYPE.name]
    events, total = newest(state, call, "/audit/events", "events", PAGE_ROWS, offset, **{EVENT_TYPE.name: kind})
    return page("audit", events=events, total=total, asked=asked, types=EVENT_TYPES, **_common(state, call))


@for_who_is_signed_in
def show_jobs(state: State, call: Call[bytes]) -> Reply:
    """`GET /my/jobs`."""
    asked = _asked(call)
    return page(
        "jobs",
        listed=ask(state, call, "/jobs", limit=PAGE_ROWS, **asked),
        asked=asked,
        states=STATES,
        **_common(state, call),
    )


@for_who_is_signed_in
def show_wallet(state: State, call: Call[bytes]) -> Reply:
    """`GET /my/wallet`."""
    asked = _asked(call)
    return page(
        "wallet",
        balances=ask(state, call, "/wallet/balance")["balances"],
        withdrawals=_withdrawals(state, call),
        listed=ask(state, call, "/wallet/transactions", limit=PAGE_ROWS, **asked),
        asked=asked,
        assets=ASSETS,
        **_common(state, call),
    )


def _withdrawals(state: State, call: Call[bytes]) -> dict[str, Any]:
    """Return the newest withdrawals, which the transactions name; one that is kept no more is left out.

    `among` is how many transactions were looked through, where there may be withdrawals that these do not lead to.
    """
    transactions: list[dict[str, Any]] = []
    for most in (ENTRIES_A_WITHDRAWAL_MAX * PAGE_ROWS, LIST_LIMIT_MAX):
        known = len(transactions)
        read = ask(state, call, "/wallet/transactions", limit=most - known, offset=known)
        transactions += read["transactions"]
        named = dict.fromkeys(one["reference"] for one in transactions if one["type"] == "withdrawal")
        if len(named) >= PAGE_ROWS or len(transactions) >= read["total"]:
            break
    found = []
    for withdrawal_id in list(named)[:PAGE_ROWS]:
        try:
            found.append(ask(state, call, "/wallet/withdrawals/{id}", withdrawal_id)["withdrawal"])
        except RefusedError as refused:
            if refused.reply.status != HTTPStatus.NOT_FOUND:
                raise
    all_found = read["total"] == len(transactions) and len(found) == len(named)
    return {"found": found, "among": 0 if all_found else len(transactions)}


@for_who_is_signed_in
def show_key(state: State, call: Call[bytes]) -> Reply:
    """`GET /my/key`: the keys of this sign-in; a new one is shown once, for the cookie that brought it goes."""
    tokens = _tokens(state, call)
    cookie = new_key_cookie(state.settings)
    brought = read_cookie(call.headers, cookie)
    # Whatever else might be in such a cookie is not shown: somebody may have put a key of theirs there.
    new = brought if digest_of(brought) in {one.digest for one in tokens} else ""
    keys = [
        {"made_at": format_timestamp(one.created_ns), "ends_at": format_timestamp(one.expires_ns)}
        for one in reversed(tokens)
    ]
    more = (set_cookie(state.settings, cookie, "", 0),) if brought else ()
    return page("key", HTTPStatus.OK, more, new=new, keys=keys, **_common(state, call))


def _tokens(state: State, call: Call[bytes]) -> list[Session]:
    """Return the tokens for programs of this sign-in, oldest first."""
    session = find_session(state, call.now, call.caller.session)
    found = [] if session is None else tokens_of(state, session.owner_id, session.login)
    return [one for one in found if find_session(state, call.now, one.digest) is not None]


@for_who_is_signed_in
def make_key(state: State, call: Call[bytes]) -> Reply:
    """`POST /my/key`: make a key in the place of the one there is, and have the browser bring it to the page."""
    reply = session_routes.replace_token(state, call)
    if not succeeded(reply):
        raise RefusedError(reply)
    token = msgspec.json.decode(reply.body)["data"]["token"]
    cookie = set_cookie(state.settings, new_key_cookie(state.settings), token, NEW_KEY_LIFE_SECONDS)
    return see_other(KEY, (cookie,))


def sign_out(state: State, call: Call[bytes]) -> Reply:
    """`POST /my/sign-out`: this sign-in ends, and every key of it. Nothing is left to do for who is not signed in."""
    if call.caller.kind != OWNER:
        return see_other(HOME)
    reply = session_routes.log_out(state, call)
    return see_other(HOME, tuple(header for header in reply.headers if header[0] == "set-cookie"))
