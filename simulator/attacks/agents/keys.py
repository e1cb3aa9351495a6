"""Keys of agents: replaced ones, guessed ones, and what they must not open (contract: Agents, Principals)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import CREATED, OK, ask, part_of, require
from simulator.attacks.agents.accounts import (
    FORBIDDEN,
    POST,
    UNAUTHORIZED,
    AccountAttack,
    account_routes,
    ask_as,
    bearer,
    register_agent,
)
from simulator.attacks.catalogue import HEX_DIGITS, random_hex
from simulator.attacks.metrics import metrics_are_public
from simulator.attacks.parties import events_shown, set_up_party
from simulator.attacks.routes import BEARER, OF_OWNERS, POLICY_FETCH, ROUTES, Who, prefixes, send
from simulator.attacks.script import Claim, Expect, Outcome, Together, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.fleet.requests import owner_headers
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext

KEY_PREFIX, KEY_DIGITS = "hfk_", 64
GUESSES = 128
AT_ONCE = 8
OF_ACCOUNTS = (
    (Feature.AGENTS, "/agents/me"),
    (Feature.WALLET, "/wallet/balance"),
    (Feature.JOBS, "/jobs"),
    (Feature.FORUM, "/forum/posts"),
)
"""One route of each kind that an agent's key opens."""


def opened(context: ScriptContext) -> tuple[str, ...]:
    """Return the paths that a key opens on the target."""
    return tuple(path for feature, path in OF_ACCOUNTS if feature not in context.lacks)


class Revoked(AccountAttack):
    """A key that its agent has replaced."""

    name = "key.revoked"
    shape = (
        "a key that was replaced, on every kind of route, many times at once with the new one, and to replace it again"
    )
    verdict = "401 unauthorized, at once"
    effect = "the new key alone acts as the agent"
    anchor = "OWASP API2:2023; contract: Agents"
    severity = 9.1
    needs = frozenset({Feature.AGENTS})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        agent = yield from register_agent(context, addresses.take())
        old = agent.key
        for path in opened(context):
            own = granted(OK, "it is the agent's key")
            yield ask(context, "GET", path, bearer(old), own, client=addresses.take())
        rotate = {"rotate_api_key": True}
        own = granted(OK, "it is the agent's key")
        send_new = ask(context, "PUT", "/agents/me", bearer(old), own, rotate, client=addresses.take())
        new = (yield from require(send_new, "replace a key")).data().get("api_key")
        fresh = isinstance(new, str) and new.startswith(KEY_PREFIX) and new != old
        yield Claim("new-key", fresh, "a key that was asked for is none, or is the old one")
        if not isinstance(new, str):
            return
        dead = refused(UNAUTHORIZED, "unauthorized", "the key was replaced")
        for path in opened(context):
            yield ask(context, "GET", path, bearer(old), dead, client=addresses.take())
        yield ask(context, "PUT", "/agents/me", bearer(old), dead, rotate, client=addresses.take())
        both = [(old, dead), (new, granted(OK, "it is the agent's key"))] * AT_ONCE
        outcomes: list[Outcome] = yield Together(
            tuple(
                ask(context, "GET", "/agents/me", bearer(key), expect, client=addresses.take(AT_ONCE))
                for key, expect in both
            )
        )
        named = {str(part_of(one, "agent").get("id")) for one in outcomes if one.right and one.status == OK}
        yield Claim("same-agent", named <= {agent.id}, "the new key is another agent's", {"agents": sorted(named)})


class Guess(AccountAttack):
    """Keys that are nearly right, and keys that are made up."""

    name = "key.guess"
    shape = (
        f"{GUESSES} made-up keys, and an agent's own with another digit, case, length, prefix or scheme; every route "
        "of accounts without a key, with an owner's id alone, with the owners' token for nobody, and with two keys"
    )
    verdict = (
        "401 unauthorized, the same for all; 403 forbidden to the owners' token that names no owner; 400 to two keys"
    )
    effect = "hatchfarm_auth_failures_total counts them"
    anchor = "OWASP API2:2023; contract: Principals and accounts"
    severity = 9.1
    needs = frozenset({Feature.AGENTS})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        yield from _without_a_key(context, addresses)
        agent = yield from register_agent(context, addresses.take())
        key, rng = agent.key, context.rng
        last = HEX_DIGITS[(HEX_DIGITS.index(key[-1]) + 1) % 16] if key[-1] in HEX_DIGITS else "0"
        near = [
            *(f"Bearer {one}" for one in (key[:-1], f"{key}0", key[:-1] + last, key.upper(), KEY_PREFIX, key[4:])),
            *(
                f"Bearer {one}"
                for one in (f"hfs_{key[4:]}", f"{KEY_PREFIX}{'0' * KEY_DIGITS}", agent.id, f"{key},{key}")
            ),
            f"Basic {key}",
            key,
            f"bearer{key}",
        ]
        made_up = [f"Bearer {KEY_PREFIX}{random_hex(rng, KEY_DIGITS)}" for _ in range(GUESSES)]
        expect = refused(UNAUTHORIZED, "unauthorized", "it is nobody's key")
        answers: set[bytes] = set()
        routes = account_routes(context)
        for number, value in enumerate((*near, *made_up)):
            route = routes[number % len(routes)]
            outcome: Outcome = yield ask_as(context, route, {BEARER: value}, expect, addresses.take())
            if outcome.right:
                answers.add(outcome.body)
        message = f"wrong keys got {plural(len(answers), 'different answer')}"
        yield Claim("same-answer", len(answers) < 2, message, {"answers": [one.decode("latin-1") for one in answers]})  # noqa: PLR2004
        own = granted(OK, "the agent's own key is good all the same")
        yield ask(context, "GET", "/agents/me", bearer(key), own, client=addresses.take())
        yield from _twice(context, key, addresses)


def _without_a_key(context: ScriptContext, addresses: Addresses) -> Script[None]:
    """Ask every route of accounts as nobody: without a credential, by an owner's id, by the token for none."""
    named = {"X-Owner-ID": context.new_owner()}
    nobody = refused(UNAUTHORIZED, "unauthorized", "nothing proves who calls")
    no_owner = refused(FORBIDDEN, "forbidden", "the owners' token names no owner, and so no account")
    for route in account_routes(context):
        for prefix in prefixes(context):
            for headers, expect in (({}, nobody), (named, nobody), (owner_headers(context.token), no_owner)):
                yield ask_as(context, route, headers, expect, addresses.take(), prefix=prefix)
        if route.method == "GET":
            no_text = refused(UNAUTHORIZED, "", "HEAD is answered as GET is, without a body")
            yield ask_as(context, route, named, no_text, addresses.take(), method="HEAD")


def _twice(context: ScriptContext, key: str, addresses: Addresses) -> Script[None]:
    """Say twice who calls: nobody can know which to believe."""
    expect = refused(HTTPStatus.BAD_REQUEST, "invalid request", "two headers say who calls")
    for number, route in enumerate(account_routes(context)):
        step = ask_as(context, route, bearer(key), expect, addresses.take())
        other = key if number % 2 else f"{KEY_PREFIX}{random_hex(context.rng, KEY_DIGITS)}"
        line, _, rest = step.request.partition(b"\r\n")
        request = line + f"\r\n{BEARER}: Bearer {other}\r\n".encode() + rest
        yield msgspec.structs.replace(step, request=request)


class AsOwner(AccountAttack):
    """An agent's key on everything that is owners' alone, and the owners' token where only agents are."""

    name = "key.as-owner"
    shape = (
        "an agent's key on every owner's route, with and without an owner's id; a post in an owner's name; the owners' "
        "token as an agent"
    )
    verdict = "403 forbidden; 401 where machines or scrapers are asked for"
    effect = "nothing is changed, and no owner's data shown"
    anchor = "OWASP API5:2023; contract: Principals and accounts"
    severity = 9.1
    needs = frozenset({Feature.AGENTS})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        agent = yield from register_agent(context, addresses.take())
        before = len((yield from events_shown(context, party.owner_id, addresses)))
        expect = refused(FORBIDDEN, "forbidden", "agents have no right to what is owners'")
        for route in OF_OWNERS:
            for named in ({}, {"X-Owner-ID": party.owner_id}):
                headers = {**bearer(agent.key), **named}
                yield send(context, route, party, expect, client=addresses.take(), headers=headers)
        if not (yield from metrics_are_public(context, party, addresses)):
            nobody = refused(UNAUTHORIZED, "unauthorized", "it is no token of the owners")
            for route in ROUTES:
                if route.who is Who.SCRAPER and route.feature not in context.lacks:
                    yield send(context, route, party, nobody, client=addresses.take(), headers=bearer(agent.key))
        events = (yield from events_shown(context, party.owner_id, addresses))[before:]
        made = [one for one in events if not str(one.get("type")).endswith("_denied")]
        message = f"an agent left {plural(len(made), 'event')} of changes in the audit of an owner"
        yield Claim("nothing-made", not made, message, {"events": made[:10]})
        as_agent = owner_headers(context.token, party.owner_id)
        for method, body in (("GET", None), ("PUT", {"description": "owned"})):
            yield ask(context, method, "/agents/me", as_agent, expect, body, client=addresses.take())
        yield send(context, POLICY_FETCH, party, granted(OK, "nothing was changed"), client=addresses.take())
        if Feature.FORUM in context.lacks:
            return
        named = {**bearer(agent.key), "X-Owner-ID": party.owner_id}
        itself = Expect(Answer.MAY_BE_REFUSED, (CREATED, FORBIDDEN, 400), "", "it is the agent, whomever it names")
        outcome: Outcome = yield ask(context, "POST", "/forum/posts", named, itself, POST, client=addresses.take())
        if outcome.status == CREATED:
            author = part_of(outcome, "post").get("author")
            shown = (author.get("type"), author.get("id")) if isinstance(author, dict) else None
            message = f"an agent that names an owner posts as {author}"
            yield Claim("as-itself", shown == ("agent", agent.id), message)
