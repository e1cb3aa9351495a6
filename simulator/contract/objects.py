"""Checks of the fields of each object in an answer against the request (contract §1, §3, §4).

A value that can only be judged together with other answers, or by a clock, is returned as a `Showing`.
"""

from __future__ import annotations

import re
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.timestamps import parse_timestamp
from simulator.contract.parsed_request import ParsedRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = {"wrk": 16, "mcert": 20, "pol": 16, "con": 16, "aud": 16}
_HEX = re.compile(r"[0-9a-f]+")
_TOKEN = re.compile(r"[0-9a-f]{48}")


class Showing(NamedTuple):
    """One value shown in an answer: `field` of the object whose id is `subject`."""

    subject: str
    field: str
    value: str


class Certified(NamedTuple):
    """A certificate as shown in an answer."""

    certificate_id: str
    machine_id: str
    issued_at: str
    expires_at: str
    signature: str


class Reader:
    """A reader of one answer's data that collects its violations in `odd`, and the values and certificates shown."""

    def __init__(self, asked: ParsedRequest) -> None:
        self._asked = asked
        self._body = asked.fields()
        self.odd: list[Violation] = []
        self.showings: list[Showing] = []
        self.certificates: list[Certified] = []

    def read(self, status: int, data: Any) -> None:
        """Check the data of a success; does nothing for a route without fields of its own."""
        parts = self._asked.path.strip("/").split("/")
        match [self._asked.method, *parts]:
            case ["POST", "machines", "register"]:
                self._is_status(status, HTTPStatus.CREATED)
                self._registration(data)
            case ["POST", "machines", machine_id, "certificate"]:
                self._is_status(status, HTTPStatus.OK)
                self._certificate(data, machine_id)
            case ["POST", "policies"]:
                self._is_status(status, HTTPStatus.CREATED)
                self._new_policy(data)
            case ["POST", "policies", policy_id, "activate"]:
                self._is_status(status, HTTPStatus.OK)
                policy = self._policy(data, "active")
                self._equal(policy, "id", policy_id)
                self._equal(policy, "owner_id", self._asked.header(b"x-owner-id"))
            case ["POST", "consents"]:
                self._is_status(status, HTTPStatus.CREATED)
                self._new_consent(data)
            case ["POST", "consents", consent_id, "revoke"]:
                self._is_status(status, HTTPStatus.OK)
                consent = self._consent(data)
                self._equal(consent, "id", consent_id)
                self._equal(consent, "owner_id", self._asked.header(b"x-owner-id"))
                self._moment(consent, "revoked_at", "consent.revoked_at")
            case ["GET", "workers", worker_id, "policy"]:
                self._is_status(status, HTTPStatus.OK)
                self._fetched_policy(data, worker_id)
            case ["GET", "workers", worker_id, "status"]:
                self._is_status(status, HTTPStatus.OK)
                self._equal(self._object(data), "worker_id", worker_id, "other")
            case ["GET", "workers", "summary"]:
                self._is_status(status, HTTPStatus.OK)
                self._numbers(self._object(data), "total", "fresh", "stale", "unknown", "stale_threshold")
            case ["POST", "workers", worker_id, "heartbeat"]:
                self._is_status(status, HTTPStatus.OK)
                self._accepted(self._object(data), worker_id)

    # --- each object

    def _accepted(self, data: Mapping[str, Any], worker_id: str) -> None:
        self._equal(data, "worker_id", worker_id, "other")
        if data.get("accepted") is not True:
            self._say("accepted", f"its accepted is {_shown(data.get('accepted'))}, in an answer of success")

    def _registration(self, data: Any) -> None:
        shown = self._object(data)
        machine = self._object(shown.get("machine"), "machine")
        worker_id = self._id(machine, "id", "wrk")
        self._equal(machine, "owner_id", self._body.get("owner_id"), "other")
        self._equal(machine, "name", self._body.get("name"))
        self._moment(machine, "created_at", "machine.created_at", worker_id)
        token = shown.get("machine_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            self._say("token-form", "its machine_token is not 48 hex digits")
        self._certificate(shown.get("machine_certificate"), worker_id)

    def _certificate(self, data: Any, machine_id: str) -> None:
        shown = self._object(data, "certificate")
        certificate_id = self._id(shown, "certificate_id", "mcert")
        self._equal(shown, "machine_id", machine_id, "other")
        issued_ns, _ = self._time(shown, "issued_at"), self._time(shown, "expires_at")
        texts = [shown.get(name) for name in Certified._fields]
        if all(isinstance(text, str) for text in texts):
            self.certificates.append(Certified(*map(str, texts)))
        elif shown and not isinstance(shown.get("signature"), str):
            self._say("fields", "its certificate has no signature")
        if issued_ns is not None and certificate_id:
            self.showings.append(Showing(certificate_id, "certificate.issued_at", str(shown["issued_at"])))

    def _policy(self, data: Any, state: str) -> dict[str, Any]:
        shown = self._object(data, "policy")
        policy_id = self._id(shown, "id", "pol")
        if shown and shown.get("state") != state:
            self._say("state", f"its policy's state is {_shown(shown.get('state'))}, not {state!r}")
        version = shown.get("version")
        if shown and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
            self._say("fields", f"its policy's version is {_shown(version)}, no number from 1 on")
        rules = canonical(shown.get("rules"))
        if shown and not isinstance(shown.get("rules"), dict):
            self._say("fields", "its policy has no rules")
        elif rules and policy_id:
            digest = sha256(rules.encode("utf-8", "replace")).hexdigest()
            self.showings.append(Showing(policy_id, "policy.rules", digest))
        if policy_id and isinstance(shown.get("signature"), str):
            self.showings.append(Showing(policy_id, "policy.signature", shown["signature"]))
        return shown

    def _new_policy(self, data: Any) -> None:
        shown = self._policy(data, "draft")
        policy_id = str(shown.get("id"))
        owner_id = self._body.get("owner_id")
        self._equal(shown, "owner_id", owner_id, "other")
        self._equal(shown, "signature", self._body.get("signature"))
        asked, shown_rules = canonical(self._body.get("rules")), canonical(shown.get("rules"))
        if asked and shown_rules and asked != shown_rules:
            self._say("echo", f"its rules are {shown_rules[:200]}, signed were {asked[:200]}")
        self._moment(shown, "created_at", "policy.created_at", policy_id)
        version = shown.get("version")
        if isinstance(version, int) and isinstance(owner_id, str):
            self.showings.append(Showing(owner_id, "policy.version", str(version)))

    def _consent(self, data: Any) -> dict[str, Any]:
        shown = self._object(data, "consent")
        consent_id = self._id(shown, "id", "con")
        self._moment(shown, "effective_at", "consent.effective_at", consent_id)
        return shown

    def _new_consent(self, data: Any) -> None:
        shown = self._consent(data)
        for name in ("owner_id", "worker_id", "policy_id"):
            self._equal(shown, name, self._body.get(name), "other")
        if "signature" in shown:
            self._equal(shown, "signature", self._body.get("signature"))
        if shown.get("revoked_at") is not None:
            self._say("state", "it is revoked, and was only just given")

    def _fetched_policy(self, data: Any, worker_id: str) -> None:
        shown = self._object(data)
        self._equal(shown, "worker_id", worker_id, "other")
        policy = self._policy(shown.get("policy"), "active")
        self._moment(shown, "consent_effective_at", "fetched.effective_at", worker_id)
        if isinstance(policy.get("id"), str):
            self.showings.append(Showing(worker_id, "fetched.policy", policy["id"]))

    # --- one field

    def _is_status(self, status: int, wanted: int) -> None:
        if status != wanted:
            self._say("status", f"its success is HTTP {status}, not {wanted}")

    def _say(self, rule: str, message: str) -> None:
        self.odd.append(Violation(rule, message))

    def _numbers(self, shown: Mapping[str, Any], *names: str) -> None:
        wrong = [
            name for name in names if isinstance(shown.get(name), bool) or not isinstance(shown.get(name), int | float)
        ]
        if shown and wrong:
            self._say("fields", f"it has no number for {', '.join(wrong)}")

    def _object(self, value: Any, name: str = "data") -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._say("fields", f"its {name} is no object")
        return {}

    def _equal(self, shown: Mapping[str, Any], name: str, asked: Any, rule: str = "echo") -> None:
        """Check that a field repeats the value `asked`; a missing field breaks the rule `fields` instead of `rule`."""
        if not shown or not isinstance(asked, str) or not asked:
            return
        if name not in shown:
            self._say("fields", f"it has no {name}")
        elif shown[name] != asked:
            self._say(rule, f"its {name} is {_shown(shown[name])}, asked was {_shown(asked)}")

    def _id(self, shown: Mapping[str, Any], name: str, prefix: str) -> str:
        """Return the id in the field `name`, and check its form; empty if there is none."""
        value = shown.get(name)
        if not isinstance(value, str):
            if shown:
                self._say("fields", f"it has no {name}")
            return ""
        before, _, digits = value.partition("_")
        if before != prefix or len(digits) != _DIGITS[prefix] or not _HEX.fullmatch(digits):
            self._say("id-form", f"its {name} is {_shown(value)}, not {prefix}_ and {_DIGITS[prefix]} hex digits")
        return value

    def _time(self, shown: Mapping[str, Any], name: str) -> int | None:
        value = shown.get(name)
        moment = parse_timestamp(value) if isinstance(value, str) else None
        if name not in shown:
            if shown:
                self._say("fields", f"it has no {name}")
        elif moment is None or not str(value).endswith("Z"):
            self._say("time-form", f"its {name} is {_shown(value)}, no RFC 3339 time in UTC")
        return moment

    def _moment(self, shown: Mapping[str, Any], name: str, field: str, subject: str = "") -> None:
        if self._time(shown, name) is not None:
            self.showings.append(Showing(subject or str(shown.get("id", "")), field, str(shown[name])))


def canonical(rules: Any) -> str:
    """Return a policy's rules as canonical JSON (contract §5); empty if they have no canonical form."""
    if not isinstance(rules, dict):
        return ""
    try:
        return canonical_json(rules)
    except (OverflowError, ValueError, TypeError, RecursionError):
        return ""


def _shown(value: Any) -> str:
    return repr(value)[:120]
