"""Posts and comments in files (contract: Forum)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.community.forum import Comment, Post, valid_tags, valid_text
from reference_server.core.keeping import moments
from reference_server.core.table import Table
from reference_server.limits import POST_BODY_MAX_CHARACTERS, POST_TITLE_MAX_CHARACTERS, POSTS_MAX
from reference_server.wire.ids import COMMENT_ID, POST_ID
from reference_server.wire.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant


class PostRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A post without its comments."""

    id: str
    account: str
    title: str
    body: str
    tags: tuple[str, ...]
    created_at: str


class CommentRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comment on a post."""

    id: str
    post_id: str
    account: str
    body: str
    created_at: str


def _keep(state: State) -> Iterator[tuple[str, PostRecord]]:
    for one in state.forum.posts.values():
        yield one.id, PostRecord(one.id, one.account, one.title, one.body, one.tags, moments.write(one.created))


def _restore(state: State, file: StateFile, now: Instant) -> None:
    for one in SECTION.of(file.sections).values():
        created = moments.read(now, one.created_at)
        state.forum.add(Post(one.id, one.account, one.title, one.body, one.tags, created, []))


def _check(reading: Reading, place: str, _key: str, one: PostRecord) -> None:
    valid = valid_text(one.title, POST_TITLE_MAX_CHARACTERS) and valid_text(one.body, POST_BODY_MAX_CHARACTERS)
    reading.require(place, "its title or its body is too long, or there is none", right=valid)
    reading.require(place, "its tags are none", right=valid_tags(one.tags))
    reading.times(place, created_at=one.created_at)


def _keep_comments(state: State) -> Iterator[tuple[str, CommentRecord]]:
    for post in state.forum.posts.values():
        for one in post.comments:
            yield one.id, CommentRecord(one.id, one.post_id, one.account, one.body, moments.write(one.created))


def _restore_comments(state: State, file: StateFile, now: Instant) -> None:
    for one in COMMENTS.of(file.sections).values():
        created = moments.read(now, one.created_at)
        state.forum.add_comment(Comment(one.id, one.post_id, one.account, one.body, created))
    state.forum.order_lately()


def _check_comment(reading: Reading, place: str, _key: str, one: CommentRecord) -> None:
    reading.require(place, "no such post", right=reading.find(SECTION, one.post_id) is not None)
    valid = valid_text(one.body, POST_BODY_MAX_CHARACTERS)
    reading.require(place, "its body is too long, or there is none", right=valid)
    reading.times(place, created_at=one.created_at)


SECTION = Section(name="posts", record=PostRecord, most=POSTS_MAX, form=POST_ID, check=_check, hidden=frozenset())
TABLE: Table[Any, PostRecord] = Table(section=SECTION, keep=_keep, restore=_restore)
COMMENTS = Section(
    name="comments", record=CommentRecord, most=None, form=COMMENT_ID, check=_check_comment, hidden=frozenset()
)
COMMENTS_TABLE: Table[Any, CommentRecord] = Table(section=COMMENTS, keep=_keep_comments, restore=_restore_comments)
