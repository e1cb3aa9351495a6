"""What there is to measure, and what of it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import catalogue
from benchmarks.catalogue import ALL, CATALOGUE, Scale, UnknownBenchmarkError, load, select
from benchmarks.route_requests import LEFT_OUT, ROUTES
from reference_server.operations.table import OPERATIONS

if TYPE_CHECKING:
    from benchmarks.measuring import Benchmark

NAMES = [entry.name for entry in CATALOGUE]
USUAL = [name for name in NAMES if name not in {"rivals", "virtual_long"}]


@pytest.mark.parametrize(
    ("names", "quick", "chosen"),
    [
        ([], False, []),
        ([ALL], False, USUAL),
        ([ALL], True, USUAL),
        ([], True, ["heartbeat", "mixed", "limited"]),
        (["memory", "heartbeat", "memory"], False, ["heartbeat", "memory"]),
        (["memory"], True, ["memory"]),
        ([ALL, "memory"], False, USUAL),
        ([ALL, "rivals", "virtual_long"], False, NAMES),
    ],
)
def test_benchmarks_are_chosen_by_name_each_once(names: list[str], chosen: list[str], *, quick: bool) -> None:
    assert [entry.name for entry in select(names, quick=quick)] == chosen


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownBenchmarkError, match=r"^'routs' is no benchmark: did you mean 'routes'\?$"):
        select(["heartbeat", "routs"])
    with pytest.raises(UnknownBenchmarkError, match=r"^'x' is no benchmark: one of all, behind_proxy, checkers, .*"):
        select(["x"])


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_benchmark_is_where_the_catalogue_says_and_has_its_name(entry: catalogue.Entry) -> None:
    assert entry.load(100).name == entry.name
    assert entry.summary.endswith(".")


@pytest.mark.parametrize(
    ("scale", "sizes", "rounds"),
    [
        (Scale(), {"heartbeat": 1.0, "memory": 5000}, 5),
        (Scale(rounds=2, seconds=3.0, machines=300), {"heartbeat": 3.0, "memory": 300}, 2),
        (Scale(quick=True, machines=1000), {"heartbeat": 0.4, "memory": 1000}, 5),
        (Scale(quick=True, rounds=9, seconds=2.0), {"heartbeat": 2.0, "memory": 5000}, 9),
    ],
)
def test_a_scale_says_how_much_is_measured(
    monkeypatch: pytest.MonkeyPatch, scale: Scale, sizes: dict[str, float], rounds: int
) -> None:
    asked: dict[str, float] = {}
    loaded = catalogue.Entry.load

    def note(entry: catalogue.Entry, size: float) -> Benchmark:
        asked[entry.name] = size
        return loaded(entry, 100)

    monkeypatch.setattr(catalogue.Entry, "load", note)
    assert [one.rounds for one in load(select(["heartbeat", "memory"]), scale)] == [rounds, rounds]
    assert asked == sizes


def test_every_operation_is_measured_or_left_out_with_a_reason() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)
    assert {route.name for route in ROUTES}.isdisjoint(LEFT_OUT)
    operations = {f"{operation.method} {operation.path}" for operation in OPERATIONS}
    assert {route.name for route in ROUTES} | LEFT_OUT.keys() == operations
