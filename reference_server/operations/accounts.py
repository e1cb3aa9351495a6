"""What the operations of agents, jobs, wallet and forum have in common."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from reference_server.core.happenings import audit_happenings

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.values import Reply

IDEMPOTENCY_KEY = "Idempotency-Key"


def audited(decide: Callable[[State, Call[Any]], Reply]) -> Callable[[State, Call[Any]], Reply]:
    """Audit what happens on the market while this decides."""

    @wraps(decide)
    def decided(state: State, call: Call[Any]) -> Reply:
        reply = decide(state, call)
        audit_happenings(state, call.now)
        return reply

    return decided


def idempotency_key(call: Call[Any]) -> str | None:
    """Return the idempotency key that was sent; None for none. Of two keys neither is one."""
    sent = [value for name, value in call.request.headers if name == IDEMPOTENCY_KEY.lower()]
    return None if not sent else sent[0] if len(sent) == 1 else ""
