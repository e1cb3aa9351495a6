"""Bodies that are no strict JSON, or not of the fields and types that their route has (contract §1)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from simulator.attacks.acting import OK, heartbeat
from simulator.attacks.catalogue import NONCE_BYTES
from simulator.attacks.parties import OwnerAttack, set_up_party
from simulator.attacks.routes import POLICY_FETCH, WITH_BODY, send
from simulator.attacks.script import JoinFleet, granted, heartbeat_gets, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.attacks.parties import Addresses, Party
    from simulator.attacks.routes import Route
    from simulator.attacks.script import Outcome, Script, ScriptContext

DEPTH = 20_000
"""Far deeper than any parser's own bound, and far shorter than the longest body."""
DEEP_ARRAY = b"[" * DEPTH + b"]" * DEPTH
DEEP_OBJECT = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"+1", b"01", b"1.", b".5", b"0x10")
NO_TEXTS = (b"1", b"1.5", b"true", b"null", b"[]", b"{}", b'["text"]')
NO_OBJECTS = (b"1", b"false", b"[]", b'"text"')
OBJECTS = frozenset({"rules", "metrics"})
"""The fields that are objects; all others are texts. `metrics` may be null (contract §4), `rules` may not."""


class Wrong(NamedTuple):
    """One wrong body and what is wrong with it. `worded` says whether the contract fixes the message, too."""

    body: bytes
    why: str
    worded: bool = True


def wrong_bodies(right: bytes) -> Iterator[Wrong]:
    """Make every wrong body of a right one, which is an object whose first field is a text."""
    fields = msgspec.json.decode(right, type=dict[str, msgspec.Raw])
    first = next(iter(fields))
    inside = right[:-1]

    def with_value(name: str, value: bytes) -> bytes:
        return msgspec.json.encode({**fields, name: msgspec.Raw(value)})

    yield from _no_objects(right)
    yield Wrong(inside + b',"admin":true}', "a field that the route does not have")
    yield Wrong(inside + b',"":1}', "a field without a name")
    yield Wrong(with_value(first.upper(), fields[first]), "a field whose name is in capitals")
    yield Wrong(right + b"{}", "a second object behind the first")
    yield Wrong(right + right, "the body twice")
    yield Wrong(right + b"]", "a bracket behind the object")
    yield Wrong(right + b"\0", "a zero byte behind the object")
    yield Wrong(with_value(first, DEEP_ARRAY), f"{DEPTH:,} arrays in each other")
    yield Wrong(with_value(first, DEEP_OBJECT), f"{DEPTH:,} objects in each other")
    yield Wrong(with_value(first, b'"\\ud800"'), "a lone high surrogate")
    yield Wrong(with_value(first, b'"a\\udc23b"'), "a lone low surrogate")
    for raw, why in (
        (b"\xff", "a byte that UTF-8 does not have"),
        (b"\xc0\xaf", "a slash in two bytes, which UTF-8 forbids"),
        (b"\xed\xa0\x80", "a surrogate as bytes, which UTF-8 forbids"),
        (b"\xe2\x82", "a character that is cut"),
        (b"\n", "a raw line break within a text"),
    ):
        yield Wrong(with_value(first, b'"a' + raw + b'"'), why)
    for text in NO_NUMBERS:
        yield Wrong(with_value(first, text), f"{text.decode()}, which is not JSON")
    for name in OBJECTS & fields.keys():
        for text in NO_NUMBERS:
            value = b'{"max_cpu_percent":' + text + b"}"
            yield Wrong(with_value(name, value), f"{text.decode()} within {name}, which is not JSON")
    if "rules" in fields:
        # How deep rules may nest before they are no rules, the contract does not say.
        yield Wrong(with_value("rules", b'{"max_cpu_percent":' + DEEP_ARRAY + b"}"), "deep rules", worded=False)
    for name in fields:
        for value in NO_OBJECTS if name in OBJECTS else NO_TEXTS:
            yield Wrong(with_value(name, value), f"{value.decode()} where {name} has another type")
    if "rules" in fields:
        yield Wrong(with_value("rules", b"null"), "null where rules has another type")


def _no_objects(right: bytes) -> Iterator[Wrong]:
    """Make bodies that are no JSON object at all."""
    yield Wrong(b"", "empty")
    yield Wrong(b" \r\n\t", "nothing but blanks")
    for body in (b"null", b"[]", b'"text"', b"1", b"[" + right + b"]"):
        yield Wrong(body, "no object")
    yield Wrong(right[:-1], "cut off")
    yield Wrong(right[:-1] + b",}", "a comma before the bracket")
    yield Wrong(right.replace(b'"', b"'"), "single quotes")
    yield Wrong(right[:-1] + b"/* */}", "a comment")
    yield Wrong(right.decode().encode("utf-16"), "UTF-16")


class StrictJson(OwnerAttack):
    """Every route with a body, with every kind of wrong JSON."""

    name = "json.strict"
    basis = Basis.HARDENED
    shape = "unknown fields, trailing data, NaN, deep nesting, lone surrogates, wrong types, invalid UTF-8, no body"
    verdict = "400 invalid request"
    effect = "nothing is changed, and nothing counted"
    anchor = "contract §1; OWASP API3:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt, and see at last that the same requests are taken with right JSON."""
        party = yield from set_up_party(context, addresses)
        for route in WITH_BODY:
            yield from self._on(context, route, party, addresses)
        fetch = granted(OK, "nothing was changed")
        yield send(context, POLICY_FETCH, party, fetch, client=addresses.take())
        honest = heartbeat(context, party.machine, Answer.ACCEPTED, "its JSON is right", client=addresses.take())
        outcome: Outcome = yield honest
        if outcome.got in {Answer.ACCEPTED, Answer.LOST}:
            yield JoinFleet(party.machine)

    @staticmethod
    def _on(context: ScriptContext, route: Route, party: Party, addresses: Addresses) -> Script[None]:
        if route.body is None:
            return
        nonce = context.rng.bytes(NONCE_BYTES)
        for wrong in wrong_bodies(route.body(context, party, nonce)):
            expect = refused(HTTPStatus.BAD_REQUEST, "invalid request" if wrong.worded else "", wrong.why)
            if route.machine_facing:
                expect = heartbeat_gets(Answer.INVALID_REQUEST, wrong.why)
            yield send(
                context, route, party, expect, client=addresses.take(), payload=wrong.body, nonce=nonce
            )  # fmt: skip
