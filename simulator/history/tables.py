"""Writing and reading a history as files, lossless and compressed: one for the rows, and one for each side table.

`history/rows.npz` holds one array per column, as numpy writes them; `history/NAME.ndjson.gz` holds a side table, one
record per line. Common tools read both formats, and neither format can hold code. The reader trusts nothing: it bounds
sizes before it allocates memory, and refuses a history with any value that is not of its type and range.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import MutableSequence
from types import GenericAlias
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import numpy as np

from simulator.contract.answers import Answer, Operation
from simulator.errors import BundleError
from simulator.history import market_records, records
from simulator.history.packed import plainly
from simulator.history.rows import NO_MACHINE, ROW, History
from simulator.limits import (
    BUNDLE_LINE_MAX_BYTES,
    BUNDLE_ROWS_MAX,
    BUNDLE_SHRINK_MAX,
    BUNDLE_SMALL_BYTES,
    BUNDLE_TABLE_MAX_BYTES,
    MACHINES_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

FOLDER = "history"
ROWS = "rows.npz"
TABLES: dict[str, Any] = get_type_hints(
    History, {"MutableSequence": MutableSequence} | vars(records) | vars(market_records)
)
"""The type of each side table by name: a list of records, or records by number. A new table in `History` is stored
without any change here."""
LATER = frozenset(
    {
        "waits", "health_readings", "deviations", "shown", "certificates_shown", "key_readings", "wall_readings",
        "summary_readings", "deaths", "unserved", "closes_at_rest",
        "cpu_waits", "market_exchanges", "accounts_shown", "resources_shown", "capacity_reports", "assignments",
        "job_reports",
    }
)  # fmt: skip
"""Tables that bundles of earlier versions do not have: when such a bundle is read, they are empty."""
_HEADER_MAX_BYTES = 4096
_COMPRESSION = 6
_ROWS_COMPRESSION = 4
"""zlib level for the columns. Times and nonces take as many bytes as with level 6, in a third of the time."""
STATUS_END = 1 << 15
"""One more than the highest status that a row can hold (a 16-bit integer)."""


class TableBounds(msgspec.Struct, frozen=True):
    """The largest stored history that is read; a larger one is refused. The reason of each bound is in `limits.py`.

    The rows unpack to at most `small_bytes` plus `shrink_max` times their size on disk. `table_max_bytes` bounds each
    unpacked side table, `line_max_bytes` each record of a side table.
    """

    rows_max: int = BUNDLE_ROWS_MAX
    shrink_max: int = BUNDLE_SHRINK_MAX
    small_bytes: int = BUNDLE_SMALL_BYTES
    table_max_bytes: int = BUNDLE_TABLE_MAX_BYTES
    line_max_bytes: int = BUNDLE_LINE_MAX_BYTES


TABLE_BOUNDS = TableBounds()


def write_history(history: History, folder: Path) -> None:
    """Write `history` to files in the folder `history/` below `folder`. Raises OSError."""
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    rows = history.rows()
    with zipfile.ZipFile(target / ROWS, "w", zipfile.ZIP_DEFLATED, compresslevel=_ROWS_COMPRESSION) as archive:
        for name in ROW.names or ():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as column:
                np.lib.format.write_array(column, np.ascontiguousarray(rows[name]), allow_pickle=False)
    for name in TABLES:
        records = getattr(history, name)
        # Neither the time of writing nor the file's name is stored: the same history gives the same bytes.
        with (
            (target / f"{name}.ndjson.gz").open("wb") as raw,
            gzip.GzipFile("", "wb", _COMPRESSION, fileobj=raw, mtime=0) as packed,
        ):
            for record in records.items() if isinstance(records, dict) else records:
                plain = msgspec.to_builtins(record, enc_hook=plainly)
                packed.write(json.dumps(plain, separators=(",", ":")).encode() + b"\n")


def history_digest(history: History) -> str:
    """Return the hexadecimal SHA-256 of everything in `history`: equal histories give equal digests in any process."""
    digest = hashlib.sha256(history.rows().tobytes())
    for name in TABLES:
        records = getattr(history, name)
        for record in records.items() if isinstance(records, dict) else records:
            plain = msgspec.to_builtins(record, enc_hook=plainly)
            digest.update(f"{name} {json.dumps(plain)}\n".encode())
    return digest.hexdigest()


def read_history(folder: Path, bounds: TableBounds = TABLE_BOUNDS) -> History:
    """Read the history from `history/` below `folder`. Raises BundleError if it is unreadable or beyond `bounds`."""
    source = folder / FOLDER
    history = History()
    path = source / ROWS
    try:
        history.extend(_rows(path, bounds))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise BundleError(f"{FOLDER}/{ROWS} cannot be read ({_reason(error)})") from None
    for name, kind in TABLES.items():
        path = source / f"{name}.ndjson.gz"
        if name in LATER and not path.exists():
            if name == "closes_at_rest":
                history.leave_rests_unknown()
            continue
        try:
            plain = list(_lines(path, bounds))
            table = getattr(history, name)
            if isinstance(table, dict):
                table.update(msgspec.convert(plain, GenericAlias(list, (GenericAlias(tuple, kind.__args__),))))
            else:
                table.extend(msgspec.convert(plain, kind, str_keys=True))
            _see_that_waits_are_not_too_long(history, bounds.rows_max)
        except (OSError, ValueError, EOFError, zlib.error, RecursionError) as error:
            raise BundleError(f"{FOLDER}/{path.name} cannot be read ({_reason(error)})") from None
    _see_that_answers_mean_something(history)
    return history


def _see_that_answers_mean_something(history: History) -> None:
    """Raise BundleError if an `unserved` record has an operation, answer or status unknown to this version."""
    for one in history.unserved:
        if not (0 <= one.operation <= max(Operation) and 0 <= one.got <= max(Answer) and abs(one.status) < STATUS_END):
            raise BundleError(f"{FOLDER}/unserved.ndjson.gz has what this version does not know")


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _rows(path: Path, bounds: TableBounds) -> NDArray[Any]:
    """Read the columns into rows. Raises ValueError, and the errors of `zipfile` and the file system."""
    names = ROW.names or ()
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        if sorted(members) != sorted(f"{name}.npy" for name in names):
            raise ValueError("its columns are not this version's")
        size = sum(member.file_size for member in members.values())
        if size > bounds.small_bytes + bounds.shrink_max * path.stat().st_size:
            raise ValueError("it unpacks to more than a history can")
        if size > bounds.small_bytes + bounds.rows_max * ROW.itemsize:
            raise ValueError(f"it has more than {bounds.rows_max:,} rows")
        rows: NDArray[Any] | None = None
        for name in names:
            column = _column(archive, members[f"{name}.npy"], ROW[name])
            if rows is None:
                rows = np.empty(len(column), dtype=ROW)
            if len(column) != len(rows):
                raise ValueError("its columns are not equally long")
            rows[name] = column
    assert rows is not None  # noqa: S101 - ROW has columns
    _see_that_values_mean_something(rows)
    return rows


def _column(archive: zipfile.ZipFile, member: zipfile.ZipInfo, kind: np.dtype[Any]) -> NDArray[Any]:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{member.filename} is of another version")
        shape, _, found = np.lib.format.read_array_header_1_0(file, max_header_size=_HEADER_MAX_BYTES)
        if found != kind or len(shape) != 1 or shape[0] * kind.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is not one column of {kind}")
        data = file.read(shape[0] * kind.itemsize)
        if file.read(1) or len(data) != shape[0] * kind.itemsize:
            raise ValueError(f"{member.filename} is not as long as it says")
    return np.frombuffer(data, dtype=kind)


def _see_that_values_mean_something(rows: NDArray[Any]) -> None:
    """Raise ValueError for values that no run writes: checkers use some as indexes and look up the names of others."""
    for name, last in (("operation", max(Operation)), ("expected", max(Answer)), ("got", max(Answer))):
        if len(rows) and rows[name].max() > last:
            raise ValueError(f"a row has an {name} that this version does not know")
    machines = rows["machine"]
    if len(rows) and (machines.min() < NO_MACHINE or machines.max() >= MACHINES_MAX):
        raise ValueError("a row has a machine that no run has")


def _see_that_waits_are_not_too_long(history: History, starts_max: int) -> None:
    """Raise ValueError for more than `starts_max` held-up starts: each becomes a row when the run is judged."""
    counts = [one.count for one in history.waits]
    if min(counts, default=0) < 0 or sum(counts) > starts_max:
        raise ValueError(f"its waits are of less than none, or of more than {starts_max}, planned starts")
    if any(not NO_MACHINE <= one.machine < MACHINES_MAX for one in history.waits):
        raise ValueError("a machine waits that no run has")


def _lines(path: Path, bounds: TableBounds) -> Iterator[Any]:
    """Yield the records of a side table. Raises ValueError for invalid or too much data, and the errors of `gzip`."""
    unpacked = 0
    with gzip.open(path, "rb") as lines:
        while line := lines.readline(bounds.line_max_bytes + 1):
            unpacked += len(line)
            if len(line) > bounds.line_max_bytes or unpacked > bounds.table_max_bytes:
                raise ValueError("it unpacks to more than a history can")
            yield json.loads(line)
