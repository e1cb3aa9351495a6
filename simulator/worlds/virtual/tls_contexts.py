"""TLS contexts of a virtual world, in which neither OpenSSL's randomness nor its clock can change a run.

Keys, signatures and records are random as live. The history contains none of them, and no time depends on them: the
delay of bytes does not depend on their number, and only a handshake's length is random.
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
"""X509_V_FLAG_NO_CHECK_TIME: OpenSSL would check a certificate against real time, which is not this world's."""


class TlsContexts(msgspec.Struct, frozen=True):
    """TLS contexts of servers, and of clients that trust only those servers, for HTTP/1.1 and HTTP/2."""

    server: ssl.SSLContext
    plain: ssl.SSLContext
    http2: ssl.SSLContext

    def over(self, target: Target) -> Target:
        """Return a target with TLS."""
        return msgspec.structs.replace(target, scheme="https", tls=self.plain, http2=self.http2)


def make_contexts() -> TlsContexts:
    """Make a key and a certificate, as for a live run's own servers, and contexts that use them."""
    with TemporaryDirectory(prefix="hatchfarm-tls-") as folder:  # OpenSSL loads keys only from files
        own = make_certificate(Path(folder), dt.datetime.fromtimestamp(BEGINNING.wall_ns / SECOND_NS, dt.UTC))
        files = own.settings
        server = make_tls_context(Settings(tls_cert_file=files["TLS_CERT_FILE"], tls_key_file=files["TLS_KEY_FILE"]))
    if server is None:
        raise AssertionError("with a certificate there is TLS")
    # No session is resumed, and tickets have a random length, which would change the room in the buffers of clients.
    server.num_tickets = 0
    clients = [Access(trusted=own.pem).context() for _ in range(2)]
    for context in clients:
        context.verify_flags |= NO_CHECK_TIME
    clients[1].set_alpn_protocols([HTTP2])
    return TlsContexts(server, *clients)
