"""`gates.md`: a gate is open only where all that it rests on was tried and held, and what was not tried is named."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import msgspec
import pytest
from markdown_it import MarkdownIt

from simulator.attacks import CATALOGUE
from simulator.checkers import CHECKERS
from simulator.checkers.server_log import LOG
from simulator.checkers.verdict import Status, Verdict
from simulator.judging.verdict_file import AttackSummary
from simulator.report.gates import ATTACK, CHECKER, GATES, THRESHOLD, Proof, found_of, gates_markdown, judge_gates
from simulator.scenario.thresholds import METRICS
from tests.report.pages import Page
from tests.report.runs import HOSTILE, hostile, report_input, uneventful
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from simulator.judging.verdict_file import RunVerdict


def verdict_of(status: Status) -> RunVerdict:
    """Return a verdict in which every proof of every gate is so."""
    proofs = {proof for gate in GATES for proof in gate.proofs}
    return msgspec.structs.replace(
        report_input(uneventful()).verdict,
        checkers=[Verdict(name, status, "as it is") for kind, name in proofs if kind == CHECKER],
        thresholds=[Verdict(f"{name}: count>=1", status, "as it is") for kind, name in proofs if kind == THRESHOLD],
        attacks=[
            AttackSummary(number, name, status, 7, 5, 2, 0, 0, "")
            for number, (kind, name) in enumerate(proofs, 1)
            if kind == ATTACK
        ],
    )


def statuses(verdict: RunVerdict) -> dict[str, Status]:
    return {gate.promise: found.status for gate, found, proofs in judge_gates(verdict) if proofs}


@pytest.mark.parametrize(
    ("status", "gates"),
    [
        (Status.PASS, Status.PASS),
        (Status.FAIL, Status.FAIL),
        (Status.INCONCLUSIVE, Status.INCONCLUSIVE),
        (Status.NOT_APPLICABLE, Status.NOT_TRIED),
        (Status.NOT_TRIED, Status.NOT_TRIED),
    ],
)
def test_a_gate_is_what_all_its_proofs_are(status: Status, gates: Status) -> None:
    assert set(statuses(verdict_of(status)).values()) == {gates}


@pytest.mark.parametrize("status", [Status.FAIL, Status.INCONCLUSIVE, Status.NOT_TRIED])
def test_one_proof_that_does_not_hold_closes_its_gates_and_no_other(status: Status) -> None:
    verdict = verdict_of(Status.PASS)
    for proof in {proof for gate in GATES for proof in gate.proofs}:
        lists = {ATTACK: "attacks", CHECKER: "checkers", THRESHOLD: "thresholds"}
        kept = [
            msgspec.structs.replace(one, status=status)
            if getattr(one, "attack", getattr(one, "name", "")).partition(": ")[0] == proof.name
            else one
            for one in getattr(verdict, lists[proof.kind])
        ]
        found = statuses(msgspec.structs.replace(verdict, **{lists[proof.kind]: kept}))
        closed = {promise for promise, its in found.items() if its is not Status.PASS}
        assert closed == {gate.promise for gate in GATES if proof in gate.proofs}


def test_what_is_missing_is_not_tried_and_what_failed_is_worse() -> None:
    verdict = msgspec.structs.replace(verdict_of(Status.PASS), attacks=[])
    found = statuses(verdict)
    for gate in GATES:
        without = any(proof.kind == ATTACK for proof in gate.proofs)
        assert not gate.proofs or found[gate.promise] is (Status.NOT_TRIED if without else Status.PASS)
    failed = [msgspec.structs.replace(one, status=Status.FAIL) for one in verdict.checkers]
    found = statuses(msgspec.structs.replace(verdict, checkers=failed))
    assert found["A revoke ends the work at once, and for good"] is Status.FAIL


def test_the_worst_campaign_of_an_attack_counts_and_all_their_requests() -> None:
    campaigns = [
        AttackSummary(1, "consent.none", Status.PASS, 7, 5, 2, 0, 0, ""),
        AttackSummary(2, "consent.none", Status.FAIL, 3, 1, 2, 2, 0, "it was let in"),
    ]
    found = found_of(Proof(ATTACK, "consent.none"), msgspec.structs.replace(verdict_of(Status.PASS), attacks=campaigns))
    assert found == (Status.FAIL, "10 sent, 6 refused, 2 wrong (it was let in)")


def test_a_campaign_that_left_something_undecided_opens_no_gate() -> None:
    campaign = AttackSummary(1, "wallet.amounts", Status.PASS, 7, 5, 2, 0, 0, "nobody knows", undecided=1)
    verdict = msgspec.structs.replace(verdict_of(Status.PASS), attacks=[campaign])
    found = found_of(Proof(ATTACK, "wallet.amounts"), verdict)
    assert found == (Status.INCONCLUSIVE, "7 sent, 5 refused, 0 wrong (nobody knows)")


FIRED = "alerts.stale_workers.fired"


@pytest.mark.parametrize(
    ("bounds", "figures", "status"),
    [
        (["count==0"], {}, Status.NOT_TRIED),
        (["count>=0"], {}, Status.NOT_TRIED),
        (["count>=0"], {"value": 0}, Status.NOT_TRIED),
        (["count>=0"], {"value": 2}, Status.PASS),
        (["count<9", "count>=1"], {}, Status.PASS),
        (["no bound"], {}, Status.NOT_TRIED),
    ],
)
def test_what_must_happen_is_not_proven_by_a_bound_that_nothing_at_all_holds(
    bounds: list[str], figures: dict[str, float], status: Status
) -> None:
    thresholds = [Verdict(f"{FIRED}: {bound}", Status.PASS, "so it was", (), figures) for bound in bounds]
    verdict = msgspec.structs.replace(verdict_of(Status.PASS), thresholds=thresholds)
    assert found_of(Proof(THRESHOLD, FIRED), verdict).status is status


def test_every_proof_is_something_that_there_is() -> None:
    for gate in GATES:
        for proof in gate.proofs:
            known = {ATTACK: CATALOGUE, CHECKER: {*CHECKERS, LOG}, THRESHOLD: METRICS}[proof.kind]
            assert proof.name in known, proof


def test_the_release_gate_tries_every_attack_and_measures_every_metric_of_a_gate() -> None:
    document = tomllib.loads((ROOT / "scenarios" / "release-gate.toml").read_text(encoding="utf-8"))
    tried = {attack["name"] for attack in document["attacks"]}
    proofs = {proof for gate in GATES for proof in gate.proofs}
    assert {name for kind, name in proofs if kind == ATTACK} <= tried
    assert {name for kind, name in proofs if kind == THRESHOLD} <= set(document["thresholds"])
    assert document["market"]["agents"]


def test_the_file_has_a_line_for_each_gate_and_each_of_its_proofs() -> None:
    made = report_input(uneventful())
    page = Page(MarkdownIt("gfm-like", {"linkify": False}).render(gates_markdown(made).decode()))
    assert page.texts("h2") == [gate.promise for gate in GATES]
    assert len(page.all("tr")) == 1 + len(GATES)
    assert len(page.all("li")) == sum(max(1, len(gate.proofs)) for gate in GATES)
    assert "not tried safety Every route that is not public refuses who proves nothing" in page.texts("tr")[1]


def test_hostile_text_stays_text() -> None:
    page = Page(MarkdownIt("gfm-like", {"linkify": False}).render(gates_markdown(report_input(hostile())).decode()))
    assert not page.all("script")
    assert HOSTILE
