"""Restoring a state: first a state file's records, then each group of changes in the journal after it.

Monotonic times have no meaning after a restart, so they are computed from the wall clock: an hour ago by the wall
clock is an hour ago.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reference_server.core.audit import (
    MARKET,
    NOTABLE,
    REFUSED,
    REFUSED_TYPES,
    Event,
    EventStream,
    is_granted,
    stream_of,
)
from reference_server.core.changes import moment_then, recover_change
from reference_server.core.market.working import look_again
from reference_server.core.nonces import Forgotten, Generation, lasting_nonce_names
from reference_server.core.state import UNATTRIBUTED
from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.ids import POLICY_ID
from reference_server.wire.own_sections import load_state_file
from reference_server.wire.sections import kept_time
from reference_server.wire.state_file import StateFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.core.audit import RoutineStream
    from reference_server.core.state import State
    from reference_server.ports import Journal
    from reference_server.wire.own_sections import LoadedFile, OwnerSection, OwnSection, StreamSection
    from reference_server.wire.schema1 import EventRecord
    from reference_server.wire.values import Instant

NONCE_KEY_DIGITS = 32
_NAME_BYTES = 8


def begin(state: State) -> None:
    """Prepare an empty state for a state file that does not exist yet."""
    name_nonces(state, bytes.fromhex(state.entropy.hex(NONCE_KEY_DIGITS)))


def name_nonces(state: State, key: bytes) -> None:
    """Use nonce keys that are stable across restarts."""
    state.nonce_key = key
    state.name_nonce = lasting_nonce_names(key)


def restore(state: State, file: LoadedFile, now: Instant) -> None:
    """Fill an empty state from a state file. The state is `unsplit` if an earlier version wrote the file.

    A file from elsewhere does not contain used nonces. So the horizon is raised to the newest accepted heartbeat plus
    the allowed skew: machines are refused until then, and no replay is accepted.
    """
    records, own = file.records, file.own
    state.unknown_sections = file.unknown
    events = [_event(record) for record in records.audit_events]
    if own is None:
        begin(state)
        _restore_tables(state, file, now)
        _share_out(state, events)
        heard_ns = [worker.heard_ns for worker in state.workers.values() if worker.heard_monotonic_ns is not None]
        if heard_ns:
            forget_nonces(state, max(heard_ns))
        return
    name_nonces(state, bytes.fromhex(own.nonce_key))
    streams = _streams_of(own)
    _restore_own(state, own, streams, moment_then(now, _unix_ns(records.saved_at)), now)
    _restore_tables(state, file, now)
    for owner_id, section in streams.items():
        owner = state.owners[owner_id]
        _restore_routine(owner.routine, section.routine, events)
        _restore_stream(owner.notable, section.notable, events)
        if section.refused is not None:
            _restore_stream(owner.refused, section.refused, events)
        if section.market is not None:
            _restore_stream(owner.market, section.market, events)
    state.unsplit = own.streams is msgspec.UNSET
    if state.unsplit:
        state.unattributed.name = NOTABLE
    for nobody in (own.unattributed, own.nobody):
        if not isinstance(nobody, msgspec.UnsetType):
            _restore_stream(state.unattributed, nobody, events)
    if not isinstance(own.market, msgspec.UnsetType):
        _restore_stream(state.market_of_agents, own.market, events)
    if own.nonces_outside is not state.nonces_outside:
        forget_nonces(state, now.wall_ns)


class Recovered(NamedTuple):
    """The result of a recovery: whether there was a snapshot, whether to write one at once, and warnings."""

    found: bool
    fresh: bool
    warning: str = ""


def recover(state: State, journal: Journal, now: Instant) -> Recovered:
    """Fill an empty state from a journal.

    Raises StateFileError or JournalError if something cannot be read; the messages say what to do.
    """
    content = journal.read()
    if content is None:
        begin(state)
        return Recovered(found=False, fresh=True)
    file = load_state_file(content, state.tables.sections)
    try:
        restore(state, file, now)
    except (ValueError, TypeError, LookupError, ArithmeticError, struct.error) as error:
        raise StateFileError(
            f"it cannot be used ({type(error).__name__}: {error}): give another copy of it, and keep this one to be "
            "looked into"
        ) from None
    groups = journal.groups(None if file.own is None else file.own.segment)
    kept_ns = _unix_ns(file.records.saved_at)
    if groups is not None:
        kept_ns = replay(state, groups, now) or kept_ns
    # The wall clock may have been set while no process looked: assume that it stood still.
    state.nonces.lag(now, state.nonces.lag_ns(now) + max(0, now.wall_ns - kept_ns))
    fresh = split_streams(state)
    look_again(state.market, now)
    if groups is not None:
        return Recovered(found=True, fresh=fresh)
    if file.own is None:
        return Recovered(found=True, fresh=True)
    forget_nonces(state, max(now.wall_ns, kept_ns))
    return Recovered(
        found=True,
        fresh=True,
        warning=f"the state file of {file.records.saved_at} has no journal: what came after it, if anything, is lost",
    )


def forget_nonces(state: State, until_ns: int) -> None:
    """Raise the horizon above every heartbeat that may have been accepted until `until_ns` (Unix ns; contract §4)."""
    state.nonces.horizon_ns = max(state.nonces.horizon_ns, until_ns + state.skew_ns)


def replay(state: State, groups: Iterable[bytes], now: Instant) -> int:
    """Make a journal's changes again. Return the wall time of the last one (Unix ns), or 0 if there is none.

    Raises StateFileError for a change that contradicts the state.
    """
    last_ns = 0
    for group in groups:
        try:
            for change in msgspec.msgpack.decode(group):
                recover_change(state, now, change)
                last_ns = change[1]
        except (ValueError, KeyError, TypeError) as error:
            raise StateFileError(
                f"a change in its journal does not go with it ({type(error).__name__}: {error}): "
                "bring back the state file and the journal that belong together"
            ) from None
    return last_ns


def split_streams(state: State) -> bool:
    """Move refusals out of the notable streams of an earlier version; return whether there were any.

    A hash chain cannot lose events and continue. So a notable stream that had refusals is started again after its last
    event, with its other events. A client that kept the last head finds it as the next event's `previous_hash`; one
    that kept an older head finds that its event is no longer kept; no number is used for two events. The refusals
    become a chain of their own after the same event as the old notable stream, which shows that they are complete. A
    stream without refusals does not change.

    An owner with nothing but refusals was created by them, and is removed: its events go to the unattributed stream.
    """
    if not state.unsplit:
        return False
    state.unsplit = False
    orphans: dict[str, Event] = {event.id: event for event in state.unattributed.kept()}
    for owner in list(state.owners.values()):
        kept = list(owner.notable.kept())
        refused = [event for event in kept if event.type in REFUSED_TYPES]
        if len(refused) == len(kept) and not (owner.workers or owner.policy_version):
            orphans |= {event.id: event for event in refused}
            owner.notable.cut(0)
            del state.owners[owner.id]
        elif refused:
            owner.refused.start_after(*owner.notable.base)
            owner.notable.start_after(owner.notable.sequence, owner.notable.hash)
            for event in kept:
                (owner.refused if event.type in REFUSED_TYPES else owner.notable).append(event)
    seen = {event.id for owner in state.owners.values() for event in owner.refused.kept()}
    state.unattributed.start_after(state.unattributed.sequence, state.unattributed.hash)
    state.unattributed.name = UNATTRIBUTED
    for event in sorted(orphans.values(), key=lambda event: event.created_ns):
        if event.id not in seen:
            state.unattributed.append(event)
    return True


def _streams_of(own: OwnSection) -> dict[str, OwnerSection]:
    for streams in (own.streams, own.owners):
        if not isinstance(streams, msgspec.UnsetType):
            return streams
    return {}


def _unix_ns(text: str) -> int:
    """Return the Unix nanoseconds of a timestamp that is known to be valid."""
    return kept_time(text) or 0


def _event(record: EventRecord) -> Event:
    return Event(
        record.id,
        record.type,
        record.actor,
        record.object_id,
        canonical_json(record.metadata),
        _unix_ns(record.created_at),
    )


def _restore_own(state: State, own: OwnSection, owner_ids: Iterable[str], kept_at: Instant, now: Instant) -> None:
    for owner_id in owner_ids:
        state.owner(owner_id)
    generations = []
    for section in own.nonces:
        packed = base64.b64decode(section.names)
        nonces = struct.unpack(f"<{len(packed) // _NAME_BYTES}Q", packed)
        generations.append(
            Generation(
                moment_then(now, section.since_ns).monotonic_ns, section.oldest_ns, section.newest_ns, set(nonces)
            )
        )
    if generations:
        # The youngest was still growing, so its last nonce may be from this moment.
        generations[-1] = generations[-1]._replace(since_ns=now.monotonic_ns)
    state.nonces.load(
        kept_at,
        own.horizon_ns,
        [generation for generation in generations if generation.nonces],
        [Forgotten(*stretch) for stretch in own.forgotten],
        own.clock_lag_ns,
    )
    failures = own.failures
    recent = [(moment_then(now, since_ns).monotonic_ns, count) for since_ns, count in failures.recent]
    state.failures.load(failures.by_reason, failures.unattributed, recent)


def _restore_tables(state: State, file: LoadedFile, now: Instant) -> None:
    for table in state.tables:
        table.fill(state, file.records, now)


def _restore_routine(stream: RoutineStream, section: StreamSection, events: list[Event]) -> None:
    stream.start_after(section.sequence, section.hash)
    for at in section.events:
        event = events[at]
        policy_id = msgspec.json.decode(event.metadata)["policy_id"]
        stream.append(event.id[4:], event.object_id, policy_id, event.created_ns)
    _require_head(stream, section)


def _restore_stream(stream: EventStream, section: StreamSection, events: list[Event]) -> None:
    stream.start_after(section.sequence, section.hash)
    for at in section.events:
        stream.append(events[at])
    _require_head(stream, section)


def _require_head(stream: RoutineStream | EventStream, section: StreamSection) -> None:
    if stream.hash != section.head:
        raise StateFileError("an audit stream in it does not end in its head: give an intact copy of it")


def _share_out(state: State, events: list[Event]) -> None:
    """Add events from elsewhere to the streams of the owners they concern: the actor, and the owner of the object."""
    for event in events:
        metadata = msgspec.json.decode(event.metadata)
        worker = state.workers.get(event.object_id)
        if (
            event.type == "worker_heartbeat"
            and worker is not None
            and event.actor == f"worker:{worker.id}"
            and metadata.keys() == {"policy_id"}
            and POLICY_ID.fits(str(metadata["policy_id"]))
        ):
            worker.owner.routine.append(event.id[4:], worker.id, metadata["policy_id"], event.created_ns)
            continue
        name = stream_of(event.type)
        # As elsewhere, a refusal creates no owner, and a granted request does.
        find = state.owners.get if name == REFUSED else state.owner
        owners = [owner for owner in map(find, _concerned(state, event)) if owner is not None]
        streams = [{REFUSED: owner.refused, MARKET: owner.market}.get(name, owner.notable) for owner in owners]
        for stream in streams or [state.market_of_agents if is_granted(event.type) else state.unattributed]:
            stream.append(event)


def _concerned(state: State, event: Event) -> dict[str, None]:
    """Return the ids of the owners that an event concerns, each once."""
    owners: dict[str, None] = {}
    kind, _, name = event.actor.partition(":")
    for worker in (state.workers.get(event.object_id), state.workers.get(name) if kind == "worker" else None):
        if worker is not None:
            owners[worker.owner.id] = None
    for record in (state.policies.get(event.object_id), state.consents.get(event.object_id)):
        if record is not None:
            owners[record.owner_id] = None
    if kind == "owner" and name:
        owners[name] = None
    return owners
