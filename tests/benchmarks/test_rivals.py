"""What the server is compared with does the same job: the same answers, and the same audit chain behind them."""

from __future__ import annotations

import json
import re
import tomllib
from http.client import HTTPConnection
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import msgspec
import pytest
from packaging.requirements import Requirement

from benchmarks.blaster import send_all
from benchmarks.measuring import BenchmarkError, Measured, Result
from benchmarks.processes import ENVIRONMENT, TOKEN, benchmark_server
from benchmarks.registering import register_machines
from benchmarks.rivals.decisions import Decisions
from benchmarks.rivals.measured import PROGRAMS, ROUTES, SERVERS, Meter, Rival, requests_of, start
from benchmarks.rivals.picture import main
from benchmarks.shard import CLIENTS
from benchmarks.suite import SCHEMA_VERSION, Suite
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.fleet.machine import signed_heartbeat
from simulator.platform.machine_facts import MachineFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.processes import Server

ROOT = Path(__file__).parents[2]
MACHINES = 20
"""One of each owner."""
KINDS = ("starlette", "fastapi", "quart")
needs_rivals = pytest.mark.skipif(
    any(find_spec(name) is None for name in PROGRAMS), reason="the rivals are not installed: make rivals"
)
MACHINE = MachineFacts("", 2, 1, "", "", {}, "", 0.5)
METRICS = '{"cpu_percent":1}'
CHANGES = re.compile(rb'(wrk|pol|con)_[0-9a-f]{16}|"20[0-9-]+T[^"]+Z"|"age_seconds":\d+')
"""What is each server's own, or the moment's."""


class Asked(NamedTuple):
    """A request of the conformance set."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


def beat(machine: dict[str, str], nonce: str, at_ns: int, **other: str) -> bytes:
    """Sign a heartbeat as a machine, or with another policy or token."""
    token, policy_id = other.get("token", machine["token"]), other.get("policy_id", machine["policy_id"])
    return signed_heartbeat(
        token.encode(), machine["worker_id"], format_timestamp(at_ns), nonce, policy_id, other.get("metrics", METRICS)
    )


def heartbeats(machines: list[dict[str, str]], now_ns: int) -> Iterator[Asked]:
    """Yield a heartbeat for every check that a server makes (contract §4), in its order."""
    one, other = machines[:2]
    path = f"/api/v1/workers/{one['worker_id']}/heartbeat"
    headers = {"X-Machine-Token": one["token"], "X-Machine-Certificate-Id": one["certificate_id"]}
    accepted = beat(one, "n1", now_ns)
    yield Asked("accepted", "POST", path, headers, accepted)
    yield Asked("replayed nonce", "POST", path, headers, accepted)
    yield Asked("malformed body", "POST", path, headers, accepted[:-1])
    yield Asked("no body", "POST", path, headers)
    yield Asked("unknown field", "POST", path, headers, accepted.replace(b'{"', b'{"more":1,"', 1))
    yield Asked("missing fields", "POST", path, headers, b"{}")
    yield Asked("no token", "POST", path, {**headers, "X-Machine-Token": ""}, beat(one, "n2", now_ns))
    yield Asked("a bar in the nonce", "POST", path, headers, beat(one, "n|3", now_ns))
    yield Asked("too much metrics", "POST", path, headers, beat(one, "n4", now_ns, metrics=f'{{"x":"{"y" * 17_000}"}}'))
    yield Asked("no timestamp", "POST", path, headers, beat(one, "n5", now_ns).replace(b'p":"20', b'p":"x20', 1))
    yield Asked("too old", "POST", path, headers, beat(one, "n6", now_ns - 100 * SECOND_NS))
    yield Asked("unknown worker", "POST", path.replace(one["worker_id"], "wrk_" + "0" * 16), headers, accepted)
    yield Asked("wrong token", "POST", path, {**headers, "X-Machine-Token": other["token"]}, beat(one, "n7", now_ns))
    wrong = {**headers, "X-Machine-Certificate-Id": other["certificate_id"]}
    yield Asked("wrong certificate", "POST", path, wrong, beat(one, "n8", now_ns))
    yield Asked("wrong signature", "POST", path, headers, beat(one, "n9", now_ns, token=other["token"]))
    yield Asked("no consent", "POST", path, headers, beat(one, "n10", now_ns, policy_id=other["policy_id"]))
    yield Asked("accepted again", "POST", path, headers, beat(one, "n11", now_ns))


def readings(machines: list[dict[str, str]]) -> Iterator[Asked]:
    """Yield what reads: right, and wrong in each way."""
    one, other = machines[:2]
    owner = {"Authorization": f"Bearer {TOKEN}", "X-Owner-ID": "owner-0"}
    itself = {"X-Machine-Token": one["token"], "X-Machine-Certificate-Id": one["certificate_id"]}
    worker = f"/api/v1/workers/{one['worker_id']}"
    statuses = "/api/v1/workers/statuses"
    yield Asked("status", "GET", f"{worker}/status", owner)
    yield Asked(
        "status, never heard", "GET", f"/api/v1/workers/{other['worker_id']}/status", {**owner, "X-Owner-ID": ""}
    )
    yield Asked("status of another owner's", "GET", f"{worker}/status", {**owner, "X-Owner-ID": "owner-1"})
    yield Asked("status, wrong bearer", "GET", f"{worker}/status", {**owner, "Authorization": "Bearer wrong"})
    yield Asked("status of nobody", "GET", f"/api/v1/workers/wrk_{'0' * 16}/status", owner)
    yield Asked("statuses", "GET", statuses, owner)
    yield Asked("statuses, paged", "GET", f"{statuses}?limit=1&offset=1", owner)
    yield Asked("statuses, wrong limit", "GET", f"{statuses}?limit=0", owner)
    yield Asked("statuses of no owner", "GET", statuses, {"Authorization": f"Bearer {TOKEN}"})
    yield Asked("policy", "GET", f"{worker}/policy", itself)
    yield Asked("policy, wrong token", "GET", f"{worker}/policy", {**itself, "X-Machine-Token": other["token"]})
    yield Asked("policy, no certificate", "GET", f"{worker}/policy", {"X-Machine-Token": one["token"]})


def answers_of(server: Server) -> dict[str, tuple[int, str, bytes]]:
    """Return what a server answers to the whole set: status, content type, and body but for what is its own."""
    answers = {}
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    for asked in (*heartbeats(server.machines, SystemClock().now().wall_ns), *readings(server.machines)):
        connection.request(asked.method, asked.path, asked.body or None, asked.headers)
        response = connection.getresponse()
        body = CHANGES.sub(rb"\1", response.read())
        answers[asked.name] = (response.status, response.headers["content-type"], body)
    connection.close()
    return answers


@pytest.fixture(scope="module")
def ours() -> dict[str, tuple[int, str, bytes]]:
    with benchmark_server("lane", MACHINES) as server:
        return answers_of(server)


@pytest.mark.long
def test_the_set_meets_every_answer_that_a_heartbeat_may_have(ours: dict[str, tuple[int, str, bytes]]) -> None:
    statuses = {name: status for name, (status, _, _) in ours.items()}
    assert {name for name, status in statuses.items() if status == 200} == {
        *("accepted", "accepted again", "status", "statuses", "statuses, paged", "policy")
    }
    assert [statuses[name] for name in ("no consent", "malformed body", "replayed nonce", "status of nobody")] == [
        *(403, 400, 401, 404)
    ]
    assert {json.loads(body)["error"] for status, _, body in ours.values() if status != 200} == {
        *("invalid request", "missing required heartbeat fields", "invalid heartbeat fields", "invalid timestamp"),
        *("invalid heartbeat auth", "no active consent for worker/policy"),
        *("unauthorized", "forbidden", "worker not found", "worker status not found", "invalid limit"),
    }


@pytest.mark.long
@needs_rivals
@pytest.mark.parametrize("kind", KINDS)
def test_a_rival_answers_as_this_server_does(ours: dict[str, tuple[int, str, bytes]], kind: str) -> None:
    with Rival(kind, MACHINES) as rival:
        assert answers_of(rival) == ours
        assert rival.cpu_seconds() > 0


@pytest.mark.long
@pytest.mark.parametrize("kind", ["lane", pytest.param("ceiling", marks=needs_rivals)])
def test_what_is_measured_is_what_was_answered(kind: str) -> None:
    with start(kind, MACHINES) as server:
        for route in ROUTES if kind == "lane" else ("own", "mixed"):
            requests = requests_of(route, server.url, server.machines, 100)
            meter = Meter(count().__next__, 4, 0)
            send_all(server.url, requests, 60, 4, meter, 0)
            assert meter.answers == len(requests) == 100


def test_answers_by_cpu_time_are_those_between_the_first_look_at_it_and_the_last() -> None:
    seconds, used = iter([0.0, 0.1, 0.4, 0.41, 0.42, 0.5]), iter([2.0, 2.5])
    meter = Meter(used.__next__, 3, 0.3, seconds.__next__)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    with pytest.raises(BenchmarkError, match="did nothing"):
        meter.rate()
    assert [meter(part) for part in (answer[:20], answer[:-1], *[answer] * 5)] == [None] * 2 + [True] * 5
    assert (meter.answers, meter.rate()) == (5, 2 / 0.5)


class Twin:
    """A state with machines of its own, like its twin's."""

    def __init__(self) -> None:
        self.clock = SetClock(SystemClock().now())
        self.api = make_api({**ENVIRONMENT}, SeededEntropy("twin"), self.clock)
        self.machines = register_machines(self.api, MACHINES)

    def heads(self) -> list[Any]:
        """Return the heads of the streams of all owners that heartbeats are written to."""
        return [
            (stream.name, stream.sequence, stream.hash)
            for owner in self.api.state.owners.values()
            for stream in owner.streams
            if stream.name in {"routine", "refused"}
        ]


def test_what_rivals_ask_leaves_the_same_audit_chain_as_what_the_lane_asks() -> None:
    rival, ours = Twin(), Twin()
    decisions = Decisions(rival.api.state, rival.clock)
    assert rival.machines == ours.machines
    before = rival.heads()
    for asked in heartbeats(rival.machines, rival.clock.now().wall_ns):
        worker_id, (token, certificate_id) = asked.path.split("/")[4], asked.headers.values()
        expected = ours.api.handle_heartbeat(
            worker_id, token, certificate_id, asked.body, "127.0.0.1", rival.clock.now()
        )
        assert decisions.heartbeat(worker_id, token, certificate_id, asked.body) == expected
    assert rival.heads() == ours.heads() != before


def test_requests_to_a_route_are_of_each_machine_in_turn() -> None:
    machines = [
        {"worker_id": f"wrk_{at}", "token": f"{at}", "certificate_id": f"mcert_{at}", "policy_id": "pol_1"}
        | {"owner_id": f"owner-{at}"}
        for at in range(20)
    ]
    url = "http://127.0.0.1:1"
    first = {route: requests_of(route, url, machines, 30) for route in ROUTES}
    assert {len(requests) for requests in first.values()} == {40}
    assert b"workers/wrk_1/heartbeat" in first["own"][1]
    assert b"workers/wrk_1/heartbeat" in first["mixed"][21]
    assert len({*first["own"]}) == 40
    assert b"GET /api/v1/workers/wrk_3/status HTTP/1.1\r\nHost: 127.0.0.1:1\r\n" in first["status"][3]
    assert b"X-Owner-ID: owner-3\r\n\r\n" in first["statuses"][23]
    assert b"X-Machine-Token: 3\r\nX-Machine-Certificate-Id: mcert_3\r\n\r\n" in first["policy"][3]


def test_the_lock_of_the_rivals_moves_nothing_that_is_installed_anyway() -> None:
    """Else `make rivals` would change what the server is."""
    pin = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
    of_all = dict(pin.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    of_rivals = dict(pin.findall((ROOT / "requirements-rivals.lock").read_text(encoding="utf-8")))
    assert {name: of_all[name] for name in of_rivals if name in of_all} == {
        name: of_rivals[name] for name in of_rivals if name in of_all
    }
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    for requirement in map(Requirement, groups["rivals"]):
        assert of_rivals[requirement.name] in requirement.specifier
        assert requirement.name == "uvicorn" or requirement.name not in of_all


def measured_as(rates: dict[str, float]) -> dict[str, Measured]:
    """Return what was measured: medians by name, within a tenth; of all else 10."""
    names = [f"{kind}_{route}_cpu" for kind in SERVERS for route in (ROUTES if kind != "ceiling" else ["own"])]
    medians = dict.fromkeys([*names, *(f"{name}_cpu" for name in CLIENTS)], 10.0) | rates
    return {name: Measured(name, "/s of CPU", (at,), at, at * 0.9, at * 1.1, 0.9) for name, at in medians.items()}


def test_the_picture_says_what_it_shows_in_words_and_in_colours_of_its_reader(tmp_path: Path) -> None:
    figures = measured_as({"lane_own_cpu": 30_000.0, "starlette_own_cpu": 12_000.0, "wrk_cpu": 40.0})
    results = (Result("heartbeat"), Result("rivals", figures))
    suite = Suite(SCHEMA_VERSION, "2026-01-02T03:04:05+00:00", 0.0, MACHINE, results, 0)
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(suite))
    main(tmp_path / "result.json", tmp_path / "docs/picture.svg")
    text = (tmp_path / "docs/picture.svg").read_text(encoding="utf-8")
    picture = ET.fromstring(text)  # noqa: S314 - our own drawing
    title = picture.findtext("{http://www.w3.org/2000/svg}title") or ""
    assert "this server 30,000 (27,000 to 33,000), Starlette on Uvicorn 12,000 (10,800 to 13,200)" in title
    shown = ["".join(one.itertext()).strip() for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {*SERVERS.values(), *CLIENTS.values()} <= {*shown}
    assert "12,000 · ours x 2.5" in shown
    assert "40 · ours x 0.25" in shown
    style = picture.findtext("{http://www.w3.org/2000/svg}style") or ""
    assert "prefers-color-scheme: dark" in style
    assert set(re.findall(r"var\(--(\w+)\)", text)) <= {*re.findall(r"--(\w+):", style)}
    assert not re.search(r"#0000[0-9a-f]{2}", text)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    suite = Suite(SCHEMA_VERSION, "", 0.0, MACHINE, (Result("rivals", problem="there is no granian here"),), 3)
    (tmp_path / "result.json").write_bytes(msgspec.json.encode(suite))
    with pytest.raises(SystemExit, match="nothing to draw"):
        main(tmp_path / "result.json", tmp_path / "picture.svg")
    assert not (tmp_path / "picture.svg").exists()
