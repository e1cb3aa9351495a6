"""Policies: signatures over other forms than the canonical one, and rules that are out of bounds (contract §5)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from simulator.attacks.acting import CREATED, changed, denied
from simulator.attacks.canonical_forms import FORMS
from simulator.attacks.parties import OwnerAttack
from simulator.attacks.script import NO_NONCE, Claim, Send, granted, refused
from simulator.contract.answers import Operation
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message, owner_headers

if TYPE_CHECKING:
    from simulator.attacks.parties import Addresses
    from simulator.attacks.script import Expect, ExpectedEvent, Outcome, Script, ScriptContext

LONG = 1.7976931348623157e308
PERCENTS = ("max_cpu_percent", "max_memory_percent", "max_gpu_percent")
OUT_OF_BOUNDS = (0, -1, 0.999, 100.001, 101, 1 << 40, -LONG, LONG, 5e-324)
NO_PERCENTS = ("50", "", None, True, [50], {"is": 50})
NO_HOURS: tuple[Any, ...] = ([], [*range(24), 0], [24], [-1], [0, 1 << 40])
NO_HOUR_TYPES: tuple[Any, ...] = ([1.5], ["1"], [None], [True], [[1]], "1", 1, None, {"0": 1})
NO_TIMEZONES: tuple[Any, ...] = (1, None, True, ["UTC"], {"is": "UTC"})
BLANK_TIMEZONES = ("", " ", "\t", "\u00a0", " \r\n ")
UNKNOWN_TIMEZONES = ("Mars/Olympus", "../../../etc/passwd", " Europe/Berlin ")
"""What is no IANA time zone is taken, and counts as UTC (contract §5)."""
HARDENED_RULES: tuple[dict[str, Any], ...] = (
    {"allowed_hours": []},
    {"allowed_hours": [*range(24), 0]},
    *({"timezone": zone} for zone in BLANK_TIMEZONES if zone),
)
"""Beside what is right: nothing in the published API forbids these."""
UNSUPPORTED = (
    "admin",
    "Max_Cpu_Percent",
    "MAX_CPU_PERCENT",
    "max_cpu_percent ",
    "max-cpu-percent",
    "maxCpuPercent",
    "max_disk_percent",
    "allowed_hour",
    "__proto__",
    "",
)


def _create(
    context: ScriptContext,
    owner_id: str,
    rules: str,
    signed: str,
    expect: Expect,
    client: int,
    expected_events: tuple[ExpectedEvent, ...] = (),
) -> Send:
    """Make the request for a policy whose rules are spelled one way, and signed in perhaps another."""
    signature = sign_text(context.token.encode(), f"{owner_id}|{signed}").decode()
    payload = f'{{"owner_id":"{owner_id}","rules":{rules},"signature":"{signature}"}}'.encode()
    message = http_message("POST", "/api/v1/policies", context.host, owner_headers(context.token, owner_id), payload)
    return Send(
        message, expect, Operation.POLICY_CREATE, nonce=NO_NONCE, client=client, expected_events=expected_events
    )


class Canonical(OwnerAttack):
    """Every spelling of the same rules: signed canonically it is taken, signed as it is spelled it is not."""

    name = "policy.canonical"
    basis = Basis.HARDENED
    shape = "equal rules in other escaping, order, number style and spacing, signed canonically and as they are spelled"
    verdict = "201 for the canonical signature, 401 invalid policy signature for every other"
    effect = "one policy_created event for each taken, one owner_access_denied event for each refused"
    anchor = "contract §5; RFC 8785"
    severity = 6.5

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt."""
        owner_id = context.new_owner()
        wrong, taken = [], 0
        for canonical, spellings in FORMS.items():
            for spelled in (canonical, *spellings):
                expect = granted(CREATED, f"it is signed over the canonical form of its rules, {canonical}")
                expected_events = changed(owner_id, Operation.POLICY_CREATE)
                outcome: Outcome = yield _create(
                    context, owner_id, spelled, canonical, expect, addresses.take(), expected_events
                )  # fmt: skip
                if outcome.right:
                    taken += 1
                    # What half a character is shown as, the contract does not say.
                    if "\ufffd" not in canonical and outcome.data().get("rules") != json.loads(canonical):
                        wrong.append({"spelled": spelled, "shown": outcome.data().get("rules")})
            for spelled in spellings:
                expect = refused(
                    HTTPStatus.UNAUTHORIZED,
                    "invalid policy signature",
                    f"the canonical form of its rules is {canonical}",
                )
                expected_events = denied("", owner_id, "", owner_id)
                for sent in (spelled, canonical):
                    yield _create(context, owner_id, sent, spelled, expect, addresses.take(), expected_events)
        if taken:
            message = f"of {taken} policies {len(wrong)} are shown with other rules than they were signed for"
            yield Claim("rules-kept", not wrong, message, {"wrong": wrong})


class Rules(OwnerAttack):
    """Every field of the rules out of its bounds, and fields that rules do not have."""

    name = "policy.rules"
    basis = Basis.PUBLISHED
    mixed = True
    shape = "rightly signed rules with each field out of bounds or of another type, with fields unknown or missing"
    verdict = "400 naming the field"
    effect = "nothing is made"
    anchor = "contract §5; OWASP API3:2023"
    severity = 5.3

    def steps(self, context: ScriptContext, addresses: Addresses) -> Script[None]:
        """Yield the steps of one attempt, and see at its end that rules at their bounds are taken."""
        owner_id = context.new_owner()
        for rules, error in wrong_rules():
            why = f"the rules {json.dumps(rules)} are not within their bounds"
            canonical = canonical_json(rules)
            rest = {name: value for name, value in rules.items() if name != "max_cpu_percent"}
            expect = refused(HTTPStatus.BAD_REQUEST, error, why, Basis.HARDENED if rest in HARDENED_RULES else None)
            yield _create(context, owner_id, canonical, canonical, expect, addresses.take())
        for rules in (
            *({"max_cpu_percent": 50, "timezone": zone} for zone in UNKNOWN_TIMEZONES),
            {"max_cpu_percent": 1, "max_memory_percent": 100, "max_gpu_percent": 1.5, "timezone": "x"},
            {"max_cpu_percent": 100, "allowed_hours": list(range(24))},
        ):
            canonical = canonical_json(rules)
            expected_events = changed(owner_id, Operation.POLICY_CREATE)
            expect = granted(CREATED, "its rules are at their bounds, within")
            yield _create(context, owner_id, canonical, canonical, expect, addresses.take(), expected_events)


def wrong_rules() -> list[tuple[dict[str, Any], str]]:
    """Return rules that are wrong in one thing, and what the refusal must say.

    For a wrong type that is left open: it may be one of JSON's kinds (§1) or one of the field's (§5).
    """
    right: dict[str, Any] = {"max_cpu_percent": 50}
    wrong: list[tuple[dict[str, Any], str]] = [({}, "max_cpu_percent"), ({"max_gpu_percent": 50}, "max_cpu_percent")]
    wrong += [({**right, name: value}, name) for name in PERCENTS for value in OUT_OF_BOUNDS]
    wrong += [({**right, name: value}, "") for name in PERCENTS for value in NO_PERCENTS]
    wrong += [({**right, "allowed_hours": value}, "allowed_hours") for value in NO_HOURS]
    wrong += [({**right, "allowed_hours": value}, "") for value in NO_HOUR_TYPES]
    wrong += [({**right, "timezone": value}, "timezone") for value in BLANK_TIMEZONES]
    wrong += [({**right, "timezone": value}, "") for value in NO_TIMEZONES]
    wrong += [({**right, name: 50}, f"unsupported policy field: {name}") for name in UNSUPPORTED]
    return wrong
