"""A run in process against the reference server's own decisions, through somebody who may change each answer's bytes.

Everything but the sockets is the harness's own: onboarding, observing, reading lists, classifying, recording, judging.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import trio

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.http.rendering import Renderer
from reference_server.operations.api import Api
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant
from simulator.checkers import run_checkers
from simulator.checkers.facts import Facts
from simulator.client.answers import AnswerReader, HttpAnswer, classify_heartbeat
from simulator.client.connection import LostError
from simulator.client.keys import read_published_keys
from simulator.client.link import Link
from simulator.client.target import parse_target
from simulator.client.witness import Witness
from simulator.contract.answers import Answer, Operation
from simulator.contract.parsed_request import ParsedRequest, parse_request
from simulator.fleet.clocks import PERFECT, ClockError
from simulator.fleet.machine import Machine, heartbeat_request
from simulator.fleet.requests import ApiCall
from simulator.history.records import WallReading
from simulator.history.rows import HONEST, NEVER_NS, History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.players import act_player, auditing, observing, statuses
from simulator.worlds.players.observing import Observer
from simulator.worlds.players.onboarding import Onboarding
from simulator.worlds.progress import Progress
from simulator.worlds.recording import record_heartbeat
from tests.attacks.playing import read_request as read_for_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.checkers.verdict import Finding, Verdict

    Lie = Callable[["LyingWorld", ParsedRequest, bytes], bytes]

TOKEN = "owners-bearer-token"
STEP_NS = 1_000_000
WALL_START_NS = 1_790_000_000 * SECOND_NS
OWNERS = ("ada", "ben")
SCENARIO = parse_scenario(
    'version = 1\nname = "lies"\nduration = "10s"\n[fleet]\nmachines = 4\nowners = 2\nheartbeat_interval = "1s"\n'
)
FACTS = Facts(
    stale_seconds=60,
    auth_window_seconds=300,
    auth_threshold=10,
    baseline={},
    rate_limit_burst=1_000_000,
    rate_limit_refill_per_second=1e6,
    audit_events_per_stream=5000,
    only_client=True,
)


def honest(_world: LyingWorld, _asked: ParsedRequest, answer: bytes) -> bytes:
    """Pass an answer on as it is."""
    return answer


class LyingWorld:
    """One server, its clock, the liar in front of it, and the history of a short run."""

    def __init__(self, lie: Lie = honest) -> None:
        self.lie = lie
        self.lied = 0
        self.now_ns = 0
        settings: dict[str, Any] = {"rate_limit_burst": 1_000_000, "rate_limit_refill_per_second": 1e6}
        self._signer = CertificateSigner.from_seed(bytes(32))
        self.api = Api(Settings(api_token=TOKEN, **settings), SeededEntropy(), self._signer, self.instant)
        self._renderer = Renderer(SeededEntropy())
        self.history = History()
        self.target = parse_target("http://127.0.0.1:1", TOKEN)
        self.before: dict[str, bytes] = {}
        """The last answer to each kind of request."""
        self._witness = Witness(self.history, self.now)
        self.machines = [Machine(number, OWNERS[number % 2], SECOND_NS) for number in range(4)]
        self._links = [Link("127.16.0.2", machine, HONEST) for machine in self.machines]
        self._nonces = 0

    def now(self) -> int:
        """Return nanoseconds of the run."""
        return self.now_ns

    @property
    def instant(self) -> Instant:
        """The server's clocks now."""
        return Instant(WALL_START_NS + self.now_ns, SECOND_NS + self.now_ns)

    # --- one exchange

    def answer(self, message: bytes, client: str = "127.0.0.9") -> bytes:
        """Have the server answer a request; what comes back is what the liar makes of it."""
        self.now_ns += STEP_NS
        request = read_for_server(message, client)
        reply = self.api.handle(request, self.instant)
        raw = self._renderer.full(reply, self.instant, bodiless=request.method == "HEAD", closes=False)
        asked = parse_request(message)
        assert asked is not None
        reported = self.lie(self, asked, raw)
        self.lied += reported != raw
        self.before[asked.name] = raw
        self.now_ns += STEP_NS
        return reported

    # --- the run

    def beat(self, number: int, *, behind_ns: int = 0, again: bool = False) -> None:
        """Send one machine's heartbeat, as a shard does: honest, from a clock that is behind, or the last one again."""
        link, machine = self._links[number], self.machines[number]
        link.campaign = HONEST if not (behind_ns or again) else 1
        link.planned_ns = link.sent_ns = link.made_ns = self.now_ns
        expected = Answer.ACCEPTED
        if again:
            expected = Answer.NONCE_REPLAYED
        else:
            self._nonces += 1
            link.nonce = self._nonces.to_bytes(12, "big")
            machine.clock = ClockError(-behind_ns) if behind_ns else PERFECT
            expected = Answer.TIMESTAMP_OUT_OF_WINDOW if behind_ns else expected
            body = machine.heartbeat(WALL_START_NS + self.now_ns, self.now_ns, link.nonce.hex(), "{}")
            link.certificate, link.consent = machine.certificate_number, machine.consent_number
            link.request = heartbeat_request(
                self.target.authority, machine.worker_id, machine.token.decode(), machine.certificate_id, body
            )
        got = AnswerReader().feed(self.answer(link.request))
        if got is None:
            record_heartbeat(self.history, None, link, NEVER_NS, None, expected, Answer.LOST)
            return
        record_heartbeat(self.history, None, link, self.now_ns, got, expected, classify_heartbeat(got, expected))
        self._witness.heard(link, got, self.now_ns)

    async def _story(self) -> None:
        progress, rng = Progress(), np.random.default_rng(3)
        owners = Onboarding(self.target, self.history, progress, self.now, rng, 3600 * SECOND_NS)
        observer = Observer(
            SCENARIO, 3, self.target, self.history, progress, self.now, OWNERS, lambda: self.instant.wall_ns
        )
        await owners.create_policies(list(OWNERS))
        for machine in self.machines:
            await owners.serve(machine)
        async with _Connection(self) as connection:
            await read_published_keys(connection, self.history, self.now)  # type: ignore[arg-type]
            await observer._scrape_once(connection)  # type: ignore[arg-type]
            for _ in range(3):
                for number in range(3):
                    self.beat(number)
                self.now_ns += SECOND_NS
            self.beat(0, behind_ns=200 * SECOND_NS)
            self.beat(1)
            self.beat(1, again=True)
            self.machines[2].rotate_due = True
            self.machines[2].due_ns = 0
            await owners.serve(self.machines[2])
            self.beat(2)
            await observer._scrape_once(connection)  # type: ignore[arg-type]
            await connection.request("GET", "/health", {}, rooted=True)
            await owners._create_policy(0, "ada")
            for method, path in (("GET", "/nothing"), ("PUT", "/machines/register"), ("HEAD", "/status")):
                await connection.request(method, path, {})
            self.now_ns += SECOND_NS
        await observer._auditor._look("ada")
        await observer.finish()

    def play(self) -> LyingWorld:
        """Play the run to its end."""
        with pytest.MonkeyPatch.context() as patch:
            for module in (act_player, observing, auditing, statuses):
                patch.setattr(module, "ControlConnection", self._connect)
            trio.run(self._story)
        self.history.wall_readings[:] = [WallReading(0, 0, WALL_START_NS)]
        return self

    def _connect(self, _target: Any, source: str | None, witness: Witness | None = None) -> _Connection:
        return _Connection(self, source, witness)

    def judge(self) -> list[Verdict]:
        """Have every checker judge."""
        return run_checkers(self.history, FACTS)

    def findings(self) -> list[Finding]:
        """Return all that was found."""
        return [finding for verdict in self.judge() if verdict.status == "fail" for finding in verdict.findings]


class _Connection:
    """What takes the place of a control connection."""

    def __init__(self, world: LyingWorld, source: str | None = None, witness: Witness | None = None) -> None:
        self._world = world
        self._source = source
        self._witness = witness or Witness(world.history, world.now)
        self.sent_ns = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to close."""

    async def request(
        self, method: str, path: str, headers: Any, body: Any = None, *, rooted: bool = False
    ) -> HttpAnswer:
        """Send one request."""
        return await self.call(ApiCall(Operation.OTHER, method, path, headers, body, rooted))

    async def call(self, call: ApiCall) -> HttpAnswer:
        """Send one call and read what comes."""
        message = call.message(self._world.target.authority)
        sent_ns = self.sent_ns = self._world.now_ns
        reported = self._world.answer(message, self._source or "127.0.0.9")
        answer = AnswerReader(to_head=call.method == "HEAD").feed(reported)
        if answer is None:
            raise LostError("closed before the answer was whole")
        self._witness.saw(message, answer, sent_ns)
        return answer
