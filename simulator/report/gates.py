"""`gates.md`: what a release needs proven, and what of it this run has proven, by which attack, checker or threshold.

A gate is open only where all that it rests on was tried and held. What a run did not try it says, and proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from simulator.checkers.server_log import LOG
from simulator.checkers.verdict import Status
from simulator.contract.answers import REASONS
from simulator.platform.wording import plural
from simulator.report.text import markdown
from simulator.scenario.thresholds import ThresholdError, parse_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.verdict import Verdict
    from simulator.judging.verdict_file import AttackSummary, RunVerdict
    from simulator.report.report_input import ReportInput

ATTACK, CHECKER, THRESHOLD = "attack", "checker", "threshold"


class Proof(NamedTuple):
    """One thing that a gate rests on: an attack, a checker, or a metric that a threshold of the scenario is about."""

    kind: str
    name: str


class Gate(NamedTuple):
    """What must hold for a release, and what all of it rests on."""

    area: str
    promise: str
    proofs: tuple[Proof, ...]


class Found(NamedTuple):
    """What became of a proof or a gate, and the words and counts that say so."""

    status: Status
    words: str


def _attacks(names: str) -> tuple[Proof, ...]:
    return tuple(Proof(ATTACK, name) for name in names.split())


def _checkers(names: str) -> tuple[Proof, ...]:
    return tuple(Proof(CHECKER, name) for name in names.split())


def _thresholds(names: str) -> tuple[Proof, ...]:
    return tuple(Proof(THRESHOLD, name) for name in names.split())


GATES: tuple[Gate, ...] = (
    Gate(
        "safety",
        "Every route that is not public refuses who proves nothing",
        _attacks("owner.no-auth metrics.read policy-fetch.bogus key.guess"),
    ),
    Gate(
        "safety",
        "No owner, agent or machine reaches what is another's",
        _attacks("owner.idor owner.header-mismatch key.as-owner job.foreign") + _checkers("credentials"),
    ),
    Gate(
        "safety",
        "No answer lets a foreign origin read it, or repeats a secret of its request",
        _attacks("owner.foreign-origin") + _checkers("contents"),
    ),
    Gate("safety", "Nothing hostile is accepted, and nothing is accepted twice", _checkers("answers attacks replay")),
    Gate("control", "A new worker may do nothing until its owner consents", _attacks("consent.none")),
    Gate(
        "control",
        "A consent binds one worker to one version of a policy",
        _attacks("consent.foreign consent.after-revoke"),
    ),
    Gate(
        "control",
        "A revoke ends the work at once, and for good",
        _attacks("revoke.race revoke.twice") + _checkers("revocation") + _thresholds("revocation.time_to_stop"),
    ),
    Gate(
        "control",
        "A policy is what its owner signed",
        _attacks("policy.canonical policy.rules signature.reused-kind"),
    ),
    Gate(
        "transparency",
        "The ledger adds up",
        _checkers("ledger") + _thresholds("jobs.finished withdrawals.settled"),
    ),
    Gate("transparency", "Accounts are shown their own money and jobs alone", _checkers("isolation")),
    Gate(
        "transparency",
        "The same share brings the same reward, for work that was covered",
        _attacks("job.inflate") + _checkers("metering matching"),
    ),
    Gate(
        "transparency",
        "Payouts are held up: cooldown, velocity, once for each key, never more than there is",
        _attacks(
            "wallet.cooldown wallet.velocity wallet.idempotency wallet.double-spend wallet.amounts wallet.address "
            "job.bodies"
        ),
    ),
    Gate(
        "transparency",
        "Each decision leaves its audit event, and nobody can change one",
        _attacks("audit.inject") + _checkers("audit") + _thresholds("audit.errors"),
    ),
    Gate(
        "operations",
        "The stale-workers alert fires and clears",
        _thresholds("alerts.stale_workers.fired alerts.stale_workers.cleared") + _checkers("alerts"),
    ),
    Gate(
        "operations",
        "The auth-failure alert fires and clears",
        _thresholds("alerts.worker_auth_failures.fired alerts.worker_auth_failures.cleared") + _checkers("alerts"),
    ),
    Gate(
        "operations",
        "Each failure is counted for its reason",
        _thresholds(" ".join(f"auth_failures.{reason}" for reason in REASONS.values())),
    ),
    Gate(
        "operations",
        "Every honest request is answered, in time",
        _thresholds("heartbeat.response_time heartbeat.accepted requests.lost") + _checkers("outage reach"),
    ),
    Gate("operations", "No secret is in the server's log", _checkers(LOG)),
)
"""In the order in which they are shown."""
HAPPENED = frozenset(
    {
        "heartbeat.accepted",
        "jobs.finished",
        "withdrawals.settled",
        *(f"auth_failures.{reason}" for reason in REASONS.values()),
        *(
            f"alerts.{alert}.{event}"
            for alert in ("stale_workers", "worker_auth_failures")
            for event in ("fired", "cleared")
        ),
    }
)
"""Metrics of what must have happened for a gate to be open: many a bound holds where it never did."""
ORDER = (Status.FAIL, Status.INCONCLUSIVE, Status.NOT_TRIED, Status.PASS)
"""What a gate is by its proofs: the first that any of them is."""


def judge_gates(verdict: RunVerdict) -> list[tuple[Gate, Found, list[tuple[Proof, Found]]]]:
    """Return what became of each gate, with what became of each of its proofs."""
    judged = []
    for gate in GATES:
        proofs = [(proof, found_of(proof, verdict)) for proof in gate.proofs]
        statuses = {found.status for _, found in proofs}
        status = next(one for one in ORDER if one in statuses)
        why = [f"{proof.name}: {found.words}" for proof, found in proofs if found.status is status]
        held = sum(found.status is Status.PASS for _, found in proofs)
        words = f"{held} of {plural(len(proofs), 'proof')} held"
        judged.append((gate, Found(status, words if status is Status.PASS else "; ".join(why)), proofs))
    return judged


def found_of(proof: Proof, verdict: RunVerdict) -> Found:
    """Return what a run's verdict says of one proof."""
    if proof.kind == ATTACK:
        return _of_campaigns([one for one in verdict.attacks if one.attack == proof.name])
    if proof.kind == CHECKER:
        return _of_verdicts([one for one in verdict.checkers if one.name == proof.name])
    bounds = [one for one in verdict.thresholds if one.name.partition(": ")[0] == proof.name]
    found = _of_verdicts(bounds)
    if found.status is Status.PASS and proof.name in HAPPENED and not any(_has_happened(one) for one in bounds):
        return Found(Status.NOT_TRIED, f"{found.words}: this holds as well where it never happens")
    return found


def _has_happened(bound: Verdict) -> bool:
    """Return whether a threshold that holds shows that there was any of what it is about."""
    value = bound.figures.get("value")
    if isinstance(value, int | float):
        return value > 0
    metric, _, expression = bound.name.partition(": ")
    try:
        return not parse_threshold(metric, expression).holds(0)
    except ThresholdError:
        return False


def _of_campaigns(campaigns: list[AttackSummary]) -> Found:
    if not campaigns:
        return Found(Status.NOT_TRIED, "it is no part of this scenario")
    statuses = [_of_campaign(one) for one in campaigns]
    worst = _worst(statuses)
    shown = next(one for one, status in zip(campaigns, statuses, strict=True) if _known(status) is worst)
    sent, refused = (sum(getattr(one, name) for one in campaigns) for name in ("sent", "refused"))
    wrong = sum(one.wrong for one in campaigns)
    counts = f"{sent:,} sent, {refused:,} refused, {wrong:,} wrong"
    return Found(
        worst, shown.note if worst is Status.NOT_TRIED else f"{counts}{f' ({shown.note})' if shown.note else ''}"
    )


def _of_campaign(campaign: AttackSummary) -> Status:
    """Return what a campaign is for a gate: one that could not find out all that it is there for is no proof."""
    unsure = campaign.status is Status.PASS and campaign.undecided
    return Status.INCONCLUSIVE if unsure else campaign.status


def _of_verdicts(verdicts: list[Verdict]) -> Found:
    if not verdicts:
        return Found(Status.NOT_TRIED, "this run does not judge it")
    worst = _worst([one.status for one in verdicts])
    words = [one.summary for one in verdicts if _known(one.status) is worst]
    return Found(worst, "; ".join(words))


def _worst(statuses: list[Status]) -> Status:
    known = {_known(one) for one in statuses}
    return next(one for one in ORDER if one in known)


def _known(status: Status) -> Status:
    """Return what a status is for a gate: what had nothing to judge was not tried."""
    return Status.NOT_TRIED if status is Status.NOT_APPLICABLE else status


def gates_markdown(report_input: ReportInput) -> bytes:
    """Write the file."""
    return ("\n".join(_lines(report_input.verdict)) + "\n").encode()


def _lines(verdict: RunVerdict) -> Iterator[str]:
    judged = judge_gates(verdict)
    counts = {status: sum(found.status is status for _, found, _ in judged) for status in ORDER}
    yield f"# Release gates: {markdown(verdict.scenario)}\n"
    yield (
        f"{counts[Status.PASS]} of {plural(len(judged), 'gate')} open, {counts[Status.FAIL]} failed, "
        f"{counts[Status.INCONCLUSIVE]} inconclusive, {counts[Status.NOT_TRIED]} not tried. "
        f"Run against {markdown(verdict.target)}, seed {verdict.seed}, by the {markdown(verdict.profile)} profile.\n"
    )
    yield "| | gate | what it must hold | proof |"
    yield "|---|---|---|---|"
    for gate, found, _ in judged:
        yield f"| {found.status.value} | {gate.area} | {gate.promise} | {markdown(found.words)} |"
    for gate, found, proofs in judged:
        yield f"\n## {gate.promise}\n\n{gate.area}: **{found.status.value}**\n"
        for proof, shown in proofs:
            yield f"- {shown.status.value}: {proof.kind} `{proof.name}`: {markdown(shown.words)}"
