"""What one HTTP/2 connection may make the server keep, do and wait for is bounded, by numbers and by deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder

from reference_server import limits
from reference_server.http.framing import head_cost
from reference_server.http.http2_frames import CONTINUATION, DATA, HEADERS, PADDED, RST_STREAM, SETTINGS
from reference_server.operations.outcomes import Deferred
from reference_server.wire.replies import success
from tests.http.corpus import get
from tests.http.http2_memory import GET, InMemory, fields_of, frame
from tests.http.test_http_limits_outside import AllReserved, SetLimiter
from tests.http.twins import API_TOKEN, OWNER, as_owner, ask, make_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api

HEADER, BODY, IDLE = 10.0, 30.0, 75.0
DEADLINES = {"header_timeout_seconds": HEADER, "body_timeout_seconds": BODY, "idle_timeout_seconds": IDLE}
PING, PRIORITY, WINDOW_UPDATE, UNKNOWN = 6, 2, 8, 77
BEARER = (b"authorization", f"Bearer {API_TOKEN}".encode())
POST = [(b":method", b"POST"), *GET[1:3], (b":path", b"/api/v1/policies"), BEARER]
CALM = ErrorCodes.ENHANCE_YOUR_CALM
AUDIT = fields_of(get("/api/v1/audit/events", OWNER, "limit=500"))


def block(fields: list[tuple[bytes, bytes]] = GET) -> bytes:
    return Encoder().encode(fields)


def connected(**settings: object) -> InMemory:
    return InMemory(make_api(**{**DEADLINES, **settings}))


def with_much_to_read() -> Api:
    """An API whose audit list is long: about 150 KB."""
    api = make_api(**DEADLINES)
    for number in range(300):
        ask(api, as_owner("/machines/register", {"owner_id": "ada", "name": f"rack {number} {'x' * 200}"}))
    return api


def alive(connection: InMemory) -> bool:
    return not connection.server.ended


def nothing(_connection: InMemory) -> None:
    """Only time passes."""


def ping(connection: InMemory) -> None:
    connection.raw(frame(PING, 0, 0, b"12345678"))


def settle(connection: InMemory) -> None:
    connection.raw(frame(SETTINGS, 0, 0))


def reprioritise(connection: InMemory) -> None:
    connection.raw(frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"))


def widen(connection: InMemory) -> None:
    connection.raw(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))


def extend(connection: InMemory) -> None:
    connection.raw(frame(UNKNOWN, 0, 0, b"?"))


QUIET = [nothing, ping, settle, reprioritise, widen, extend]


@pytest.mark.parametrize("meanwhile", QUIET)
def test_a_connection_at_rest_ends_whatever_it_says(meanwhile: Callable[[InMemory], None]) -> None:
    """Also after a request: its answer is where rest begins anew."""
    connection = connected()
    connection.wait(IDLE - 1)
    assert connection.status(connection.begin(GET)) == 200
    for _ in range(int(IDLE) - 1):
        connection.wait(1)
        meanwhile(connection)
        assert alive(connection)
    connection.wait(1)
    assert not alive(connection)
    assert connection.gone == ErrorCodes.NO_ERROR


def begin_headers(connection: InMemory) -> None:
    connection.raw(frame(HEADERS, 0x1, 1, block()[:10]))


def drip(connection: InMemory) -> None:
    connection.raw(b"\0")


def continue_with_nothing(connection: InMemory) -> None:
    connection.raw(frame(CONTINUATION, 0, 1))


def begin_a_long_frame(connection: InMemory) -> None:
    connection.raw(frame(HEADERS, 0x5, 1, block())[:-2])


def begin_a_continuation(connection: InMemory) -> None:
    begin_headers(connection)
    connection.raw(frame(CONTINUATION, 0x4, 1, b"\0" * 100)[:9])


@pytest.mark.parametrize(
    ("begin", "meanwhile"),
    [
        (begin_headers, nothing),
        (begin_headers, continue_with_nothing),
        (begin_a_continuation, drip),
        (begin_a_long_frame, nothing),
        (lambda connection: connection.raw(b"\0\0"), nothing),
        (lambda connection: connection.raw(frame(PING, 0, 0, b"1234")[:-1]), nothing),
    ],
    ids=[
        "headers",
        "empty continuations",
        "dripped continuation",
        "half a frame",
        "half a frame's head",
        "half a ping",
    ],
)
def test_headers_that_do_not_end_end_the_connection_in_time(
    begin: Callable[[InMemory], None], meanwhile: Callable[[InMemory], None]
) -> None:
    connection = connected()
    connection.wait(5)
    begin(connection)
    for _ in range(int(HEADER) - 1):
        connection.wait(1)
        meanwhile(connection)
        assert alive(connection)
    connection.wait(1)
    assert not alive(connection)
    assert connection.gone == CALM


def test_headers_that_come_in_time_are_served_and_the_next_have_their_own_time() -> None:
    connection = connected()
    for stream_id in (1, 3, 5):
        *first, last = connection.written(stream_id, [*GET, (b"a", b"b" * 30_000)], ended=True)
        assert first
        for part in first:
            connection.raw(part)
        connection.wait(HEADER - 1)
        connection.raw(last[:-1])
        connection.raw(last[-1:])
        assert connection.status(stream_id) == 200


def test_a_body_that_does_not_end_is_refused_in_time_however_it_drips() -> None:
    """The connection is the client's to use; then it rests, whatever still comes of the body."""
    connection = connected()
    stream_id = connection.begin(POST, ended=False)
    for _ in range(int(BODY) - 1):
        connection.wait(1)
        connection.data(stream_id, b" ")
        assert stream_id not in connection.responses
    connection.wait(1)
    assert connection.status(stream_id) == 400
    assert alive(connection)
    for _ in range(int(IDLE) - 1):
        connection.wait(1)
        connection.raw(frame(DATA, 0, stream_id, b" "))
    connection.wait(1)
    assert not alive(connection)


@pytest.mark.parametrize("meanwhile", QUIET)
def test_answers_that_cannot_be_sent_end_the_connection_in_time(meanwhile: Callable[[InMemory], None]) -> None:
    connection = InMemory(make_api(**DEADLINES), settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(limits.HTTP2_STREAMS_MAX):
        connection.begin(GET)
    for _ in range(int(BODY) - 1):
        connection.wait(1)
        meanwhile(connection)
        assert alive(connection)
    connection.wait(1)
    assert not alive(connection)
    assert connection.server.waiting_bytes == 0


def test_an_answer_that_is_read_a_little_is_late_all_the_same() -> None:
    connection = InMemory(make_api(**DEADLINES), settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    connection.widens = False
    connection.begin(GET)
    for _ in range(int(BODY) - 1):
        connection.wait(1)
        connection.client.increment_flow_control_window(1, 1)
        connection.flush()
        assert alive(connection)
    connection.wait(1)
    assert not alive(connection)


def test_an_answer_has_its_own_time_however_late_the_body_came() -> None:
    connection = InMemory(make_api(**DEADLINES), settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    stream_id = connection.begin(POST, ended=False)
    connection.wait(BODY - 1)
    connection.data(stream_id, b"{}", ended=True)
    connection.wait(BODY - 1)
    assert alive(connection)
    connection.wait(1)
    assert not alive(connection)


def test_an_answer_that_is_read_in_time_is_whole() -> None:
    """In pieces of every window, and the window may shrink meanwhile."""
    connection = InMemory(with_much_to_read(), settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
    stream_id = connection.begin(AUDIT)
    while connection.server.waiting_bytes:
        connection.client.increment_flow_control_window(10_001, stream_id)
        connection.flush()
    length = dict(connection.responses[stream_id].headers)["content-length"]
    assert len(connection.responses[stream_id].body) == int(length) > 100_000


def test_requests_wait_while_answers_are_not_read_and_are_served_then() -> None:
    connection = InMemory(with_much_to_read())
    connection.reads = False
    streams = [connection.begin(AUDIT) for _ in range(40)]
    longest = 200_000
    assert connection.server.choked
    assert connection.server.waiting_bytes < limits.HTTP2_UNSENT_MAX_BYTES + longest + 2 * limits.HTTP2_OUTPUT_MAX_BYTES
    connection.reads = True
    connection.read()
    while connection.server.waiting_bytes:
        connection.flush()
    assert [connection.status(stream_id) for stream_id in streams] == [200] * 40
    assert len({connection.responses[stream_id].body for stream_id in streams}) == 1


def test_bodies_of_one_connection_are_bounded_together() -> None:
    connection = connected()
    connection.client.max_outbound_frame_size = limits.HTTP2_FRAME_MAX_BYTES
    most = 0
    for _ in range(limits.HTTP2_STREAMS_MAX):
        stream_id = connection.begin(POST, ended=False)
        for _ in range(10):
            if alive(connection):
                connection.data(stream_id, b" " * 16_000)
                most = max(most, connection.server.waiting_bytes)
        if not alive(connection):
            break
    assert connection.gone == CALM
    heads = limits.HTTP2_STREAMS_MAX * head_cost(1_000, 10)
    assert limits.HTTP2_BODIES_MAX_BYTES - 20_000 < most <= limits.HTTP2_BODIES_MAX_BYTES + heads
    assert connection.server.waiting_bytes == 0


def test_more_streams_than_offered_end_the_connection() -> None:
    connection = connected()
    offered = connection.client.remote_settings.max_concurrent_streams
    assert offered == limits.HTTP2_STREAMS_MAX
    for _ in range(offered):
        connection.begin(POST, ended=False)
    assert alive(connection)
    connection.raw(frame(HEADERS, 0x4, 2 * offered + 1, block(POST)))
    assert not alive(connection)


def test_rapid_resets_end_the_connection_and_take_their_tokens() -> None:
    api = make_api(rate_limit_burst=1_000)
    connection = InMemory(api)
    for number in range(2 * limits.HTTP2_RESETS_MAX):
        stream_id = 2 * number + 1
        headers = connection.written(stream_id, GET, ended=True)
        connection.raw(b"".join(headers) + frame(RST_STREAM, 0, stream_id, b"\0\0\0\x08"))
        assert alive(connection) or number >= limits.HTTP2_RESETS_MAX
        if not alive(connection):
            break
    assert connection.gone == CALM
    other = InMemory(api)
    asked = number + 1
    while other.status(other.begin(GET)) == 200:
        asked += 1
    assert asked + 1 == 1_000  # one for the end


@pytest.mark.parametrize("say", QUIET[1:])
def test_frames_that_bring_nothing_are_bounded_and_answers_allow_more(say: Callable[[InMemory], None]) -> None:
    connection = connected()
    for _ in range(10):
        connection.begin(GET)
    connection.reads = False
    reported = 0
    while alive(connection):
        say(connection)
        reported += 1
        assert connection.server.waiting_bytes < limits.HTTP2_OUTPUT_MAX_BYTES
    allowed = limits.HTTP2_IDLE_FRAMES_MAX + 10 * limits.HTTP2_IDLE_FRAMES_AN_ANSWER
    assert allowed - 10 <= reported <= allowed + 1


CRUMB = b" " * (limits.HTTP2_CRUMB_BYTES - 1)


@pytest.mark.parametrize(
    ("flags", "payload"),
    [(0, CRUMB), (0, b""), (PADDED, b"\0"), (PADDED, b"\xff" + bytes(255)), (PADDED, b"\xc8" + CRUMB + bytes(200))],
    ids=["crumbs", "nothing", "no padding", "padding", "padded crumbs"],
)
def test_bodies_in_crumbs_are_bounded(flags: int, payload: bytes) -> None:
    """However much padding they bring: it is no body."""
    connection = connected()
    stream_id = connection.begin(POST, ended=False)
    for _ in range(limits.HTTP2_IDLE_FRAMES_MAX - 10):
        connection.raw(frame(DATA, flags, stream_id, payload))
    assert alive(connection)
    for _ in range(11):
        connection.raw(frame(DATA, flags, stream_id, payload))
    assert connection.gone == CALM


def test_a_body_in_padded_pieces_is_a_body() -> None:
    connection = connected()
    stream_id = connection.begin(POST, ended=False)
    for _ in range(limits.HTTP2_IDLE_FRAMES_MAX + 10):
        connection.raw(frame(DATA, PADDED, stream_id, b"\x0a" + bytes(limits.HTTP2_CRUMB_BYTES) + bytes(10)))
    assert alive(connection)


def test_continuations_are_bounded_before_they_are_decoded() -> None:
    connection = connected()
    connection.raw(frame(HEADERS, 0, 1, block()))
    most = 0
    for _ in range(100):
        connection.raw(frame(CONTINUATION, 0, 1, b"\0" * 16_000))
        most = max(most, connection.server.waiting_bytes)
        if not alive(connection):
            break
    assert connection.gone == CALM
    assert 100_000 < most <= limits.HTTP2_HEADERS_MAX_BYTES + limits.HTTP2_FRAME_MAX_BYTES


def test_settings_of_others_are_not_kept_and_a_large_table_is_not_used() -> None:
    connection = connected()
    unknown = b"".join(number.to_bytes(2, "big") + b"\0\0\0\1" for number in range(7, 2_700))
    before = len(connection.server._h2.remote_settings)
    connection.raw(frame(SETTINGS, 0, 0, unknown + b"\0\1\x7f\xff\xff\xff"))
    assert len(connection.server._h2.remote_settings) == before
    assert connection.server._h2.encoder.header_table_size == limits.HTTP2_ENCODER_TABLE_MAX_BYTES
    connection.client.decoder.max_allowed_table_size = 2**31 - 1
    assert connection.status(connection.begin(GET)) == 200


def test_a_server_that_stops_answers_what_it_has_and_takes_nothing_more() -> None:
    connection = connected()
    body = connection.begin(POST, ended=False)
    connection.server.stop()
    late = connection.begin(GET)
    assert connection.reset[late] == ErrorCodes.REFUSED_STREAM
    assert alive(connection)
    connection.data(body, b"{}", ended=True)
    assert connection.status(body) == 400
    assert not alive(connection)
    assert connection.gone == ErrorCodes.NO_ERROR


def test_an_answer_that_is_held_is_sent_when_it_comes_and_dropped_where_nobody_waits() -> None:
    api = make_api(**DEADLINES)
    api.share(AllReserved(), SetLimiter())
    connection = InMemory(api)
    streams = [connection.begin(GET) for _ in range(3)]
    connection.client.reset_stream(streams[1])
    connection.flush()
    connection.wait(10 * IDLE)
    assert alive(connection)
    reply = success({})
    assert not isinstance(reply, Deferred)
    for resolved in connection.deferred:
        resolved(api.fail(reply), connection.now)
    connection.read()
    assert sorted(connection.responses) == [streams[0], streams[2]]
    connection.server.abandon()
    for resolved in connection.deferred:
        resolved(api.fail(reply), connection.now)
    assert connection.server.waiting_bytes == 0
