"""The certificate by which a run's own servers speak TLS, and which everything of the run trusts, and nothing else."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from simulator.limits import OWN_CERTIFICATE_DAYS

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE_FILE, KEY_FILE = "certificate.pem", "certificate-key.pem"
NAME, ADDRESS = "localhost", "127.0.0.1"
"""Whose certificate it is: a run's own servers listen at this address, and nowhere else."""


class OwnCertificate(msgspec.Struct, frozen=True):
    """A certificate, as PEM, and the settings that name its files to a server."""

    pem: str
    settings: dict[str, str]


def make_certificate(folder: Path, now: dt.datetime) -> OwnCertificate:
    """Make a key and a certificate signed by it, good around `now`, as files that nobody else can read."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    lasts = dt.timedelta(days=OWN_CERTIFICATE_DAYS)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - lasts)
        .not_valid_after(now + lasts)
        .add_extension(names, critical=False)
        # Nobody's authority: whoever had its key could be this server, and no other.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    files = {CERTIFICATE_FILE: pem, KEY_FILE: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())}
    for file, content in files.items():
        (folder / file).touch(mode=0o600)
        (folder / file).write_bytes(content)
    settings = {"TLS_CERT_FILE": str(folder / CERTIFICATE_FILE), "TLS_KEY_FILE": str(folder / KEY_FILE)}
    return OwnCertificate(pem.decode(), settings)
