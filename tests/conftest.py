"""What every test shares: with HATCHFARM_TESTS_SKIP_NOTHING=1 (as in .ci/run) a skipped test fails the run."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.alone import ThisMachine
from tests.support.stuck import Guard
from tests.support.tiers import DRAWN, QUICK, SOAK, examples, is_quick

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

pytest.register_assert_rewrite(
    "tests.support.chromium",
    "tests.core.control_plane_comparison",
    "tests.core.server_under_test",
    "tests.http.http2_client",
    "tests.http.processes",
    "tests.http.serving",
    "tests.http.twins",
    "tests.report.runs",
    "tests.support.trials",
)
"""Modules that are no tests but assert for some. Here, before any of them can be imported: folders share them."""

WHOLE_RUNS = frozenset(
    {
        "broken_targets",
        "capacity",
        "cases",
        "cli",
        "commands",
        "durability",
        "false_alarms",
        "faults",
        "growth",
        "load",
        "planted_bugs",
        "prometheus",
        "report",
        "traces",
    }
)
"""Folders in which a fixture makes whole runs, draws many plots or counts each step of a program, or a test starts
servers again and again; each ends by itself."""
WHOLE_RUNS_SECONDS = 1800
LONGEST = (
    "planted_bugs/test_planted_bugs.py",
    "load/test_network_namespaces.py",
    "growth/test_growth.py",
    "faults/test_live_faults.py",
    "durability/test_kill_nine.py",
    "payouts/test_withdrawals_under_kills.py",
    "fuzzing/test_searching.py",
    "durability/test_damaged_files.py",
    "http/test_http_corpus.py",
    "load/test_conducted_run.py",
    "durability/test_failing_storage.py",
    "load/test_lost_processes.py",
    "scenario/test_broken_scenarios.py",
    "false_alarms/test_false_alarms.py",
    "report/test_report_plots.py",
    "traces/test_live_replay.py",
    "report/test_report_page.py",
    "cli/test_run_interrupted.py",
    "description/test_schemathesis.py",
    "load/test_web_ui.py",
    "core/test_control_plane_against_its_model.py",
    "attacks/test_owner_attacks_on_a_right_server.py",
    "published/test_the_double.py",
    "http/test_http_framing_guard.py",
    "cli/test_outputs_kept.py",
    "load/test_locustfile.py",
    "http/test_http_mixes.py",
    "shared_state/test_shared_state_faults.py",
    "broken_targets/test_answers_that_are_wrong.py",
    "commands/test_command_runs.py",
)
"""The files that take longest, by what they were measured to: begun first, so that none is left when the others are
done, and in an order that brings together few of those whose runs a busy machine leaves without a verdict."""
SOAK_SECONDS = 3600
"""How long a test may take that makes in full what is sampled otherwise."""
STUCK_SECONDS = 2 * (SOAK_SECONDS if SOAK else WHOLE_RUNS_SECONDS)
"""After so long without another test, which may wait for those that have the machine alone, its process is ended."""
GUARD = pytest.StashKey[Guard]()
ENDED = "hatchfarm/ended"
"""Where pytest's cache keeps how the last session ended: its exit code, and how many tests it skipped."""

settings.register_profile(
    "hatchfarm",
    max_examples=DRAWN if SOAK else examples(DRAWN),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not SOAK,
    print_blob=True,
)
settings.load_profile("hatchfarm")
"""No test goes by how fast the machine is, and a commit always gives the same result; a soak draws new examples,
and the quick tier a tenth of them."""

for number, handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:  # by nohup or a shell's `&`; what tests start would inherit it
        signal.signal(number, handler)

os.environ.setdefault("WORKER_STATUS_STATE_FILE", "")  # no server that a test starts leaves one where it runs


def pytest_configure(config: pytest.Config) -> None:
    """Have a process that hangs ended, by a guard of the whole session."""
    config.stash[GUARD] = Guard(STUCK_SECONDS)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the process alone again."""
    config.stash[GUARD].close()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what is not quick where only that is asked for, and folders without it: their conftest loads much."""
    if not QUICK:
        return None
    if collection_path.is_dir():
        return None if any(map(is_quick, collection_path.rglob("test_*.py"))) else True
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_test and not is_quick(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without collecting garbage: a quarter of the time goes into looking for it, and there is none.

    Half a million objects that last as long as the process are not gone over later either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest, and give tests longer than `timeout` of pyproject.toml where they need it.

    What is long is left out where only quick tests are asked for.
    """
    rank = {file: number for number, file in enumerate(LONGEST)}
    if QUICK:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=lambda item: rank.get(f"{item.path.parent.name}/{item.path.name}", len(rank)))
    for item in items:
        if SOAK or item.path.parent.name in WHOLE_RUNS:
            item.add_marker(pytest.mark.timeout(SOAK_SECONDS if SOAK else WHOLE_RUNS_SECONDS))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Share the machine with the processes that test beside this one."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _keep_ended(session, None)
    else:
        # The fixture that has this folder for tests is not there yet.
        ThisMachine.share(session.config._tmp_path_factory.getbasetemp().parent)  # type: ignore[attr-defined]


def _keep_ended(session: pytest.Session, ended: list[int] | None) -> None:
    """Keep how a session ended, where it keeps anything: a test that is made again alone leaves what is known."""
    if session.config.pluginmanager.has_plugin("cacheprovider"):
        session.config.cache.set(ENDED, ended)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Have no test begin while another one has the machine to itself; what it waits does not count as its time."""
    with ThisMachine.together():
        item.config.stash[GUARD].a_test_begins()
        return (yield)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn skips into a failure where nothing may skip, and keep how the session ended."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    _keep_ended(session, [int(exitstatus), len(skipped)])
    if skipped and exitstatus == 0 and os.environ.get("HATCHFARM_TESTS_SKIP_NOTHING") == "1":
        reporter.write_line(f"{len(skipped)} tests were skipped where nothing may skip", red=True)
        session.exitstatus = 1
