"""The whole state on which decisions are made: tables, counters and audit."""

from __future__ import annotations

from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.audit import MARKET, REFUSED, Event, EventStream, Room, is_granted, stream_of
from reference_server.core.auth_failures import AuthFailures
from reference_server.core.bounds import STATE_BOUNDS, StateBounds
from reference_server.core.changes import Kind, change
from reference_server.core.community.agents import Agents
from reference_server.core.community.forum import Forum
from reference_server.core.fleet import FleetIndex
from reference_server.core.market.conditions import conditions_of
from reference_server.core.market.market import Market
from reference_server.core.nonces import NonceMemory, nonce_key
from reference_server.core.rate_limit import TokenBuckets
from reference_server.core.records import Owner, Rooms
from reference_server.limits import UNKNOWN_ID_MAX_CHARACTERS
from reference_server.login_settings import login_providers
from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.schema1 import CONSENTS, MACHINES, OWNERS_NAMED, POLICIES
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reference_server.core.market.pool import Offer
    from reference_server.core.records import Consent, Policy, Worker
    from reference_server.core.table import Tables
    from reference_server.ports import Entropy
    from reference_server.settings import Settings
    from reference_server.wire.exposition import Figure
    from reference_server.wire.ids import IdForm
    from reference_server.wire.schema1 import StatusRecord
    from reference_server.wire.signing import CertificateSigner
    from reference_server.wire.values import Instant


UNATTRIBUTED = "unattributed"
"""The stream of refused requests that concern no owner; no owner sees it."""
HEARTBEAT_STATUSES: tuple[int, ...] = (
    HTTPStatus.OK,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""The statuses with which a decided heartbeat may be answered (contract §4)."""


class State:
    """The whole state. Every decision takes it, and `now`. `rows` maps the names of tables to their containers."""

    def __init__(
        self,
        settings: Settings,
        entropy: Entropy,
        signer: CertificateSigner,
        started: Instant,
        tables: Tables,
        bounds: StateBounds = STATE_BOUNDS,
    ) -> None:
        self.settings, self.tables, self.bounds = settings, tables, bounds
        self.entropy, self.signer, self.started = entropy, signer, started
        self.api_token = settings.api_token.encode()
        self.rows = tables.make_rows()
        # Attributes for the containers that nearly every request uses.
        self.workers: dict[str, Worker] = self.rows[MACHINES.name]
        self.owners: dict[str, Owner] = self.rows[OWNERS_NAMED.name]
        self.policies: dict[str, Policy] = self.rows[POLICIES.name]
        self.consents: dict[str, Consent] = self.rows[CONSENTS.name]
        self.fleet = FleetIndex(settings.stale_seconds * SECOND_NS)
        self.skew_ns = settings.skew_seconds * SECOND_NS
        self.nonces = NonceMemory(settings.nonce_ttl_seconds * SECOND_NS, self.skew_ns, bounds.nonces_max)
        self.nonces_a_machine_max = bounds.nonces_a_machine_max
        self.nonces_outside = False
        self.extra_metrics: list[Callable[[], Sequence[Figure]]] = []
        self.name_nonce: Callable[[int, str], int] = nonce_key
        self.nonce_key = b""
        self.changes: list[tuple[Any, ...]] | None = None
        """Changes since the journal last took them; None without a journal."""
        self.frozen = False
        """Whether changes are refused because they would not be durable. Always False without a journal."""
        self.compacting = True
        """Whether the last snapshot that was started replaced the journal; if not, the journal grows."""
        self.degraded = ""
        """The reason why requests for a shared state are refused now, or an empty text."""
        self.unknown_sections: dict[str, bytes] = {}
        """Sections of a state file that this server does not know, kept byte for byte."""
        self.orphan_statuses: dict[str, StatusRecord] = {}
        """Statuses from a file for workers that are not registered here."""
        self.failures = AuthFailures(settings.auth_failure_window_seconds * SECOND_NS)
        self.buckets = TokenBuckets(
            settings.rate_limit_refill_per_second, settings.rate_limit_burst, bounds.rate_limit_buckets_max
        )
        self.rate_limited = 0
        self.heartbeat_answers = dict.fromkeys(HEARTBEAT_STATUSES, 0)
        self.jwk_set = msgspec.json.encode(signer.jwk_set)
        self.certificate_life_ns = settings.certificate_life_seconds * SECOND_NS
        self._rooms = self._make_rooms()
        self.unattributed = EventStream(UNATTRIBUTED, bounds.unattributed_events_max, self._rooms.refused)
        self.market_of_agents = EventStream(MARKET, bounds.market_of_agents_events_max, self._rooms.market)
        """Events of agents that involve no machine; agents see no audit."""
        self.unsplit = False
        """Whether an earlier version's data is being read, which had refusals among notable events and created owners
        for refused requests. `recovery.split_streams` resets it."""
        self.login_providers = login_providers(settings)
        self.login_key = bytes.fromhex(signer.fingerprint("logins"))
        self.market = Market(conditions_of(settings), notes=self, bounds=bounds.market)
        self.agents = Agents(notes=self, bounds=bounds.community)
        self.forum = Forum(notes=self, bounds=bounds.community)
        self.auth_failures = dict.fromkeys(("agent", "session"), 0)
        """Counts of invalid keys and sessions in requests, by the kind of principal."""

    def _make_rooms(self) -> Rooms:
        bounds = self.bounds
        return Rooms(
            Room(bounds.audit_routine_max_bytes, lambda: (owner.routine for owner in self.owners.values())),
            Room(bounds.audit_notable_max_bytes, lambda: (owner.notable for owner in self.owners.values())),
            Room(bounds.audit_refused_max_bytes, self._refused_streams),
            Room(bounds.audit_market_max_bytes, self._market_streams),
        )

    def _refused_streams(self) -> Iterable[EventStream]:
        return chain((self.unattributed,), (owner.refused for owner in self.owners.values()))

    def _market_streams(self) -> Iterable[EventStream]:
        return chain((self.market_of_agents,), (owner.market for owner in self.owners.values()))

    def new_id(self, form: IdForm) -> str:
        """Return a new, unique identifier of this form."""
        return form.of(self.entropy.hex(form.digits))

    def has_room_for(self, owner_id: str) -> bool:
        """Return whether an owner has a record, or there is room for one."""
        return owner_id in self.owners or self.tables[OWNERS_NAMED.name].has_room(self)

    def owner(self, owner_id: str) -> Owner | None:
        """Return an owner, creating its record for a granted request if needed; None if the table is full."""
        owner = self.owners.get(owner_id)
        if owner is None and self.tables[OWNERS_NAMED.name].has_room(self):
            owner = self.owners[owner_id] = Owner(owner_id, self.settings.audit_events_per_stream, self._rooms)
        return owner

    def offer_of(self, worker: Worker) -> Offer | None:
        """Return a worker's offer on the market, or None. An offer is never removed, so the worker caches it."""
        offer = worker.offer
        if offer is None:
            offer = worker.offer = self.market.pool.offers.get(worker.id)
        return offer

    def audit(
        self,
        now: Instant,
        kind: str,
        actor: str,
        object_id: str,
        metadata: dict[str, Any],
        owner_ids: Iterable[str],
    ) -> None:
        """Add one event to a stream of each owner concerned, or to the unattributed stream if none has a record."""
        event_id = "aud_" + self.entropy.hex(16)  # not by `new_id`, for speed: each refused heartbeat needs one
        self.add_event(now, event_id, kind, actor, object_id, canonical_json(metadata), tuple(owner_ids))

    @change(Kind.EVENT)
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
        """Add an event with its id; `metadata` is canonical JSON."""
        event = Event(event_id, kind, actor, object_id, metadata, at.wall_ns)
        name = stream_of(kind)
        # A grant on the market creates its owner; a refusal creates none.
        granted = is_granted(kind)
        find = self.owner if granted or self.unsplit else self.owners.get
        owners = [owner for owner in map(find, dict.fromkeys(owner_ids)) if owner is not None]
        if name == MARKET:
            streams = [owner.market for owner in owners]
        elif name == REFUSED and not self.unsplit:
            streams = [owner.refused for owner in owners]
        else:
            streams = [owner.notable for owner in owners]
        # Refusals of strangers and grants to agents are separate streams, so they do not evict each other.
        for stream in streams or [self.market_of_agents if granted else self.unattributed]:
            stream.append(event)

    def deny_owner(
        self,
        now: Instant,
        reason: str,
        actor_owner_id: str,
        object_id: str,
        resource_owner_id: str,
    ) -> None:
        """Audit an owner's refused action, for the acting owner and for the owner of the resource (contract §2).

        Either id may be invented: a refused request creates no owner.
        """
        self.audit(
            now,
            "owner_access_denied",
            f"owner:{actor_owner_id}",
            object_id[:UNKNOWN_ID_MAX_CHARACTERS],
            {"reason": reason, "actor_owner_id": actor_owner_id},
            (resource_owner_id, actor_owner_id),
        )

    def fail_worker(self, now: Instant, reason: str, worker_id: str) -> None:
        """Count and audit one worker auth failure (contract §4). `worker_id` is what the request named."""
        worker = self.workers.get(worker_id)
        self.count_failure(now, reason, worker is not None)
        shown = worker_id[:UNKNOWN_ID_MAX_CHARACTERS]
        owners = () if worker is None else (worker.owner.id,)
        self.audit(now, "worker_auth_failed", f"worker:{shown}", shown, {"reason": reason}, owners)

    @change(Kind.FAILURE)
    def count_failure(self, at: Instant, reason: str, attributed: bool) -> None:  # noqa: FBT001 - as it is journalled
        """Count one worker auth failure; `attributed` says whether it named a known worker."""
        self.failures.count(reason, at.monotonic_ns, attributed=attributed)
