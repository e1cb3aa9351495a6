"""Whom TLS trusts on the way to a target, and what it shows of itself."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
from msgspec.structs import replace

from simulator.client.access import Access
from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import parse_target
from tests.simulator.conftest import ShardUnderTest, answer
from tests.support.certificates import make_pair
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Pair

ACCEPTING = answer(200, b'{"success":true,"data":{"worker_id":"wrk_1","accepted":true}}')


async def asked(url: str, access: Access) -> int:
    async with ControlConnection(parse_target(url, "t", access), None) as connection:
        return (await connection.request("GET", "/health", {}, rooted=True)).status


class Demanding:
    """A server that speaks to those alone whose certificate it knows."""

    def __init__(self, server: Pair, client: Pair) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client.certificate))
        self._context.load_cert_chain(server.certificate, server.key)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self.served = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer whole requests for as long as they come."""
        secure = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
        try:
            while data := await secure.receive_some(65_536):
                if b"\r\n\r\n" in data:
                    self.served += 1
                    await secure.send_all(ACCEPTING)
        except trio.BrokenResourceError:
            pass  # a stranger
        finally:
            await trio.aclose_forcefully(secure)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, Pair]:
    """The server's, and the client's."""
    folders = [tmp_path / name for name in ("server", "client")]
    for folder in folders:
        folder.mkdir()
    return make_pair(folders[0]), make_pair(folders[1])


async def test_a_target_is_trusted_by_the_authorities_that_are_given_or_not_at_all(pairs: tuple[Pair, Pair]) -> None:
    server, client = pairs
    known = Access(certificate=str(client.certificate), key=str(client.key))
    trusted = server.certificate.read_text("ascii")
    demanding = Demanding(server, client)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, demanding.serve, [listener])
        port = listener.socket.getsockname()[1]
        url = f"https://localhost:{port}"
        assert await asked(url, replace(known, trusted=trusted)) == 200
        assert await asked(f"https://127.0.0.1:{port}", replace(known, insecure=True)) == 200
        with pytest.raises(LostError, match=r"certificate is not trusted .*--cacert"):
            await asked(url, known)
        with pytest.raises(LostError, match="certificate is not trusted"):  # its name is another
            await asked(f"https://127.0.0.1:{port}", replace(known, trusted=trusted))
        served = demanding.served
        with pytest.raises(LostError):
            await asked(url, Access(trusted=trusted))  # a stranger
        assert demanding.served == served == 2
        shard = ShardUnderTest(parse_target(url, "t", replace(known, trusted=trusted)))
        async with shard.running(patience_seconds=5):
            shard.shard.resume(shard.machine())
            await until(lambda: shard.progress.accepted)
        nursery.cancel_scope.cancel()
