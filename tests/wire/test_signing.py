from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.signing import (
    CertificateSigner,
    certificate_payload,
    matches,
    sign_text,
    verify_certificate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "signatures.json").read_text(encoding="utf-8"))
SIGNER = CertificateSigner.from_seed(bytes(range(32)))
CERTIFICATE = {
    "certificate_id": "mcert_00000000000000000001",
    "machine_id": "wrk_0000000000000001",
    "issued_at": "2026-02-19T10:58:12Z",
    "expires_at": "2026-02-19T11:13:12Z",
}


def jwk() -> Mapping[str, str]:
    (key,) = SIGNER.jwk_set["keys"]  # type: ignore[misc]
    return key  # type: ignore[no-any-return, has-type]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["payload"][:40])
def test_vector(vector: dict[str, str]) -> None:
    """The text is put together as the contract says, and signs to what another implementation got."""
    fields = (
        ("worker_id", "timestamp", "nonce", "policy_id")
        if vector["kind"] == "heartbeat"
        else ("owner_id", "worker_id", "policy_id")
    )
    payload = "|".join(vector[field] for field in fields)
    assert payload == vector["payload"]
    assert sign_text(vector["secret"].encode(), payload).decode() == vector["signature"]


@given(st.binary(min_size=1, max_size=60) | st.binary(min_size=63, max_size=66), st.text(max_size=60))
def test_signature_is_standard_base64_of_hmac_sha256(key: bytes, text: str) -> None:
    expected = base64.standard_b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest())
    assert sign_text(key, text) == expected


@given(st.text(st.characters(codec=None, categories=None), max_size=8), st.binary(max_size=8))
def test_only_the_same_text_matches(given_text: str, expected: bytes) -> None:
    """Lone surrogates are no text, so they match nothing, and raise nothing."""
    assert matches(expected, given_text) == (given_text.encode("utf-8", "surrogatepass") == expected)


def signed() -> dict[str, str]:
    payload = certificate_payload(*CERTIFICATE.values())
    return {**CERTIFICATE, "signature": SIGNER.sign(payload)}


def test_certificate_verifies_offline_against_the_jwk_set() -> None:
    assert verify_certificate(jwk(), signed())


@given(st.sampled_from([*CERTIFICATE, "signature"]), st.data())
def test_any_altered_field_spoils_the_certificate(field: str, data: st.DataObject) -> None:
    certificate = signed()
    if field == "signature":
        raw = bytearray(base64.b64decode(certificate[field]))
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        certificate[field] = base64.b64encode(raw).decode()
    else:
        at = data.draw(st.integers(0, len(certificate[field]) - 1))
        certificate[field] = certificate[field][:at] + "x" + certificate[field][at + 1 :]
        if certificate == signed():
            return
    assert not verify_certificate(jwk(), certificate)


def test_jwk_set_shows_the_public_half_only() -> None:
    key = jwk()
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")
    public = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    assert base64.urlsafe_b64decode(key["x"] + "=") == public


def test_a_key_file_gives_the_same_signer() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert CertificateSigner.from_pem(pem).jwk_set == SIGNER.jwk_set


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            BestAvailableEncryption(b"password"),
        ),
    ],
    ids=["empty", "text", "another kind of key", "encrypted"],
)
def test_what_is_no_plain_ed25519_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        CertificateSigner.from_pem(pem)
