"""Whatever a page or a form is asked, and whatever cookies come with it, there is an answer that its row declares."""

from __future__ import annotations

from urllib.parse import quote_plus

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_server.core.identity.session_routes import begin_session
from reference_server.core.identity.sessions import digest_of
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Request
from tests.core.server_under_test import Server
from tests.logins.browsing import PROVIDERS, PUBLIC_URL
from tests.people.reading import PAGES
from tests.support.tiers import examples

QUERIES = st.builds(
    "{}={}".format,
    st.sampled_from(["offset", "limit", "state", "type", "asset", ""]),
    st.one_of(st.text(st.characters()), st.from_regex(r"[+-]?[0-9]{1,30}", fullmatch=True), st.text().map(quote_plus)),
)
COOKIES = st.builds("hf_{}={}".format, st.sampled_from(["session", "new_key"]), st.text(st.characters(codec="latin-1")))


@given(
    st.sampled_from([*(("GET", path) for path in PAGES), ("POST", "/my/key"), ("POST", "/my/sign-out")]),
    st.sampled_from(["browser", "program", "nobody"]),
    st.lists(QUERIES, max_size=3).map("&".join),
    st.lists(COOKIES, max_size=2),
)
@example(("GET", "/my/audit"), "browser", "type=\ud800", [])
@example(("POST", "/my/key"), "program", "", [])
@settings(max_examples=examples(100), deadline=None)
def test_whatever_is_asked_of_a_page_is_answered(
    asked: tuple[str, str], signed_in: str, query: str, cookies: list[str]
) -> None:
    server = Server(**PROVIDERS)
    state, now = server.api.state, server.now
    person = ("usr_ada", "google", "ada@example.com", now.wall_ns + SECOND_NS)
    browser = begin_session(state, now, "", *person)
    program = begin_session(state, now, digest_of(browser), *person)
    token = {"browser": browser, "program": program, "nobody": ""}[signed_in]
    jar = "; ".join([f"__Host-hf_session={token}", *(f"__Host-{cookie}" for cookie in cookies)])
    method, path = asked
    headers = (("cookie", jar), ("origin", PUBLIC_URL))
    assert server.request(Request(method, path, query, headers)).status < 500
