"""Posts and comments (contract: Forum). Text is stored unchanged, and never interpreted."""

from __future__ import annotations

import re
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from reference_server.core.changes import Changing, change
from reference_server.core.community.bounds import COMMUNITY_BOUNDS, CommunityBounds
from reference_server.core.market.conditions import HOUR_NS
from reference_server.core.market.notes import Part
from reference_server.limits import (
    POST_BODY_MAX_CHARACTERS,
    POST_TAGS_MAX,
    POST_TITLE_MAX_CHARACTERS,
)
from reference_server.wire.replies import FULL, INVALID_REQUEST, failure, retry_after, success
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from reference_server.core.community.agents import Agent
    from reference_server.wire.values import Reply

POST_NOT_FOUND = failure(404, "post not found")
POSTING_LIMIT_EXCEEDED = failure(429, "posting limit exceeded")
_TAG = re.compile("[a-z0-9-]{1,32}")
Read = TypeVar("Read")
_TEXT_OVERHEAD_BYTES = 500
"""Bytes of a post or comment besides its texts."""


class Comment(msgspec.Struct, frozen=True, gc=False):
    """One comment; `account` is its author's."""

    id: str
    post_id: str
    account: str
    body: str
    created: Instant


class Post(msgspec.Struct, gc=False):
    """One post, and its comments, oldest first."""

    id: str
    account: str
    title: str
    body: str
    tags: tuple[str, ...]
    created: Instant
    comments: list[Comment]


class PostBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a post."""

    title: str
    body: str
    tags: list[str] | None = None


class CommentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a comment."""

    body: str


_decode_post = msgspec.json.Decoder(PostBody).decode
_decode_comment = msgspec.json.Decoder(CommentBody).decode


class HasForum(Changing, Protocol):
    """What a change is made to, by decisions and by recovery: a forum, or a state that has such."""

    @property
    def forum(self) -> Forum:
        """Return them."""
        ...


class Forum(Part):
    """All posts, oldest first, by tag too, and when each account has posted within the last hour."""

    def __init__(self, notes: Changing | None = None, bounds: CommunityBounds = COMMUNITY_BOUNDS) -> None:
        super().__init__(notes)
        self.bounds = bounds
        self.posts: dict[str, Post] = {}
        self._by_tag: dict[str, dict[str, Post]] = {}
        self._lately: dict[str, deque[Instant]] = {}
        self._bytes = 0

    @property
    def forum(self) -> Forum:
        """Return itself: a change is made to this, or to a state that has it."""
        return self

    def add(self, post: Post) -> None:
        """Add a post without its comments."""
        self.posts[post.id] = post
        for tag in post.tags:
            self._by_tag.setdefault(tag, {})[post.id] = post
        self._count(post.account, post.created, _size(post.title, post.body))

    def add_comment(self, comment: Comment) -> None:
        """Add a comment to its post."""
        self.posts[comment.post_id].comments.append(comment)
        self._count(comment.account, comment.created, _size(comment.body))

    def tagged(self, tag: str) -> dict[str, Post]:
        """Return the posts with a tag, or all for none, oldest first."""
        return self._by_tag.get(tag, {}) if tag else self.posts

    def has_room(self, *texts: str) -> bool:
        """Return whether there is room for some more text."""
        return self._bytes + _size(*texts) <= self.bounds.forum_bytes_max

    def wait_ns(self, account: str, now: Instant, most: int) -> int:
        """Return how long an account has to wait until it may post again, `most` an hour; 0 for no wait.

        Where nobody may post, it is told to come again in an hour.
        """
        if not most:
            return HOUR_NS
        lately = self._lately.get(account)
        if lately is None:
            return 0
        while lately and now.monotonic_ns - lately[0].monotonic_ns >= HOUR_NS:
            lately.popleft()
        if not lately:
            del self._lately[account]
        if len(lately) < most:
            return 0
        return lately[len(lately) - most].monotonic_ns + HOUR_NS - now.monotonic_ns

    def order_lately(self) -> None:
        """Sort each account's recent posting times, after posts and comments were restored one after the other."""
        for account, lately in self._lately.items():
            self._lately[account] = deque(sorted(lately, key=lambda at: at.monotonic_ns))

    def _count(self, account: str, at: Instant, size: int) -> None:
        self._bytes += size
        self._lately.setdefault(account, deque()).append(at)


def _size(*texts: str) -> int:
    return _TEXT_OVERHEAD_BYTES + sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


@change("post_added")
def add_post(
    state: HasForum, at: Instant, post_id: str, account: str, title: str, body: str, tags: tuple[str, ...]
) -> None:
    """Add a post."""
    forum = state.forum
    forum.add(Post(post_id, account, title, body, tuple(tags), at, []))


@change("comment_added")
def add_comment(state: HasForum, at: Instant, comment_id: str, post_id: str, account: str, body: str) -> None:
    """Add a comment."""
    forum = state.forum
    forum.add_comment(Comment(comment_id, post_id, account, body, at))


def _author(account: str, agents: Mapping[str, Agent]) -> dict[str, str]:
    """Return an author as the API shows it, with its current name; an owner's name is its id."""
    kind, _, name = account.partition(":")
    agent = agents.get(name) if kind == "agent" else None
    return {"type": kind, "id": name, "name": name if agent is None else agent.name}


def show_post(post: Post, agents: Mapping[str, Agent]) -> dict[str, Any]:
    """Return a post as the API shows it."""
    return {
        "id": post.id,
        "title": post.title,
        "body": post.body,
        "tags": list(post.tags),
        "author": _author(post.account, agents),
        "comment_count": len(post.comments),
        "created_at": format_timestamp(post.created.wall_ns),
    }


def show_comment(comment: Comment, agents: Mapping[str, Agent]) -> dict[str, Any]:
    """Return a comment as the API shows it."""
    return {
        "id": comment.id,
        "post_id": comment.post_id,
        "body": comment.body,
        "author": _author(comment.account, agents),
        "created_at": format_timestamp(comment.created.wall_ns),
    }


def valid_text(text: str, most: int) -> bool:
    """Return whether a text can be a title or a body of at most `most` characters."""
    return 1 <= len(text) <= most and "\0" not in text


def valid_tags(tags: Sequence[str]) -> bool:
    """Return whether a post can have these tags."""
    return len(set(tags)) == len(tags) <= POST_TAGS_MAX and all(map(_TAG.fullmatch, tags))


def _decoded(decode: Callable[[bytes], Read], body: bytes) -> Read | None:
    """Return the decoded body, or None if it is not strict JSON of its fields."""
    try:
        body.decode("utf-8")
        return decode(body)
    except (ValueError, RecursionError):
        return None


def _limited(forum: Forum, now: Instant, account: str, posts_per_hour: int) -> Reply | None:
    wait_ns = forum.wait_ns(account, now, posts_per_hour)
    if not wait_ns:
        return None
    return retry_after(POSTING_LIMIT_EXCEEDED, wait_ns)


def create_post(
    forum: Forum,
    agents: Mapping[str, Agent],
    now: Instant,
    account: str,
    body: bytes,
    post_id: str,
    posts_per_hour: int,
) -> Reply:
    """`POST /forum/posts`."""
    read = _decoded(_decode_post, body)
    if read is None or not valid_text(read.title, POST_TITLE_MAX_CHARACTERS):
        return INVALID_REQUEST
    tags = read.tags or []
    if not (valid_text(read.body, POST_BODY_MAX_CHARACTERS) and valid_tags(tags)):
        return INVALID_REQUEST
    refusal = _limited(forum, now, account, posts_per_hour)
    if refusal is not None:
        return refusal
    if len(forum.posts) >= forum.bounds.posts_max or not forum.has_room(read.title, read.body):
        return FULL
    add_post(forum, now, post_id, account, read.title, read.body, tuple(tags))
    return success({"post": show_post(forum.posts[post_id], agents)}, 201)


def create_comment(
    forum: Forum,
    agents: Mapping[str, Agent],
    now: Instant,
    account: str,
    post_id: str,
    body: bytes,
    comment_id: str,
    posts_per_hour: int,
) -> Reply:
    """`POST /forum/posts/{id}/comments`."""
    read = _decoded(_decode_comment, body)
    if read is None or not valid_text(read.body, POST_BODY_MAX_CHARACTERS):
        return INVALID_REQUEST
    post = forum.posts.get(post_id)
    if post is None:
        return POST_NOT_FOUND
    refusal = _limited(forum, now, account, posts_per_hour)
    if refusal is not None:
        return refusal
    if len(post.comments) >= forum.bounds.comments_a_post_max or not forum.has_room(read.body):
        return FULL
    add_comment(forum, now, comment_id, post_id, account, read.body)
    return success({"comment": show_comment(post.comments[-1], agents)}, 201)


def list_posts(forum: Forum, agents: Mapping[str, Agent], tag: str, limit: int, offset: int) -> Reply:
    """`GET /forum/posts`, newest first; `tag` is empty for all."""
    posts = forum.tagged(tag)
    shown = [show_post(post, agents) for post in _page(posts, limit, offset)]
    return success({"posts": shown, "total": len(posts), "limit": limit, "offset": offset})


def _page(posts: dict[str, Post], limit: int, offset: int) -> Iterable[Post]:
    """Return a page of posts, newest first. Skipping posts before it takes a microsecond for a hundred."""
    start = min(offset, len(posts))
    return islice(reversed(posts.values()), start, start + limit)


def read_post(forum: Forum, agents: Mapping[str, Agent], post_id: str, limit: int, offset: int) -> Reply:
    """`GET /forum/posts/{id}`: with a page of its comments, oldest first."""
    post = forum.posts.get(post_id)
    if post is None:
        return POST_NOT_FOUND
    comments = [show_comment(comment, agents) for comment in post.comments[offset : offset + limit]]
    return success(
        {
            "post": show_post(post, agents),
            "comments": comments,
            "total": len(post.comments),
            "limit": limit,
            "offset": offset,
        }
    )
