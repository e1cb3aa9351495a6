"""The header with which a proxy opens a connection, to say whose it is: the PROXY protocol, versions 1 and 2.

No socket and no clock. https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from reference_server.limits import PROXY_HEADER_MAX_BYTES

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_BYTES = 16
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_NOTHING, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESSES_BYTES = {_NOTHING: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
"""What each family takes at least. What is left are datagrams, which bring no HTTP."""
_TEXT_START = b"PROXY "
_TEXT_MAX_BYTES = 107
_TEXT = re.compile(r"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_PORT_MAX = 65_535


class ProxyHeaderError(Exception):
    """What a connection began with is no such header."""


class ProxyHeader:
    """Reads one header as it comes. `client` is the address it names; empty where the proxy speaks for itself."""

    def __init__(self) -> None:
        self._read = b""
        self.done = False
        self.client = ""

    def take(self, data: bytes) -> int:
        """Read the next bytes. Return how many of them belong to the header. Raises ProxyHeaderError."""
        before = len(self._read)
        read = self._read + data
        text = read.startswith(_TEXT_START[: len(read)])
        if not text and not read.startswith(_SIGNATURE[: len(read)]):
            raise ProxyHeaderError("it begins otherwise")
        end = self._end_of_text(read) if text else self._end_of_fields(read)
        self._read = read[:end]
        if end is not None and len(read) >= end:
            self.done = True
            self.client = _read_text(self._read) if text else _read_fields(self._read)
        return len(self._read) - before

    @staticmethod
    def _end_of_text(read: bytes) -> int | None:
        """Return where a header of version 1 ends; None while that is not known."""
        end = read.find(b"\r\n", 0, _TEXT_MAX_BYTES) + 2
        if end > 1:
            return end
        if len(read) >= _TEXT_MAX_BYTES:
            raise ProxyHeaderError("its line does not end")
        return None

    @staticmethod
    def _end_of_fields(read: bytes) -> int | None:
        """Return where a header of version 2 ends, behind what has come or within; None while that is not known."""
        if len(read) < _FIXED_BYTES:
            return None
        version, command, family = read[12] & 0xF0, read[12] & 0x0F, read[13]
        size = int.from_bytes(read[14:16], "big")
        if version != _VERSION_2 or command not in {_LOCAL, _PROXY} or family not in _ADDRESSES_BYTES:
            raise ProxyHeaderError("it is of no kind that is known")
        if size < (_ADDRESSES_BYTES[family] if command == _PROXY else 0):
            raise ProxyHeaderError("it is too short for its addresses")
        if _FIXED_BYTES + size > PROXY_HEADER_MAX_BYTES:
            raise ProxyHeaderError("it is too long")
        return _FIXED_BYTES + size


def _read_text(header: bytes) -> str:
    """Return the address that a whole header of version 1 names. Raises ProxyHeaderError."""
    if _UNKNOWN.fullmatch(header):
        return ""
    found = _TEXT.fullmatch(header.decode("latin-1"))
    try:
        addresses = [ip_address(text) for text in found.group(2, 3)] if found else []
    except ValueError:
        addresses = []
    if found is None or [address.version for address in addresses] != 2 * [int(found[1])]:
        raise ProxyHeaderError("its line names no two addresses of its family")
    if max(map(int, found.group(4, 5))) > _PORT_MAX:
        raise ProxyHeaderError("it names a port that there is not")
    return str(addresses[0])


def _read_fields(header: bytes) -> str:
    """Return the address that a whole header of version 2 names."""
    command, family, addresses = header[12] & 0x0F, header[13], header[_FIXED_BYTES:]
    if command == _LOCAL:
        return ""
    if family == _TCP4:
        return str(IPv4Address(addresses[:4]))
    return str(IPv6Address(addresses[:16])) if family == _TCP6 else ""
