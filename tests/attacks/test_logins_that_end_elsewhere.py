"""Logins that end at another site, or leave cookies that others get at: a server that allows it is found."""

from __future__ import annotations

import pytest

from simulator.attacks.logins.returns import ELSEWHERE
from tests.attacks.login_worlds import LoginWorld
from tests.attacks.planting import planted
from tests.attacks.wrong_servers import accepted, broken

LOGINS, COOKIES = "core.identity.logins", "core.identity.cookies"
READ = ("return text if len(text) <= RETURN_TO_MAX_CHARACTERS and _PATH.fullmatch(text) else None", "read_return_to")
SET_LOGIN, SET_SESSION = "set_cookie(state.settings, name, cookie,", "set_cookie(state.settings, session_cookie("


def reading(rule: str) -> tuple[str, str, str, str]:
    return LOGINS, READ[1], READ[0], f"return text if {rule} else None"


@pytest.mark.parametrize(
    ("rule", "let_through"),
    [
        ("True", len(ELSEWHERE)),
        ("text.startswith('/')", 6),
        ("text.startswith('/') and not text.startswith('//')", 4),
        ("_PATH.fullmatch(text.replace(chr(92), ''))", 1),
        ("__import__('urllib.parse').parse.urlsplit(text).netloc in ('', 'hatchfarm.test')", None),
    ],
)
def test_each_way_to_another_site_is_found(rule: str, let_through: int | None) -> None:
    with planted(reading(rule)):
        performance = LoginWorld().play("oauth.return-to")
    found = accepted(performance)
    assert found == 2 * let_through if let_through is not None else found > 4


@pytest.mark.parametrize(
    ("edit", "claim"),
    [
        ((LOGINS, "_log_in", "state.settings.public_url + login.return_to", "state.settings.public_url"), "ends-there"),
        ((LOGINS, "_log_in", "public_url + login.return_to", "public_url + '.evil.example/there'"), "ends-there"),
        ((COOKIES, "set_cookie", "HttpOnly; ", ""), "cookies"),
        ((COOKIES, "set_cookie", "{secure}", ""), "cookies"),
        ((COOKIES, "set_cookie", "Path=/; ", "Path=/auth; "), "cookies"),
        ((COOKIES, "set_cookie", "Path=/; ", "Path=/; Domain=hatchfarm.test; "), "cookies"),
        ((COOKIES, "_name", 'f"{_HOST}{name}" if is_secure(settings) else name', "name"), "cookies"),
        ((LOGINS, "begin_login", "CROSS_SITE if provider.form_post else LAX", "CROSS_SITE"), "cookies"),
        ((LOGINS, "_log_in", "set_cookie(state.settings, session_cookie(state.settings), token, life_seconds),", ""),
         "cookies"),
        ((LOGINS, "_log_in", "set_cookie(state.settings, session_cookie(state.settings), token, life_seconds),",
          "('set-cookie', f'hf_session={token}; Path=/; Secure'),"), "cookies"),
    ],
)  # fmt: skip
def test_a_login_that_others_get_at_is_found(edit: tuple[str, str, str, str], claim: str) -> None:
    with planted(edit):
        performance = LoginWorld().play("oauth.return-to")
    assert broken(performance) == {claim}
