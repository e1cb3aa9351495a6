"""What an attack is, and how one is made: the base of every family."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.fleet.machine import Machine, heartbeat_request, signed_heartbeat
from simulator.history.rows import NONE
from simulator.limits import VICTIMS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from simulator.attacks.script import Claim
    from simulator.contract.answers import Answer
    from simulator.contract.profiles import Basis

HEX_DIGITS = "0123456789abcdef"
NONCE_BYTES = 12
CERTIFICATE_MARGIN_NS = SECOND_NS
"""A victim rotates its certificate at a moment of its own; nearer to it than this, the old one may die under way. What
takes longer is undecided then (`checkers.endings`), so that fleets that rotate every few seconds can be attacked."""


class Shot(msgspec.Struct, frozen=True):
    """One hostile heartbeat, and what a correct server answers.

    `nonce` is the raw nonce it carries, `certificate` the history's number of its certificate. `known` says whether it
    names its victim, or a worker that never was.
    """

    request: bytes
    nonce: bytes
    expected: Answer
    certificate: int = NONE
    known: bool = True


class Moment(msgspec.Struct, frozen=True):
    """When and where a shot is made."""

    now_ns: int
    wall_ns: int
    host: str


class Attack:
    """One entry of the catalogue: subclasses say in class variables what it is.

    `basis` is what it rests on that it must be refused; of a `mixed` one, expectations of single steps name another.
    `claim_bases` says by a claim's rule what else that one rests on. `severity` is how bad it is when a server lets it
    through, from 0 to 10 as CVSS counts. A `weakness` is one of the published protocol itself: it is reported by its
    name, and no server fails for it. `takes_ns` is how much of a run an attempt takes, where it is more than seconds.
    """

    name: ClassVar[str]
    shape: ClassVar[str]
    verdict: ClassVar[str]
    effect: ClassVar[str]
    anchor: ClassVar[str]
    basis: ClassVar[Basis]
    mixed: ClassVar[bool] = False
    claim_bases: ClassVar[Mapping[str, Basis]] = MappingProxyType({})
    severity: ClassVar[float] = 7.5
    weakness: ClassVar[bool] = False
    takes_ns: ClassVar[int] = 0

    @classmethod
    def needed_ns(cls, settings: Mapping[str, str]) -> int:
        """Return how much of a run an attempt takes on a server with these settings, by their variables' names."""
        del settings
        return cls.takes_ns


class ShotAttack(Attack):
    """An attack of single heartbeats, each with one right answer, as fast as the shard can send them.

    `victims` are honest machines whose credentials the attacker has got hold of; an attack never changes their state,
    but for `prepare`, which may ask a victim to do what its owner could ask of it. A campaign has no more victims than
    `victims_max`.
    """

    victims_max: ClassVar[int] = VICTIMS_MAX

    def prepare(self, victim: Machine) -> None:
        """Bring a victim into the state the attack needs. Most need nothing."""

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Return whether a shot at this victim has a certain right answer at this moment."""
        del moment
        return bool(victim.policy_id) and not victim.rotate_due

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Make one request."""
        raise NotImplementedError

    def conclude(self, rows: NDArray[Any]) -> list[Claim]:
        """Claim what all rows of a campaign (dtype `ROW`) show together, once it has ended. Most claim nothing."""
        del rows
        return []


def random_hex(rng: np.random.Generator, digits: int) -> str:
    """Return random hexadecimal digits from a seeded generator."""
    return rng.bytes((digits + 1) // 2).hex()[:digits]


def with_body(request: bytes, body: bytes) -> bytes:
    """Return a request another body, and the length that goes with it."""
    head, _, before = request.partition(b"\r\n\r\n")
    line = b"Content-Length: %d"
    return head.replace(line % len(before), line % len(body)) + b"\r\n\r\n" + body


def forge(
    victim: Machine,
    moment: Moment,
    rng: np.random.Generator,
    expected: Answer,
    *,
    skew_ns: int = 0,
    token: str | None = None,
    certificate_id: str | None = None,
    certificate: int = NONE,
    signing_key: bytes | None = None,
    worker_id: str | None = None,
) -> Shot:
    """Make a heartbeat in a victim's name that is right but for what is replaced."""
    nonce = rng.bytes(NONCE_BYTES)
    timestamp = format_timestamp((moment.wall_ns + skew_ns) // MILLISECOND_NS * MILLISECOND_NS)
    key = victim.token if signing_key is None else signing_key
    worker_id = victim.worker_id if worker_id is None else worker_id
    body = signed_heartbeat(key, worker_id, timestamp, nonce.hex(), victim.policy_id, "{}")
    request = heartbeat_request(
        moment.host,
        worker_id,
        victim.token.decode() if token is None else token,
        certificate_id or victim.certificate_id,
        body,
    )
    return Shot(request, nonce, expected, certificate if certificate_id else victim.certificate_number)
