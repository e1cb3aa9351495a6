"""Whatever is not exactly the JSON a route asks for is an invalid request, and changes nothing (contract §1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.server_under_test import (
    NO_OWNERS,
    RULES,
    TOKEN,
    Machine,
    Server,
    canonical,
    hmac_base64,
    owner_headers,
)
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTES = ("register", "policy", "consent", "heartbeat")


class Good:
    """A route, and a body that it accepts."""

    def __init__(self, route: str) -> None:
        self.server = server = Server()
        machine: Machine = server.register()
        policy_id = server.policy()
        self.headers = owner_headers()
        self.path: str
        self.body: dict[str, Any]
        if route == "register":
            self.path, self.body = "/machines/register", {"owner_id": "ada", "name": "new"}
        elif route == "policy":
            signature = hmac_base64(TOKEN, f"ada|{canonical(RULES)}")
            self.path, self.body = "/policies", {"owner_id": "ada", "rules": RULES, "signature": signature}
        elif route == "consent":
            ids = {"owner_id": "ada", "worker_id": machine.id, "policy_id": policy_id}
            signature = hmac_base64(TOKEN, f"ada|{machine.id}|{policy_id}")
            self.path, self.body = "/consents", {**ids, "signature": signature}
        else:
            server.consent(machine, policy_id)
            self.path = f"/workers/{machine.id}/heartbeat"
            self.body = server.heartbeat_body(machine, policy_id, "nonce")
            self.headers = machine.headers
        self.raw = json.dumps(self.body).encode()

    def send(self, raw: bytes) -> tuple[int, str]:
        return self.server.send("POST", self.path, raw, self.headers).error


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("dress", [b"%s", b" \t\r\n%s\r\n "])
def test_the_body_itself_is_accepted(route: str, dress: bytes) -> None:
    good = Good(route)
    assert good.send(dress % good.raw)[0] < 300


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "white space": lambda _: b" \n",
    "trailing text": lambda raw: raw + b"x",
    "trailing object": lambda raw: raw + b"{}",
    "trailing comma": lambda raw: raw[:-1] + b",}",
    "trailing NUL": lambda raw: raw + b"\x00",
    "cut off": lambda raw: raw[:-1],
    "byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "UTF-16": lambda raw: raw.decode().encode("utf-16"),
    "list around": lambda raw: b"[" + raw + b"]",
    "null": lambda _: b"null",
    "text": lambda _: b'"text"',
    "number": lambda _: b"1",
    "comment": lambda raw: raw + b"// no",
    "single quotes": lambda raw: raw.replace(b'"', b"'"),
    "unknown field": lambda raw: raw[:-1] + b',"extra":null}',
    "unknown field of another case": lambda raw: raw[:-1] + b',"Nonce":"n","OWNER_ID":"ada"}',
    "key without value": lambda raw: raw[:-1] + b',"signature"}',
    "invalid UTF-8": lambda raw: raw.replace(b'": "', b'": "\xff', 1),
    "surrogate in UTF-8": lambda raw: raw.replace(b'": "', b'": "\xed\xa0\x80', 1),
    "overlong UTF-8": lambda raw: raw.replace(b'": "', b'": "\xc0\xaf', 1),
    "raw control character": lambda raw: raw.replace(b'": "', b'": "\x01', 1),
    "unknown escape": lambda raw: raw.replace(b'": "', b'": "\\q', 1),
    "lone surrogate": lambda raw: raw.replace(b'": "', b'": "\\ud800', 1),
    "deep nesting": lambda _: b"[" * 100_000,
    "deep nesting inside": lambda raw: raw[:-1] + b',"metrics":' + b'{"a":' * 50_000,
    "form": lambda _: b"owner_id=ada&name=new",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("flaw", BROKEN)
def test_a_broken_body_is_refused(route: str, flaw: str) -> None:
    good = Good(route)
    broken = BROKEN[flaw](good.raw)
    assert broken != good.raw
    assert good.send(broken) == (400, "invalid request")
    assert good.send(good.raw)[0] < 300


WRONG_TEXTS = ["1", "1.5", "true", "null", "[]", "{}", '["a"]', "NaN"]
WRONG_OBJECTS = ["1", '"text"', "true", "[]", '[{"a":1}]', "NaN", "Infinity", "nul", '"null"']


def typed_cases() -> list[tuple[str, str, str]]:
    cases = []
    for route in ROUTES:
        for name, value in Good(route).body.items():
            wrongs = WRONG_OBJECTS if isinstance(value, dict) else WRONG_TEXTS
            cases += [(route, name, wrong) for wrong in wrongs]
            if name == "rules":
                cases.append((route, name, "null"))
    return cases


@pytest.mark.parametrize(("route", "name", "wrong"), typed_cases())
def test_a_field_of_the_wrong_type_is_refused(route: str, name: str, wrong: str) -> None:
    good = Good(route)
    body: dict[str, Any] = {**good.body, name: "@"}
    assert good.send(json.dumps(body).replace('"@"', wrong).encode()) == (400, "invalid request")


NO_JSON = [
    *(b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5", b"1.", b"0x1", b"tru", b"1 2", b"'a'", b"1,"),
    *(b'{"a"}', b'"\\x41"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\x1f"'),
]


@pytest.mark.parametrize("route", ["policy", "heartbeat"])
@pytest.mark.parametrize("inside", NO_JSON)
def test_what_is_no_json_is_refused_at_any_depth(route: str, inside: bytes) -> None:
    """Also where the server itself never looks."""
    good = Good(route)
    name = "rules" if route == "policy" else "metrics"
    for around in (b'{"a":@}', b'{"a":{"b":[1,@]}}'):
        raw = json.dumps({**good.body, name: "@"}).encode().replace(b'"@"', around.replace(b"@", inside))
        assert good.send(raw) == (400, "invalid request")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400])
def test_a_rule_that_no_double_can_hold_is_refused(number: str) -> None:
    good = Good("policy")
    raw = json.dumps({**good.body, "rules": "@"}).replace('"@"', f'{{"max_cpu_percent":{number}}}').encode()
    assert good.send(raw) == (400, "invalid request")


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_a_body_with_any_one_byte_changed_is_never_a_fault(route: str, data: st.DataObject) -> None:
    """Whatever comes of it, it is an answer of the contract."""
    good = Good(route)
    at = data.draw(st.integers(0, len(good.raw) - 1))
    changed = good.raw[:at] + bytes([data.draw(st.integers(0, 255))]) + good.raw[at + 1 :]
    assert good.send(changed)[0] in {200, 201, 400, 401, 403}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("missing", ["owner_id", "signature", "name", "worker_id", "policy_id", "nonce", "timestamp"])
@pytest.mark.parametrize("how", ["left out", "empty"])
def test_a_missing_field_is_named_by_its_routes_own_message(route: str, missing: str, how: str) -> None:
    good = Good(route)
    if missing not in good.body:
        return
    body = {name: value for name, value in good.body.items() if name != missing or how == "empty"}
    if how == "empty":
        body[missing] = ""
    assert good.send(json.dumps(body).encode()) == (
        400,
        {
            "register": "owner_id and name are required",
            "policy": "owner_id and signature are required",
            "consent": "owner_id, worker_id, policy_id, signature are required",
            "heartbeat": "missing required heartbeat fields",
        }[route],
    )


@pytest.mark.parametrize("route", ["register", "policy", "consent"])
@pytest.mark.parametrize("owner_id", [*NO_OWNERS, "x" * 257])
def test_an_owner_id_that_nobody_could_act_under_is_refused(route: str, owner_id: str) -> None:
    good = Good(route)
    assert good.send(json.dumps({**good.body, "owner_id": owner_id}).encode()) == (400, "invalid owner_id")


@pytest.mark.parametrize(
    "owner_id", ["소유자", "🐣", "à", "ÅÅ", "a b", "a\u00a0b", "x" * 256, "é" * 256, "<&>\u2028x", '"\\', "a\u200b"]
)
def test_any_other_owner_id_is_kept_as_it_is(server: Server, owner_id: str) -> None:
    answer = server.send("POST", "/machines/register", {"owner_id": owner_id, "name": owner_id}, owner_headers())
    assert answer.data["machine"]["owner_id"] == owner_id
    (event,) = server.audit(owner_id)["events"]
    assert (event["actor"], event["metadata"]) == (f"owner:{owner_id}", {"name": owner_id})


def test_a_name_past_its_bound_is_refused(server: Server) -> None:
    body = {"owner_id": "ada", "name": "x" * 257}
    assert server.send("POST", "/machines/register", body, owner_headers()).error == (400, "invalid name")
    assert server.send("POST", "/machines/register", {**body, "name": "x" * 256}, owner_headers()).status == 201
