"""The key that a person makes and rotates on the page: shown once, one at a time, dead at once, and nobody else's."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.core.identity.session_routes import log_out
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.limits import BROWSERS_A_PERSON_MAX, NEW_KEY_LIFE_SECONDS
from reference_server.settings import Settings
from reference_server.wire.replies import UNAUTHORIZED
from tests.core.server_under_test import with_room
from tests.logins.browsing import PUBLIC_URL, SAME_ORIGIN, Browser, Site
from tests.logins.conftest import served
from tests.people.reading import PAGES, look, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.operations.api import Api
    from reference_server.wire.values import Headers, Reply

KEY = "/my/key"
NEW, SESSION = "__Host-hf_new_key", "__Host-hf_session"


async def works(site: Site, key: str) -> bool:
    """Return whether a key acts as an owner."""
    return (await site.ask("GET", "/workers/summary", (("authorization", f"Bearer {key}"),))).status == 200


async def test_a_key_is_shown_once_and_acts_as_who_made_it(site: Site, ada: Browser) -> None:
    assert (await look(ada, KEY)).secret() == ""
    page = await post(ada, KEY)
    key = page.secret()
    assert re.fullmatch("hfs_[0-9a-f]{64}", key)
    assert page.source.count(key) == 1
    assert await works(site, key)
    assert NEW not in ada.cookies
    for path in (*PAGES, KEY):
        assert key not in (await look(ada, path)).source
    bearer = (("authorization", f"Bearer {key}"),)
    mine = (await ada.ask("GET", "/auth/me")).data
    assert (await site.ask("GET", "/auth/me", bearer)).data == mine
    assert key.encode() not in b"".join(snapshot(site.api.state, site.clock.now(), "s"))


async def test_the_commands_that_pages_show_work_with_the_key(site: Site, ada: Browser) -> None:
    commands = [(await look(ada, path)).source for path in ("/my/fleet", "/my/jobs", KEY)]
    page = await post(ada, KEY)
    bearer = (("authorization", f"Bearer {page.secret()}"),)
    shown = re.findall(r"<pre [^>]*>(?:export .*\n)?(curl .*?)</pre>", "".join([*commands, page.source]), re.DOTALL)
    asked = []
    for command in map(html.unescape, shown):
        url, _, rest = command.removeprefix("curl ").partition(" ")
        path = url.removeprefix(f"{PUBLIC_URL}/api/v1")
        body = rest.partition("-d '")[2].rstrip("'")
        answer = await site.ask("POST" if body else "GET", path, bearer, body=body.encode())
        asked.append((path, answer.status))
    agent = "/agents/register"
    assert asked[:3] == [("/machines/register", 201), ("/jobs", 201), (agent, 201)]
    assert asked[3:] == [("/workers/summary", 200), (agent, 409)]  # the same page again


async def test_the_key_travels_in_a_cookie_that_no_script_reads_and_that_is_soon_gone(ada: Browser) -> None:
    answer = await ada.ask("POST", KEY, SAME_ORIGIN, prefix="")
    assert (answer.status, answer.headers["location"], answer.headers["cache-control"]) == (303, KEY, "no-store")
    (cookie,) = answer.cookies
    pair, *attributes = cookie.split("; ")
    assert re.fullmatch(f"{NEW}=hfs_[0-9a-f]{{64}}", pair)
    assert {*attributes} == {"Path=/", f"Max-Age={NEW_KEY_LIFE_SECONDS}", "HttpOnly", "SameSite=Lax", "Secure"}


async def test_replacing_the_key_kills_the_one_before_at_once(site: Site, ada: Browser) -> None:
    keys = []
    for _ in range(3):
        page = await post(ada, KEY)
        keys.append(page.secret())
        assert len(page.rows) == 2
        assert "Replace the key" in page.text
        assert [await works(site, key) for key in keys] == [False] * (len(keys) - 1) + [True]
    assert (await look(ada)).status == 200
    assert "hatchfarm_sessions 2.0" in site.metrics()


async def test_a_key_ends_those_that_programs_made_of_this_sign_in_and_no_other(site: Site, ada: Browser) -> None:
    elsewhere = Browser(site)
    await elsewhere.log_in("google", "ada", "ada@example.com")
    other = (await post(elsewhere, KEY)).secret()
    made = [(await ada.ask("POST", "/auth/token", SAME_ORIGIN)).data["token"] for _ in range(2)]
    assert len((await look(ada, KEY)).rows) == 3
    key = (await post(ada, KEY)).secret()
    assert [await works(site, one) for one in (*made, key, other)] == [False, False, True, True]


async def test_signing_out_ends_the_sign_in_and_its_key(site: Site, ada: Browser) -> None:
    key = (await post(ada, KEY)).secret()
    session = ada.cookies[SESSION]
    page = await post(ada, "/my/sign-out")
    assert "Continue with Google" in page.text
    assert ada.cookies == {}
    ada.cookies[SESSION] = session
    assert "not signed in any more" in (await look(ada, KEY)).text
    assert not await works(site, key)
    events = await site.audit(await Browser(site).log_in("google", "ada"))
    assert [event["type"] for event in events] == ["login_succeeded", "logout", "login_succeeded"]
    assert (await post(Browser(site), "/my/sign-out")).status == 200


@pytest.mark.parametrize("path", [KEY, "/my/sign-out"])
@pytest.mark.parametrize(
    "headers",
    [(), (("origin", "https://evil.test"),), (("origin", "null"),), (("sec-fetch-site", "same-site"),)],
    ids=["who knows", "another", "hidden", "a sister"],
)
async def test_no_other_site_makes_a_browser_do_it(site: Site, ada: Browser, path: str, headers: Headers) -> None:
    key = (await post(ada, KEY)).secret()
    answer = await ada.ask("POST", path, headers, prefix="")
    assert answer.error == (403, "cross-site request")
    assert await works(site, key)
    assert (await look(ada)).status == 200


async def test_a_key_that_somebody_put_there_is_not_shown(ada: Browser, ben: Browser) -> None:
    """Whoever used it would work for who put it there."""
    theirs = (await post(ben, KEY)).secret()
    elsewhere = Browser(ada.site)
    await elsewhere.log_in("google", "ada", "ada@example.com")
    another = (await post(elsewhere, KEY)).secret()
    for planted in (theirs, another, ada.cookies[SESSION], "<b>", "hfs_"):
        ada.cookies[NEW] = planted
        page = await look(ada, KEY)
        assert page.secret() == ""
        assert planted not in page.source.replace("hfs_…", "").replace("<bdi>", "")
        assert NEW not in ada.cookies


async def test_a_key_puts_no_browser_out_and_is_shown(site: Site, ada: Browser) -> None:
    """From the oldest of as many browsers as there may be, which would be the first to end."""
    others = [Browser(site) for _ in range(BROWSERS_A_PERSON_MAX - 1)]
    for browser in others:
        await browser.log_in("google", "ada", "ada@example.com")
    key = (await post(ada, KEY)).secret()
    assert await works(site, key)
    assert [(await look(browser, KEY)).status for browser in (ada, *others)] == [200] * BROWSERS_A_PERSON_MAX


@pytest.mark.parametrize("path", ["/my/fleet", "/my/wallet", KEY])
async def test_a_key_in_the_place_of_the_browsers_session_opens_no_page_and_replaces_no_key(
    site: Site, ada: Browser, path: str
) -> None:
    """Nor does it ask anything else by a cookie: whoever put it there would have others work for them."""
    key = (await post(ada, KEY)).secret()
    program = Browser(site)
    program.cookies[SESSION] = key
    assert (await look(program, path)).status == 401
    program.cookies[SESSION] = key
    assert (await post(program, KEY)).status == 401
    program.cookies[SESSION] = key
    assert (await program.ask("GET", "/workers/summary")).error == (401, "unauthorized")
    assert await works(site, key)
    assert "hatchfarm_sessions 2.0" in site.metrics()


async def test_who_is_refused_and_signed_out_by_one_request_is_shown_how_to_sign_in(
    ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_token(state: State, call: Call[bytes]) -> Reply:
        log_out(state, call)
        return UNAUTHORIZED

    monkeypatch.setattr("reference_server.core.identity.session_routes.replace_token", replace_token)
    page = await post(ada, KEY)
    assert (page.status, "Continue with Google" in page.text) == (401, True)
    assert SESSION not in ada.cookies


async def test_where_there_is_no_room_for_a_key_the_one_before_stays(site: Site, ada: Browser) -> None:
    key = (await post(ada, KEY)).secret()
    site.api.state.tables = with_room(site.api.state.tables, sessions=2)
    page = await post(ada, KEY)
    assert (page.status, "capacity reached" in page.text) == (503, True)
    assert await works(site, key)


async def test_who_is_not_signed_in_makes_no_key(site: Site) -> None:
    page = await post(Browser(site), KEY)
    assert (page.status, page.forms()) == (401, [])
    assert "hatchfarm_sessions 0.0" in site.metrics()


async def test_what_was_replaced_stays_dead_after_a_restart(site: Site, ada: Browser) -> None:
    old, new = (await post(ada, KEY)).secret(), (await post(ada, KEY)).secret()
    content = b"".join(snapshot(site.api.state, site.clock.now(), "s"))
    state = site.api.empty_state()
    recover(state, MemoryJournal(Storage(content, {"s": []})), site.clock.now())
    site.api.state = state
    assert [await works(site, key) for key in (old, new)] == [False, True]
    assert (await post(ada, KEY)).secret()
    assert [await works(site, key) for key in (old, new)] == [False, False]


async def test_a_key_is_replaced_at_every_instance_at_once() -> None:
    storage = SharedStorage(Settings())

    def at(name: str) -> Callable[[Api], None]:
        return lambda api: api.share_state(MemorySharedJournal(storage, name))

    one, other = Site(at("1")), Site(at("2"))
    other.api.state.entropy = SeededEntropy("other")
    async with served(one, other):
        browser = Browser(one)
        await browser.log_in()
        old = (await post(browser, KEY)).secret()
        browser.site = other
        answer = await browser.ask("POST", KEY, SAME_ORIGIN, prefix="")
        browser.site = one
        new = (await look(browser, answer.headers["location"])).secret()
        for site in (one, other):
            assert [await works(site, key) for key in (old, new)] == [False, True]
        assert (await look(browser)).status == 200
