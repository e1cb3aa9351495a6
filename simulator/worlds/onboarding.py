"""What owners and machines do on the control plane: policies, registration, consent, policy fetch, rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.signing import sign_text
from simulator.fleet.machine import CERTIFICATE_MARGIN, SECOND_NS, Action, Machine
from simulator.history import HONEST, NEVER_NS, Answer, History, Operation
from simulator.limits import ONBOARDING_MAX_CONCURRENT
from simulator.worlds.answers import HttpAnswer, retry_after_ns
from simulator.worlds.control import ControlConnection, LostError, data_of, owner_headers
from simulator.worlds.target import Target, TargetError, machine_source, owner_source

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.worlds.progress import Progress

CERTIFICATE_LIFE_NS = 900 * SECOND_NS
NO_NONCE = b"\0" * 12
OK, CREATED, TOO_MANY, SERVER_ERROR = 200, 201, 429, 500
ZONES = ("UTC", "Europe/Berlin", "Asia/Seoul", "America/New_York")
POLICY_TRIES = 5


def make_rules(index: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make an owner's policy: maxima, and for some owners allowed hours in their time zone."""
    rules: dict[str, Any] = {
        "max_cpu_percent": int(rng.integers(40, 96)),
        "max_memory_percent": int(rng.integers(60, 96)),
        "max_gpu_percent": int(rng.integers(50, 101)),
    }
    if index % 3 == 0:
        first = int(rng.integers(24))
        rules["timezone"] = ZONES[index % len(ZONES)]
        rules["allowed_hours"] = sorted((first + hour) % 24 for hour in range(16))
    return rules


class Onboarding:
    """Does control-plane calls for machines, a bounded number at once, and records each in the history."""

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        now: Callable[[], int],
        rng: np.random.Generator,
        rotation_ns: int,
    ) -> None:
        self._target = target
        self._history = history
        self._progress = progress
        self._now = now
        self._rng = rng
        self._rotation_ns = min(rotation_ns, int(CERTIFICATE_LIFE_NS * (1 - CERTIFICATE_MARGIN)))
        self._limiter = trio.CapacityLimiter(ONBOARDING_MAX_CONCURRENT)
        self.policies: dict[str, str] = {}

    async def create_policies(self, owner_ids: list[str]) -> None:
        """Sign and activate one policy for each owner. Raises TargetError: without them there is no run."""

        async def create(index: int, owner_id: str) -> None:
            async with self._limiter:
                self.policies[owner_id] = await self._create_policy(index, owner_id)

        async with trio.open_nursery() as nursery:
            for index, owner_id in enumerate(owner_ids):
                nursery.start_soon(create, index, owner_id)

    async def _create_policy(self, index: int, owner_id: str) -> str:
        target = self._target
        rules = make_rules(index, self._rng)
        signature = sign_text(target.token.encode(), f"{owner_id}|{canonical_json(rules)}").decode()
        body = {"owner_id": owner_id, "rules": rules, "signature": signature}
        headers = owner_headers(target, owner_id)
        problem = ""
        for _ in range(POLICY_TRIES):
            try:
                async with ControlConnection(target, owner_source(target, index)) as connection:
                    answer = await connection.request("POST", "/policies", headers, body)
                    if answer.status == TOO_MANY:
                        await trio.sleep(retry_after_ns(answer.head) / 1e9 or 1)
                        continue
                    if answer.status != CREATED:
                        raise TargetError(f"POST /policies answered {answer.status}: {answer.body[:200]!r}")
                    policy_id = str(data_of(answer)["id"])
                    answer = await connection.request("POST", f"/policies/{policy_id}/activate", headers)
                    if answer.status == OK:
                        return policy_id
                    problem = f"activation answered {answer.status}"
            except LostError as error:
                problem = str(error)
        raise TargetError(f"cannot create a policy for {owner_id}: {problem}")

    async def serve(self, machine: Machine) -> None:
        """Do what a machine wants done on the control plane, until it wants to send heartbeats or to wait."""
        async with self._limiter:
            source = machine_source(self._target, machine.index)
            async with ControlConnection(self._target, source) as connection:
                while (action := machine.action(self._now())) not in {Action.HEARTBEAT, Action.WAIT}:
                    sent_ns = self._now()
                    operation = _OPERATIONS[action]
                    try:
                        answer = await self._call(connection, machine, action)
                        got = self._apply(machine, action, answer)
                    except trio.Cancelled:
                        self._record(machine, operation, sent_ns, NEVER_NS, 0, Answer.LOST)
                        raise
                    except LostError as error:
                        self._record(machine, operation, sent_ns, NEVER_NS, 0, Answer.LOST)
                        self._progress.onboarding_failures += 1
                        self._progress.last_problem = f"{operation.name.lower()}: {error}"
                        machine.refused(0, self._now(), float(self._rng.random()))
                        continue
                    self._record(machine, operation, sent_ns, self._now(), answer.status, got)
                    if got is not Answer.ACCEPTED:
                        self._progress.onboarding_failures += 1
                        self._progress.last_problem = f"{operation.name.lower()} answered {answer.status}"
                        wait_ns = retry_after_ns(answer.head)
                        machine.refused(answer.status, self._now(), float(self._rng.random()), wait_ns)

    def _record(
        self,
        machine: Machine,
        operation: Operation,
        sent_ns: int,
        answered_ns: int,
        status: int,
        got: Answer,
    ) -> None:
        self._history.append(
            sent_ns,
            sent_ns,
            answered_ns,
            NO_NONCE,
            machine.index,
            status,
            operation,
            Answer.ACCEPTED,
            got,
            HONEST,
        )

    async def _call(self, connection: ControlConnection, machine: Machine, action: Action) -> HttpAnswer:
        target, owner_id = self._target, machine.owner_id
        if action is Action.REGISTER:
            body = {"owner_id": owner_id, "name": machine.name}
            return await connection.request("POST", "/machines/register", owner_headers(target, owner_id), body)
        if action is Action.CONSENT:
            policy_id = self.policies[owner_id]
            text = f"{owner_id}|{machine.worker_id}|{policy_id}"
            body = {
                "owner_id": owner_id,
                "worker_id": machine.worker_id,
                "policy_id": policy_id,
                "signature": sign_text(target.token.encode(), text).decode(),
            }
            return await connection.request("POST", "/consents", owner_headers(target, owner_id), body)
        token = machine.token.decode()
        if action is Action.FETCH_POLICY:
            headers = {"X-Machine-Token": token, "X-Machine-Certificate-Id": machine.certificate_id}
            return await connection.request("GET", f"/workers/{machine.worker_id}/policy", headers)
        headers = {**owner_headers(target, owner_id), "X-Machine-Token": token}
        return await connection.request("POST", f"/machines/{machine.worker_id}/certificate", headers)

    def _apply(self, machine: Machine, action: Action, answer: HttpAnswer) -> Answer:
        """Let the machine take what it asked for."""
        if answer.status not in {OK, CREATED}:
            if answer.status == TOO_MANY:
                return Answer.RATE_LIMITED
            return Answer.UNAVAILABLE if answer.status >= SERVER_ERROR else Answer.UNEXPECTED
        now_ns = self._now()
        until_ns = now_ns + int(self._rotation_ns * (0.9 + 0.2 * float(self._rng.random())))
        try:
            data = data_of(answer)
            if action is Action.REGISTER:
                certificate_id = str(data["machine_certificate"]["certificate_id"])
                machine.registered(str(data["machine"]["id"]), str(data["machine_token"]), certificate_id, until_ns)
            elif action is Action.CONSENT:
                machine.consented = True
            elif action is Action.FETCH_POLICY:
                machine.fetched_policy(str(data["policy"]["id"]), dict(data["policy"]["rules"]), now_ns)
            else:
                machine.rotated(str(data["certificate_id"]), now_ns, until_ns)
        except (KeyError, TypeError, ValueError) as error:
            raise LostError(f"an answer without {error}") from error
        return Answer.ACCEPTED


_OPERATIONS = {
    Action.REGISTER: Operation.REGISTER,
    Action.CONSENT: Operation.CONSENT_CREATE,
    Action.FETCH_POLICY: Operation.POLICY_FETCH,
    Action.ROTATE: Operation.CERTIFICATE,
}
