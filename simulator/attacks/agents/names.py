"""Agents that take another's name, or one that only looks like it (contract: Agents)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from simulator.attacks.acting import CREATED, OK, ask, part_of, require
from simulator.attacks.agents.accounts import AccountAttack, new_name, register_agent
from simulator.attacks.script import Claim, Expect, Outcome, Together, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.features import Feature

if TYPE_CHECKING:
    from simulator.attacks.agents.accounts import Account
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Script, ScriptContext, Send

COPIES = 8
NAME_MAX = 64
DESCRIPTION_MAX, MOLTBOOK_ID_MAX = 1_000, 128
FULL_WIDTH = 0xFEE0
"""How far a character of ASCII is from its form of full width, which NFKC takes for the same."""


def lookalikes(name: str) -> tuple[str, ...]:
    """Return spellings of a name that are the same after NFKC and case folding; it has `fi`, `k` and `ss` in it."""
    return (
        name,
        name.upper(),
        name.swapcase(),
        "".join(chr(ord(one) + FULL_WIDTH) if one.isalnum() and one.isascii() else one for one in name),
        name.replace("fi", "\ufb01"),
        name.replace("k", "\u212a"),
        name.replace("ss", "ß"),
        name.replace("ss", "\u1e9e"),
    )


def wrong_fields() -> tuple[dict[str, Any], ...]:
    """Return fields that an agent cannot have, or that it cannot say of itself."""
    return (
        {"description": "d" * (DESCRIPTION_MAX + 1)},
        {"description": 7},
        {"moltbook_id": "m" * (MOLTBOOK_ID_MAX + 1)},
        {"moltbook": {"id": "m1", "name": "molty", "karma": 1_000_000, "is_claimed": True}},
        {"id": "agt_0000000000000000"},
        {"api_key": f"hfk_{'0' * 64}"},
        {"created_at": "2020-01-01T00:00:00Z"},
    )


class Names(AccountAttack):
    """An agent that would be taken for another one."""

    name = "agent.names"
    shape = (
        "another agent's name, in capitals, full width and ligatures, to register and to rename; many at once; names "
        "that are none; and one that its agent gave up"
    )
    verdict = "409 name taken; 400 for what is no name, or no field of an agent's own; 201 for a name that is free"
    effect = "each agent keeps its name, and nobody else has it; nobody says of itself whom others vouch for"
    anchor = "UTS 39; CWE-1007; contract: Agents"
    severity = 5.4
    needs = frozenset({Feature.AGENTS})

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        name = f"classifier k {new_name(context)}"
        victim = yield from register_agent(context, addresses.take(), name=name)
        thief = yield from register_agent(context, addresses.take())
        taken = refused(HTTPStatus.CONFLICT, "name taken", "it is another agent's name, however it is spelt")
        for spelt in lookalikes(name):
            yield _register(context, spelt, taken, addresses)
            yield _rename(context, thief, spelt, taken, addresses)
        none = refused(HTTPStatus.BAD_REQUEST, "", "nobody can be called that")
        for odd in ("", "a" * (NAME_MAX + 1), f"{name}\n", f"{name}\0", f"{name}\u202e", f"\u200b{name}", None, 7):
            yield _register(context, odd, none, addresses)
            if odd is not None:
                yield _rename(context, thief, odd, none, addresses)
        yield from _is_called(context, victim, name, addresses)
        for fields in wrong_fields():
            body = {"name": new_name(context), **fields}
            yield ask(context, "POST", "/agents/register", {}, none, body, client=addresses.take())
            yield ask(context, "PUT", "/agents/me", thief.headers, none, fields, client=addresses.take())
        yield ask(context, "PUT", "/agents/me", thief.headers, none, {}, client=addresses.take())
        yield from self._at_once(context, addresses)
        other = granted(OK, "it is a name that nobody has")
        yield from require(_rename(context, victim, new_name(context), other, addresses), "rename an agent")
        yield _register(context, name.upper(), granted(CREATED, "the agent that had this name gave it up"), addresses)

    @staticmethod
    def _at_once(context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Claim that of many who would have a name at the same moment one gets it."""
        name = new_name(context)
        one_of = Expect(Answer.MAY_BE_REFUSED, (CREATED, HTTPStatus.CONFLICT), "", "the name is whose comes first")
        sends = (_register(context, name.upper() if at % 2 else name, one_of, addresses) for at in range(COPIES))
        outcomes: list[Outcome] = yield Together(tuple(sends))
        made = sum(one.status == CREATED for one in outcomes)
        known = all(one.known for one in outcomes)
        message = f"of {COPIES} agents of one name at once {made} were registered"
        yield Claim("one-of-copies", made == 1 if known or made > 1 else None, message)


def _register(context: ScriptContext, name: Any, expect: Expect, addresses: Addresses) -> Send:
    return ask(context, "POST", "/agents/register", {}, expect, {"name": name}, client=addresses.take())


def _rename(context: ScriptContext, agent: Account, name: Any, expect: Expect, addresses: Addresses) -> Send:
    return ask(context, "PUT", "/agents/me", agent.headers, expect, {"name": name}, client=addresses.take())


def _is_called(context: ScriptContext, agent: Account, name: str, addresses: Addresses) -> Script[None]:
    """Claim that an agent has its name still."""
    own = granted(OK, "it is its own")
    outcome: Outcome = yield ask(context, "GET", "/agents/me", agent.headers, own, client=addresses.take())
    if outcome.right:
        shown = part_of(outcome, "agent").get("name")
        yield Claim("keeps-its-name", shown == name, f"an agent that registered as {name!r} is called {shown!r}")
