"""Targets that hang, close, answer garbage or without end, or refuse everything, from each moment of a run on.

At the check there is one message and exit code 2. Later the run ends all the same, says what kept the answers away, and
that those which the run itself did not cut off are missing, or are failures, proves the target wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.broken_targets import faults
from tests.broken_targets.proxy import Moment
from tests.broken_targets.runs import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    UNUSABLE,
    Case,
    Ended,
    assert_ended_well,
    play_all,
)
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from tests.broken_targets.proxy import Fault

AFTER_THE_RUN = {Moment.LAST_SCRAPE, Moment.LISTS}
LATER = [moment for moment in Moment if moment is not Moment.CHECK]
LIMITED = b'{"success":false,"error":"rate limit exceeded"}'
NOT_FOUND = b'{"success":false,"error":"not found"}'


class Kind(NamedTuple):
    """One way not to answer: what is said of it at the check, and later, and what it proves while the fleet runs."""

    fault: Fault
    says: str
    later: str
    proves: tuple[int, ...] = (FAIL,)
    at_check: tuple[int, ...] = (UNUSABLE,)
    after: tuple[int, ...] = (INCONCLUSIVE,)

    def words(self, moment: Moment) -> str:
        """Return what must be said of it; a list that takes too long is given up before its answer is."""
        if moment is Moment.LISTS and self.later in {"no whole answer", "429"}:
            return "audit list: no whole "
        return self.later


LATE = "no whole answer within 1.5 s"
ANSWERED = "scrapes, got an answer"
MAY_PASS = (PASS, INCONCLUSIVE)
"""On a busy machine not every script comes to its end within three seconds."""
MAY_END = (FAIL, INCONCLUSIVE)
"""What the end of the run cuts off before its patience has ended proves nothing."""
CLOSED = "closed before the answer was whole"
KINDS = {
    "hangs": Kind(faults.hang, LATE, "no whole answer", MAY_END),
    "a byte a second": Kind(faults.dribble, LATE, "no whole answer", MAY_END),
    "answers late": Kind(faults.late(2.5), LATE, "no whole answer", MAY_END),
    "says too long a length": Kind(faults.length_off_by(50), LATE, "no whole answer", MAY_END),
    "closes at once": Kind(faults.close_at_once, CLOSED, CLOSED),
    "closes midway": Kind(faults.close_midway, CLOSED, CLOSED),
    "resets": Kind(faults.reset, "Connection reset", "Connection reset"),
    "dies": Kind(faults.die, "cannot be reached", "Connection refused"),
    "garbage": Kind(faults.says(b"\x00\xff\x17 garbage\r\n\r\n" * 9), "no HTTP answer", "no HTTP answer"),
    "another protocol": Kind(faults.says(b"SSH-2.0-OpenSSH_9.9\r\n"), "no HTTP answer: not HTTP", "not HTTP"),
    "speaks TLS": Kind(faults.says(b"\x15\x03\x03\x00\x02\x02\x28"), "write https://", "it speaks TLS"),
    "says too short a length": Kind(
        faults.length_off_by(-5), "no HTTP answer", "nobody had asked for", (FAIL,), after=(FAIL,)
    ),
    "garbage for chunks": Kind(
        faults.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nzz"),
        "no HTTP answer",
        "no HTTP answer",
    ),
    "no status": Kind(faults.says(b"HTTP/1.1 000 None\r\ncontent-length: 0\r\n\r\n"), "no status", "no status"),
    "headers without end": Kind(
        faults.endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 1000), "a head without end", "a head without end"
    ),
    "a body without end": Kind(
        faults.endless(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n%b\r\n" % faults.BOUNDLESS_PART
        ),
        "cannot be reached",
        "no ",  # either it is too long, or it is too late
        MAY_END,
    ),
    "500 and a page": Kind(faults.status(500), "answered 500", "500"),
    "503": Kind(faults.status(503, NOT_FOUND), "answered 503", "503"),
    "429 for a day": Kind(faults.status(429, LIMITED, b"Retry-After: 86400"), "answered 429", "429", (INCONCLUSIVE,)),
    "404": Kind(faults.status(404, NOT_FOUND), "answered 404", "404"),
    "redirects": Kind(
        faults.status(302, b"", b"Location: http://127.0.0.1:1/x"),
        "answered 302, to http://127.0.0.1:1/x",
        "302",
    ),
    "HTTP/1.0": Kind(faults.old_http, ANSWERED, ANSWERED, MAY_PASS, MAY_PASS, MAY_PASS),
    "answers a little late": Kind(faults.late(0.2), "", "", MAY_PASS, MAY_PASS, MAY_PASS),
}


def cases() -> list[Case]:
    """Every kind from the start, and from each later moment in turn, or from all of them."""
    made = []
    for number, (name, kind) in enumerate(KINDS.items()):
        made.append(Case(f"{name} {Moment.CHECK.value}", kind.fault, Moment.CHECK, kind.at_check, (kind.says,)))
        for moment in LATER if SOAK else [LATER[number % len(LATER) - 1]]:
            codes = kind.after if moment in AFTER_THE_RUN else kind.proves
            made.append(Case(f"{name} {moment.value}", kind.fault, moment, codes, (kind.words(moment),)))
    return made


CASES = {case.name: case for case in cases()}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended | BaseException]:
    """What came of every case."""
    return play_all(list(CASES.values()), tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", CASES)
def test_a_run_ends_in_time_and_says_what_kept_the_answers_away(
    ended: dict[str, Ended | BaseException], name: str
) -> None:
    assert_ended_well(CASES[name], ended[name])
