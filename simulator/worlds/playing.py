"""The requests of a shard's machines and attackers: choosing, classifying and recording them.

No socket, no runtime and no clock: times are arguments, in nanoseconds of the run, or Unix nanoseconds if they are
named `wall`. A shard asks what is due, carries it, and reports the answer; so the live world's sockets and the virtual
world's network share this code. It runs for every heartbeat, so it is written for speed.
"""

from __future__ import annotations

import heapq
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.wire.units import MILLISECOND_NS
from simulator.attacks.catalogue import Moment
from simulator.client.answers import HttpAnswer, classify_heartbeat
from simulator.client.link import RESTING, Link, LinkState
from simulator.client.target import Target, attacker_source, machine_source
from simulator.contract.answers import Answer
from simulator.contract.reading import retry_after_ns
from simulator.fleet.clocks import PERFECT
from simulator.fleet.machine import Action, Machine, heartbeat_head, with_body
from simulator.history.losses import Loss, loss_of_close, lost_status
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.worlds.draws import Draws
from simulator.worlds.recording import record_heartbeat
from simulator.worlds.waiting import Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from simulator.client.witness import Witness
    from simulator.fleet.work import MachineWork
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress

OK = HTTPStatus.OK
SWEEP_NS = 500 * MILLISECOND_NS
VICTIM_TRIES = 8
SURELY_NOT = frozenset(Answer) - frozenset({Answer.UNEXPECTED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST})
"""Answers after which the content of a heartbeat certainly had no effect; an acceptance is told apart."""
MOVE_AFTER_ANSWERS = 5
"""After this many answers, a machine moves to another of several instances."""

Turn = Machine | tuple["Campaign", deque[Link]]
"""The owner of a turn: a machine, or a campaign with its attackers' connections."""


class Playing:
    """The machines and attackers of one shard against one target, each with the link that carries its requests.

    `metrics_of` returns a machine's hardware report as JSON; `call` starts a control-plane action of a machine, which
    ends with `resume`. `tape` records every exchange. `work` has the machines' market work by number, or is None.
    """

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        rng: np.random.Generator,
        witness: Witness,
        metrics_of: Callable[[int], str],
        call: Callable[[Machine], None],
        jitter: float,
        tape: Tape | None = None,
        *,
        work: Mapping[int, MachineWork] | None = None,
    ) -> None:
        self._target = target
        self._authority = target.authority
        self._history = history
        self._progress = progress
        self._rng = rng
        self._draws = Draws(rng)
        self._metrics_of = metrics_of
        self._call = call
        self._jitter = jitter
        self._tape = tape
        self._work = work
        self._witness = witness
        self._order = 0
        self._links: dict[int, Link] = {}
        self._attackers: list[Link] = []
        self._longest_rest_ns = 0
        self._waits = Waits(history, progress, NEVER_NS)
        self.due: list[tuple[int, int, Turn]] = []
        """A heap of turns: planned time, sequence number, owner of the turn."""
        self.plan: Callable[[int, Turn], object] = self._plan
        """Plans a turn: in `due`, unless the shard keeps turns elsewhere."""
        self.next_sweep_ns = 0
        self.ended = False

    # --- the schedule

    def resume(self, machine: Machine, now_ns: int, given_up_ns: int = NEVER_NS) -> None:
        """Take a machine (back) into the schedule at its `due_ns`; `given_up_ns` is a start that it could not make."""
        machine.free_ns = now_ns
        if given_up_ns < machine.due_ns:
            self._waits.over(machine, given_up_ns + machine.interval_ns, now_ns, leaves=False)
        self.plan(machine.due_ns, machine)

    def stop_machine(self, machine: Machine) -> Link | None:
        """Remove a machine from the fleet; return its link to be closed, or None while an answer is pending.

        The machine keeps its registration, and a pending answer still counts.
        """
        machine.stopped = True
        link = self._links.get(machine.index)
        if link is None or link.state is LinkState.WAITING:
            return None
        del self._links[machine.index]
        return link

    def launch(self, campaign: Campaign, now_ns: int) -> None:
        """Begin a campaign's schedule."""
        campaign.count_planned()
        links = deque(
            Link(attacker_source(self._target, campaign.number * 1000 + index), None, campaign.number)
            for index in range(campaign.attackers)
        )
        self._attackers.extend(links)
        for victim in campaign.victims:
            campaign.shots.prepare(victim)
        self.plan(now_ns, (campaign, links))

    def end(self, now_ns: int) -> None:
        """Start nothing more."""
        self._waits.ends_ns = now_ns
        self.ended = True

    def link_of(self, machine: Machine) -> Link | None:
        """Return a machine's link, or None."""
        return self._links.get(machine.index)

    @property
    def shortest_share(self) -> float:
        """The least time between two planned starts of a machine, as a share of its interval."""
        return 1 - self._jitter

    def links(self) -> list[Link]:
        """Return all links."""
        return [*self._links.values(), *self._attackers]

    def overdue(self, now_ns: int, patience_ns: int) -> list[Link]:
        """Return the links that have waited longer than `patience_ns`; call it from `next_sweep_ns` on."""
        self.next_sweep_ns = now_ns + SWEEP_NS
        if not self._progress.in_flight:
            return []
        latest_ns = now_ns - patience_ns
        return [one for one in self.links() if one.state not in RESTING and one.sent_ns < latest_ns]

    def oldest_ns(self, now_ns: int) -> int:
        """Return when the request that has waited longest was sent, or `now_ns` if none waits."""
        if not self._progress.in_flight:
            return now_ns
        return min((one.sent_ns for one in self.links() if one.state not in RESTING), default=now_ns)

    def _plan(self, due_ns: int, turn: Turn) -> None:
        self._order += 1
        heapq.heappush(self.due, (due_ns, self._order, turn))

    # --- what to send

    def next_heartbeat(self, machine: Machine, planned_ns: int, now_ns: int, wall_ns: int) -> Link | None:
        """Do what a machine wants to do now; return its link with a heartbeat to send, or None."""
        if machine.stopped or machine.due_ns != planned_ns:
            return None  # removed from the fleet, or rescheduled since
        action = machine.action(now_ns)
        if action is Action.WAIT:
            self.plan(machine.due_ns, machine)
            return None
        if action is not Action.HEARTBEAT:
            self._call(machine)
            return None
        link = self._links.get(machine.index)
        if link is None:
            link = self._links[machine.index] = Link(machine_source(self._target, machine.index), machine, HONEST)
        elif link.state not in RESTING:
            return None  # stopped and restarted before its last answer, which will plan the next start
        late = (now_ns - planned_ns) // machine.interval_ns if machine.interval_ns else 0
        if late > 0:
            held_up = self._waits.over(machine, planned_ns, machine.free_ns)  # by the control plane, not by the harness
            self._progress.dropped_starts += late - held_up
            planned_ns += late * machine.interval_ns
        self._write(link, machine, planned_ns, now_ns, wall_ns)
        return link

    def plain_heartbeat(self, machine: Machine, link: Link, planned_ns: int, now_ns: int, wall_ns: int) -> bytes:
        """Write a heartbeat for a machine's idle link, if its turn needs nothing else; return the body.

        No bytes mean that the turn may need more: then nothing was done, and `next_heartbeat` must be called.
        """
        if machine.due_ns != planned_ns or machine.stopped or self._target.others or not machine.beats(now_ns):
            return b""
        if now_ns - planned_ns >= machine.interval_ns:
            return b""
        return self._write(link, machine, planned_ns, now_ns, wall_ns)

    def _write(self, link: Link, machine: Machine, planned_ns: int, now_ns: int, wall_ns: int) -> bytes:
        link.nonce = nonce = self._draws.nonce()
        link.planned_ns = planned_ns
        link.made_ns = now_ns
        link.certificate, link.consent = machine.certificate_number, machine.consent_number
        body = machine.heartbeat(wall_ns, now_ns, nonce.hex(), self._metrics_of(machine.index))
        link.request = with_body(self.head_of(link, machine), body)
        self._progress.in_flight += 1
        return body

    def head_of(self, link: Link, machine: Machine) -> bytes:
        """Return the head of a machine's next heartbeat."""
        # Compared by identity: a machine that registered anew has another id and token object.
        if link.head_of is not machine.certificate_id:
            link.head_of = machine.certificate_id
            link.head = heartbeat_head(
                self._authority, machine.worker_id, machine.token.decode(), machine.certificate_id
            )
        return link.head

    def next_shot(self, turn: tuple[Campaign, deque[Link]], planned_ns: int, now_ns: int, wall_ns: int) -> Link | None:
        """Make one shot of a campaign, and plan its next; return the link with the request, or None for no shot now."""
        campaign, links = turn
        options = campaign.options
        campaign.fired += 1
        due_ns = options.start_ns + round(campaign.fired * 1e9 / options.rate)
        if due_ns < options.start_ns + options.duration_ns:
            self.plan(due_ns, turn)
        moment = Moment(now_ns, wall_ns, self._authority)
        link = links[0]
        links.rotate(-1)
        if link.state not in {LinkState.READY, LinkState.CLOSED}:
            self._progress.held_up += 1
            campaign.held_up += 1
            return None
        attack = campaign.shots
        for _ in range(VICTIM_TRIES):
            victim = campaign.victims[int(self._rng.integers(len(campaign.victims)))]
            if attack.ready(victim, moment):
                break
        else:
            campaign.unready += 1
            if victim.policy_id and not victim.rotate_due:
                attack.prepare(victim)  # the victim has registered anew since it was prepared
            return None
        shot = attack.shot(victim, moment, self._rng)
        link.request, link.nonce, link.expected = shot.request, shot.nonce, shot.expected
        link.certificate, link.consent = shot.certificate, victim.consent_number
        campaign.completed += 1
        link.planned_ns = planned_ns
        link.subject = victim.index if shot.known else NO_MACHINE
        self._progress.in_flight += 1
        return link

    # --- outcomes

    def connected(self, link: Link, now_ns: int) -> None:
        """Record that a new connection is up; its request has still to be sent."""
        link.refusals = 0
        link.free_ns = NEVER_NS
        self._waits.connected(link, now_ns)

    def answered(self, link: Link, answer: HttpAnswer, now_ns: int) -> bool:
        """Record an answer, and plan the machine's next start; return whether the connection may be kept."""
        link.free_ns = now_ns
        link.state = LinkState.READY
        if link.rested_ns > self._longest_rest_ns:  # noqa: PLR1730 - runs for each heartbeat, and `max` costs more
            self._longest_rest_ns = link.rested_ns
        progress = self._progress
        progress.in_flight -= 1
        machine = link.machine
        expected = Answer.ACCEPTED if machine is not None and machine.clock is PERFECT else link.expects(now_ns)
        # A repeated answer need not be parsed again.
        right = link.right_body and answer.body == link.right_body and answer.status == OK
        got = Answer.ACCEPTED if right else classify_heartbeat(answer, expected)
        record_heartbeat(self._history, self._tape, link, now_ns, answer, expected, got)
        self._witness.heard(link, answer, now_ns)
        link.answers += 1
        keep = answer.keep and not (self._target.others and link.answers % MOVE_AFTER_ANSWERS == 0)
        if machine is None:
            progress.attacked(got, expected)
            return keep
        progress.answered(got)
        if self._work is not None and machine.index in self._work:
            self._worked(self._work[machine.index], link, machine, answer, got, now_ns)
        if machine.stopped:
            del self._links[machine.index]
            return False
        if got is Answer.ACCEPTED:
            machine.last_accepted = link.request
            machine.last_accepted_ns = now_ns
            machine.accepted(
                link.planned_ns, round(machine.interval_ns * (1 + self._jitter * (2 * self._draws.fraction() - 1)))
            )
            if machine.due_ns <= now_ns:
                machine.due_ns += self._waits.over(machine, machine.due_ns, now_ns) * machine.interval_ns
        else:
            self._waits.over(machine, link.planned_ns + machine.interval_ns, now_ns, leaves=False)
            machine.refused(answer.status, now_ns, self._draws.fraction(), retry_after_ns(answer.head))
        self.plan(machine.due_ns, machine)
        return keep

    def _worked(
        self, work: MachineWork, link: Link, machine: Machine, answer: HttpAnswer, got: Answer, now_ns: int
    ) -> None:
        """Apply an answer to a machine's jobs. A machine that abandons its jobs falls silent for a while."""
        work.rules = machine.rules
        if got is Answer.ACCEPTED:
            if work.accepted(self._history, link.sent_ns, now_ns, answer.body):
                work.forget()
                machine.silence += ((now_ns, now_ns + work.silence_ns),)
        elif got in SURELY_NOT:
            work.refused(self._history, link.sent_ns, now_ns)
        else:
            work.unanswered(self._history, link.sent_ns)

    def unasked(self, link: Link, now_ns: int, data: bytes) -> None:
        """Record unsolicited bytes on an idle connection; no bytes mean that it was closed."""
        self._witness.unasked(link.request, data, link.sent_ns, link.campaign)
        if not data and (rested_ns := now_ns - link.free_ns) > 0:
            self._history.closed_at_rest(rested_ns)

    def lost(
        self, link: Link, now_ns: int, why: str, loss: Loss | None, *, sent: bool, nothing_came: bool = True
    ) -> None:
        """Record that no whole answer came, and why (closed or reset if `loss` is None), and plan what follows.

        `sent` says whether the request had left.
        """
        waited_ns = now_ns - link.sent_ns
        progress = self._progress
        progress.in_flight -= 1
        machine = link.machine
        if sent:
            loss = loss or loss_of_close(link.rested_ns, self._longest_rest_ns, waited_ns, nothing_came=nothing_came)
            lost = lost_status(loss, waited_ns)
            record_heartbeat(self._history, self._tape, link, NEVER_NS, None, link.expects(now_ns), Answer.LOST, lost)
            progress.lost += 1
        else:
            progress.connect_failures += 1
            link.address += 1
        if why:
            what = "connecting" if not sent else "heartbeat" if machine is not None else "attack"
            self._history.trouble(link.sent_ns, what, why)
        if sent and machine is not None and self._work is not None and machine.index in self._work:
            self._work[machine.index].unanswered(self._history, link.sent_ns)
        if machine is not None and not machine.stopped:
            self._waits.over(machine, link.planned_ns + machine.interval_ns, now_ns, NEVER_NS, leaves=False)
            machine.refused(0, now_ns, self._draws.fraction())
            self.plan(machine.due_ns, machine)
