"""A client's end of a connection inside TLS, as a shard holds it: what `ssl.SSLSocket` is live."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.worlds.virtual.network import End

RECEIVED_BYTES = 65_536


class TlsEnd:
    """An end inside TLS. What fails raises OSError, of which BlockingIOError says to look again when more has come."""

    __slots__ = ("_end", "_incoming", "_outgoing", "_tls")

    def __init__(self, end: End, context: ssl.SSLContext, host: str) -> None:
        self._end = end
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @property
    def peer(self) -> End:
        """Return the other end of what it is inside."""
        return self._end.peer

    def shake_hands(self) -> bool:
        """Go on with the handshake, and return whether that was the last of it."""
        self._take_in()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._send_out()
        return True

    def send(self, data: bytes) -> int:
        """Send all of it. Raises BlockingIOError where there is no room for that: nothing more can be sent then."""
        self._tls.write(data)
        self._send_out()
        return len(data)

    def recv(self, at_once: int) -> bytes:
        """Return all that came: nobody looks again at what would be kept here. No bytes at its end."""
        self._take_in()
        opened = b""
        try:
            while part := self._tls.read(at_once):
                opened += part
        except ssl.SSLWantReadError:
            if not opened:
                raise BlockingIOError from None
        except ssl.SSLEOFError:
            return opened  # as a socket's has it: cut off is an end as well
        finally:
            self._send_out()
        return opened

    def close(self) -> None:
        """Close it, as a socket is: TLS is told nothing of that."""
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
        """Send what TLS has sealed. Raises BlockingIOError where it does not fit."""
        sealed = self._outgoing.read()
        if sealed and self._end.send(sealed) < len(sealed):
            raise BlockingIOError
