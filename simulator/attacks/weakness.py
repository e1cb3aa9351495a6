"""Weaknesses of the published protocol itself: shown by name, so that nobody relies on what is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import enrol, heartbeat
from simulator.attacks.catalogue import with_body
from simulator.attacks.script import Claim, JoinFleet, Outcome, ScriptAttack
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext

TRUE_METRICS, CHANGED_METRICS = '{"cpu_percent":12.5}', '{"cpu_percent":99.9}'


class UnsignedMetrics(ScriptAttack):
    """A fresh heartbeat whose metrics somebody changed on its way."""

    name = "weakness.unsigned-metrics"
    basis = Basis.PUBLISHED
    shape = "a fresh, rightly signed heartbeat whose metrics were changed after it was signed"
    verdict = "200: the published signature does not cover the metrics; a server that refuses it is right as well"
    effect = "one acceptance, with metrics that the machine never reported"
    anchor = "contract §5; RFC 9421 §7.2.1"
    severity = 3.7
    weakness = True

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt."""
        machine = yield from enrol(context, context.new_owner())
        because = "no signature covers the metrics"
        send = heartbeat(context, machine, Answer.UNCOVERED, because, metrics=TRUE_METRICS, client=1)
        body = send.request.partition(b"\r\n\r\n")[2].replace(TRUE_METRICS.encode(), CHANGED_METRICS.encode())
        changed = msgspec.structs.replace(send, request=with_body(send.request, body))
        outcome: Outcome = yield changed
        if outcome.got is Answer.ACCEPTED:
            message = "metrics are not signed, so whoever is on the way can change them: trust none, bill by none"
            yield Claim("unsigned-metrics", held=True, message=message)
        elif outcome.right:
            yield Claim("unsigned-metrics", held=True, message="changed metrics were refused: this server signs them")
        yield heartbeat(context, machine, Answer.ACCEPTED, "the machine is as good as before", client=1)
        yield JoinFleet(machine)
