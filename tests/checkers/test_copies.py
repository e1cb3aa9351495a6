"""A copy that the network made: as a replay it must be refused, unless what its machine had can have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.answers import check_answers
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.records import CertificateRecord, ConsentRecord, Fault, MachineRecord, Revocation
from simulator.history.rows import MIDDLEBOX, NEVER_NS, History
from simulator.worlds.players.copies import CopyRecorder
from tests.checkers.conftest import Story, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

COPIED = 20.0
NO_CONSENT, NO_CERTIFICATE = Answer.NO_CONSENT, Answer.INVALID_CERTIFICATE


def revoked(story: Story, at: float, took: float = 0.1, consent: int = 1) -> None:
    answered_ns = NEVER_NS if took < 0 else nanoseconds(at + took)
    story.history.revocations.append(Revocation(consent, nanoseconds(at), answered_ns))


def renewed(story: Story, at: float, machine: int = 0) -> None:
    ends_ns = nanoseconds(at), nanoseconds(at + 0.1)
    story.history.add_certificate(CertificateRecord(machine, "crt_new", *ends_ns, nanoseconds(900)))


def restarted(story: Story, at: float) -> None:
    at_ns = nanoseconds(at)
    story.history.faults.append(Fault("server.kill", at_ns, at_ns, at_ns, at_ns + SECOND_NS))


def story_of(answer: Answer, life: float = 900) -> Story:
    """Tell of a copy of a machine that had a consent and a certificate; another machine has a consent, too."""
    story = Story()
    for machine in (0, 1):
        ends_ns = nanoseconds(1), nanoseconds(1.1)
        story.history.add_consent(ConsentRecord(machine, "pol_1", f"cns_{machine}", *ends_ns))
        story.history.add_certificate(CertificateRecord(machine, f"crt_{machine}", *ends_ns, nanoseconds(life)))
    story.request(
        Operation.HEARTBEAT, 0, COPIED, answer, campaign=MIDDLEBOX, status=403, certificate=1, consent=1
    )  # fmt: skip
    return story


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (NO_CONSENT, lambda story: revoked(story, COPIED - 0.2)),
        (NO_CONSENT, lambda story: revoked(story, 15, took=-1)),
        (NO_CONSENT, lambda story: restarted(story, 15)),
        (NO_CERTIFICATE, lambda story: renewed(story, COPIED - 0.05)),
        (NO_CERTIFICATE, lambda story: story.request(Operation.CERTIFICATE, 0, 12, Answer.LOST)),
        (NO_CERTIFICATE, lambda story: restarted(story, 15)),
    ],
)
def test_a_copy_may_be_refused_for_what_can_have_ended(answer: Answer, ends: Callable[[Story], None]) -> None:
    story = story_of(answer)
    ends(story)
    assert check_answers(story.history, story.facts).figures["wrong"] == 0


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        (NO_CONSENT, lambda _: None),
        (NO_CONSENT, lambda story: revoked(story, COPIED - 0.2, consent=2)),
        (NO_CONSENT, lambda story: revoked(story, COPIED + 0.2)),
        (NO_CONSENT, lambda story: revoked(story, 2)),
        (NO_CONSENT, lambda story: renewed(story, COPIED - 0.05)),
        (NO_CERTIFICATE, lambda _: None),
        (NO_CERTIFICATE, lambda story: revoked(story, COPIED - 0.2)),
        (NO_CERTIFICATE, lambda story: renewed(story, COPIED - 0.05, machine=1)),
        (NO_CERTIFICATE, lambda story: renewed(story, COPIED + 1)),
    ],
)
def test_a_copy_must_be_refused_as_a_replay_where_nothing_ended(
    answer: Answer, ends: Callable[[Story], None]
) -> None:  # fmt: skip
    story = story_of(answer)
    ends(story)
    verdict = check_answers(story.history, story.facts)
    assert verdict.status is Status.FAIL
    assert verdict.figures["wrong"] == 1
    assert "replay" in verdict.findings[0].message


def test_a_certificate_that_ran_out_ends_by_itself() -> None:
    story = story_of(NO_CERTIFICATE, life=COPIED - 1)
    assert check_answers(story.history, story.facts).figures["wrong"] == 0


def request_of(worker: str) -> bytes:
    body = b'{"nonce":"' + b"ab" * 12 + b'"}'
    head = f"POST /api/v1/workers/{worker}/heartbeat HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Counted(list[CertificateRecord]):
    """Counts how often a record of it is read."""

    read = 0

    def __getitem__(self, at: int) -> CertificateRecord:  # type: ignore[override]
        """Count."""
        self.read += 1
        return super().__getitem__(at)


def test_records_are_read_once_however_many_copies_there_are() -> None:
    history = History()
    history.certificates = records = Counted()
    for machine in range(100):
        history.machines[machine] = MachineRecord(f"wrk_{machine}", "ada")
        history.add_certificate(CertificateRecord(machine, "crt", 0, 0, SECOND_NS))
    recorder = CopyRecorder(history, lambda: SECOND_NS, own_addresses=False)
    for _ in range(10):
        for machine in range(100):
            copy = recorder.begin(request_of(f"wrk_{machine}"), "127.0.0.1")
            assert copy is not None
            copy.ended(None)
        assert recorder.begin(request_of("wrk_nobody"), "127.0.0.1") is None
    assert records.read == 100
    renewed_number = history.add_certificate(CertificateRecord(7, "crt", 0, 0, SECOND_NS))
    copy = recorder.begin(request_of("wrk_7"), "127.0.0.1")
    assert copy is not None
    copy.ended(None)
    rows = history.rows()
    assert rows["certificate"].tolist() == [*range(1, 101)] * 10 + [renewed_number]
    assert set(rows["consent"].tolist()) == {0}
