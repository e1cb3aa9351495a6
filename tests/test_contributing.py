"""The examples of CONTRIBUTING.md are built as they stand there, and do what the page says."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from markdown_it import MarkdownIt

from benchmarks.measuring import HELD, as_measurement, measure
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.operations.routing import Routes
from reference_server.operations.table import OPERATIONS
from reference_server.wire.own_sections import check_state_file
from reference_server.wire.state_file import StateFile
from simulator.attacks import CATALOGUE
from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.verdict import Status
from simulator.deployment import own
from simulator.deployment.own import FAULT_ACTIONS, Deployment
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import CLOCK_FAULT, FAULTS, NETWORK_FAULTS
from tests.attacks.playing import World
from tests.checkers.conftest import Story
from tests.core.server_under_test import Server, owner_headers

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"


def examples() -> dict[str, str]:
    """Return the page's Python by the heading that it stands under."""
    found: dict[str, str] = {}
    heading = ""
    tokens = MarkdownIt().parse(PAGE.read_text(encoding="utf-8"))
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[at + 1].content
        elif token.type == "fence" and token.info == "python":
            assert heading not in found, "one example a heading"
            found[heading] = token.content
    return found


EXAMPLES = examples()


def built(heading: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Build an example as the module that it would be."""
    module = SimpleNamespace()
    names = vars(module)
    names["__name__"] = "an_example"
    monkeypatch.setitem(__import__("sys").modules, "an_example", module)
    exec(compile(EXAMPLES[heading], heading, "exec"), names)  # noqa: S102 - the page's own
    return module


def test_the_page_has_an_example_of_each() -> None:
    kinds = ("operation", "entity", "attack", "checker", "fault", "scenario key", "benchmark")
    assert set(EXAMPLES) == {f"{'An' if kind[0] in 'aeo' else 'A'} {kind}" for kind in kinds}


def test_every_file_that_the_page_names_is_there() -> None:
    named = {
        word.rstrip("/")
        for token in MarkdownIt().parse(PAGE.read_text(encoding="utf-8"))
        for child in token.children or ()
        if child.type == "code_inline" and "/" in child.content and " " not in child.content
        for word in [child.content]
    }
    assert len(named) > 10
    rooms = (ROOT, ROOT / "reference_server", ROOT / "simulator")
    assert {name for name in named if not any((room / name).exists() for room in rooms)} == set()


def test_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    example = built("An operation", monkeypatch)
    server = Server(TABLES, Routes((*OPERATIONS, *example.OPERATIONS)))
    answer = server.send("GET", "/greetings/ada")
    assert (answer.status, json.loads(answer.body)["data"]) == (200, {"text": "hello, ada"})


def test_an_entity(monkeypatch: pytest.MonkeyPatch) -> None:
    example = built("An entity", monkeypatch)
    tables = TABLES.with_row(example.TABLE)
    server = Server(tables, Routes((*OPERATIONS, *example.OPERATIONS)))
    statuses = [server.send("POST", "/badges", {}, owner_headers("ada")).status for _ in range(4)]
    assert statuses[:3] == [201, 201, 201]
    assert statuses[3] >= 400, "the table's bound"
    file = b"".join(snapshot(server.api.state, server.now, "segment"))
    badges = json.loads(file)["badges"]
    assert {badge["owner_id"] for badge in badges.values()} == {"ada"}
    read = check_state_file(file, tables.sections)
    assert isinstance(read, StateFile)
    assert len(example.TABLE.section.of(read.sections)) == 3


def test_an_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = built("An attack", monkeypatch).SameAgain
    monkeypatch.setitem(CATALOGUE, attack.name, attack)
    performance = World().play(attack.name)
    assert [claim.held for claim in performance.stated] == [True]


def test_a_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    checkers = {**CHECKERS, **built("A checker", monkeypatch).CHECKERS}
    story = Story()
    story.heartbeat(0, 1)
    verdict = next(one for one in run_checkers(story.history, story.facts, checkers) if one.name == "teapots")
    assert verdict.status is Status.PASS
    story.history.rows()["status"] = 418
    verdict = checkers["teapots"](story.history, story.facts)
    assert (verdict.status, [one.rule for one in verdict.findings]) == (Status.FAIL, ["teapots.found"])


async def test_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    example = built("A fault", monkeypatch)
    assert example.FAULTS.keys() == example.FAULT_ACTIONS.keys()
    monkeypatch.setattr(own, "FAULT_ACTIONS", {**FAULT_ACTIONS, **example.FAULT_ACTIONS})
    done: list[str] = []

    class Napping:
        async def pause(self) -> None:
            done.append("pause")

        async def resume(self) -> None:
            done.append("resume")

    deployment = Deployment((Napping(),))  # type: ignore[arg-type]
    await own.begin("server.nap", deployment)
    await own.undo("server.nap", deployment)
    assert done == ["pause", "resume"]


def test_each_fault_of_a_scenario_has_its_actions() -> None:
    assert FAULTS.keys() - NETWORK_FAULTS - {CLOCK_FAULT} == FAULT_ACTIONS.keys()
    assert FAULTS.keys() >= NETWORK_FAULTS


def test_a_scenario_key(monkeypatch: pytest.MonkeyPatch) -> None:
    options: Any = built("A scenario key", monkeypatch).FleetOptions
    read = msgspec.convert({"machines": 1, "spare_machines": 7}, options, dec_hook=decode_value)
    assert (read.machines, read.spare_machines) == (1, 7)
    with pytest.raises(msgspec.ValidationError, match="spare_machines"):
        msgspec.convert({"machines": 1, "spare_machines": 101}, options, dec_hook=decode_value)


def test_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    example = built("A benchmark", monkeypatch)
    result = measure(example.benchmark(0.1), 5, lambda subject: as_measurement(subject.measure()))
    assert (result.exit_code, result.ratios["long/short"].median) == (HELD, 4)
