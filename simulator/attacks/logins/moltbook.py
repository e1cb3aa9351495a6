"""Identities that Moltbook does not vouch for, and a Moltbook that says nothing (contract: Agents)."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simulator.attacks.acting import CREATED, OK, ask, part_of, require
from simulator.attacks.catalogue import random_hex
from simulator.attacks.logins.browsing import CLOSED_SETTINGS, LoginAttack
from simulator.attacks.logins.forging import Vouching, write
from simulator.attacks.logins.sessions import LIFE_SECONDS
from simulator.attacks.metrics import counted, read_figures
from simulator.attacks.script import Claim, Outcome, granted, refused
from simulator.contract.features import Feature
from simulator.contract.metrics import AGENTS, OTHER_FAILURES

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Expect, Script, ScriptContext, Send

UNAUTHORIZED, UNAVAILABLE = HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE
IDENTITY = "X-Moltbook-Identity"
KEYS = 3
"""How many keys are made up."""
INVALID = (
    "made-up",
    "a" * 5000,
    write(Vouching()),
    write(Vouching("", "nobody")),
    write(Vouching("x", "x" * 300)),
    write(Vouching("x", "control\x07")),
    write(Vouching(body='{"success":true,"valid":false}')),
    write(Vouching(body='{"success":true,"valid":true,"agent":null}')),
    write(Vouching(body='{"success":false,"valid":true,"agent":{"id":"x","name":"x"}}')),
    write(Vouching(status=401, body='{"success":false,"error":"expired_token"}')),
    write(Vouching(status=404, body='{"success":true,"valid":true,"agent":{"id":"x","name":"x"}}')),
)
"""Identities that are nobody's, by what is said of them."""
DOWN = (
    write(Vouching(status=0)),
    write(Vouching(status=500)),
    write(Vouching(status=503, body='{"success":true,"valid":true,"agent":{"id":"x","name":"x"}}')),
    write(Vouching(status=200, body="<html>maintenance</html>")),
    write(Vouching(status=429, body='{"success":false}')),
    write(Vouching(status=200, body="{" * 1000)),
)
"""Identities of which Moltbook says nothing that could be used."""


class _MoltbookAttack(LoginAttack):
    needs = frozenset({Feature.AGENTS})
    effect = "nobody is registered, and nobody called"
    anchor = "contract: Agents"

    @staticmethod
    def register(context: ScriptContext, identity: str | None, expect: Expect, client: int, **fields: Any) -> Send:
        """Make the step of a registration with an identity, or without any."""
        headers = {} if identity is None else {IDENTITY: identity}
        body = {"name": f"molt {random_hex(context.rng, 16)}", **fields}
        return ask(context, "POST", "/agents/register", headers, expect, body, client=client)

    @staticmethod
    def call(context: ScriptContext, identity: str, expect: Expect, client: int) -> Send:
        """Make the step of a call by an identity, without a key."""
        return ask(context, "GET", "/agents/me", {IDENTITY: identity}, expect, client=client)


class InvalidIdentity(_MoltbookAttack):
    """Identities that are nobody's, and somebody's who is somebody else."""

    name = "moltbook.invalid"
    shape = (
        "no identity, made-up and refused ones, half an agent, one twice, and another's that an agent says is its own"
    )
    verdict = "401 invalid moltbook identity, or moltbook identity required; 401 to a call; 409 the second time"
    severity = 8.1

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        none = refused(UNAUTHORIZED, "moltbook identity required", "it shows no identity")
        yield self.register(context, None, none, addresses.take())
        wrong = refused(UNAUTHORIZED, "invalid moltbook identity", "Moltbook does not vouch for it")
        nobody = refused(UNAUTHORIZED, "unauthorized", "nobody is registered by that identity")
        for identity in INVALID:
            yield self.register(context, identity, wrong, addresses.take())
            yield self.call(context, identity, nobody, addresses.take())
        own_id = f"m{random_hex(context.rng, 12)}"
        first, victim = write(Vouching(own_id, "molty")), write(Vouching(f"{own_id}0", "molty"))
        yield self.call(context, first, nobody, addresses.take())
        right = granted(CREATED, "Moltbook vouches for it")
        send = self.register(context, first, right, addresses.take(), moltbook_id="somebody-else")
        shown = part_of((yield from require(send, "register an agent")), "agent")
        vouched = shown.get("moltbook")
        vouched = vouched if isinstance(vouched, dict) else {}
        message = "an agent is shown as another than Moltbook says"
        yield Claim("as-vouched", (vouched.get("id"), vouched.get("name")) == (own_id, "molty"), message, shown)
        taken = refused(HTTPStatus.CONFLICT, "moltbook identity taken", "the identity has registered")
        yield self.register(context, first, taken, addresses.take())
        own: Outcome = yield self.call(context, first, granted(OK, "it is its identity"), addresses.take())
        if own.right:
            same = part_of(own, "agent").get("id") == shown.get("id")
            yield Claim("same-agent", same, "an identity calls as another agent")
        yield self.call(context, victim, nobody, addresses.take())


class Closed(_MoltbookAttack):
    """Agents that register where nobody may any more."""

    name = "moltbook.closed"
    shape = (
        "registrations without an identity, with one that Moltbook vouches for, and with one that is nobody's; keys, "
        "which nobody has"
    )
    verdict = "403 agent registration is closed; 401 to a call"
    effect = "nobody is registered, and nobody called; keys that are none are counted"
    severity = 6.5
    needs_settings = MappingProxyType({**CLOSED_SETTINGS, "SESSION_TTL_SECONDS": str(LIFE_SECONDS)})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        closed = refused(HTTPStatus.FORBIDDEN, "agent registration is closed", "AGENT_REGISTRATION is closed")
        vouched = write(Vouching(f"m{random_hex(context.rng, 12)}", "molty"))
        for identity in (None, vouched, "made-up"):
            yield self.register(context, identity, closed, addresses.take())
        nobody = refused(UNAUTHORIZED, "unauthorized", "nobody could register")
        yield self.call(context, vouched, nobody, addresses.take())
        before = yield from read_figures(context, addresses.take())
        judged = 0
        for _ in range(KEYS):
            key = {"Authorization": f"Bearer hfk_{random_hex(context.rng, 64)}"}
            outcome: Outcome = yield ask(context, "GET", "/agents/me", key, nobody, client=addresses.take())
            judged += outcome.right
        after = yield from read_figures(context, addresses.take())
        yield counted("failures-counted", OTHER_FAILURES.format("agent"), judged, before, after)
        there = None if after is None else after.get(AGENTS)
        message = f"{AGENTS} is {there} where nobody could register"
        yield Claim("nobody-registered", None if after is None else there == 0, message)


class Down(_MoltbookAttack):
    """A Moltbook that is away, breaks down or talks nonsense: nobody is believed meanwhile, and keys go on."""

    name = "moltbook.down"
    shape = "identities for which Moltbook closes the connection, answers 500, 503, 429, a page, or what cannot be read"
    verdict = "503 moltbook unavailable"
    effect = "nobody is registered or believed; keys are good all the same"
    severity = 7.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        right = granted(CREATED, "Moltbook vouches for it")
        identity = write(Vouching(f"m{random_hex(context.rng, 12)}", "molty"))
        key = (yield from require(self.register(context, identity, right, addresses.take()), "register")).data()
        away = refused(UNAVAILABLE, "moltbook unavailable", "nobody can know whose the identity is")
        for lost in DOWN:
            yield self.register(context, lost, away, addresses.take())
            yield self.call(context, lost, away, addresses.take())
        own = granted(OK, "a key needs nobody who vouches for it")
        yield ask(
            context,
            "GET",
            "/agents/me",
            {"Authorization": f"Bearer {key.get('api_key')}"},
            own,
            client=addresses.take(),
        )
        back = write(Vouching(f"m{random_hex(context.rng, 12)}", "back"))
        yield self.register(context, back, right, addresses.take())
