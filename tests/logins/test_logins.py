"""Logins: where a browser is sent, what it may come back with, and who it is then (contract: Logins)."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.core.identity.logins import person_id, read_return_to
from reference_server.identity_ports import Denied, Identify, Person, VerifyAgent
from reference_server.wire.values import Request
from tests.core.server_under_test import with_room
from tests.logins.browsing import FORM, PUBLIC_URL, Browser, Site
from tests.logins.conftest import served

if TYPE_CHECKING:
    import trio

    from tests.core.server_under_test import Answer

INVALID_STATE = (400, "invalid login state")
REFUSED = (401, "login refused")


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


@pytest.mark.parametrize("provider", ["google", "apple", "github"])
async def test_a_login_goes_to_the_provider_and_comes_back_with_a_session(site: Site, provider: str) -> None:
    browser = Browser(site)
    login = await browser.begin(provider, "/api/v1/status?a=b")
    (cookie,) = browser.cookies
    assert cookie == f"__Host-hf_login_{provider}"
    assert login["client_id"] == f"{provider}-client"
    assert login["redirect_uri"] == f"{PUBLIC_URL}/api/v1/auth/{provider}/callback"
    assert (login["response_type"], login["code_challenge_method"]) == ("code", "S256")
    assert ("nonce" in login) is (provider != "github")
    assert login.get("response_mode") == ("form_post" if provider == "apple" else None)
    twin = site.providers[provider]
    twin.people["c0de"] = Person("subject", "ada@example.com")
    answer = await browser.come_back(provider, state=login["state"], code="c0de")
    assert (answer.status, answer.headers["location"]) == (302, f"{PUBLIC_URL}/api/v1/status?a=b")
    assert answer.headers["cache-control"] == "no-store"
    (question,) = twin.asked
    assert (question.code, question.redirect_uri) == ("c0de", login["redirect_uri"])
    assert challenge_of(question.verifier) == login["code_challenge"]
    assert question.nonce == login.get("nonce", question.nonce)
    assert list(browser.cookies) == ["__Host-hf_session"]
    me = (await browser.ask("GET", "/auth/me")).data
    owner_id = person_id(provider, "subject")
    assert me == {
        "owner_id": owner_id,
        "provider": provider,
        "email": "ada@example.com",
        "expires_at": me["expires_at"],
    }
    events = await site.audit(owner_id)
    assert [(event["type"], event["stream"], event["metadata"]) for event in events] == [
        ("login_succeeded", "market", {"provider": provider})
    ]
    assert site.denied == []


@pytest.mark.parametrize(
    ("public_url", "provider", "attributes"),
    [
        (PUBLIC_URL, "google", {"Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"}),
        (PUBLIC_URL, "apple", {"Path=/", "Max-Age=600", "HttpOnly", "SameSite=None", "Secure"}),
        ("http://localhost:8080", "google", {"Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax"}),
    ],
    ids=range(3),
)
async def test_the_cookie_that_a_login_is_bound_to(public_url: str, provider: str, attributes: set[str]) -> None:
    site = Site(public_url=public_url)
    async with served(site):
        answer = await site.ask("GET", f"/auth/{provider}/login")
    (cookie,) = answer.cookies
    pair, *given = cookie.split("; ")
    assert set(given) == attributes
    assert pair.startswith(("__Host-" if public_url.startswith("https") else "") + f"hf_login_{provider}=")


@pytest.mark.parametrize("path", ["/auth/google/login", "/auth/google/callback", "/auth/gitlab/login"])
async def test_a_provider_without_settings_is_not_there(path: str) -> None:
    site = Site(google_client_id="")
    async with served(site):
        assert (await site.ask("GET", path, query="state=x&code=y")).error == (404, "not found")
        if path.endswith("callback"):
            assert (await site.ask("POST", path, (FORM,), body=b"state=x")).error == (404, "not found")


async def test_who_somebody_is_is_the_providers_subject_and_never_an_address(site: Site) -> None:
    ids = [
        await Browser(site).log_in("google", "s1", "ada@example.com"),
        await Browser(site).log_in("google", "s1", "ben@example.com"),
        await Browser(site).log_in("google", "s2", "ada@example.com"),
        await Browser(site).log_in("github", "s1", "ada@example.com"),
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(len(one) == 20 and one.startswith("usr_") for one in ids)


# -- attacks on the way back (catalogue: oauth.state, .code-replay, .mix-up; open redirects)


async def came_back(site: Site, browser: Browser, **fields: str) -> Answer:
    site.providers["google"].people["code"] = Person("s1", "ada@example.com")
    answer = await browser.come_back("google", **fields)
    assert not any("session" in cookie for cookie in answer.cookies)
    assert not any("session" in name for name in browser.cookies)
    return answer


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda state: state[:-1],
        lambda state: state[:-1] + ("0" if state[-1] != "0" else "1"),
        lambda state: state.upper(),
        lambda state: state + "0",
        lambda _: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=range(6),
)
async def test_a_state_that_is_not_the_browsers_is_refused(site: Site, browser: Browser, change: Any) -> None:
    login = await browser.begin()
    assert (await came_back(site, browser, state=change(login["state"]), code="code")).error == INVALID_STATE
    assert site.denied == ["invalid_state"]
    assert not site.providers["google"].asked


async def test_a_state_is_of_one_browser_one_provider_and_one_login(site: Site, browser: Browser) -> None:
    """A link that a stranger has made logs nobody in as the stranger."""
    theirs = await Browser(site).begin()
    assert (await came_back(site, browser, state=theirs["state"], code="code")).error == INVALID_STATE
    mine = await browser.begin()
    assert (await came_back(site, browser, state=theirs["state"], code="code")).error == INVALID_STATE
    hub = await browser.begin("github")
    assert (await came_back(site, browser, state=hub["state"], code="code")).error == INVALID_STATE
    browser.cookies["__Host-hf_login_google"] = browser.cookies["__Host-hf_login_github"]
    assert (await came_back(site, browser, state=hub["state"], code="code")).error == INVALID_STATE
    await browser.begin()  # which takes the place of the one before
    assert (await came_back(site, browser, state=mine["state"], code="code")).error == INVALID_STATE
    assert not site.providers["google"].asked


async def test_a_login_is_used_once(site: Site, browser: Browser) -> None:
    login = await browser.begin()
    before = dict(browser.cookies)
    site.providers["google"].people |= {"one": Person("s1", "a@b.c"), "two": Person("s2", "a@b.c")}
    assert (await browser.come_back("google", state=login["state"], code="one")).status == 302
    browser.cookies = before
    assert (await browser.come_back("google", state=login["state"], code="two")).error == INVALID_STATE
    assert site.denied == ["replayed_state"]


async def test_a_login_is_used_up_by_a_code_whatever_comes_of_it(site: Site, browser: Browser) -> None:
    """And not by what no provider was asked about, of which anybody could send any number."""
    login = await browser.begin()
    assert (await came_back(site, browser, state=login["state"], error="access_denied")).error == REFUSED
    assert len(site.api.state.rows["used_logins"]) == 0
    assert (await came_back(site, browser, state=login["state"], code="wrong")).error == REFUSED
    assert (await came_back(site, browser, state=login["state"], code="code")).error == INVALID_STATE
    assert site.denied == ["provider_refused", "code_refused", "replayed_state"]


async def test_a_login_is_over_after_ten_minutes(mock_clock: trio.testing.MockClock, site: Site) -> None:
    browsers = [Browser(site) for _ in range(2)]
    login = [await browser.begin() for browser in browsers]
    mock_clock.jump(599)
    site.providers["google"].people["code"] = Person("s1", "ada@example.com")
    assert (await browsers[0].come_back("google", state=login[0]["state"], code="code")).status == 302
    mock_clock.jump(1)
    assert (await came_back(site, browsers[1], state=login[1]["state"], code="code")).error == INVALID_STATE


async def test_what_is_remembered_of_used_logins_is_bounded_and_forgotten(
    mock_clock: trio.testing.MockClock, site: Site
) -> None:
    site.api.state.tables = with_room(site.api.state.tables, used_logins=2)
    answers = []
    for _ in range(3):
        browser = Browser(site)
        login = await browser.begin()
        answers.append((await browser.come_back("google", state=login["state"], code="no")).error)
    assert answers == [REFUSED, REFUSED, (503, "capacity reached")]
    mock_clock.jump(600)
    used = site.api.state.rows["used_logins"]
    assert len(used) == 2
    site.api.state.tables = with_room(site.api.state.tables, used_logins=3)
    for passed in (0, 600):
        mock_clock.jump(passed)
        browser = Browser(site)
        login = await browser.begin()
        assert (await browser.come_back("google", state=login["state"], code="no")).error == REFUSED
    assert len(used) == 2  # the two of the beginning are forgotten, twenty minutes after they began


async def test_an_answer_that_another_provider_gave_is_refused(site: Site, browser: Browser) -> None:
    """RFC 9207: the browser was sent to one provider, and another's code comes back."""
    login = await browser.begin()
    answer = await came_back(site, browser, state=login["state"], code="code", iss="https://appleid.apple.com")
    assert answer.error == REFUSED
    assert site.denied == ["wrong_issuer"]
    assert not site.providers["google"].asked
    login = await browser.begin()
    site.providers["google"].people["code"] = Person("s1", "ada@example.com")
    answer = await browser.come_back("google", state=login["state"], code="code", iss="https://accounts.google.com")
    assert answer.status == 302


@pytest.mark.parametrize(
    "sent",
    [
        "state={0}&state={0}&code=code",
        "state={0}&code=a&code=b",
        "&" * 101 + "state={0}",
        "state={0}&code=" + "x" * 17_000,
    ],
)
async def test_what_is_said_twice_or_at_length_is_nothing(browser: Browser, sent: str) -> None:
    login = await browser.begin()
    answer = await browser.ask("GET", "/auth/google/callback", query=sent.format(login["state"]))
    assert answer.error == INVALID_STATE


async def test_a_form_has_to_say_that_it_is_one(site: Site, browser: Browser) -> None:
    login = await browser.begin("apple")
    body = f"state={login['state']}&code=code".encode()
    for kind in ((), (("content-type", "text/plain"),)):
        assert (await browser.ask("POST", "/auth/apple/callback", kind, body=body)).error == INVALID_STATE
    assert not site.providers["apple"].asked


async def test_two_cookies_of_one_name_are_none(site: Site, browser: Browser) -> None:
    login = await browser.begin()
    ((name, value),) = browser.cookies.items()
    cookies = (("cookie", f"{name}=x; {name}={value}"),)
    query = f"state={login['state']}&code=code"
    assert (await site.ask("GET", "/auth/google/callback", cookies, query=query)).error == INVALID_STATE


@pytest.mark.parametrize(
    "path",
    [
        *(
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "javascript:alert(1)",
            "evil",
        ),
        *("/a\nb", "/a\tb", "/ a", "/a\\b", "/\u00e9", " /a", "/" + "a" * 1000, "/\x00", "///x"),
    ],
)
async def test_nobody_is_sent_elsewhere_after_a_login(site: Site, path: str) -> None:
    answer = await site.ask("GET", "/auth/google/login", query=urlencode({"return_to": path}))
    assert answer.error == (400, "invalid return_to")
    assert not answer.cookies


@given(st.text())
def test_what_may_be_returned_to_is_a_path_of_this_server_by_any_reading(text: str) -> None:
    for path in (text, f"/{text}"):
        if read_return_to(path) is not None:
            assert urlsplit(urljoin(f"{PUBLIC_URL}/", path)).netloc == "hatchfarm.test"
            assert path.startswith("/")
            assert path.isascii()
            assert path.isprintable()


# -- what the provider says


async def test_who_is_not_vouched_for_is_refused_and_audited_for_whom_it_names(site: Site, browser: Browser) -> None:
    owner_id = await Browser(site).log_in("google", "s1")
    for reason, subject in (("unverified_email", "s1"), ("unverified_email", "s9"), ("bad_signature", "")):
        login = await browser.begin()
        site.providers["google"].people["code"] = Denied(reason, subject)
        answer = await browser.come_back("google", state=login["state"], code="code")
        assert answer.error == REFUSED
    assert [event["type"] for event in await site.audit(owner_id)] == ["login_succeeded", "login_denied"]
    assert site.denied == ["unverified_email", "bad_signature"]
    assert person_id("google", "s9") not in site.api.state.owners


async def test_a_provider_that_is_down_lets_nobody_in(site: Site, browser: Browser) -> None:
    login = await browser.begin()
    site.providers["google"].down = True
    assert (await came_back(site, browser, state=login["state"], code="code")).error == (
        503,
        "identity provider unavailable",
    )
    assert site.denied == ["provider_unavailable"]


async def test_a_login_costs_a_stranger_its_token_of_the_rate_limit_and_this_server_no_memory(site: Site) -> None:
    before = len(site.api.state.rows["used_logins"])
    for _ in range(50):
        await site.ask("GET", "/auth/google/login")
    assert len(site.api.state.rows["used_logins"]) == before
    small = Site(rate_limit_burst=1)
    head = Request("GET", "/v1/auth/google/login")
    assert [small.api.handle(head, small.clock.now()).status for _ in range(2)] == [302, 429]


def test_nothing_secret_is_shown_by_what_holds_it() -> None:
    assert "c0de" not in repr(Identify("google", "c0de", "c0de", "c0de", "c0de"))
    assert "t0ken" not in repr(VerifyAgent("t0ken"))
