"""Pages of lists at the edges of what may be asked for (contract §1)."""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simulator.attacks.acting import OK, act
from simulator.attacks.parties import PAGE, OwnerAttack, set_up_party
from simulator.attacks.routes import AUDIT, STATUSES, send
from simulator.attacks.script import Claim, Expect, granted, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.machine import Action

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.routes import Route
    from simulator.attacks.script import Outcome, Script, ScriptContext

MACHINES = 4
LIMITS = {
    "": 100,
    "1": 1,
    "2": 2,
    "500": 500,
    "501": PAGE,
    "100000": PAGE,
    str(1 << 31): PAGE,
    str(1 << 63): PAGE,
    str(1 << 64): PAGE,
    "9" * 40: PAGE,
}
"""What may be asked for, and what it must be taken for."""
WRONG_LIMITS = ("-1", "0", str(-(1 << 63)), "abc", "NaN", "0x10", "%00", "1%002")
WRONG_OFFSETS = ("-1", str(-(1 << 63)), "abc", "NaN", "0x10", "1%002")
FAR_OFFSETS = ("1000", str((1 << 31) - 1), str(1 << 63), "9" * 40)
FAR_MAX = (1 << 63) - 1
"""Offsets past any list give an empty page; whether those past a 64-bit integer are numbers, a server may decide."""
ITEMS = {STATUSES.path: "workers", AUDIT.path: "events"}


class PageExtremes(OwnerAttack):
    """Limits and offsets that are negative, zero, huge, or no numbers."""

    name = "page.extremes"
    basis = Basis.HARDENED
    claim_bases = MappingProxyType({"walk": Basis.PUBLISHED, "past-the-end": Basis.PUBLISHED})
    shape = "every list with limits and offsets of -1, 0, 501, 2^63, 40 digits, text and nothing"
    verdict = "400 invalid limit, 400 invalid offset; limits above 500 count as 500, offsets past the end give nothing"
    effect = "no page has more than was asked for, and a walk in small steps gives each entry once"
    anchor = "contract §1; OWASP API4:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        party = yield from set_up_party(context, addresses)
        for _ in range(MACHINES - 1):
            machine = context.new_machine(party.owner_id)
            yield from act(context, machine, Action.REGISTER, client=addresses.take())
        for route in (STATUSES, AUDIT):
            yield from self._refusals(context, route, party, addresses)
            yield from self._limits(context, route, party, addresses)
            yield from self._offsets(context, route, party, addresses)

    @staticmethod
    def _refusals(context: ScriptContext, route: Route, party: Party, addresses: Addresses) -> Script[None]:
        for name, values in (("limit", WRONG_LIMITS), ("offset", WRONG_OFFSETS)):
            for value in values:
                expect = refused(
                    HTTPStatus.BAD_REQUEST, f"invalid {name}", f"{name}={value} is below its least or no number"
                )
                path = f"{route.paths(context)[0]}?{name}={value}"
                yield send(context, route, party, expect, client=addresses.take(), path=path)

    @staticmethod
    def _limits(context: ScriptContext, route: Route, party: Party, addresses: Addresses) -> Script[None]:
        wrong, answered = [], 0
        for text, limit in LIMITS.items():
            expect = granted(OK, f"limit={text} counts as {limit}")
            path = f"{route.paths(context)[-1]}?limit={text}"
            outcome: Outcome = yield send(context, route, party, expect, client=addresses.take(), path=path)
            items = outcome.data().get(ITEMS[route.path])
            answered += outcome.right
            if outcome.right and (
                outcome.data().get("limit") != limit or not isinstance(items, list) or len(items) > limit
            ):
                wrong.append(text)
        if answered:
            message = f"of {answered} limits for {route.path} {len(wrong)} are taken for others than they must be"
            yield Claim("limit", not wrong, message, {"limits": wrong})

    @staticmethod
    def _offsets(context: ScriptContext, route: Route, party: Party, addresses: Addresses) -> Script[None]:
        """Walk the list two by two, then ask for what is past its end."""
        name = ITEMS[route.path]
        seen: list[str] = []
        totals: set[Any] = set()
        while True:
            expect = granted(OK, "it is a page of the list")
            path = f"{route.paths(context)[0]}?limit=2&offset={len(seen)}"
            outcome: Outcome = yield send(context, route, party, expect, client=addresses.take(), path=path)
            if not outcome.right:
                return
            items, total = outcome.data().get(name), outcome.data().get("total")
            totals.add(total)
            if not isinstance(items, list) or not items or len(seen) > PAGE:
                break
            seen += [str(one.get("id", one.get("worker_id")) if isinstance(one, dict) else one) for one in items]
        apart = len(set(seen))
        held = len(seen) == apart and totals == {apart} and apart >= MACHINES
        message = f"a walk through {route.path} by steps of two gives {len(seen)} entries, {apart} of them different"
        yield Claim("walk", held, message, {"totals": sorted(map(str, totals)), "entries": seen})
        filled = []
        for text in FAR_OFFSETS:
            statuses = (HTTPStatus.OK,) if int(text) <= FAR_MAX else (HTTPStatus.OK, HTTPStatus.BAD_REQUEST)
            expect = Expect(Answer.ACCEPTED, statuses, "", "the list ends before it")
            path = f"{route.paths(context)[0]}?offset={text}"
            outcome = yield send(context, route, party, expect, client=addresses.take(), path=path)
            if outcome.status == OK and outcome.data().get(name) != []:
                filled.append(text)
        yield Claim("past-the-end", not filled, f"{len(filled)} pages past the end of {route.path} are not empty")
