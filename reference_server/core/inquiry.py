"""Questions that a decision must ask an outside service, and how the decision goes on with the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.identity_ports import Question  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Callable


class Inquiry(msgspec.Struct, frozen=True):
    """A question for an outside service, returned in place of a reply.

    It is asked once all earlier changes are durable and shared. `decide` is then called with the state, the current
    moment and the answer; like any decision, it checks everything again, because the state may have changed.
    """

    question: Question
    decide: Callable[[Any, Any, Any], Any]
