"""The rules a run can break, under ids that never change their meaning, each with how bad it is to break it.

`attack/NAME` is an attack that was not refused as it must be, `checker/NAME` what a checker holds to be wrong, and
`threshold/METRIC` a threshold that was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks import CATALOGUE
from simulator.contract.features import LACKS
from simulator.contract.profiles import Basis
from simulator.history.rows import HONEST
from simulator.judging.market_rules import MARKET_HARDENED, MARKET_PUBLISHED, MARKET_RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.checkers.verdict import Finding

SEVERITY_UNKNOWN = 7.5
"""Of a rule that says nothing else: high, until somebody knows better."""
ERROR_FROM, WARNING_FROM = 7.0, 4.0
"""Where CVSS 3 begins to call a weakness high, and medium."""


class Rule(msgspec.Struct, frozen=True):
    """One rule: its id, what breaks it, what a correct server does, a severity from 0 to 10, and what it rests on."""

    id: str
    summary: str
    expected: str
    severity: float
    basis: Basis = Basis.PUBLISHED

    @property
    def level(self) -> str:
        """Return the severity in SARIF's words."""
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
_ADDED = "A server of the hardened contract has it; one of the published API alone need not."
_SAYS = "Every answer says what was asked for and done, in the form that the contract gives it."
_HEAD = "Every answer's head is as contract §1 has it."
_SETTINGS = "The settings that a run assumes of a target are those that it was started with."
_CHECKERS: Mapping[str, tuple[str, str, float]] = {
    "outage.stopped-answering": (
        "The target stopped answering",
        "Whatever was sent to it before, a server answers, in seconds.",
        7.5,
    ),
    "outage.server-died": (
        "A server that the run had started ended by itself",
        "Whatever is sent to it, a server goes on until it is told to end.",
        8.6,
    ),
    "alerts.missing": ("A published metric is missing", "Every published metric is on every page.", 5.0),
    "alerts.workers": ("The count of workers was impossible", _BOUNDS, 5.0),
    "alerts.unknown": ("The count of unknown workers was impossible", _BOUNDS, 5.0),
    "alerts.stale": ("The count of stale workers was impossible", _BOUNDS, 6.5),
    "alerts.failures": ("The count of auth failures was impossible", _BOUNDS, 6.5),
    "alerts.recent": ("The count of recent auth failures was impossible", _BOUNDS, 7.0),
    "alerts.unattributed": ("The count of auth failures that name no known worker was impossible", _BOUNDS, 5.0),
    "alerts.by-reason": ("The count of auth failures for a reason was impossible", _BOUNDS, 5.0),
    "alerts.market": ("A figure of agents, jobs or withdrawals was impossible", _BOUNDS, 5.0),
    "alerts.sum": ("Auth failures do not add up over their reasons", "The reasons add up to the total.", 4.0),
    "alerts.stale-gauge": ("The stale-workers alert contradicts its count", _AGREES, 6.5),
    "alerts.auth-gauge": ("The auth-failure alert contradicts its count", _AGREES, 7.0),
    "alerts.silent": ("An alert stayed silent though it had to be on", _AGREES, 7.5),
    "alerts.malformed": ("The metrics page is none", "Metrics are shown in the Prometheus text format.", 4.0),
    "alerts.leap": ("Uptime grew by more than the time that passed", "Uptime is the time since the start.", 4.0),
    "alerts.backwards": ("A counter went backwards", "Counters only grow while the server runs.", 4.0),
    "replay.accepted-twice": (
        "A heartbeat was accepted twice",
        "At most one heartbeat is accepted for a worker and a nonce.",
        9.1,
    ),
    "replay.wrong": ("A replayed request got a wrong answer", "It gets the answer the contract gives it.", 5.0),
    "replay.refused-otherwise": (
        "A replayed hostile request was refused in other words than the contract's",
        "Each refusal has the status and the message that the contract gives it.",
        3.1,
    ),
    "replay.signed-accepted": (
        "A signed request was accepted when it was sent again",
        "What was signed is accepted at most once.",
        9.1,
    ),
    "replay.reason": ("Replayed failures were counted for other reasons", "Each counts for its reason.", 5.0),
    "revocation.accepted-after": (
        "A heartbeat was accepted after its consent's revoke was acknowledged",
        "Nothing that is sent after an acknowledged revoke is accepted.",
        8.1,
    ),
    "revocation.consented-again": (
        "A consent was accepted again after its revoke",
        "Revoking ends a pair of worker and policy version for good: 409.",
        7.1,
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
    "audit.missing-refusal": ("The audit event of a refused attempt is missing", _EVENTS, 7.5),
    "audit.unexplained-refusal": ("An audit event of a refusal has nothing that explains it", _EVENTS, 6.5),
    "audit.duplicate": ("An audit event is there more than once", _EVENTS, 5.0),
    "audit.foreign": ("An owner sees another owner's audit events", "Owners see what concerns them alone.", 7.5),
    "audit.misattributed": ("An audit event names another actor, object or reason than was due", _EVENTS, 7.0),
    "audit.metadata": ("An audit event tells something else than what happened", _EVENTS, 6.5),
    "audit.shape": ("An audit event lacks a part", "Every event has its type, time, actor and object.", 4.0),
    "audit.no-list": ("What an owner is shown is no audit list", "Each owner is shown the list of its events.", 5.0),
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
    "attacks.failed": ("An attack succeeded", "Each attack is answered as the catalogue says.", 7.5),
    **{
        f"features.{feature}": (f"The target lacks what the contract adds: {lack.does}", _ADDED, 3.1)
        for feature, lack in LACKS.items()
    },
    "contents.request-id": ("An answer had no X-Request-ID of its own", _HEAD, 3.0),
    "contents.content-type": ("A success was not shown as JSON", _HEAD, 3.0),
    "contents.refusal-content-type": ("A refusal was not shown as JSON", _HEAD, 3.0),
    "contents.metrics-content-type": ("The metrics page was not shown as text format 0.0.4", _HEAD, 3.0),
    "contents.framing": ("An answer's length was told in two ways", "A length is told once (RFC 9112 §6.3).", 7.5),
    "contents.secret": ("An answer repeated a secret of its request", "No answer shows what a request proved.", 6.5),
    "contents.cors": ("Any origin was allowed to read an answer", "Allowed origins are named, never *.", 6.5),
    "contents.vary": ("An answer did not vary by origin", _HEAD, 3.0),
    "contents.retry-after": ("A 429 did not say when to try again", "Retry-After says it (RFC 9110 §10.2.3).", 3.0),
    "contents.allow": ("A 405 did not name the methods there are", "Allow names them (RFC 9110 §15.5.6).", 3.0),
    "contents.unasked": ("Bytes came that nobody had asked for", "Each request gets one answer.", 7.5),
    "contents.envelope": ("A success was not enveloped", "A success has its data, and no error.", 5.0),
    "contents.refusal-envelope": ("A refusal was not enveloped", "A refusal has its error, and no data.", 4.0),
    "contents.refusal-text": ("A refusal had another message", "Messages are the contract's.", 4.0),
    "contents.bare": ("An answer outside of the envelope was no JSON object", _SAYS, 4.0),
    "contents.health": ("The health page lacked its status or version", _SAYS, 3.0),
    "contents.keys": ("The keys of certificates are not published", "They are shown as a JWK set.", 5.0),
    "contents.keys-changed": ("The published keys changed while the server ran", "They change at a start.", 6.5),
    "contents.signature": ("A certificate was signed by no published key", "Anyone can check it offline.", 8.1),
    "contents.lifetime": ("A certificate lived longer or shorter than it must", "It lives 15 minutes.", 5.0),
    "contents.status": ("A success had another status", "What is made gets 201, what is promised 202.", 3.0),
    "contents.fields": ("An answer lacked a field", _SAYS, 4.0),
    "contents.other": ("An answer was about somebody else", _SAYS, 8.1),
    "contents.echo": ("An answer repeated something else than was asked", _SAYS, 6.5),
    "contents.accepted": ("A success did not accept", "A heartbeat's success says accepted: true.", 5.0),
    "contents.state": ("An object was in a state that it cannot be in", _SAYS, 5.0),
    "contents.version": ("A policy's version did not rise", "It is the owner's latest and one more.", 5.0),
    "contents.id-form": ("An id had another form", "Its prefix, and random hex digits.", 4.0),
    "contents.id-again": ("An id was given twice", "Each object has an id of its own.", 7.5),
    "contents.token-form": ("A token or key had another form", "Hex digits from a secure source.", 5.0),
    "contents.time-form": ("A time was no RFC 3339 time in UTC", "Times end in Z.", 3.0),
    "contents.times": ("A time in an answer was not when it was done", "Times are the server's clock's.", 6.5),
    "contents.event-times": ("An audit event was stamped with another time", "It has the time it was done at.", 7.0),
    "contents.policy-changed": ("A policy changed after it was signed", "What was signed stays.", 8.1),
    "contents.policy-other": ("A worker got a policy that nobody consented to", _SAYS, 8.1),
    "contents.page-echo": ("A page repeated another limit or offset", "It returns what was asked, clamped.", 3.0),
    "contents.page-size": ("A page was longer than was asked", "It has at most its limit.", 4.0),
    "contents.page-total": ("A page had fewer or more items than its total leaves", _SAYS, 4.0),
    "contents.page-filter": ("A page had what its filter leaves out", "It has what was asked for alone.", 4.0),
    "contents.page-order": ("A list was not in order", "Its order is the contract's.", 3.0),
    "contents.status-missing": ("A registered machine was not shown", "Owners are shown all their machines.", 6.5),
    "contents.status-foreign": ("An owner was shown another's machine", "Owners see what is theirs alone.", 7.5),
    "contents.status-age": ("A machine's last heartbeat was shown as older or newer than it was", _SAYS, 6.5),
    "contents.status-stale": ("A machine's staleness contradicted its age", _SAYS, 6.5),
    "contents.status-policy": ("A machine was shown under another policy", _SAYS, 5.0),
    "contents.summary": ("A summary's numbers were impossible", _SAYS, 6.5),
    "log.secret": ("A secret stands in the server's log", "A secret is never logged.", 7.5),
    **MARKET_RULES,
    "answers.attack-accepted": ("A hostile request was accepted", "Hostile requests are refused.", 9.1),
    "answers.failed": (
        "The server failed to answer a request, with a 5xx that nothing explains",
        "Outside of faults that the run makes, a request is answered; a 503 says what the server lacks.",
        7.5,
    ),
    "answers.lost": (
        "A request got no whole answer",
        "Each request is answered, but for what the run itself cuts off.",
        7.5,
    ),
    "answers.took-effect": (
        "A request that was refused took effect",
        "What is refused changes nothing, and what is done is acknowledged.",
        8.1,
    ),
    "answers.wrong": ("A request got a wrong answer", "Each request gets the answer the contract gives it.", 5.0),
    "answers.refused-otherwise": (
        "A hostile request was refused in other words than the contract's",
        "Each refusal has the status and the message that the contract gives it.",
        3.1,
    ),
}
_BASES: Mapping[Basis, str] = {
    Basis.PUBLISHED: f"""
        {MARKET_PUBLISHED}
        alerts.missing alerts.workers alerts.unknown alerts.stale alerts.failures alerts.recent alerts.stale-gauge
        alerts.auth-gauge alerts.malformed alerts.leap alerts.backwards
        replay.accepted-twice replay.wrong replay.signed-accepted revocation.accepted-after
        durability.not-started durability.not-healed durability.refused
        credentials.unissued credentials.foreign credentials.expired
        audit.missing-refusal audit.unexplained-refusal audit.foreign audit.no-list
        answers.attack-accepted answers.wrong answers.failed answers.lost answers.took-effect attacks.failed
        revocation.consented-again alerts.silent outage.stopped-answering outage.server-died
        alerts.settings
        contents.envelope contents.other contents.echo contents.accepted contents.state contents.id-again
        contents.policy-changed contents.policy-other contents.times contents.event-times contents.status-missing
        contents.status-foreign contents.status-age contents.status-stale contents.status-policy contents.summary
        contents.page-size contents.secret
    """,
    Basis.RFC: "contents.unasked contents.framing",
    Basis.HARDENED: f"""
        {MARKET_HARDENED}
        alerts.unattributed alerts.by-reason alerts.sum alerts.market
        durability.machine durability.heartbeat durability.forgotten durability.nonce durability.revocation
        nonces.open nonces.slow credentials.rotated-out limits.too-many limits.too-few
        audit.missing audit.unexplained audit.duplicate audit.misattributed audit.metadata audit.shape
        audit.total audit.order audit.chain audit.hash audit.head audit.rewritten audit.evicted
        answers.refused-otherwise replay.refused-otherwise replay.reason log.secret
        limits.settings audit.settings attacks.settings
        contents.request-id contents.content-type contents.refusal-content-type contents.metrics-content-type
        contents.cors contents.vary contents.retry-after contents.allow contents.refusal-envelope
        contents.refusal-text contents.bare contents.health contents.keys contents.keys-changed contents.signature
        contents.lifetime contents.status contents.fields contents.version contents.id-form contents.token-form
        contents.time-form contents.page-echo contents.page-total contents.page-filter contents.page-order
    """,
}
"""What the rules of checkers rest on. The published API promises that audit events of two types are recorded, and names
metrics, but neither reasons nor how events look; it limits rates, and does not say at what."""
BASES: Mapping[str, Basis] = {
    **{name: basis for basis, names in _BASES.items() for name in names.split()},
    **{f"features.{feature}": Basis.HARDENED for feature in LACKS},
}


def rule_id(finding: Finding, attacks: Mapping[int, str]) -> str:
    """Return the id of the rule a finding breaks: that of the attack where one campaign is to blame."""
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
        summary = f"The attack {name} succeeded: {attack.shape}"
        return Rule(identifier, summary, expected, float(attack.severity), attack.basis)
    if kind == "threshold":
        return Rule(identifier, f"A threshold on {name} was missed", "The scenario's thresholds hold.", WARNING_FROM)
    if name in _CHECKERS:
        return Rule(identifier, *_CHECKERS[name], basis_of(name))
    checker = name.partition(".")[0]
    broken = f"The {checker} checker found {name} broken"
    return Rule(identifier, broken, "What it checks holds.", SEVERITY_UNKNOWN, basis_of(name))


def basis_of(rule: str) -> Basis:
    """Return what a checker's rule rests on. One that nobody knows holds for every server: no error goes unseen."""
    return BASES.get(rule, Basis.PUBLISHED)


def known_rules() -> list[str]:
    """List the ids of all rules that are known before anything is broken."""
    return [*(f"attack/{name}" for name in sorted(CATALOGUE)), *(f"checker/{name}" for name in _CHECKERS)]
