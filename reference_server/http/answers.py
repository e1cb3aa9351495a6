"""The last line of defence: a fault of ours becomes a 500 in the envelope and a logged line, never a lost answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from reference_server.wire.replies import failure

if TYPE_CHECKING:
    from reference_server.wire.values import Reply

INTERNAL_ERROR = failure(500, "internal error")
_log = logging.getLogger("hatchfarm")


def internal_error(where: str) -> Reply:
    """Log the exception being handled, and give its answer. The request itself is not logged: it may hold secrets."""
    _log.exception("A fault while answering %s", where)
    return INTERNAL_ERROR
