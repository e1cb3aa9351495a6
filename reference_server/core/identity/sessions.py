"""Sessions of people (contract: Logins): record, changes and storage.

Only the SHA-256 of a session's token is stored. Tokens for programs belong to a browser's login: they end with it, and
logging out with any of them ends all of them, so a stolen token cannot be used to keep another.
"""

from __future__ import annotations

import re
from hashlib import sha256
from hmac import compare_digest
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.changes import change
from reference_server.core.table import Table
from reference_server.limits import BROWSERS_A_PERSON_MAX, SESSIONS_MAX, TOKENS_A_PERSON_MAX
from reference_server.wire.exposition import Figure
from reference_server.wire.sections import Section, kept_time
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

SESSION_PREFIX, SESSION_DIGITS = "hfs_", 64
_DIGEST = re.compile("[0-9a-f]{64}")


class SessionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A session in a file. `digest` is of its token, `login` of the first token of its login."""

    digest: str
    login: str
    owner_id: str
    provider: str
    email: str
    created_at: str
    expires_at: str


class Session(msgspec.Struct, frozen=True, gc=False):
    """A session. Its shown end is wall time; its real end is decided by the monotonic clock."""

    digest: str
    login: str
    owner_id: str
    provider: str
    email: str
    created_ns: int
    expires_ns: int
    expires_monotonic_ns: int

    @property
    def is_token(self) -> bool:
        """Whether it is a token for programs and not a browser's session, whose digest names its login."""
        return self.digest != self.login


class Sessions:
    """All sessions by digest, oldest first, with an index by person."""

    def __init__(self) -> None:
        self.by_digest: dict[str, Session] = {}
        self._of_person: dict[str, dict[str, Session]] = {}

    def __len__(self) -> int:
        return len(self.by_digest)

    def of_person(self, owner_id: str) -> list[Session]:
        """Return a person's sessions, oldest first."""
        return list(self._of_person.get(owner_id, {}).values())

    def of_kind(self, owner_id: str, *, is_token: bool) -> list[Session]:
        """Return a person's sessions of browsers, or the tokens for programs, oldest first."""
        return [one for one in self.of_person(owner_id) if one.is_token is is_token]

    def add(self, session: Session) -> None:
        """Add a session. If a person already has the most sessions of its kind, the oldest of that kind ends.

        So a token never ends a browser's session. It first replaces a token of the same login, so a thief can only end
        tokens of the stolen login. The end of a browser's session ends its tokens too, which could not be ended
        otherwise.
        """
        alike = self.of_kind(session.owner_id, is_token=session.is_token)
        if len(alike) >= most_of_kind(is_token=session.is_token):
            ended = next((one for one in alike if one.login == session.login), alike[0])
            if ended.is_token:
                self.remove(ended.digest)
            else:
                self.end_login(ended.owner_id, ended.login)
        self.by_digest[session.digest] = session
        self._of_person.setdefault(session.owner_id, {})[session.digest] = session

    def end_login(self, owner_id: str, login: str) -> None:
        """End every session that came of a login."""
        for session in self.of_person(owner_id):
            if session.login == login:
                self.remove(session.digest)

    def remove(self, digest: str) -> None:
        """End a session."""
        session = self.by_digest.pop(digest)
        of_person = self._of_person[session.owner_id]
        del of_person[digest]
        if not of_person:
            del self._of_person[session.owner_id]

    def drop_expired(self, monotonic_ns: int) -> None:
        """Forget expired sessions, in order of age; one that expires before an older one is forgotten after it."""
        while self.by_digest:
            oldest = next(iter(self.by_digest.values()))
            if monotonic_ns < oldest.expires_monotonic_ns:
                return
            self.remove(oldest.digest)


def most_of_kind(*, is_token: bool) -> int:
    """Return the most browser sessions, or tokens for programs, of a person."""
    return TOKENS_A_PERSON_MAX if is_token else BROWSERS_A_PERSON_MAX


def digest_of(token: str) -> str:
    """Return the stored digest of a session's token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def session_at(
    at: Instant, digest: str, login: str, owner_id: str, provider: str, email: str, created_ns: int, expires_ns: int
) -> Session:
    """Return a session known at `at`. It never outlives its intended life, even if the clock was set back."""
    expires_monotonic_ns = at.monotonic_ns + expires_ns - max(at.wall_ns, created_ns)
    return Session(digest, login, owner_id, provider, email, created_ns, expires_ns, expires_monotonic_ns)


@change("session_started")
def start_session(
    state: State, at: Instant, digest: str, login: str, owner_id: str, provider: str, email: str, expires_ns: int
) -> None:
    """Start a session of a person, who becomes an owner. There must be room for both."""
    state.owner(owner_id)
    sessions = TABLE.of(state)
    sessions.drop_expired(at.monotonic_ns)
    sessions.add(session_at(at, digest, login, owner_id, provider, email, at.wall_ns, expires_ns))


@change("login_ended")
def end_login(state: State, _at: Instant, owner_id: str, login: str) -> None:
    """End every session that came of a login."""
    TABLE.of(state).end_login(owner_id, login)


@change("login_tokens_ended")
def end_tokens(state: State, _at: Instant, owner_id: str, login: str) -> None:
    """End every token for programs that came of a login; the browser's own session goes on."""
    sessions = TABLE.of(state)
    for session in tokens_of(state, owner_id, login):
        sessions.remove(session.digest)


def tokens_of(state: State, owner_id: str, login: str) -> list[Session]:
    """Return the tokens for programs that came of a login, oldest first."""
    return [one for one in TABLE.of(state).of_kind(owner_id, is_token=True) if one.login == login]


def has_room_for_session(state: State, now: Instant, owner_id: str, *, is_token: bool) -> bool:
    """Return whether a person may have another session: there is room, or it replaces an own one."""
    sessions = TABLE.of(state)
    mine = len(sessions.of_kind(owner_id, is_token=is_token))
    if not (TABLE.has_room(state) or mine >= most_of_kind(is_token=is_token)):
        oldest = next(iter(sessions.by_digest.values()))
        return now.monotonic_ns >= oldest.expires_monotonic_ns and state.has_room_for(owner_id)
    return state.has_room_for(owner_id)


def find_session(state: State, now: Instant, digest: str) -> Session | None:
    """Return the session with a token's digest, or None if it is unknown or over.

    A digest is looked up, so the time it takes reveals nothing about a token.
    """
    session = TABLE.of(state).by_digest.get(digest)
    if (
        session is None
        or not compare_digest(session.digest, digest)
        or now.monotonic_ns >= session.expires_monotonic_ns
        or now.wall_ns >= session.expires_ns  # the monotonic clock may stand still while the machine sleeps
    ):
        return None
    return session


def _keep(state: State) -> Iterator[tuple[str, SessionRecord]]:
    for session in TABLE.of(state).by_digest.values():
        created_at, expires_at = format_timestamp(session.created_ns), format_timestamp(session.expires_ns)
        yield (
            session.digest,
            SessionRecord(
                session.digest, session.login, session.owner_id, session.provider, session.email, created_at, expires_at
            ),
        )


def _restore(state: State, file: StateFile, now: Instant) -> None:
    records = SECTION.of(file.sections).values()
    for record in sorted(records, key=lambda record: kept_time(record.expires_at) or 0):
        state.owner(record.owner_id)
        created_ns, expires_ns = kept_time(record.created_at) or 0, kept_time(record.expires_at) or 0
        TABLE.of(state).add(
            session_at(
                now, record.digest, record.login, record.owner_id, record.provider, record.email, created_ns, expires_ns
            )
        )


def _check(reading: Reading, place: str, _key: str, record: SessionRecord) -> None:
    reading.owner(place, record.owner_id)
    for name in ("digest", "login"):
        right = _DIGEST.fullmatch(getattr(record, name)) is not None
        reading.require(place, f"its {name} is not 64 hex digits", right=right)
    reading.times(place, created_at=record.created_at, expires_at=record.expires_at)


def _figures(state: State) -> Sequence[Figure]:
    return (Figure("hatchfarm_sessions", "Sessions of people that logged in.", len(TABLE.of(state))),)


SECTION: Section[Any] = Section(
    name="sessions", record=SessionRecord, most=SESSIONS_MAX, key=attrgetter("digest"), check=_check, hidden=frozenset()
)
TABLE: Table[Sessions, SessionRecord] = Table(
    section=SECTION, make=Sessions, keep=_keep, restore=_restore, figures=_figures
)
