"""The files written for a failure: the smallest scenario, its trace, a drawing, and a test that fails with the bug."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.playing import record_text
from simulator.fuzzing.sequence import draw_sequence
from simulator.platform.output_files import write_whole
from simulator.traces.format import Exchange, Header, encode_line
from simulator.traces.recording import TRACE
from simulator.traces.writing import TraceWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from simulator.fuzzing.documents import Document
    from simulator.fuzzing.playing import Recorded
    from simulator.fuzzing.searching import Found

SCENARIO, SEQUENCE = "scenario.toml", "sequence.txt"
_TEST = '''"""{title}

Written by `hatchfarm fuzz`: it fails as long as the bug is there. The scenario plays in virtual time by its own seed.
"""

from __future__ import annotations

from simulator.fuzzing.playing import play_text

SCENARIO = """
{scenario}"""


def test_{name}() -> None:
    assert not play_text(SCENARIO).failures
'''


def described(found: Found) -> Document:
    """Return the smallest scenario without empty lists, and with a description that names the broken rule."""
    return {
        **{key: value for key, value in found.smallest.items() if value != []},
        "description": f"Seed {found.seed} of a search: {found.cause.rule} of {found.cause.checker}.",
    }


def test_of(found: Found) -> str:
    """Return the text of a pytest file that fails with the bug and passes without it."""
    name = re.sub(r"\W+", "_", f"seed_{found.seed}_{found.cause.rule}").strip("_").lower()
    document = described(found)
    text = as_toml(document).replace("\\", r"\\").replace('"""', r"\"\"\"")
    return _TEST.format(title=document["description"], scenario=text, name=name)


def leave(found: Found, folder: Path, record: Callable[[str], Recorded | None] | None = None) -> list[Path]:
    """Write the files of a failure into `folder`; return their paths. Raises OSError.

    `record` plays the scenario again if it was not played in virtual time. Then no test is written, because tests play
    in virtual time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = as_toml(described(found))
    parts = {SCENARIO: text.encode()}
    if record is None:
        parts[f"test_seed_{found.seed}.py"] = test_of(found).encode()
    recorded = (record or record_text)(text)
    if recorded is not None:
        origin = msgspec.structs.replace(
            recorded.origin, started_unix_ns=recorded.tape.started_unix_ns, left_out=recorded.tape.left_out
        )
        lines = list(TraceWriter(recorded.tape.exchanges(), origin, recorded.token, redact=True).lines())
        parts[TRACE] = b"".join(map(encode_line, lines))
        parts[SEQUENCE] = _drawing(lines, str(found.cause)).encode()
    for name, data in parts.items():
        write_whole(folder / name, [data])
    return [folder / name for name in parts]


def _drawing(lines: list[Header | Exchange], title: str) -> str:
    return draw_sequence((line for line in lines if isinstance(line, Exchange)), title)
