"""Targets that stop answering in the middle, all but their health page: the run says at what, since when, and fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import HEALED_AFTER_NS
from simulator.client.target import parse_target
from simulator.running.doctor import check_the_target
from tests.broken_targets.proxy import Moment, misbehaving
from tests.broken_targets.runs import DURATION_SECONDS, FAIL, IMPATIENT, UNUSABLE, run_against, scenario
from tests.simulator.conftest import API_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.broken_targets.proxy import Asked, Talk


LONG_ENOUGH_SECONDS = 3 + HEALED_AFTER_NS // SECOND_NS
"""How long a run lasts that can tell an outage from a pause, once its attacks are under way."""
WATCHFUL = msgspec.structs.replace(IMPATIENT, silence_seconds=0.5)


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
    text = scenario((("skew.behind", 4),)).replace(f'"{DURATION_SECONDS}s"', f'"{LONG_ENOUGH_SECONDS}s"')
    async with misbehaving(never, Moment.ATTACKS, but_health) as proxy:
        ended = await run_against(proxy.url, tmp_path / "run", text, WATCHFUL)
        (check,) = await check_the_target(parse_target(proxy.url, API_TOKEN, patience=IMPATIENT))
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
