"""Sessions: what they may do, for how long, how they end, and how they are kept (contract: Logins, §2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.core.identity.sessions import digest_of
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.identity_ports import Person
from reference_server.limits import BROWSERS_A_PERSON_MAX, TOKENS_A_PERSON_MAX
from reference_server.settings import Settings
from reference_server.wire.own_sections import OWN, check_state_file
from reference_server.wire.state_file import StateFile
from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from tests.core.server_under_test import with_room
from tests.http.twins import API_TOKEN
from tests.logins.browsing import PUBLIC_URL, SAME_ORIGIN, Browser, Site
from tests.logins.conftest import served

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from reference_server.operations.api import Api
    from reference_server.wire.values import Headers

UNAUTHORIZED = (401, "unauthorized")
COOKIE = "__Host-hf_session"
MACHINE = json.dumps({"owner_id": "OWNER", "name": "m"}).encode()


def bearer(token: str, *more: tuple[str, str]) -> Headers:
    return (("authorization", f"Bearer {token}"), *more)


async def token_of(browser: Browser) -> str:
    return str((await browser.ask("POST", "/auth/token", SAME_ORIGIN)).data["token"])


async def test_a_session_acts_as_its_own_owner_by_cookie_or_by_token(site: Site, browser: Browser) -> None:
    owner_id = await browser.log_in()
    body = MACHINE.replace(b"OWNER", owner_id.encode())
    answer = await browser.ask("POST", "/machines/register", SAME_ORIGIN, body=body)
    assert answer.data["machine"]["owner_id"] == owner_id
    token = await token_of(browser)
    assert len(token) == 68
    for more in ((), (("x-owner-id", owner_id),)):
        assert (await site.ask("GET", "/workers/summary", bearer(token, *more))).data["total"] == 1
    assert (await site.ask("GET", "/auth/me", bearer(token))).data["owner_id"] == owner_id


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/workers/summary"), ("POST", "/machines/register"), ("GET", "/auth/me")]
)
async def test_a_session_that_names_another_owner_is_refused(site: Site, method: str, path: str) -> None:
    """Catalogue: owner.session-as-other. Audited for both, as any owner's refused action."""
    ada, ben = Browser(site), Browser(site)
    mine, theirs = await ada.log_in("google", "s1"), await ben.log_in("google", "s2")
    token = await token_of(ada)
    answer = await site.ask(method, path, bearer(token, ("x-owner-id", theirs)), body=MACHINE)
    assert answer.error == (403, "forbidden")
    for owner_id in (mine, theirs):
        refused = [event for event in await site.audit(owner_id) if event["type"] == "owner_access_denied"]
        assert [event["metadata"] for event in refused] == [
            {"reason": "session_of_another_owner", "actor_owner_id": mine}
        ]


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("PUT", b'{"name":"Ada"}')])
async def test_a_session_is_no_agent(site: Site, browser: Browser, method: str, body: bytes) -> None:
    """As owners with the dev token are none; what is no session is not told so."""
    await browser.log_in()
    token = await token_of(browser)
    for answer in (
        await site.ask(method, "/agents/me", bearer(token), body=body),
        await browser.ask(method, "/agents/me", SAME_ORIGIN, body=body),
    ):
        assert answer.error == (403, "forbidden")
    assert (await site.ask(method, "/agents/me", bearer("hfs_" + 64 * "0"), body=body)).error == UNAUTHORIZED
    assert (await site.ask(method, "/agents/me", (), body=body)).error == UNAUTHORIZED


async def test_a_session_registers_nothing_for_another_owner(browser: Browser) -> None:
    await browser.log_in()
    answer = await browser.ask("POST", "/machines/register", SAME_ORIGIN, body=MACHINE)
    assert answer.error == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        bearer("hfs_" + "0" * 64),
        bearer("hfs_"),
        bearer("nothing-known"),
        bearer("hfs_\xff"),
        (("cookie", f"{COOKIE}=hfs_{'0' * 64}"),),
    ],
    ids=range(5),
)
async def test_what_is_no_session_is_refused_alike_and_counted(site: Site, headers: Headers) -> None:
    for path in ("/auth/me", "/workers/summary"):
        assert (await site.ask("GET", path, headers)).error == UNAUTHORIZED
    assert 'hatchfarm_auth_failures_total{principal="session"} 2.0' in site.metrics()
    assert 'hatchfarm_auth_failures_total{principal="agent"} 0.0' in site.metrics()


async def test_who_shows_nothing_is_refused_and_not_counted(site: Site) -> None:
    for headers in ((), (("cookie", "other=1"),)):
        for method, path in (("GET", "/auth/me"), ("POST", "/auth/logout"), ("POST", "/auth/token")):
            assert (await site.ask(method, path, headers)).error == UNAUTHORIZED
    assert (await site.ask("GET", "/auth/me", bearer(API_TOKEN))).error == UNAUTHORIZED
    assert 'principal="session"} 1.0' in site.metrics()


async def test_a_session_lives_as_long_as_is_set(mock_clock: trio.testing.MockClock) -> None:
    site = Site(session_ttl_seconds=60)
    browser = Browser(site)
    async with served(site):
        await browser.log_in()
        answers = []
        for _ in range(2):
            mock_clock.jump(30)
            answers.append((await browser.ask("GET", "/auth/me")).status)
    assert answers == [200, 401]


async def test_a_token_lives_no_longer_than_the_session_it_came_of(
    mock_clock: trio.testing.MockClock, site: Site, browser: Browser
) -> None:
    await browser.log_in()
    until = (await browser.ask("GET", "/auth/me")).data["expires_at"]
    assert parse_timestamp(until) == site.clock.now().wall_ns + 43_200 * SECOND_NS
    mock_clock.jump(43_199)
    answer = await browser.ask("POST", "/auth/token", SAME_ORIGIN)
    assert (answer.status, answer.data["expires_at"]) == (201, until)
    mock_clock.jump(1)
    assert (await site.ask("GET", "/auth/me", bearer(answer.data["token"]))).error == UNAUTHORIZED
    assert (await browser.ask("GET", "/auth/me")).error == UNAUTHORIZED
    assert "hatchfarm_sessions 2.0" in site.metrics()
    await Browser(site).log_in()
    assert "hatchfarm_sessions 1.0" in site.metrics()


async def test_logging_out_ends_the_login_and_all_tokens_of_it_and_nothing_else(site: Site, browser: Browser) -> None:
    other = Browser(site)
    owner_id = await browser.log_in()
    assert await other.log_in() == owner_id
    token, elsewhere = await token_of(browser), await token_of(other)
    stolen = dict(browser.cookies)
    assert (await site.ask("POST", "/auth/logout", bearer(token))).data == {"owner_id": owner_id}
    browser.cookies = stolen
    assert (await browser.ask("GET", "/auth/me")).error == UNAUTHORIZED
    for method, path in (("POST", "/auth/logout"), ("POST", "/auth/token")):
        assert (await site.ask(method, path, bearer(token))).error == UNAUTHORIZED
    assert (await site.ask("GET", "/auth/me", bearer(elsewhere))).status == 200
    assert (await other.ask("POST", "/auth/logout", SAME_ORIGIN)).cookies == (
        f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure",
    )
    assert other.cookies == {}
    kinds = [event["type"] for event in await site.audit(owner_id)]
    assert kinds == ["login_succeeded"] * 2 + ["logout"] * 2


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ((), False),
        ((("origin", "https://evil.example"),), False),
        ((("origin", "null"),), False),
        ((("origin", "http://hatchfarm.test"),), False),
        ((("origin", f"{PUBLIC_URL}:8443"),), False),
        ((("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")), False),
        ((("sec-fetch-site", "same-site"),), False),
        ((("sec-fetch-site", "cross-site"),), False),
        ((("sec-fetch-site", "none"),), False),
        ((("sec-fetch-site", "same-origin"),), True),
        ((("origin", PUBLIC_URL),), True),
    ],
    ids=range(11),
)
async def test_a_cookie_changes_nothing_for_another_site(browser: Browser, headers: Headers, *, right: bool) -> None:
    await browser.log_in()
    assert (await browser.ask("GET", "/auth/me", headers)).status == 200
    for path in ("/auth/token", "/machines/register"):
        answer = await browser.ask("POST", path, headers, body=MACHINE)
        assert (answer.error == (403, "cross-site request")) is not right
    token = await token_of(browser)
    assert (await browser.site.ask("POST", "/auth/token", (*bearer(token), *headers))).status == 201


async def test_a_bearer_token_counts_and_the_cookie_beside_it_does_not(browser: Browser) -> None:
    await browser.log_in()
    assert (await browser.ask("GET", "/auth/me", bearer("hfs_" + "0" * 64))).error == UNAUTHORIZED
    answer = await browser.ask("GET", "/workers/summary", bearer(API_TOKEN, ("x-owner-id", "ada")))
    assert answer.data["total"] == 0


async def test_cookies_may_come_in_several_headers_as_http_2_has_it(site: Site, browser: Browser) -> None:
    await browser.log_in()
    crumbs = (("cookie", "a=1"), ("cookie", f"{COOKIE}={browser.cookies[COOKIE]}"), ("cookie", "b=2"))
    assert (await site.ask("GET", "/auth/me", crumbs)).status == 200
    twice = (*crumbs, ("cookie", f"{COOKIE}=other"))
    assert (await site.ask("GET", "/auth/me", twice)).error == UNAUTHORIZED


async def test_one_person_has_so_many_sessions_and_the_oldest_end(site: Site) -> None:
    browsers = [Browser(site) for _ in range(BROWSERS_A_PERSON_MAX + 2)]
    for browser in browsers:
        await browser.log_in()
    shown = [(await browser.ask("GET", "/auth/me")).status for browser in browsers]
    assert shown == [401] * 2 + [200] * BROWSERS_A_PERSON_MAX
    assert f"hatchfarm_sessions {BROWSERS_A_PERSON_MAX}.0" in site.metrics()


async def test_programs_tokens_take_the_place_of_such_and_put_no_browser_out(site: Site) -> None:
    """Of the same login first: whoever stole one ends only those that came of it."""
    browser, other = Browser(site), Browser(site)
    for one in (browser, other):
        await one.log_in()
    kept, stolen = await token_of(other), await token_of(browser)
    tokens = [stolen]
    for _ in range(2 * TOKENS_A_PERSON_MAX):
        tokens.append(str((await site.ask("POST", "/auth/token", bearer(tokens[-1]))).data["token"]))
    assert [(await one.ask("GET", "/auth/me")).status for one in (browser, other)] == [200, 200]
    assert (await site.ask("GET", "/auth/me", bearer(kept))).status == 200
    alive = [(await site.ask("GET", "/auth/me", bearer(token))).status for token in tokens]
    assert alive == [401] * (len(tokens) - TOKENS_A_PERSON_MAX + 1) + [200] * (TOKENS_A_PERSON_MAX - 1)


async def test_a_token_of_somebody_with_many_browsers_puts_none_out(site: Site) -> None:
    browsers = [Browser(site) for _ in range(BROWSERS_A_PERSON_MAX)]
    for browser in browsers:
        await browser.log_in()
    tokens = [await token_of(browsers[0]) for _ in range(TOKENS_A_PERSON_MAX + 1)]
    assert [(await browser.ask("GET", "/auth/me")).status for browser in browsers] == [200] * BROWSERS_A_PERSON_MAX
    alive = [(await site.ask("GET", "/auth/me", bearer(token))).status for token in tokens]
    assert alive == [401] + [200] * TOKENS_A_PERSON_MAX
    assert f"hatchfarm_sessions {BROWSERS_A_PERSON_MAX + TOKENS_A_PERSON_MAX}.0" in site.metrics()


async def test_a_browser_that_is_put_out_takes_its_own_tokens_along_and_no_others(site: Site) -> None:
    """No page would show them any more, and logging out elsewhere would not end them."""
    browsers = [Browser(site) for _ in range(BROWSERS_A_PERSON_MAX + 1)]
    tokens: list[str] = []
    for browser in browsers:
        await browser.log_in()
        if len(tokens) < 2:
            tokens.append(await token_of(browser))
    assert (await browsers[0].ask("GET", "/auth/me")).error == UNAUTHORIZED
    alive = [(await site.ask("GET", "/auth/me", bearer(token))).status for token in tokens]
    assert alive == [401, 200]
    assert f"hatchfarm_sessions {BROWSERS_A_PERSON_MAX + 1}.0" in site.metrics()


async def test_there_are_so_many_sessions(mock_clock: trio.testing.MockClock, site: Site) -> None:
    site.api.state.tables = with_room(site.api.state.tables, sessions=2)
    first = Browser(site)
    await first.log_in("google", "s1")
    mock_clock.jump(1)
    await Browser(site).log_in("google", "s2")
    browser = Browser(site)
    login = await browser.begin()
    site.providers["google"].people["code"] = Person("s3", "a@b.c")
    answer = await browser.come_back("google", state=login["state"], code="code")
    assert answer.error == (503, "capacity reached")
    assert (await first.ask("POST", "/auth/token", SAME_ORIGIN)).error == (503, "capacity reached")
    mock_clock.jump(43_199)
    await Browser(site).log_in("google", "s3")


# -- kept and shared


async def test_sessions_survive_in_the_snapshot_and_their_tokens_stand_nowhere(
    mock_clock: trio.testing.MockClock, site: Site, browser: Browser
) -> None:
    owner_id = await browser.log_in()
    token = await token_of(browser)
    mock_clock.jump(1_000)
    content = b"".join(snapshot(site.api.state, site.clock.now(), "s"))
    assert token.encode() not in content
    assert browser.cookies[COOKIE].encode() not in content
    state = site.api.empty_state()
    recover(state, MemoryJournal(Storage(content, {"s": []})), site.clock.now())
    site.api.state = state
    assert (await site.ask("GET", "/auth/me", bearer(token))).data["owner_id"] == owner_id
    assert [event["type"] for event in await site.audit(owner_id)] == ["login_succeeded"]
    again = b"".join(snapshot(state, site.clock.now(), "s"))
    shown, before = (json.loads(one) for one in (again, content))
    for section in ("sessions", "used_logins", "audit_events"):
        assert shown[section] == before[section]
    assert shown[OWN]["streams"] == before[OWN]["streams"]
    mock_clock.jump(42_199)
    assert (await site.ask("GET", "/auth/me", bearer(token))).status == 200
    mock_clock.jump(1)
    assert (await site.ask("GET", "/auth/me", bearer(token))).error == UNAUTHORIZED


@pytest.mark.parametrize(
    ("section", "change", "says"),
    [
        ("sessions", {}, ""),
        ("sessions", {"digest": "0" * 63}, "its digest is not 64 hex digits"),
        ("sessions", {"login": "x"}, "its login is not 64 hex digits"),
        ("sessions", {"owner_id": "a|b"}, "its owner_id"),
        ("sessions", {"expires_at": "soon"}, "expires_at is no timestamp"),
        ("sessions", {"token": "x"}, "unknown field"),
        ("used_logins", {"id": "x"}, "its id is not 64 hex digits"),
        ("used_logins", {"expires_at": "soon"}, "expires_at is no timestamp"),
    ],
    ids=range(8),
)
async def test_the_check_of_state_files_knows_them(
    site: Site, browser: Browser, section: str, change: dict[str, str], says: str
) -> None:
    await browser.log_in()
    document = json.loads(b"".join(snapshot(site.api.state, site.clock.now(), "s")))
    del document[OWN], document["checksum"]
    next(iter(document[section].values())).update(change)
    state = check_state_file(json.dumps(document).encode(), site.api.state.tables.sections)
    assert isinstance(state, StateFile)
    assert any(says in problem for problem in state.problems) if says else not state.problems


async def test_instances_share_logins_and_sessions() -> None:
    """A login may begin at one and come back to another, once; a session is all of theirs, and ends at all at once."""
    storage = SharedStorage(Settings())

    def at(name: str) -> Callable[[Api], None]:
        return lambda api: api.share_state(MemorySharedJournal(storage, name))

    one, other = Site(at("1")), Site(at("2"))
    other.api.state.entropy = SeededEntropy("other")
    async with served(one, other):
        browser = Browser(one)
        login = await browser.begin()
        cookies = dict(browser.cookies)
        browser.site = other
        other.providers["google"].people["code"] = Person("s1", "a@b.c")
        assert (await browser.come_back("google", state=login["state"], code="code")).status == 302
        replayed = Browser(one)
        replayed.cookies = cookies
        answer = await replayed.come_back("google", state=login["state"], code="code")
        assert answer.error == (400, "invalid login state")
        browser.site = one
        token = await token_of(browser)
        for site in (one, other):
            assert (await site.ask("GET", "/auth/me", bearer(token))).status == 200
        assert (await other.ask("POST", "/auth/logout", bearer(token))).status == 200
        assert (await browser.ask("GET", "/auth/me")).error == UNAUTHORIZED


async def test_a_session_is_found_by_its_digest_alone(site: Site, browser: Browser) -> None:
    await browser.log_in()
    (digest,) = [session.digest for session in site.api.state.rows["sessions"].by_digest.values()]
    assert digest == digest_of(browser.cookies[COOKIE])
    assert (await site.ask("GET", "/auth/me", bearer(digest))).error == UNAUTHORIZED
    assert (await site.ask("GET", "/auth/me", bearer("hfs_" + digest))).error == UNAUTHORIZED
