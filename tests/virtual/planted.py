"""Bugs that only interleaving or faults show: in the pipeline, in storage, and in the twins that stand for Redis."""

from __future__ import annotations

from tests.faults.planted import PLANTED as OF_FAULTS
from tests.planted_bugs.faults import fault

SHARING, COMMITTING = "pipeline.sharing", "pipeline.committing"
NONCES, SEGMENT, JOURNAL = "adapters.memory.nonces", "adapters.files.segment", "adapters.memory.shared_journal"
BEGUN = "self._begin_snapshot() if self._journal.due and self._may_snapshot() else False"
AGAIN = """for _ in range(100):
                try:
                    lease, read = await self._journal.acquire(self._place, 1.0)
                    read = await self._journal.release(self._place, lease, encode_changes(changes), fencing=fencing)
                    break
                except SharedDown:
                    await trio.sleep(0.05)
            else:
                raise SharedLost from None"""

LOOKED_BEFORE = """whole = [self._shared.is_whole(self._shared.now(request)) for request in asked]
            await self._pause()
            reservations = [
                self._shared.remember(request) if there else Reservation.UNAVAILABLE
                for request, there in zip(asked, whole, strict=True)
            ]"""

PLANTED = (
    fault("decides on what it had read before the lease", "shared", "audit durability contents ledger", "",
          (SHARING, "Sharer._decide_under_lease",
           "await self._apply(read, until - trio.current_time())\n    self._try(cases)", "self._try(cases)")),
    fault("keeps a lease past its end", "shared", "audit durability contents answers", "",
          (JOURNAL, "MemorySharedJournal._release",
           "if storage.lease != lease or storage.lease_until <= trio.current_time():", "if False:"),
          (JOURNAL, "MemorySharedJournal._step", "trio.move_on_after(max(0.0, seconds))", "trio.move_on_after(60)")),
    *(one for one in OF_FAULTS if one.name == "forgets nonces over a restart"),
    fault("acknowledges what is not synced", "durable", "durability audit alerts", "",
          (SEGMENT, "Segment.append", "self._disk.sync_data(self._file)", "pass")),
    fault("takes the snapshot after a later change", "durable", "durability audit contents alerts", "",
          (COMMITTING, "Committer.commit", f"begun = {BEGUN}", "begun = False"),
          (COMMITTING, "Committer.commit", "self._commits += 1", f"self._commits += 1\n    begun = {BEGUN}")),
    fault("reads on past a torn group", "durable", "durability audit", "",
          (SEGMENT, "SegmentReader._next",
           "if found != number or digest != _digest(self.header.name.encode(), number.to_bytes(8), content):",
           "if found != number:")),
    fault("appends again what may be there", "shared", "audit durability contents answers", "",
          (SHARING, "Sharer._decide_under_lease", "self._clean = False\n            raise SharedLost from None",
           f"self._clean = False\n            {AGAIN}"),
          (SHARING, "Sharer._decide_under_lease", "        raise\n", "        if not changes:\n            raise\n")),
    fault("lets a heartbeat overtake a revoke", "shared", "revocation answers credentials alerts", "",
          (JOURNAL, "MemorySharedJournal._accept", " or storage.fencing_token != place.fencing_token", ""),
          (SHARING, "Sharer._decide", "await self._read_on(until - trio.current_time())",
           "await trio.lowlevel.checkpoint()")),
    # The answer to a heartbeat shows no time: read twice for that, nobody could tell. What is journalled is shown.
    fault("reads the clock twice", "shared", "audit", "",
          (SHARING, "Sharer._decide_under_lease", "lease, read = await self._journal.acquire(",
           "asked_ns = self._clock.now().wall_ns\n    lease, read = await self._journal.acquire("),
          (SHARING, "Sharer._decide_under_lease", "encode_changes(changes) if changes",
           "encode_changes([(kind, asked_ns, *rest) for kind, _, *rest in changes]) if changes")),
    fault("lets two begin a term", "shared", "audit durability contents answers alerts", "",
          (JOURNAL, "SharedStorage.begin_term", "if self._elected != instance:", "if False:"),
          (JOURNAL, "SharedStorage.elect", "return Election.ELECTED if self._elected == instance else Election.WAIT",
           "return Election.ELECTED")),
    fault("looks at the canary apart from the reservation", "redis", "replay nonces", "",
          (NONCES, "MemoryNonces._ask",
           "reservations = [self._shared.reserve(request, fresh=self._fresh) for request in asked]", LOOKED_BEFORE)),
    fault("ends certificates by the wall clock", "clock", "answers credentials attacks", "",
          ("core.authentication", "authenticate_machine",
           "now.monotonic_ns >= worker.certificate.expires_monotonic_ns",
           "now.wall_ns >= worker.certificate.expires_ns")),
)  # fmt: skip
