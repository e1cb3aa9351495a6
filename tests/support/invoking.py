"""Commands called within this process, made of their functions once for all: that takes longer than most calls."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from typer.main import get_command
from typer.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from typer import Typer


class Invoked(NamedTuple):
    """How a call ended: its exit code, what it printed to each stream, and what it raised, if anything."""

    exit_code: int
    stdout: str
    stderr: str
    output: str
    exception: BaseException | None


@cache
def _made(app: Typer) -> Any:
    return get_command(app)


def invoke(
    app: Typer, arguments: Sequence[str], *, env: Mapping[str, str | None] | None = None, given: bytes | None = None
) -> Invoked:
    """Call a program with arguments, in this environment with `env` in it, and `given` on its standard input."""
    raised: BaseException | None = None
    code: object = 0
    with CliRunner().isolation(input=given, env=env) as streams:
        try:
            _made(app).main(args=arguments, prog_name="hatchfarm")
        except SystemExit as end:
            code, raised = end.code or 0, end if end.code else None
        except Exception as error:  # noqa: BLE001 - what the test that calls must see
            code, raised = 1, error
        sys.stdout.flush()
        sys.stderr.flush()
        out, err, both = (stream.getvalue().decode().replace("\r\n", "\n") for stream in streams)
    assert isinstance(code, int), code
    return Invoked(code, out, err, both, raised)
