"""What tests need to see inside Locust, in a process of its own: importing Locust patches a whole process with gevent.

`LocustSide` is how tests ask; the rest runs there. Questions and answers are lines of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from locust.stats import RequestStats, StatsEntry

ROOT = Path(__file__).parents[2]
PERCENTILES = (0.0, 0.5, 0.66, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class LocustSide:
    """The tests' end of the conversation."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, what: str, **about: Any) -> Any:
        """Ask one question; gives the answer. Raises RuntimeError with what went wrong there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, about]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "problem" in answer:
            raise RuntimeError(answer["problem"])
        return answer["answer"]


@contextmanager
def locust_side() -> Iterator[LocustSide]:
    """Have a process with Locust in it for a while."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.load.locust_side"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LocustSide(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()


# --- in the other process


def dispatch(classes: list[str], steps: list[dict[str, Any]]) -> list[dict[str, dict[str, int]]]:
    """Play steps against a `MixDispatcher`; gives the users on workers after each.

    A step is what is wanted by class, and the names of the workers that are there then.
    """
    from types import SimpleNamespace  # noqa: PLC0415 - as below

    from locust import User  # noqa: PLC0415 - in this process only

    from simulator.load.dispatching import MixDispatcher  # noqa: PLC0415 - as above

    wanted: dict[str, int] = {}
    nodes: dict[str, Any] = {name: SimpleNamespace(id=name) for step in steps for name in step["workers"]}
    here = steps[0]["workers"]
    dispatcher = MixDispatcher(
        lambda: wanted,
        worker_nodes=[nodes[name] for name in here],
        user_classes=[type(name, (User,), {"abstract": True}) for name in classes],
    )
    reported = []
    for step in steps:
        wanted = step["wanted"]
        for name in set(here) - set(step["workers"]):
            dispatcher.remove_worker(nodes[name])
        for name in sorted(set(step["workers"]) - set(here)):
            dispatcher.add_worker(nodes[name])
        here = step["workers"]
        # Locust is told a total as its shape has it, and takes what comes until there is no more.
        dispatcher.new_dispatch(sum(wanted.values()), 50.0)
        whole = list(dispatcher)
        assert len(whole) == 1
        assert not dispatcher.dispatch_in_progress
        assert dispatcher.get_current_user_count() == sum(sum(users.values()) for users in whole[0].values())
        reported.append(whole[0])
    return reported


def ticks(scenario: str, moments: list[tuple[int, int]]) -> list[Any]:
    """Return what a `ScenarioShape` tells Locust at moments: elapsed nanoseconds, and how many workers there are."""
    from simulator.load.dispatching import ScenarioShape  # noqa: PLC0415 - in this process only
    from simulator.scenario.loading import parse_scenario  # noqa: PLC0415 - as above

    class Shape(ScenarioShape):
        abstract = False

    now = [0, 0]
    shape = Shape(parse_scenario(scenario), lambda: now[0], lambda: now[1])
    reported: list[Any] = []
    for moment in moments:
        now[:] = moment
        reported.append([shape.tick(), shape.wanted])
    return reported


def merge(pieces: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Count requests twice, by tallies of pieces and one by one as Locust does; gives what either shows.

    A request is its method, name, milliseconds (None where no answer came) and what is said of its failure, if it
    failed. Every piece is of another second.
    """
    from locust.stats import RequestStats  # noqa: PLC0415 - in this process only

    from simulator.judging.tally import UNKNOWN  # noqa: PLC0415 - as above
    from simulator.load.statistics import counts_of, merge_tallies  # noqa: PLC0415 - as above

    merged, logged = RequestStats(), RequestStats()
    seconds = count(1_700_000_000)
    for piece in pieces:
        merge_tallies(merged, list(_tallies(piece, UNKNOWN)), next(seconds) + 0.5)
        for one in piece:
            logged.log_request(one["method"], one["name"], one["milliseconds"], 0)
            output = UNKNOWN if one["milliseconds"] is None else one["failure"]
            if output:
                logged.log_error(one["method"], one["name"], output)
    return {
        "merged": _shown(merged),
        "logged": _shown(logged),
        "counts": [(one.method, one.name, one.requests, one.failures) for one in counts_of(merged)],
        "by_second": sorted(merged.total.num_reqs_per_sec.items()),
        "failed_by_second": sorted(merged.total.num_fail_per_sec.items()),
        "last": merged.total.last_request_timestamp,
    }


def early_user() -> list[str]:
    """Say in which order a test begins, and a user who was started before it gets what owners share."""
    from types import SimpleNamespace  # noqa: PLC0415 - as below

    import gevent  # noqa: PLC0415 - in this process only
    from locust.env import Environment  # noqa: PLC0415 - as above

    from simulator.load import worker_node  # noqa: PLC0415 - as above
    from simulator.load.messages import Begin, Order, pack  # noqa: PLC0415 - as above

    environment = Environment()
    environment.create_local_runner()
    reported: list[str] = []
    vars(worker_node)["ShardBridge"] = lambda *_: SimpleNamespace(change=lambda _: reported.append("begun"))
    vars(environment.runner)["send_message"] = lambda *_: None  # there is no master
    node = worker_node.WorkerNode(environment, "token-of-nobody", token_given=True)
    user = gevent.spawn(lambda: reported.append(node.owners().prefix))
    gevent.sleep(0)  # the user runs until it has to wait
    scenario = 'version = 1\nname = "early"\nduration = "5s"\n[fleet]\nmachines = 1\nowners = 1\n'
    order = Order(scenario, 1, "http://127.0.0.1:9", "owner", {}, keep_history=False)
    node._begin(SimpleNamespace(data=pack(Begin(order, 3, 0, 0, 1))))
    user.join(10)
    return reported


def _tallies(requests: list[dict[str, Any]], unknown: str) -> Iterator[Any]:
    import numpy as np  # noqa: PLC0415 - slow to import beside Locust

    from simulator.history.histogram import Histogram  # noqa: PLC0415 - as above
    from simulator.judging.tally import Tally  # noqa: PLC0415 - as above

    for method, name in sorted({(one["method"], one["name"]) for one in requests}):
        answered, lost, failures = list[int](), 0, dict[str, int]()
        for one in requests:
            if (one["method"], one["name"]) != (method, name):
                continue
            output = one["failure"]
            if one["milliseconds"] is None:
                lost, output = lost + 1, unknown
            else:
                answered.append(round(one["milliseconds"] * 1e6))
            if output:
                failures[output] = failures.get(output, 0) + 1
        histogram = Histogram()
        histogram.record(np.array(answered, dtype=np.int64))
        yield Tally(method, name, histogram.to_wire(), lost, failures)


def _shown(statistics: RequestStats) -> dict[str, Any]:
    """Return what Locust shows of statistics: each line, the total, and what failed."""
    lines = {f"{entry.method} {entry.name}": _line(entry) for _, entry in sorted(statistics.entries.items())}
    errors = sorted((error.method, error.name, error.error, error.occurrences) for error in statistics.errors.values())
    return {"lines": lines, "total": _line(statistics.total), "errors": errors}


def _line(entry: StatsEntry) -> dict[str, Any]:
    return {
        "requests": entry.num_requests,
        "lost": entry.num_none_requests,
        "failures": entry.num_failures,
        "least": entry.min_response_time,
        "most": entry.max_response_time,
        "mean": round(entry.avg_response_time, 6),
        "median": entry.median_response_time,
        "percentiles": [entry.get_response_time_percentile(one) for one in PERCENTILES],
        "times": sorted(entry.response_times.items()),
    }


def _answer(line: str) -> dict[str, Any]:
    what, about = json.loads(line)
    answers: dict[str, Callable[..., Any]] = {
        "dispatch": dispatch,
        "ticks": ticks,
        "merge": merge,
        "early_user": early_user,
    }
    try:
        return {"answer": answers[what](**about)}
    except Exception as error:  # noqa: BLE001 - whatever it is, the test that asked must say it
        return {"problem": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(line)) + "\n")
        sys.stdout.flush()
