"""A client's end of a connection inside TLS, for a shard: the counterpart of `ssl.SSLSocket` in a live run."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.worlds.virtual.network import End

RECEIVED_BYTES = 65_536


class TlsEnd:
    """An end inside TLS. Failures raise OSError; BlockingIOError means to try again when more bytes have come."""

    __slots__ = ("_end", "_incoming", "_outgoing", "_tls")

    def __init__(self, end: End, context: ssl.SSLContext, host: str) -> None:
        self._end = end
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @property
    def peer(self) -> End:
        """The other end of the underlying connection."""
        return self._end.peer

    def shake_hands(self) -> bool:
        """Continue the handshake; return whether it is complete."""
        self._take_in()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send_out()
        return True

    def send(self, data: bytes) -> int:
        """Send all of `data`. Raises BlockingIOError if there is no room; then nothing more can be sent."""
        self._tls.write(data)
        self._send_out()
        return len(data)

    def recv(self, at_once: int) -> bytes:
        """Return all received bytes, because a rest kept here would not be looked at again; no bytes at the end."""
        self._take_in()
        opened = b""
        try:
            while part := self._tls.read(at_once):
                opened += part
        except ssl.SSLWantReadError:
            if not opened:
                raise BlockingIOError from None
        except ssl.SSLEOFError:
            return opened  # as for a socket: a truncated stream is an end as well
        finally:
            self._send_out()
        return opened

    def close(self) -> None:
        """Close the end like a socket: without a TLS closing alert."""
        self._end.close()

    def _take_in(self) -> None:
        try:
            data = self._end.recv(RECEIVED_BYTES)
        except BlockingIOError:
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _send_out(self) -> None:
        """Send the encrypted bytes. Raises BlockingIOError if they do not fit."""
        sealed = self._outgoing.read()
        if sealed and self._end.send(sealed) < len(sealed):
            raise BlockingIOError
