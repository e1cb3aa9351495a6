"""A certificate for TLS on loopback."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = "localhost"


class Pair(NamedTuple):
    """A certificate for `localhost`, which is its own authority, and its key."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Name them for the server."""
        return {"tls_cert_file": str(self.certificate), "tls_key_file": str(self.key)}

    def settings_of(self, way: str) -> dict[str, Any]:
        """Name them for the server if the way to it is inside TLS."""
        return self.settings if way == "tls" else {}

    def context(self, *protocols: str) -> ssl.SSLContext:
        """Trust it, and offer protocols."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.set_alpn_protocols(list(protocols))
        return context


def make_pair(folder: Path) -> Pair:
    """Make one in a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, AUTHORITY)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(AUTHORITY)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Pair(folder / "certificate.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.touch(0o600)
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return made
