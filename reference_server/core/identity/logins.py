"""Logins with an identity provider (contract: Logins): the redirect there, the callback, and the resulting person.

An unfinished login takes no memory here: it is stored in a cookie and proven by `state`. `state`, `nonce` and the PKCE
verifier are separate keyed digests of that cookie. So none of them can be made without this server's key, or used for
another browser's login, and logins begun by strangers displace nothing. A used login is remembered until its callback
has expired, so that it is used only once.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

import msgspec

from reference_server.core.calls import Parameter, query_of
from reference_server.core.changes import change
from reference_server.core.identity.cookies import (
    CROSS_SITE,
    LAX,
    login_cookie,
    read_cookie,
    session_cookie,
    set_cookie,
)
from reference_server.core.identity.session_routes import begin_session
from reference_server.core.identity.sessions import has_room_for_session
from reference_server.core.inquiry import Inquiry
from reference_server.core.table import Table
from reference_server.identity_ports import UNAVAILABLE, Denied, Identify
from reference_server.limits import (
    LOGIN_ANSWER_MAX_CHARACTERS,
    LOGIN_LIFE_SECONDS,
    LOGINS_USED_MAX,
    QUERY_FIELDS_MAX,
    RETURN_TO_MAX_CHARACTERS,
)
from reference_server.wire.replies import FULL, failure, success
from reference_server.wire.sections import Section, kept_time
from reference_server.wire.signing import matches
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Headers, Reply

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.identity_ports import Person, Unavailable
    from reference_server.login_settings import LoginProvider
    from reference_server.wire.sections import Reading
    from reference_server.wire.values import Instant

NO_PROVIDER = failure(HTTPStatus.NOT_FOUND, "not found")
INVALID_LOGIN_STATE = failure(HTTPStatus.BAD_REQUEST, "invalid login state")
LOGIN_REFUSED = failure(HTTPStatus.UNAUTHORIZED, "login refused")
PROVIDER_UNAVAILABLE = failure(HTTPStatus.SERVICE_UNAVAILABLE, "identity provider unavailable")
PERSON_PREFIX, PERSON_DIGITS = "usr_", 16
_SECRET_DIGITS = 64
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path on this server: printable, and nothing that a browser may interpret as another host."""
_LOGIN = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})\.([A-Za-z0-9_-]*)")
_DIGEST = re.compile("[0-9a-f]{64}")
_NOT_KEPT: Headers = (("cache-control", "no-store"), ("referrer-policy", "no-referrer"))


def read_return_to(text: str) -> str | None:
    """Return the path to redirect to after a login, or None unless it is a path on this server."""
    return text if len(text) <= RETURN_TO_MAX_CHARACTERS and _PATH.fullmatch(text) else None


RETURN_TO = Parameter(
    "return_to", read_return_to, "/", {"type": "string", "default": "/"}, "The path to go to after the login."
)


class UsedLogin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A login whose callback was used; `id` is the SHA-256 of its `state`."""

    id: str
    expires_at: str


class _Login(msgspec.Struct, frozen=True):
    """The content of a login's cookie."""

    provider: str
    cookie: str
    expires_ns: int
    return_to: str


def person_id(provider: str, subject: str) -> str:
    """Return a person's owner id: the same for the same subject of the same provider, never by an address."""
    return PERSON_PREFIX + sha256(f"{provider}|{subject}".encode()).hexdigest()[:PERSON_DIGITS]


@change("login_used")
def use_login(state: State, at: Instant, login_id: str, expires_ns: int) -> None:
    """Remember a used login for twice its lifetime, so that the clock may step back."""
    used = TABLE.of(state)
    while _forgets(used, at):
        del used[next(iter(used))]
    used[login_id] = UsedLogin(login_id, format_timestamp(expires_ns))


def _forgets(used: dict[str, UsedLogin], at: Instant) -> bool:
    """Return whether the oldest used login can be forgotten."""
    oldest = next(iter(used.values()), None)
    horizon_ns = at.wall_ns - LOGIN_LIFE_SECONDS * SECOND_NS
    return oldest is not None and (kept_time(oldest.expires_at) or 0) <= horizon_ns


def begin_login(state: State, call: Call[bytes]) -> Reply:
    """`GET /auth/{provider}/login`: redirect the browser to the provider, with a cookie that the callback requires."""
    provider = state.login_providers.get(call.ids[0])
    if provider is None:
        return NO_PROVIDER
    asked = query_of(call)
    if isinstance(asked, Reply):
        return asked
    expires = call.now.wall_ns // SECOND_NS + LOGIN_LIFE_SECONDS
    return_to = urlsafe_b64encode(asked[RETURN_TO.name].encode()).decode().rstrip("=")
    cookie = f"{expires}.{state.entropy.hex(_SECRET_DIGITS)}.{return_to}"
    challenge = sha256(_derive(state, "verifier", provider.name, cookie).encode()).digest()
    fields = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": _redirect_uri(state, provider),
        "scope": provider.scope,
        "state": _derive(state, "state", provider.name, cookie),
        "code_challenge": urlsafe_b64encode(challenge).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    if provider.openid:
        fields["nonce"] = _derive(state, "nonce", provider.name, cookie)
    if provider.form_post:
        fields["response_mode"] = "form_post"
    name = login_cookie(state.settings, provider.name)
    same_site = CROSS_SITE if provider.form_post else LAX
    return _redirect(
        f"{provider.authorization_url}?{urlencode(fields)}",
        set_cookie(state.settings, name, cookie, LOGIN_LIFE_SECONDS, same_site),
    )


def come_back_by_link(state: State, call: Call[bytes]) -> Reply | Inquiry:
    """`GET /auth/{provider}/callback`."""
    return _come_back(state, call, call.request.query)


def come_back_by_form(state: State, call: Call[bytes]) -> Reply | Inquiry:
    """`POST /auth/{provider}/callback`: the callback as a form, as Apple uses it."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _come_back(state, call, call.body.decode("latin-1") if kind == "application/x-www-form-urlencoded" else "")


def _come_back(state: State, call: Call[bytes], text: str) -> Reply | Inquiry:
    """Mark a login as used, and ask the provider whose code the callback brought."""
    provider = state.login_providers.get(call.ids[0])
    if provider is None:
        return NO_PROVIDER
    given = _read_answer(text)
    login = _read_login(state, call, provider)
    right = matches(
        _derive(state, "state", provider.name, "" if login is None else login.cookie).encode(), given["state"]
    )
    if login is None or not right or call.now.wall_ns >= login.expires_ns:
        return _refuse(state, call.now, provider.name, "invalid_state", INVALID_LOGIN_STATE)
    login_id = sha256(given["state"].encode()).hexdigest()
    if login_id in TABLE.of(state):
        return _refuse(state, call.now, provider.name, "replayed_state", INVALID_LOGIN_STATE)
    # Refusals up to here use nothing up: the table cannot be filled without having been at a provider.
    if given["iss"] and given["iss"] != provider.issuer:  # RFC 9207: the callback is from another provider
        return _refuse(state, call.now, provider.name, "wrong_issuer", LOGIN_REFUSED)
    if given["error"] or not given["code"]:
        return _refuse(state, call.now, provider.name, "provider_refused", LOGIN_REFUSED)
    if not (TABLE.has_room(state) or _forgets(TABLE.of(state), call.now)):
        return FULL
    use_login(state, call.now, login_id, login.expires_ns)
    question = Identify(
        provider.name,
        given["code"],
        _derive(state, "verifier", provider.name, login.cookie),
        _derive(state, "nonce", provider.name, login.cookie),
        _redirect_uri(state, provider),
    )
    return Inquiry(question, partial(_log_in, login))


def _log_in(login: _Login, state: State, now: Instant, answer: Person | Denied | Unavailable) -> Reply:
    """Start a session for the person whom the provider names."""
    if answer is UNAVAILABLE:
        return _refuse(state, now, login.provider, "provider_unavailable", PROVIDER_UNAVAILABLE)
    if isinstance(answer, Denied):
        return _refuse(state, now, login.provider, answer.reason, LOGIN_REFUSED, answer.subject)
    owner_id = person_id(login.provider, answer.subject)
    if not has_room_for_session(state, now, owner_id, is_token=False):
        return FULL
    life_seconds = state.settings.session_ttl_seconds
    expires_ns = now.wall_ns + life_seconds * SECOND_NS
    token = begin_session(state, now, "", owner_id, login.provider, answer.email, expires_ns)
    state.audit(now, "login_succeeded", f"owner:{owner_id}", owner_id, {"provider": login.provider}, (owner_id,))
    return _redirect(
        state.settings.public_url + login.return_to,
        set_cookie(state.settings, session_cookie(state.settings), token, life_seconds),
        set_cookie(state.settings, login_cookie(state.settings, login.provider), "", 0),
    )


def _refuse(state: State, now: Instant, provider: str, reason: str, reply: Reply, subject: str = "") -> Reply:
    """Audit a refusal for the person it concerns, if known, and return `reply`."""
    owner_id = person_id(provider, subject) if subject else ""
    actor = f"owner:{owner_id}" if owner_id else "anonymous"
    metadata = {"provider": provider, "reason": reason}
    state.audit(now, "login_denied", actor, owner_id, metadata, (owner_id,) if owner_id else ())
    return reply


def _read_answer(text: str) -> dict[str, str]:
    """Return the fields of a callback; repeated or overlong fields count as missing."""
    try:
        fields = parse_qs(text[: LOGIN_ANSWER_MAX_CHARACTERS + 1], max_num_fields=QUERY_FIELDS_MAX, errors="strict")
    except ValueError:
        fields = {}
    if len(text) > LOGIN_ANSWER_MAX_CHARACTERS:
        fields = {}
    given = {name: fields.get(name, [""]) for name in ("state", "code", "iss", "error")}
    if any(len(values) > 1 for values in given.values()):
        return dict.fromkeys(given, "")
    return {name: values[0] for name, values in given.items()}


def _read_login(state: State, call: Call[Any], provider: LoginProvider) -> _Login | None:
    """Return the login in the cookie, or None. Only its `state` proves that it was made here."""
    cookie = read_cookie(call.headers, login_cookie(state.settings, provider.name))
    match = _LOGIN.fullmatch(cookie)
    if match is None:
        return None
    try:
        return_to = urlsafe_b64decode(match[3] + "=" * (-len(match[3]) % 4)).decode()
    except (Base64Error, ValueError):
        return None
    return _Login(provider.name, cookie, int(match[1]) * SECOND_NS, return_to)


def _derive(state: State, purpose: str, provider: str, cookie: str) -> str:
    """Return 64 hex digits derived from a login's cookie with this server's key, different for each purpose."""
    return hmac.new(state.login_key, f"{purpose}|{provider}|{cookie}".encode(), sha256).hexdigest()


def _redirect_uri(state: State, provider: LoginProvider) -> str:
    return f"{state.settings.public_url}/api/v1/auth/{provider.name}/callback"


def _redirect(location: str, *cookies: tuple[str, str]) -> Reply:
    reply = success({"location": location}, HTTPStatus.FOUND)
    return msgspec.structs.replace(reply, headers=(*reply.headers, ("location", location), *_NOT_KEPT, *cookies))


def _check(reading: Reading, place: str, _key: str, record: UsedLogin) -> None:
    reading.require(place, "its id is not 64 hex digits", right=_DIGEST.fullmatch(record.id) is not None)
    reading.times(place, expires_at=record.expires_at)


TABLE: Table[dict[str, UsedLogin], UsedLogin] = Table(
    section=Section(name="used_logins", record=UsedLogin, most=LOGINS_USED_MAX, check=_check, hidden=frozenset())
)
