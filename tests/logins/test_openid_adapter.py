"""The adapter of OpenID providers against real tokens over real HTTP: wrong ones are refused (catalogue: oauth.*)."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from reference_server.adapters.identity.fetching import Fetcher
from reference_server.adapters.identity.openid import OpenIdProvider, apple_secret
from reference_server.adapters.memory.clocks import SetClock
from reference_server.identity_ports import UNAVAILABLE, Denied, Identify, Person
from reference_server.limits import FETCH_MAX_BYTES, FETCH_SECONDS, JWKS_LIFE_SECONDS, JWKS_RETRY_SECONDS
from reference_server.login_settings import LoginProvider
from reference_server.wire.units import SECOND_NS
from tests.support.little_http import Given, little_http
from tests.support.openid_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    KEY,
    KEY_FOR_ANYTHING,
    NEXT_KEY,
    OTHER_KEY,
    openid_provider,
    signed,
    signed_by_hmac,
    unsigned,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from reference_server.identity_ports import Unavailable
    from tests.support import openid_provider as real

NONCE = "n" * 64
QUESTION = Identify("google", "c0de", "v" * 64, NONCE, "https://hatchfarm.test/api/v1/auth/google/callback")
ADA = Person("s1", "ada@example.com")
WEAK_MODULUS = base64.urlsafe_b64encode(bytes([0x80] + [0xFF] * 127)).decode().rstrip("=")


class Pair:
    """A provider, and the adapter that asks it."""

    def __init__(self, provider: real.OpenIdProvider, fetcher: Fetcher) -> None:
        self.provider = provider
        self.clock = SetClock()
        row = LoginProvider(
            "google", CLIENT_ID, provider.origin, f"{provider.origin}/authorize", "openid email",
            openid=True, form_post=False,
        )  # fmt: skip
        self.adapter = OpenIdProvider(
            fetcher, self.clock, row, f"{provider.origin}/token", f"{provider.origin}/keys", lambda _now: CLIENT_SECRET
        )

    @property
    def now(self) -> int:
        return self.clock.now().wall_ns // SECOND_NS

    def claims(self, **changed: Any) -> dict[str, Any]:
        return self.provider.claims(self.now, NONCE, **changed)

    async def identify(self, token: str) -> Person | Denied | Unavailable:
        self.provider.token = token
        return await self.adapter.identify(QUESTION)


@asynccontextmanager
async def running(fetch_seconds: float = FETCH_SECONDS) -> AsyncIterator[Pair]:
    fetcher = Fetcher(fetch_seconds)
    async with openid_provider() as provider, trio.open_nursery() as nursery:
        await nursery.start(fetcher.run)
        yield Pair(provider, fetcher)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running() as one:
        yield one


async def test_a_code_is_redeemed_with_its_verifier_and_the_token_says_who_it_is(pair: Pair) -> None:
    assert await pair.identify(signed(pair.claims())) == ADA
    exchange = pair.provider.asked[0]
    assert (exchange.method, exchange.path) == ("POST", "/token")
    assert exchange.form == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": QUESTION.redirect_uri,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "code_verifier": QUESTION.verifier,
    }


RIGHT: list[dict[str, Any]] = [
    {"aud": [CLIENT_ID]},
    {"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID},
    {"azp": CLIENT_ID},
    {"email_verified": "true"},
    {"auth_time": 1, "more": {"a": [1]}},
]


@pytest.mark.parametrize("changed", RIGHT, ids=range(len(RIGHT)))
async def test_what_other_right_tokens_say(pair: Pair, changed: dict[str, Any]) -> None:
    assert await pair.identify(signed(pair.claims(**changed))) == ADA


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://evil.example"}, "wrong_issuer"),
    ({"iss": None}, "bad_token"),
    ({"iss": ["x"]}, "bad_token"),
    ({"aud": "another-client"}, "wrong_audience"),
    ({"aud": []}, "wrong_audience"),
    ({"aud": None}, "bad_token"),
    ({"aud": [CLIENT_ID, "other"]}, "wrong_audience"),
    ({"aud": ["other"], "azp": CLIENT_ID}, "wrong_audience"),
    ({"azp": "another-client"}, "wrong_audience"),
    ({"nonce": "m" * 64}, "wrong_nonce"),
    ({"nonce": None}, "wrong_nonce"),
    ({"nonce": ""}, "wrong_nonce"),
    ({"nonce": "\u00e9"}, "wrong_nonce"),
    ({"email_verified": False}, "unverified_email"),
    ({"email_verified": "false"}, "unverified_email"),
    ({"email_verified": None}, "unverified_email"),
    ({"email": None}, "unverified_email"),
    ({"email": "nobody"}, "unverified_email"),
    ({"email": "a@b\n.c"}, "unverified_email"),
    ({"email": "a@" + "b" * 320}, "unverified_email"),
    ({"sub": None}, "bad_token"),
    ({"sub": ""}, "bad_token"),
    ({"sub": "s" * 256}, "bad_token"),
    ({"sub": "a\nb"}, "bad_token"),
    ({"sub": 7}, "bad_token"),
    ({"exp": None}, "bad_token"),
    ({"iat": None}, "bad_token"),
    ({"exp": "soon"}, "bad_token"),
]


@pytest.mark.parametrize(("changed", "reason"), WRONG, ids=range(len(WRONG)))
async def test_a_token_that_says_anything_wrong_is_refused(pair: Pair, changed: dict[str, Any], reason: str) -> None:
    """Catalogue: oauth.wrong-iss, .wrong-aud, .nonce, .unverified-email."""
    answer = await pair.identify(signed(pair.claims(**changed)))
    assert isinstance(answer, Denied)
    assert answer.reason == reason
    assert answer.subject == ("s1" if reason == "unverified_email" else "")


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"exp": -59}, ADA),
        ({"exp": -60}, Denied("expired")),
        ({"iat": -659}, ADA),
        ({"iat": -661}, Denied("expired")),
        ({"iat": 60}, ADA),
        ({"iat": 61}, Denied("not_yet_valid")),
        ({"nbf": 61}, Denied("not_yet_valid")),
    ],
    ids=range(7),
)
async def test_a_token_has_its_time(pair: Pair, changed: dict[str, int], outcome: Person | Denied) -> None:
    """Catalogue: oauth.expired. A minute is allowed for clocks."""
    moments = {name: pair.now + seconds for name, seconds in changed.items()}
    assert await pair.identify(signed(pair.claims(**moments))) == outcome


FORGERIES: list[Callable[[Any], str]] = [
    unsigned,
    lambda claims: unsigned(claims) + "AAAA",
    lambda claims: signed_by_hmac(claims, KEY.as_pem(private=False)),
    lambda claims: signed_by_hmac(claims, KEY.as_pem(private=False).strip()),
    lambda claims: signed_by_hmac(claims, json.dumps(KEY.as_dict(private=False)).encode()),
    lambda claims: signed_by_hmac(claims, CLIENT_SECRET.encode()),
    lambda claims: signed(claims, OTHER_KEY),
    lambda claims: signed(claims, OTHER_KEY, kid="k9"),
    lambda claims: signed(claims, OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
    lambda claims: signed(claims, NEXT_KEY, kid="k1"),
    lambda claims: signed(claims, KEY_FOR_ANYTHING, alg="RS512"),
    lambda claims: signed(claims, KEY_FOR_ANYTHING, alg="PS256"),
    lambda claims: signed(claims)[:-4] + "AAAA",
    lambda claims: ".".join(
        (signed(claims).split(".")[0], signed({**claims, "sub": "s2"}).split(".")[1], signed(claims).split(".")[2])
    ),
    lambda claims: signed(claims).rpartition(".")[0] + ".",
]


@pytest.mark.parametrize("forge", FORGERIES, ids=range(len(FORGERIES)))
async def test_a_token_that_the_provider_did_not_sign_is_refused(pair: Pair, forge: Callable[[Any], str]) -> None:
    """Catalogue: oauth.alg-none, .key-confusion."""
    assert await pair.identify(forge(pair.claims())) == Denied("bad_signature")


@pytest.mark.parametrize(
    "token", ["x", "a.b.c", "...", "", "e30.e30.e30", "\u00e9.a.b", "a" * 17_000, "..", "e30..e30"]
)
async def test_what_is_no_token_is_refused(pair: Pair, token: str) -> None:
    answer = await pair.identify(token)
    assert isinstance(answer, Denied)
    assert answer.reason in {"bad_token", "bad_signature"}


@pytest.mark.parametrize("payload", [[], "x", None, 1])
async def test_claims_are_an_object(pair: Pair, payload: Any) -> None:
    token = jws.serialize_compact({"alg": "RS256", "kid": "k1"}, json.dumps(payload), KEY)
    assert await pair.identify(token) == Denied("bad_token")


# -- keys


async def test_an_unknown_key_has_the_keys_fetched_anew_once_a_minute_at_most(pair: Pair) -> None:
    assert await pair.identify(signed(pair.claims())) == ADA
    pair.clock.advance(61)
    for _ in range(3):
        assert await pair.identify(signed(pair.claims(), NEXT_KEY)) == Denied("bad_signature")
    assert pair.provider.count("/keys") == 2
    pair.provider.keys.append(NEXT_KEY.as_dict(private=False))
    assert await pair.identify(signed(pair.claims(), NEXT_KEY)) == Denied("bad_signature")
    pair.clock.advance(60)
    assert await pair.identify(signed(pair.claims(), NEXT_KEY)) == ADA
    assert await pair.identify(signed(pair.claims())) == ADA
    assert pair.provider.count("/keys") == 3


async def test_keys_are_believed_for_an_hour_and_one_that_was_taken_back_is_not(pair: Pair) -> None:
    assert await pair.identify(signed(pair.claims())) == ADA
    pair.provider.keys = [NEXT_KEY.as_dict(private=False)]
    pair.clock.advance(3599)
    assert await pair.identify(signed(pair.claims())) == ADA
    pair.clock.advance(2)
    assert await pair.identify(signed(pair.claims())) == Denied("bad_signature")
    assert await pair.identify(signed(pair.claims(), NEXT_KEY)) == ADA


async def test_keys_of_other_kinds_and_uses_and_weak_ones_are_none(pair: Pair) -> None:
    public = KEY.as_dict(private=False)
    secret = {"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg", "kid": "oct"}
    pair.provider.keys = [
        {**public, "kid": "enc", "use": "enc"},
        {**public, "kid": "ps", "alg": "PS256"},
        {**public, "kid": "broken", "n": "AA", "e": "AQAB"},
        {"kty": "unheard-of", "kid": "new"},
        {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": WEAK_MODULUS},
        secret,
        {**public, "kid": "good"},
    ]
    for kid in ("enc", "ps", "broken", "new"):
        assert await pair.identify(signed(pair.claims(), kid=kid)) == Denied("bad_signature")
    assert ("RS256", "weak") not in pair.adapter._keys._keys
    forged = signed_by_hmac(pair.claims(), b"x" * 32)
    assert await pair.identify(forged) == Denied("bad_signature")
    assert await pair.identify(signed(pair.claims(), kid="good")) == ADA


async def test_a_token_without_a_key_id_is_of_the_only_key_there_is(pair: Pair) -> None:
    nameless = jws.serialize_compact({"alg": "RS256"}, json.dumps(pair.claims()), KEY)
    assert await pair.identify(nameless) == ADA
    pair.provider.keys = [{**KEY.as_dict(private=False), "kid": kid} for kid in ("k1", "k2")]
    pair.clock.advance(3601)
    assert await pair.identify(nameless) == Denied("bad_signature")


async def test_many_logins_at_once_fetch_the_keys_once(pair: Pair) -> None:
    pair.provider.token = signed(pair.claims())
    answers: list[Any] = []

    async def identify() -> None:
        answers.append(await pair.adapter.identify(QUESTION))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(identify)
    assert answers == [ADA] * 20
    assert pair.provider.count("/keys") == 1


# -- what goes wrong over HTTP


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (Given(400, b'{"error":"invalid_grant"}'), Denied("code_refused")),
        (Given(400, b'{"error":"invalid_request"}'), Denied("code_refused")),
        (Given(401, b'{"error":"invalid_client"}'), UNAVAILABLE),
        (Given(429, b'{"error":"slow_down"}'), UNAVAILABLE),
        (Given(500, b'{"error":"invalid_grant"}'), UNAVAILABLE),
        (Given(404, b"<html>"), UNAVAILABLE),
        (Given(302, b"", (("location", "/keys"),)), UNAVAILABLE),
        (Given(200, b"<html>"), Denied("bad_token")),
        (Given(200, b"{}"), Denied("bad_token")),
        (Given(200, b'{"id_token":7}'), Denied("bad_token")),
        (Given(200, b" " * (FETCH_MAX_BYTES + 1)), UNAVAILABLE),
        (Given(200, b"x", (("content-encoding", "gzip"),)), UNAVAILABLE),
        (Given(raw=b"nonsense\r\n\r\n"), UNAVAILABLE),
        (Given(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx"), UNAVAILABLE),
    ],
    ids=range(14),
)
async def test_an_exchange_that_gives_no_token(pair: Pair, given: Given, outcome: Denied | Unavailable) -> None:
    pair.provider.given["/token"] = given
    assert await pair.identify("") == outcome
    assert pair.provider.count("/keys") == 0


@pytest.mark.parametrize(
    "given", [Given(500), Given(200, b"[]"), Given(200, b'{"keys":7}'), Given(200, b"\xff")], ids=range(4)
)
async def test_without_keys_nobody_can_tell_and_they_are_asked_for_again(pair: Pair, given: Given) -> None:
    pair.provider.given["/keys"] = given
    for _ in range(2):
        assert await pair.identify(signed(pair.claims())) is UNAVAILABLE
    assert pair.provider.count("/keys") == 1  # whoever comes at once waits for no other answer
    del pair.provider.given["/keys"]
    pair.clock.advance(JWKS_RETRY_SECONDS)
    assert await pair.identify(signed(pair.claims())) == ADA


async def test_keys_are_believed_no_longer_than_an_hour_while_nobody_gives_them_out(pair: Pair) -> None:
    assert await pair.identify(signed(pair.claims())) == ADA
    pair.provider.given["/keys"] = Given(500)
    pair.clock.advance(JWKS_LIFE_SECONDS + 1)
    assert await pair.identify(signed(pair.claims())) is UNAVAILABLE


async def test_an_answer_that_does_not_end_is_given_up() -> None:
    async def never(_asked: object) -> Given:
        await trio.sleep_forever()
        raise AssertionError

    async with little_http(never) as origin, running(fetch_seconds=0.05) as pair:
        pair.adapter._exchange_url = f"{origin}/token"
        assert await pair.identify("") is UNAVAILABLE


async def test_a_provider_that_is_not_there_is_unavailable(pair: Pair) -> None:
    pair.adapter._exchange_url = "http://127.0.0.1:1/token"
    assert await pair.identify("") is UNAVAILABLE
    never_run = OpenIdProvider(
        Fetcher(), pair.clock, pair.adapter._provider, "http://127.0.0.1:1/", "http://127.0.0.1:1/", lambda _now: "s"
    )
    assert await never_run.identify(QUESTION) is UNAVAILABLE


def test_the_secret_for_apple_is_signed_by_the_key_that_apple_gave() -> None:
    key = ECKey.generate_key("P-256")
    row = LoginProvider("apple", CLIENT_ID, "https://appleid.apple.com", "", "", openid=True, form_post=True)
    clock = SetClock()
    token = jwt.decode(apple_secret(row, "TEAM", "KEY", key)(clock.now()), key, algorithms=["ES256"])
    seconds = clock.now().wall_ns // SECOND_NS
    assert token.header == {"alg": "ES256", "kid": "KEY", "typ": "JWT"}
    assert token.claims == {
        "iss": "TEAM", "iat": seconds, "exp": seconds + 300, "aud": "https://appleid.apple.com", "sub": CLIENT_ID,
    }  # fmt: skip
    assert msgspec.structs.astuple(row)[0] == "apple"
