"""Attacks on logins, identities and sessions: a right server passes, one that believes one thing too much does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from reference_server.wire.replies import failure, success
from simulator.attacks import CATALOGUE
from simulator.attacks.logins.browsing import LoginAttack
from simulator.attacks.logins.forging import (
    CLIENT_ID,
    KEY_ID,
    PUBLIC_URL,
    Forgery,
    Vouching,
    read_forgery,
    read_vouching,
    write,
)
from simulator.attacks.script import ScriptAttack
from simulator.contract.features import Feature
from simulator.deployment.identity_provider import identity_provider, redeemed
from simulator.limits import ADDRESS_BURST_REQUESTS
from simulator.scenario.values import ServerOptions
from simulator.worlds.live.world import LIVE
from simulator.worlds.performing import why_not_tried
from tests.attacks.login_faults import FAULTS, TOKENS
from tests.attacks.login_worlds import PROVIDER, LoginWorld
from tests.attacks.planting import planted
from tests.attacks.playing import LOST, TOKEN
from tests.attacks.wrong_servers import accepted, broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance

MINE = [name for name, attack in CATALOGUE.items() if issubclass(attack, LoginAttack)]
OF_TOKENS = ["no-session", "honest-login"]
CLAIMS = {
    "oauth.state": ["no-session", "not-used-up", "honest-login", "no-session"],
    "oauth.code-replay": ["no-session", "one-session", "honest-login"],
    "oauth.no-pkce": ["verifier", "verifier", "challenge", "no-session"],
    "oauth.mix-up": ["no-session", "nobody", "honest-login", "people-apart", "same-person"],
    "oauth.return-to": ["ends-there", "cookies"],
    "moltbook.invalid": ["as-vouched", "same-agent"],
    "moltbook.down": [],
    "moltbook.closed": ["failures-counted", "nobody-registered"],
    "owner.session-expired": ["sessions-counted", "failures-counted"],
    "owner.session-as-other": ["audited", "nothing-made", "logins-audited"],
}
"""What each claims besides that nothing broke down; the attacks with tokens claim all the same."""


def play(name: str) -> Performance:
    return LoginWorld().play(name)


@pytest.mark.parametrize("name", MINE)
def test_every_attempt_plays_to_its_end_on_a_right_server(name: str) -> None:
    world = LoginWorld()
    performance = world.play(name)
    assert performance.unsettled == ""
    assert not performance.wrong
    assert [one.rule for one in performance.stated] == [*CLAIMS.get(name, OF_TOKENS), "no-breakdown"]
    assert all(one.held is True for one in performance.stated), performance.stated
    sources = world.history.rows()["source"].tolist()
    assert max(map(sources.count, set(sources))) <= ADDRESS_BURST_REQUESTS


@pytest.mark.parametrize("name", MINE)
def test_lost_answers_accuse_nobody(name: str) -> None:
    for every in (3, 7):
        count = 0

        def losing(_api: Api, _request: Request, _now: Instant, every: int = every) -> Reply | None:
            nonlocal count
            count += 1
            return LOST if count % every == 0 else None

        performance = LoginWorld(answer=losing).play(name)
        assert not performance.wrong
        assert not performance.broken


@pytest.mark.parametrize("name", MINE)
def test_a_server_that_lets_everything_through_is_found(name: str) -> None:
    """Whatever it shows: a login is let through by a redirect, all else by a success."""

    def lenient(api: Api, request: Request, now: Instant) -> Reply | None:
        reply = world.resolved(api, request, now)
        return success({"agent": 1, "token": []}, 302) if reply.status >= 400 else reply

    world = LoginWorld(answer=lenient)
    performance = world.play(name)
    assert performance.wrong


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str) -> None:
    name, rules, edits = FAULTS[fault]
    with planted(*edits):
        performance = play(name)
    assert performance.wrong or performance.broken, performance.stated
    assert rules <= broken(performance)


@pytest.mark.parametrize("name", [name for name in MINE if name.startswith("oauth.")])
def test_a_server_that_has_no_such_logins_leaves_nothing_to_try(name: str) -> None:
    def without(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return failure(404, "not found") if "/auth/" in request.path else None

    performance = LoginWorld(answer=without).play(name)
    assert "the server has no logins with" in performance.unsettled
    assert not performance.wrong


def test_a_login_that_is_let_through_counts_as_one() -> None:
    with planted((TOKENS, "_refusal", "if claims.iss != expected.issuer:", "if not claims.iss:")):
        assert accepted(play("oauth.wrong-iss")) >= 3


@pytest.mark.parametrize("name", MINE)
def test_it_is_not_tried_on_a_server_whose_provider_is_not_the_attackers(name: str) -> None:
    world = LoginWorld()
    attack = CATALOGUE[name]()
    assert isinstance(attack, ScriptAttack)
    assert attack.needs <= {Feature.LOGINS, Feature.AGENTS}

    class Anybodys:
        lacks: frozenset[Feature] = frozenset()

    why = why_not_tried(attack, Anybodys(), {}, LIVE.sandboxes, ServerOptions(), world.context)  # type: ignore[arg-type]
    assert "asks the attacker who people and agents are" in why


# --- servers that are busy, or only say things in another way


def _is_a_try(request: Request) -> bool:
    """Return whether a request is one of a session as another owner, by a bearer or a cookie."""
    headers = dict(request.headers)
    return "x-owner-id" in headers and ("cookie" in headers or TOKEN not in headers.get("authorization", ""))


@pytest.mark.parametrize("lost", [LOST, failure(429, "rate limit exceeded"), failure(503, "state persistence failed")])
def test_tries_that_nobody_judged_are_missing_from_no_audit_list(lost: Reply) -> None:
    count = 0

    def busy(_api: Api, request: Request, _now: Instant) -> Reply | None:
        nonlocal count
        count += _is_a_try(request)
        return lost if _is_a_try(request) and count % 5 == 0 else None

    performance = LoginWorld(answer=busy).play("owner.session-as-other")
    assert count > 10
    assert [one.held for one in performance.stated if one.rule == "audited"] == [None]
    assert not performance.broken


def test_a_refusal_that_its_owner_is_not_shown_is_found() -> None:
    def silent(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return success({"events": []}) if request.path == "/api/v1/audit/events" and not request.query[9:] else None

    performance = LoginWorld(answer=silent).play("owner.session-as-other")
    assert "audited" in broken(performance)


def losing(path: str) -> Callable[[Api, Request, Instant], Reply | None]:
    """Lose every answer to a request for a path that carries a cookie and no foreign origin, without doing it."""

    def lose(_api: Api, request: Request, _now: Instant) -> Reply | None:
        return LOST if request.path == path and dict(request.headers).get("origin", PUBLIC_URL) == PUBLIC_URL else None

    return lose


@pytest.mark.parametrize(
    ("name", "path", "why"),
    [
        ("owner.session-as-other", "/api/v1/auth/logout", "log out: no whole answer came"),
        ("oauth.state", "/api/v1/auth/me", "read who is logged in: no whole answer came"),
    ],
)
def test_what_the_rest_builds_on_ends_the_attempt_where_it_is_lost(name: str, path: str, why: str) -> None:
    performance = LoginWorld(answer=losing(path)).play(name)
    assert performance.unsettled == why
    assert not performance.wrong
    assert not performance.broken


@pytest.mark.parametrize(
    ("cookie", "is_session"),
    [
        ("hf_session=; Path=/; Max-Age=0", False),
        ('hf_session="";path=/;max-age=0', False),
        ("hf_session=deleted;Max-Age=0", False),
        ("hf_session=", False),
        ("other_hf_session=abc", False),
        ("hf_session=abc", True),
        ("hf_session=abc; Max-Age=10", True),
    ],
)
def test_a_refusal_may_take_a_session_away_and_give_none(cookie: str, *, is_session: bool) -> None:
    def setting(api: Api, request: Request, now: Instant) -> Reply | None:
        reply = world.resolved(api, request, now)
        more = (*reply.headers, ("Set-Cookie", cookie))
        return msgspec.structs.replace(reply, headers=more) if reply.status in {400, 401} else reply

    world = LoginWorld(answer=setting)
    performance = world.play("oauth.state")
    assert not performance.wrong
    assert broken(performance) == ({"no-session"} if is_session else set())


# --- the provider


def test_what_is_wanted_stands_in_the_code_and_in_the_identity() -> None:
    forgery = Forgery("challenge", {"sub": "ada", "aud": None}, header={"alg": "none"}, key="none")
    vouching = Vouching("m1", "molty", 503, "text")
    assert read_forgery(write(forgery)) == forgery
    assert read_vouching(write(vouching)) == vouching
    assert read_forgery("made-up") is None
    assert read_vouching("") is None


def test_a_right_token_is_one_that_others_find_right() -> None:
    token = PROVIDER.id_token(Forgery(claims={"sub": "ada"}))
    keys = KeySet.import_key_set(httpx.Response(200, content=PROVIDER.answer("/jwks", {}, b"").body).json())
    read = jwt.decode(token, keys, algorithms=["RS256"])
    assert (read.header["kid"], read.claims) == (KEY_ID, {"iss": PROVIDER.origin, "aud": CLIENT_ID, "sub": "ada"})


def test_a_code_is_redeemed_by_the_verifier_of_its_challenge_alone() -> None:
    verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    code = write(Forgery(challenge))
    assert redeemed({"code": code, "code_verifier": verifier}) == Forgery(challenge)
    assert redeemed({"code": code, "code_verifier": verifier[:-1]}) is None
    assert redeemed({"code": code}) is None
    assert redeemed({"code": write(Forgery())}) == Forgery()


async def test_it_answers_over_http_and_ends_with_its_block() -> None:
    async with identity_provider() as provider, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        keys = (await client.get(provider.settings["GOOGLE_JWKS_URL"])).json()["keys"]
        form = {"code": write(Forgery(claims={"sub": "ada"}))}
        token = (await client.post(provider.settings["GOOGLE_TOKEN_URL"], data=form)).json()["id_token"]
        assert jwt.decode(token, KeySet.import_key_set({"keys": keys}), algorithms=["RS256"]).claims["sub"] == "ada"
        assert (await client.get(f"{provider.origin}/nowhere")).status_code == 404
        verify = f"{provider.settings['MOLTBOOK_BASE_URL']}/api/v1/agents/verify-identity"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(verify, json={"token": write(Vouching(status=0))})
        assert (await client.post(verify, json={"token": "made-up"})).status_code == 401
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            await client.get(provider.settings["GOOGLE_JWKS_URL"])
