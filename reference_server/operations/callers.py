"""Who may call (contract §2): one row for each kind of principal, with what proves it.

A new kind is a row more, used by operations; nothing else knows which kinds there are.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.calls import AGENT as AGENT_KIND
from reference_server.core.calls import OWNER as OWNER_KIND
from reference_server.core.calls import Caller
from reference_server.core.community.agents import KEY_PREFIX, MOLTBOOK_UNAVAILABLE
from reference_server.core.identity.cookies import read_cookie, session_cookie
from reference_server.core.identity.sessions import SESSION_PREFIX, digest_of, find_session
from reference_server.core.inquiry import Inquiry
from reference_server.core.machines import INVALID_OWNER_ID
from reference_server.core.market.wallet import ensure_account
from reference_server.identity_ports import NoAgent, Unavailable, VerifyAgent
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED, failure
from reference_server.wire.rules import valid_owner_id
from reference_server.wire.signing import matches
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.state import State
    from reference_server.identity_ports import AgentIdentity
    from reference_server.wire.values import Instant


class Credential(msgspec.Struct, frozen=True):
    """A header that says who calls: sent twice, it is not known who does.

    `scheme` is its OpenAPI security scheme; None for one that proves nothing, and is a parameter there.
    """

    name: str
    header: str
    scheme: dict[str, Any] | None


class Principal(msgspec.Struct, frozen=True):
    """A kind of caller.

    `admit` looks at the head alone, before a body is read: it returns whom the request names, or refuses it. Whatever
    needs the state is left to `prove`, which is asked when the request is decided, so that it sees what other
    instances have changed; where it has to ask outside, its inquiry decides who calls. `refusals` are the answers of
    both. `ways` are the sets of credentials of which each is enough, where not all of them are needed.
    """

    name: str
    credentials: tuple[Credential, ...]
    admit: Callable[[State, dict[str, str]], Caller | Reply]
    prove: Callable[[State, Instant, Caller, dict[str, str]], Caller | Reply | Inquiry] | None = None
    refusals: tuple[Reply, ...] = ()
    ways: tuple[tuple[Credential, ...], ...] = ()


CROSS_SITE = failure(HTTPStatus.FORBIDDEN, "cross-site request")
_CHANGE_NOTHING = frozenset({"GET", "HEAD"})


def is_cross_site(state: State, caller: Caller, method: str, headers: dict[str, str]) -> bool:
    """Return whether another site may have had a browser make a request that changes something (contract: Logins).

    A browser sends its cookies whoever asks it to, but says who did.
    """
    if not caller.by_cookie or method in _CHANGE_NOTHING:
        return False
    if "origin" in headers:
        return headers["origin"] != state.settings.public_url
    return headers.get("sec-fetch-site") != "same-origin"


def is_owner(state: State, headers: dict[str, str]) -> bool:
    """Return whether the request carries the owners' bearer token."""
    token = _bearer(headers)
    return token is not None and matches(state.api_token, token)


def _bearer(headers: dict[str, str]) -> str | None:
    """Return the token that the request carries, whosever it is; None where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else None


def _has_key(headers: dict[str, str]) -> bool:
    """Return whether the request carries what looks like an agent's key; `prove` looks whose it is."""
    return (_bearer(headers) or "").startswith(KEY_PREFIX)


def _shows_identity(headers: dict[str, str]) -> bool:
    """Return whether the request carries a Moltbook identity, and nothing that would go before it."""
    return MOLTBOOK_IDENTITY.header.lower() in headers and "authorization" not in headers


def _refuse_bearer(state: State, headers: dict[str, str]) -> Reply:
    """Refuse what proves nothing: the same for all of it, and counted where anything was shown."""
    if "authorization" in headers:
        state.auth_failures["agent" if _has_key(headers) else "session"] += 1
    return UNAUTHORIZED


def as_utf8(value: str) -> str | None:
    """Read a header's value, whose bytes transports show as Latin-1 (RFC 9110 §5.5), as the UTF-8 that clients mean.

    Return None where they are no UTF-8: read in another way, two different values would mean one owner.
    """
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except ValueError:
        return None


def _admit_anyone(state: State, headers: dict[str, str]) -> Caller:
    return Caller(ANYONE.name, proven=is_owner(state, headers))  # whoever shows the owners' token is known


def _admit_scraper(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit owners, and anybody where the settings make the metrics public."""
    owner = is_owner(state, headers)
    return Caller(SCRAPER.name, proven=owner) if owner or state.settings.metrics_public else UNAUTHORIZED


def _admit_owner(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit who shows the owners' token, as whom it names, and who shows a session."""
    if not is_owner(state, headers):
        return _admit_key(headers) if _has_key(headers) else _admit_session(state, headers)
    owner_id = _owner_named(headers)
    return INVALID_OWNER_ID if owner_id is None else Caller(OWNER_KIND, owner_id)


def _owner_named(headers: dict[str, str]) -> str | None:
    """Return the owner that the request names, or nothing; None for one that nobody can be."""
    owner_id = as_utf8(headers.get("x-owner-id", ""))
    # Nobody is registered as one that is not valid, and it may end up in audit events.
    return owner_id if owner_id is not None and valid_owner_id(owner_id) else None


def _admit_key(headers: dict[str, str]) -> Caller | Reply:
    """Admit who shows a key or an identity. An owner that is named beside it is not asked for, and must be one."""
    return INVALID_OWNER_ID if _owner_named(headers) is None else Caller(AGENT_KIND)


def _admit_session(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit who shows a session: as a bearer token or, where nothing is shown so, as a cookie."""
    by_cookie = "authorization" not in headers
    token = read_cookie(headers, session_cookie(state.settings)) if by_cookie else _bearer(headers) or ""
    if not token.startswith(SESSION_PREFIX):
        return _refuse_bearer(state, headers)
    owner_id = _owner_named(headers)
    if owner_id is None:
        return INVALID_OWNER_ID
    return Caller(OWNER_KIND, owner_id, session=digest_of(token), by_cookie=by_cookie)


def _admit_visitor(state: State, headers: dict[str, str]) -> Caller:
    """Admit anybody, and note the session that the browser shows, if it does. No other credential makes a visitor."""
    token = read_cookie(headers, session_cookie(state.settings))
    if not token.startswith(SESSION_PREFIX):
        return Caller(VISITOR.name, proven=False)
    return Caller(OWNER_KIND, proven=False, session=digest_of(token), by_cookie=True)


def _prove_visitor(state: State, now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply:
    """Find the session that is shown. Who shows one that is none is a visitor again; it is counted as anywhere."""
    proven = _prove_session(state, now, caller, headers)
    return msgspec.structs.replace(caller, kind=VISITOR.name) if isinstance(proven, Reply) else proven


def _admit_person(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit who shows a session, and agents, whom `_prove_owner` refuses."""
    return _admit_key(headers) if _has_key(headers) else _admit_session(state, headers)


def _prove_session(state: State, now: Instant, caller: Caller, _headers: dict[str, str]) -> Caller | Reply:
    """Find the session that is shown, if one is. It acts as its own owner only, whomever the request names.

    A token for programs is shown as a bearer (contract §2): as a cookie, where only browsers show anything, it is none.
    """
    if not caller.session:
        return caller
    session = find_session(state, now, caller.session)
    if session is None or (caller.by_cookie and session.is_token):
        state.auth_failures["session"] += 1
        return UNAUTHORIZED
    if caller.id and caller.id != session.owner_id:
        state.deny_owner(now, "session_of_another_owner", session.owner_id, "", caller.id)
        return FORBIDDEN
    return msgspec.structs.replace(caller, id=session.owner_id)


def _prove_owner(state: State, now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply:
    """Find the session that is shown, if one is; refuse agents, with 403 where they are such."""
    if caller.kind == OWNER_KIND:
        return _prove_session(state, now, caller, headers)
    proven = _prove_key(state, headers)
    return proven if isinstance(proven, Reply) else FORBIDDEN


def _prove_key(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Return the agent whose key the request carries. Bad, unknown and replaced ones are refused alike."""
    agent = state.agents.with_key(_bearer(headers) or "")
    return _refuse_bearer(state, headers) if agent is None else Caller(AGENT_KIND, agent.id)


def _admit_agent(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit who has a key or an identity, and owners with a session, whom `_prove_agent` refuses."""
    if is_owner(state, headers):
        return FORBIDDEN
    if _has_key(headers) or _shows_identity(headers):
        return _admit_key(headers)
    return _admit_session(state, headers)


def _prove_agent(state: State, now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply | Inquiry:
    """Find the agent; refuse owners, with 403 where they are such."""
    if caller.kind == AGENT_KIND:
        return _prove_account(state, now, caller, headers)
    proven = _prove_session(state, now, caller, headers)
    return proven if isinstance(proven, Reply) else FORBIDDEN


def _admit_account(state: State, headers: dict[str, str]) -> Caller | Reply:
    """Admit an owner that names itself, or whoever has a key or an identity."""
    if _shows_identity(headers):
        return _admit_key(headers)
    caller = _admit_owner(state, headers)
    return FORBIDDEN if isinstance(caller, Caller) and caller == Caller(OWNER_KIND) else caller


def _prove_vouched(state: State, now: Instant, answer: AgentIdentity | NoAgent | Unavailable) -> Caller | Reply:
    """Return the agent that registered with the identity for which Moltbook vouches."""
    if isinstance(answer, Unavailable):
        return MOLTBOOK_UNAVAILABLE
    agent = None if isinstance(answer, NoAgent) else state.agents.with_identity(answer.id)
    if agent is None:
        state.auth_failures["agent"] += 1
        return UNAUTHORIZED
    return _with_account(state, now, Caller(AGENT_KIND, agent.id))


def _prove_account(state: State, now: Instant, caller: Caller, headers: dict[str, str]) -> Caller | Reply | Inquiry:
    """Return whose account it is, which begins when it is first seen (contract: Principals and accounts)."""
    if caller.kind == OWNER_KIND:
        return _with_account(state, now, _prove_session(state, now, caller, headers))
    if _shows_identity(headers):
        return Inquiry(VerifyAgent(headers[MOLTBOOK_IDENTITY.header.lower()]), _prove_vouched)
    return _with_account(state, now, _prove_key(state, headers))


def _with_account(state: State, now: Instant, proven: Caller | Reply) -> Caller | Reply:
    if isinstance(proven, Reply):
        return proven
    return ensure_account(state.market, now, proven.account) or proven


def _admit_machine(_state: State, _headers: dict[str, str]) -> Caller:
    """Admit anybody: a machine proves itself inside its operations, in the order that the contract gives (§4)."""
    return Caller(MACHINE.name)


def _header(name: str) -> dict[str, str]:
    return {"type": "apiKey", "in": "header", "name": name}


OWNER_TOKEN = Credential("ownerToken", "Authorization", {"type": "http", "scheme": "bearer"})
OWNER_ID = Credential("ownerId", "X-Owner-ID", None)
MACHINE_TOKEN = Credential("machineToken", "X-Machine-Token", _header("X-Machine-Token"))
MACHINE_CERTIFICATE = Credential("machineCertificate", "X-Machine-Certificate-Id", _header("X-Machine-Certificate-Id"))
SESSION_TOKEN = Credential("sessionToken", "Authorization", {"type": "http", "scheme": "bearer"})
SESSION_COOKIE = Credential("sessionCookie", "Cookie", {"type": "apiKey", "in": "cookie", "name": "hf_session"})
AGENT_KEY = Credential("agentKey", "Authorization", {"type": "http", "scheme": "bearer"})
_OF_OWNERS = (UNAUTHORIZED, INVALID_OWNER_ID, FORBIDDEN, CROSS_SITE)
ANYONE = Principal("anyone", (), _admit_anyone)
SCRAPER = Principal("scraper", (OWNER_TOKEN,), _admit_scraper, refusals=(UNAUTHORIZED,), ways=((OWNER_TOKEN,), ()))
OWNER = Principal(
    OWNER_KIND,
    (OWNER_TOKEN, OWNER_ID, SESSION_TOKEN, SESSION_COOKIE),
    _admit_owner,
    _prove_owner,
    _OF_OWNERS,
    ways=((OWNER_TOKEN,), (SESSION_TOKEN,), (SESSION_COOKIE,)),
)
SESSION = Principal(
    "session",
    (SESSION_TOKEN, SESSION_COOKIE, OWNER_ID),
    _admit_person,
    _prove_owner,
    _OF_OWNERS,
    ways=((SESSION_TOKEN,), (SESSION_COOKIE,)),
)
VISITOR = Principal(
    "visitor",
    (SESSION_COOKIE,),
    _admit_visitor,
    _prove_visitor,
    (CROSS_SITE,),
    ways=((SESSION_COOKIE,), ()),
)
"""Whoever looks at the pages for people: signed in, and an owner then, or not."""
MOLTBOOK_IDENTITY = Credential("moltbookIdentity", "X-Moltbook-Identity", _header("X-Moltbook-Identity"))
AGENT = Principal(
    AGENT_KIND,
    (AGENT_KEY, MOLTBOOK_IDENTITY),
    _admit_agent,
    _prove_agent,
    (*_OF_OWNERS, FULL, MOLTBOOK_UNAVAILABLE),
    ways=((AGENT_KEY,), (MOLTBOOK_IDENTITY,)),
)
ACCOUNT = Principal(
    "account",
    (OWNER_TOKEN, OWNER_ID, SESSION_TOKEN, SESSION_COOKIE, AGENT_KEY, MOLTBOOK_IDENTITY),
    _admit_account,
    _prove_account,
    (*_OF_OWNERS, FULL, MOLTBOOK_UNAVAILABLE),
    ways=((OWNER_TOKEN,), (SESSION_TOKEN,), (SESSION_COOKIE,), (AGENT_KEY,), (MOLTBOOK_IDENTITY,)),
)
"""Whoever has an account: an owner, or an agent."""
MACHINE = Principal("machine", (MACHINE_TOKEN, MACHINE_CERTIFICATE), _admit_machine)
