"""One root finding carries what follows from it, and comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.causes import causes_first, reference
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

NONCE = b"again and it"


def linked(story: Story) -> dict[str, tuple[Finding, ...]]:
    return {one.name: one.findings for one in causes_first(run_checkers(story.history, story.facts))}


def test_what_was_accepted_twice_explains_the_answer_that_says_so(story: Story) -> None:
    story.heartbeat(3, 1, nonce=NONCE)
    story.attack(3, 2, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, nonce=NONCE, status=200)
    story.attack(3, 3, Answer.ACCEPTED, expected=Answer.INVALID_TOKEN, nonce=b"something el", status=200)
    found = linked(story)
    (root,) = found["replay"]
    assert (root.follows_from, root.explains) == ("", 1)
    other, answer = found["answers"]
    assert (other.follows_from, answer.follows_from) == ("", reference(root))
    assert reference(root) == f"replay.accepted-twice at {root.at_ns / 1e9:.3f} s"


def test_a_consent_given_again_explains_its_own_answer_and_those_to_heartbeats(story: Story) -> None:
    consent = story.consent(3, 1)
    story.revoke(consent, 10)
    story.request(Operation.CONSENT_CREATE, 3, 12, expected=Answer.REFUSED, campaign=1, status=201, nonce=bytes(12))
    for at in (13, 14):
        story.attack(3, at, Answer.ACCEPTED, expected=Answer.NO_CONSENT, consent=consent, status=200)
    story.attack(4, 15, Answer.ACCEPTED, expected=Answer.NO_CONSENT, status=200)
    found = linked(story)
    (root,) = found["revocation"]
    assert (root.rule, root.explains) == ("revocation.consented-again", 3)
    assert [one.follows_from for one in found["answers"]] == ["", *[reference(root)] * 3]


def test_one_state_of_a_metric_that_lasted_is_one_cause(story: Story) -> None:
    """An alert that stays silent, and contradicts its count at each scrape."""
    for number in range(5):
        story.attack(0, 1 + number / 10, Answer.NONCE_REPLAYED)
    for second in range(4, 10):
        story.scrape(second, reasons={Answer.NONCE_REPLAYED: 5}, recent=5, auth_alert=0, workers=1)
    silent, workers, *rest = linked(story)["alerts"]
    assert (silent.rule, silent.explains) == ("alerts.silent", 6)
    assert (workers.rule, workers.explains) == ("alerts.workers", 5)
    assert {(one.rule, one.follows_from) for one in rest} == {
        ("alerts.auth-gauge", reference(silent)),
        ("alerts.workers", reference(workers)),
    }


def test_a_refusal_is_no_consequence_of_an_acceptance(story: Story) -> None:
    """The third copy was refused by a wrong answer of its own."""
    for at in (1, 2):
        story.heartbeat(3, at, nonce=NONCE)
    story.heartbeat(3, 3, Answer.UNEXPECTED, nonce=NONCE, status=404)
    (answer,) = linked(story)["answers"]
    assert answer.follows_from == ""


evidence = st.fixed_dictionaries(
    {},
    optional={
        "machine": st.integers(-1, 1),
        "nonce": st.sampled_from(["", "00", "0a", "0b"]),
        "status": st.sampled_from([200, 401]),
        "sent_ns": st.integers(0, 3),
        "metric": st.sampled_from(["x", "y"]),
        "requests": st.lists(st.fixed_dictionaries({"machine": st.just(1), "nonce": st.just("0a")}), max_size=2),
    },
)


def finding_of(checker: str) -> Any:
    rules = st.sampled_from([f"{checker}.wrong", f"{checker}.silent", f"{checker}.auth-gauge"])
    return st.builds(Finding, rule=rules, message=st.just("m"), at_ns=st.integers(0, 9), evidence=evidence)


verdicts = st.tuples(
    *(
        st.builds(
            Verdict,
            name=st.just(name),
            status=st.just(Status.FAIL),
            summary=st.just(""),
            findings=st.lists(finding_of(name), max_size=4).map(tuple),
        )
        for name in CHECKERS
    )
)


@settings(deadline=None, max_examples=examples(60))
@given(verdicts)
def test_linking_loses_nothing_and_every_cause_stands_by_itself(judged: tuple[Verdict, ...]) -> None:
    """A cause is one that is listed, explains as many as say so, and has none of its own."""
    reported = causes_first(judged)
    everything = [one for verdict in reported for one in verdict.findings]
    roots = [one for one in everything if not one.follows_from]
    assert {one.follows_from for one in everything} - {""} <= {reference(one) for one in roots if one.explains}
    assert sum(one.explains for one in roots) == len(everything) - len(roots)
    assert all(one.explains == 0 for one in everything if one.follows_from)
    for before, after in zip(judged, reported, strict=True):
        bare = [msgspec.structs.replace(one, follows_from="", explains=0) for one in after.findings]
        assert sorted(map(repr, bare)) == sorted(map(repr, before.findings))
        assert [bool(one.follows_from) for one in after.findings] == sorted(
            bool(one.follows_from) for one in after.findings
        )
