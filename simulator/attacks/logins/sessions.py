"""Sessions that reach for what is another owner's, or that another site uses (contract: Principals, Logins)."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import OK, ask, items_of, require, too_late
from simulator.attacks.agents.accounts import account_routes, ask_as
from simulator.attacks.catalogue import random_hex
from simulator.attacks.logins.browsing import (
    CLOSED_SETTINGS,
    Browser,
    LoginAttack,
    begin,
    come_back,
    denied,
    forged,
    log_in,
)
from simulator.attacks.logins.forging import PUBLIC_URL
from simulator.attacks.metrics import counted, metrics_are_public, read_figures
from simulator.attacks.parties import events_shown, set_up_party
from simulator.attacks.routes import (
    CONSENT_CREATE,
    METRICS,
    OF_OWNERS,
    OWNER_ID,
    POLICY_CREATE,
    POLICY_FETCH,
    REGISTER,
    SUMMARY,
    send,
)
from simulator.attacks.script import Claim, Outcome, Pause, PrerequisiteError, granted, refused
from simulator.contract.features import Feature
from simulator.contract.metrics import OTHER_FAILURES, SESSIONS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.script import Script, ScriptContext

FORBIDDEN, UNAUTHORIZED = HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED
DENIED = "owner_access_denied"
SAME_SITE = {"Origin": PUBLIC_URL}
LIFE_SECONDS = 60
"""How long a session lives of which its end is awaited: the least that the setting may be."""
PAST_SECONDS = 2
"""How long after its end a session is tried: more than clocks differ meanwhile, and it is told in whole seconds."""
AFTERWARDS_SECONDS = 3
"""How much longer an attempt takes than the life that it awaits, on a server that is busy."""
_JOB = {"cpu_cores": 1, "memory_gb": 1}
_OF_ACCOUNTS: tuple[tuple[Feature, str, dict[str, Any]], ...] = (
    (Feature.FORUM, "/forum/posts", {"title": "t", "body": "of another site"}),
    (Feature.JOBS, "/jobs", {"type": "t", "resources": _JOB, "duration_minutes": 1, "max_price_usdt": "0.000001"}),
)
"""What another site might have a browser do with an account, with a right body of each."""


class SessionAsOther(LoginAttack):
    """Somebody who has logged in, and calls as another owner."""

    name = "owner.session-as-other"
    shape = (
        "every route of owners and accounts under a session that names another owner, by token and by cookie, and in a "
        "body alone; as an agent and as a scraper; cookies of other sites; a login that is refused"
    )
    verdict = "403 forbidden; 403 cross-site request; 401 once it is logged out, and to a scraper"
    effect = "nothing is changed; events of each login, its refusal and its end; owner_access_denied for each try"
    anchor = "OWASP API1:2023; contract §2, Principals and accounts"
    severity = 9.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        victim = yield from set_up_party(context, addresses)
        before = len((yield from events_shown(context, victim.owner_id, addresses)))
        browser = Browser(addresses.take(4))
        subject = random_hex(context.rng, 12)
        own_id, session = yield from _log_in_for_a_token(context, browser, subject)
        other = refused(FORBIDDEN, "forbidden", "a session acts as its own owner only")
        cookie = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()), **SAME_SITE}
        tries: list[Outcome] = []
        for headers in (session, cookie):
            for route in OF_OWNERS:
                named = {**headers, OWNER_ID: victim.owner_id}
                tries.append((yield send(context, route, victim, other, client=addresses.take(), headers=named)))
        for named in ({}, {OWNER_ID: own_id}):
            right = granted(OK, "it is what its owner may see")
            yield send(context, SUMMARY, victim, right, client=addresses.take(), headers={**session, **named})
        yield from _audited(context, session, tries, addresses)
        for route in (REGISTER, POLICY_CREATE, CONSENT_CREATE):  # whose bodies name the other owner, and no header does
            for headers in (session, cookie):
                yield send(context, route, victim, other, client=addresses.take(), headers=headers)
        for account_route in account_routes(context):
            for headers in (session, cookie):
                named = {**headers, OWNER_ID: victim.owner_id}
                yield ask_as(context, account_route, named, other, addresses.take())
        yield from _as_no_owner(context, session, cookie, victim, addresses)
        made_events = (yield from events_shown(context, victim.owner_id, addresses))[before:]
        changes = [one for one in made_events if not str(one.get("type")).endswith("_denied")]
        message = f"another's session left {plural(len(changes), 'event')} of changes in an owner's audit"
        yield Claim("nothing-made", not changes, message, {"events": changes[:10]})
        yield from _from_another_site(context, browser, own_id, addresses)
        yield from _logged_out(context, browser, session, victim, addresses)
        yield from _logins_audited(context, subject, addresses)


class SessionExpired(LoginAttack):
    """A session that somebody kept for longer than it lives."""

    name = "owner.session-expired"
    shape = (
        f"a session of {LIFE_SECONDS} s, by its cookie and by a token that was made from it, before and past its end"
    )
    verdict = "200 until then; 401 unauthorized"
    effect = "nothing is shown or changed by it any more; sessions and refusals are counted"
    anchor = "ASVS 5.0 §7.3; contract: Logins"
    severity = 7.5
    takes_ns = (LIFE_SECONDS + PAST_SECONDS + AFTERWARDS_SECONDS) * SECOND_NS
    needs_settings = MappingProxyType({**CLOSED_SETTINGS, "SESSION_TTL_SECONDS": str(LIFE_SECONDS)})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        if (yield from too_late(context, self.takes_ns)):
            return
        before = yield from read_figures(context, addresses.take())
        browser = Browser(addresses.take(6))
        _, session = yield from _log_in_for_a_token(context, browser, random_hex(context.rng, 12))
        made_ns = context.now()
        figures = yield from read_figures(context, addresses.take())
        there = None if figures is None else figures.get(SESSIONS, 0.0)
        message = f"{SESSIONS} was {there} while somebody was logged in"
        yield Claim("sessions-counted", None if there is None else there > 0, message)
        yield Pause(made_ns + LIFE_SECONDS * SECOND_NS // 2)
        right = granted(OK, f"a session lives {LIFE_SECONDS} s")
        yield browser.send(context, "GET", "/auth/me", right)
        yield ask(context, "GET", "/auth/me", session, right, client=addresses.take())
        yield Pause(made_ns + (LIFE_SECONDS + PAST_SECONDS) * SECOND_NS)
        browser.client = addresses.take(3)
        dead = refused(UNAUTHORIZED, "unauthorized", f"it lived {LIFE_SECONDS} s, and they are over")
        tries = [
            browser.send(context, "GET", "/auth/me", dead),
            browser.send(context, "GET", "/workers/summary", dead),
            browser.send(context, "POST", "/auth/token", dead, SAME_SITE),
            ask(context, "GET", "/auth/me", session, dead, client=addresses.take()),
            ask(context, "GET", "/workers/summary", session, dead, client=addresses.take()),
        ]
        judged = 0
        for one in tries:
            outcome: Outcome = yield one
            judged += outcome.right
        after = yield from read_figures(context, addresses.take())
        yield counted("failures-counted", OTHER_FAILURES.format("session"), judged, before, after)


def _log_in_for_a_token(context: ScriptContext, browser: Browser, subject: str) -> Script[tuple[str, dict[str, str]]]:
    """Log in and make a token from that; return whose it is, and the headers by which it is shown.

    Raises NotTriedError and PrerequisiteError.
    """
    me = yield from log_in(context, browser, subject)
    own_id = me.get("owner_id")
    made = granted(HTTPStatus.CREATED, "it is its own session, and its own site")
    outcome = yield from require(browser.send(context, "POST", "/auth/token", made, SAME_SITE), "make a token")
    token = outcome.data().get("token")
    if not (isinstance(token, str) and isinstance(own_id, str)):
        raise PrerequisiteError("log in: no owner or no token was given")
    return own_id, {"Authorization": f"Bearer {token}"}


def _audited(
    context: ScriptContext, session: dict[str, str], tries: list[Outcome], addresses: Addresses
) -> Script[None]:
    """Claim that whose session it was sees what was tried with it: each that was judged, and others perhaps."""
    right = granted(OK, "it is its own")
    page: Outcome = yield ask(context, "GET", "/audit/events?limit=500", session, right, client=addresses.take())
    if page.right:
        events: Any = page.data().get("events")
        shown = events if isinstance(events, list) else []
        tried = sum(isinstance(one, dict) and one.get("type") == DENIED for one in shown)
        judged = sum(one.known for one in tries)
        message = f"of {len(tries)} tries to be another owner {judged} were judged, and its audit shows {tried}"
        yield Claim("audited", False if tried < judged else (True if tried >= len(tries) else None), message)


def _as_no_owner(
    context: ScriptContext, session: dict[str, str], cookie: dict[str, str], victim: Party, addresses: Addresses
) -> Script[None]:
    """Ask for what is agents' alone, and for the metrics, which are for those who run the server."""
    no_agent = refused(FORBIDDEN, "forbidden", "people are no agents")
    for headers in (session, cookie):
        for method, body in (("GET", None), ("PUT", {"description": "owned"})):
            if Feature.AGENTS not in context.lacks:
                yield ask(context, method, "/agents/me", headers, no_agent, body, client=addresses.take())
    if (yield from metrics_are_public(context, victim, addresses)):
        return
    no_scraper = refused(UNAUTHORIZED, "unauthorized", "it is no token of the owners")
    for headers in (session, cookie):
        yield send(context, METRICS, victim, no_scraper, client=addresses.take(), headers=headers)


def _logins_audited(context: ScriptContext, subject: str, addresses: Addresses) -> Script[None]:
    """Be refused once, log in again, and claim that one is shown all of one's logins, refusals and logouts."""
    browser = Browser(addresses.take(6))
    login = yield from begin(context, browser)
    forgery = forged(context, login, sub=subject, email_verified=False)
    refusal = yield from come_back(context, browser, login, forgery, denied("its address is not verified"))
    yield from log_in(context, browser, subject)
    right = granted(OK, "it is its own")
    page: Outcome = yield browser.send(context, "GET", "/audit/events?limit=500", right)
    if not (page.right and refusal.right):
        return
    shown = Counter(str(one.get("type")) for one in items_of(page, "events"))
    due = {"login_succeeded": 2, "login_denied": 1, "logout": 1}
    missing = {kind: count for kind, count in due.items() if shown[kind] < count}
    message = f"of two logins, a refusal and a logout its audit lacks {', '.join(missing) or 'nothing'}"
    yield Claim("logins-audited", not missing, message, {"shown": dict(shown)})


def _from_another_site(context: ScriptContext, browser: Browser, own_id: str, addresses: Addresses) -> Script[None]:
    """Change something by the cookie alone, as another site has a browser do, on every kind of route."""
    cross = refused(FORBIDDEN, "cross-site request", "another site had the browser send it")
    changes = {
        "/auth/token": None,
        "/auth/logout": None,
        "/machines/register": {"owner_id": own_id, "name": "of another site"},
        **{path: body for feature, path, body in _OF_ACCOUNTS if feature not in context.lacks},
    }
    for origin in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        browser.client = addresses.take(len(changes))
        for path, body in changes.items():
            yield browser.send(context, "POST", path, cross, origin, body)


def _logged_out(
    context: ScriptContext, browser: Browser, session: dict[str, str], victim: Party, addresses: Addresses
) -> Script[None]:
    """Log out, and go on with what the session was."""
    browser.client = addresses.take(4)
    kept = dict(browser.cookies)
    logout = browser.send(context, "POST", "/auth/logout", granted(OK, "it is its own"), SAME_SITE)
    yield from require(logout, "log out")
    browser.cookies = kept
    dead = refused(UNAUTHORIZED, "unauthorized", "it was logged out")
    yield browser.send(context, "GET", "/auth/me", dead)
    for path in ("/auth/me", "/workers/summary"):
        yield ask(context, "GET", path, session, dead, client=addresses.take())
    right = granted(OK, "nothing was changed")
    yield send(context, POLICY_FETCH, victim, right, client=addresses.take())
