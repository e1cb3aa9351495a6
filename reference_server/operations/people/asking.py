"""How a page asks the API: by its own rows, as who looks at it, so that it shows nothing that they may not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from reference_server.core.calls import LIMIT, OFFSET, Caller
from reference_server.operations import audit, jobs, logins, wallet, workers
from reference_server.wire.values import Reply, succeeded

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State

_READS = {
    row.path: row
    for domain in (audit, jobs, logins, wallet, workers)
    for row in domain.OPERATIONS
    if row.method == "GET"
}


class RefusedError(Exception):
    """What a page asked was refused: the page is the refusal then."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.body.decode())
        self.reply = reply


def ask(state: State, call: Call[bytes], path: str, /, *ids: str, **query: Any) -> Any:
    """Return the data of a read of the API, asked as whoever calls. Raises `RefusedError` where it is refused."""
    row = _READS[path]
    prove = row.principal.prove
    caller = call.caller if prove is None else prove(state, call.now, call.caller, call.headers)
    if isinstance(caller, Caller):
        request = msgspec.structs.replace(call.request, query=urlencode(query))
        asked = msgspec.structs.replace(call, request=request, ids=ids, caller=caller, parameters=row.query)
        outcome: object = row.decide(state, asked)
    else:
        outcome = caller
    if not isinstance(outcome, Reply):
        raise TypeError(f"{path} waits for somebody outside, and no page does")
    if not succeeded(outcome):
        raise RefusedError(outcome)
    return msgspec.json.decode(outcome.body)["data"]


def newest(state: State, call: Call[bytes], path: str, name: str, rows: int, offset: int = 0, /, **query: Any) -> Any:
    """Return rows of a list that begins with the oldest, from its end on, the newest first; and how many there are."""
    total = ask(state, call, path, **{LIMIT.name: 1}, **query)["total"]
    end = max(0, total - offset)
    count = min(rows, end)
    if not count:
        return [], total
    found = ask(state, call, path, **{LIMIT.name: count, OFFSET.name: end - count}, **query)
    return found[name][::-1], total
