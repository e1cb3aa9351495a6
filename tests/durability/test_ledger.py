"""The judge of the durability tests, judged: each way in which a server can err after a restart is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulator.checkers.audit_chain import event_hash
from tests.durability.ledger import Ledger
from tests.durability.ledger_records import FIRST_HEAD, Event, Policy

OWNER = "ada"


class Audit:
    """An owner's audit as a right server would keep it."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: str, object_id: str, stream: str = "notable", **metadata: Any) -> Event:
        """Add an event to a chain."""
        sequence, previous_hash = self.head(stream)
        event: Event = {
            "id": f"aud_{len(self.events):016x}",
            "type": kind,
            "actor": f"owner:{OWNER}",
            "object_id": object_id,
            "metadata": metadata,
            "created_at": "2026-11-24T00:00:00Z",
            "stream": stream,
            "sequence": sequence + 1,
            "previous_hash": previous_hash,
        }
        event["hash"] = event_hash(event)
        self.events.append(event)
        return event

    def head(self, stream: str) -> tuple[int, str]:
        """Return the newest sequence and hash of a stream."""
        chain = [(event["sequence"], event["hash"]) for event in self.events if event["stream"] == stream]
        return chain[-1] if chain else FIRST_HEAD

    def heads(self) -> dict[str, Any]:
        """Return the heads as a list shows them."""
        return {
            stream: dict(zip(("sequence", "hash"), self.head(stream), strict=True))
            for stream in ("routine", "notable", "refused")
        }


@pytest.fixture
def ledger() -> Ledger:
    """Return the ledger of an owner that has two machines, both acknowledged, and a third that was not."""
    made = Ledger("token", OWNER, np.random.default_rng(1))
    for worker_id in ("wrk_1", "wrk_2"):
        step = made.register()
        made.asked(step)
        made.answered(
            step,
            {
                "machine": {"id": worker_id},
                "machine_token": "token",
                "machine_certificate": {"certificate_id": f"mcert_of_{worker_id}"},
            },
        )
    made.asked(made.register())
    return made


@pytest.fixture
def audit() -> Audit:
    """Return the audit of the two acknowledged machines."""
    made = Audit()
    for number in (1, 2):
        made.add("machine_registered", f"wrk_{number}", name=f"machine {number} of {OWNER}")
    return made


def judged(ledger: Ledger, audit: Audit) -> str:
    return "\n".join(ledger.take_events(audit.events, audit.heads()))


def test_what_was_acknowledged_is_enough(ledger: Ledger, audit: Audit) -> None:
    """A change without answer may be absent, and then there is nothing of it."""
    assert judged(ledger, audit) == ""
    assert not ledger.strangers


def test_a_change_without_answer_may_be_there_as_a_whole(ledger: Ledger, audit: Audit) -> None:
    """Then it must be there everywhere from now on."""
    audit.add("machine_registered", "wrk_3", name=f"machine 3 of {OWNER}")
    assert judged(ledger, audit) == ""
    assert ledger.strangers == {"wrk_3"}


def test_a_change_without_answer_may_not_be_there_twice(ledger: Ledger, audit: Audit) -> None:
    for number in (3, 4):
        audit.add("machine_registered", f"wrk_{number}", name=f"machine 3 of {OWNER}")
    assert "nobody asked for" in judged(ledger, audit)


def test_an_acknowledged_change_that_is_gone_is_named(ledger: Ledger, audit: Audit) -> None:
    del audit.events[1]
    assert "acknowledged ('machine_registered', 'machine 2 of ada') of wrk_2 lost" in judged(ledger, audit)


def test_an_acknowledged_change_that_is_another_is_named(ledger: Ledger) -> None:
    """The machine that was acknowledged is gone, though one of its name is there."""
    other = Audit()
    other.add("machine_registered", "wrk_1", name=f"machine 1 of {OWNER}")
    other.add("machine_registered", "wrk_9", name=f"machine 2 of {OWNER}")
    found = judged(ledger, other)
    assert "wrk_2 lost" in found
    assert "nobody asked for" in found


def test_a_refused_change_that_was_applied_is_named(ledger: Ledger, audit: Audit) -> None:
    ledger.policies["pol_1"] = policy = Policy({}, 1)
    ledger.asked(ledger.refusal())
    audit.add("policy_activated", "pol_1", version=policy.version)
    assert "of ('policy_activated', 'pol_1') that nobody asked for, or that were refused" in judged(ledger, audit)


def test_a_failed_change_that_was_applied_is_named(ledger: Ledger, audit: Audit) -> None:
    """An answer of 500 promises that nothing was changed (contract §7)."""
    step = ledger.create_policy()
    ledger.asked(step)
    ledger.failed(step)
    audit.add("policy_created", "pol_1", version=1)
    assert "of ('policy_created', '1') that nobody asked for" in judged(ledger, audit)


def test_more_refusals_than_were_asked_for_are_named(ledger: Ledger, audit: Audit) -> None:
    ledger.policies["pol_1"] = Policy({}, 1)
    ledger.asked(ledger.refusal())
    for _ in range(2):
        audit.add("owner_access_denied", "pol_1", reason="not_the_owner")
    assert "2 refusals in the audit, of 1 that were" in judged(ledger, audit)


def test_a_refusal_that_was_answered_and_is_gone_is_named(ledger: Ledger, audit: Audit) -> None:
    """Its answer waited for its event to be durable, as every other answer does."""
    ledger.policies["pol_1"] = Policy({}, 1)
    for _ in range(20):
        step = ledger.refusal()
        ledger.asked(step)
        ledger.answered(step, {})
    assert f"0 refusals in the audit, of {ledger.refused_and_answered} answered ones" in judged(ledger, audit)


def test_a_head_that_was_shown_and_is_another_now_is_named(ledger: Ledger, audit: Audit) -> None:
    """What a reader saw is as durable as what a writer was told."""
    audit.add("machine_registered", "wrk_3", name=f"machine 3 of {OWNER}")
    step = ledger.look()
    ledger.answered(step, {"heads": audit.heads()})
    del audit.events[2]
    audit.add("owner_access_denied", "pol_1", reason="not_the_owner")
    ledger.refused = 1
    assert "notable event 3 was shown before the kill and is another now" in judged(ledger, audit)


@pytest.mark.parametrize("field", ["sequence", "previous_hash", "hash", "actor"])
def test_a_chain_that_is_broken_is_named(ledger: Ledger, audit: Audit, field: str) -> None:
    audit.events[0] |= {field: 5 if field == "sequence" else "0" * 63 + "1"}
    assert "notable" in judged(ledger, audit)


def test_a_list_cut_off_at_its_end_is_named(ledger: Ledger, audit: Audit) -> None:
    heads = audit.heads()
    del audit.events[1]
    assert "the notable chain ends in 1, and its head is 2" in "\n".join(ledger.take_events(audit.events, heads))


def test_the_next_reading_goes_on_where_the_last_one_ended(ledger: Ledger, audit: Audit) -> None:
    judged(ledger, audit)
    older = len(audit.events)
    audit.add("machine_registered", "wrk_7", name="not hers")
    found = "\n".join(ledger.take_events(audit.events[older:], audit.heads()))
    assert found == f"{OWNER}: 1 of ('machine_registered', 'not hers') that nobody asked for, or that were refused"
