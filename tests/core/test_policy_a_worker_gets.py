"""Which policy a worker is given, as its consents come and go (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.core.server_under_test import RULES, SECOND, Machine, Server, timestamp_text

if TYPE_CHECKING:
    from tests.core.server_under_test import Answer


def fetch(server: Server, machine: Machine) -> Answer:
    return server.send("GET", f"/workers/{machine.id}/policy", None, machine.headers)


def test_the_newest_unrevoked_consent_decides(server: Server) -> None:
    """Newest by when it was given, not by its policy's version, and whatever the wall clock says."""
    machine = server.register()
    first, second, third = (server.policy() for _ in range(3))
    consents = {}
    for policy_id in (second, third, first):
        server.step_wall(-SECOND)
        consents[policy_id] = server.consent(machine, policy_id)
        assert fetch(server, machine).data["policy"]["id"] == policy_id
        assert fetch(server, machine).data["consent_effective_at"] == timestamp_text(server.now.wall_ns)
    for revoked, left in ((third, first), (first, second)):
        server.revoke("ada", consents[revoked])
        assert fetch(server, machine).data["policy"]["id"] == left
    server.revoke("ada", consents[second])
    assert fetch(server, machine).error == (403, "no active consent")


def test_the_whole_policy_is_given(server: Server) -> None:
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    policy = fetch(server, machine).data["policy"]
    now = timestamp_text(server.now.wall_ns)
    signature = policy.pop("signature")
    assert policy == {
        "id": policy_id,
        "owner_id": "ada",
        "version": 1,
        "rules": RULES,
        "state": "active",
        "created_at": now,
        "updated_at": now,
    }
    assert len(signature) == 44


@pytest.mark.parametrize("fetches", [1, 5])
def test_a_fetch_is_no_sign_of_life_and_is_not_audited(server: Server, fetches: int) -> None:
    machine = server.register()
    server.consent(machine, server.policy())
    before = server.audit("ada")
    for _ in range(fetches):
        assert fetch(server, machine).status == 200
    assert server.audit("ada") == before
    assert server.metrics()["hatchfarm_workers_unknown_total"] == 1
