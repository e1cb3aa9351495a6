"""The rules a run can break, under ids that never change their meaning, each with how bad it is to break it.

`attack/NAME` is an attack that was not refused as it must be, `checker/NAME` what a checker holds to be wrong, and
`threshold/METRIC` a threshold that was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks import CATALOGUE
from simulator.history import HONEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.checkers.verdict import Finding

SEVERITY_UNKNOWN = 7.5
"""Of a rule that says nothing else: high, until somebody knows better."""
ERROR_FROM, WARNING_FROM = 7.0, 4.0
"""Where CVSS 3 begins to call a weakness high, and medium."""


class Rule(msgspec.Struct, frozen=True):
    """One rule: its id, what breaks it in a sentence, what a correct server does, and a severity from 0 to 10."""

    id: str
    summary: str
    expected: str
    severity: float

    @property
    def level(self) -> str:
        """Give the severity in SARIF's words."""
        if self.severity >= ERROR_FROM:
            return "error"
        return "warning" if self.severity >= WARNING_FROM else "note"


_BOUNDS = "Every figure of the metrics page lies within the bounds that follow from what was sent and answered."
_AGREES = "An alert's gauge is on exactly when its count has reached the threshold, within one scrape."
_LIVING = "Only a machine's own latest certificate is accepted, until its end."
_KEPT = "What was acknowledged survives `kill -9` and power loss."
_LIMIT = "Each client gets through as many requests as its token bucket holds, and no fewer."
_EVENTS = "Each accepted change and each refused attempt has exactly its event."
_CHAIN = "Each event holds the hash of the one before it, and none changes once it was shown."
_SETTINGS = "The settings that a run assumes of a target are those that it was started with."
_CHECKERS: Mapping[str, tuple[str, str, float]] = {
    "alerts.missing": ("A published metric is missing", "Every published metric is on every page.", 5.0),
    "alerts.workers": ("The count of workers was impossible", _BOUNDS, 5.0),
    "alerts.unknown": ("The count of unknown workers was impossible", _BOUNDS, 5.0),
    "alerts.stale": ("The count of stale workers was impossible", _BOUNDS, 6.5),
    "alerts.failures": ("The count of auth failures was impossible", _BOUNDS, 6.5),
    "alerts.recent": ("The count of recent auth failures was impossible", _BOUNDS, 7.0),
    "alerts.unattributed": ("The count of auth failures that name no known worker was impossible", _BOUNDS, 5.0),
    "alerts.by-reason": ("The count of auth failures for a reason was impossible", _BOUNDS, 5.0),
    "alerts.sum": ("Auth failures do not add up over their reasons", "The reasons add up to the total.", 4.0),
    "alerts.stale-gauge": ("The stale-workers alert contradicts its count", _AGREES, 6.5),
    "alerts.auth-gauge": ("The auth-failure alert contradicts its count", _AGREES, 7.0),
    "alerts.malformed": ("The metrics page is none", "Metrics are shown in the Prometheus text format.", 4.0),
    "alerts.leap": ("Uptime grew by more than the time that passed", "Uptime is the time since the start.", 4.0),
    "alerts.backwards": ("A counter went backwards", "Counters only grow while the server runs.", 4.0),
    "replay.accepted-twice": (
        "A heartbeat was accepted twice",
        "At most one heartbeat is accepted for a worker and a nonce.",
        9.1,
    ),
    "revocation.accepted-after": (
        "A heartbeat was accepted after its consent's revoke was acknowledged",
        "Nothing that is sent after an acknowledged revoke is accepted.",
        8.1,
    ),
    "durability.not-started": ("The server did not come up again", "A server starts from what it has written.", 9.1),
    "durability.not-healed": ("The server did not recover from a fault", "It serves again after the fault.", 7.5),
    "durability.machine": ("A registered machine was gone after a fault", _KEPT, 8.1),
    "durability.heartbeat": ("An accepted heartbeat was gone after a fault", _KEPT, 7.5),
    "durability.forgotten": ("A machine was refused as a stranger after a restart", _KEPT, 8.1),
    "durability.nonce": ("A nonce was accepted again after a restart", _KEPT, 9.1),
    "durability.revocation": ("A revoked consent was good again after a restart", _KEPT, 9.1),
    "durability.refused": ("A refused heartbeat had taken effect", "What is refused changes nothing.", 7.5),
    "nonces.open": ("A nonce was accepted that nobody could know to be new", "It is refused with 503.", 9.1),
    "nonces.slow": ("Failing closed took too long", "Without Redis a heartbeat is refused within 250 ms.", 5.0),
    "credentials.unissued": ("A certificate that was never issued was accepted", _LIVING, 9.1),
    "credentials.foreign": ("Another machine's certificate was accepted", _LIVING, 8.8),
    "credentials.rotated-out": ("A certificate that had been replaced was accepted", _LIVING, 7.5),
    "credentials.expired": ("An expired certificate was accepted", _LIVING, 6.5),
    "limits.too-many": ("More requests got through than the rate limit allows", _LIMIT, 6.5),
    "limits.too-few": ("A client was refused as too fast that was not", _LIMIT, 4.0),
    "audit.missing": ("An audit event is missing", _EVENTS, 7.5),
    "audit.unexplained": ("An audit event has nothing that explains it", _EVENTS, 6.5),
    "audit.duplicate": ("An audit event is there more than once", _EVENTS, 5.0),
    "audit.foreign": ("An owner sees another owner's audit events", "Owners see what concerns them alone.", 7.5),
    "audit.misattributed": ("An audit event names another actor, object or reason than was due", _EVENTS, 7.0),
    "audit.metadata": ("An audit event tells something else than what happened", _EVENTS, 6.5),
    "audit.shape": ("An audit event lacks a part", "Every event has its type, time, actor and object.", 4.0),
    "audit.total": ("An audit list does not hold as many events as it says", _EVENTS, 4.0),
    "audit.order": ("Audit events are out of order", "A stream's numbers rise, and lists are merged by time.", 4.0),
    "audit.chain": ("The audit chain is broken", _CHAIN, 7.5),
    "audit.hash": ("An audit event does not have its hash", _CHAIN, 7.5),
    "audit.head": ("The head of an audit stream is not its last event", _CHAIN, 7.5),
    "audit.rewritten": ("The audit was changed after it was shown", _CHAIN, 8.1),
    "audit.evicted": ("Audit events were dropped too early", "A stream keeps as many events as it is set to.", 7.0),
    **{
        f"{checker}.settings": ("What the target showed fits another setting than was assumed", _SETTINGS, 1.0)
        for checker in ("alerts", "limits", "audit", "attacks")
    },
    "answers.attack-accepted": ("A hostile request was accepted", "Hostile requests are refused.", 9.1),
    "answers.wrong": ("A request got a wrong answer", "Each request gets the answer the contract gives it.", 5.0),
}


def rule_id(finding: Finding, attacks: Mapping[int, str]) -> str:
    """Give the id of the rule a finding breaks: that of the attack where one campaign is to blame."""
    campaign = finding.evidence.get("campaign")
    if isinstance(campaign, int) and campaign != HONEST and campaign in attacks:
        return f"attack/{attacks[campaign]}"
    if finding.rule.startswith("threshold."):
        return f"threshold/{finding.rule.removeprefix('threshold.')}"
    return f"checker/{finding.rule}"


def rule_of(identifier: str) -> Rule:
    """Describe a rule."""
    kind, _, name = identifier.partition("/")
    if kind == "attack":
        attack: Any = CATALOGUE.get(name)
        if attack is None:
            return Rule(identifier, f"The attack {name} succeeded", "It is refused.", SEVERITY_UNKNOWN)
        expected = f"{attack.verdict}; {attack.effect} ({attack.anchor})."
        return Rule(identifier, f"The attack {name} succeeded: {attack.shape}", expected, float(attack.severity))
    if kind == "threshold":
        return Rule(identifier, f"A threshold on {name} was missed", "The scenario's thresholds hold.", WARNING_FROM)
    if name in _CHECKERS:
        return Rule(identifier, *_CHECKERS[name])
    checker = name.partition(".")[0]
    return Rule(identifier, f"The {checker} checker found {name} broken", "What it checks holds.", SEVERITY_UNKNOWN)


def known_rules() -> list[str]:
    """List the ids of all rules that are known before anything is broken."""
    return [*(f"attack/{name}" for name in sorted(CATALOGUE)), *(f"checker/{name}" for name in _CHECKERS)]
