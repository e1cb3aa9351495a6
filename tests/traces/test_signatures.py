"""Signatures are explained by the key and text that made them, and made again with another key."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from simulator.traces.signatures import ENCODINGS, Explainer, make
from tests.traces.recorded import OWNER_TOKEN, digits

TOKEN, OTHER_TOKEN = digits("token", 48), digits("other", 48)
PATH = "/api/v1/workers/wrk_1/heartbeat"
OVER = ("wrk_1", "2026-01-01T00:00:00Z", "aa", "pol_1")


def explainer() -> Explainer:
    return Explainer({"wrk_1": TOKEN, "wrk_2": OTHER_TOKEN}, OWNER_TOKEN)


def heartbeat(signature: str) -> str:
    fields = {"timestamp": OVER[1], "nonce": OVER[2], "policy_id": OVER[3], "metrics": {}, "signature": signature}
    return msgspec.json.encode(fields).decode()


@pytest.mark.parametrize(
    "form", [*(f"{{{name}}}" for name in ENCODINGS), "{base64:20}", " {base64}", "{hex}\n", "x{base64url}"]
)
def test_a_heartbeats_signature_is_explained_in_whatever_form_and_made_again(form: str) -> None:
    signature = msgspec.json.decode(f'"{make(TOKEN, OVER, form)}"', type=str)
    explained = explainer().explain(PATH, heartbeat(signature), TOKEN)
    assert explained is not None
    assert (explained.key, explained.over) == (TOKEN, OVER)
    assert make(TOKEN, OVER, explained.form) == explained.value


def test_a_heartbeat_signed_with_the_token_it_was_sent_with_is_explained_by_that() -> None:
    wrong = digits("made up", 48)
    signature = sign_text(wrong.encode(), "|".join(OVER)).decode()
    explained = explainer().explain(PATH, heartbeat(signature), wrong)
    assert explained is not None
    assert explained.key == wrong


def test_a_captured_signature_is_explained_where_it_was_made() -> None:
    """On another worker's path no key that belongs there made it."""
    one = explainer()
    signature = sign_text(TOKEN.encode(), "|".join(OVER)).decode()
    first = one.explain(PATH, heartbeat(signature), TOKEN)
    again = one.explain("/api/v1/workers/wrk_2/heartbeat", heartbeat(signature), OTHER_TOKEN)
    assert first == again
    assert explainer().explain("/api/v1/workers/wrk_2/heartbeat", heartbeat(signature), OTHER_TOKEN) is None


def test_owners_signatures_are_explained() -> None:
    rules = {"max_cpu_percent": 5.0, "timezone": "a<b"}
    over = ("ada", canonical_json(rules))
    body = {"owner_id": "ada", "rules": rules, "signature": sign_text(OWNER_TOKEN.encode(), "|".join(over)).decode()}
    explained = explainer().explain("/api/v1/policies", msgspec.json.encode(body).decode(), "")
    assert explained is not None
    assert (explained.key, explained.over, explained.form) == (OWNER_TOKEN, over, "{base64}")
    consented = ("ada", "wrk_1", "pol_1")
    signature = sign_text(OWNER_TOKEN.encode(), "|".join(consented)).decode()
    body = {"owner_id": "ada", "worker_id": "wrk_1", "policy_id": "pol_1", "signature": signature}
    explained = explainer().explain("/api/v1/consents", msgspec.json.encode(body).decode(), "")
    assert explained is not None
    assert (explained.key, explained.over) == (OWNER_TOKEN, consented)


@pytest.mark.parametrize(
    "body",
    [
        heartbeat("bm90IGEgc2lnbmF0dXJlIG9mIGFueSBrZXkgdGhhdCBpcyBrbm93bg=="),
        heartbeat(""),
        '{"signature":5}',
        '{"signature":"abc"',
        '["signature"]',
        '{"rules":{"a":1e999},"signature":"abcdefghij"}',
        "",
    ],
)
def test_what_no_known_key_made_is_not_explained(body: str) -> None:
    assert explainer().explain(PATH, body, TOKEN) is None
    assert explainer().explain("/api/v1/policies", body, "") is None


@given(st.text(), st.text(), st.text())
def test_explaining_never_fails(path: str, body: str, token: str) -> None:
    explainer().explain(f"/workers/{path}/heartbeat", f'{{"signature":"{body}"}}', token)
    explainer().explain(path, body, token)
