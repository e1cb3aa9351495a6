"""Wrong machine tokens, many of them, and workers that never were."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.attacks.catalogue import HEX_DIGITS, Moment, Shot, ShotAttack, forge, random_hex
from simulator.attacks.script import Claim
from simulator.attacks.timing import SAMPLES_MIN, compare_times
from simulator.contract.answers import Answer
from simulator.contract.profiles import Basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.fleet.machine import Machine

TOKEN_DIGITS = 48
WORKER_DIGITS = 16


def near_miss(rng: np.random.Generator, token: str, at: int) -> str:
    """Return a token that differs in one digit."""
    other = HEX_DIGITS[(HEX_DIGITS.index(token[at]) + 1 + int(rng.integers(15))) % 16]
    return token[:at] + other + token[at + 1 :]


class _WrongToken(ShotAttack):
    verdict = "401 invalid heartbeat auth"
    effect = "one worker_auth_failed event, reason invalid_machine_token"
    anchor = "OWASP API2:2023"


class WrongToken(_WrongToken):
    """Random and near-miss tokens."""

    name = "credential.wrong-token"
    basis = Basis.PUBLISHED
    shape = "a heartbeat with a random token, or with the victim's token but for one digit"
    severity = 9.1

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Guess."""
        token = random_hex(rng, TOKEN_DIGITS)
        if rng.random() < 0.5:  # noqa: PLR2004 - half and half
            token = near_miss(rng, victim.token.decode(), int(rng.integers(TOKEN_DIGITS)))
        return forge(victim, moment, rng, Answer.INVALID_TOKEN, token=token, signing_key=token.encode())


class Guess(_WrongToken):
    """Token after token against one worker, and a look at whether better guesses take longer.

    A guess is random, or right in all but its last digit: where a comparison ends at the first wrong digit, the second
    kind takes longer. The last bit of its nonce's first byte says of which kind a guess was, and is random.
    """

    name = "credential.guess"
    basis = Basis.PUBLISHED
    claim_bases = MappingProxyType({"timing": Basis.HARDENED})
    shape = "thousands of guessed tokens against one worker, half of them right in all but the last digit"
    verdict = "401 invalid heartbeat auth, or 429; the two kinds take equally long"
    anchor = "OWASP API2:2023; CWE-208"
    severity = 7.5
    victims_max = 1

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Guess anew."""
        token = random_hex(rng, TOKEN_DIGITS)
        shot = forge(victim, moment, rng, Answer.INVALID_TOKEN, token=token, signing_key=token.encode())
        if not shot.nonce[0] & 1:
            return shot
        near = near_miss(rng, victim.token.decode(), TOKEN_DIGITS - 1)
        return msgspec.structs.replace(shot, request=shot.request.replace(token.encode(), near.encode()))

    def conclude(self, rows: NDArray[Any]) -> list[Claim]:
        """Claim that nothing can be told from how long a refusal took."""
        judged = rows[rows["got"] == Answer.INVALID_TOKEN]
        judged = judged[np.argsort(judged["sent_ns"], kind="stable")]
        nonces = np.frombuffer(np.ascontiguousarray(judged["nonce"]).tobytes(), dtype=np.uint8).reshape(-1, 12)
        found = compare_times(judged["answered_ns"] - judged["sent_ns"], (nonces[:, 0] & 1).astype(bool))
        if found.leaks is None:
            message = f"{found.samples} guesses are too few to compare times: {SAMPLES_MIN} of each kind are needed"
            return [Claim("timing", None, message)]
        random_us, near_us = (one / 1000 for one in found.medians_ns)
        message = (
            f"{found.samples} guesses took {random_us:.0f} us at random and {near_us:.0f} us all but right "
            f"(medians; Welch's t {found.t:.1f}): {'told apart' if found.leaks else 'not to be told apart'}"
        )
        return [Claim("timing", not found.leaks, message, found.shown())]


class UnknownWorker(_WrongToken):
    """Workers that were never registered: nobody may learn from the answer which ids there are."""

    name = "credential.unknown-worker"
    basis = Basis.PUBLISHED
    shape = "a heartbeat that names a worker that was never registered, with a made-up token or another machine's own"
    effect = "one worker_auth_failed event, reason invalid_machine_token, counted as unattributed, in no owner's audit"
    severity = 5.3

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Make a worker up."""
        worker_id = f"wrk_{random_hex(rng, WORKER_DIGITS)}"
        token = random_hex(rng, TOKEN_DIGITS) if rng.random() < 0.5 else victim.token.decode()  # noqa: PLR2004 - half
        shot = forge(victim, moment, rng, Answer.INVALID_TOKEN, token=token, worker_id=worker_id)
        return msgspec.structs.replace(shot, known=False)
