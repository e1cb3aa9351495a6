"""A search finds nothing on the right server, finds a bug that is planted, and leaves a test that fails with it."""

from __future__ import annotations

import gc
import io
import multiprocessing
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from reference_server.operations import callers
from simulator.commands.cli import app
from simulator.commands.fuzz import parse_seeds
from simulator.fuzzing.coverage import Coverage
from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing, Drawn
from simulator.fuzzing.playing import CRASHED, Doubt, Failure, Played, UnplayableError, play_text
from simulator.fuzzing.searching import Found, Search, Way, make_small, players, search
from simulator.fuzzing.showing import ShownSearch, exit_code_of, show_end, summary_of
from simulator.limits import FUZZ_ROUND_SEEDS, FUZZ_SEEDS_MAX, SEED_MAX
from simulator.scenario.loading import load_scenario
from simulator.traces.format import read_trace
from tests.planted_bugs.faults import FAULTS, Edit
from tests.planted_bugs.faulty_server import planted
from tests.support.invoking import invoke
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.invoking import Invoked

SEEDS, BATCH = (5000, 500) if SOAK else (200, 50)
"""How many seeds, and of how many a test: one that were all of them would be cut off on a machine that is busy. In the
ordinary run they are of brief scenarios, each of which costs a seventh of a second of CPU."""
BATCHES = [range(first, first + BATCH) for first in range(1, SEEDS, BATCH)]
CIRCLES_MAX = 100
"""Objects; a run leaves some 1,300."""
FAILED = sorted(Path(__file__).with_name("failed").glob("*.toml"))


def draw_brief(seed: int, weigh: Callable[[str], float]) -> Drawn:
    return Drawing(seed, weigh, brief=True).draw()


BRIEF = Way(draw_brief, FUZZ_ROUND_SEEDS, make_small)


def searched(seeds: range, jobs: int = 1, way: Way | None = None) -> Search:
    state = Search(seeds)
    with players(jobs) as play:
        search(state, play, lambda: True, lambda: False, lambda: None, way)
    return state


@pytest.mark.parametrize("seeds", BATCHES, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_nothing_is_found_on_the_right_server(seeds: range) -> None:
    state = searched(seeds, way=None if SOAK else BRIEF)
    assert not state.failing, state.found
    assert state.played == len(seeds)
    assert len(state.coverage.states) > 100


@pytest.mark.parametrize("path", FAILED, ids=[path.stem for path in FAILED])
def test_what_failed_once_fails_no_more(path: Path) -> None:
    played = play_text(path.read_text(encoding="utf-8"))
    assert not played.failures
    assert played.states


def test_metrics_that_are_open_though_the_run_shut_them_are_found() -> None:
    shut = next(path for path in FAILED if path.stem == "an-agents-key-on-metrics-that-are-public").read_text("utf-8")
    shut = shut.replace("METRICS_PUBLIC = true", "METRICS_PUBLIC = false")
    assert not play_text(shut).failures
    opened = Edit(callers.__name__, "_admit_scraper", "or state.settings.metrics_public", "or state is not None")
    with planted((opened,)):
        assert {one.checker for one in play_text(shut).failures} >= {"answers"}


if SOAK:  # it starts processes that load all of this

    def test_what_is_drawn_and_covered_does_not_depend_on_how_many_play() -> None:
        one, two = searched(range(1, 40)), searched(range(1, 40), jobs=2)
        assert one.coverage.states == two.coverage.states
        assert one.coverage.drawn == two.coverage.drawn


@pytest.mark.parametrize("way", ["kill", "terminate"])
def test_a_process_that_is_ended_ends_a_search_with_what_may_help(way: str) -> None:
    """From outside, and as the pool ends the others thereafter: it would wait for one that went on for ever."""
    texts = [as_toml(draw_brief(seed, Coverage().weigh).document) for seed in range(1, 40)]
    with players(2) as play:
        results = play(texts)
        assert next(results).states
        getattr(multiprocessing.active_children()[0], way)()
        with pytest.raises(UnplayableError, match="fewer --jobs"):
            list(results)


def fuzz(*options: str) -> Invoked:
    return invoke(app, ["fuzz", *options])


def found_in(folder: Path, *options: str) -> tuple[dict[str, Any], Path]:
    """Search, find something, and return the summary and the folder that it names."""
    result = fuzz("--out", str(folder), "--json", str(folder / "summary.json"), *options)
    assert result.exit_code == 1, result.output
    summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    (bundle,) = (folder / "fuzz").iterdir()
    assert summary["failure"]["files"][0] == str(bundle / "scenario.toml")
    return summary, bundle


def run_test(path: Path) -> None:
    """Run the tests of a file that was written."""
    for name, function in runpy.run_path(str(path)).items():
        if name.startswith("test_"):
            function()


def test_a_planted_bug_is_found_and_what_is_left_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = [one for one in FAULTS if one.name == "consents audited twice"]
    if not SOAK:
        monkeypatch.setattr("simulator.fuzzing.searching.SHRINK_TRIES_MAX", 5)
    with planted(fault.edits):
        summary, bundle = found_in(tmp_path, "--seeds", "2")
        written = bundle / "test_seed_2.py"
        with pytest.raises(AssertionError):
            run_test(written)
    run_test(written)
    failure = summary["failure"]
    assert failure["failures"][0]["checker"] in fault.caught_by
    assert failure["smallest"]["attacks"] < failure["drawn"]["attacks"]
    assert summary["failing_seeds"] == [2]
    trace = read_trace(bundle / "trace.ndjson")
    drawing = (bundle / "sequence.txt").read_text(encoding="utf-8")
    assert all(f"#{one.sequence} " in drawing for one in trace.exchanges[:50])
    assert load_scenario(bundle / "scenario.toml").seed == 2
    assert "= []" not in (bundle / "scenario.toml").read_text(encoding="utf-8")


def test_a_server_that_ends_the_run_by_a_fault_of_its_own_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("nobody looks after this")

    monkeypatch.setattr("simulator.worlds.virtual.server.VirtualServer._welcome", broken)
    (failure,) = play_text(as_toml(Drawing(1, lambda _name: 1.0).draw().document)).failures
    assert failure.rule == f"{CRASHED}.LookupError"


def test_without_time_nothing_is_known() -> None:
    state = Search(range(1, 100))
    with players(1) as play:
        search(state, play, lambda: False, lambda: False, lambda: None)
    assert not state.played


def test_a_signal_ends_a_search_after_the_run_that_is_under_way() -> None:
    state = Search(range(5, 8))
    came = iter((False, True))
    with players(1) as play:
        search(state, play, lambda: True, lambda: next(came), lambda: None)
    assert (state.played, state.interrupted) == (1, True)
    assert exit_code_of(state) == 3


def test_a_run_that_failed_while_a_signal_came_is_a_failure() -> None:
    state = Search(range(5, 8))
    failure = Failure("audit", "audit.some", "some")
    played = Played((failure,), frozenset(), 1)
    search(state, lambda texts: (played for _ in texts), lambda: True, lambda: True, lambda: None)
    assert state.failing == [5]
    assert state.found is not None
    assert state.found.cause == failure
    assert exit_code_of(state) == 1


def test_a_failure_stays_as_small_as_it_is_once_a_signal_came() -> None:
    document = Drawing(5, lambda _name: 1.0).draw().document
    found = make_small(5, document, (Failure("audit", "audit.some", "some"),), stopped=lambda: True)
    assert found.smallest == found.drawn == document


@pytest.mark.parametrize("needs", [{}, {"other": 0}, {"new": 0}, {"other": 1, "new": 0}])
def test_a_failure_is_made_small_by_any_rule_that_the_drawn_one_failed_by_and_by_no_other(
    needs: dict[str, int],
) -> None:
    """All of its attacks are needed for its first failure, fewer for the others."""
    drawn = (Drawing(seed, lambda _name: 1.0).draw().document for seed in range(50))
    document = next(one for one in drawn if len(one["attacks"]) >= 3)
    first, other = (Failure("audit", f"audit.{rule}", rule) for rule in ("first", "other"))

    def play_one(text: str) -> Played:
        attacks = text.count("[[attacks]]")
        rules = [rule for rule, least in {"first": len(document["attacks"]), **needs}.items() if attacks >= least]
        return Played(tuple(Failure("audit", f"audit.{rule}", "now") for rule in rules), frozenset(), 1)

    found = make_small(5, document, (first, other), play_one=play_one, seeded=False)
    assert len(found.smallest["attacks"]) == needs.get("other", len(document["attacks"]))
    assert found.cause.kind == (other if "other" in needs else first).kind
    assert {one.message for one in found.failures} == {"now"}


@pytest.mark.parametrize(("text", "seeds"), [("7", range(7, 8)), ("1..200", range(1, 201)), ("0..0", range(1))])
def test_seeds_are_a_range_or_one(text: str, seeds: range) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1..", "..3", "1...3", "5..4", "-1", "1..2..3", f"0..{FUZZ_SEEDS_MAX}"])
def test_what_is_no_range_of_seeds_is_said(text: str) -> None:
    result = fuzz("--seeds", text)
    assert result.exit_code == 2
    assert result.stderr.startswith("hatchfarm fuzz: ")


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("5..4", "the last seed is before the first"),
        ("9" * 20, f"a seed is at most {SEED_MAX}"),
        (f"0..{FUZZ_SEEDS_MAX}", f"more seeds than the {FUZZ_SEEDS_MAX:,}"),
    ],
)
def test_the_bound_that_seeds_break_is_named(text: str, bound: str) -> None:
    with pytest.raises(ValueError, match=bound):
        parse_seeds(text)


def end_of(state: Search) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    show_end(console, state, [])
    printed = console.file
    assert isinstance(printed, io.StringIO)
    return printed.getvalue()


def test_the_end_tells_of_sizes_that_changed_and_of_no_other() -> None:
    state = Search(range(1))
    drawn = {
        "fleet": {"machines": 3}, "attacks": [1, 2], "faults": [], "server": {"settings": {}}, "duration": "20s",
    }  # fmt: skip
    smaller = drawn | {"fleet": {"machines": 1}, "attacks": []}
    for smallest, line in ((smaller, "machines 3 to 1, attacks 2 to 0"), (drawn, "it stays as it was drawn")):
        state.found = Found(5, (Failure("audit", "audit.some", "some"),), drawn, smallest, 7)
        assert f"Made small in 7 runs: {line}\n" in end_of(state)


def test_of_what_nobody_could_know_seeds_and_reasons_are_said() -> None:
    state = Search(range(7))

    def play(texts: Iterable[str]) -> Iterator[Played]:
        for number, _ in enumerate(texts):
            doubts = (Doubt("fitting", f"reason {number}"),)
            yield Played((), frozenset(), 1, undecided=True, doubts=doubts)

    search(state, play, lambda: True, lambda: False, lambda: None)
    shown = end_of(state)
    assert "seed 0 is undecided: fitting: reason 0" in shown
    assert "and 2 more" in shown
    named = summary_of(state, [])["undecided_seeds"]
    assert "7 undecided (fitting 7)" in shown
    assert named[6] == {"seed": 6, "doubts": ({"checker": "fitting", "why": "reason 6"},)}


def lines_of(state: Search, minutes: float | None, *, all_seeds: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what is shown after each scenario."""
    monkeypatch.setattr("simulator.fuzzing.showing.LINE_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=300, highlight=False)
    shown = ShownSearch(console, state, minutes, all_seeds=all_seeds)
    doubts = (Doubt("attacks", "nobody was ready"),)
    covered = frozenset({"fault server.kill", "fault server.kill that was not undone", "answer register 201"})
    played = [Played((), covered, 7), Played((), frozenset(), 7, undecided=True, doubts=doubts)]
    search(state, lambda _texts: iter(played), lambda: True, lambda: False, shown.look)
    printed = console.file
    assert isinstance(printed, io.StringIO)
    return printed.getvalue()


def test_with_minutes_time_is_shown_and_seeds_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, line) = lines_of(Search(range(1, 3)), 2.0, all_seeds=False, monkeypatch=monkeypatch).splitlines()
    assert line.startswith(
        "0.0 of 2 minutes  2 seeds  0 failed  1 undecided (attacks 1)  3 states, 3 new in this round"
    )
    assert "1 fault covered" in line


def test_without_minutes_seeds_are_shown_of_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines_of(Search(range(1, 3)), None, all_seeds=True, monkeypatch=monkeypatch)
    assert "0s  1/2 seeds  0 failed  0 undecided  3 states" in shown


def test_what_a_run_leaves_in_circles_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run freezes what is there, and Python alone never looks at that again: an hour of runs took all memory."""
    monkeypatch.setattr("simulator.fuzzing.playing.FUZZ_COLLECTED_RUNS", 1)
    text = as_toml(Drawing(3, lambda _name: 1.0, brief=True).draw().document)
    play_text(text)
    assert gc.collect() < CIRCLES_MAX


def test_a_run_that_is_undecided_says_which_checker_could_not_know() -> None:
    """A disk that is full for so short that nobody asks meanwhile."""
    document = {
        "version": 1, "name": "brief", "seed": 1, "duration": "6s", "server": {"durable": True},
        "fleet": {"machines": 1, "owners": 1, "heartbeat_interval": "5s"},
        "faults": [{"kind": "disk.full", "at": "3s", "duration": "50ms"}],
    }  # fmt: skip
    played = play_text(as_toml(document))
    assert played.undecided
    assert [one.checker for one in played.doubts] == ["durability"]
    assert "no request got an answer meanwhile" in played.doubts[0].why


def test_a_summary_that_cannot_be_written_is_said_before_anything_is_played(tmp_path: Path) -> None:
    nowhere = tmp_path / "file" / "summary.json"
    nowhere.parent.write_text("", encoding="utf-8")
    result = fuzz("--seeds", "1", "--out", str(tmp_path), "--json", str(nowhere))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{nowhere} cannot be written" in result.stderr


def test_a_search_that_finds_nothing_leaves_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fuzz("--seeds", "3", "--minutes", "0.01", "--out", str(out)).exit_code in {0, 3}
    assert not out.exists()
