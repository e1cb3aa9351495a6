"""A plugin of pytest that writes down what each test has the API answer: `-p tests.contract.recorder`.

For each test, the routes that it reaches, the principals it calls as, and the refusals it is given, as JSON in the file
that a variable names. Servers that tests start as processes are not seen.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_server.operations.api import Api
from reference_server.wire.values import Reply
from tests.contract.names import RECORD, error_name, route_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_seen: defaultdict[str, set[str]] = defaultdict(set)
_now = [""]


def _note(name: str) -> None:
    _seen[name].add(_now[0])


def _watch(name: str) -> None:
    """Have a method of the API note what it answers, and to what."""
    method: Callable[..., Any] = getattr(Api, name)

    def watched(self: Api, *arguments: Any, **named: Any) -> Any:
        answer = method(self, *arguments, **named)
        operation = getattr(arguments[0] if arguments else None, "operation", None)
        if operation is not None:
            _note(f"routes {route_name(operation)}")
            _note(f"principals {operation.principal.name}")
        if type(answer) is Reply and answer.status >= 400:
            _note(f"errors {error_name(answer)}")
        return answer

    setattr(Api, name, watched)


for _name in ("_route", "_decide", "_heartbeat", "accept", "resume", "admit_counted", "refuse", "fail", "handle"):
    _watch(_name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which test runs."""
    _now[0] = item.nodeid.partition("[")[0]


def pytest_sessionfinish() -> None:
    """Write what was seen."""
    shown = {name: sorted(tests) for name, tests in sorted(_seen.items())}
    Path(os.environ[RECORD]).write_text(json.dumps(shown, indent=1), encoding="utf-8")
