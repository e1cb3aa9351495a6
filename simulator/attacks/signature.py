"""Signatures by another key, in another writing, or of another kind."""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.acting import RULES, call, denied, enrol
from simulator.attacks.catalogue import CERTIFICATE_MARGIN_NS, Moment, Shot, ShotAttack, forge, random_hex, with_body
from simulator.attacks.script import ScriptAttack, refused
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis
from simulator.fleet.requests import ApiCall, consent_call, policy_call

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.attacks.script import Script, ScriptContext
    from simulator.fleet.machine import Machine

SIGNATURE_BYTES = 32
TRUNCATED_CHARACTERS = 20
_SIGNATURE = re.compile(rb'"signature":"([^"]*)"')


class _BadlySigned(ShotAttack):
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_heartbeat_signature"

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Keep off a certificate that may die first: the server judges it before the signature."""
        return super().ready(victim, moment) and victim.certificate_until_ns - moment.now_ns > CERTIFICATE_MARGIN_NS


class ForgedSignature(_BadlySigned):
    """Signatures made up, cut short, or made with another key."""

    name = "signature.forged"
    basis = Basis.PUBLISHED
    shape = "a heartbeat with the victim's token and certificate, its signature random, cut short or by another key"
    anchor = "RFC 9421 §7.3"
    severity = 8.1

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Forge in one of three ways."""
        way = int(rng.integers(3))
        if way == 0:
            key = random_hex(rng, 48).encode()
            return forge(victim, moment, rng, Answer.INVALID_SIGNATURE, signing_key=key)
        genuine = forge(victim, moment, rng, Answer.INVALID_SIGNATURE)
        if way == 1:
            made_up = base64.b64encode(rng.bytes(SIGNATURE_BYTES))
            return _resigned(genuine, lambda _: made_up)
        return _resigned(genuine, lambda signature: signature[:TRUNCATED_CHARACTERS])


class SignatureEncoding(_BadlySigned):
    """The right signature, but not in standard, padded base64: one signature must have one form."""

    name = "signature.encoding"
    basis = Basis.HARDENED
    shape = "a heartbeat whose right signature is written in hex, URL-safe, without padding, or with white space"
    anchor = "contract §5; RFC 4648 §3"
    severity = 3.7

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Write it in another way; not every signature looks different when it is URL-safe."""
        write = _WRITINGS[int(rng.integers(len(_WRITINGS)))]
        while True:
            genuine = forge(victim, moment, rng, Answer.INVALID_SIGNATURE)
            shot = _resigned(genuine, write)
            if shot.request != genuine.request:
                return shot


class ReusedKind(ScriptAttack):
    """A signature of one kind where another is asked for; both are made with the owners' token."""

    name = "signature.reused-kind"
    basis = Basis.PUBLISHED
    shape = "a captured consent signature as a policy's, and a policy's as a consent's"
    verdict = "401 invalid policy signature, 401 invalid consent signature"
    effect = "one owner_access_denied event each, reason invalid_policy_signature, invalid_consent_signature"
    anchor = "contract §5; RFC 9421 §7.2.1"
    severity = 7.5

    def script(self, context: ScriptContext) -> Script[None]:
        """Yield the steps of one attempt, in the name of a machine that is never heard from."""
        owner_id = context.new_owner()
        machine = yield from enrol(context, owner_id)
        policy = policy_call(context.token, owner_id, dict(RULES))
        consent = consent_call(context.token, owner_id, machine.worker_id, machine.policy_id)
        yield call(
            context,
            _signed_by(policy, consent),
            refused(HTTPStatus.UNAUTHORIZED, "invalid policy signature", "it signs a consent"),
            client=1,
            expected_events=denied("invalid_policy_signature", owner_id, "", owner_id),
        )
        yield call(
            context,
            _signed_by(consent, policy),
            refused(HTTPStatus.UNAUTHORIZED, "invalid consent signature", "it signs a policy"),
            client=1,
            expected_events=denied("invalid_consent_signature", owner_id, machine.worker_id, owner_id),
        )


def _signed_by(wanted: ApiCall, other: ApiCall) -> ApiCall:
    body = {**wanted.body, "signature": other.body["signature"]}
    return msgspec.structs.replace(wanted, body=body)


def _resigned(shot: Shot, write: Callable[[bytes], bytes]) -> Shot:
    """Change a shot's signature; what is given must be as JSON writes it."""
    body = shot.request.partition(b"\r\n\r\n")[2]
    changed = _SIGNATURE.sub(lambda match: b'"signature":"%s"' % write(match[1]), body)
    return msgspec.structs.replace(shot, request=with_body(shot.request, changed))


_WRITINGS: tuple[Callable[[bytes], bytes], ...] = (
    lambda signature: base64.b64decode(signature).hex().encode(),
    lambda signature: base64.b64decode(signature).hex().upper().encode(),
    lambda signature: base64.urlsafe_b64encode(base64.b64decode(signature)),
    lambda signature: signature.rstrip(b"="),
    lambda signature: b" " + signature,
    lambda signature: signature + b"\\n",
    lambda signature: signature[:20] + b"\\r\\n" + signature[20:],
)
