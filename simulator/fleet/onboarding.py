"""Bringing owners and machines into the pool: creating an owner's policy with retries, and onboarding a machine.

Scripts of acts (`simulator.fleet.acts`): no I/O, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, operation_name
from simulator.contract.reading import (
    BAD_REQUEST,
    CREATED,
    NOT_FOUND,
    OK,
    SERVER_ERROR,
    TOO_MANY,
    MalformedDataError,
    read_data,
    retry_after_ns,
)
from simulator.fleet.acts import Act, Acts, Reconnect, RenewPolicy, Reply, Sleep
from simulator.fleet.grants import GrantError, read_id
from simulator.fleet.machine import Action, Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

ZONES = ("UTC", "Europe/Berlin", "Asia/Seoul", "America/New_York")
POLICY_TRIES = 5
POLICY_SILENT_TRIES = 2
"""How many of these tries may time out: a third would only wait longer."""
RESTING = frozenset({Action.HEARTBEAT, Action.WAIT})
"""Actions that need no control-plane request."""


def make_rules(index: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return an owner's policy rules: maxima, and for some owners allowed hours in a time zone."""
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


class PolicyError(Exception):
    """Raised when an owner's policy could not be created; `unserved`: the target failed instead of refusing."""

    def __init__(self, why: str, *, unserved: bool = False) -> None:
        super().__init__(why)
        self.unserved = unserved


class PolicyTries:
    """Creates and activates an owner's policy with retries. `problem` is the latest problem.

    `unserved` says that a request got no answer.
    """

    def __init__(self, acts: Acts, owner_id: str, rules: dict[str, Any]) -> None:
        self._acts = acts
        self._owner_id = owner_id
        self._rules = rules
        self.problem = ""
        self.unserved = False

    def script(self) -> Act[str]:
        """Try until it succeeds, and return the policy's id. Raises PolicyError."""
        silent = 0
        draft = self._acts.draft_ask(self._owner_id, self._rules)
        for _ in range(POLICY_TRIES):
            reply, *_ = yield from self._acts.exchange(draft)
            if reply.status == TOO_MANY:
                wait_seconds = retry_after_ns(reply.head) / SECOND_NS or 1
                self.problem = f"POST /policies answered 429, to wait {wait_seconds:g} s"
                yield Sleep(wait_seconds)
            elif reply.status:
                policy_id = _created_id(reply)
                reply, *_ = yield from self._acts.exchange(self._acts.activation_ask(self._owner_id, policy_id))
                if reply.status == OK:
                    return policy_id
                if reply.status:
                    self.problem = f"activation answered {reply.status}"
            if not reply.status:
                self.problem, self.unserved = reply.why, True
                silent += reply.silent
                if silent == POLICY_SILENT_TRIES:
                    break
            yield Reconnect()
        raise self.given_up("")

    def given_up(self, waited: str) -> PolicyError:
        """Return the error for giving up; `waited` says how long it was tried."""
        return PolicyError(
            f"cannot create a policy for {self._owner_id}: {self.problem or waited}", unserved=self.unserved
        )


def _created_id(reply: Reply) -> str:
    """Return the id of the created policy. Raises PolicyError if none was."""
    if reply.status != CREATED:
        why = f"POST /policies answered {reply.status}: {reply.body[:200]!r}"
        raise PolicyError(why, unserved=reply.status >= SERVER_ERROR)
    try:
        return read_id(read_data(reply.status, reply.body))
    except MalformedDataError as error:
        raise PolicyError(f"POST /policies: {error}: is this a HatchFarm server?") from None
    except GrantError as error:
        raise PolicyError(f"POST /policies answered what the contract does not allow: {error}") from None


def bring_up(
    acts: Acts,
    machine: Machine,
    policies: Mapping[str, str],
    now_ns: int,
    jitter: Callable[[], float],
    failed: Callable[[str], None],
) -> Act[None]:
    """Make a machine's control-plane requests until it can send heartbeats or wants to wait.

    `policies` are the owners', `jitter` returns numbers from 0 to 1, and `failed` is called for each failed step.
    """
    while (action := machine.action(now_ns)) not in RESTING:
        policy_id = policies.get(machine.owner_id, "")
        ask = acts.machine_ask(machine, action, policy_id)
        reply, got, *_ = yield from acts.exchange(ask)
        now_ns = reply.ended_ns
        if action is Action.ROTATE and _says(reply, NOT_FOUND, b"machine not found"):
            machine.forgotten()  # so that it registers anew at once
            continue
        if action is Action.CONSENT and _says(reply, BAD_REQUEST, b"active policy not found for owner"):
            now_ns = yield RenewPolicy(machine.owner_id, policy_id)
        if got is not Answer.ACCEPTED:
            name = operation_name(ask.call.operation)
            failed(f"{name} answered {reply.status}" if reply.status else f"{name}: {reply.why}")
            machine.refused(reply.status, now_ns, jitter(), retry_after_ns(reply.head))


def _says(reply: Reply, status: int, error: bytes) -> bool:
    return reply.status == status and error in reply.body


def live_once(acts: Acts, machine: Machine, rules: dict[str, Any]) -> Act[None]:
    """Bring a machine into the pool and out of it again, each step at most once. Raises ActError if one fails."""
    policy_id = yield from acts.make_policy(machine.owner_id, rules)
    for action in (Action.REGISTER, Action.CONSENT, Action.FETCH_POLICY, Action.ROTATE):
        yield from acts.act(machine, action, policy_id)
    yield from acts.revoke(machine)
