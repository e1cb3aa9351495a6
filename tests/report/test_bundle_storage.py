"""A history on disk: nothing is lost on the way, and nothing in a file that others made can do harm."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.checkers.facts import Facts
from simulator.errors import BundleError
from simulator.history import records, tables
from simulator.history.rows import ROW, History
from simulator.history.tables import TABLES, TableBounds, read_history, write_history
from simulator.judging.record import FILE, read_record, write_record
from simulator.limits import MACHINES_MAX
from tests.report.runs import broken, record
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

texts = st.text(st.characters(exclude_categories=()), max_size=8)
integers = st.integers(-(2**63), 2**63 - 1)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return any value of a type that records are made of."""
    plain = {int: integers, float: st.floats(), str: texts, bytes: st.binary(max_size=9), Any: json_values}
    if kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return st.builds(kind, **{name: values_of(of) for name, of in get_type_hints(kind, vars(records)).items()})
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {list, Sequence, MutableSequence}:
        return st.lists(values_of(inner[0]), max_size=3)
    if origin is tuple:
        return st.lists(values_of(inner[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(values_of(inner[0]), values_of(inner[1]), max_size=3)
    return st.from_type(kind)


def rows_of(data: bytes) -> Any:
    """Make rows of random bytes, with what must be in range put in range."""
    rows = np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], dtype=ROW).copy()
    for name in ("operation", "expected", "got"):
        rows[name] %= 9
    rows["machine"] %= MACHINES_MAX
    return rows


def test_every_public_attribute_of_a_history_is_a_table_that_is_stored() -> None:
    """So a table that somebody adds is stored without more, or this fails."""
    assert {name for name in vars(History()) if not name.startswith("_")} == set(TABLES)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60), deadline=None)
@given(st.fixed_dictionaries({name: values_of(kind) for name, kind in TABLES.items()}), st.binary(max_size=600))
def test_a_history_comes_back_as_it_was(tmp_path: Path, stored: dict[str, Any], data: bytes) -> None:
    """NaN, lone surrogates, bytes and numbers of any size included."""
    history = History()
    history.extend(rows_of(data))
    for name, table in stored.items():
        setattr(history, name, table)
    history.waits = [
        msgspec.structs.replace(one, count=one.count % 1000, machine=one.machine % MACHINES_MAX)
        for one in history.waits
    ]
    history.unserved = [
        msgspec.structs.replace(one, operation=one.operation % 9, status=one.status % 600, got=one.got % 9)
        for one in history.unserved
    ]
    write_history(history, tmp_path)
    again = read_history(tmp_path)
    assert again.rows().tobytes() == history.rows().tobytes()
    for name in TABLES:
        assert repr(getattr(again, name)) == repr(getattr(history, name))


@pytest.mark.parametrize("odd", [{"operation": 99}, {"got": -1}, {"status": 1 << 40}])
def test_what_was_asked_in_vain_and_means_nothing_is_refused(tmp_path: Path, odd: dict[str, int]) -> None:
    history = History()
    history.unserved.append(
        records.Unserved(**{"sent_ns": 0, "answered_ns": 1, "operation": 9, "status": 500, "got": 24} | odd)
    )
    write_history(history, tmp_path)
    with pytest.raises(BundleError, match=r"unserved\.ndjson\.gz"):
        read_history(tmp_path)


def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_history(broken()[1], folder)
        files.append({path.name: path.read_bytes() for path in (folder / "history").iterdir()})
    assert files[0] == files[1]


def test_common_tools_can_read_it(tmp_path: Path) -> None:
    _, history = broken()
    write_history(history, tmp_path)
    with np.load(tmp_path / "history" / "rows.npz", allow_pickle=False) as columns:
        assert (columns["sent_ns"] == history.rows()["sent_ns"]).all()
    lines = gzip.decompress((tmp_path / "history" / "scrapes.ndjson.gz").read_bytes()).splitlines()
    assert json.loads(lines[0])["samples"] == history.scrapes[0].samples


@pytest.mark.parametrize("shown", [{"a": 1.5, "b": -0.0}, {"a": float("nan")}, {"a": float("inf"), "b": -float("inf")}])
def test_what_a_server_showed_before_the_run_comes_back_even_where_json_knows_no_such_number(
    tmp_path: Path, shown: dict[str, float]
) -> None:
    run = record(Facts(stale_seconds=1.0, auth_window_seconds=2.0, auth_threshold=3, baseline=shown))
    write_record(run, tmp_path)
    assert repr(read_record(tmp_path)) == repr(run)


def _rewritten(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, content)
    return file.getvalue()


def _column(values: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values))
    return file.getvalue()


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code in a history ran",))


def _pickled() -> bytes:
    """Return a column of objects as numpy would write it: a header, then a pickle that runs code."""
    header = _column(np.array([None], dtype=object))
    return header[: header.index(b"\n") + 1] + pickle.dumps(_Code())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: members.pop("got.npy"), "its columns are not this version's"),
        (lambda members: members.update({"more.npy": b""}), "its columns are not this version's"),
        (lambda members: members.update({"got.npy": members["got.npy"][:-1]}), "is not as long as it says"),
        (lambda members: members.update({"got.npy": members["got.npy"] + b"x"}), "is not as long as it says"),
        (lambda members: members.update({"got.npy": _column(np.zeros(3, "u1"))}), "not equally long"),
        (lambda members: members.update({"got.npy": _column(np.zeros((3, 3), "u1"))}), "is not one column of uint8"),
        (lambda members: members.update({"got.npy": _column(np.zeros(3, "f8"))}), "is not one column of uint8"),
        (lambda members: members.update({"got.npy": _pickled()}), "is not one column of uint8"),
        (lambda members: members.update({"got.npy": b""}), "cannot be read"),
        (lambda members: members.update({"got.npy": b"\x93NUMPY\x03\x00" + b"\xff" * 99}), "is of another version"),
        (lambda members: members.update({"got.npy": _column(np.full(_rows(members), 250, "u1"))}), "does not know"),
        (
            lambda members: members.update({"machine.npy": _column(np.full(_rows(members), 2**31 - 1, "<i4"))}),
            "a row has a machine that no run has",
        ),
    ],
)
def test_rows_that_no_run_wrote_are_refused_with_the_reason(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], why: str
) -> None:
    write_history(broken()[1], tmp_path)
    path = tmp_path / "history" / "rows.npz"
    path.write_bytes(_rewritten(path.read_bytes(), change))
    with pytest.raises(
        BundleError, match=rf"^history/rows\.npz cannot be read \(.*{why}" if "cannot" not in why else why
    ):
        read_history(tmp_path)


def _rows(members: dict[str, bytes]) -> int:
    return len(np.load(io.BytesIO(members["got.npy"])))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not packed", "Not a gzipped file"),
        (gzip.compress(b"{}\n", mtime=0)[:-3], "Compressed file ended"),
        (gzip.compress(b"{", mtime=0), "Expecting"),
        (gzip.compress(b"[" * 100_000, mtime=0), "recursion"),
        (gzip.compress(b"1" * 5000 + b"\n", mtime=0), "Exceeds the limit"),
        (gzip.compress(b'{"sent_ns":"soon","answered_ns":1,"samples":{}}\n', mtime=0), "Expected `int`"),
        (gzip.compress(b'{"sent_ns":1}\n', mtime=0), "missing required field"),
        (gzip.compress(b"\xff\n", mtime=0), "decode"),
    ],
)
def test_tables_that_no_run_wrote_are_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    write_history(broken()[1], tmp_path)
    (tmp_path / "history" / "scrapes.ndjson.gz").write_bytes(content)
    with pytest.raises(BundleError, match=rf"^history/scrapes\.ndjson\.gz cannot be read \(.*{why}"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (TableBounds(line_max_bytes=100), "unpacks to more than a history can"),
        (TableBounds(table_max_bytes=100), "unpacks to more than a history can"),
        (TableBounds(small_bytes=0, shrink_max=0), "unpacks to more than a history can"),
        (TableBounds(small_bytes=0, rows_max=3), "more than 3 rows"),
    ],
)
def test_what_unpacks_to_too_much_is_refused_before_it_takes_the_memory(
    tmp_path: Path, bounds: TableBounds, why: str
) -> None:
    write_history(broken()[1], tmp_path)
    with pytest.raises(BundleError, match=why):
        read_history(tmp_path, bounds)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is no record of a run"),
        (b"[1]", "is no record of a run"),
        (b'{"format": 2}', "is of format 2, this version reads 1"),
        (b'{"format": 1}', "is no record of a run"),
        (b'{"format": 1, "facts": {"baseline": {"a": "high"}}}', "is no record of a run"),
        (b'{"format": 1, "facts": []}', "is no record of a run"),
        (b"[" * 100_000, "is no record of a run"),
    ],
)
def test_a_record_that_no_run_wrote_is_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BundleError, match=why):
        read_record(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^run\.json cannot be read \(No such file or directory\)$"):
        read_record(tmp_path)
    with pytest.raises(BundleError, match=r"^history/rows\.npz cannot be read \(No such file or directory\)$"):
        read_history(tmp_path)


def test_a_bundle_from_before_a_table_was_there_is_read_without_it(tmp_path: Path) -> None:
    write_history(broken()[1], tmp_path)
    for name in tables.LATER:
        (tmp_path / "history" / f"{name}.ndjson.gz").unlink()
    again = read_history(tmp_path)
    assert [getattr(again, name) for name in sorted(tables.LATER)] == [[]] * len(tables.LATER)


@pytest.mark.parametrize("counts", [(-1,), (1 << 62,), (1 << 26, 1 << 26)])
def test_waits_that_would_fill_the_memory_are_refused(tmp_path: Path, counts: tuple[int, ...]) -> None:
    """Each planned start that was held up is a value when a run is judged."""
    history = History()
    history.waits += [records.Wait(0, 0, 1, count, 5) for count in counts]
    write_history(history, tmp_path)
    with pytest.raises(BundleError, match="planned starts"):
        read_history(tmp_path)
