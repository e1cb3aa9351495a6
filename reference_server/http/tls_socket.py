"""TLS on a socket that does not block, in steps that are bounded: one reads from the socket about a record.

OpenSSL never sees the socket. Were it to read there itself, it would go on for as long as a client sends records that
carry nothing for us, and nobody else would be served.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from contextlib import suppress

from reference_server.limits import TLS_QUIET_RECORDS_MAX, TLS_RECORD_BYTES

_HEADER_BYTES = 5
_MAJOR_VERSION = 3
_PIECE_BYTES = 4096
"""What OpenSSL is given, or gives, at a time: its buffers stay as large as they ever were, for each connection."""
_SEALED_AT_ONCE_BYTES = 4 * _PIECE_BYTES
"""What of an answer waits here at most, sealed, for the socket to take it."""
_TYPES = range(20, 24)


def _missing(data: bytes, at: int = 0) -> int:
    """Return how many bytes a record misses that begins there (RFC 8446 §5.1); less than none where more follow it.

    What cannot be a record is taken for one that is whole: OpenSSL knows what to say to that.
    """
    there = len(data) - at
    if there < _HEADER_BYTES:
        return _HEADER_BYTES - there
    length = _HEADER_BYTES + (data[at + 3] << 8 | data[at + 4])
    if data[at] not in _TYPES or data[at + 1] != _MAJOR_VERSION or length > TLS_RECORD_BYTES:
        return 0
    return length - there


class TlsSocket:
    """A connection inside TLS. What fails raises OSError; BlockingIOError says to try again once the socket is ready.

    OpenSSL is given whole records, one after the other: what has come of another one waits here.
    """

    __slots__ = ("_ended", "_incoming", "_outgoing", "_part", "_promised_bytes", "_quiet", "_sealed", "_socket", "_tls")

    def __init__(self, socket: stdlib_socket.socket, context: ssl.SSLContext) -> None:
        self._socket = socket
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._part = b""
        self._sealed = b""
        """What the socket has not taken yet."""
        self._promised_bytes = 0
        """How many bytes of the caller's are in there."""
        self._quiet = 0
        self._ended = False

    @property
    def has_part(self) -> bool:
        """Return whether a part of a record has come, and the rest has not."""
        return bool(self._part)

    @property
    def protocol(self) -> str | None:
        """Return what was agreed on to speak, if anything was."""
        return self._tls.selected_alpn_protocol()

    def shake_hands(self) -> bool:
        """Read on in one record, and return whether that was the last of the handshake; what follows it is not read.

        What there is to say to it may wait for `flush`.
        """
        while (missing := _missing(self._part)) > 0:
            self._part += self._receive(missing)
        record, self._part = self._part, b""
        try:
            self._give(record)
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._note_quiet()
            return False
        finally:
            self._say()
        self._quiet = 0
        return True

    def receive(self, max_bytes: int) -> bytes:
        """Read once, and return what is in the records that are whole by that; nothing at the end.

        Raises BlockingIOError where there is nothing in them, too.
        """
        data = self._receive(min(max_bytes, TLS_RECORD_BYTES))
        if self._part:
            data = self._part + data
        opened: list[bytes] = []
        at = 0
        try:
            while at < len(data) and not self._ended and (missing := _missing(data, at)) <= 0:
                end = len(data) + missing
                record, at = data[at:end], end
                self._open(record, opened)
        except OSError:
            if not opened:
                raise
            self._end()  # what came before that counts
        self._part = b"" if self._ended else data[at:]
        if not (opened or self._ended):
            raise BlockingIOError
        return opened[0] if len(opened) == 1 else b"".join(opened)

    def _give(self, record: bytes) -> None:
        """Hand OpenSSL a record, the last piece of which is for the caller to have it read."""
        while len(record) > _PIECE_BYTES:
            self._incoming.write(record[:_PIECE_BYTES])
            record = record[_PIECE_BYTES:]
            with suppress(ssl.SSLWantReadError):
                self._tls.read(1)  # it takes a part of a record along, and gives nothing of it
        self._incoming.write(record)

    def _open(self, record: bytes, opened: list[bytes]) -> None:
        """Have OpenSSL read a record. It may have something to say to that."""
        try:
            self._give(record)
            data = self._tls.read(TLS_RECORD_BYTES)
        except ssl.SSLWantReadError:
            self._note_quiet()
        else:
            self._quiet = 0
            if data:
                opened.append(data)
            else:
                self._end()
        finally:
            if self._outgoing.pending:
                self._say()
        if len(self._sealed) > 2 * TLS_RECORD_BYTES:
            raise ConnectionAbortedError("more is to be said about TLS than the client takes")

    def _say(self) -> None:
        """Send what OpenSSL has to say of its own, alerts and the handshake, as far as the socket takes it."""
        self._sealed += self._outgoing.read()
        with suppress(OSError):
            self.flush()

    def _receive(self, max_bytes: int) -> bytes:
        if self._ended:
            return b""
        data = self._socket.recv(max_bytes)
        if not data:
            raise ConnectionAbortedError("it was cut off")
        return data

    def _end(self) -> None:
        """Take nothing more: whatever is read from here on is the end, and the socket says that it is there."""
        self._ended = True
        self._socket.shutdown(stdlib_socket.SHUT_RD)

    def _note_quiet(self) -> None:
        self._quiet += 1
        if self._quiet > TLS_QUIET_RECORDS_MAX:
            raise ConnectionAbortedError("too many records with nothing in them")

    def flush(self) -> None:
        """Send what the socket has not taken yet."""
        while self._sealed:
            self._sealed = self._sealed[self._socket.send(self._sealed) :]

    def send(self, data: bytes | memoryview) -> int:
        """Send what the socket takes, and return how much that is. What was not taken is to be given again."""
        sent = 0
        while True:
            try:
                self.flush()
            except BlockingIOError:
                if sent:
                    return sent
                raise
            sent, self._promised_bytes = sent + self._promised_bytes, 0
            if sent >= len(data):
                return sent
            part = data[sent : sent + _SEALED_AT_ONCE_BYTES]
            self._promised_bytes = len(part)
            for at in range(0, len(part), _PIECE_BYTES):
                self._tls.write(part[at : at + _PIECE_BYTES])
                self._sealed += self._outgoing.read()
