"""What right servers, and honest proxies in front of them, may say differently is accused by nobody."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.answers import check_answers
from simulator.checkers.contents import check_contents
from simulator.checkers.facts import ClockFacts
from simulator.checkers.shown_times import server_clock
from simulator.checkers.verdict import Status
from simulator.client.answers import AnswerReader, HttpAnswer
from simulator.client.witness import Witness, waiting_bytes
from simulator.contract.heads import HeadMemory, check_head
from simulator.contract.parsed_request import parse_request
from simulator.history.records import CertificateShown, Fault, KeyReading, Shown, WallReading
from simulator.history.rows import History
from tests.lies.changing import everywhere, head
from tests.lies.world import FACTS, LyingWorld

if TYPE_CHECKING:
    from collections.abc import Callable

RIGHT = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: %b\r\nvary: Origin\r\ncontent-length: 2"
GET = b"GET /api/v1/status HTTP/1.1\r\nHost: here\r\n\r\n"


def chunked(answer: bytes) -> bytes:
    first, _, body = answer.partition(b"\r\n\r\n")
    if b" 404" in first[:16] or not body:
        return answer
    first = re.sub(rb"content-length: \d+", b"transfer-encoding: chunked", first)
    return first + b"\r\n\r\n%x;x=y\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body)


def spaced(answer: bytes) -> bytes:
    """Write JSON with spaces and fields in another order."""
    first, _, body = answer.partition(b"\r\n\r\n")
    if not body.startswith(b"{"):
        return answer
    decoded = msgspec.json.decode(body)
    turned = dict(reversed(decoded.items()))
    written = msgspec.json.format(msgspec.json.encode(turned), indent=2)
    return re.sub(rb"content-length: \d+", b"content-length: %d" % len(written), first) + b"\r\n\r\n" + written


HONEST_PROXIES: dict[str, Callable[[bytes], bytes]] = {
    "chunks": chunked,
    "more headers": head(rb"\Z", b"\r\nServer: nginx/1.27\r\nVia: 1.1 edge\r\nx-more: 1"),
    "capitals": head(rb"x-request-id", b"X-Request-Id"),
    "another date": head(rb"date: [^\r]+", b"date: Sat, 28 Nov 2026 15:00:00 GMT"),
    "no spaces": lambda answer: answer.replace(b"content-type: ", b"content-type:").replace(b"vary: ", b"vary:"),
    "an interim answer": lambda answer: b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n" + answer,
    "more to vary by": head(rb"vary: Origin", b"vary: Accept-Encoding, Origin"),
    "a charset": head(rb"application/json", b"application/json; charset=utf-8"),
    "spaces in JSON": spaced,
}


@pytest.mark.parametrize("name", HONEST_PROXIES)
def test_an_honest_proxy_is_no_liar(name: str) -> None:
    world = LyingWorld(everywhere(HONEST_PROXIES[name])).play()
    assert world.lied
    assert [finding.message for finding in world.findings()] == []


def test_a_head_that_differs_in_its_id_alone_is_not_read_again() -> None:
    memory, asked = HeadMemory(), parse_request(GET)
    assert memory.judge(asked, 200, RIGHT % b"0123456789abcdef") == []
    assert memory.recall(RIGHT % b"0123456789abcdee") == []
    for other in (b"0123456789abcdee", b"0123456789ABCDEF", b"0123456789abcde"):
        assert memory.recall(RIGHT % other) is None
    assert memory.recall((RIGHT % b"0123456789abcd00").replace(b" OK", b" Ok")) is None


def test_what_was_wrong_with_a_head_is_wrong_with_the_next() -> None:
    memory, asked = HeadMemory(), parse_request(GET)
    bare = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nvary: Origin\r\ncontent-length: 2"
    first = memory.judge(asked, 200, bare)
    assert [one.rule for one in first] == ["request-id"]
    assert memory.recall(bare) == first
    assert memory.recall(bare + b"\r\nx: y") is None


def test_a_clients_own_request_id_is_never_echoed() -> None:
    asked = parse_request(GET.replace(b"\r\n\r\n", b"\r\nX-Request-ID: 0123456789abcdef\r\n\r\n"))
    assert [one.rule for one in check_head(asked, 200, RIGHT % b"0123456789abcdef")] == ["request-id"]
    assert list(check_head(asked, 200, RIGHT % b"0123456789abcdee")) == []


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1", "/hatch/farm/v1", "/hatch/api/v1"])
def test_a_path_is_read_whatever_it_is_mounted_under(prefix: str) -> None:
    asked = parse_request(f"GET {prefix}/audit/events?limit=5&type=x HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert asked is not None
    assert (asked.path, asked.rooted, asked.parameters()) == ("/audit/events", False, {"limit": "5", "type": "x"})


@pytest.mark.parametrize("message", [b"", b"GET / HTTP/1.1", b"G\0T / HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"])
def test_a_request_of_another_form_is_not_judged_by(message: bytes) -> None:
    assert parse_request(message) is None


def test_an_answer_and_what_comes_behind_it_are_told_apart() -> None:
    answer = (RIGHT % b"0123456789abcdef") + b"\r\n\r\n{}"
    read = AnswerReader().feed(answer + b"HTTP/1.1 200 OK\r\n")
    assert read is not None
    assert (read.body, read.surplus, read.keep) == (b"{}", b"HTTP/1.1 200 OK\r\n", False)
    coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for behind in (coded, b"more"):
        read = AnswerReader().feed(coded + behind)
        assert read is not None
        assert (read.body, read.keep) == (b"{}", False)
        assert read.surplus.endswith(behind)


def test_a_server_that_closes_what_rests_for_long_may_say_so() -> None:
    history = History()
    witness = Witness(history, lambda: 0)
    witness.unasked(GET, b"HTTP/1.1 408 Request Timeout\r\n\r\n", 0)
    witness.unasked(GET, b"", 0)
    assert history.deviations == []
    witness.unasked(GET, b"HTTP/1.1 200 OK\r\n\r\n", 0)
    assert [one.rule for one in history.deviations] == ["contents.unasked"]


def test_a_deviation_is_counted_as_often_as_it_came() -> None:
    history = History()
    witness = Witness(history, lambda: 0)
    for _ in range(50):
        witness.saw(GET, HttpAnswer(200, RIGHT % b"0123456789abcdef", b'{"success":true}', keep=True), 0)
    counts = {one.rule: one.count for one in history.deviations}
    assert counts == {"contents.envelope": 50, "contents.request-id": 49}
    verdict = check_contents(history, FACTS)
    assert (verdict.status, verdict.figures["errors"]) == (Status.FAIL, 99)
    assert all("request" in finding.evidence for finding in verdict.findings)


@pytest.mark.parametrize(("status", "failed"), [(200, 0), (404, 0), (500, 1), (503, 1)])
def test_what_a_reader_is_not_answered_counts_and_is_named(status: int, failed: int) -> None:
    """What others ask has rows of its own."""
    history = History()
    for reads in (False, True):
        witness = Witness(history, lambda: 5, reads=reads)
        witness.saw(GET, HttpAnswer(status, b"HTTP/1.1 %d x\r\n\r\n" % status, b"", keep=True), 3)
    assert len(history.unserved) == failed
    verdict = check_answers(history, FACTS)
    assert (verdict.status is Status.FAIL) == bool(failed)
    if failed:
        (finding,) = verdict.findings
        assert finding.rule == "answers.failed"
        assert finding.message.startswith("an honest request: expected 200 to GET ")
        assert finding.evidence["request"].startswith("GET ")
        history.faults.append(Fault("disk.full", 0, 0, 1, 1))
        assert check_answers(history, FACTS).status is not Status.FAIL


def test_what_waits_on_a_socket_is_read_without_waiting() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        assert waiting_bytes(ours.fileno()) is None
        theirs.sendall(b"x")
        assert waiting_bytes(ours.fileno()) == b"x"
        theirs.close()
        assert waiting_bytes(ours.fileno()) == b""


# --- clocks and keys that are not known


def shown(value: str) -> History:
    history = History()
    history.wall_readings.append(WallReading(0, 0, 1_790_000_000 * SECOND_NS))  # 2026-09-21T14:13:20Z
    history.shown.append(Shown(SECOND_NS, 2 * SECOND_NS, 0, "wrk_1", "machine.created_at", value))
    return history


@pytest.mark.parametrize(
    ("value", "clock", "wrong"),
    [
        ("2026-09-21T14:13:21.5Z", None, False),
        ("2026-09-21T14:13:21Z", None, False),
        ("2026-09-21T15:13:21Z", None, True),
        ("2026-09-21T14:03:21Z", None, True),
        ("2026-09-21T14:23:21Z", ClockFacts((600 * SECOND_NS, 601 * SECOND_NS)), False),
        ("2026-09-21T14:13:21Z", ClockFacts((600 * SECOND_NS, 601 * SECOND_NS)), True),
        ("2026-09-21T14:13:21Z", ClockFacts((0, 0), (600 * SECOND_NS, 600 * SECOND_NS)), False),
        ("2026-09-21T14:23:21Z", ClockFacts((0, 0), (600 * SECOND_NS, 600 * SECOND_NS)), False),
        ("1999-09-21T14:13:21Z", ClockFacts(), False),
    ],
)
def test_times_are_judged_by_the_clock_of_the_server_as_far_as_it_is_known(
    value: str,
    clock: ClockFacts | None,
    wrong: bool,  # noqa: FBT001 - a table's column
) -> None:
    verdict = check_contents(shown(value), msgspec.structs.replace(FACTS, clock=clock))
    assert (verdict.status is Status.FAIL) == wrong, verdict.summary


def test_no_time_is_judged_where_this_machines_clock_was_not_read() -> None:
    history = shown("1999-09-21T14:13:21Z")
    history.wall_readings.clear()
    assert server_clock(history, FACTS) is None
    assert check_contents(history, FACTS).status is Status.PASS


def certified(*readings: tuple[int, str]) -> History:
    """A certificate that no key has signed, issued at 5 s, and the keys that were published at other seconds."""
    history = History()
    history.certificates_shown.append(
        CertificateShown(
            5 * SECOND_NS, 6 * SECOND_NS, 0, "mcert_1", "wrk_1", "2026-09-21T14:13:20Z", "2026-09-21T14:28:20Z", "AAAA"
        )
    )
    for second, key in readings:
        history.key_readings.append(KeyReading(second * SECOND_NS, second * SECOND_NS, 200, [key]))
    return history


KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RESTART = Fault("server.restart", 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("readings", "faults", "wrong"),
    [
        ([], [], False),
        ([(1, KEY)], [], True),
        ([(9, KEY)], [], True),
        ([(1, KEY)], [RESTART], False),
        ([(9, KEY)], [RESTART], False),
        ([(1, KEY), (9, KEY)], [RESTART], True),
        ([(1, KEY), (9, "AAAA")], [RESTART], False),
    ],
)
def test_a_certificate_is_judged_by_keys_that_did_not_change_meanwhile(
    readings: list[tuple[int, str]],
    faults: list[Fault],
    wrong: bool,  # noqa: FBT001 - a table's column
) -> None:
    history = certified(*readings)
    history.faults += faults
    rules = {finding.rule for finding in check_contents(history, FACTS).findings}
    assert ("contents.signature" in rules) == wrong


@pytest.mark.parametrize("key", ["", "not base64 at all!", "AAAA"])
def test_a_key_that_is_none_signs_nothing(key: str) -> None:
    rules = {finding.rule for finding in check_contents(certified((1, key)), FACTS).findings}
    assert "contents.signature" in rules or not key


def test_a_loss_of_answers_leaves_nothing_to_hold_against_another() -> None:
    verdict = check_contents(History(), FACTS)
    assert (verdict.status, verdict.findings) == (Status.NOT_APPLICABLE, ())
