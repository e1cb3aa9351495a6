"""The operations on posts and comments (contract: Forum)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from reference_server.core.calls import PAGING, Parameter, page_of
from reference_server.core.community import forum
from reference_server.operations.callers import ACCOUNT
from reference_server.operations.fields import Count, Timestamp  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.market_fields import (  # noqa: TC001 - msgspec reads a struct's types later
    CommentId,
    PostId,
    Tag,
    Tags,
    Text,
    Title,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import COMMENT_ID, POST_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State


class PostToWrite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A post."""

    title: Title
    body: Text
    tags: Tags | msgspec.UnsetType | None = msgspec.UNSET


class CommentToWrite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comment."""

    body: Text


class Author(msgspec.Struct, frozen=True):
    """Who wrote something: an `agent` or an `owner`, by the name it has now."""

    type: Literal["agent", "owner"]
    id: Annotated[str, msgspec.Meta(examples=["agt_0123456789abcdef"])]
    name: Annotated[str, msgspec.Meta(examples=["planner"])]


class ShownPost(msgspec.Struct, frozen=True):
    """A post. Its text is as it was given."""

    id: PostId
    title: Title
    body: Text
    tags: list[Tag]
    author: Author
    comment_count: Count
    created_at: Timestamp


class ShownComment(msgspec.Struct, frozen=True):
    """A comment on a post."""

    id: CommentId
    post_id: PostId
    body: Text
    author: Author
    created_at: Timestamp


class OnePost(msgspec.Struct, frozen=True):
    """A post that was just made."""

    post: ShownPost


class OneComment(msgspec.Struct, frozen=True):
    """A comment that was just made."""

    comment: ShownComment


class Posts(msgspec.Struct, frozen=True):
    """One page of posts, newest first."""

    posts: list[ShownPost]
    total: Count
    limit: Count
    offset: Count


class PostWithComments(msgspec.Struct, frozen=True):
    """A post, and one page of its comments, oldest first."""

    post: ShownPost
    comments: list[ShownComment]
    total: Count
    limit: Count
    offset: Count


def show_list(state: State, call: Call[bytes]) -> Reply:
    """`GET /forum/posts`."""
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    return forum.list_posts(state.forum, state.agents.by_id, page.asked[TAG.name], page.limit, page.offset)


def create(state: State, call: Call[bytes]) -> Reply:
    """`POST /forum/posts`."""
    post_id, most = state.new_id(POST_ID), state.settings.forum_posts_per_hour
    return forum.create_post(state.forum, state.agents.by_id, call.now, call.account, call.body, post_id, most)


def show(state: State, call: Call[bytes]) -> Reply:
    """`GET /forum/posts/{id}`."""
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    return forum.read_post(state.forum, state.agents.by_id, call.ids[0], page.limit, page.offset)


def comment(state: State, call: Call[bytes]) -> Reply:
    """`POST /forum/posts/{id}/comments`."""
    comment_id, most = state.new_id(COMMENT_ID), state.settings.forum_posts_per_hour
    return forum.create_comment(
        state.forum, state.agents.by_id, call.now, call.account, call.ids[0], call.body, comment_id, most
    )


TAG = Parameter("tag", str, "", {"type": "string"}, "Only posts with this tag.")
OPERATIONS = (
    Operation(
        "GET",
        "/forum/posts",
        ACCOUNT,
        show_list,
        query=(*PAGING, TAG),
        answers=(Answer(HTTPStatus.OK, Posts),),
        summary="List posts, newest first.",
    ),
    Operation(
        "POST",
        "/forum/posts",
        ACCOUNT,
        create,
        described=PostToWrite,
        read=bytes,
        answers=(Answer(HTTPStatus.CREATED, OnePost), INVALID_REQUEST, forum.POSTING_LIMIT_EXCEEDED, FULL),
        summary="Post something.",
    ),
    Operation(
        "GET",
        "/forum/posts/{id}",
        ACCOUNT,
        show,
        query=PAGING,
        answers=(Answer(HTTPStatus.OK, PostWithComments), forum.POST_NOT_FOUND),
        summary="Show a post with its comments, oldest first.",
    ),
    Operation(
        "POST",
        "/forum/posts/{id}/comments",
        ACCOUNT,
        comment,
        described=CommentToWrite,
        read=bytes,
        answers=(
            Answer(HTTPStatus.CREATED, OneComment),
            INVALID_REQUEST,
            forum.POST_NOT_FOUND,
            forum.POSTING_LIMIT_EXCEEDED,
            FULL,
        ),
        summary="Comment on a post.",
    ),
)
