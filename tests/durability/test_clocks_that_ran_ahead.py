"""A wall clock that ran ahead locks nobody out once it is right again, though the server was killed meanwhile."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.changes import Kind
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant
from tests.durability.test_recovery_is_exact import Story, later
from tests.support.tiers import examples

YEAR_SECONDS = 365 * 86_400
FIRST = "00000001"
SKEW_SECONDS = 90
EVERY_SECONDS = 60


class Life:
    """A server with a journal, and one machine that goes by the same clock. Whatever was answered is durable."""

    def __init__(self) -> None:
        self.story = Story(certificate_life_seconds=10 * YEAR_SECONDS)
        self.story.register("ada")
        self.story.make_policy("ada")
        self.story.consent(0, 0)
        self.ahead_seconds = 0
        self.compact()

    def set_clock(self, ahead_seconds: int) -> None:
        """Have the wall clock be so far ahead of the right time."""
        now, step_ns = self.story.now, (ahead_seconds - self.ahead_seconds) * SECOND_NS
        self.story.now = Instant(now.wall_ns + step_ns, now.monotonic_ns)
        self.ahead_seconds = ahead_seconds

    def beats(self, seconds: int) -> list[int]:
        """Beat for so long; give the statuses."""
        statuses = []
        for _ in range(0, seconds, EVERY_SECONDS):
            self.story.now = later(self.story.now, EVERY_SECONDS)
            statuses.append(self.story.beat(0, 0))
            self.story.commit()
        return statuses

    def compact(self) -> None:
        """Have a snapshot take the journal's place."""
        self.story.commit()
        self.kept = b"".join(snapshot(self.story.state, self.story.now, FIRST))
        self.story.groups.clear()

    def kill(self, ahead_seconds: int | None = None) -> None:
        """End this life, and begin another from what is durable; the clock may be set in between."""
        if ahead_seconds is not None:
            self.set_clock(ahead_seconds)
        journal = MemoryJournal(Storage(self.kept, {FIRST: [*self.story.groups]}))
        self.story.api.state = self.story.api.empty_state()
        assert not recover(self.story.state, journal, self.story.now).fresh
        self.story.state.changes = []

    def replays(self) -> set[int]:
        """Send again whatever was accepted; give the statuses."""
        return {self.story.send(self.story.api, *sent) for sent in [*self.story.accepted]}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("beat"), st.sampled_from([60, 300, 600])),
        st.tuples(st.just("compact"), st.just(0)),
        st.tuples(st.just("kill"), st.sampled_from([0, 200, 3600, YEAR_SECONDS])),
        st.tuples(st.just("clock"), st.sampled_from([0, 200, 3600, YEAR_SECONDS])),
    ),
    max_size=8,
)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(steps=[("clock", YEAR_SECONDS), ("beat", 60), ("kill", YEAR_SECONDS), ("beat", 600)])
@example(steps=[("clock", YEAR_SECONDS), ("beat", 60), ("kill", 0), ("beat", 600)])
@example(steps=[("kill", YEAR_SECONDS), ("beat", 60), ("compact", 0), ("kill", YEAR_SECONDS), ("beat", 600)])
@example(steps=[("kill", 200), ("beat", 600), ("kill", 200), ("beat", 600)])
@example(steps=[("clock", 3600), ("beat", 600), ("clock", 0), ("beat", 60), ("clock", 3600), ("kill", 3600)])
@given(steps=STEPS)
def test_whenever_it_is_killed_and_set_nobody_is_locked_out_and_nothing_comes_twice(
    steps: list[tuple[str, int]],
) -> None:
    """The clock is right in the end: then machines are accepted from twice the skew on, for as long as they beat."""
    life = Life()
    assert life.beats(300) == [200] * 5
    for step, value in steps:
        match step:
            case "beat":
                life.beats(value)
            case "compact":
                life.compact()
            case "kill":
                life.kill(value)
            case _:
                life.set_clock(value)
        assert 200 not in life.replays()
    life.set_clock(0)
    life.beats(2 * SKEW_SECONDS)
    assert set(life.beats(1200)) == {200}
    assert 200 not in life.replays()
    life.kill()
    assert set(life.beats(600)) == {200}
    assert 200 not in life.replays()


def test_the_journal_says_how_far_ahead_the_clock_is_once_and_not_at_every_heartbeat() -> None:
    life = Life()
    life.beats(300)
    life.set_clock(3600)
    life.beats(300)
    changes = [change for group in life.story.groups for change in msgspec.msgpack.decode(group)]
    assert [change[0] for change in changes] == [Kind.HEARTBEAT] * 5 + [Kind.LAG] + [Kind.HEARTBEAT] * 5
    assert changes[5][2] == 3600 * SECOND_NS


@pytest.mark.parametrize("ahead_seconds", [3600, YEAR_SECONDS])
def test_a_journal_without_such_notes_is_read_as_ever(ahead_seconds: int) -> None:
    """An earlier version wrote it: what it does not say is not known, and no replay is let in for that."""
    life = Life()
    life.beats(300)
    life.set_clock(ahead_seconds)
    life.beats(300)
    reported = [msgspec.msgpack.decode(group) for group in life.story.groups]
    life.story.groups = [msgspec.msgpack.encode([one for one in group if one[0] != Kind.LAG]) for group in reported]
    life.kill()
    assert 200 not in life.replays()
    assert life.beats(600) == [200] * 10
