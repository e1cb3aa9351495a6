"""What the pages for people show, to whom, and what they let a browser do."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from reference_server.core.identity.session_routes import begin_session
from reference_server.core.machines import register_machine
from reference_server.limits import LIST_LIMIT_MAX, PAGE_ALERTS_MAX, PAGE_ROWS, PAGE_WORKERS_MAX
from reference_server.operations.outcomes import Admitted
from reference_server.operations.people.pages import EVENT_TYPES
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Request
from tests.logins.browsing import PROVIDERS, PUBLIC_URL, Browser, Site
from tests.people.furnished import NAMES, Owner, furnish, signed_in
from tests.people.reading import PAGES, look

if TYPE_CHECKING:
    from tests.people.reading import Page

ID = re.compile(r"\b(?:wrk|pol|con|job|wdr|txn|usr)_[0-9a-f]{16}\b")
NAMED = {"google": "Google", "apple": "Apple", "github": "GitHub"}


async def owner_id_of(browser: Browser) -> str:
    return str((await browser.ask("GET", "/auth/me")).data["owner_id"])


async def furnished(browser: Browser) -> str:
    """Make a bit of everything for who is signed in, and return their id."""
    owner_id = await owner_id_of(browser)
    furnish(browser.site.api, owner_id, browser.site.clock.now())
    return owner_id


# -- signed out


@pytest.mark.parametrize("names", [names for size in range(4) for names in combinations(NAMED, size)])
async def test_who_is_not_signed_in_is_offered_the_providers_that_there_are(names: tuple[str, ...]) -> None:
    absent: dict[str, Any] = {f"{name}_client_id": "" for name in NAMED if name not in names}
    page = await look(Browser(Site(**absent)))
    assert page.status == 200
    links = [link for link in page.links() if "/auth/" in link]
    assert links == [f"{PUBLIC_URL}/api/v1/auth/{name}/login?return_to=%2F" for name in names]
    offered = {name for name, shown in NAMED.items() if f"Continue with {shown}" in page.text}
    assert offered == {*names}
    assert ("No way to sign in is set up here" in page.text) is not bool(names)
    if not names:
        variables = {name.upper() for name in PROVIDERS}
        assert variables <= {*re.findall("[A-Z_]+", page.text)}


@pytest.mark.parametrize("path", PAGES)
async def test_signing_in_leads_back_to_the_page_that_was_asked_for(site: Site, path: str) -> None:
    browser = Browser(site)
    page = await look(browser, path)
    assert page.status == (200 if path == "/" else 401)
    assert page.forms() == []
    (link,) = [link for link in page.links() if "/google/" in link]
    assert parse_qs(urlsplit(link).query) == {"return_to": [path]}
    answer = await browser.ask("GET", "/auth/google/login", query=urlsplit(link).query)
    assert answer.status == 302


async def test_who_shows_a_session_that_is_none_is_told_rid_of_it_and_counted(site: Site) -> None:
    browser = Browser(site)
    browser.cookies["__Host-hf_session"] = f"hfs_{'0' * 64}"
    page = await look(browser, "/my/jobs")
    assert page.status == 401
    assert "not signed in any more" in page.text
    assert browser.cookies == {}
    assert 'hatchfarm_auth_failures_total{principal="session"} 1.0' in site.metrics()
    again = await look(browser, "/my/jobs")
    assert "not signed in any more" not in again.text
    assert 'hatchfarm_auth_failures_total{principal="session"} 1.0' in site.metrics()


async def test_no_other_credential_opens_a_page(site: Site, ada: Browser) -> None:
    token = (await ada.ask("POST", "/auth/token", (("origin", PUBLIC_URL),))).data["token"]
    for value in (token, site.api.settings.api_token):
        headers = (("authorization", f"Bearer {value}"), ("x-owner-id", await owner_id_of(ada)))
        assert (await site.ask("GET", "/my/wallet", headers, prefix="")).status == 401


async def test_who_looks_at_a_page_has_not_proven_who_they_are(site: Site, ada: Browser) -> None:
    """Pages are for strangers too, so what they are answered keeps no connection from making room for others."""
    for cookie in (f"__Host-hf_session={ada.cookies['__Host-hf_session']}", f"__Host-hf_session=hfs_{'0' * 64}", "a=b"):
        admitted = site.api.admit(Request("GET", "/", headers=(("cookie", cookie),)), site.clock.now())
        assert isinstance(admitted, Admitted)
        assert not admitted.proves


async def test_pages_take_tokens_of_the_rate_limit_like_anything_else() -> None:
    site = Site(rate_limit_burst=2, rate_limit_refill_per_second=0.001)
    browser = Browser(site)
    assert [(await look(browser, path)).status for path in ("/", "/my/key")] == [200, 401]
    assert (await browser.ask("GET", "/", prefix="")).error == (429, "rate limit exceeded")


# -- every page


async def test_every_page_loads_nothing_runs_nothing_and_is_kept_nowhere(ada: Browser) -> None:
    await furnished(ada)
    pages = [await look(who, path) for who in (ada, Browser(ada.site)) for path in PAGES]
    pages.append(await look(ada, "/my/audit", "offset=-1"))
    for page in pages:
        (style,) = page.styles
        digest = base64.b64encode(sha256(style.encode()).digest()).decode()
        policy = dict(one.strip().split(" ", 1) for one in page.headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "img-src": "data:",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert not {tag for tag, _ in page.tags} & {"script", "iframe", "img", "object", "embed", "base"}
        for tag, attrs in page.tags:
            assert not [name for name in attrs if name == "style" or name.startswith("on")], (tag, attrs)
            assert "src" not in attrs
            if tag == "link":
                assert attrs["href"].startswith("data:")
        assert ("name", "viewport") in {pair for tag, attrs in page.tags if tag == "meta" for pair in attrs.items()}


@pytest.mark.parametrize("path", ["/my/fleet", "/my/jobs", "/my/wallet", "/my/audit"])
async def test_what_the_api_refuses_is_shown_as_a_page(ada: Browser, path: str) -> None:
    page = await look(ada, path, "offset=-1")
    assert (page.status, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "invalid offset" in page.text
    assert ("post", "/my/sign-out") in page.forms()


@pytest.mark.parametrize(("path", "query"), [("/my/jobs", "state=lost"), ("/my/wallet", "asset=ETH")])
async def test_a_filter_of_nothing_is_refused_in_the_words_of_the_api(ada: Browser, path: str, query: str) -> None:
    page = await look(ada, path, query)
    name = query.partition("=")[0]
    api = await ada.ask("GET", {"asset": "/wallet/transactions", "state": "/jobs"}[name], query=query)
    assert (page.status, True) == (api.status, api.error[1] in page.text)


async def test_a_provider_of_a_state_file_from_elsewhere_is_shown_as_it_is_named_there(site: Site) -> None:
    now, browser = site.clock.now(), Browser(site)
    expires_ns = now.wall_ns + SECOND_NS
    token = begin_session(site.api.state, now, "", "usr_ada", "<okta>", "ada@example.com", expires_ns)
    browser.cookies["__Host-hf_session"] = token
    assert "signed in with <okta> until" in (await look(browser)).text


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path in ("/my/fleet", "/my/jobs", "/my/wallet", "/my/audit") for name in ("", "offset", "state")]
    + [("/my/audit", "type"), ("/my/wallet", "asset")],
)
async def test_a_query_that_is_no_text_is_refused(ada: Browser, path: str, name: str) -> None:
    for query in (f"{name}=\ud800", f"{name}=all\udcff"):
        page = await look(ada, path, query)
        assert (page.status, "invalid request" in page.text) == (400, True)
    assert (await look(ada, path, f"{name}=%ED%A0%80")).status in {200, 400}


# -- what they show


async def test_an_empty_account_is_told_what_to_do(ada: Browser) -> None:
    owner_id = await owner_id_of(ada)
    for path in ("/", "/my/fleet"):
        page = await look(ada, path)
        assert f"curl {PUBLIC_URL}/api/v1/machines/register" in page.text
        assert f'"owner_id": "{owner_id}"' in page.text
    assert f"curl {PUBLIC_URL}/api/v1/jobs" in (await look(ada, "/my/jobs")).text
    assert f"curl {PUBLIC_URL}/api/v1/wallet/withdraw" in (await look(ada, "/my/wallet")).text
    assert "Login succeeded" in (await look(ada, "/my/audit")).text
    assert "Make a key" in (await look(ada, "/my/key")).text


async def test_alerts_name_who_is_silent_and_who_was_refused(ada: Browser) -> None:
    assert "Nothing to watch yet" in (await look(ada)).text
    await furnished(ada)
    page = await look(ada)
    assert "1 worker fell silent, 1 worker never heard from" in page.text
    assert "3 refused attempts in the last 5 min" in page.text
    assert page.text.count("Invalid machine token") == 3
    assert NAMES[2] in page.text
    assert page.source.count('class="note bad"') == 1


async def test_the_silent_are_named_wherever_they_stand_among_as_many_as_are_looked_through(ada: Browser) -> None:
    api, now, owner_id = ada.site.api, ada.site.clock.now(), await owner_id_of(ada)
    ids = [f"wrk_{number:016x}" for number in range(PAGE_WORKERS_MAX + 1)]
    heard = PAGE_WORKERS_MAX - PAGE_ALERTS_MAX
    for worker_id in ids:
        register_machine(api.state, now, worker_id, owner_id, worker_id, "0" * 48, f"cert of {worker_id}", 0, "")
    for worker_id in ids[:heard]:
        api.state.fleet.hear(api.state.workers[worker_id], now.monotonic_ns)
    named = re.findall("<code>(wrk_[0-9a-f]{16})</code>: never", (await look(ada)).source)
    assert named == ids[heard:PAGE_WORKERS_MAX]
    for worker_id in named:
        api.state.fleet.hear(api.state.workers[worker_id], now.monotonic_ns)
    page = await look(ada)
    assert "1 worker never heard from" in page.text
    assert ID.search(page.source.partition('id="fleet"')[0].partition('id="alerts"')[2]) is None


async def test_refusals_are_an_alert_like_any_others_from_the_threshold_on() -> None:
    site = Site(auth_failure_threshold=3)
    browser, owner, now = Browser(site), Owner(site.api, "usr_ada"), site.clock.now()
    browser.cookies["__Host-hf_session"] = signed_in(site.api, "usr_ada", now)
    machine, policy_id = owner.enrol(now, "fresh")
    assert owner.beat(now, machine, policy_id, "one") == 200
    for number in range(3):
        kinds = re.findall('class="note (good|warn|bad)"', (await look(browser)).source)
        assert kinds == (["warn"] if number else ["good"])
        assert owner.beat(now, machine, policy_id, f"forged-{number}", token="0" * 48) == 401
    assert re.findall('class="note (good|warn|bad)"', (await look(browser)).source) == ["bad"]


async def test_names_are_shown_as_they_are_and_do_nothing(ada: Browser) -> None:
    await furnished(ada)
    fleet = await look(ada, "/my/fleet")
    workers = sorted(row[0] for row in fleet.rows[1:])
    shown = ["\\u202egnp.exe\\u2069 עברית", NAMES[0], NAMES[2]]
    assert [re.sub("wrk_[0-9a-f]{16}$", "", worker) for worker in workers] == sorted(shown)
    for path in PAGES:
        page = await look(ada, path)
        assert "\u202e" not in page.source
        assert "\u2069" not in page.source
        assert "<b>" not in page.source
        assert "<4090>" not in page.source
    assert fleet.source.count("<bdi>") >= 3


async def test_each_page_shows_what_the_api_does(ada: Browser) -> None:
    await furnished(ada)
    fleet = (await ada.ask("GET", "/workers/statuses")).data["workers"]
    rows = (await look(ada, "/my/fleet")).rows[1:]
    assert [worker["worker_id"] in row[0] for worker, row in zip(fleet, rows, strict=True)] == [True] * 3
    assert sorted(row[1] for row in rows) == ["Fresh", "Never heard from", "Stale"]
    jobs = (await ada.ask("GET", "/jobs")).data["jobs"]
    rows = (await look(ada, "/my/jobs")).rows[1:]
    assert [(row[0], row[1].lower()) for row in rows] == [(job["type"] + job["id"], job["state"]) for job in jobs]
    entries = (await ada.ask("GET", "/wallet/transactions")).data["transactions"]
    balances = (await ada.ask("GET", "/wallet/balance")).data["balances"]
    wallet = await look(ada, "/my/wallet")
    assert [row[1:] for row in wallet.rows[1:3]] == [
        [one["available"], one["held"], one["pending"]] for one in balances
    ]
    assert [row[1] for row in wallet.rows[-len(entries) :]] == [f"{one['amount']} {one['asset']}" for one in entries]
    (withdrawal,) = {one["reference"] for one in entries if one["type"] == "withdrawal"}
    assert [row[:3] for row in wallet.rows if row[0] == withdrawal] == [[withdrawal, "Pending", "1.500000 USDT-TRC20"]]


async def test_the_wallet_says_of_what_it_looks_for_withdrawals_among(ada: Browser) -> None:
    """Nobody is told that nothing was withdrawn where it only was before what is looked through."""
    owner_id = await furnished(ada)
    owner, now = Owner(ada.site.api, owner_id), ada.site.clock.now()
    (withdrawal_id,) = ada.site.api.state.market.withdrawals.all
    assert "The newest first; times are UTC." in (await look(ada, "/my/wallet")).text

    def post_jobs(transactions: int) -> None:
        job = {"type": "x", "resources": {"cpu_cores": 1, "memory_gb": 1}, "duration_minutes": 60}
        while owner.ask(now, "GET", "/wallet/transactions")["total"] < transactions:
            posted = owner.ask(now, "POST", "/jobs", {**job, "max_price_usdt": "1.00"})
            owner.ask(now, "DELETE", f"/jobs/{posted['job']['id']}")

    post_jobs(LIST_LIMIT_MAX - 10)
    page = await look(ada, "/my/wallet")
    assert withdrawal_id in page.text
    assert "among your newest" not in page.text
    post_jobs(2 * LIST_LIMIT_MAX)
    page = await look(ada, "/my/wallet")
    assert "None that is still kept is among your newest 500 transactions." in page.text
    assert "Nothing was withdrawn" not in page.text


async def test_a_withdrawal_that_is_kept_no_more_was_one_all_the_same(ada: Browser) -> None:
    await furnished(ada)
    ada.site.api.state.market.withdrawals.all.clear()
    page = await look(ada, "/my/wallet")
    assert "None that is still kept is among your newest" in page.text
    assert "Nothing was withdrawn" not in page.text


async def test_the_audit_shows_the_newest_first_and_every_event_once(ada: Browser) -> None:
    owner_id = await furnished(ada)
    furnisher = furnish(ada.site.api, owner_id, ada.site.clock.now())
    now = ada.site.clock.now()
    for number in range(2 * PAGE_ROWS):
        furnisher.ask(now, "POST", "/machines/register", {"owner_id": owner_id, "name": f"m{number}"})
    events = (await ada.ask("GET", "/audit/events", query="limit=500")).data["events"]
    shown = await _all_rows(ada, "/my/audit")
    assert len(events) > 2 * PAGE_ROWS
    assert [row[3] for row in shown] == [event["object_id"] or "\u2013" for event in reversed(events)]
    chosen = [event for event in reversed(events) if event["type"] == "machine_registered"]
    rows = await _all_rows(ada, "/my/audit", "type=machine_registered")
    assert [row[3] for row in rows] == [event["object_id"] for event in chosen]
    assert {event["type"] for event in events} <= {*EVENT_TYPES}
    assert "There is no event of this type" in (await look(ada, "/my/audit", "type=%3Cscript%3E")).text


async def test_a_long_list_is_paged(ada: Browser) -> None:
    owner_id = await furnished(ada)
    furnisher = furnish(ada.site.api, owner_id, ada.site.clock.now())
    now = ada.site.clock.now()
    for number in range(PAGE_ROWS):
        furnisher.ask(now, "POST", "/machines/register", {"owner_id": owner_id, "name": f"m{number}"})
    rows = await _all_rows(ada, "/my/fleet")
    assert len({row[0] for row in rows}) == len(rows) == PAGE_ROWS + 6
    beyond = await look(ada, "/my/fleet", "offset=1000")
    assert "Nothing here" in beyond.text
    assert "/my/fleet?offset=950" in beyond.links()


async def _all_rows(browser: Browser, path: str, query: str = "") -> list[list[str]]:
    """Follow the links to the next pages of a list, from the first on."""
    rows: list[list[str]] = []
    while True:
        page = await look(browser, path, query)
        rows += page.rows[1:]
        following = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("rel") == "next"]
        if not following:
            return rows
        path, _, query = following[0].partition("?")


async def test_nothing_of_another_owner_is_shown(ada: Browser, ben: Browser) -> None:
    mine, theirs = await furnished(ada), await furnished(ben)
    assert mine != theirs
    seen = {owner: await _everything(browser) for owner, browser in ((mine, ada), (theirs, ben))}
    ids = {owner: {*ID.findall(text)} for owner, text in seen.items()}
    assert ids[mine] & ids[theirs] == set()
    assert all(
        {one.partition("_")[0] for one in found} == {"wrk", "pol", "con", "job", "wdr", "usr"} for found in ids.values()
    )
    for owner, other, email in ((mine, theirs, "ben@"), (theirs, mine, "ada@")):
        assert other not in seen[owner]
        assert email not in seen[owner]


async def _everything(browser: Browser) -> str:
    pages: list[Page] = [await look(browser, path) for path in PAGES]
    return "".join(page.source for page in pages)
