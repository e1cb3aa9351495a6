"""What an operation of the API is: one row, from which routing, reading and the API's description follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.calls import decode_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call, Parameter
    from reference_server.core.heartbeats import Verified
    from reference_server.core.inquiry import Inquiry
    from reference_server.core.state import State
    from reference_server.operations.callers import Principal
    from reference_server.wire.values import Reply

ANY = "*"
"""The error of an answer whose words are made for the case."""


class Answer(msgspec.Struct, frozen=True):
    """An answer that an operation may give: the type of its `data` in the envelope, or the words of its error.

    A `bare` answer has no envelope: `data` is the type of all of it, or None for what is not described further.
    """

    status: int
    data: Any = None
    error: str = ""
    bare: bool = False
    media_type: str = "application/json"


class Operation(msgspec.Struct, frozen=True):
    """One row of the API. `path` has `{name}` for each variable; `rooted` paths stand outside the versioned prefixes.

    `body` is the type of its JSON body, None where it takes none. `read` reads it where strict JSON of that type is not
    all there is to it; it returns None for what is refused as an invalid request. `described` is the type that clients
    are shown of it, where the body's own says less than its decision asks for, to give errors their words. `answers`
    are those of its own decision, refusals as they are given; others come from its `principal` and from what every
    request meets before.
    `headers` are those that it reads beside its principal's. `shows_state` is false for what says nothing of the state,
    and so never waits for it to be durable. What is `for_people` are pages and their forms, which the API's
    description, being for programs, leaves out.
    """

    method: str
    path: str
    principal: Principal
    decide: Callable[[State, Call[Any]], Reply | Verified | Inquiry]
    body: Any = None
    read: Callable[[bytes], Any] | None = None
    described: Any = None
    query: tuple[Parameter, ...] = ()
    headers: tuple[str, ...] = ()
    answers: tuple[Answer | Reply, ...] = ()
    summary: str = ""
    rooted: bool = False
    shows_state: bool = True
    for_people: bool = False

    def body_of(self, raw: bytes) -> Any:
        """Read a body as the operation takes it; None for what is refused."""
        if self.read is not None:
            return self.read(raw)
        return raw if self.body is None else decode_body(raw, self.body)
