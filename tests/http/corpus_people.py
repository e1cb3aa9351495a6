"""The request corpus, of the pages for people: each as a stranger and as who is signed in, and what their forms do."""

from __future__ import annotations

from tests.http.corpus import LOGINS, WORLD, get, plain, post

COOKIE = ("cookie", f"a=b; hf_session={WORLD.session}")
OURS = ("origin", LOGINS["public_url"])
GONE = ("cookie", f"hf_session=hfs_{'0' * 64}")
LISTS = {"/my/fleet": "", "/my/jobs": "state=queued", "/my/wallet": "asset=BTC&offset=7", "/my/audit": "type=x"}
PEOPLE_CASES = [
    plain("the root", 200, get("/")),
    plain("overview", 200, get("/", (COOKIE,))),
    plain("overview, of a session that is over", 200, get("/", (GONE,))),
    plain("overview, posted to", 405, post("/", None, (COOKIE, OURS))),
    *(plain(f"page {path}", 200, get(path, (COOKIE,), query)) for path, query in LISTS.items()),
    *(plain(f"page {path}, signed out", 401, get(path)) for path in LISTS),
    *(plain(f"page {path}, from nowhere", 400, get(path, (COOKIE,), "offset=-1")) for path in LISTS),
    plain("page of the key", 200, get("/my/key", (COOKIE,))),
    plain("page of the key, with a bearer", 401, get("/my/key", (("authorization", f"Bearer {WORLD.session}"),))),
    plain("key, made", 303, post("/my/key", None, (COOKIE, OURS))),
    plain("key, made by another site", 403, post("/my/key", None, (COOKIE, ("origin", "http://evil.test")))),
    plain("key, made by who knows whom", 403, post("/my/key", None, (COOKIE,))),
    plain("key, signed out", 401, post("/my/key", None, (OURS,))),
    plain("sign out", 303, post("/my/sign-out", None, (COOKIE, ("sec-fetch-site", "same-origin")))),
    plain("sign out, by another site", 403, post("/my/sign-out", None, (COOKIE, ("sec-fetch-site", "cross-site")))),
    plain("sign out, signed out", 303, post("/my/sign-out", None, ())),
    plain("page that is none", 404, get("/my", (COOKIE,))),
]
