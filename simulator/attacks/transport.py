"""Claims of a safe transport, made by whoever has none."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from simulator.attacks.acting import OK, RULES
from simulator.attacks.script import ScriptAttack, Send, granted, refused
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.fleet.requests import http_message, owner_headers, policy_call

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext

HTTPS_REQUIRED = 426
CLAIMS: tuple[dict[str, str], ...] = (
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Proto": "HTTPS"},
    {"X-Forwarded-Proto": "https, http"},
    {"X-Forwarded-Proto": "http, https"},
    {"X-Forwarded-Protocol": "https"},
    {"X-Forwarded-Scheme": "https"},
    {"X-Forwarded-Ssl": "on"},
    {"X-Url-Scheme": "https"},
    {"Front-End-Https": "on"},
    {"Forwarded": "proto=https"},
    {"Forwarded": "for=127.0.0.1;proto=https;by=127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"},
)


class SpoofedProto(ScriptAttack):
    """Plain HTTP that says it was HTTPS."""

    name = "tls.spoofed-proto"
    basis = Basis.PUBLISHED
    shape = "plain http requests whose headers, or target, say https, to a server that trusts no proxy"
    verdict = "426 https required"
    effect = "none: nothing is done over plain http"
    anchor = "ASVS 5 4.1.3; contract §6"
    severity = 6.5
    needs = frozenset({Feature.HEALTH, Feature.STATUS})
    needs_settings = MappingProxyType({"REQUIRE_HTTPS": "true", "TRUST_PROXY_HEADERS": "false"})

    def script(self, context: ScriptContext) -> Script[None]:
        """Make each claim, on a route for everybody and on one that changes something."""
        expect = refused(HTTPS_REQUIRED, "https required", "plain http is plain, whatever it says")
        create = policy_call(context.token, "nobody", dict(RULES))
        for number, claim in enumerate(({}, *CLAIMS)):
            yield Send(http_message("GET", "/api/v1/status", context.host, claim), expect, client=number // 4)
            message = create.message(context.host).replace(b"\r\n", _lines(claim) + b"\r\n", 1)
            yield Send(message, expect, client=number // 4)
        owner = owner_headers(context.token)
        for path in ("/api/v1/status", "/metrics"):
            target = f"https://{context.host}{path}"
            yield Send(http_message("GET", target, context.host, owner), expect, client=20)
        health = granted(OK, "whether a server lives may be asked over plain http")
        yield Send(http_message("GET", "/health", context.host, {}), health, client=20)


def _lines(headers: dict[str, str]) -> bytes:
    """Write headers behind a request line."""
    return b"".join(f"\r\n{name}: {value}".encode() for name, value in headers.items())
