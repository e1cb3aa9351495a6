"""A small OAuth server that follows GitHub's documents: OAuth apps, PKCE, the user and the user's addresses.

Whoever follows the link of its page agrees.
"""

from __future__ import annotations

import base64
import html
import json
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from tests.support.little_http import Given, little_http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.little_http import Asked

CLIENT_ID, CLIENT_SECRET = "hub-client", "hub-secret"


class _Grant(NamedTuple):
    redirect_uri: str
    challenge: str


class GitHubDouble:
    """`user` and `addresses` are what it says of whoever logs in. `asked` has all requests, in order."""

    def __init__(self) -> None:
        self.origin = ""
        self.asked: list[Asked] = []
        self.user: Any = {"login": "ada", "id": 583231, "type": "User"}
        self.addresses: Any = [
            {"email": "old@example.com", "verified": True, "primary": False, "visibility": None},
            {"email": "ada@example.com", "verified": True, "primary": True, "visibility": "private"},
        ]
        self.given: dict[str, Given] = {}
        """By path, what is answered in the place of what is right."""
        self._grants: dict[str, _Grant] = {}
        self._tokens: set[str] = set()

    def grant(self, redirect_uri: str, challenge: str) -> str:
        """Return a new code, as somebody's agreement does."""
        code = f"c{len(self._grants):019d}"
        self._grants[code] = _Grant(redirect_uri, challenge)
        return code

    async def answer(self, asked: Asked) -> Given:
        """Answer a request."""
        self.asked.append(asked)
        if asked.path in self.given:
            return self.given[asked.path]
        match asked.method, asked.path:
            case "GET", "/login/oauth/authorize":
                return self._authorize(asked.query)
            case "POST", "/login/oauth/access_token":
                return Given(body=json.dumps(self._redeem(asked.form)).encode())
            case "GET", "/user":
                return self._show(asked, self.user)
            case "GET", "/user/emails":
                return self._show(asked, self.addresses)
            case _:
                return Given(404, b'{"message":"Not Found"}')

    def _authorize(self, query: dict[str, str]) -> Given:
        if query.get("client_id") != CLIENT_ID or query.get("code_challenge_method") != "S256":
            return Given(404, b"<h1>404</h1>", (("content-type", "text/html"),))
        code = self.grant(query["redirect_uri"], query["code_challenge"])
        back = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        page = f"<title>Authorize</title><a id=authorize href='{html.escape(back)}'>Authorize</a>"
        return Given(200, page.encode(), (("content-type", "text/html; charset=utf-8"),))

    def _redeem(self, form: dict[str, str]) -> dict[str, str]:
        """Refusals have status 200, too (GitHub: troubleshooting OAuth app access token request errors)."""
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return {"error": "incorrect_client_credentials"}
        grant = self._grants.get(form.get("code", ""))
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if grant is None or grant.challenge != challenge:
            return {"error": "bad_verification_code"}
        if grant.redirect_uri != form.get("redirect_uri"):
            return {"error": "redirect_uri_mismatch"}
        del self._grants[form["code"]]
        token = f"gho_{len(self._tokens):036d}"
        self._tokens.add(token)
        return {"access_token": token, "scope": "user:email", "token_type": "bearer"}

    def _show(self, asked: Asked, what: Any) -> Given:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens or "user-agent" not in asked.headers:
            return Given(401, b'{"message":"Requires authentication"}')
        return Given(body=json.dumps(what).encode())


@asynccontextmanager
async def github_double() -> AsyncIterator[GitHubDouble]:
    """Serve one on loopback."""
    double = GitHubDouble()
    async with little_http(double.answer) as origin:
        double.origin = origin
        yield double
