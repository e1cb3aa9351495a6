"""One server and one model that are given the same requests, and every way in which they must agree."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.core.control_plane_model import ACCEPTED, Caller, Expected, Model, Sent, Verdict
from tests.core.control_plane_records import EVENTS_KEPT, FAILURE_THRESHOLD, NONCE_LIFE, REASONS, Event
from tests.core.server_under_test import STARTED, TOKEN, Answer, Server, canonical, owner_headers, timestamp_text

if TYPE_CHECKING:
    from reference_server.wire.values import Instant

FIRST_PREVIOUS_HASH = "0" * 64


class Learned(dict[str, Any]):
    """The data of an answer; the model asks for it only when it accepts."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.json.get("data", {}))
        self._answer = answer

    def __missing__(self, name: str) -> Any:
        raise AssertionError(f"the model accepts what the server answered with {self._answer.error}")


class Comparison:
    def __init__(self) -> None:
        self.server = Server(audit_events_per_stream=EVENTS_KEPT, auth_failure_threshold=FAILURE_THRESHOLD)
        self.model = Model(STARTED.wall_ns, STARTED.monotonic_ns)
        self.hashes: dict[tuple[str, str, int], str] = {}
        self._listed: dict[str, tuple[int, ...]] = {}

    @property
    def now(self) -> Instant:
        return self.server.now

    def pass_time(self, nanoseconds: int) -> None:
        self.server.pass_time(nanoseconds)
        self.model.wall, self.model.mono = self.now.wall_ns, self.now.monotonic_ns

    def step_wall(self, nanoseconds: int) -> None:
        self.server.step_wall(nanoseconds)
        self.model.wall = self.now.wall_ns

    # -- requests

    def post(self, caller: Caller, path: str, body: Any = None, machine_token: str = "") -> Answer:
        headers = owner_headers(caller.owner_id, TOKEN if caller.bearer_is_right else f"not-{TOKEN}")
        if machine_token:
            headers["x-machine-token"] = machine_token
        return self.server.send("POST", path, body, headers)

    def get(self, path: str, owner_id: str = "", query: str = "") -> Answer:
        return self.server.send("GET", path, None, owner_headers(owner_id), query=query)

    def agree(self, expected: Expected, answer: Answer, *, may_show_a_token: bool = False) -> None:
        if expected.error:
            assert answer.error == (expected.status, expected.error)
        else:
            assert answer.error == (expected.status, "")
            assert answer.data == expected.data
        shown = answer.body.decode() + repr(answer.headers)
        assert TOKEN not in shown
        if not may_show_a_token:
            assert [machine.id for machine in self.model.machines if machine.token in shown] == []

    def deliver(self, sent: Sent, *, by_lane: bool) -> None:
        """Send a heartbeat; where the contract leaves room, note what the server made of it."""
        possible = self.model.judge(sent)
        counted = dict(self.server.api.state.failures.by_reason)
        raw = json.dumps(sent.body).encode()
        if by_lane:
            answer = self.server.lane(sent.worker_id, sent.token, sent.certificate_id, raw)
        else:
            headers = {"x-machine-token": sent.token, "x-machine-certificate-id": sent.certificate_id}
            answer = self.server.send("POST", f"/workers/{sent.worker_id}/heartbeat", raw, headers, prefix="/v1")
        now_counted = self.server.api.state.failures.by_reason
        verdict = Verdict(*answer.error, "".join(name for name in REASONS if now_counted[name] != counted[name]))
        assert verdict in possible
        data = {"worker_id": sent.worker_id, "accepted": True} if verdict == ACCEPTED else None
        self.agree(Expected(verdict.status, verdict.error, data), answer)
        self.model.settle(sent, verdict)

    # -- what is read

    def check_changed_audits(self) -> None:
        for owner_id, streams in self.model.streams.items():
            lengths = tuple(map(len, streams.values()))
            if self._listed.get(owner_id) != lengths:
                self.check_audit(owner_id)
                self._listed[owner_id] = lengths

    def check_owners(self) -> None:
        """Nobody is an owner but who was granted something, and what concerns none is in nobody's stream."""
        state = self.server.api.state
        assert set(state.owners) == set(self.model.streams)
        shown = [state.unattributed.event(at) for at in range(len(state.unattributed))]
        assert [(event["type"], event["actor"], event["object_id"], event["metadata"]) for event in shown] == [
            (truth.type, truth.actor, truth.object_id[:64], truth.metadata) for truth in self.model.unattributed
        ]

    def check_audit(self, owner_id: str) -> None:
        """Compare an owner's whole list, event by event, hash by hash, and its heads."""
        shown = self.get("/audit/events", owner_id, "limit=500").data
        expected = self.model.audit(owner_id, "")
        assert len(shown["events"]) == shown["total"] == len(expected)
        for event, (stream, sequence, truth) in zip(shown["events"], expected, strict=True):
            truth.id = truth.id or self.model.learn(event["id"], "aud_", 16)
            assert event == self._chained(owner_id, stream, sequence, truth)
        lengths = {name: len(events) for name, events in self.model.streams.get(owner_id, {}).items() if events}
        assert shown["heads"] == {
            name: {"sequence": length, "hash": self.hashes[owner_id, name, length]} for name, length in lengths.items()
        }

    def _chained(self, owner_id: str, stream: str, sequence: int, truth: Event) -> dict[str, Any]:
        event = {
            "id": truth.id,
            "type": truth.type,
            "actor": truth.actor,
            "object_id": truth.object_id,
            "metadata": truth.metadata,
            "created_at": timestamp_text(truth.created_ns),
            "stream": stream,
            "sequence": sequence,
            "previous_hash": self.hashes[owner_id, stream, sequence - 1] if sequence > 1 else FIRST_PREVIOUS_HASH,
        }
        digest = hashlib.sha256(canonical(event).encode()).hexdigest()
        # What was shown once stays: an event that changed later would not fit the hash it had.
        assert self.hashes.setdefault((owner_id, stream, sequence), digest) == digest
        return {**event, "hash": digest}

    def check_audit_page(self, owner_id: str, kind: str, limit: int, offset: int) -> None:
        data = self.get("/audit/events", owner_id, f"type={kind}&limit={limit}&offset={offset}").data
        expected = self.model.audit(owner_id, kind)
        assert (data["total"], data["limit"], data["offset"]) == (len(expected), limit, offset)
        page = [(event["stream"], event["sequence"]) for event in data["events"]]
        assert page == [entry[:2] for entry in expected[offset : offset + limit]]

    def check_statuses(self, owner_id: str, limit: int = 100, offset: int = 0) -> None:
        answer = self.get("/workers/statuses", owner_id, f"limit={limit}&offset={offset}")
        if not owner_id:
            return self.agree(Expected(401, "unauthorized"), answer)
        statuses = self.model.statuses(owner_id)
        page = {"workers": statuses[offset : offset + limit], "total": len(statuses), "limit": limit, "offset": offset}
        return self.agree(Expected(200, data={**page, "stale_threshold": 60}), answer)

    def check_summary(self, owner_id: str) -> None:
        """Nobody is shown everybody's workers: they are counted in the metrics alone."""
        expected = Expected(200, data=self.model.summary(owner_id)) if owner_id else Expected(401, "unauthorized")
        self.agree(expected, self.get("/workers/summary", owner_id))

    def check_metrics(self) -> None:
        """Compare every published metric, and that one scrape agrees with itself."""
        shown = self.server.metrics()
        summary = self.model.summary("")
        failures = self.model.failures
        by_reason = "hatchfarm_worker_auth_failures_by_reason_total"
        exact = {
            "hatchfarm_uptime_seconds": (self.now.monotonic_ns - STARTED.monotonic_ns) / 1e9,
            "hatchfarm_workers_total": summary["total"],
            "hatchfarm_workers_stale_total": summary["stale"],
            "hatchfarm_workers_unknown_total": summary["unknown"],
            "hatchfarm_alert_stale_workers": int(summary["stale"] > 0),
            "hatchfarm_worker_auth_failures_total": len(failures),
            "hatchfarm_worker_auth_failures_unattributed_total": sum(not known for _, _, known in failures),
            "hatchfarm_rate_limited_total": 0,
            'hatchfarm_heartbeats_total{status="200"}': len(self.model.accepted),
            **{f'{by_reason}{{reason="{name}"}}': sum(name == each for _, each, _ in failures) for name in REASONS},
        }
        assert {name: shown[name] for name in exact} == exact
        assert {name for name in shown if name.startswith(by_reason)} < exact.keys()
        fewest, most = self.model.recent_failures()
        recent = shown["hatchfarm_worker_auth_failures_recent"]
        assert fewest <= recent <= most
        assert shown["hatchfarm_alert_worker_auth_failures"] == int(recent >= FAILURE_THRESHOLD)
        kept = sum(self.model.mono - each.mono <= NONCE_LIFE for each in self.model.accepted)
        assert kept <= shown["hatchfarm_nonces_live"] <= len(self.model.accepted)
