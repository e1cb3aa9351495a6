"""Rounds of heartbeats without other events between them: all are sent, then all are answered, then all answers taken.

This keeps the code of each step in the core's caches, and saves the events. The result is the same as with an event for
each: sending, answering and taking answers share no state and no random draws, and each is done at its own time of the
clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.client.link import LinkState
from simulator.fleet.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.client.link import Link
    from simulator.worlds.playing import Playing, Turn
    from simulator.worlds.progress import Progress
    from simulator.worlds.virtual.lane import EventLane
    from simulator.worlds.virtual.scheduling import JumpingClock


class FleetRounds:
    """Plays the rounds (`JumpingClock`) of a shard's machines. `take` processes a whole answer.

    `began_ns` is the clock's time at the start of the run, `wall` returns Unix time.
    """

    def __init__(
        self,
        clock: JumpingClock,
        playing: Playing,
        progress: Progress,
        began_ns: int,
        wall: Callable[[], int],
        take: Callable[[Link, bytes], bool],
    ) -> None:
        self._clock = clock
        self._playing = playing
        self._progress = progress
        self._began_ns = began_ns
        self._wall_ns = wall() - clock.now_ns
        """The difference between Unix time and the clock, constant during a run."""
        self._take = take
        self._share = playing.shortest_share
        self._lane: EventLane | None = None
        """The lane that answers in this round; it answers at once."""
        self._sent: list[tuple[int, int, Link, bytes]] = []
        """Requests sent in this round: arrival time in ns, sequence number, link, body."""

    def send(self, turn: Turn, planned_ns: int) -> int:
        """Take a machine's turn if it is only a heartbeat on an idle connection.

        Return its next time, or 0 if not taken.
        """
        if type(turn) is not Machine:
            return 0
        playing = self._playing
        link = playing.link_of(turn)
        if link is None or link.state is not LinkState.READY:
            return 0
        end: Any = link.sock
        guest = end.peer.guest
        if guest is None or not end.quiet:
            return 0
        if not self._sent:
            self._lane = guest.lane if guest.lane.answers_at_once else None
        if guest.lane is not self._lane:
            return 0
        now_ns = self._clock.now_ns - self._began_ns
        again_ns = planned_ns + int(turn.interval_ns * self._share)
        if again_ns <= now_ns or not guest.expects(playing.head_of(link, turn)):
            return 0
        body = playing.plain_heartbeat(turn, link, planned_ns, now_ns, self._clock.now_ns + self._wall_ns)
        if not body:
            return 0
        link.sent_ns = now_ns
        link.rested_ns = now_ns - link.free_ns
        link.state = LinkState.WAITING
        self._progress.sent += 1
        self._sent.append((end.arrival_ns(), len(self._sent), link, body))
        return again_ns + self._began_ns

    def end(self, ends_ns: int) -> None:
        """Deliver and answer all requests, and take the answers.

        Whatever is later than `ends_ns` becomes an event.
        """
        clock = self._clock
        latest_ns = clock.now_ns
        sent, self._sent = self._sent, []
        sent.sort()
        answers: list[tuple[int, int, Link, bytes]] = []
        for at_ns, _, link, body in sent:
            end: Any = link.sock
            if at_ns >= ends_ns:
                end.post(link.request, at_ns)
                continue
            clock.now_ns = at_ns
            answer = end.peer.guest.answer(link.request, body)
            if answer:
                answers.append((end.peer.arrival_ns(), len(answers), link, answer))
            elif answer is None:
                end.unread += len(link.request)
                end.peer.arrive(link.request)
        latest_ns = max(latest_ns, clock.now_ns)
        answers.sort()
        for at_ns, _, link, answer in answers:
            end = link.sock
            if at_ns >= ends_ns:
                end.peer.post(answer, at_ns)
                continue
            clock.now_ns = at_ns
            if not self._take(link, answer):
                end.peer.unread += len(answer)
                end.arrive(answer)
        clock.now_ns = max(latest_ns, clock.now_ns)
