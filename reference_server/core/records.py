"""The control plane's records: owners, machines, policies, consents and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reference_server.core.audit import MARKET, NOTABLE, REFUSED, EventStream, Room, RoutineStream

if TYPE_CHECKING:
    from reference_server.core.market.pool import Offer


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """An issued machine certificate. Times are Unix nanoseconds; decisions use `expires_monotonic_ns`."""

    certificate_id: str
    issued_ns: int
    expires_ns: int
    expires_monotonic_ns: int
    signature: str


class Policy(msgspec.Struct, gc=False):
    """One version of an owner's policy; `rules` is canonical JSON."""

    id: str
    owner_id: str
    version: int
    rules: str
    signature: str
    active: bool
    created_ns: int
    updated_ns: int


class Consent(msgspec.Struct, gc=False):
    """An owner's consent that a worker runs under a policy; permanently revoked once `revoked_ns` is set."""

    id: str
    owner_id: str
    worker_id: str
    policy_id: str
    signature: str
    effective_ns: int
    revoked_ns: int | None = None


class Owner:
    """An owner's machines, policies and audit streams. `workers` is sorted by id."""

    __slots__ = (
        "fresh",
        "id",
        "market",
        "notable",
        "policy_version",
        "refused",
        "routine",
        "stale",
        "total",
        "workers",
    )

    def __init__(self, owner_id: str, events_max: int, rooms: Rooms) -> None:
        self.id = owner_id
        self.workers: list[str] = []
        self.policy_version = 0
        self.routine = RoutineStream(events_max, rooms.routine)
        self.notable = EventStream(NOTABLE, events_max, rooms.notable)
        self.refused = EventStream(REFUSED, events_max, rooms.refused)
        self.market = EventStream(MARKET, events_max, rooms.market)
        self.total = self.fresh = self.stale = 0

    @property
    def streams(self) -> tuple[RoutineStream | EventStream, ...]:
        """The owner's audit streams, in the order in which events of one moment are listed."""
        return self.routine, self.notable, self.refused, self.market


class Rooms(NamedTuple):
    """The memory that the streams of all owners share, by kind of stream."""

    routine: Room
    notable: Room
    refused: Room
    market: Room


class Worker:
    """A registered machine. `consents` maps policy id to consent, oldest first.

    `nonces` counts accepted nonces since `nonces_since_ns` (monotonic), at most one span of the nonce memory ago.
    `offer` caches the result of `State.offer_of`, because a look-up for each heartbeat would miss the CPU's caches.
    """

    __slots__ = (
        "certificate",
        "consents",
        "created_ns",
        "fresh",
        "heard_monotonic_ns",
        "heard_ns",
        "id",
        "name",
        "nonces",
        "nonces_since_ns",
        "offer",
        "owner",
        "policy_id",
        "serial",
        "token",
    )

    def __init__(
        self,
        worker_id: str,
        owner: Owner,
        name: str,
        token: bytes,
        created_ns: int,
        serial: int,
        certificate: Certificate,
    ) -> None:
        self.id = worker_id
        self.owner = owner
        self.name = name
        self.token = token
        self.created_ns = created_ns
        self.serial = serial
        self.certificate = certificate
        self.consents: dict[str, Consent] = {}
        self.policy_id = ""
        self.heard_ns = 0
        self.heard_monotonic_ns: int | None = None
        self.nonces = 0
        self.nonces_since_ns = -(1 << 63)
        self.fresh = False
        self.offer: Offer | None = None
