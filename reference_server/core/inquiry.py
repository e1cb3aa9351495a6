"""What a decision has to ask outside before it can be made: the question, and the decision that its answer allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.identity_ports import Question  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from collections.abc import Callable


class Inquiry(msgspec.Struct, frozen=True):
    """A question for somebody outside, in the place of what is decided.

    It is asked once all that was changed before it is durable and shared. `decide` is called then with the state and
    the moment of that time, and the answer; it decides as any decision does, and looks at everything anew.
    """

    question: Question
    decide: Callable[[Any, Any, Any], Any]
