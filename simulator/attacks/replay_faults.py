"""Replays around faults: servers that were killed, Redis that is away or has forgotten, clocks that are set back.

Each attempt has servers of its own, which it may let fail. What it proves is that the memory of nonces outlives them.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import msgspec

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.acting import enrol, heartbeat, require, revoke, too_late
from simulator.attacks.script import (
    BeginFault,
    Claim,
    EndFault,
    Expect,
    Outcome,
    Pause,
    PrerequisiteError,
    SandboxOptions,
    ScriptAttack,
    Send,
    StartOtherInstances,
    StepClock,
    granted,
)
from simulator.contract.answers import Answer, Operation
from simulator.contract.profiles import Basis
from simulator.fleet.requests import ApiCall, owner_headers

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext
    from simulator.fleet.machine import Machine

KILLS = ("server.kill", "server.restart")
CLOSED_WITHIN_NS = 250 * MILLISECOND_NS
"""How long failing closed may take (contract §6)."""
TRIES = 5
"""Refusals of which the fastest counts: on a busy machine single ones wait for many things."""
HEALED_WITHIN_NS = 15 * SECOND_NS
"""By when a server must go on once its Redis does."""
LOOK_NS = 500 * MILLISECOND_NS
OPEN_WITHIN_NS = 200 * SECOND_NS
"""How long an instance may refuse that does not know what a young Redis had held before: twice the skew window, and as
long as it takes to start (contract §4)."""
OPEN_LOOK_NS = 2 * SECOND_NS
LEAP_NS = 400 * SECOND_NS
"""How far the clock is set: past the time that nonces are kept by default, so that a wall clock would forget them."""
FALLBACKS = "hatchfarm_nonce_fallbacks_total"
GOOD = "it is the machine's own, and fresh"
KNOWN = "its nonce was accepted, so it must be known for as long as its timestamp is good"
CLOSED = Expect(
    Answer.UNAVAILABLE,
    (HTTPStatus.SERVICE_UNAVAILABLE,),
    "nonce backend unavailable",
    "nobody can know that its nonce is new, so it fails closed",
)


class FaultReplay(ScriptAttack):
    """A replay around a fault of servers of the attempt's own."""

    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason nonce_replayed"
    severity = 7.4
    sandbox: ClassVar[SandboxOptions] = SandboxOptions()

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, if there is time for it."""
        if not (yield from too_late(context, self.takes_ns)):
            yield from self.steps(context)

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of the attempt itself."""
        raise NotImplementedError


class AfterRestart(FaultReplay):
    """An accepted heartbeat again, after the server was killed, and after it was restarted in order."""

    name = "replay.after-restart"
    basis = Basis.HARDENED
    shape = "an accepted heartbeat again after kill -9 and a restart, and again after an orderly one"
    anchor = "RFC 9846 §8 (anti-replay); contract §4: replay horizon"

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        for kind in KILLS:
            ended = yield from enrol(context, context.new_owner(), client=1)
            yield from require(revoke(context, ended, client=1), "revoke a consent")
            captured = yield from _accepted(context, machine)
            yield BeginFault(kind)
            yield EndFault(kind)
            yield from _refused_again(captured)
            yield heartbeat(context, machine, Answer.ACCEPTED, "what was acknowledged outlives the process")
            yield heartbeat(context, ended, Answer.NO_CONSENT, "so does a revocation", client=1)


class OtherInstance(FaultReplay):
    """An accepted heartbeat again, to another instance that shares Redis."""

    name = "replay.other-instance"
    basis = Basis.PUBLISHED
    shape = "an accepted heartbeat again to another instance that shares Redis, and the other way round"
    anchor = "RFC 9846 §8 (anti-replay)"
    sandbox = SandboxOptions(instances=2, redis=True, settings={"REDIS_NONCE_FALLBACK": "false"})
    takes_ns = OPEN_WITHIN_NS

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        yield StartOtherInstances()
        yield from _open(context, machine, self.sandbox.instances)
        for first, other in ((0, 1), (1, 0)):
            captured = yield from _accepted(context, machine, instance=first)
            yield from _refused_again(captured, other)
            yield from _refused_again(captured, first)


class AfterRedisFlush(FaultReplay):
    """An accepted heartbeat again, after Redis has forgotten its nonce."""

    name = "replay.after-redis-flush"
    basis = Basis.HARDENED
    shape = "an accepted heartbeat again after FLUSHALL, and a fresh one"
    verdict = "503 nonce backend unavailable"
    effect = "none: nothing is accepted until every nonce that was forgotten has left the skew window"
    anchor = "Redis WAIT; contract §4: canary key"
    sandbox = SandboxOptions(redis=True, durable=False, settings={"REDIS_NONCE_FALLBACK": "false"})

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        captured = yield from _accepted(context, machine)
        yield BeginFault("redis.flush")
        yield _closed(captured)
        yield _closed(heartbeat(context, machine, Answer.ACCEPTED, GOOD))


class RedisDown(FaultReplay):
    """Heartbeats while Redis is down: refused, and soon; afterwards accepted again."""

    name = "replay.redis-down"
    basis = Basis.PUBLISHED
    claim_bases = MappingProxyType({"fails-closed-soon": Basis.HARDENED})
    shape = "an accepted heartbeat again, and fresh ones, while Redis is down or does not answer"
    verdict = "503 nonce backend unavailable within 250 ms"
    effect = "none; fresh heartbeats are accepted once Redis is back"
    anchor = "contract §6: failing closed takes at most 250 ms"
    severity = 6.5
    sandbox = SandboxOptions(redis=True, durable=False, settings={"REDIS_NONCE_FALLBACK": "false"})

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        for kind in ("redis.down", "redis.pause"):
            captured = yield from _accepted(context, machine)
            yield BeginFault(kind)
            since_ns = context.now()
            yield _closed(captured)
            took: list[int] = []
            for _ in range(TRIES):
                outcome: Outcome = yield _closed(heartbeat(context, machine, Answer.ACCEPTED, GOOD))
                if outcome.right:
                    took.append(outcome.answered_ns - outcome.sent_ns)
            fastest_ns = min(took, default=0)
            held: bool | None = bool(took) and fastest_ns <= CLOSED_WITHIN_NS
            if not took or (not held and context.worst_lag_ns(since_ns, context.now()) > CLOSED_WITHIN_NS):
                held = None
            message = f"{kind}: the fastest of {len(took)} refusals took {fastest_ns / MILLISECOND_NS:.0f} ms"
            yield Claim("fails-closed-soon", held, message, {"took_ns": took})
            yield EndFault(kind)
            yield from _heals(context, machine, kind)
            yield from _refused_again(captured)


class RedisFallback(FaultReplay):
    """Replays to each instance while Redis is down and each goes on by its own memory."""

    name = "replay.redis-fallback"
    basis = Basis.PUBLISHED
    claim_bases = MappingProxyType({"fallbacks-are-counted": Basis.HARDENED})
    shape = "a heartbeat twice to each of two instances, while Redis is down and their fallback is on"
    verdict = "at most one acceptance at each instance, else 401"
    effect = f"{FALLBACKS} counts"
    anchor = "contract §6: REDIS_NONCE_FALLBACK"
    sandbox = SandboxOptions(instances=2, redis=True, settings={"REDIS_NONCE_FALLBACK": "true"})
    takes_ns = OPEN_WITHIN_NS

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        yield StartOtherInstances()
        yield from _open(context, machine, self.sandbox.instances)
        yield BeginFault("redis.down")
        captured = yield from _accepted(context, machine)
        yield from _refused_again(captured)
        elsewhere = heartbeat(
            context, machine, Answer.ONE_OF_COPIES, "each instance knows only what it accepted itself"
        )
        yield msgspec.structs.replace(captured, expect=elsewhere.expect, instance=1)
        yield from _refused_again(captured, 1)
        page = ApiCall(Operation.OTHER, "GET", "/metrics", owner_headers(context.token), rooted=True)
        shown = yield from require(Send(page.message(context.host), granted(HTTPStatus.OK)), "read the metrics")
        counted = _sample(shown.body, FALLBACKS)
        message = f"{FALLBACKS} was {counted:g} after a heartbeat was accepted without Redis"
        yield Claim("fallbacks-are-counted", counted > 0, message)


class AfterRedisHeals(FaultReplay):
    """What was accepted by an instance's own memory again, once Redis is back: it must have been told of it."""

    name = "replay.after-redis-heals"
    basis = Basis.HARDENED
    shape = "a heartbeat accepted while Redis was down and the fallback on, again after Redis is back"
    anchor = "contract §6: local nonces are written back before sharing resumes"
    sandbox = SandboxOptions(redis=True, durable=False, settings={"REDIS_NONCE_FALLBACK": "true"})

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        yield BeginFault("redis.down")
        captured = yield from _accepted(context, machine)
        yield EndFault("redis.down")
        until_ns = context.now() + HEALED_WITHIN_NS // 3
        while context.now() < until_ns:  # before, while and after the server goes over to sharing again
            yield from _refused_again(captured)
            yield Pause(context.now() + LOOK_NS)
        yield from _heals(context, machine, "redis.down")
        yield from _refused_again(captured)


class ClockStepBack(FaultReplay):
    """An accepted heartbeat again, after the server's wall clock went far ahead and came back."""

    name = "replay.clock-step-back"
    basis = Basis.HARDENED
    shape = "an accepted heartbeat again after the server's wall clock was set ahead, served others, and was set back"
    anchor = "contract §4: replay horizon, whatever the wall clock says"
    sandbox = SandboxOptions(durable=False, clock=True)

    def steps(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        captured = yield from _accepted(context, machine)
        yield StepClock(-SECOND_NS)
        yield from _refused_again(captured)
        yield StepClock(SECOND_NS + LEAP_NS)
        for _ in range(TRIES):
            yield heartbeat(context, machine, Answer.ACCEPTED, "it goes by the server's clock", skew_ns=LEAP_NS)
        yield StepClock(-LEAP_NS)
        yield from _refused_again(captured)


def _accepted(context: ScriptContext, machine: Machine, *, instance: int = 0) -> Script[Send]:
    """Have a fresh heartbeat accepted; returns its step, to send it again. Raises PrerequisiteError."""
    send = msgspec.structs.replace(heartbeat(context, machine, Answer.ACCEPTED, GOOD), instance=instance)
    yield from require(send, "the heartbeat to replay")
    return send


def _refused_again(captured: Send, instance: int = 0) -> Script[None]:
    """Send a captured heartbeat again: a right server knows its nonce."""
    expect = Expect(Answer.NONCE_REPLAYED, (), "", KNOWN)
    yield msgspec.structs.replace(captured, expect=expect, instance=instance)


def _closed(send: Send) -> Send:
    return msgspec.structs.replace(send, expect=CLOSED)


def _open(context: ScriptContext, machine: Machine, instances: int) -> Script[None]:
    """Wait until each instance accepts. Raises PrerequisiteError when one does not in time."""
    until_ns = context.now() + OPEN_WITHIN_NS
    for instance in range(instances):
        while True:
            send = msgspec.structs.replace(heartbeat(context, machine, Answer.ACCEPTED, GOOD), instance=instance)
            outcome: Outcome = yield send
            if outcome.right:
                break
            if context.now() > until_ns:
                raise PrerequisiteError(f"instance {instance} accepted nothing within {OPEN_WITHIN_NS // SECOND_NS} s")
            yield Pause(context.now() + OPEN_LOOK_NS)


def _heals(context: ScriptContext, machine: Machine, kind: str) -> Script[None]:
    """See that fresh heartbeats are accepted again in time. Raises PrerequisiteError where they are not."""
    until_ns = context.now() + HEALED_WITHIN_NS
    healed = False
    while not healed and context.now() < until_ns:
        outcome: Outcome = yield heartbeat(context, machine, Answer.ACCEPTED, GOOD)
        healed = outcome.right
        if not healed:
            yield Pause(context.now() + LOOK_NS)
    message = f"{kind} was over, and within {HEALED_WITHIN_NS // SECOND_NS} s {'one' if healed else 'no'} fresh "
    yield Claim("heals", healed, f"{message}heartbeat was accepted")
    if not healed:
        raise PrerequisiteError(f"the server did not go on after {kind}")


def _sample(page: bytes, name: str) -> float:
    """Return a sample without labels of a metrics page, 0 where there is none."""
    for line in page.decode("utf-8", "replace").splitlines():
        found, _, value = line.partition(" ")
        if found == name:
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 0.0
