"""Reading everything back after a restart, and holding it against what every client knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.clock import SystemClock
from simulator.client.connection import ControlConnection
from simulator.client.target import Target, machine_source, owner_source, parse_target
from simulator.contract.answers import Operation
from simulator.contract.reading import read_data
from simulator.fleet.requests import ApiCall, activate_call, consent_call, owner_headers, revoke_call
from tests.durability.ledger_records import BAD_REQUEST, CONFLICT, CREATED, FORBIDDEN, HOST, OK, UNAUTHORIZED, Event
from tests.durability.writing import TOKEN, WRITERS, Beater, Pipeline, World, heartbeat_message

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.durability.ledger import Ledger

STATUS_KEPT = frozenset({"worker_id", "last_heartbeat", "policy_id", "updated_at"})
"""What of a status does not pass with time."""
PAGE = 500
"""The longest list there is (contract §1)."""
AT_ONCE = 64
"""Copies on their way together: what the kernel takes for a reader that is not there yet."""
OLD_SAMPLE = 2
"""Records of each owner that nothing happened to, and that are looked at all the same, each time."""
REPLAYED = re.compile(rb'hatchfarm_worker_auth_failures_by_reason_total\{reason="nonce_replayed"\} ([0-9]+)')
_clock = SystemClock()


class Reader:
    """Reads one owner's state back and collects in `problems` whatever contradicts the ledger."""

    def __init__(self, connection: ControlConnection, ledger: Ledger, problems: list[str]) -> None:
        self._connection = connection
        self._ledger = ledger
        self._problems = problems

    def _say(self, what: str) -> None:
        self._problems.append(f"{self._ledger.owner_id}: {what}")

    async def _get(self, path: str) -> dict[str, Any]:
        headers = owner_headers(TOKEN, self._ledger.owner_id)
        message = ApiCall(Operation.OTHER, "GET", path, headers).message(HOST)
        answer = await self._connection.exchange(message)
        return read_data(answer.status, answer.body)

    async def read(self, ids: Collection[Any]) -> None:
        """Read the audit and the statuses as a whole, and the named machines, policies and consents by trying."""
        await self._read_audit()
        await self._check_statuses()
        for probed in ids:
            if isinstance(probed, tuple):
                await self._probe_consent(*probed)
            elif probed in self._ledger.policies:
                await self._probe_policy(probed)
            elif probed in self._ledger.machines:
                await self._probe_machine(probed)

    async def _read_audit(self) -> None:
        """Read the events that are new. The older ones are in their hashes."""
        self._problems += self._ledger.take_events(*await self.events(self._ledger.events_read))

    async def events(self, first: int) -> tuple[list[Event], Event]:
        """Read the audit events from a place on, and the heads."""
        events: list[Event] = []
        while True:
            page = await self._get(f"/audit/events?limit={PAGE}&offset={first + len(events)}")
            events += page["events"]
            if len(page["events"]) < PAGE:
                return events, page["heads"]

    async def statuses(self) -> list[Event]:
        """Read the statuses of the owner's workers, but for how old they are."""
        found: list[Event] = []
        while True:
            page = await self._get(f"/workers/statuses?limit={PAGE}&offset={len(found)}")
            found += [{key: status[key] for key in status if key in STATUS_KEPT} for status in page["workers"]]
            if len(page["workers"]) < PAGE:
                return found

    async def _check_statuses(self) -> None:
        ledger = self._ledger
        shown = await self.statuses()
        expected = {*ledger.machines, *ledger.strangers}
        found = [status["worker_id"] for status in shown]
        if sorted(expected) != found:
            self._say(f"{len(expected)} machines are known, and these differ: {expected.symmetric_difference(found)}")
        for status in shown:
            event = ledger.last_beats.get(status["worker_id"])
            last = None if event is None else (event["created_at"], event["metadata"]["policy_id"])
            heard = (status["last_heartbeat"], status["policy_id"]) if "last_heartbeat" in status else None
            if heard != last:
                self._say(f"{status['worker_id']} was last heard {heard}, and by its last event {last}")

    async def _probe(self, what: str, message: bytes, status: int, error: str = "") -> dict[str, Any]:
        """Ask what has a known answer, and changes nothing; give its data."""
        self._ledger.refused += status >= BAD_REQUEST
        answer = await self._connection.exchange(message)
        reported = msgspec.json.decode(answer.body)
        if answer.status != status or reported.get("error", error) != error:
            self._say(
                f"{what} is answered {answer.status} {reported.get('error', '')!r} in place of {status} {error!r}"
            )
            return {}
        data: dict[str, Any] = reported.get("data", {})
        return data

    def _compare(self, what: str, shown: Event | None, now: Event) -> Event | None:
        """Hold what the API showed before against what it shows now; what was lost with an answer is known from now."""
        if shown is not None and now and shown != now:
            self._say(f"{what} was {shown} and is {now}")
        return now or shown

    async def _probe_policy(self, policy_id: str) -> None:
        ledger, policy, what = self._ledger, self._ledger.policies[policy_id], f"policy {policy_id}"
        if not policy.active:
            await self._probe(what, activate_call(TOKEN, "nobody", policy_id).message(HOST), FORBIDDEN, "forbidden")
            for worker_id in list(ledger.machines)[:1]:
                message = consent_call(TOKEN, ledger.owner_id, worker_id, policy_id).message(HOST)
                await self._probe(
                    f"consent to draft {policy_id}", message, BAD_REQUEST, "active policy not found for owner"
                )
            return
        now = await self._probe(what, activate_call(TOKEN, ledger.owner_id, policy_id).message(HOST), OK)
        policy.shown = self._compare(what, policy.shown, now)
        if now and (now["rules"], now["version"], now["state"]) != (policy.rules, policy.version, "active"):
            self._say(f"{what} is {now} in place of {policy}")

    async def _probe_consent(self, worker_id: str, policy_id: str) -> None:
        ledger = self._ledger
        consent = ledger.consents.get((worker_id, policy_id))
        if consent is None:
            return
        what = f"consent {consent.id}"
        message = consent_call(TOKEN, ledger.owner_id, worker_id, policy_id).message(HOST)
        if consent.revoked:
            await self._probe(what, message, CONFLICT, "consent already revoked for this policy version")
            message = revoke_call(TOKEN, ledger.owner_id, consent.id).message(HOST)
        now = await self._probe(what, message, OK if consent.revoked else CREATED)
        consent.shown = self._compare(what, consent.shown, now)
        if now and (now["id"], "revoked_at" in now) != (consent.id, consent.revoked):
            self._say(f"{what} is {now} in place of {consent}")
        machine = ledger.machines[worker_id]
        if consent.revoked:
            message = heartbeat_message(machine, policy_id, _clock.now().wall_ns, f"revoked {consent.id}")
            await self._probe(f"a heartbeat under {what}", message, FORBIDDEN, "no active consent for worker/policy")

    async def _probe_machine(self, worker_id: str) -> None:
        ledger, machine, what = self._ledger, self._ledger.machines[worker_id], f"machine {worker_id}"
        headers = {"X-Machine-Token": machine.token, "X-Machine-Certificate-Id": machine.certificate_id}
        call = ApiCall(Operation.POLICY_FETCH, "GET", f"/workers/{worker_id}/policy", headers)
        live = [
            policy_id
            for (worker, policy_id), consent in ledger.consents.items()
            if worker == worker_id and not consent.revoked
        ]
        if not live:
            await self._probe(what, call.message(HOST), FORBIDDEN, "no active consent")
        else:
            policy_id = live[-1]
            now = await self._probe(what, call.message(HOST), OK)
            shown, consent = ledger.policies[policy_id].shown, ledger.consents[worker_id, policy_id]
            if now and shown is not None:
                self._compare(f"{what}'s policy", shown, now["policy"])
            if now and consent.shown is not None:
                self._compare(
                    f"{what}'s consent", {"at": consent.shown["effective_at"]}, {"at": now["consent_effective_at"]}
                )
        if machine.replaced_id:
            old = msgspec.structs.replace(call, headers={**headers, "X-Machine-Certificate-Id": machine.replaced_id})
            await self._probe(f"{what}'s replaced certificate", old.message(HOST), UNAUTHORIZED, "unauthorized")


async def _replayed(connection: ControlConnection) -> int:
    """Read how many replays the server has refused for their nonces."""
    call = ApiCall(Operation.OTHER, "GET", "/metrics", owner_headers(TOKEN), rooted=True)
    found = REPLAYED.search((await connection.exchange(call.message(HOST))).body)
    return 0 if found is None else int(found[1])


async def _replay_all(target: Target, world: World) -> list[str]:
    """Send every accepted heartbeat again, and those without answer; then genuine ones. Each has one right answer.

    One without answer was either accepted, and then its copy is a replay and its event is in the audit, or it was not,
    and then its copy is its first arrival.
    """
    problems: list[str] = []
    async with ControlConnection(target, owner_source(target, WRITERS)) as connection:
        before = await _replayed(connection)
        expected = 0
        for number, beater in enumerate(world.beaters):
            applied = world.fleet.surplus[beater.key]
            found = await _retry_doubtful(connection, world.fleet, beater)
            if found != applied:
                problems.append(f"{applied} heartbeats without answer are in the audit, and {found} nonces are known")
            async with Pipeline(target, machine_source(target, number)) as pipeline:
                copies = beater.replayed()
                for at in range(0, len(copies), AT_ONCE):
                    assert await pipeline.send(world.fleet, copies[at : at + AT_ONCE])
                assert await pipeline.send(world.fleet, [beater.heartbeat()])
            expected += found + len(copies)
        counted = await _replayed(connection) - before
        if counted != expected:
            problems.append(f"{counted} replays were refused for their nonces, of {expected}")
    return problems


async def _retry_doubtful(connection: ControlConnection, fleet: Ledger, beater: Beater) -> int:
    """Send heartbeats without answer again; give how many were refused as replays."""
    replays = 0
    for message in list(beater.doubtful):
        step = beater.again(message)
        answer = await connection.exchange(message)
        if answer.status == OK:
            fleet.asked(step)
            fleet.answered(step, {})
        else:
            assert answer.status == UNAUTHORIZED, answer
            fleet.refused += 1
            beater.settled_as_accepted(message)
            replays += 1
    return replays


async def shown(url: str, world: World) -> dict[str, Any]:
    """Return what the server shows of everybody's machines, audit and failures, but for what passes with time."""
    target = parse_target(url, TOKEN)
    found: dict[str, Any] = {}
    async with ControlConnection(target, owner_source(target, WRITERS)) as connection:
        for ledger in world.everyone:
            reader = Reader(connection, ledger, [])
            found[ledger.owner_id] = await reader.events(0), await reader.statuses()
        call = ApiCall(Operation.OTHER, "GET", "/metrics", owner_headers(TOKEN), rooted=True)
        lines = (await connection.exchange(call.message(HOST))).body.decode().splitlines()
        found["failures"] = [line for line in lines if line.startswith("hatchfarm_worker_auth_failures")]
    return found


async def read_back(url: str, world: World, *, everything: bool = False) -> list[str]:
    """Read everything that changed since the last time, and a sample of the rest. Gives what contradicts the world.

    Then every heartbeat is sent again, and a genuine one; in a world that is not contradicted, since it is built on.
    """
    target = parse_target(url, TOKEN)
    problems: list[str] = []

    async def read(number: int, ledger: Ledger) -> None:
        ids: dict[Any, None] = dict.fromkeys(ledger.touched)
        old = [*ledger.machines, *ledger.policies, *ledger.consents]
        if everything:
            ids |= dict.fromkeys(old)
        elif old:
            ids |= dict.fromkeys(old[int(chosen)] for chosen in world.rng.integers(len(old), size=OLD_SAMPLE))
        async with ControlConnection(target, owner_source(target, number)) as connection:
            await Reader(connection, ledger, problems).read(ids)
        ledger.touched.clear()

    async with trio.open_nursery() as nursery:
        for number, ledger in enumerate(world.everyone):
            nursery.start_soon(read, number, ledger)
    return problems or await _replay_all(target, world)
