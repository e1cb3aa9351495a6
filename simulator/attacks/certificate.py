"""Certificates that are not the machine's: no longer, never, or another one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks.acting import enrol, heartbeat, policy_fetch, too_late
from simulator.attacks.catalogue import Moment, Shot, ShotAttack, forge, random_hex
from simulator.attacks.defences import defences_of
from simulator.attacks.script import JoinFleet, Pause, ScriptAttack
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from simulator.attacks.defences import Defences
    from simulator.attacks.script import Script, ScriptContext
    from simulator.fleet.machine import Machine

CERTIFICATE_DIGITS = 20
LIFE_STRETCH = 2000
"""One second more in so many: clocks that are slewed run no further apart (500 ppm)."""
EXPIRY_MARGIN_NS = 100 * MILLISECOND_NS
"""How long past its end a certificate is used: surely past it, and before a second's leniency would have ended."""
AFTERWARDS_NS = 5 * SECOND_NS
"""What an attempt takes besides waiting."""


class RotatedOut(ShotAttack):
    """The certificate before the last rotation, unexpired."""

    name = "certificate.rotated-out"
    basis = Basis.HARDENED
    shape = "an otherwise right heartbeat under the certificate from before the victim's last rotation"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_or_expired_machine_cert"
    anchor = "contract §3: rotation kills the old certificate at once"
    severity = 8.1

    def prepare(self, victim: Machine) -> None:
        """Have the owner rotate the victim's certificate."""
        victim.rotate_due = True

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Wait for the rotation."""
        return super().ready(victim, moment) and bool(victim.previous_certificate_id)

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Use the old certificate."""
        return forge(
            victim,
            moment,
            rng,
            Answer.INVALID_CERTIFICATE,
            certificate_id=victim.previous_certificate_id,
            certificate=victim.previous_certificate_number,
        )


class ForgedCertificate(ShotAttack):
    """A certificate id that looks right."""

    name = "certificate.forged"
    basis = Basis.PUBLISHED
    shape = "an otherwise right heartbeat under a well-formed certificate id that was never issued"
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_or_expired_machine_cert"
    anchor = "contract §4, check 7"
    severity = 8.1

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Make one up."""
        certificate_id = f"mcert_{random_hex(rng, CERTIFICATE_DIGITS)}"
        return forge(victim, moment, rng, Answer.INVALID_CERTIFICATE, certificate_id=certificate_id)


class ForeignCertificate(ScriptAttack):
    """Another machine's certificate, good for that one."""

    name = "certificate.foreign"
    basis = Basis.PUBLISHED
    shape = "an otherwise right heartbeat and policy fetch under another machine's certificate, then one under its own"
    verdict = "401 invalid heartbeat auth, 401 unauthorized, then 200"
    effect = "worker_auth_failed events, reasons invalid_or_expired_machine_cert and the same of policy fetches"
    anchor = "contract §4, check 7"
    severity = 8.1

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt: a certificate of the same owner's, and one of another owner's."""
        machine = yield from enrol(context, context.new_owner())
        sibling = yield from enrol(context, machine.owner_id, machine.policy_id, client=1)
        stranger = yield from enrol(context, context.new_owner(), client=2)
        for other in (sibling, stranger):
            because = "a certificate is its own machine's alone"
            yield heartbeat(
                context, machine, Answer.INVALID_CERTIFICATE, because, client=3,
                certificate_id=other.certificate_id, certificate=other.certificate_number,
            )  # fmt: skip
            yield policy_fetch(
                context, machine, Answer.POLICY_INVALID_CERTIFICATE, because, client=3,
                certificate_id=other.certificate_id, certificate=other.certificate_number,
            )  # fmt: skip
        yield heartbeat(context, machine, Answer.ACCEPTED, "all else was right", client=3)
        yield JoinFleet(machine)


class ExpiredCertificate(ScriptAttack):
    """A certificate that was the machine's own until just now."""

    name = "certificate.expired"
    basis = Basis.PUBLISHED
    shape = "an otherwise right heartbeat and policy fetch under the machine's certificate, just past its end"
    verdict = "401 invalid heartbeat auth, 401 unauthorized"
    effect = "worker_auth_failed events, reasons invalid_or_expired_machine_cert and the same of policy fetches"
    anchor = "contract §3: a certificate lives 15 minutes"
    severity = 6.5

    @classmethod
    def needed_ns(cls, settings: Mapping[str, str]) -> int:
        """Return how much of a run an attempt takes: a certificate's life, and a little."""
        return _needed_ns(_life_ns(defences_of(settings)))

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt; its machine is silent until it has rotated."""
        known = context.history.certificates
        if (yield from too_late(context, _needed_ns(known[-1].life_ns if known else _life_ns(context.defences)))):
            return
        machine = yield from enrol(context, context.new_owner())
        certificate = known[machine.certificate_number - 1]
        life_ns = certificate.life_ns
        over_ns = certificate.answered_ns + life_ns + life_ns // LIFE_STRETCH + context.clocks_apart_ns
        yield Pause(over_ns + EXPIRY_MARGIN_NS)
        because = f"it lived {life_ns / SECOND_NS:g} s from when it was issued"
        yield heartbeat(context, machine, Answer.INVALID_CERTIFICATE, because, client=1)
        yield policy_fetch(context, machine, Answer.POLICY_INVALID_CERTIFICATE, because, client=1)
        yield JoinFleet(machine)


def _life_ns(defences: Defences) -> int:
    return int(defences.certificate_seconds * SECOND_NS)


def _needed_ns(life_ns: int) -> int:
    return life_ns + life_ns // LIFE_STRETCH + AFTERWARDS_NS
