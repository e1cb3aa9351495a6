"""Every statement of the wire contract that a client can see is proven by a rule, and a lie about it is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.replies import success
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.script import Together, Wire, WireAnswer, WireOutcome
from simulator.contract.answers import ALTERNATIVES, Answer
from simulator.judging.rules import known_rules
from simulator.worlds.recording import classify_raw
from tests.attacks.playing import World
from tests.faults.planted import PLANTED as PLANTED_BY_FAULTS
from tests.lies.lies import LIES
from tests.lies.statements import GRANTED, PLANTED, STATEMENTS, Statement
from tests.planted_bugs.faults import FAULTS

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from tests.attacks.playing import Performance

FAULTS_BY_NAME = {fault.name: fault for fault in (*FAULTS, *PLANTED_BY_FAULTS)}
GRANT = b'{"success":true,"data":{"worker_id":"wrk_0000000000000000","accepted":true}}'
ACCEPTED = success(msgspec.json.decode(GRANT)["data"])
PATIENCE_NS = 3600 * 1_000_000_000
ATTACKS = sorted({lie.removeprefix(GRANTED) for one in STATEMENTS for lie in one.lies if lie.startswith(GRANTED)})


def name_of(statement: Statement) -> str:
    return f"{statement.section} {statement.says}"


@pytest.mark.parametrize("statement", STATEMENTS, ids=name_of)
def test_a_statement_has_a_rule_and_a_lie_that_breaks_it(statement: Statement) -> None:
    assert statement.rules
    assert statement.lies
    assert set(statement.rules) <= set(known_rules())
    for lie in statement.lies:
        if lie.startswith(PLANTED):
            fault = FAULTS_BY_NAME[lie.removeprefix(PLANTED)]
            checkers = {rule.removeprefix("checker/").partition(".")[0] for rule in statement.rules}
            attacks = {"answers", "attacks"} if any(rule.startswith("attack/") for rule in statement.rules) else set()
            assert fault.caught_by & (checkers | attacks)
        elif lie.startswith(GRANTED):
            assert f"attack/{lie.removeprefix(GRANTED)}" in statement.rules
        else:
            assert {f"checker/{rule}" for rule in LIES[lie].rules} & set(statement.rules)


def test_every_lie_is_about_a_statement() -> None:
    reported = {lie for statement in STATEMENTS for lie in statement.lies}
    assert LIES.keys() <= reported


def test_every_rule_of_contents_has_a_lie() -> None:
    rules = {rule.removeprefix("checker/") for rule in known_rules() if rule.startswith("checker/contents.")}
    assert rules == {rule for reported in LIES.values() for rule in reported.rules if rule.startswith("contents.")}


class GrantingWorld(World):
    """A server that grants whatever it would refuse; raw bytes are answered with one grant, and kept open."""

    def __init__(self) -> None:
        super().__init__(answer=self._grant)
        self.wrong = 0

    def _grant(self, api: Api, request: Request, now: Instant) -> Reply:
        reply = api.handle(request, now)
        return ACCEPTED if 400 <= reply.status < 500 else reply

    def answer_raw(self, step: Wire) -> WireOutcome:
        """Grant a raw request too."""
        self.now_ns += PATIENCE_NS
        answer = WireAnswer(200, b"HTTP/1.1 200 OK", GRANT, self.now_ns)
        outcome = WireOutcome(
            (answer,), connected=True, sent_ns=0, closed_ns=self.now_ns, parts_ns=(0,) * len(step.parts)
        )
        got, _ = classify_raw(step, outcome)
        expected = step.expect.answer
        self.wrong += got is not expected and got not in ALTERNATIVES.get(expected, ())
        return outcome

    def play_raw(self, name: str) -> bool:
        """Play a script whose steps may be raw; returns whether it noticed."""
        attack: Any = CATALOGUE[name]()
        sent: Any = None
        script = attack.script(self.context)
        broken = False
        try:
            for _ in range(10_000):
                step = script.send(sent)
                steps = step.sends if isinstance(step, Together) else (step,)
                results = [self.answer_raw(one) for one in steps if isinstance(one, Wire)]
                if results:
                    sent = results if isinstance(step, Together) else results[0]
                    continue
                performance = self.play_script(iter_once(step))
                broken |= bool(performance.broken)
                self.wrong += len(performance.wrong)
                sent = performance.outcomes if isinstance(step, Together) else next(iter(performance.outcomes), None)
        except StopIteration:
            pass
        return broken or bool(self.wrong)


def iter_once(step: Any) -> Any:
    """Make a script of one step."""
    yield step


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_notices_a_server_that_grants_everything(name: str) -> None:
    world = GrantingWorld()
    if issubclass(CATALOGUE[name], ShotAttack):
        world.with_victims(2)
        performance: Performance = world.shoot(name, 8)
        assert any(one.got is Answer.ACCEPTED for one in performance.wrong)
        return
    if getattr(CATALOGUE[name], "wants_victims", False):
        world.with_victims(2)
    assert world.play_raw(name)
