"""The operations of people who log in, and on their sessions (contract: Logins)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec

from reference_server.core.identity import logins, session_routes
from reference_server.operations.callers import ANYONE, SESSION
from reference_server.operations.fields import DIGITS, OwnerId, Timestamp
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FULL


class SentTo(msgspec.Struct, frozen=True):
    """Where the browser is sent, as the header `Location` says it."""

    location: Annotated[str, msgspec.Meta(examples=["/"])]


class SessionToken(msgspec.Struct, frozen=True):
    """A session's token for programs; shown this once."""

    token: Annotated[str, msgspec.Meta(pattern="^hfs_[0-9a-f]+$", examples=[f"hfs_{DIGITS}"])]
    expires_at: Timestamp


class LoggedIn(msgspec.Struct, frozen=True):
    """Who a session is of."""

    owner_id: OwnerId
    provider: Literal["google", "github", "apple"]
    email: Annotated[str, msgspec.Meta(examples=["ada@example.com"])]
    expires_at: Timestamp


class LoggedOut(msgspec.Struct, frozen=True):
    """Who was logged out."""

    owner_id: OwnerId


_CAME_BACK = (
    Answer(HTTPStatus.FOUND, SentTo),
    logins.NO_PROVIDER,
    logins.INVALID_LOGIN_STATE,
    logins.LOGIN_REFUSED,
    logins.PROVIDER_UNAVAILABLE,
    FULL,
)
OPERATIONS = (
    Operation(
        "GET",
        "/auth/{provider}/login",
        ANYONE,
        logins.begin_login,
        query=(logins.RETURN_TO,),
        answers=(Answer(HTTPStatus.FOUND, SentTo), logins.NO_PROVIDER),
        summary="Log in with google, github or apple.",
    ),
    Operation(
        "GET",
        "/auth/{provider}/callback",
        ANYONE,
        logins.come_back_by_link,
        headers=("Cookie",),
        answers=_CAME_BACK,
        summary="Come back from a provider.",
    ),
    Operation(
        "POST",
        "/auth/{provider}/callback",
        ANYONE,
        logins.come_back_by_form,
        read=bytes,  # it is a form
        headers=("Cookie",),
        answers=_CAME_BACK,
        summary="Come back from a provider that sends a form.",
    ),
    Operation(
        "POST",
        "/auth/token",
        SESSION,
        session_routes.make_token,
        answers=(Answer(HTTPStatus.CREATED, SessionToken), FULL),
        summary="Make a token for programs, which ends when this session does.",
    ),
    Operation(
        "GET",
        "/auth/me",
        SESSION,
        session_routes.show_me,
        answers=(Answer(HTTPStatus.OK, LoggedIn),),
        summary="Show who is logged in.",
    ),
    Operation(
        "POST",
        "/auth/logout",
        SESSION,
        session_routes.log_out,
        answers=(Answer(HTTPStatus.OK, LoggedOut),),
        summary="Log out: this session ends, and every token that came of its login.",
    ),
)
