"""The benchmarks' own clients and servers understand each other: every request is right, and answered."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest

from benchmarks import routes
from benchmarks.blaster import answered_with, blast, made_up_machines, send_all
from benchmarks.fleet import made_state
from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick, measure
from benchmarks.onboarding import register_over_wire
from benchmarks.processes import benchmark_server, measuring
from benchmarks.route_requests import ROUTES, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Server

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Nothing here asserts on how fast anything was."""
A_MINUTE = 60.0


@pytest.mark.long
def test_a_benchmark_measures_two_servers_in_fresh_processes() -> None:
    def blasted(server: Server, connections: int) -> tuple[float]:
        rate = blast(server.url, server.machines or made_up_machines(4), 0.05, rate_max=2000.0, connections=connections)
        server.settle()
        return (rate,)

    subjects = [
        Subject(
            (Figure(name, name),), measuring(partial(benchmark_server, kind, 4), partial(blasted, connections=number))
        )
        for name, kind, number in (("own", "lane", 4), ("mixed", "lane", 3), ("constant", "direct", 4))
    ]
    benchmark = Benchmark("tiny", lambda: nullcontext(subjects), (Yardstick("own", "constant"),))
    result = measure(benchmark, 1, partial(in_fresh_process, meanwhile=lambda: None))
    assert result.problem == ""
    assert all(figure.median > 0 for figure in result.figures.values())


@pytest.mark.long
def test_every_route_answers_its_requests_as_the_benchmark_expects(tmp_path: Path) -> None:
    path, _ = made_state(tmp_path, 40, 4)
    with benchmark_server("routes", 40, SETTINGS, path) as server:
        values = routes.measure_routes(server, 0.02)
    assert len(values) == 2 * len(ROUTES)
    assert all(value > 0 for value in values)


@pytest.mark.long
def test_a_fast_server_refuses_none_of_the_requests_that_it_may_be_sent(tmp_path: Path) -> None:
    """What changes something is sent once each; what is measured ends when they do, or when time is up."""
    path, _ = made_state(tmp_path, 40, 4)
    with benchmark_server("routes", 40, SETTINGS, path) as server:
        for route, shown in zip(ROUTES, server.machines, strict=True):
            requests = [text.encode() for text in shown["requests"]]
            send_all(server.url, requests, A_MINUTE, routes.CONNECTIONS, answered_with(route.status), 0.0)


@pytest.mark.long
def test_machines_are_registered_over_the_wire_and_their_heartbeats_accepted() -> None:
    with benchmark_server("lane") as server:
        machines = register_over_wire(server.url, 25)
        assert len({machine["worker_id"] for machine in machines}) == 25
        assert blast(server.url, machines, 0.05, rate_max=1000.0, connections=5) > 0
