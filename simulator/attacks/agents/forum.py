"""Texts that are meant to be more than text where they are shown, or too much of it (contract: Forum)."""

from __future__ import annotations

from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks.acting import CREATED, OK, answered, ask, items_of, part_of
from simulator.attacks.agents.accounts import POST, AccountAttack, new_owner
from simulator.attacks.script import Claim, Expect, Outcome, PrerequisiteError, Together, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext

BAD_REQUEST, TOO_LARGE = HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
PER_HOUR_MAX = 40
"""More posts than this at once would be load, not attack: a limit that is higher is not reached."""
BEYOND = 6
"""How many more than the limit are asked for."""
TITLE_MAX, BODY_MAX, TAGS_MAX = 200, 20_000, 8
MEGABYTE = 1 << 20
HOSTILE = (
    "<script>alert(document.domain)</script>",
    '"><img src=x onerror=alert(1)>{{7*7}}${7*7}<%= 7*7 %>',
    "javascript:alert(1) [x](javascript:alert(1)) ![x](//evil.example/x.png)",
    "</textarea></title></style></script><svg/onload=alert(1)>&lt;b&gt;&amp;",
    "\u202egnp.exe\u202c \u2066hidden\u2069 \u200bzero\u200d\ufeff",
    "\x1b[2J\x1b[31m bell \x07 back \b\b tab \t line\r\nnext \x85 \u2028 \u2029",
    "'; DROP TABLE posts; -- %s %n ../../etc/passwd",
    "🐣" * 50,
)
"""Texts that are kept as they are given: what may be in them is for those to escape who show them."""


def bad_posts() -> Iterator[Any]:
    """Return posts that must be refused, as bodies."""
    right = {"title": "t", "body": "b"}
    yield from ({"title": "t"}, {"body": "b"}, {**right, "html": "<b>"}, [], "text", {**right, "title": 1})
    yield from ({**right, "title": ""}, {**right, "title": "t" * (TITLE_MAX + 1)}, {**right, "title": "a\0b"})
    yield from ({**right, "body": ""}, {**right, "body": "b" * (BODY_MAX + 1)}, {**right, "body": "\0"})
    yield from ({**right, "tags": ["A"]}, {**right, "tags": ["a", "a"]}, {**right, "tags": ["<b>"]})
    yield from ({**right, "tags": [f"t{n}" for n in range(TAGS_MAX + 1)]}, {**right, "tags": ["t" * 33]})
    yield from (msgspec.Raw(b'{"title":"t","body":"\\ud800"}'), msgspec.Raw(b'{"title":"t","body":"\xff"}'))
    yield {**right, "body": "b" * (MEGABYTE - 100)}


class ForumScript(AccountAttack):
    """Posts and comments that would do something if anybody took them for more than text."""

    name = "forum.script"
    shape = (
        "posts and comments with markup, templates, bidi and control characters; too long, too many tags, 1 MB, NUL; "
        "more at once than an hour allows"
    )
    verdict = "201 with the text as it was given, and whose it is; 400, or 413 past 1 MiB; 429 posting limit exceeded"
    effect = "text stays text: shown as JSON, and the same to whoever reads it, with as many comments as there are"
    anchor = "OWASP ASVS 1.2; CWE-79; contract: Forum"
    severity = 7.2
    needs = frozenset({Feature.FORUM})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        if context.defences.posts_per_hour <= PER_HOUR_MAX:
            yield from self._too_many(context, addresses)
        author, reader = new_owner(context), new_owner(context)
        whose = {"author": {"type": "owner", "id": author.id, "name": author.id}}
        post_id, wrong, posted = "", [], []
        tag = f"attack-{sha256(author.id.encode()).hexdigest()[:12]}"  # no run before had such an author
        for text in HOSTILE:
            body = {"title": text[:TITLE_MAX], "body": text, "tags": [tag]}
            outcome = yield from _post(context, author, "/forum/posts", body, addresses)
            post = part_of(outcome, "post")
            wrong += _differs(post, {**body, **whose})
            posted.append(post.get("id"))
            post_id = str(posted[0])
            comment = yield from _post(context, author, f"/forum/posts/{post_id}/comments", {"body": text}, addresses)
            wrong += _differs(part_of(comment, "comment"), {"body": text, **whose})
        message = f"{plural(len(wrong), 'text')} came back otherwise, or as another's"
        yield Claim("as-given", not wrong, message, {"wrong": wrong[:10]})
        yield from self._read(context, reader, post_id, addresses)
        seen = granted(OK, "everybody may read")
        listed: Outcome = yield ask(
            context, "GET", f"/forum/posts?tag={tag}&limit=500", reader.headers, seen, client=addresses.take()
        )
        if listed.right:
            ids = [one.get("id") for one in items_of(listed, "posts")]
            message = f"by their tag {plural(len(ids), 'post')} are listed of {len(posted)}, or not newest first"
            yield Claim("by-tag", ids == posted[::-1], message, {"listed": ids[:10], "posted": posted[:10]})
        too_much = Expect(Answer.REFUSED, (BAD_REQUEST, TOO_LARGE), "", "no post can be like that")
        for bad in bad_posts():
            yield ask(context, "POST", "/forum/posts", author.headers, too_much, bad, client=addresses.take())
        for bad in ({}, {"body": ""}, {"body": "a\0"}, {"body": "b" * (BODY_MAX + 1)}):
            path = f"/forum/posts/{post_id}/comments"
            yield ask(context, "POST", path, author.headers, too_much, bad, client=addresses.take())
        none = refused(HTTPStatus.NOT_FOUND, "", "there is no such post")
        for path in ("/forum/posts/post_0000000000000000", "/forum/posts/%3Cscript%3E", "/forum/posts/..%2f..%2faudit"):
            yield ask(context, "GET", path, reader.headers, none, client=addresses.take())

    @staticmethod
    def _too_many(context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Post more at once than an hour allows, and then once more, and a comment."""
        author, per_hour = new_owner(context), context.defences.posts_per_hour
        why = f"{per_hour} posts and comments an hour are all that an account may make"
        some = Expect(Answer.MAY_BE_REFUSED, (CREATED, TOO_MANY), "", why)
        count = per_hour + BEYOND
        sends = (
            ask(context, "POST", "/forum/posts", author.headers, some, POST, client=addresses.take())
            for _ in range(count)
        )
        outcomes: list[Outcome] = yield Together(tuple(sends))
        made = [one for one in outcomes if one.status == CREATED]
        known = all(one.known for one in outcomes) and not any(b"rate limit exceeded" in one.body for one in outcomes)
        message = f"of {count} posts at once {len(made)} were made, where {per_hour} an hour are allowed"
        yield Claim("never-more", len(made) <= per_hour, message)
        yield Claim("never-fewer", len(made) >= per_hour if known else None, message)
        if len(made) < per_hour:
            return
        over = refused(TOO_MANY, "posting limit exceeded", why)
        yield ask(context, "POST", "/forum/posts", author.headers, over, POST, client=addresses.take())
        for post in made[:1]:
            path = f"/forum/posts/{part_of(post, 'post').get('id')}/comments"
            yield ask(context, "POST", path, author.headers, over, {"body": "b"}, client=addresses.take())

    @staticmethod
    def _read(context: ScriptContext, reader: Account, post_id: str, addresses: Addresses) -> Script[None]:
        """Claim that another is shown the same texts, as JSON."""
        send = ask(
            context, "GET", f"/forum/posts/{post_id}?limit=500", reader.headers, granted(OK, "everybody may read"),
            client=addresses.take(),
        )  # fmt: skip
        outcome: Outcome = yield send
        if not outcome.right:
            return
        texts = [one.get("body") for one in items_of(outcome, "comments")]
        message = f"another reads {plural(len(texts), 'comment')} of {len(HOSTILE)}, or others"
        yield Claim("same-to-all", texts == list(HOSTILE), message, {"shown": texts[:10]})
        count = part_of(outcome, "post").get("comment_count")
        message = f"a post says that it has {count} comments, and is shown with {len(texts)}"
        yield Claim("counted", count == len(texts), message)
        head = outcome.head.lower()
        message = "texts of strangers are shown as something else than JSON"
        yield Claim("shown-as-json", b"\r\ncontent-type: application/json" in head, message)


def _post(
    context: ScriptContext, author: Account, path: str, body: dict[str, Any], addresses: Addresses
) -> Script[Outcome]:
    """Post a text that is one, however it looks. Raises PrerequisiteError."""
    kept = granted(CREATED, "it is a text within its bounds, whatever it says")
    outcome: Outcome = yield ask(context, "POST", path, author.headers, kept, body, client=addresses.take())
    if not outcome.right:
        raise PrerequisiteError(f"post a text: {answered(outcome)}")
    return outcome


def _differs(shown: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is shown otherwise than it was given."""
    if not isinstance(shown, dict):
        return [{"shown": shown}]
    return [{name: shown.get(name), "given": value} for name, value in given.items() if shown.get(name) != value]
