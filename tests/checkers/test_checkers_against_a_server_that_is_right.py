"""Whatever a server that is right goes through, no checker ever calls it wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers import run_checkers
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.records import Scrape
from simulator.history.rows import NEVER_NS
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import ModelServer, Story

STALE_SECONDS, WINDOW_SECONDS, THRESHOLD = 4, 6, 2
RATE_MAX_PPM = 500
STALE_NS, WINDOW_NS = STALE_SECONDS * SECOND_NS, WINDOW_SECONDS * SECOND_NS
MACHINES = 3
OLD_WORKERS = (100, 101)
REASONS = (
    Answer.INVALID_SIGNATURE,
    Answer.INVALID_TOKEN,
    Answer.NONCE_REPLAYED,
    Answer.TIMESTAMP_OUT_OF_WINDOW,
    Answer.MISSING_FIELDS,
)
KINDS = (
    "heartbeat",
    "heartbeat",
    "attack",
    "attack",
    "skewed",
    "fetch",
    "register",
    "old",
    "scrape",
    "scrape",
    "scrape",
)
LOST = ("lost after its effect", "lost before its effect", "lost and late")
OUTCOMES = ("answered",) * 6 + (*LOST, "failed after its effect", "failed before its effect", "limited")
UNANSWERED = {"lost before its effect", "failed before its effect", "limited"}

edges = st.sampled_from(
    [
        length * (1_000_000 + ppm) // 1_000_000 + nudge
        for length in (STALE_NS, WINDOW_NS)
        for ppm in (-RATE_MAX_PPM, 0, RATE_MAX_PPM)
        for nudge in (-1, 0, 1)
    ],
)
gaps = st.sampled_from([0, 1, MILLISECOND_NS, SECOND_NS // 2, 2 * SECOND_NS]) | edges | st.integers(0, 3 * SECOND_NS)
widths = st.sampled_from([0, 0, 1, 10 * MILLISECOND_NS, 3 * SECOND_NS]) | st.integers(0, SECOND_NS)


class Step(NamedTuple):
    """One thing that happens: when after the one before, to whom, how long before its effect it was sent, and so on."""

    gap_ns: int
    kind: str
    machine: int
    before_ns: int
    after_ns: int
    outcome: str
    reason: Answer
    late_reason: Answer


steps = st.lists(
    st.builds(
        Step,
        gap_ns=gaps,
        kind=st.sampled_from(KINDS),
        machine=st.integers(0, MACHINES - 1),
        before_ns=widths,
        after_ns=widths,
        outcome=st.sampled_from(OUTCOMES),
        reason=st.sampled_from(REASONS),
        late_reason=st.sampled_from([Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.INVALID_CERTIFICATE]),
    ),
    min_size=5,
    max_size=50,
)


class World:
    """Plays steps against a server. It sees true moments; the history, only when things were sent and answered."""

    def __init__(self, story: Story, server: ModelServer) -> None:
        self.story = story
        self.server = server
        self.now_ns = 0
        self.known_ns: dict[int, int] = {}
        self.scraped_ns = 0
        self.workers = 0

    def play(self, step: Step) -> None:
        """Have one step happen."""
        self.now_ns += step.gap_ns
        if step.kind == "scrape":
            self.scrape(step)
        elif step.kind == "old":
            self.server.accept(OLD_WORKERS[step.machine % 2], self.now_ns)
        elif step.kind == "register" or step.machine not in self.known_ns:
            self.register(step)
        else:
            self.request(step)

    def scrape(self, step: Step) -> None:
        sent_ns = max(self.scraped_ns, self.now_ns - step.before_ns)
        if sent_ns <= self.now_ns:
            self.scraped_ns = self.now_ns + step.after_ns
            self.story.history.scrapes.append(Scrape(sent_ns, self.scraped_ns, self.server.page(self.now_ns)))

    def register(self, step: Step) -> None:
        """Register a machine, perhaps once more; it only knows of it when the answer came."""
        if step.outcome not in UNANSWERED:
            self.workers += 1
            self.server.register(1000 + self.workers)
        self.record(step, Operation.REGISTER, Answer.ACCEPTED, Answer.ACCEPTED)
        if step.outcome == "answered" and step.machine not in self.known_ns:
            self.now_ns += step.after_ns
            self.known_ns[step.machine] = self.now_ns

    def request(self, step: Step) -> None:
        """Send a heartbeat, honest, hostile or from a wrong clock, or fetch a policy."""
        expected = effect = {
            "heartbeat": Answer.ACCEPTED,
            "attack": step.reason,
            "skewed": Answer.ACCEPTED if step.reason in REASONS[:2] else Answer.TIMESTAMP_OUT_OF_WINDOW,
            "fetch": Answer.POLICY_INVALID_TOKEN,
        }[step.kind]
        operation = Operation.POLICY_FETCH if step.kind == "fetch" else Operation.HEARTBEAT
        if step.kind == "skewed":
            expected = Answer.EITHER
        if step.outcome == "lost and late":
            effect = step.late_reason if step.kind != "fetch" else Answer.POLICY_INVALID_CERTIFICATE
        if step.outcome not in UNANSWERED:
            if effect is Answer.ACCEPTED:
                self.server.accept(step.machine, self.now_ns)
            else:
                self.server.refuse(step.machine, effect, self.now_ns)
        self.record(step, operation, expected, effect)

    def record(self, step: Step, operation: Operation, expected: Answer, got: Answer) -> None:
        sent_ns = max(0, self.known_ns.get(step.machine, 0), self.now_ns - step.before_ns)
        answered_ns = self.now_ns + step.after_ns
        if step.outcome in LOST:
            got, answered_ns = Answer.LOST, NEVER_NS
        elif step.outcome == "limited":
            got = Answer.RATE_LIMITED
        elif step.outcome != "answered":
            got = Answer.UNAVAILABLE
        nonce = len(self.story.history).to_bytes(12, "big")
        campaign = int(step.kind == "attack")
        self.story.history.append(
            sent_ns, sent_ns, answered_ns, nonce, step.machine, 0, operation, expected, got, campaign
        )


@settings(deadline=None, max_examples=examples(400), suppress_health_check=[HealthCheck.too_slow])
@given(
    played=steps,
    rate_ppm=st.sampled_from([-RATE_MAX_PPM, 0, RATE_MAX_PPM]) | st.integers(-RATE_MAX_PPM, RATE_MAX_PPM),
    closed=st.booleans(),
    whole_seconds=st.booleans(),
    old_failures=st.lists(st.tuples(st.integers(-2 * WINDOW_NS, 0), st.sampled_from(REASONS)), max_size=3),
    old_heard_ns=st.none() | st.integers(-2 * STALE_NS, 0),
    restart_at=st.none() | st.integers(0, 30),
)
@pytest.mark.long
def test_no_checker_calls_it_wrong(
    new_story: type[Story],
    model_server: type[ModelServer],
    played: list[Step],
    rate_ppm: int,
    closed: bool,  # noqa: FBT001 - drawn
    whole_seconds: bool,  # noqa: FBT001 - drawn
    old_failures: list[tuple[int, Answer]],
    old_heard_ns: int | None,
    restart_at: int | None,
) -> None:
    """True moments lie anywhere between sending and answer, its clock is off, answers are lost, it has a past."""
    story = new_story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS, threshold=THRESHOLD)
    server = model_server(story.facts, rate_ppm, closed=closed, whole_seconds=whole_seconds)
    for worker in OLD_WORKERS:
        server.register(worker)
    if old_heard_ns is not None:
        server.accept(OLD_WORKERS[0], old_heard_ns)
    for failed_ns, reason in sorted(old_failures):
        server.refuse(OLD_WORKERS[0], reason, failed_ns)
    story.facts.baseline.clear()
    story.facts.baseline.update(server.page(0))
    world = World(story, server)
    for index, step in enumerate(played):
        if index == restart_at:
            server.restart(world.now_ns)
        world.play(step)
    verdicts = {verdict.name: verdict for verdict in run_checkers(story.history, story.facts)}
    assert [verdict for verdict in verdicts.values() if verdict.status is Status.FAIL] == []
    assert [verdict.summary for verdict in verdicts.values() if "crashed" in verdict.summary] == []
    if story.history.scrapes:
        assert verdicts["alerts"].status is Status.PASS
        event(f"stale alert fired {min(2, verdicts['alerts'].figures['stale_workers']['fired'])}")
        event(f"auth alert fired {min(2, verdicts['alerts'].figures['worker_auth_failures']['fired'])}")
