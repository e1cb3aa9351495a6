"""Replays: requests that were accepted once, sent again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.acting import act, enrol, heartbeat, heartbeat_send, require, too_late
from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, NONCE_BYTES, Moment, Shot, ShotAttack, with_body
from simulator.attacks.script import Claim, JoinFleet, Outcome, Pause, ScriptAttack, Together, heartbeat_gets
from simulator.attacks.server_clock import WINDOW_NS, read_server_clock
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.machine import Action, signed_heartbeat

if TYPE_CHECKING:
    import numpy as np

    from simulator.attacks.script import Script, ScriptContext, Send
    from simulator.fleet.machine import Machine

FRESH_NS = 60 * SECOND_NS
"""A captured heartbeat older than this is near the skew window's edge, where another check may refuse it first."""
COPIES = 8
EDGE_MARGIN_NS = SECOND_NS
"""How far inside the window's edge the heartbeat is stamped that is to stay good for as long as one can."""
DELAY_MARGIN_NS = 2 * SECOND_NS
"""How long its replay may take, on a connection that has just answered, before another check could refuse it first."""
ROTATION_MARGIN_NS = 2 * SECOND_NS
BEAT_MIN_NS = 500 * MILLISECOND_NS
"""A machine that is kept alive meanwhile beats no faster: two requests a second stay within any address's limit."""
HARDEST_METRICS = b'"metrics":{"cpu_percent":99.9,"tampered":true}'
_METRICS = re.compile(rb'"metrics":\{[^{}]*\}')


class ReplayExact(ShotAttack):
    """An accepted heartbeat, byte for byte again."""

    name = "replay.exact"
    basis = Basis.PUBLISHED
    shape = "an accepted heartbeat, byte for byte again"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason nonce_replayed"
    anchor = "RFC 9421 §7.2"
    severity = 7.4

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Take only what was captured lately, under the certificate that is still the victim's."""
        return (
            super().ready(victim, moment)
            and moment.now_ns - victim.last_accepted_ns < FRESH_NS
            and victim.certificate_id.encode() in victim.last_accepted
            and victim.certificate_until_ns - moment.now_ns > CERTIFICATE_MARGIN_NS
        )

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Send what was captured."""
        del moment, rng
        nonce = victim.last_accepted.split(b'"nonce":"', 1)[1][:24]
        return Shot(
            victim.last_accepted, bytes.fromhex(nonce.decode()), Answer.NONCE_REPLAYED, victim.certificate_number
        )


class TamperedMetrics(ReplayExact):
    """An accepted heartbeat again, with other metrics: not the same bytes, but the same nonce."""

    name = "replay.tampered-metrics"
    basis = Basis.PUBLISHED
    shape = "an accepted heartbeat again with other metrics, which no signature covers, under the same nonce"
    anchor = "contract §4, check 10"
    severity = 7.4

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Change what was captured."""
        shot = super().shot(victim, moment, rng)
        body = _METRICS.sub(HARDEST_METRICS, shot.request.partition(b"\r\n\r\n")[2])
        return Shot(with_body(shot.request, body), shot.nonce, shot.expected, shot.certificate)


class Concurrent(ScriptAttack):
    """The same heartbeat many times at once: between looking a nonce up and keeping it there must be no gap."""

    name = "replay.concurrent"
    basis = Basis.PUBLISHED
    shape = f"the same fresh heartbeat {COPIES} times at once, each from an address of its own"
    verdict = f"200 to one, 401 invalid heartbeat auth to the other {COPIES - 1}"
    effect = f"one acceptance; {COPIES - 1} worker_auth_failed events, reason nonce_replayed"
    anchor = "RFC 9846 §8 (anti-replay)"
    severity = 7.4

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        because = "of copies sent at once one is the first"
        nonce = context.rng.bytes(NONCE_BYTES)
        first = heartbeat(context, machine, Answer.ONE_OF_COPIES, because, nonce=nonce, client=1)
        copies = [_from_client(first, client) for client in range(1, COPIES + 1)]
        outcomes: list[Outcome] = yield Together(tuple(copies))
        accepted = sum(outcome.got is Answer.ACCEPTED for outcome in outcomes)
        judged = sum(outcome.known for outcome in outcomes)
        held: bool | None = accepted == 1
        if accepted == 0 and judged < COPIES:
            held = None  # the one that was accepted may be one of those whose answer was lost
        message = f"of {COPIES} copies of one heartbeat sent at once {accepted} were accepted, {judged} got an answer"
        yield Claim("one-of-copies", held, message, {"nonce": nonce.hex(), "machine": machine.index})
        yield JoinFleet(machine)


class OwnConnection(ScriptAttack):
    """An accepted heartbeat again on the connection it came by: what is proven once must not be taken for granted."""

    name = "replay.own-connection"
    basis = Basis.PUBLISHED
    shape = "an accepted heartbeat again on the very connection it came by: at once, and behind a newer one"
    verdict = "401 invalid heartbeat auth"
    effect = "a worker_auth_failed event each, reason nonce_replayed"
    anchor = "RFC 9421 §7.2; contract §4, check 10"
    severity = 7.4

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        replayed = heartbeat_gets(Answer.NONCE_REPLAYED, "its nonce was used, whatever connection it comes by")
        first = heartbeat(context, machine, Answer.ACCEPTED, "it is the machine's own")
        yield from require(first, "the heartbeat to replay")
        yield msgspec.structs.replace(first, expect=replayed)
        newer = heartbeat(context, machine, Answer.ACCEPTED, "it is the machine's own")
        yield from require(newer, "the heartbeat behind it")
        yield msgspec.structs.replace(first, expect=replayed)
        yield msgspec.structs.replace(newer, expect=replayed)
        yield JoinFleet(machine)


class CrossWorker(ScriptAttack):
    """One machine's signed heartbeat on another one's path."""

    name = "replay.cross-worker"
    basis = Basis.PUBLISHED
    shape = "machine A's signed body, accepted before and never sent, on machine B's path, with A's or B's credentials"
    verdict = "401 invalid heartbeat auth"
    effect = "a worker_auth_failed event for B each: reason invalid_machine_token with A's, else "
    effect += "invalid_heartbeat_signature"
    anchor = "RFC 9421 §7.2.1"
    severity = 8.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        owner_id = context.new_owner()
        one = yield from enrol(context, owner_id)
        other = yield from enrol(context, owner_id, one.policy_id, client=1)
        sent = heartbeat(context, one, Answer.ACCEPTED, "it is the machine's own", client=1)
        yield from require(sent, "the heartbeat to capture")
        unsent = heartbeat(context, one, Answer.ACCEPTED, "it is the machine's own")
        for captured in (sent, unsent):
            body = captured.request.partition(b"\r\n\r\n")[2]
            foreign = heartbeat_gets(Answer.INVALID_TOKEN, "a token is its own machine's alone")
            yield heartbeat_send(
                context, other, body, foreign, nonce=captured.nonce, client=2, token=one.token.decode(),
                certificate_id=one.certificate_id, certificate=one.certificate_number,
            )  # fmt: skip
            own = heartbeat_gets(Answer.INVALID_SIGNATURE, "the signature names the worker it is for")
            yield heartbeat_send(context, other, body, own, nonce=captured.nonce, client=2)
        yield JoinFleet(one)
        yield JoinFleet(other)


class TtlEdge(ScriptAttack):
    """A replay at the last moment at which its timestamp is good: a nonce must not be forgotten before."""

    name = "replay.ttl-edge"
    needs = frozenset({Feature.HEALTH})
    basis = Basis.HARDENED
    shape = "a heartbeat stamped 89 s ahead and accepted, again 177 s later, when its timestamp is about to end"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason nonce_replayed"
    anchor = "RFC 9449 §11.1; contract §4: nonces are kept twice the skew window"
    severity = 7.4
    takes_ns = 2 * WINDOW_NS

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, which takes three minutes."""
        if (yield from too_late(context, self.takes_ns)):
            return
        machine = yield from enrol(context, context.new_owner())
        clock = yield from read_server_clock(context)
        nonce = context.rng.bytes(NONCE_BYTES)
        # By the server's clock it is stamped no later than this, and judged again no later than the moment below.
        stamp_ns = (context.wall() + clock.low_ns + WINDOW_NS - EDGE_MARGIN_NS) // MILLISECOND_NS * MILLISECOND_NS
        timestamp = format_timestamp(stamp_ns)
        body = signed_heartbeat(machine.token, machine.worker_id, timestamp, nonce.hex(), machine.policy_id, "{}")
        ahead = heartbeat_gets(Answer.ACCEPTED, "it is stamped within 90 s")
        yield from require(heartbeat_send(context, machine, body, ahead, nonce=nonce), "the heartbeat to replay")
        moment_ns = stamp_ns + WINDOW_NS - DELAY_MARGIN_NS - clock.high_ns - clock.epoch_ns
        yield from _live_until(context, machine, moment_ns)
        replayed = heartbeat_gets(Answer.NONCE_REPLAYED, "its timestamp is good, so its nonce must be known")
        yield heartbeat_send(context, machine, body, replayed, nonce=nonce, client=1)
        yield JoinFleet(machine)


def _live_until(context: ScriptContext, machine: Machine, moment_ns: int) -> Script[None]:
    """Keep a machine alive until a moment, and its certificate good for a while beyond."""
    while True:
        due_ns = min(context.now() + max(machine.interval_ns, BEAT_MIN_NS), moment_ns)
        yield Pause(due_ns)
        if context.now() + ROTATION_MARGIN_NS >= machine.certificate_until_ns:
            yield from act(context, machine, Action.ROTATE, client=1)
        yield heartbeat(context, machine, Answer.ACCEPTED, "it is the machine's own", client=1)
        if due_ns == moment_ns:
            return


def _from_client(send: Send, client: int) -> Send:
    return msgspec.structs.replace(send, client=client)
