"""The control plane's records, their tables, and the audit of what happens to them."""

from __future__ import annotations

from enum import IntEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server import limits
from reference_server.core.audit import NOTABLE, REFUSED, Event, EventStream, Room, RoutineStream, stream_of
from reference_server.core.auth_failures import AuthFailures
from reference_server.core.fleet import FleetIndex
from reference_server.core.nonces import NonceMemory, nonce_key
from reference_server.core.rate_limit import TokenBuckets
from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reference_server.ports import Entropy
    from reference_server.settings import Settings
    from reference_server.wire.exposition import Figure
    from reference_server.wire.signing import CertificateSigner
    from reference_server.wire.state_file import StatusRecord
    from reference_server.wire.values import Instant


class Kind(IntEnum):
    """The kinds of changes, as journals name them: never renumbered."""

    MACHINE = 0
    CERTIFICATE = 1
    POLICY = 2
    ACTIVATION = 3
    CONSENT = 4
    REVOCATION = 5
    HEARTBEAT = 6
    EVENT = 7
    FAILURE = 8
    LAG = 9


UNATTRIBUTED = "unattributed"
"""The stream that no owner sees: of refused requests that concern none."""
HEARTBEAT_STATUSES = (200, 400, 401, 403, 429, 503)
"""What a decided heartbeat may be answered with (contract §4)."""


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """A machine certificate as issued; times in Unix nanoseconds, `expires_monotonic_ns` for deciding."""

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
    """An owner's consent that a worker runs under a policy; revoked for good once `revoked_ns` is set."""

    id: str
    owner_id: str
    worker_id: str
    policy_id: str
    signature: str
    effective_ns: int
    revoked_ns: int | None = None


class Owner:
    """An owner's machines, policies and audit streams. `workers` is sorted by id."""

    __slots__ = ("fresh", "id", "notable", "policy_version", "refused", "routine", "stale", "total", "workers")

    def __init__(self, owner_id: str, events_max: int, rooms: Rooms) -> None:
        self.id = owner_id
        self.workers: list[str] = []
        self.policy_version = 0
        self.routine = RoutineStream(events_max, rooms.routine)
        self.notable = EventStream(NOTABLE, events_max, rooms.notable)
        self.refused = EventStream(REFUSED, events_max, rooms.refused)
        self.total = self.fresh = self.stale = 0

    @property
    def streams(self) -> tuple[RoutineStream | EventStream, ...]:
        """Return its audit streams, in the order in which events of one moment are listed."""
        return self.routine, self.notable, self.refused


class Rooms(NamedTuple):
    """The memory that the streams of all owners have together, by kind."""

    routine: Room
    notable: Room
    refused: Room


class Worker:
    """A registered machine. `consents` maps policy id to consent, oldest first.

    `nonces` counts those accepted since `nonces_since_ns` (monotonic), which is one span of the nonce memory at most.
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


class Frozen(Exception):  # noqa: N818 - what a decision meets, not a fault of its own
    """Nothing may be changed now."""


class State:
    """All of the control plane's state. Plain tables; every decision takes it with `now`."""

    def __init__(self, settings: Settings, entropy: Entropy, signer: CertificateSigner, started: Instant) -> None:
        self.settings = settings
        self.entropy = entropy
        self.signer = signer
        self.started = started
        self.api_token = settings.api_token.encode()
        self.workers: dict[str, Worker] = {}
        self.owners: dict[str, Owner] = {}
        self.policies: dict[str, Policy] = {}
        self.consents: dict[str, Consent] = {}
        self.fleet = FleetIndex(settings.stale_seconds * SECOND_NS)
        self.nonces = NonceMemory(
            settings.nonce_ttl_seconds * SECOND_NS, settings.skew_seconds * SECOND_NS, limits.NONCES_MAX
        )
        self.nonces_outside = False
        self.extra_metrics: list[Callable[[], Sequence[Figure]]] = []
        self.name_nonce: Callable[[int, str], int] = nonce_key
        self.nonce_key = b""
        self.changes: list[tuple[Any, ...]] | None = None
        """What was changed since the journal was last given something; None where there is none."""
        self.frozen = False
        """Nothing may be changed now, because it would not be durable. Only ever so where there is a journal."""
        self.compacting = True
        """Whether the last snapshot, if any was begun, took the journal's place; else that grows and grows."""
        self.degraded = ""
        """Why what needs the state is refused now, where it is shared; nothing while it is not refused."""
        self.unknown_sections: dict[str, bytes] = {}
        """Sections of a state file that are not ours to read: kept byte for byte."""
        self.orphan_statuses: dict[str, StatusRecord] = {}
        """Statuses from a file, of workers that are not registered here."""
        self.failures = AuthFailures(settings.auth_failure_window_seconds * SECOND_NS)
        self.buckets = TokenBuckets(
            settings.rate_limit_refill_per_second,
            settings.rate_limit_burst,
            limits.RATE_LIMIT_BUCKETS_MAX,
        )
        self.rate_limited = 0
        self.heartbeat_answers = dict.fromkeys(HEARTBEAT_STATUSES, 0)
        self.jwk_set = msgspec.json.encode(signer.jwk_set)
        self.skew_ns = settings.skew_seconds * SECOND_NS
        self.certificate_life_ns = settings.certificate_life_seconds * SECOND_NS
        self._rooms = Rooms(
            Room(limits.AUDIT_ROUTINE_MAX_BYTES, lambda: (owner.routine for owner in self.owners.values())),
            Room(limits.AUDIT_NOTABLE_MAX_BYTES, lambda: (owner.notable for owner in self.owners.values())),
            Room(limits.AUDIT_REFUSED_MAX_BYTES, self._refused_streams),
        )
        self.unattributed = EventStream(UNATTRIBUTED, limits.UNATTRIBUTED_EVENTS_MAX, self._rooms.refused)
        self.unsplit = False
        """What an earlier version kept is being read: it had refusals among an owner's notable events, and made an
        owner of whoever was refused. `recovery.split_streams` ends it."""

    def _refused_streams(self) -> Iterable[EventStream]:
        return chain((self.unattributed,), (owner.refused for owner in self.owners.values()))

    def note(self, kind: Kind, at: Instant, *values: Any) -> None:
        """Note a change for the journal, before it is made. Raises Frozen where none may be."""
        if self.frozen or self.changes is None:
            raise Frozen
        self.changes.append((kind, at.wall_ns, *values))

    def has_room_for(self, owner_id: str) -> bool:
        """Return whether an owner has a record, or there is room for one."""
        return owner_id in self.owners or len(self.owners) < limits.OWNERS_MAX

    def owner(self, owner_id: str) -> Owner | None:
        """Find an owner, or make its record, for what it is granted; None when the table is full."""
        owner = self.owners.get(owner_id)
        if owner is None and len(self.owners) < limits.OWNERS_MAX:
            owner = self.owners[owner_id] = Owner(owner_id, self.settings.audit_events_per_stream, self._rooms)
        return owner

    def audit(
        self,
        now: Instant,
        kind: str,
        actor: str,
        object_id: str,
        metadata: dict[str, Any],
        owner_ids: Iterable[str],
    ) -> None:
        """Add one event to a stream of each owner concerned; to the unattributed one where none has a record."""
        self.add_event(
            now, "aud_" + self.entropy.hex(16), kind, actor, object_id, canonical_json(metadata), tuple(owner_ids)
        )

    def add_event(
        self,
        at: Instant,
        event_id: str,
        kind: str,
        actor: str,
        object_id: str,
        metadata: str,
        owner_ids: Iterable[str],
    ) -> None:
        """Add an event with its id; `metadata` is canonical JSON. A change, like those in `changes`."""
        if self.changes is not None:
            self.note(Kind.EVENT, at, event_id, kind, actor, object_id, metadata, owner_ids)
        event = Event(event_id, kind, actor, object_id, metadata, at.wall_ns)
        find = self.owner if self.unsplit else self.owners.get
        owners = [owner for owner in map(find, dict.fromkeys(owner_ids)) if owner is not None]
        refused = stream_of(kind) == REFUSED and not self.unsplit
        streams = [owner.refused if refused else owner.notable for owner in owners]
        for stream in streams or [self.unattributed]:
            stream.append(event)

    def deny_owner(
        self,
        now: Instant,
        reason: str,
        actor_owner_id: str,
        object_id: str,
        resource_owner_id: str,
    ) -> None:
        """Audit an owner's refused action for the one who tried and the one it was tried on (contract §2).

        Either may be made up: a refused request makes no owner.
        """
        self.audit(
            now,
            "owner_access_denied",
            f"owner:{actor_owner_id}",
            object_id[: limits.UNKNOWN_ID_MAX_CHARACTERS],
            {"reason": reason, "actor_owner_id": actor_owner_id},
            (resource_owner_id, actor_owner_id),
        )

    def fail_worker(self, now: Instant, reason: str, worker_id: str) -> None:
        """Count and audit one worker auth failure (contract §4). `worker_id` is what the request named."""
        worker = self.workers.get(worker_id)
        self.count_failure(now, reason, worker is not None)
        shown = worker_id[: limits.UNKNOWN_ID_MAX_CHARACTERS]
        owners = () if worker is None else (worker.owner.id,)
        self.audit(now, "worker_auth_failed", f"worker:{shown}", shown, {"reason": reason}, owners)

    def count_failure(self, at: Instant, reason: str, attributed: bool) -> None:  # noqa: FBT001 - as it is journalled
        """Count one worker auth failure; `attributed` says whether it named a known worker. A change too."""
        if self.changes is not None:
            self.note(Kind.FAILURE, at, reason, attributed)
        self.failures.count(reason, at.monotonic_ns, attributed=attributed)
