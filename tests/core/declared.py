"""Whether an answer is one that the row of its operation declares: what the API's description is made from is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.operations.operation import ANY, Answer
from reference_server.operations.outcomes import BODY_TOO_LARGE, HTTPS_REQUIRED, PERSISTENCE_FAILED
from reference_server.wire.replies import INVALID_REQUEST, RATE_LIMITED
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.operations.operation import Operation
    from reference_server.operations.routing import Routes
    from reference_server.wire.values import Request

EVERYWHERE = (HTTPS_REQUIRED, BODY_TOO_LARGE, INVALID_REQUEST, RATE_LIMITED, PERSISTENCE_FAILED)
"""What any request may meet before its operation decides, or instead."""


def assert_declared(routes: Routes, request: Request, reply: Reply) -> None:
    """Fail for an answer of an operation that its row does not declare; paths and methods that are none are others'."""
    operation = routes.find(request.path)[0].get("GET" if request.method == "HEAD" else request.method)
    if operation is None:
        return
    if reply.status < 400:
        (answer,) = [one for one in operation.answers if isinstance(one, Answer) and one.status == reply.status]
        if answer.data is not None:
            shown = msgspec.json.decode(reply.body)
            data = shown if answer.bare else shown["data"]
            assert msgspec.to_builtins(msgspec.convert(data, answer.data)) == data, (operation.path, data)
    elif reply.headers[0][1].startswith("text/html"):
        shown = [one for one in operation.answers if isinstance(one, Answer) and one.status == reply.status]
        assert [one.media_type for one in shown] == [reply.headers[0][1]], (
            operation.method,
            operation.path,
            reply.status,
        )
    else:
        error = (reply.status, msgspec.json.decode(reply.body)["error"])
        declared = set(_errors(operation))
        assert error in declared or (reply.status, ANY) in declared, (operation.method, operation.path, error)


def bare_answers(operations: Sequence[Operation], prefixes: Sequence[str]) -> set[tuple[str, int]]:
    """Return paths and statuses that are answered without the envelope: files, metrics, pages."""
    return {
        (prefix + operation.path, one.status)
        for operation in operations
        for prefix in (("",) if operation.rooted else prefixes)
        for one in operation.answers
        if isinstance(one, Answer) and one.bare
    }


def _errors(operation: Operation) -> Iterator[tuple[int, Any]]:
    for parameter in operation.query:
        yield 400, f"invalid {parameter.name}"
    for one in (*EVERYWHERE, *operation.principal.refusals, *operation.answers):
        if isinstance(one, Reply):
            yield one.status, msgspec.json.decode(one.body)["error"]
        else:
            yield one.status, one.error
