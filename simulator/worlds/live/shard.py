"""The shard: thousands of heartbeat connections in one Trio task.

Like the server's express lane it waits for one nested selector and works on non-blocking sockets directly: no task, no
stream and no wake-up a machine. What to send comes from the machines and the campaigns; when, from a heap of moments.
"""

from __future__ import annotations

import heapq
import selectors
import ssl
from collections import deque
from typing import TYPE_CHECKING

import trio

from simulator.attacks.catalogue import Moment
from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer, classify_heartbeat
from simulator.client.connection import cause_of
from simulator.client.link import BUSY, Link, LinkState
from simulator.client.target import Target, attacker_source, machine_source
from simulator.client.witness import Witness
from simulator.contract.answers import Answer
from simulator.contract.reading import retry_after_ns
from simulator.fleet.machine import Action, Machine, heartbeat_request
from simulator.history.losses import Loss, loss_of_close, lost_status
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.limits import ANSWER_TIMEOUT_SECONDS, HEARTBEAT_ANSWER_MAX_BYTES
from simulator.worlds.draws import Draws
from simulator.worlds.live.dialling import dial, shake_hands
from simulator.worlds.live.waiting import Waits
from simulator.worlds.recording import record_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress

READ_BYTES = 65_536
OK = 200
IDLE_WAKE_SECONDS = 0.05
SWEEP_NS = 500_000_000
VICTIM_TRIES = 8
MOVE_AFTER_ANSWERS = 5
"""Answers after which a machine moves on to another of several instances."""


class Shard:
    """Drives machines and attackers against one target.

    `now` gives nanoseconds since the start of the run and `wall` Unix nanoseconds; `metrics_of` gives a machine's
    hardware report as JSON; `call` does a control-plane action of a machine elsewhere and then calls `resume`. A `tape`
    takes every exchange.
    """

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        rng: np.random.Generator,
        now: Callable[[], int],
        wall: Callable[[], int],
        metrics_of: Callable[[int], str],
        call: Callable[[Machine], None],
        jitter: float,
        tape: Tape | None = None,
    ) -> None:
        self._target = target
        self._history = history
        self._progress = progress
        self._rng = rng
        self._draws = Draws(rng)
        self._now = now
        self._wall = wall
        self._metrics_of = metrics_of
        self._call = call
        self._jitter = jitter
        self._tape = tape
        self._witness = Witness(history, now)
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[int, int, Machine | tuple[Campaign, deque[Link]]]] = []
        self._order = 0
        self._links: dict[int, Link] = {}
        self._attackers: list[Link] = []
        self._next_sweep_ns = self._longest_rest_ns = 0
        self._waits = Waits(history, progress, NEVER_NS)

    # --- what is to be done, and when

    def resume(self, machine: Machine, given_up_ns: int = NEVER_NS) -> None:
        """Take a machine (back) into the schedule at its `due_ns`; `given_up_ns` is a start that it could not make."""
        machine.free_ns = self._now()
        if given_up_ns < machine.due_ns:
            self._waits.over(machine, given_up_ns + machine.interval_ns, machine.free_ns, leaves=False)
        self._at(machine.due_ns, machine)

    def stop_machine(self, machine: Machine) -> None:
        """Take a machine off the fleet; it keeps its registration, and the answer that it is owed still counts."""
        machine.stopped = True
        link = self._links.get(machine.index)
        if link is None or link.state is LinkState.WAITING:
            return
        del self._links[machine.index]
        if link.state in BUSY:
            self._lost(link, "", Loss.ENDED)
        else:
            self._drop(link)

    def launch(self, campaign: Campaign) -> None:
        """Begin a campaign's schedule."""
        links = deque(
            Link(attacker_source(self._target, campaign.number * 1000 + index), None, campaign.number)
            for index in range(campaign.attackers)
        )
        self._attackers.extend(links)
        for victim in campaign.victims:
            campaign.shots.prepare(victim)
        self._at(self._now(), (campaign, links))

    def _at(self, due_ns: int, what: Machine | tuple[Campaign, deque[Link]]) -> None:
        self._order += 1
        heapq.heappush(self._due, (due_ns, self._order, what))

    async def run(self) -> None:
        """Work until cancelled or `finish` is called."""
        due, selector = self._due, self._selector
        fileno = selector.fileno()
        while self._waits.ends_ns == NEVER_NS:
            now_ns = self._now()
            wait_seconds = min(IDLE_WAKE_SECONDS, (due[0][0] - now_ns) / 1e9) if due else IDLE_WAKE_SECONDS
            if wait_seconds > 0:
                with trio.move_on_after(wait_seconds):
                    await trio.lowlevel.wait_readable(fileno)
            else:
                await trio.lowlevel.checkpoint()
            for key, _ in selector.select(0):
                self._ready(key.data)
            now_ns = self._now()
            while due and due[0][0] <= now_ns:
                planned_ns, _, what = heapq.heappop(due)
                if type(what) is Machine:
                    self._turn(what, planned_ns, now_ns)
                else:
                    self._fire(what, planned_ns, now_ns)  # type: ignore[arg-type]
                now_ns = self._now()
            if now_ns >= self._next_sweep_ns:
                self._sweep(now_ns)

    async def finish(self, patience_seconds: float) -> None:
        """Stop sending, wait for the answers that are due for a moment, and count the rest as lost."""
        self._waits.ends_ns = self._now()
        with trio.move_on_after(patience_seconds):
            while any(link.state is LinkState.WAITING for link in self._all_links()):
                await trio.lowlevel.wait_readable(self._selector.fileno())
                for key, _ in self._selector.select(0):
                    self._ready(key.data)
        for link in list(self._all_links()):
            if link.state in BUSY:
                self._lost(link, "no whole answer by the end of the run", Loss.ENDED)
            self._drop(link)
        self._selector.close()

    def _all_links(self) -> list[Link]:
        return [*self._links.values(), *self._attackers]

    # --- sending

    def _turn(self, machine: Machine, planned_ns: int, now_ns: int) -> None:
        """Do what a machine wants to do now."""
        if machine.stopped or machine.due_ns != planned_ns:
            return  # off the fleet, or it has another place in the schedule since
        action = machine.action(now_ns)
        if action is Action.WAIT:
            self._at(machine.due_ns, machine)
            return
        if action is not Action.HEARTBEAT:
            self._call(machine)
            return
        link = self._links.get(machine.index)
        if link is None:
            link = self._links[machine.index] = Link(machine_source(self._target, machine.index), machine, HONEST)
        elif link.state is LinkState.WAITING:
            return  # stopped and started again before its last answer, which will go on from there
        late = (now_ns - planned_ns) // machine.interval_ns if machine.interval_ns else 0
        if late > 0:
            held_up = self._waits.over(machine, planned_ns, machine.free_ns)  # by the control plane, and not by us
            self._progress.dropped_starts += late - held_up
            planned_ns += late * machine.interval_ns
        link.nonce = nonce = self._draws.nonce()
        link.planned_ns = planned_ns
        link.made_ns = now_ns
        link.certificate, link.consent = machine.certificate_number, machine.consent_number
        body = machine.heartbeat(self._wall(), now_ns, nonce.hex(), self._metrics_of(machine.index))
        token = machine.token.decode()
        link.request = heartbeat_request(self._target.authority, machine.worker_id, token, machine.certificate_id, body)
        self._send(link)

    def _fire(self, what: tuple[Campaign, deque[Link]], planned_ns: int, now_ns: int) -> None:
        """Make one shot of a campaign, and plan its next."""
        campaign, links = what
        options = campaign.options
        campaign.fired += 1
        due_ns = options.start_ns + round(campaign.fired * 1e9 / options.rate)
        if due_ns < options.start_ns + options.duration_ns:
            self._at(due_ns, what)
        moment = Moment(now_ns, self._wall(), self._target.authority)
        link = links[0]
        links.rotate(-1)
        if link.state not in {LinkState.READY, LinkState.CLOSED}:
            self._progress.held_up += 1
            return
        attack = campaign.shots
        for _ in range(VICTIM_TRIES):
            victim = campaign.victims[int(self._rng.integers(len(campaign.victims)))]
            if attack.ready(victim, moment):
                break
        else:
            return
        shot = attack.shot(victim, moment, self._rng)
        link.request, link.nonce, link.expected = shot.request, shot.nonce, shot.expected
        link.certificate, link.consent = shot.certificate, victim.consent_number
        campaign.completed += 1
        link.planned_ns = planned_ns
        link.subject = victim.index if shot.known else NO_MACHINE
        self._send(link)

    def _send(self, link: Link) -> None:
        """Send a link's request, connecting first where needed."""
        self._progress.in_flight += 1
        if link.state is not LinkState.READY:
            self._connect(link)
            return
        link.sent_ns = self._now()
        link.rested_ns = link.sent_ns - link.free_ns
        link.state = LinkState.WAITING
        self._progress.sent += 1
        why = "the connection takes no more"  # a heartbeat fits any socket buffer
        front = self._target.front
        message = link.request if front is None else front.written(link.request)
        try:
            sent = link.sock.send(message)  # type: ignore[union-attr]
        except OSError as error:
            sent, why = -1, cause_of(error, self._target)
        if sent != len(message):
            self._lost(link, why, Loss.UNSENT)

    def _connect(self, link: Link) -> None:
        link.sent_ns = self._now()
        try:
            dial(link, self._target, self._selector)
        except OSError as error:
            self._unreached(link, cause_of(error, self._target))

    # --- receiving

    def _ready(self, link: Link) -> None:
        sock = link.sock
        if sock is None:
            return
        if link.state in {LinkState.CONNECTING, LinkState.HANDSHAKING}:
            self._go_on_connecting(link)
            return
        try:
            data = sock.recv(READ_BYTES)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if link.state is not LinkState.WAITING:
            self._witness.unasked(link.request, data, link.sent_ns, link.campaign)
            if not data and (rested_ns := self._now() - link.free_ns) > 0:
                self._history.closed_at_rest(rested_ns)
            self._drop(link)  # closed by the server at rest, or bytes nobody asked for
            return
        ended = not data
        fresh = link.reader is None
        reader, link.reader = link.reader or AnswerReader(HEARTBEAT_ANSWER_MAX_BYTES), None
        try:
            answer = reader.feed(data, ended=ended)
        except GarbageError as error:
            self._lost(link, cause_of(error, self._target), Loss.GARBAGE)
            return
        if answer is None:
            if ended:
                self._lost(link, "no HTTP answer: closed before the answer was whole", nothing_came=fresh)
            else:
                link.reader = reader
            return
        self._answered(link, answer)

    def _go_on_connecting(self, link: Link) -> None:
        try:
            if not shake_hands(link, self._target, self._selector, self._progress):
                return
        except OSError as error:
            self._unreached(link, cause_of(error, self._target))
            return
        link.refusals = 0
        self._progress.in_flight -= 1
        link.free_ns = NEVER_NS
        self._waits.connected(link, self._now())
        self._send(link)

    def _answered(self, link: Link, answer: HttpAnswer) -> None:
        """Record an answer, and let the machine go on."""
        now_ns = link.free_ns = self._now()
        link.state = LinkState.READY
        if link.rested_ns > self._longest_rest_ns:  # noqa: PLR1730 - once a heartbeat: calling `max` costs far more
            self._longest_rest_ns = link.rested_ns
        progress = self._progress
        progress.in_flight -= 1
        machine = link.machine
        expected = link.expects(now_ns)
        right = (
            answer.body == link.right_body and answer.status == OK
        )  # looked at before, so there is no need to read it
        got = Answer.ACCEPTED if right else classify_heartbeat(answer, expected)
        record_heartbeat(self._history, self._tape, link, now_ns, answer, expected, got)
        self._witness.heard(link, answer, now_ns)
        link.answers += 1
        if not answer.keep or (self._target.others and link.answers % MOVE_AFTER_ANSWERS == 0):
            self._drop(link)
        if machine is None:
            progress.attacked(got, expected)
            return
        progress.answered(got, now_ns - link.planned_ns)
        if machine.stopped:
            self._drop(link)
            del self._links[machine.index]
            return
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
        self._at(machine.due_ns, machine)

    def _unreached(self, link: Link, why: str) -> None:
        """Try the target's next address, if there is one that was not tried."""
        if link.all_refused(self._target):
            self._lost(link, why)
        else:
            self._drop(link)
            self._connect(link)

    def _lost(self, link: Link, why: str, loss: Loss | None = None, *, nothing_came: bool = True) -> None:
        """Record that no whole answer came, and why (closed or reset unless said), and start with a new connection."""
        waited_ns = (now_ns := self._now()) - link.sent_ns
        progress, sent = self._progress, link.state is LinkState.WAITING
        self._drop(link)
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
        if machine is not None and not machine.stopped:
            self._waits.over(machine, link.planned_ns + machine.interval_ns, now_ns, NEVER_NS, leaves=False)
            machine.refused(0, now_ns, self._draws.fraction())
            self._at(machine.due_ns, machine)

    def _drop(self, link: Link) -> None:
        sock, link.sock = link.sock, None
        link.reader = None
        if sock is not None:
            try:
                self._selector.unregister(sock)
            except (KeyError, ValueError):
                pass
            else:
                up = link.state in {LinkState.HANDSHAKING, LinkState.READY, LinkState.WAITING}
                self._progress.connected -= up and link.machine is not None
            sock.close()
        link.state = LinkState.CLOSED

    def _sweep(self, now_ns: int) -> None:
        """Give up on answers that are too late."""
        self._next_sweep_ns = now_ns + SWEEP_NS
        for link in self._all_links():
            if link.state in BUSY and link.sent_ns < now_ns - int(ANSWER_TIMEOUT_SECONDS * 1e9):
                self._lost(link, f"no whole answer within {ANSWER_TIMEOUT_SECONDS:g} s", Loss.TIMED_OUT)
