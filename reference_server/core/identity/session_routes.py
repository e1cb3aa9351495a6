"""Operations on sessions (contract: Logins): tokens for programs, the current user, logout."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.identity.cookies import session_cookie, set_cookie
from reference_server.core.identity.sessions import (
    SESSION_DIGITS,
    SESSION_PREFIX,
    digest_of,
    end_login,
    end_tokens,
    find_session,
    has_room_for_session,
    start_session,
    tokens_of,
)
from reference_server.wire.replies import FULL, UNAUTHORIZED, success
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.values import Instant, Reply


def begin_session(
    state: State, now: Instant, login: str, owner_id: str, provider: str, email: str, expires_ns: int
) -> str:
    """Start a session, of a login or a new one, and return its token. There must be room."""
    token = SESSION_PREFIX + state.entropy.hex(SESSION_DIGITS)
    digest = digest_of(token)
    start_session(state, now, digest, login or digest, owner_id, provider, email, expires_ns)
    return token


def make_token(state: State, call: Call[bytes]) -> Reply:
    """`POST /auth/token`."""
    session = find_session(state, call.now, call.caller.session)
    if session is None:
        return UNAUTHORIZED
    if not has_room_for_session(state, call.now, session.owner_id, is_token=True):
        return FULL
    token = begin_session(
        state, call.now, session.login, session.owner_id, session.provider, session.email, session.expires_ns
    )
    return success({"token": token, "expires_at": format_timestamp(session.expires_ns)}, HTTPStatus.CREATED)


def replace_token(state: State, call: Call[bytes]) -> Reply:
    """Make a token for programs that replaces all others of this browser's login, which end at once."""
    session = find_session(state, call.now, call.caller.session)
    if session is None:
        return UNAUTHORIZED
    if not has_room_for_session(state, call.now, session.owner_id, is_token=True):
        return FULL  # before anything has ended
    if tokens_of(state, session.owner_id, session.login):
        end_tokens(state, call.now, session.owner_id, session.login)
    return make_token(state, call)


def show_me(state: State, call: Call[bytes]) -> Reply:
    """`GET /auth/me`."""
    session = find_session(state, call.now, call.caller.session)
    if session is None:
        return UNAUTHORIZED
    return success(
        {
            "owner_id": session.owner_id,
            "provider": session.provider,
            "email": session.email,
            "expires_at": format_timestamp(session.expires_ns),
        }
    )


def log_out(state: State, call: Call[bytes]) -> Reply:
    """`POST /auth/logout`: end this session, and all others of the same login, at once."""
    session = find_session(state, call.now, call.caller.session)
    if session is None:
        return UNAUTHORIZED
    owner_id = session.owner_id
    end_login(state, call.now, owner_id, session.login)
    state.audit(call.now, "logout", f"owner:{owner_id}", owner_id, {"provider": session.provider}, (owner_id,))
    reply = success({"owner_id": owner_id})
    gone = set_cookie(state.settings, session_cookie(state.settings), "", 0)
    return msgspec.structs.replace(reply, headers=(*reply.headers, gone))
