"""Revoking a consent: it ends at once, it ends once, and it ends for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import answered, consent_anew, enrol, heartbeat, require, revoke, revoked
from simulator.attacks.script import Claim, JoinFleet, Outcome, Pause, PrerequisiteError, ScriptAttack, Together
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext

RACING = 96
"""As many as keep a server busy for as long as a revoke takes it."""
RACERS_A_CLIENT = 12
AFTERWARDS = 6
BETWEEN_NS = SECOND_NS + SECOND_NS // 10
"""Between two revocations, so that they differ also where times are shown in whole seconds."""


class Race(ScriptAttack):
    """Heartbeats on their way while the owner revokes: what was sent after the answer is too late."""

    name = "revoke.race"
    basis = Basis.PUBLISHED
    shape = f"{RACING} fresh heartbeats at the moment of a revoke, and {AFTERWARDS} once it is acknowledged"
    verdict = "200 or 403 while it is under way, 403 no active consent for worker/policy afterwards"
    effect = "one consent_revoked event; no acceptance of what was sent after the answer to the revoke"
    anchor = "contract §4, check 11; CWE-367"
    severity = 7.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        yield from require(heartbeat(context, machine, Answer.ACCEPTED, "it is consented to"), "a first heartbeat")
        racing = tuple(
            heartbeat(
                context, machine, Answer.WHILE_REVOKING, "the revoke is under way", client=1 + number // RACERS_A_CLIENT
            )
            for number in range(RACING)
        )
        revoking, *outcomes = yield Together((revoke(context, machine), *racing))
        revoked(context, machine, revoking)
        if not revoking.right:
            raise PrerequisiteError(f"revoke: {answered(revoking)}")
        late: list[Outcome] = []
        for _ in range(AFTERWARDS):
            outcome: Outcome = yield heartbeat(context, machine, Answer.NO_CONSENT, "its consent is revoked", client=1)
            late.append(outcome)
        # Some of those at the same moment may have left only after the revoke was answered.
        late += [one for one in outcomes if one.sent_ns > revoking.answered_ns]
        accepted = sum(one.got is Answer.ACCEPTED for one in late)
        message = f"of {len(late)} heartbeats sent after the revoke was acknowledged {accepted} were accepted"
        yield Claim("revoked-at-once", accepted == 0, message)
        yield from consent_anew(context, machine, client=2)
        yield JoinFleet(machine)


class Twice(ScriptAttack):
    """A consent revoked again: that it was over before must stay as it was."""

    name = "revoke.twice"
    basis = Basis.HARDENED
    shape = "the same consent revoked twice, a second apart"
    verdict = "200 both times, with the first one's revoked_at"
    effect = "one consent_revoked event"
    anchor = "contract §3: repeating it changes nothing"
    severity = 3.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the name of a machine that is never heard from."""
        machine = yield from enrol(context, context.new_owner())
        revoking = revoke(context, machine)
        first = yield from require(revoking, "revoke")
        revoked(context, machine, first)
        yield Pause(context.now() + BETWEEN_NS)
        again = yield from require(msgspec.structs.replace(revoking, expected_events=()), "revoke again")
        times = [str(one.data().get("revoked_at", "")) for one in (first, again)]
        held = bool(times[0]) and times[0] == times[1]
        yield Claim("first-time-kept", held, f"revoked_at was {times[0]!r}, and {times[1]!r} when revoked again")
