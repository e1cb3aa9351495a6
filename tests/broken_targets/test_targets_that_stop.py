"""Targets that stop answering in the middle, all but their health page: the run says at what, since when, and fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.wire.units import SECOND_NS
from simulator.checkers import outage
from simulator.client.target import parse_target
from simulator.running.doctor import check_the_target
from simulator.worlds.players import observing
from tests.broken_targets.proxy import Moment, misbehaving
from tests.broken_targets.runs import FAIL, UNUSABLE, impatient, run_against, scenario
from tests.simulator.conftest import API_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.broken_targets.proxy import Asked, Talk


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See an outage after a second, where a run lasts for seconds."""
    monkeypatch.setattr(outage, "HEALED_AFTER_NS", SECOND_NS)
    monkeypatch.setattr(observing, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(observing, "LOOK_SECONDS", 0.1)
    with impatient():
        yield


async def never(_talk: Talk) -> bool:
    """Answer nothing, for good."""
    await trio.Event().wait()
    return True


def but_health(asked: Asked) -> bool:
    """Mean everything but the health page."""
    return asked.path != "/health"


def from_the_first_policy() -> Callable[[Asked], bool]:
    """Mean everything but the health page, from the first policy on."""
    begun = False

    def meant(asked: Asked) -> bool:
        nonlocal begun
        begun |= asked.path.endswith("/policies")
        return begun and but_health(asked)

    return meant


async def test_the_attack_at_which_a_target_hung_fails_with_since_when_and_what_still_answers(tmp_path: Path) -> None:
    text = scenario((("skew.behind", 4),)).replace('"2.5s"', '"4s"')
    async with misbehaving(never, Moment.ATTACKS, but_health) as proxy:
        ended = await run_against(proxy.url, tmp_path / "run", text)
        (check,) = await check_the_target(parse_target(proxy.url, API_TOKEN))
    assert ended.code == FAIL, ended.output
    assert ended.verdict is not None
    found = next(one for one in ended.verdict["checkers"] if one["name"] == "outage")
    (finding,) = found["findings"]
    assert (found["status"], finding["rule"]) == ("fail", "outage.stopped-answering")
    assert finding["evidence"]["attack"] == "skew.behind"
    assert {one["status"] for one in finding["evidence"]["health"]} == {200}
    assert "the first without an answer was a heartbeat of skew.behind, sent at" in finding["message"]
    assert "/health still answered 200 on a fresh connection" in finding["message"]
    (attack,) = ended.verdict["attacks"]
    assert attack["status"] == "fail"
    assert attack["note"].startswith("the target stopped answering: after ")
    assert "answers /health and nothing else (GET /metrics: no whole answer within" in check.found
    assert check.hint == "look at what it logs, and restart it"


async def test_a_target_that_hangs_at_the_first_policy_is_judged_and_not_called_unusable(tmp_path: Path) -> None:
    async with misbehaving(never, Moment.CHECK, from_the_first_policy()) as proxy:
        ended = await run_against(proxy.url, tmp_path / "run", scenario(()))
    assert ended.code == FAIL, ended.output
    assert ended.verdict is not None
    assert ended.verdict["interrupted"].startswith("the run could not be set up: cannot create a policy for owner-")
    found = next(one for one in ended.verdict["checkers"] if one["name"] == "outage")
    assert "the first without an answer was a policy create, sent at 0." in found["summary"]
    assert "/health still answered 200" in found["summary"]
    assert "policy create: no whole answer within" in ended.output


async def test_a_target_that_refuses_policies_is_unusable_all_the_same(tmp_path: Path) -> None:
    """It answers, and its answer says what is wrong."""

    async def fault(talk: Talk) -> bool:
        await talk.stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        return True

    async with misbehaving(fault, Moment.CHECK, lambda asked: asked.path.endswith("/policies")) as proxy:
        ended = await run_against(proxy.url, tmp_path / "run")
    assert ended.code == UNUSABLE
    assert "POST /policies answered 404" in ended.output
