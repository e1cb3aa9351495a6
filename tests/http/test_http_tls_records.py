"""Records of TLS that carry nothing for the server, and how much of them it reads before others are served."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock, SetClock
from reference_server.http.listening import make_tls_context
from reference_server.http.tls_socket import TlsSocket
from reference_server.limits import TLS_QUIET_RECORDS_MAX, TLS_RECORD_BYTES
from reference_server.settings import Settings
from tests.http.corpus import get
from tests.http.serving import PATIENCE_SECONDS, Client, serving
from tests.http.twins import make_api, written
from tests.support.certificates import AUTHORITY
from tests.support.tls_keys import ClientKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reference_server.http.admission import Admission
    from tests.http.serving import Server
    from tests.support.certificates import Pair

HEALTH = get("/health")
NEVER = 3600.0
CHANGE_CIPHER_SPEC = b"\x14\3\3\0\1\1"


async def with_keys(server: Server, pair: Pair, folder: Path, protocol: str) -> tuple[Client, ClientKeys]:
    """Connect by TLS 1.3, and return the keys with which more can be sealed."""
    context = pair.context(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(folder / "keys.log")
    stream = await trio.open_tcp_stream(*server.address)
    secure = trio.SSLStream(stream, context, server_hostname=AUTHORITY, https_compatible=True)
    with trio.fail_after(PATIENCE_SECONDS):
        await secure.do_handshake()
    return Client(secure), ClientKeys(folder / "keys.log")


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
async def test_a_flood_of_new_keys_is_cut_off(protocol: str, pair: Pair, tmp_path: Path) -> None:
    """Each costs the server a key derivation, and none is a request; others are served meanwhile."""
    timeouts = {f"{name}_timeout_seconds": NEVER for name in ("header", "body", "idle")}
    api = make_api(**timeouts, **pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as other:
        client, keys = await with_keys(server, pair, tmp_path, protocol)
        async with client.socket_stream as stream:
            await stream.send_all(b"".join(keys.update() for _ in range(TLS_QUIET_RECORDS_MAX + 1)))
            assert (await other.ask(HEALTH)).status == 200
            await Client(stream).rest()
        assert (await other.ask(HEALTH)).status == 200


async def test_new_keys_are_no_part_of_a_request(pair: Pair, tmp_path: Path, admissions: list[Admission]) -> None:
    """A connection that has sent some rests as before, and what comes next is read with the last of them."""
    clock = SetClock()
    api = make_api(idle_timeout_seconds=NEVER, header_timeout_seconds=10.0, **pair.settings)
    async with serving(api, clock, express_lane=True) as server:
        client, keys = await with_keys(server, pair, tmp_path, "http/1.1")
        async with client.socket_stream as stream:
            for _ in range(2):
                updates = b"".join(keys.update() for _ in range(TLS_QUIET_RECORDS_MAX))
                await stream.send_all(updates[:-1])
                await wait_all_tasks_blocked(0.01)
                assert admissions[0].waiting_bytes == TLS_RECORD_BYTES
                await stream.send_all(updates[-1:])
                await wait_all_tasks_blocked(0.01)
                assert admissions[0].waiting_bytes == 0
                async with server.client() as late:
                    await late.send(b"GET")
                    await wait_all_tasks_blocked(0.01)
                    clock.advance(20.0)
                    await late.closed()
                await stream.send_all(keys.seal(written(HEALTH)))
                assert (await client.answer()).status == 200


async def test_a_handshake_of_many_records_is_cut_off(pair: Pair) -> None:
    """OpenSSL passes over these for as long as they come."""
    api = make_api(header_timeout_seconds=NEVER, **pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as other:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = pair.context().wrap_bio(incoming, outgoing, server_hostname=AUTHORITY)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        async with await trio.open_tcp_stream(*server.address) as stream:
            await stream.send_all(outgoing.read() + (TLS_QUIET_RECORDS_MAX + 1) * CHANGE_CIPHER_SPEC)
            await Client(stream).rest()
        assert (await other.ask(HEALTH)).status == 200


class Ends:
    """Both ends of a connection over a socket pair, after their handshake."""

    def __init__(self, pair: Pair) -> None:
        context = make_tls_context(Settings(**pair.settings))
        assert context is not None
        ours, self.client = stdlib_socket.socketpair()
        for end in (ours, self.client):
            end.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        self.socket = ours
        self.server = TlsSocket(ours, context)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = pair.context().wrap_bio(self._incoming, self._outgoing, server_hostname=AUTHORITY)
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.client.sendall(self._outgoing.read())
            done = self.server.shake_hands()
            self.take()

    def close(self) -> None:
        for end in (self.socket, self.client):
            end.close()

    def take(self) -> bytes:
        """Return what the client is told."""
        while True:
            try:
                self._incoming.write(self.client.recv(65_536))
            except BlockingIOError:
                break
        read: list[bytes] = []
        try:
            while True:
                read.append(self.tls.read(65_536))
        except ssl.SSLWantReadError:
            return b"".join(read)

    def seal(self, data: bytes) -> bytes:
        """Return what the client's TLS makes of bytes: one record for each call."""
        self.tls.write(data)
        return self.sealed()

    def sealed(self) -> bytes:
        """Return what the client's TLS has to send."""
        return self._outgoing.read()


@pytest.fixture
def ends(pair: Pair) -> Iterator[Ends]:
    both = Ends(pair)
    yield both
    both.close()


def received(ends: Ends) -> list[bytes]:
    """Read until there is nothing more to read."""
    parts = []
    try:
        while part := ends.server.receive(65_536):
            parts.append(part)
    except BlockingIOError:
        pass
    return parts


def test_one_look_reads_about_a_record(ends: Ends) -> None:
    """However much has come, and in however small records."""
    written_parts = [bytes([number % 256]) * (1 + number % 40) for number in range(2_000)]
    ends.client.sendall(b"".join(map(ends.seal, written_parts)))
    parts = received(ends)
    assert b"".join(parts) == b"".join(written_parts)
    assert max(map(len, parts)) < TLS_RECORD_BYTES
    assert len(parts) > 2


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 16_384), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 20_000), max_size=20),
    whole=st.booleans(),
)
def test_records_may_be_cut_anywhere(pair: Pair, sizes: list[int], cuts: list[int], *, whole: bool) -> None:
    """All that was sealed arrives, and a part of a record is told from none."""
    ends = Ends(pair)
    try:
        data = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
        sealed = b"".join(ends.seal(bytes([number]) * size) for number, size in enumerate(sizes))
        if not whole:
            sealed = sealed[:-1]
        read = b""
        while sealed:
            size = cuts.pop() if cuts else len(sealed)
            ends.client.sendall(sealed[:size])
            sealed = sealed[size:]
            read += b"".join(received(ends))
        assert read == (data if whole else data[: -sizes[-1]])
        assert ends.server.has_part is not whole
    finally:
        ends.close()


def test_what_the_socket_does_not_take_is_sent_in_the_end(ends: Ends) -> None:
    data = bytes(range(256)) * 8_000
    rest, read, refused = memoryview(data), b"", 0
    while rest:
        try:
            rest = rest[ends.server.send(rest) :]
        except BlockingIOError:
            refused += 1
            read += ends.take()
    assert read + ends.take() == data
    assert refused > 1


@pytest.mark.parametrize("end", ["announced", "cut", "broken"])
def test_what_came_before_the_end_counts(ends: Ends, end: str) -> None:
    """Also where the end came with it; and the end is there to be read then."""
    sealed = ends.seal(b"last words")
    if end == "announced":
        with pytest.raises(ssl.SSLWantReadError):
            ends.tls.unwrap()
        sealed += ends.sealed()
    elif end == "broken":
        sealed += b"\x17\3\3\0\x20" + b"x" * 32
    ends.client.sendall(sealed)
    if end == "cut":
        ends.client.shutdown(stdlib_socket.SHUT_WR)
    assert ends.server.receive(65_536) == b"last words"
    assert ends.socket.recv(1, stdlib_socket.MSG_PEEK) == b""
    if end == "cut":
        with pytest.raises(ConnectionAbortedError):
            ends.server.receive(65_536)
    else:
        assert ends.server.receive(65_536) == b""
