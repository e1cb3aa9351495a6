"""Which rules a policy may have, and how their signature is read (contract §5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.core.server_under_test import TOKEN, Answer, Server, canonical, hmac_base64, owner_headers

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "canonical_rules.json").read_text(encoding="utf-8"))
PERCENT = "must be a number from 1 to 100"
HOURS = "allowed_hours must be a non-empty array of at most 24 integers from 0 to 23"
TIMEZONE = "timezone must be a string of at most 256 characters that is not blank"


def create(server: Server, rules: Any, *, signed_as: Any = None) -> Answer:
    signature = hmac_base64(TOKEN, f"ada|{canonical(rules if signed_as is None else signed_as)}")
    return server.send(
        "POST",
        "/policies",
        {"owner_id": "ada", "rules": rules, "signature": signature},
        owner_headers(),
    )


WRONG_PERCENTS: list[Any] = [0, 0.999, 100.001, 101, -1, "50", None, True, [50], {}]
WRONG_TIMEZONES: list[Any] = ["", " ", "\t", "\n \r", "\u00a0", "\u3000\u2028", 5, None, ["UTC"], "x" * 257, True]
NO_TIMEZONES = ["Mars/Olympus", " UTC ", "../../etc/passwd", "/etc/localtime", "a\x00b", "UTC\n", "\u200b", "."]
"""What the IANA database does not know is taken all the same, as published, and counts as UTC."""
WRONG_HOURS: list[Any] = [[], [24], [-1], [1.5], ["1"], [True], [None], "1", 5, None, {}, [0] * 25, [0, 24]]
PERCENT_FIELDS = ("max_cpu_percent", "max_memory_percent", "max_gpu_percent")


@pytest.mark.parametrize(
    ("more", "error"),
    [
        *(({name: value}, f"{name} {PERCENT}") for name in PERCENT_FIELDS for value in WRONG_PERCENTS),
        *(({"timezone": value}, TIMEZONE) for value in WRONG_TIMEZONES),
        *(({"allowed_hours": value}, HOURS) for value in WRONG_HOURS),
        ({"max_power": 1}, "unsupported policy field: max_power"),
        ({"": 1}, "unsupported policy field: "),
        ({"b": 1, "a": 1}, "unsupported policy field: a"),
        ({"Max_cpu_percent": 1}, "unsupported policy field: Max_cpu_percent"),
    ],
)
def test_rules_outside_the_allowlist_are_named(server: Server, more: dict[str, Any], error: str) -> None:
    assert create(server, {"max_cpu_percent": 50, **more}).error == (400, error)


def test_cpu_is_the_one_rule_that_is_required(server: Server) -> None:
    assert create(server, {"max_memory_percent": 50}).error == (400, "max_cpu_percent is required")
    assert create(server, {"max_cpu_percent": 50}).status == 201


def test_an_unsupported_field_is_named_before_a_wrong_value(server: Server) -> None:
    assert create(server, {"max_power": 1, "timezone": ""}).error == (400, "unsupported policy field: max_power")


@pytest.mark.parametrize(
    "more",
    [
        {"max_cpu_percent": 1},
        {"max_cpu_percent": 100, "max_memory_percent": 1, "max_gpu_percent": 99.5},
        {"timezone": "Asia/Seoul", "allowed_hours": list(range(24))},
        {"timezone": "x" * 256, "allowed_hours": [0]},
        *({"timezone": zone} for zone in NO_TIMEZONES),
        {"allowed_hours": [23, 23, 0]},
    ],
)
def test_rules_at_their_bounds_are_accepted_and_shown(server: Server, more: dict[str, Any]) -> None:
    rules = {"max_cpu_percent": 50, **more}
    shown = create(server, rules).data
    assert (shown["rules"], shown["version"], shown["state"]) == (rules, 1, "draft")


def test_a_signature_over_other_rules_is_refused_and_audited(server: Server) -> None:
    server.register("ada")
    refused = create(server, {"max_cpu_percent": 51}, signed_as={"max_cpu_percent": 50})
    assert refused.error == (401, "invalid policy signature")
    (event,) = server.audit("ada", "type=owner_access_denied")["events"]
    assert event["metadata"] == {"reason": "invalid_policy_signature", "actor_owner_id": "ada"}


@pytest.mark.parametrize("vector", VECTORS, ids=[str(at) for at in range(len(VECTORS))])
def test_signatures_of_the_worked_vectors_are_accepted(vector: dict[str, str]) -> None:
    """All but of those vectors whose rules are outside the allowlist, which is found out before."""
    server = Server(api_token=vector["secret"])
    fields = f'"owner_id":{json.dumps(vector["owner_id"])},"signature":"{vector["signature"]}"'
    raw = f'{{{fields},"rules":{vector["input"]}}}'.encode()
    answer = server.send("POST", "/policies", raw, owner_headers(token=vector["secret"]))
    if json.loads(vector["input"]).keys() <= {*PERCENT_FIELDS, "timezone", "allowed_hours"}:
        assert answer.error == (201, "")
        assert server.api.state.policies[answer.data["id"]].rules == vector["canonical"]
    else:
        assert answer.error[1].startswith("unsupported policy field: ")


def test_versions_count_up_for_each_owner_alone(server: Server) -> None:
    assert [create(server, {"max_cpu_percent": 50}).data["version"] for _ in range(3)] == [1, 2, 3]
    body = {"owner_id": "bob", "rules": {"max_cpu_percent": 50}}
    body["signature"] = hmac_base64(TOKEN, f"bob|{canonical(body['rules'])}")
    assert server.send("POST", "/policies", body, owner_headers()).data["version"] == 1
