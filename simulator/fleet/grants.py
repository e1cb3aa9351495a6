"""Grants of the control plane, parsed from its answers without trusting them.

Machines send ids and tokens in paths, headers and JSON, and rules enter arithmetic over the whole fleet. So a value
that is unsafe there is no grant, and the answer that contained it is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.limits import POLICIES_SHARED_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

CERTIFICATE_LIFE_NS = 900 * SECOND_NS
"""The contract's life of a certificate (§3), if its own times do not tell."""
CERTIFICATE_LIFE_MAX_NS = 366 * 86_400 * SECOND_NS
"""Longer than any run, and short enough to be added to any of its times."""

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~:-]{1,200}\Z")]
"""An id of any deployment: only characters that a path, a header and a JSON string need not escape."""
Token = Annotated[str, Meta(pattern=r"^[!-~]{1,1000}\Z")]
"""A machine token: only characters that a header allows (RFC 9110 §5.5)."""
Percent = Annotated[float, Meta(ge=0, le=100)]
Hour = Annotated[int, Meta(ge=0, le=23)]


class GrantError(ValueError):
    """Raised when a success lacks what the contract requires; the message says what is wrong."""


class Certificate(msgspec.Struct, frozen=True):
    """A machine's new certificate."""

    certificate_id: Id
    issued_at: str | None = None
    expires_at: str | None = None

    @property
    def life_ns(self) -> int:
        """The life by its own times, in nanoseconds. Raises GrantError if it ends before it begins."""
        if self.issued_at is None or self.expires_at is None:
            return CERTIFICATE_LIFE_NS
        issued_ns, expires_ns = parse_timestamp(self.issued_at), parse_timestamp(self.expires_at)
        if issued_ns is None or expires_ns is None:
            raise GrantError(f"a certificate from {self.issued_at!r} to {self.expires_at!r}, which are no times")
        if expires_ns <= issued_ns:
            raise GrantError(f"a certificate that ends ({self.expires_at}) before it begins ({self.issued_at})")
        return min(expires_ns - issued_ns, CERTIFICATE_LIFE_MAX_NS)


class _Named(msgspec.Struct, frozen=True):
    id: Id


class Registration(msgspec.Struct, frozen=True):
    """A machine's registration."""

    machine: _Named
    machine_token: Token
    machine_certificate: Certificate


class Consent(msgspec.Struct, frozen=True):
    """A consent; only some deployments show the policy."""

    id: Id
    policy_id: Id | None = None


class _Rules(msgspec.Struct, frozen=True):
    """The rules that a machine obeys (contract §5); other rules do not concern it."""

    max_cpu_percent: Percent | UnsetType = UNSET
    max_memory_percent: Percent | UnsetType = UNSET
    max_gpu_percent: Percent | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    allowed_hours: Annotated[tuple[Hour, ...], Meta(max_length=24)] | UnsetType = UNSET


class _Policy(msgspec.Struct, frozen=True):
    id: Id
    rules: _Rules


class PolicyGrant(msgspec.Struct, frozen=True):
    """A policy that a machine fetched."""

    policy: _Policy

    @property
    def rules(self) -> dict[str, Any]:
        """The rules to obey, each with the contract's type and within its bounds."""
        return _plain(self.policy.rules)


@lru_cache(maxsize=POLICIES_SHARED_MAX)
def _plain(rules: _Rules) -> dict[str, Any]:
    """Return rules by name: one shared, immutable object for all machines of an owner."""
    plain: dict[str, Any] = msgspec.to_builtins(rules)
    return plain


Grant = TypeVar("Grant", Registration, Certificate, Consent, PolicyGrant)


def read_grant(kind: type[Grant], data: Mapping[str, Any]) -> Grant:
    """Read an answer's data. Raises GrantError."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise GrantError(_reason(error)) from None


def read_id(data: Mapping[str, Any]) -> str:
    """Read the id of what was created. Raises GrantError."""
    try:
        return msgspec.convert(data, _Named).id
    except msgspec.ValidationError as error:
        raise GrantError(_reason(error)) from None


def read_grant_id(data: Mapping[str, Any], name: str) -> str:
    """Read the id of the object that an answer has under a name. Raises GrantError."""
    shown = data.get(name)
    if not isinstance(shown, dict):
        raise GrantError(f"it has no {name}")
    return read_id(shown)


def read_key(data: Mapping[str, Any]) -> str:
    """Read an agent's API key. Raises GrantError, which does not show it."""
    try:
        return msgspec.convert(data.get("api_key"), Token)
    except msgspec.ValidationError:
        raise GrantError("its api_key is missing, or holds what no header may hold") from None


def _reason(error: Exception) -> str:
    """Return an error's reason in words instead of a pattern."""
    _, found, where = str(error).rpartition("at `")
    if "matching regex" in str(error) and found and where.endswith("`"):
        return f"`{where[:-1]}` holds what no id or token may hold, or is too long"
    return str(error)
