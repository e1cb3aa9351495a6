"""What is seen of a target before a run begins."""

from __future__ import annotations

import msgspec
import pytest

from simulator.client.checking import check_target, parse_metrics, read_metrics, stale_seconds_of
from simulator.client.connection import ControlConnection
from simulator.client.target import TargetError, parse_target
from tests.simulator.conftest import (
    API_TOKEN,
    Reaction,
    ScriptedServer,
    answer,
    serving,
    sockets_closed_after,
)


def test_metrics_are_read_by_their_exposed_names() -> None:
    text = (
        '# HELP hatchfarm_x_total X.\n# TYPE hatchfarm_x_total counter\nhatchfarm_x_total{reason="a"} 3\n'
        "# TYPE hatchfarm_y gauge\nhatchfarm_y 2.5\nprocess_z 9\n"
    )
    assert parse_metrics(text) == {'hatchfarm_x_total{reason="a"}': 3.0, "hatchfarm_y": 2.5}


async def test_a_good_target_gives_its_metrics_before_the_run() -> None:
    async with serving() as (_, target), sockets_closed_after():
        metrics = await check_target(target)
    assert metrics["hatchfarm_workers_total"] == 0
    assert metrics["hatchfarm_alert_stale_workers"] == 0


HEALTHY = Reaction((answer(200, b'{"status":"healthy","timestamp":"x","version":"0.3.0"}'),))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([Reaction((answer(200, b"<html>welcome</html>"),))], "/health answered 200: is this a HatchFarm server?"),
        ([Reaction((answer(404),))], "/metrics answered 404: is this a HatchFarm server?"),
        ([Reaction((answer(404),)), Reaction((answer(200, b"up 1\n"),))], "nothing of a HatchFarm server"),
        ([HEALTHY, Reaction((answer(401),))], "refuses the owner token: give the right one in HATCHFARM_API_TOKEN"),
        ([HEALTHY, Reaction((answer(404),))], "/metrics answered 404: is this a HatchFarm server?"),
        ([HEALTHY, Reaction((answer(429),))], "/metrics answered 429: too many requests from this machine's address"),
        ([HEALTHY, Reaction((answer(200, b"no metrics { here"),))], "not in the Prometheus text format"),
        ([Reaction((b"SSH-2.0-x\r\n",))], "cannot be reached"),
        ([HEALTHY, Reaction((), "close")], "answers /health and nothing else (GET /metrics: no HTTP answer: closed"),
    ],
)
async def test_a_target_that_cannot_be_used_is_refused_with_the_reason(
    scripted: ScriptedServer,
    script: list[Reaction],
    says: str,
) -> None:
    scripted.script = script
    async with sockets_closed_after():
        with pytest.raises(TargetError) as refusal:
            await check_target(scripted.target)
    assert says in str(refusal.value)
    assert scripted.url in str(refusal.value)


async def test_a_target_that_is_not_there_is_refused_with_the_way_out(closed_port: int) -> None:
    target = parse_target(f"http://127.0.0.1:{closed_port}", API_TOKEN)
    with pytest.raises(TargetError, match=f"try `hatchfarm doctor --target http://127.0.0.1:{closed_port}`"):
        await check_target(target)


async def test_a_wrong_token_is_called_so_by_the_real_server() -> None:
    async with serving() as (_, target):
        wrong = msgspec.structs.replace(target, token="wrong")
        with pytest.raises(TargetError, match="give the right one in HATCHFARM_API_TOKEN"):
            await check_target(wrong)
        async with ControlConnection(target, None) as connection:
            assert await read_metrics(connection, target)


async def test_a_target_that_was_found_to_be_one_is_not_asked_whether_it_is(scripted: ScriptedServer) -> None:
    """As when a fault of the run's own keeps it from answering a scrape."""
    scripted.script = [Reaction((answer(503),))]
    async with sockets_closed_after(), ControlConnection(scripted.target, None) as connection:
        with pytest.raises(TargetError) as refusal:
            await read_metrics(connection, scripted.target)
    assert str(refusal.value) == f"{scripted.target.url}/metrics answered 503"


async def test_a_target_tells_its_staleness_threshold() -> None:
    async with serving() as (api, target), sockets_closed_after():
        assert await stale_seconds_of(target) == api.settings.stale_seconds


@pytest.mark.parametrize(
    "reaction",
    [
        Reaction((answer(404),)),
        Reaction((answer(200, b"{}"),)),
        Reaction((answer(200, b'{"success":true,"data":{}}'),)),
        Reaction((answer(200, b'{"success":true,"data":{"stale_threshold":"soon"}}'),)),
        Reaction((), "close"),
    ],
)
async def test_a_target_that_does_not_tell_its_staleness_threshold_is_not_guessed_at(
    scripted: ScriptedServer, reaction: Reaction
) -> None:
    scripted.script = [reaction]
    async with sockets_closed_after():
        assert await stale_seconds_of(scripted.target) is None


async def test_a_target_of_the_published_api_has_no_health_page(scripted: ScriptedServer) -> None:
    """What its metrics show says then that it is one."""
    scripted.script = [Reaction((answer(404),)), Reaction((answer(200, b"hatchfarm_workers_total 3\n"),))]
    async with sockets_closed_after():
        assert await check_target(scripted.target) == {"hatchfarm_workers_total": 3.0}
