"""Playing an attack against an API in process, with the clock in the test's hand: no socket, no waiting."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.operations.api import Api
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant, Reply, Request
from simulator.attacks import CATALOGUE
from simulator.attacks.acting import act, enrol, heartbeat
from simulator.attacks.catalogue import Moment, Shot, ShotAttack
from simulator.attacks.script import (
    Claim,
    JoinFleet,
    Outcome,
    Pause,
    PrerequisiteError,
    ScriptAttack,
    ScriptContext,
    Send,
    Together,
    heartbeat_gets,
)
from simulator.client.answers import HttpAnswer
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Action
from simulator.history.rows import NEVER_NS, NO_MACHINE, History
from simulator.worlds.recording import classify, record_send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.attacks.script import Script
    from simulator.fleet.machine import Machine

STEP_NS = 1_000_000
"""How long everything takes: a millisecond there, and a millisecond back."""
WALL_START_NS = 1_790_000_000 * SECOND_NS
TOKEN = "owners-bearer-token"
HOST = "127.0.0.1:8080"
LOST = Reply(0, b"")


class Performance(NamedTuple):
    """What came of a script: every outcome in order, every claim, who joined the fleet, and why it stopped early."""

    outcomes: list[Outcome]
    stated: list[Claim]
    joined: list[Machine]
    unsettled: str

    @property
    def wrong(self) -> list[Outcome]:
        """The answers that a correct server would not have given."""
        return [one for one in self.outcomes if one.known and not one.right]

    @property
    def broken(self) -> list[Claim]:
        """The claims that did not hold."""
        return [one for one in self.stated if one.held is False]


def script_attack(name: str, numbers: Mapping[str, Any] = MappingProxyType({})) -> ScriptAttack:
    """Make a script of the catalogue, with these numbers in place of its own: fewer of everything, and sooner."""
    attack = CATALOGUE[name]
    assert issubclass(attack, ScriptAttack), f"{name} is no script"
    assert all(hasattr(attack, number) for number in numbers), f"{name} has no {[*numbers]}"
    return type(attack.__name__, (attack,), dict(numbers))()


class World:
    """One API, its clock, and a context to play scripts on.

    `answer` may stand in for the API's own answers: it gives None for the API's own, and LOST for none at all.
    `server_ahead_ns` is what the server's wall clock shows beyond the harness's.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        answer: Callable[[Api, Request, Instant], Reply | None] | None = None,
        seed: int = 7,
        server_ahead_ns: int = 0,
    ) -> None:
        fields = {"rate_limit_burst": 1_000_000, "rate_limit_refill_per_second": 1e6, **(settings or {})}
        self.settings = Settings(api_token=TOKEN, **fields)
        self.now_ns = 0
        self._server_ahead_ns = server_ahead_ns
        signer = CertificateSigner.from_seed(bytes(32))
        self.api = Api(self.settings, SeededEntropy(), signer, self.instant)
        self.answer = answer
        self.history = History()
        self.sent: list[Send] = []
        self.rng = np.random.default_rng(seed)
        self._numbers = 0
        self._clients: dict[int, str] = {}
        self.context = self._context([])

    @property
    def instant(self) -> Instant:
        """The server's clocks now."""
        return Instant(WALL_START_NS + self._server_ahead_ns + self.now_ns, SECOND_NS + self.now_ns)

    @property
    def moment(self) -> Moment:
        """When and where a shot is made now."""
        return Moment(self.now_ns, WALL_START_NS + self.now_ns, HOST)

    def _context(self, victims: list[Machine]) -> ScriptContext:
        return ScriptContext(
            campaign=1,
            host=HOST,
            token=TOKEN,
            victims=victims,
            history=self.history,
            rng=self.rng,
            now=lambda: self.now_ns,
            wall=lambda: WALL_START_NS + self.now_ns,
            new_number=self._new_number,
            interval_ns=5 * SECOND_NS,
            rotation_ns=720 * SECOND_NS,
            end_ns=3600 * SECOND_NS,
            owner_prefix="evil",
        )

    def _new_number(self) -> int:
        self._numbers += 1
        return self._numbers - 1

    def with_victims(self, count: int) -> None:
        """Set up honest machines that have just sent a heartbeat each, as victims of what is played next."""
        victims: list[Machine] = []

        def script() -> Script[None]:
            owner_id = self.context.new_owner()
            for _ in range(count):
                machine = yield from enrol(self.context, owner_id)
                send = heartbeat(self.context, machine, Answer.ACCEPTED, "it is honest")
                outcome: Outcome = yield send
                assert outcome.right, outcome
                machine.last_accepted, machine.last_accepted_ns = send.request, outcome.answered_ns
                victims.append(machine)

        performance = self.play_script(script())
        assert not performance.unsettled, performance.unsettled
        assert not performance.wrong
        self.context = self._context(victims)

    def play(self, name: str, **numbers: Any) -> Performance:
        """Play a script of the catalogue once, with these numbers in place of its own."""
        attack = script_attack(name, numbers)
        assert not attack.obstacle(self.context)
        return self.play_script(attack.script(self.context))

    def shoot(self, name: str, times: int = 1) -> Performance:
        """Make shots of the catalogue at the victims, as a shard would; what they conclude together is claimed."""
        attack = CATALOGUE[name]()
        assert isinstance(attack, ShotAttack), f"{name} is a script"
        for victim in self.context.victims:
            attack.prepare(victim)
            if victim.rotate_due:
                self.rotate(victim)
        before = len(self.history)
        outcomes = []
        for _ in range(times):
            moment = self.moment
            ready = [victim for victim in self.context.victims if attack.ready(victim, moment)]
            assert ready, "no victim is ready"
            victim = ready[int(self.rng.integers(len(ready)))]
            outcomes.append(self.send(shot_step(attack.shot(victim, moment, self.rng), victim)))
        return Performance(outcomes, attack.conclude(self.history.rows()[before:]), [], "")

    def rotate(self, victim: Machine) -> None:
        """Have a machine's certificate rotated."""

        def script() -> Script[None]:
            yield from act(self.context, victim, Action.ROTATE)

        assert not self.play_script(script()).unsettled

    def play_script(self, script: Script[None]) -> Performance:
        """Play any script."""
        performance = Performance([], [], [], "")
        sent: Any = None
        try:
            while True:
                step = script.send(sent)
                sent = None
                match step:
                    case Send():
                        sent = self.send(step)
                        performance.outcomes.append(sent)
                    case Together():
                        # At the same moment: the clock stands still between them.
                        sends = [one for one in step.sends if isinstance(one, Send)]
                        assert len(sends) == len(step.sends), "raw bytes need sockets"
                        sent = [self.send(one, at_once=True) for one in sends]
                        self.now_ns += 2 * STEP_NS
                        performance.outcomes.extend(sent)
                    case Pause():
                        self.now_ns = max(self.now_ns, step.until_ns)
                    case Claim():
                        performance.stated.append(step)
                    case JoinFleet():
                        performance.joined.append(step.machine)
                    case _:
                        raise AssertionError(f"{type(step).__name__} needs sockets")
        except StopIteration:
            return performance
        except PrerequisiteError as error:
            return performance._replace(unsettled=str(error))

    def send(self, step: Send, *, at_once: bool = False) -> Outcome:
        """Do one step, and record it."""
        self.sent.append(step)
        sent_ns = self.now_ns
        self.now_ns += 0 if at_once else STEP_NS
        request = read_request(step.request, self._clients.setdefault(step.client, f"10.1.0.{len(self._clients)}"))
        reply = self.answer(self.api, request, self.instant) if self.answer is not None else None
        if reply is LOST:
            outcome = Outcome(step.expect, Answer.LOST, 0, b"", b"", sent_ns, NEVER_NS)
            record_send(self.history, 1, step, outcome, 1 + step.client)
            return outcome
        reply = reply or served(self.api, request, self.instant)
        self.now_ns += 0 if at_once else STEP_NS
        head = f"HTTP/1.1 {reply.status} X" + "".join(f"\r\n{name}: {value}" for name, value in reply.headers)
        answer = HttpAnswer(reply.status, head.encode(), reply.body, keep=True)
        got = classify(answer, step.expect)
        answered_ns = self.now_ns + STEP_NS if at_once else self.now_ns
        outcome = Outcome(step.expect, got, reply.status, answer.head, reply.body, sent_ns, answered_ns)
        record_send(self.history, 1, step, outcome, 1 + step.client)
        return outcome


def served(api: Api, request: Request, now: Instant) -> Reply:
    """Answer as a transport does: with the body left out where nobody asked for it."""
    reply = api.handle(request, now)
    return msgspec.structs.replace(reply, body=b"") if request.method == "HEAD" else reply


def shot_step(shot: Shot, victim: Machine) -> Send:
    """Make a step of a shot."""
    expect = heartbeat_gets(shot.expected, "the catalogue says so")
    machine = victim.index if shot.known else NO_MACHINE
    return Send(shot.request, expect, Operation.HEARTBEAT, machine, shot.nonce, shot.certificate, victim.consent_number)


def read_request(message: bytes, client: str) -> Request:
    """Read a whole HTTP/1.1 message as a transport would."""
    head, _, body = message.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    path, _, query = target.partition("?")
    pairs = [one.partition(":") for one in lines]
    headers = tuple((name.lower(), value.strip(" \t")) for name, _, value in pairs)
    return Request(method, path, query, headers, body, client=client, body_too_large=len(body) > 1 << 20)
