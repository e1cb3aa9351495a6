"""The fields of bodies and results as clients are shown them: types with the form of their values, and an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from reference_server.limits import NONCE_MAX_CHARACTERS, TEXT_MAX_CHARACTERS
from reference_server.wire.ids import CERTIFICATE_ID, CONSENT_ID, EVENT_ID, POLICY_ID, WORKER_ID

if TYPE_CHECKING:
    from reference_server.wire.ids import IdForm

MOMENT = "2026-11-29T08:00:00Z"
DIGITS = "0123456789abcdef" * 4


def identifier(form: IdForm) -> Meta:
    """Describe an identifier of a form."""
    return Meta(pattern=f"^{form.prefix}_[0-9a-f]{{{form.digits}}}$", examples=[form.of(DIGITS[: form.digits])])


def digits(count: int) -> Meta:
    """Describe so many lower-case hexadecimal digits."""
    return Meta(pattern=f"^[0-9a-f]{{{count}}}$", examples=[DIGITS[:count]])


WorkerId = Annotated[str, identifier(WORKER_ID)]
CertificateId = Annotated[str, identifier(CERTIFICATE_ID)]
PolicyId = Annotated[str, identifier(POLICY_ID)]
ConsentId = Annotated[str, identifier(CONSENT_ID)]
EventId = Annotated[str, identifier(EVENT_ID)]
MachineToken = Annotated[str, digits(48)]
ChainHash = Annotated[str, digits(64)]
Timestamp = Annotated[
    str,
    Meta(
        description="RFC 3339, in UTC.",
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$",
        examples=[MOMENT],
        extra_json_schema={"format": "date-time"},
    ),
]
OwnerId = Annotated[
    str,
    Meta(
        description="No white space around it, no `|`, no control characters.",
        min_length=1,
        max_length=TEXT_MAX_CHARACTERS,
        pattern=r"^[^|\x00-\x1f\x7f-\x9f\s]([^|\x00-\x1f\x7f-\x9f]*[^|\x00-\x1f\x7f-\x9f\s])?$",
        examples=["acme"],
    ),
]
Name = Annotated[str, Meta(min_length=1, max_length=TEXT_MAX_CHARACTERS, examples=["rig-7"])]
Signature = Annotated[
    str,
    Meta(
        description="HMAC-SHA256, in base64 (RFC 4648 §4).",
        pattern="^[A-Za-z0-9+/]{43}=$",
        examples=["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    ),
]
CertificateSignature = Annotated[
    str,
    Meta(
        description="Ed25519, in base64, over the certificate's canonical text.",
        examples=["A" * 86 + "=="],
    ),
]
Nonce = Annotated[
    str,
    Meta(min_length=1, max_length=NONCE_MAX_CHARACTERS, pattern=r"^[^|\x00-\x1f\x7f-\x9f]+$", examples=["5f1d7a3c"]),
]
Count = Annotated[int, Meta(ge=0, examples=[1])]
Version = Annotated[int, Meta(ge=1, examples=[1])]
Rules = Annotated[
    dict[str, Any],
    Meta(
        description="What the machine may spend, and when.",
        examples=[{"max_cpu_percent": 50, "timezone": "Europe/Berlin", "allowed_hours": [0, 1, 2, 22, 23]}],
    ),
]
