"""Tables that are full refuse new rows with 503, and go on serving what is in them."""

from __future__ import annotations

from reference_server.core.keeping.accounts import SECTION as ACCOUNTS
from reference_server.core.market.ledger import FEES, FUNDING, PAYOUTS
from reference_server.core.tables import TABLES
from reference_server.limits import MARKET_ACCOUNTS_MAX, OWNERS_MAX
from tests.core.server_under_test import (
    RULES,
    TOKEN,
    UNKNOWN_WORKER,
    Server,
    canonical,
    hmac_base64,
    owner_headers,
    with_room,
)

FULL = (503, "capacity reached")


def register(server: Server, owner_id: str) -> tuple[int, str]:
    body = {"owner_id": owner_id, "name": "a machine"}
    return server.send("POST", "/machines/register", body, owner_headers()).error


def create_policy(server: Server, owner_id: str) -> tuple[int, str]:
    signature = hmac_base64(TOKEN, f"{owner_id}|{canonical(RULES)}")
    body = {"owner_id": owner_id, "rules": RULES, "signature": signature}
    return server.send("POST", "/policies", body, owner_headers()).error


def test_a_file_has_room_for_the_accounts_of_owners_who_only_earn() -> None:
    """They are paid when all accounts that may begin have begun, and what was written has to be read again."""
    assert ACCOUNTS.most == MARKET_ACCOUNTS_MAX + OWNERS_MAX + len({FEES, FUNDING, PAYOUTS})


def test_machines_are_bounded() -> None:
    server = Server(with_room(TABLES, machines=2))
    assert [register(server, "ada") for _ in range(3)] == [(201, ""), (201, ""), FULL]
    assert server.metrics()["hatchfarm_workers_total"] == 2
    assert server.audit("ada")["total"] == 2


def test_policies_are_bounded() -> None:
    server = Server(with_room(TABLES, policies=2))
    assert [create_policy(server, "ada") for _ in range(3)] == [(201, ""), (201, ""), FULL]


def test_consents_are_bounded() -> None:
    server = Server(with_room(TABLES, consents=1))
    machine = server.register()
    first, second = server.policy(), server.policy()
    consent_id = server.consent(machine, first)
    assert server.consent(machine, first) == consent_id
    body = {"owner_id": "ada", "worker_id": machine.id, "policy_id": second}
    body["signature"] = hmac_base64(TOKEN, f"ada|{machine.id}|{second}")
    assert server.send("POST", "/consents", body, owner_headers()).error == FULL
    assert server.beat(machine, first, "nonce").status == 200


def test_owners_are_bounded() -> None:
    server = Server(with_room(TABLES, owners=1))
    assert register(server, "ada") == (201, "")
    assert register(server, "bob") == FULL
    assert create_policy(server, "bob") == FULL
    assert register(server, "ada") == (201, "")
    # What a stranger is denied has nowhere to be shown but with who knows the object.
    assert server.send("POST", f"/machines/{UNKNOWN_WORKER}/certificate", None, owner_headers("eve")).status == 401
    assert set(server.api.state.owners) == {"ada"}
    assert len(server.api.state.unattributed) == 1
