"""The base classes of attacks, and the making of hostile heartbeats."""

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
"""The least time before a victim's next rotation at which it is attacked: nearer to it, the old certificate may become
invalid while the request is under way. Requests that take longer are undecided (`checkers.endings`), so that fleets
which rotate every few seconds can be attacked."""


class Shot(msgspec.Struct, frozen=True):
    """One hostile heartbeat, and a correct server's answer.

    `nonce` is the raw nonce, `certificate` the history's number of its certificate. `known` says whether it names its
    victim instead of a worker that does not exist.
    """

    request: bytes
    nonce: bytes
    expected: Answer
    certificate: int = NONE
    known: bool = True


class Moment(msgspec.Struct, frozen=True):
    """The time and the sender of a shot."""

    now_ns: int
    wall_ns: int
    host: str


class Attack:
    """An entry of the catalogue, which subclasses describe in class variables.

    `basis` says which profile requires the refusal; in a `mixed` attack, single expectations name another one, and
    `claim_bases` gives other bases by the claim's rule. `severity` of a successful attack is from 0 to 10, as in CVSS.
    A `weakness` is one of the published protocol itself: it is reported by its name, and no server fails for it.
    `takes_ns` is the duration of an attempt, if that is more than seconds.
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
        """Return the duration of an attempt on a server with these settings (by variable name), in ns."""
        del settings
        return cls.takes_ns


class ShotAttack(Attack):
    """An attack of single heartbeats, each with one right answer, sent as fast as the shard can.

    `victims` are honest machines whose credentials the attacker has stolen. An attack never changes their state, except
    in `prepare`, which may make a victim do what its owner could ask for. A campaign has at most `victims_max` victims.
    """

    victims_max: ClassVar[int] = VICTIMS_MAX

    def prepare(self, victim: Machine) -> None:
        """Bring a victim into the state that the attack needs. Most attacks need nothing."""

    def ready(self, victim: Machine, moment: Moment) -> bool:
        """Return whether a shot at this victim has a certain right answer at this moment."""
        del moment
        return bool(victim.policy_id) and not victim.rotate_due

    def shot(self, victim: Machine, moment: Moment, rng: np.random.Generator) -> Shot:
        """Return one shot."""
        raise NotImplementedError

    def conclude(self, rows: NDArray[Any]) -> list[Claim]:
        """Return claims about all rows of a campaign (dtype `ROW`) after its end. Most attacks claim nothing."""
        del rows
        return []


def random_hex(rng: np.random.Generator, digits: int) -> str:
    """Return random hexadecimal digits from a seeded generator."""
    return rng.bytes((digits + 1) // 2).hex()[:digits]


def with_body(request: bytes, body: bytes) -> bytes:
    """Return a request with another body and its length."""
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
    """Return a heartbeat in a victim's name that is valid except for the replaced parts."""
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
