"""Whatever a right server goes through, nothing in its audit, its revokes and its certificates is ever called wrong."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from reference_server.core.rate_limit import TokenBuckets
from reference_server.wire.units import SECOND_NS
from simulator.checkers.credentials import check_credentials
from simulator.checkers.facts import Facts
from simulator.checkers.limits import check_limits
from simulator.checkers.revocation import check_revocation
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action
from simulator.history.rows import NEVER_NS, History
from tests.checkers.audited_world import FATES, AuditedWorld, Span
from tests.support.tiers import examples

KINDS = (
    "beat", "beat", "beat", "replay", "forged", "skewed", "foreign", "rotated out", "unknown", "fetch", "rotate",
    "revoke", "denied", "rotation denied", "consent", "register", "look",
    "newcomer denied", "newcomer's rotation denied", "newcomer registers",
)  # fmt: skip
NEWCOMER = "owner-new"
"""Nobody at first, whatever it tries; an owner once it has registered a machine."""
OWNERS, MACHINES = 2, 3

spans = st.builds(
    Span,
    before_ns=st.sampled_from([0, 1]) | st.integers(0, 3 * SECOND_NS),
    after_ns=st.sampled_from([0, 1]) | st.integers(0, 3 * SECOND_NS),
    fate=st.sampled_from(FATES[:1] * 6 + FATES[1:]),
)


class Step(NamedTuple):
    """One thing that happens to a machine or its owner, how long after the one before."""

    gap_ns: int
    kind: str
    machine: int
    span: Span


steps = st.lists(
    st.builds(
        Step,
        gap_ns=st.sampled_from([0, 1, SECOND_NS]) | st.integers(0, 2 * SECOND_NS),
        kind=st.sampled_from(KINDS),
        machine=st.integers(0, MACHINES - 1),
        span=spans,
    ),
    min_size=5,
    max_size=40,
)


def play(world: AuditedWorld, step: Step) -> None:  # noqa: C901, PLR0912 - one line for each thing that can happen
    """Have one step happen."""
    world.wait(step.gap_ns)
    machine, other = world.machines[step.machine], world.machines[(step.machine + 1) % MACHINES]
    stranger = next(owner_id for owner_id in world.history.owners if owner_id not in {machine.owner_id, NEWCOMER})
    span = step.span
    match step.kind:
        case "beat":
            nonce = world.beat(machine, span)
            if world.history.rows()[-1]["got"] == Answer.ACCEPTED:  # nobody replays what he has not seen accepted
                machine.last_accepted = nonce.to_bytes(12, "big")
        case "replay" if machine.last_accepted:
            nonce = int.from_bytes(machine.last_accepted, "big")
            world.beat(machine, span, nonce=nonce, expected=Answer.NONCE_REPLAYED, campaign=1)
        case "forged":
            world.beat(machine, span, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
        case "skewed":
            world.skewed(machine, span)
        case "foreign":
            theirs = (other.certificate_id, other.certificate_number)
            world.beat(machine, span, certificate=theirs, expected=Answer.INVALID_CERTIFICATE, campaign=1)
        case "rotated out" if machine.previous_certificate_id:
            old = (machine.previous_certificate_id, machine.previous_certificate_number)
            world.beat(machine, span, certificate=old, expected=Answer.INVALID_CERTIFICATE, campaign=1)
        case "unknown":
            world.beat(machine, span, known=False, expected=Answer.INVALID_TOKEN, campaign=1)
        case "fetch":
            world.act(machine, Action.FETCH_POLICY, span)
        case "rotate":
            world.act(machine, Action.ROTATE, span)
        case "consent":
            world.act(machine, Action.CONSENT, span)
        case "register":
            world.act(world.spare_machine(machine.owner_id), Action.REGISTER, span)
        case "revoke":
            world.revoke(machine, span)
        case "denied":
            world.denied(stranger, machine, span)
        case "rotation denied":
            world.rotation_denied(stranger, machine, span)
        case "newcomer denied":
            world.denied(NEWCOMER, machine, span)
        case "newcomer's rotation denied":
            world.rotation_denied(NEWCOMER, machine, span)
        case "newcomer registers":
            world.act(world.spare_machine(NEWCOMER), Action.REGISTER, span)
        case "look":
            world.look(machine.owner_id, span)


@pytest.mark.long
@settings(deadline=None, max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
@given(played=steps, kept=st.sampled_from([1, 4, 12, 5000]), whole=st.booleans(), whole_again=st.booleans())
def test_no_checker_calls_it_wrong(played: list[Step], kept: int, whole: bool, whole_again: bool) -> None:  # noqa: FBT001 - drawn
    """Answers are lost, requests come late, streams are evicted, and lists are read whole or only their heads."""
    world = AuditedWorld(audit_events_per_stream=kept)
    owners = [world.owner(f"owner-{number}") for number in range(OWNERS)]
    world.machines = [world.machine(owners[index % OWNERS], index) for index in range(MACHINES)]
    world.history.owners.append(NEWCOMER)
    world.policies[NEWCOMER] = ""
    for step in played:
        play(world, step)
    world.settle()
    for owner_id in owners[: OWNERS if whole else 1]:
        world.read(owner_id)
    if not whole:
        world.look(owners[1])
    elif whole_again:
        world.read(owners[0])
        world.read(NEWCOMER)
    world.look(NEWCOMER, Span(before_ns=0))
    verdict = world.audit()
    assert (verdict.status, verdict.findings) == (Status.PASS, ()), verdict.summary
    for check in (check_revocation, check_credentials):
        assert check(world.history, world.facts).status is not Status.FAIL
    event(f"kept {kept}, whole {whole}")


@settings(deadline=None, max_examples=examples(200))
@given(
    rate_ppm=st.integers(-500, 500),
    refill=st.sampled_from([0.5, 5.0, 7.3, 1000.0]),
    burst=st.sampled_from([1, 3, 20]),
    sent=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 100]) | st.integers(0, SECOND_NS), spans, st.booleans()),
        max_size=120,
    ),
)
def test_a_right_token_bucket_is_never_called_wrong(
    rate_ppm: int, refill: float, burst: int, sent: list[tuple[int, int, Span, bool]]
) -> None:
    """Its clock is off by as much as a clock may be, answers are lost, and fetches may have been sent twice."""
    buckets, history, now_ns = TokenBuckets(refill, burst, 1000), History(), 10 * SECOND_NS
    for source, gap_ns, span, fetch in sent:
        now_ns += gap_ns
        server_ns = now_ns + now_ns * rate_ppm // 1_000_000
        wait_ns = 0
        if span.fate != "lost before":
            for _ in range(1 + (fetch and span.fate == "answered" and source == 0)):
                wait_ns = buckets.take(str(source), server_ns)
        status, got = (429, Answer.RATE_LIMITED) if wait_ns else (200, Answer.ACCEPTED)
        answered_ns = now_ns + span.after_ns
        if span.fate.startswith("lost"):
            status, got, answered_ns = 0, Answer.LOST, NEVER_NS
        elif span.fate.startswith("failed"):
            status, got = (429, Answer.RATE_LIMITED) if wait_ns else (503, Answer.UNAVAILABLE)
        operation = Operation.POLICY_FETCH if fetch else Operation.HEARTBEAT
        sent_ns = now_ns - span.before_ns
        history.append(
            sent_ns, sent_ns, answered_ns, bytes(12), 0, status, operation, Answer.ACCEPTED, got, 0, source
        )  # fmt: skip
    facts = Facts(
        stale_seconds=60, auth_window_seconds=300, auth_threshold=10, baseline={},
        rate_limit_refill_per_second=refill, rate_limit_burst=burst, only_client=True,
    )  # fmt: skip
    verdict = check_limits(history, facts)
    assert verdict.status is not Status.FAIL, verdict.summary
    event(f"limited {bool(verdict.figures['rate_limited'])}")
