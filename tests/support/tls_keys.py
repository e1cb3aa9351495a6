"""Records of TLS 1.3 that no library makes for a test: a client's, sealed with keys that it has logged (RFC 8446)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_DATA, HANDSHAKE = 23, 22
KEY_UPDATE = b"\x18\0\0\1\0"
"""New keys for what the client sends, asking for none in return."""


class ClientKeys:
    """Seals what a client sends that has sent nothing since its handshake. It agreed on TLS_AES_256_GCM_SHA384."""

    def __init__(self, key_log: Path) -> None:
        (line,) = [line for line in key_log.read_text().splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0")]
        self._use(bytes.fromhex(line.split()[2]))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expand(b"key", 32))
        self._iv = int.from_bytes(self._expand(b"iv", 12))
        self._number = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack("!HB", size, len(label)) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self._secret)

    def seal(self, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """Return a record."""
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(data) + 1 + 16)
        nonce = (self._iv ^ self._number).to_bytes(12)
        self._number += 1
        return header + self._cipher.encrypt(nonce, data + bytes([kind]), header)

    def update(self) -> bytes:
        """Return a record that says that new keys are used, and use them."""
        record = self.seal(KEY_UPDATE, HANDSHAKE)
        self._use(self._expand(b"traffic upd", 48))
        return record
