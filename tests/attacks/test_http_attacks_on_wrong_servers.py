"""Every attack below HTTP must notice the server that it is there to find."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.http.heads import parse_head
from simulator.attacks.defences import Defences
from tests.attacks.live import play_live, play_patiently, well_behaved, written, wrong_server
from tests.attacks.test_http_attacks_on_a_right_server import AT_ONCE, SLOW
from tests.support.beside import side_by_side
from tests.support.trying import tried_again_alone

if TYPE_CHECKING:
    from simulator.client.target import Target
    from tests.attacks.live import Connection, Played

FRAMING = AT_ONCE[:7]
HURRIED = Defences(header_seconds=0.2, body_seconds=0.2)
MALFORMED = written(400, b'{"success":false,"error":"invalid request"}')
_HIDDEN = b"POST /api/v1/policies "


SENDING = {
    "connections": 7, "margin_seconds": 0.4, "probe_asks": 5, "probe_max_seconds": 0.5, "byte_seconds": 0.05,
}  # fmt: skip
NUMBERS: dict[str, dict[str, Any]] = {
    **{name: {"patience_seconds": 1.5} for name in [*FRAMING, "http.large-headers", "json.huge"]},
    **dict.fromkeys(SLOW, SENDING),
    "http.slow-read": {
        "connections": 3, "margin_seconds": 0.4, "probe_asks": 5, "probe_max_seconds": 0.5, "drain_seconds": 3.0,
    },
    "http.pipeline": {"patience_seconds": 2.0},
    **{name: {"look_again_ns": 1_000_000} for name in ["http.half-close", "http.reset"]},
}  # fmt: skip


async def play_hurried(name: str, target: Target, *, defences: Defences = Defences(), **numbers: Any) -> Played:  # noqa: B008 - frozen
    """Play an attack that waits only a moment for what a wrong server never does."""
    numbers = {**NUMBERS[name], **numbers}
    return await play_live(name, target, defences=defences, numbers=numbers, answer_seconds=0.5)


# --- framing


async def lenient(connection: Connection) -> None:
    """Read whatever may pass for requests, as tolerantly as can be; a first length decides, then a coding."""
    while True:
        data = connection.unread
        end = re.search(rb"\r?\n\r?\n|\r\r", data)
        if end is None:
            if not await connection.more():
                return
            continue
        head, rest = data[: end.start()], data[end.end() :]
        line, *fields = re.split(rb"\r\n|\n|\r", head)
        values = dict(part.replace(b"\0", b"").partition(b":")[::2] for part in reversed(fields))
        named = {name.strip().lower(): value.strip() for name, value in values.items()}
        digits = re.search(rb"[0-9_]+", named.get(b"content-length", b"0"))
        length = min(int(digits[0].strip(b"_") or b"0") if digits else 0, len(rest))
        if b"chunked" in named.get(b"transfer-encoding", b""):
            length = rest.find(b"\r\n\r\n") + 4
        method, _, target = line.replace(b"\0", b"").partition(b" ")
        plain = b"%b %b HTTP/1.1\r\n" % (method, target.partition(b" ")[0][:100])
        plain += b"Authorization: %b\r\n\r\n" % named.get(b"authorization", b"") + rest[:length]
        connection.unread = rest[length:]
        await connection.send(connection.handle(plain))


@pytest.mark.parametrize("name", [*FRAMING, "http.large-headers"])
@side_by_side
async def test_a_server_that_reads_everything_somehow_is_found(name: str) -> None:
    # Headers enough to be too many, and no more than this server can read.
    numbers: dict[str, Any] = {"headers": 9000, "large_bytes": 1 << 17} if name == "http.large-headers" else {}
    async with wrong_server(lenient) as target:
        played = await play_hurried(name, target, **numbers)
        assert played.wrong
        assert {"one-answer", "no-effect", "closed"} <= played.broken, played.stated
        assert played.history.exchanges


def is_malformed(data: bytes) -> bool:
    """Return whether what begins here is refused by a right server."""
    head, end, _ = data.partition(b"\r\n\r\n")
    return parse_head(head + end) is None or b"chunked" in head


async def refusing(connection: Connection, *, goes_on: bool = False, acts: bool = False, stays: bool = False) -> None:
    """Refuse what is malformed, and then be wrong in one thing."""
    while await connection.more():
        if not is_malformed(connection.unread):
            break
        at = connection.unread.find(_HIDDEN)
        hidden = connection.unread[at:] if at >= 0 else b""
        connection.unread = b""
        if acts and hidden:
            connection.handle(hidden)
        await connection.send(MALFORMED)
        if goes_on and hidden:
            await connection.send(connection.handle(hidden))
        if not stays:
            return
    while message := await connection.message():
        await connection.send(connection.handle(message))


@pytest.mark.parametrize("name", FRAMING)
@side_by_side
async def test_a_second_answer_behind_a_refusal_is_found(name: str) -> None:
    async with wrong_server(lambda connection: refusing(connection, goes_on=True)) as target:
        played = await play_hurried(name, target)
        assert played.broken == {"one-answer", "no-effect"}, played.stated


@pytest.mark.parametrize("name", FRAMING)
@side_by_side
async def test_a_hidden_request_that_is_done_in_silence_is_found(name: str) -> None:
    async with wrong_server(lambda connection: refusing(connection, acts=True)) as target:
        played = await play_hurried(name, target)
        assert (played.broken, played.wrong) == ({"no-effect"}, 0), played.stated


@pytest.mark.parametrize("name", ["http.cl-te", "http.nul"])
@side_by_side
async def test_a_connection_left_open_behind_a_refusal_is_found(name: str) -> None:
    async with wrong_server(lambda connection: refusing(connection, stays=True)) as target:
        played = await play_hurried(name, target)
        assert played.broken == {"closed"}, played.stated


async def test_a_server_that_says_nothing_proves_nothing() -> None:
    async def silent(connection: Connection) -> None:
        while await connection.more():
            pass

    async with wrong_server(silent) as target:
        played = await play_hurried("http.nul", target)
    assert not played.broken
    assert played.claims == {"one-answer": [None], "no-effect": [None], "closed": [None]}


@tried_again_alone
async def test_bodies_without_a_bound_are_found() -> None:
    async def unbounded(connection: Connection) -> None:
        while await connection.more():
            head, end, _ = connection.unread.partition(b"\r\n\r\n")
            if b"Expect" in head or b"chunked" in head or b"99999999999" in head:
                await connection.send(written(413, b'{"error":"request body too large"}'))
                return
            message = await connection.message() if end else b""
            # Without the length: the real API bounds what it is given, this server does not.
            body = message.partition(b"\r\n\r\n")[2].rstrip()
            await connection.send(connection.handle(message[: message.find(b"\r\n\r\n")] + b"\r\n\r\n" + body))

    async with wrong_server(unbounded) as target:
        played = await play_hurried("json.huge", target)
    assert played.wrong == 2
    assert played.broken == {"no-effect"}, played.stated


# --- slow clients


@pytest.mark.parametrize("name", ["http.slowloris", "http.slow-body"])
@side_by_side
async def test_a_server_without_deadlines_is_found(name: str) -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_hurried(name, target, defences=HURRIED)
    assert played.broken == {"closed-in-time"}, played.stated


@tried_again_alone
async def test_a_server_that_waits_for_a_reader_is_found() -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_hurried("http.slow-read", target, defences=HURRIED)
    assert played.broken == {"closed-in-time"}, played.stated


@tried_again_alone
async def test_a_server_whose_few_places_are_taken_starves_the_others() -> None:
    clients = 0

    async def crowded(connection: Connection) -> None:
        nonlocal clients
        clients += 1
        try:
            while message := await connection.message():
                while clients > 3:  # noqa: ASYNC110 - whoever leaves sets no event
                    await trio.sleep(0.01)
                await connection.send(connection.handle(message))
        finally:
            clients -= 1

    async with wrong_server(crowded) as target:
        played = await play_hurried("http.slowloris", target, defences=HURRIED, probe_max_seconds=0.2)
    assert "honest-served" in played.broken, played.stated


# --- pipelines


def reordered(answers: list[bytes]) -> list[bytes]:
    return [answers[1], answers[0], *answers[2:]]


@pytest.mark.parametrize(
    ("flaw", "rules"),
    [
        (reordered, {"in-order"}),
        (lambda answers: answers[:600], {"all-answered"}),
        (lambda answers: [*answers[:10], written(500), *answers[11:]], {"in-order"}),
        (lambda answers: answers, set()),
    ],
    ids=["out of order", "not all", "a breakdown", "none"],
)
async def test_a_pipeline_that_is_answered_wrongly_is_found(flaw: object, rules: set[str]) -> None:
    async def at_once(connection: Connection) -> None:
        answers = []
        while message := await connection.message():
            answers.append(connection.handle(message))
            if b"Connection: close" in message:
                assert callable(flaw)
                await connection.send(b"".join(flaw(answers)))
                return

    async with wrong_server(at_once, rate_limit_burst=20, rate_limit_refill_per_second=5.0) as target:
        played = await play_patiently("http.pipeline", target)
    assert played.broken == rules, played.stated


@tried_again_alone
async def test_a_pipeline_that_counts_as_one_request_is_found() -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_hurried("http.pipeline", target)
    assert played.broken == {"each-limited"}, played.stated


async def test_a_pipeline_under_a_limit_raised_past_it_says_so() -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_patiently("http.pipeline", target, defences=Defences(burst=5000))
    assert played.claims["each-limited"] == [None]
    assert "never came over the limit" in played.stated


# --- clients that leave


def corrected(message: bytes) -> bytes:
    """Complete a body that lacks its last byte."""
    return message + b"}" if message.count(b"{") == message.count(b"}") + 1 else message


@pytest.mark.parametrize("name", ["http.reset", "http.half-close"])
@tried_again_alone
async def test_a_request_cut_short_that_takes_effect_is_found(name: str) -> None:
    async def eager(connection: Connection) -> None:
        while message := await connection.message():
            await connection.send(connection.handle(message))
        rest = corrected(connection.unread)
        if rest.startswith(_HIDDEN) and rest.endswith(b"}"):
            connection.handle(rest)

    async with wrong_server(eager) as target:
        played = await play_hurried(name, target)
    assert played.broken == {"cut-short"}, played.stated


@pytest.mark.parametrize("name", ["http.reset", "http.half-close"])
@pytest.mark.parametrize("event", [b"policy_created", b"machine_registered"])
@tried_again_alone
async def test_a_change_without_its_event_is_found(name: str, event: bytes) -> None:
    """One event is missing of those that clients which left have caused."""

    async def forgetful(connection: Connection) -> None:
        while message := await connection.message():
            answer = connection.handle(message)
            head, _, body = answer.partition(b"\r\n\r\n")
            if event in message and b'"total"' in body:
                page = msgspec.json.decode(body)
                page["data"]["total"] -= 1
                answer = written(int(head[9:12]), msgspec.json.encode(page))
            await connection.send(answer)

    async with wrong_server(forgetful) as target:
        played = await play_hurried(name, target)
    rule = "whole-policies" if event == b"policy_created" else "whole-machines"
    assert played.broken == {rule}, played.stated


@tried_again_alone
async def test_half_closed_connections_that_are_kept_are_found() -> None:
    async def clinging(connection: Connection) -> None:
        while message := await connection.message():
            await connection.send(connection.handle(message))
        if connection.unread:
            await trio.sleep(1)

    async with wrong_server(clinging) as target:
        played = await play_hurried("http.half-close", target, defences=Defences(body_seconds=-1.7))
    assert "closed" in played.broken, played.stated
