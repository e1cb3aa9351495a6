"""How many agents and posts there may be, as one value; each bound's reason is in `limits.py`."""

from __future__ import annotations

import msgspec

from reference_server import limits


class CommunityBounds(msgspec.Struct, frozen=True):
    """Past each of these an agent, a post or a comment is refused. `forum_bytes_max` counts all of the forum's text."""

    agents_max: int = limits.AGENTS_MAX
    posts_max: int = limits.POSTS_MAX
    comments_a_post_max: int = limits.COMMENTS_A_POST_MAX
    forum_bytes_max: int = limits.FORUM_BYTES_MAX


COMMUNITY_BOUNDS = CommunityBounds()
