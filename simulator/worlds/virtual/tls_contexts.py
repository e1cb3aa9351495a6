"""By what a virtual world speaks TLS, such that nothing that OpenSSL draws, or reads from a clock, changes a run.

Keys, signatures and records are as random as live. A history has none of that, and no moment depends on it: bytes take
as long however many they are, and only a handshake's have a length that is drawn.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from reference_server.adapters.memory.clocks import BEGINNING
from reference_server.http.listening import make_tls_context
from reference_server.settings import Settings
from reference_server.wire.units import SECOND_NS
from simulator.client.access import Access
from simulator.client.target import HTTP2
from simulator.deployment.certificate import make_certificate

if TYPE_CHECKING:
    import ssl

    from simulator.client.target import Target

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: OpenSSL would hold a certificate against the real time, in a world that has another."""


class TlsContexts(msgspec.Struct, frozen=True):
    """What servers speak TLS with, and clients, which trust those servers alone: HTTP/1.1, and HTTP/2."""

    server: ssl.SSLContext
    plain: ssl.SSLContext
    http2: ssl.SSLContext

    def over(self, target: Target) -> Target:
        """Return a target as it is spoken to inside TLS."""
        return msgspec.structs.replace(target, scheme="https", tls=self.plain, http2=self.http2)


def make_contexts() -> TlsContexts:
    """Make a key and a certificate, as a live run's own servers have, and what speaks TLS by them."""
    with TemporaryDirectory(prefix="hatchfarm-tls-") as folder:  # from which alone OpenSSL takes a key
        own = make_certificate(Path(folder), dt.datetime.fromtimestamp(BEGINNING.wall_ns / SECOND_NS, dt.UTC))
        files = own.settings
        server = make_tls_context(Settings(tls_cert_file=files["TLS_CERT_FILE"], tls_key_file=files["TLS_KEY_FILE"]))
    if server is None:
        raise AssertionError("with a certificate there is TLS")
    # Nobody resumes a session, and the length of a ticket is drawn: who does not read would have room for more or less.
    server.num_tickets = 0
    clients = [Access(trusted=own.pem).context() for _ in range(2)]
    for context in clients:
        context.verify_flags |= NO_CHECK_TIME
    clients[1].set_alpn_protocols([HTTP2])
    return TlsContexts(server, *clients)
