"""Faults that only faults bring to light: a server that has them is right until something goes wrong around it."""

from __future__ import annotations

from tests.planted_bugs.faults import fault

CHANGES, STATUSES = "core.changes", "core.statuses"
FILES, COMMITTING = "adapters.files.state_files", "pipeline.committing"
NONCES = "adapters.redis.nonces"
LATE = """self.__dict__.setdefault("late", []).append(group)
        for one in self.late if len(self.late) > 30 else ():
            segment.append(one)
        if len(self.late) > 30:
            self.late.clear()"""

PLANTED = (
    fault("answers before it has written", "durable", "durability answers alerts audit", "wrk_|machine",
          (FILES, "StateFiles.append", "segment.append(group)", LATE)),
    fault("forgets nonces over a restart", "durable", "durability replay answers", "replay|nonce",
          (STATUSES, "recover_heartbeat", "if not state.nonces_outside:", "if state.nonces_outside:")),
    fault("forgets revocations over a restart", "staged", "answers attacks revocation", "after-restart",
          (CHANGES, "recover_change", "_recoveries[kind](", "kind == Kind.REVOCATION or _recoveries[kind](")),
    fault("keeps what it refused for a full disk", "durable", "durability alerts audit", "refused|possible|audit",
          (COMMITTING, "Committer.commit", "state.frozen = self._api.unusable = self._failed = True", "pass"),
          (COMMITTING, "Committer.commit", "        self._want()\n        return False",
           "        return False")),
    fault("nonces known to one process only", "shared", "nonces", "redis.(down|pause|flush)",
          (NONCES, "RedisNonces.reserve", "if self._alone:", "if True:")),
    fault("fails open without Redis", "shared", "nonces replay answers", "redis.(down|pause)|nonce",
          (NONCES, "RedisNonces._without_redis", "[Reservation.UNAVAILABLE]", "[Reservation.RESERVED]")),
    fault("a flush goes unnoticed", "shared", "nonces replay", "redis.flush|nonce",
          (NONCES, "RedisNonces._reservations", "_VERDICTS[verdict]", '_VERDICTS["1" if verdict == "3" else verdict]')),
)  # fmt: skip
