"""Timestamps outside the window, rightly signed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.acting import enrol, heartbeat_send
from simulator.attacks.catalogue import NONCE_BYTES, Moment, Shot, ShotAttack, forge
from simulator.attacks.script import Claim, JoinFleet, Outcome, ScriptAttack, heartbeat_gets
from simulator.attacks.server_clock import WINDOW_NS, read_server_clock
from simulator.contract.answers import Answer
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.machine import signed_heartbeat

if TYPE_CHECKING:
    import numpy as np

    from simulator.attacks.script import Script, ScriptContext
    from simulator.attacks.server_clock import ServerClock
    from simulator.fleet.machine import Machine

BEHIND_SECONDS = 95
AHEAD_SECONDS = 115
"""Far enough outside the 90 s window that no clock difference brings it back in, nor, for a stamp that time catches up
with, the longest wait for a connection and an answer."""
FARTHEST_SECONDS = 86_400
EDGE_NS = SECOND_NS
"""How near to the window's edge `skew.edge` stamps."""
REFUSED_FORMS = (
    "2026-02-19t10:58:12z",
    "2026-02-19 10:58:12Z",
    "2026-02-19T10:58:12",
    "2026-02-19T10:58Z",
    "2026-02-19T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-02-19T10:58:60Z",
    "1771498692",
    "",
    "2026-02-19T10:58:12+0900",
    "2026-02-19T10:58:12,5Z",
    "20260219T105812Z",
    "2026-2-19T10:58:12Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "2026-02-19T10:58:12.Z",
    "2026-02-19T10:58:12+24:00",
    " 2026-02-19T10:58:12Z",
    "2026-02-19T10:58:12Z ",
    "2026-02-19T10:58:12UTC",
    "2026-02-19T1:58:12Z",
)
"""Every form of a timestamp that the contract refuses (§1). An empty one is a missing field."""
FORMS_A_CLIENT = 10
"""Heartbeats from one address in a row: half of the burst that any limit must allow."""


class _Skewed(ShotAttack):
    direction: ClassVar[int]
    nearest_seconds: ClassVar[int]
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason timestamp_out_of_window"
    anchor = "contract §4, check 5"
    severity = 6.5

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Stamp it a minute and a half to a day off."""
        seconds = self.nearest_seconds * (FARTHEST_SECONDS / self.nearest_seconds) ** float(rng.random())
        skew_ns = self.direction * int(seconds * SECOND_NS)
        return forge(victim, moment, rng, Answer.TIMESTAMP_OUT_OF_WINDOW, skew_ns=skew_ns)


class SkewBehind(_Skewed):
    """A heartbeat stamped in the past."""

    name = "skew.behind"
    basis = Basis.HARDENED
    shape = "a rightly signed heartbeat stamped 95 s to one day in the past"
    direction = -1
    nearest_seconds = BEHIND_SECONDS


class SkewAhead(_Skewed):
    """A heartbeat stamped in the future."""

    name = "skew.ahead"
    basis = Basis.HARDENED
    shape = "a rightly signed heartbeat stamped 115 s to one day in the future"
    direction = 1
    nearest_seconds = AHEAD_SECONDS


class _Stamp(msgspec.Struct, frozen=True):
    stamp_ns: int
    outcome: Outcome


class SkewEdge(ScriptAttack):
    """Heartbeats stamped just inside of the window and just past it, ahead and behind.

    Which side one is on when the server judges it depends on its clock and on how long it takes, so that answers are
    held against what both can have been.
    """

    name = "skew.edge"
    needs = frozenset({Feature.HEALTH})
    basis = Basis.HARDENED
    shape = "rightly signed heartbeats stamped 89.x s off, ahead and behind, and 90.x s off"
    verdict = "200 inside of 90 s, 401 invalid heartbeat auth past it"
    effect = "one worker_auth_failed event, reason timestamp_out_of_window, for each past it"
    anchor = "contract §4, check 5"
    severity = 5.3

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        clock = yield from read_server_clock(context, client=1)
        stamps = []
        for direction in (1, -1):
            for past in (False, True):
                near_ns = round(EDGE_NS * float(context.rng.uniform(0.1, 1)))
                skew_ns = direction * (WINDOW_NS + near_ns if past else WINDOW_NS - near_ns)
                stamps.append((yield from _stamped(context, machine, skew_ns)))
        yield _claim(clock, stamps, Answer.ACCEPTED, "inside of the window were accepted")
        yield _claim(clock, stamps, Answer.TIMESTAMP_OUT_OF_WINDOW, "outside of the window were refused")
        yield JoinFleet(machine)


def _stamped(context: ScriptContext, machine: Machine, skew_ns: int) -> Script[_Stamp]:
    nonce = context.rng.bytes(NONCE_BYTES)
    stamp_ns = (context.wall() + skew_ns) // MILLISECOND_NS * MILLISECOND_NS
    timestamp = format_timestamp(stamp_ns)
    body = signed_heartbeat(machine.token, machine.worker_id, timestamp, nonce.hex(), machine.policy_id, "{}")
    expect = heartbeat_gets(Answer.EITHER, "at the edge only the server knows")
    outcome: Outcome = yield heartbeat_send(context, machine, body, expect, nonce=nonce, client=1)
    return _Stamp(stamp_ns, outcome)


def _claim(clock: ServerClock, stamps: list[_Stamp], wanted: Answer, what: str) -> Claim:
    """Claim that those which were certainly on one side got what that side gets."""
    surely = clock.inside if wanted is Answer.ACCEPTED else clock.outside
    certain = [one for one in stamps if one.outcome.right and surely(one.stamp_ns, one.outcome)]
    fitting = [one for one in certain if one.outcome.got is wanted]
    held = len(fitting) == len(certain) if certain else None
    message = f"{len(fitting)} of {len(certain)} heartbeats that were certainly {what}"
    if held is None:
        message = "no heartbeat was certainly on one side: the server's clock or its answers were too uncertain"
    evidence = {"stamps_ns": [one.stamp_ns for one in certain], "statuses": [one.outcome.status for one in certain]}
    return Claim(f"edge-{wanted.name.lower().replace('_', '-')}", held, message, evidence)


class SkewForms(ScriptAttack):
    """Timestamps in forms that lenient parsers take."""

    name = "skew.forms"
    basis = Basis.HARDENED
    shape = "rightly signed heartbeats with timestamps in every form that the contract refuses"
    verdict = "400 invalid timestamp"
    effect = "one worker_auth_failed event each, reason invalid_timestamp; missing_heartbeat_fields for an empty one"
    anchor = "RFC 3339 §5.6"
    severity = 4.3

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the name of a machine that is never heard from."""
        machine = yield from enrol(context, context.new_owner())
        for number, form in enumerate(REFUSED_FORMS):
            nonce = context.rng.bytes(NONCE_BYTES)
            body = signed_heartbeat(machine.token, machine.worker_id, form, nonce.hex(), machine.policy_id, "{}")
            answer = Answer.INVALID_TIMESTAMP if form else Answer.MISSING_FIELDS
            expect = heartbeat_gets(answer, f"{form!r} is not RFC 3339 in the contract's form")
            yield heartbeat_send(context, machine, body, expect, nonce=nonce, client=1 + number // FORMS_A_CLIENT)
