"""What every answer carries: a request id, `vary`, and CORS where the origin may call (contract §1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.values import Headers, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.ports import Entropy

OTHER_CORS_HEADERS = ("Content-Type", "Idempotency-Key")
"""What a page of an allowed origin may send, beside what says who calls (contract §1)."""
VARIES = ("vary", "Origin")
"""Of every answer, as some origins may call and others not."""


class CommonHeaders:
    """Adds them to replies; `credentials` are the headers that say who calls."""

    def __init__(self, entropy: Entropy, allowed_origins: Iterable[str], credentials: Iterable[str]) -> None:
        self._entropy = entropy
        self._origins = frozenset(allowed_origins)
        self._cors_headers = ", ".join(sorted((*OTHER_CORS_HEADERS, *credentials)))

    def added_to(self, reply: Reply, headers: dict[str, str]) -> Reply:
        """Return a reply with what every answer carries, to a request with these headers."""
        content_type, *others = reply.headers
        common: Headers = (content_type, ("x-request-id", self._entropy.hex(16)), VARIES)
        if others:
            vary = ", ".join(("Origin", *(value for name, value in others if name == "vary")))
            rest = [header for header in others if header[0] != "vary"]
            common = (*common[:2], ("vary", vary), *rest)
        if headers.get("origin") in self._origins:
            common += (("access-control-allow-origin", headers["origin"]),)
            if "access-control-request-method" in headers:
                common += (
                    ("access-control-allow-methods", "DELETE, GET, OPTIONS, POST, PUT"),
                    ("access-control-allow-headers", self._cors_headers),
                    ("access-control-max-age", "600"),
                )
        return Reply(reply.status, reply.body, common)
