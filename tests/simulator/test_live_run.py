"""Whole small runs in the test's own loop: what the history says is what the server's state says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.checkers.audit import check_audit
from simulator.checkers.facts import Facts
from simulator.checkers.verdict import Status
from simulator.client.patience import Patience
from simulator.client.target import Target, machine_source
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import HONEST, NEVER_NS
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario
from simulator.worlds.live.shard import Shard
from simulator.worlds.live.world import LIVE, run_fleet
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.players.hardware_reports import time_hour
from simulator.worlds.progress import Progress
from tests.attacks.live import play_live
from tests.simulator.conftest import (
    ACCEPT,
    SILENT,
    Reaction,
    ScriptedServer,
    WatchedApi,
    WatchedHistory,
    answer,
    serving,
    sockets_closed_after,
)
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SEED = 42
OPEN = {"rate_limit_burst": 100_000, "rate_limit_refill_per_second": 10_000.0}


def scenario(duration: str, fleet: dict[str, Any], **more: Any) -> Scenario:
    table = {
        "version": 1,
        "name": "small",
        "duration": duration,
        "metrics_interval": "200ms",
        "fleet": {"machines": 20, "owners": 3, "heartbeat_interval": "150ms", **fleet},
        **more,
    }
    return msgspec.convert(table, Scenario, dec_hook=decode_value)


class SeenAfterAStep(trio.abc.Instrument):
    """Sets an event once something holds after a step of any task: what lasts no longer than a request is seen, too."""

    def __init__(self, condition: Callable[[], object]) -> None:
        self.seen = trio.Event()
        self._condition = condition

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - the instrument's own form
        """Look."""
        if self._condition():
            self.seen.set()


class Run:
    """A live run with everything it writes."""

    def __init__(self, plan: Scenario, target: Target) -> None:
        self.plan = plan
        self.target = target
        self.history = WatchedHistory()
        self.progress = Progress()

    async def __call__(self) -> None:
        await run_fleet(self.plan, SEED, self.target, self.history, self.progress)

    async def until(self, condition: Callable[[], object]) -> None:
        """Run until there is enough to look at, and cancel."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self)
            await until(condition)
            nursery.cancel_scope.cancel()

    async def until_step(self, condition: Callable[[], object]) -> None:
        """Run until there is something that may not last, and cancel."""
        looking = SeenAfterAStep(condition)
        trio.lowlevel.add_instrument(looking)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self)
            with trio.fail_after(PATIENCE_SECONDS):
                await looking.seen.wait()
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(looking)

    def of(self, operation: Operation, got: Answer | None = None) -> NDArray[Any]:
        rows = self.history.rows()
        chosen = rows[rows["operation"] == operation]
        if got is not None:
            chosen = chosen[chosen["got"] == got]
        return np.asarray(chosen)


def see_that_both_counted_the_same(run: Run, api: WatchedApi) -> None:
    """Compare what is certain exactly, and what was lost as a bound."""
    accepted = len(run.of(Operation.HEARTBEAT, Answer.ACCEPTED))
    lost = len(run.of(Operation.HEARTBEAT, Answer.LOST))
    assert accepted <= api.heartbeats_accepted <= accepted + lost
    registered = len(run.of(Operation.REGISTER, Answer.ACCEPTED))
    assert registered <= len(api.state.workers) <= registered + len(run.of(Operation.REGISTER, Answer.LOST))
    heartbeats = run.of(Operation.HEARTBEAT)
    assert (heartbeats["planned_ns"] <= heartbeats["sent_ns"]).all()
    assert (heartbeats["sent_ns"] <= heartbeats["answered_ns"]).all()
    assert len(heartbeats) == run.progress.sent
    keys = Counter(row["nonce"].tobytes() for row in heartbeats if row["campaign"] == HONEST)
    assert set(keys.values()) <= {1}
    for reason, count in api.state.failures.by_reason.items():
        answers = [answer for answer, name in REASONS.items() if name == reason]
        certain = sum(int((heartbeats["got"] == answer).sum()) for answer in answers)
        possible = sum(int(((heartbeats["got"] == Answer.LOST) & (heartbeats["expected"] == answer)).sum())
                       for answer in answers)  # fmt: skip
        assert certain <= count <= certain + possible


async def test_a_run_with_every_kind_of_shot_counts_what_the_server_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    names = sorted(name for name, attack in CATALOGUE.items() if issubclass(attack, ShotAttack))
    attacks = [{"name": name, "start": "1s", "duration": "59s", "rate": 15, "share": 0.2} for name in names]
    fleet = {
        "stages": [{"duration": "300ms", "target": 20}],
        "clocks": [{"share": 0.1, "offset": "+120s"}, {"share": 0.1, "offset": "-60s"}],
        "silence": [{"share": 0.2, "at": "900ms", "duration": "600ms"}],
    }
    async with serving(**OPEN) as (api, target), sockets_closed_after():
        run = Run(scenario("60s", fleet, attacks=attacks), target)
        scrapes_when_finished: list[int] = []
        finish = Shard.finish

        async def watched(shard: Shard, patience_seconds: float) -> None:
            await finish(shard, patience_seconds)
            scrapes_when_finished.append(len(run.history.scrapes))

        monkeypatch.setattr(Shard, "finish", watched)
        state, progress = api.state, run.progress

        def enough() -> bool:
            rows = run.of(Operation.HEARTBEAT)
            campaigns = Counter(rows["campaign"].tolist())
            heard = set(rows["machine"][rows["campaign"] == HONEST].tolist())
            return len(heard) == 20 and len(campaigns) == 1 + len(attacks) and min(campaigns.values()) >= 8

        await run.until(enough)
        assert scrapes_when_finished == [len(run.history.scrapes) - 1]
        assert progress.phase == "done"
        see_that_both_counted_the_same(run, api)
        assert len(state.workers) == len(run.of(Operation.REGISTER, Answer.ACCEPTED)) == 20
        assert len(state.owners) == 3
        rows = run.history.rows()
        judged = rows[rows["operation"] == Operation.HEARTBEAT]
        judged = judged[judged["got"] != Answer.LOST]
        assert (judged["got"] == judged["expected"]).all()
        hostile = judged[judged["campaign"] != HONEST]
        assert set(hostile["campaign"].tolist()) == set(range(1, len(attacks) + 1))
        assert (progress.attacks_accepted, progress.attacks_refused) == (0, len(hostile))
        wrong_clocks = set(
            judged["machine"][(judged["campaign"] == HONEST) & (judged["expected"] != Answer.ACCEPTED)].tolist()
        )
        assert len(wrong_clocks) == 2
        see_the_last_scrape(run, api)
        # What a campaign's shots show together is claimed once the run has ended: so few say nothing about timing.
        assert [(one.campaign, one.rule, one.held) for one in run.history.claims] == [
            (1 + names.index("credential.guess"), "timing", None)
        ]


def see_the_last_scrape(run: Run, api: WatchedApi) -> None:
    """After the last answer and before anything else, the scrape shows the state at its end."""
    last = run.history.scrapes[-1]
    rows = run.history.rows()
    answered = rows["answered_ns"][rows["answered_ns"] != NEVER_NS]
    assert answered.max() <= last.sent_ns <= last.answered_ns
    assert last.samples["hatchfarm_workers_total"] == len(api.state.workers)
    assert last.samples["hatchfarm_worker_auth_failures_total"] == api.state.failures.total
    for reason, count in api.state.failures.by_reason.items():
        assert last.samples[f'hatchfarm_worker_auth_failures_by_reason_total{{reason="{reason}"}}'] == count
    moments = [(scrape.sent_ns, scrape.answered_ns) for scrape in run.history.scrapes]
    assert moments == sorted(moments)


async def test_a_run_ends_by_itself_after_its_duration() -> None:
    async with serving(**OPEN) as (api, target), sockets_closed_after():
        run = Run(scenario("1300ms", {"machines": 2, "owners": 1}), target)
        await run()
        assert run.progress.phase == "done"
        assert run.history.scrapes
        see_that_both_counted_the_same(run, api)


async def test_machines_come_from_addresses_of_their_own_and_do_not_beat_together() -> None:
    """Those that came up at once are spread over the first interval."""
    fleet = {"heartbeat_interval": "1s", "jitter": 0.0, "stages": [{"duration": "100ms", "target": 20}]}
    async with serving(**OPEN) as (api, target):
        run = Run(scenario("60s", fleet), target)
        await run.until(lambda: len(api.clients_of_workers) == 20)
        heartbeats = run.of(Operation.HEARTBEAT)
        first = [int(heartbeats["planned_ns"][heartbeats["machine"] == index].min()) for index in range(20)]
        assert max(first) - min(first) > SECOND_NS // 2
        clients = api.clients_of_workers
        assert len(clients) == 20
        assert sorted(client for own in clients.values() for client in own) == sorted(
            str(machine_source(target, index)) for index in range(20)
        )


REACHED: dict[str, Callable[[Run], bool]] = {
    "policies": lambda run: run.progress.phase == "policies",
    "registering": lambda run: len(run.history) >= 25,
    "beating": lambda run: run.progress.accepted >= 40,
}


@pytest.mark.parametrize("phase", list(REACHED))
async def test_a_run_that_is_cancelled_leaves_no_socket_and_a_history_to_judge(phase: str) -> None:
    """Whatever it was at, what took effect on the server is in the history, for certain or as lost."""
    fleet = {"machines": 150, "heartbeat_interval": "100ms", "stages": [{"duration": "200ms", "target": 150}]}
    async with serving(**OPEN) as (api, target), sockets_closed_after():
        run = Run(scenario("60s", fleet), target)
        if phase == "policies":
            await run.until_step(lambda: REACHED[phase](run))
            assert len(run.history) == 0
            return
        await run.until(lambda: REACHED[phase](run))
        assert run.progress.phase == "done"
        see_that_both_counted_the_same(run, api)
        assert len(run.history.scrapes) >= 1
        assert run.history.scrapes[-1].samples["hatchfarm_workers_total"] == len(api.state.workers)


async def test_machines_come_and_go_with_the_stages_and_keep_one_place_in_the_schedule() -> None:
    """A machine that left and came back beats as often as one that stayed, under the worker it was."""
    stages = [
        {"duration": "200ms", "target": 12},
        {"duration": "600ms", "target": 12},
        {"duration": "50ms", "target": 4},
        {"duration": "50ms", "target": 12},
        {"duration": "50s", "target": 12},
    ]
    fleet = {"machines": 12, "heartbeat_interval": "400ms", "jitter": 0.0, "stages": stages}
    async with serving(**OPEN) as (api, target), sockets_closed_after():
        run = Run(scenario("60s", fleet), target)
        back_ns = 1400 * MILLISECOND_NS

        def beats() -> Counter[int]:
            rows = run.of(Operation.HEARTBEAT)
            return Counter(rows["machine"][rows["planned_ns"] > back_ns].tolist())

        await run.until(lambda: len(beats()) == 12 and min(beats().values()) >= 3 and run.history.generator)
        assert all(sample.loop_lag_ns >= 0 and sample.cpu_share > 0 for sample in run.history.generator)
        assert len(api.state.workers) == len(run.of(Operation.REGISTER)) == 12
        see_that_both_counted_the_same(run, api)
        late = run.of(Operation.HEARTBEAT)
        late = late[late["planned_ns"] > back_ns]
        for index in range(12):
            planned = sorted(late["planned_ns"][late["machine"] == index].tolist())
            gaps = [later - earlier for earlier, later in pairwise(planned)]
            assert min(gaps) >= 400 * MILLISECOND_NS


async def test_a_machine_that_leaves_while_it_comes_up_is_registered_once(scripted: ScriptedServer) -> None:
    """Its call goes on, and nobody makes a second one when it is wanted again."""
    gate = trio.Event()
    registrations = 0

    async def talk(stream: trio.SocketStream, connection: int, client: str) -> None:
        nonlocal registrations
        del connection, client
        while request := await stream.receive_some(65_536):
            reply = answer(201, b'{"success":true,"data":{"id":"pol_1"}}')
            if b"/activate" in request:
                reply = answer(200, b"{}")
            if b"/machines/register" in request:
                registrations += 1
                await gate.wait()
                reply = answer(503)
            await stream.send_all(reply)

    scripted._talk = talk  # type: ignore[method-assign]
    stages = [{"duration": "50ms", "target": 1}, {"duration": "100ms", "target": 1}]
    stages += [{"duration": "50ms", "target": 0}, {"duration": "50ms", "target": 1}] * 3
    run = Run(scenario("60s", {"machines": 1, "owners": 1, "stages": stages}), scripted.target)
    async with sockets_closed_after(), trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await until(lambda: run.progress.elapsed_ns > SECOND_NS)
        assert registrations == 1
        nursery.cancel_scope.cancel()
        gate.set()
    assert [int(row["got"]) for row in run.of(Operation.REGISTER)] == [Answer.LOST]


async def test_the_same_seed_makes_the_same_run(scripted: ScriptedServer) -> None:
    """The same clocks, silences, victims and hardware; only the owners' names are fresh for each run."""
    plan = scenario(
        "1s",
        {"clocks": [{"share": 0.3, "offset": "1s"}], "silence": [{"share": 0.3, "at": "0s", "duration": "1s"}]},
        attacks=[{"name": "skew.ahead", "start": "0s", "duration": "1s", "rate": 5, "share": 0.3}],
    )

    def made(seed: int) -> tuple[Any, ...]:
        run = FleetRun(LIVE, plan, seed, scripted.target, WatchedHistory(), Progress())
        return (
            [(machine.clock, machine.silence) for machine in run.player.fleet],
            [[victim.index for victim in campaign.victims] for campaign in run.player.campaigns],
            [run.player.metrics_of(index) for index in range(20)],
            run.player.spread.tolist(),
        )

    assert made(1) == made(1)
    assert all(one != other for one, other in zip(made(1), made(2), strict=True))


async def test_machines_obey_their_policies_in_what_they_report(scripted: ScriptedServer) -> None:
    """Maxima hold, and outside the allowed hours of its own time zone a machine works at nothing."""
    run = FleetRun(LIVE, scenario("1s", {"hardware": "gpu-server"}), 1, scripted.target, WatchedHistory(), Progress())
    unix_seconds = SystemClock().now().wall_ns / 1e9
    here, elsewhere = (
        [hour, (hour + 1) % 24] for hour in (time_hour(zone, unix_seconds) for zone in ("Asia/Seoul", "UTC"))
    )
    for index, machine in enumerate(run.player.fleet):
        machine.rules = {"max_cpu_percent": 10 + index, "max_memory_percent": 30, "max_gpu_percent": 5}
        if index % 2:
            machine.rules |= {"timezone": "Asia/Seoul", "allowed_hours": here if index % 4 == 1 else elsewhere}
    run.player.load_hardware(3600.0)
    shown = [msgspec.json.decode(run.player.metrics_of(index)) for index in range(20)]
    assert all(one["cpu_percent"] <= 10 + index for index, one in enumerate(shown))
    assert all(one["memory_percent"] <= 30 and one["gpu_percent"] <= 5 for one in shown)
    idle = [one for index, one in enumerate(shown) if index % 4 == 3]
    assert all(one["cpu_percent"] == one["gpu_percent"] == 0 < one["memory_percent"] for one in idle)
    assert sum(one["cpu_percent"] > 0 for one in shown) > 10


@pytest.mark.parametrize(
    ("zone", "hour"),
    [("UTC", 7), ("Asia/Seoul", 16), ("America/New_York", 3), ("Europe/Berlin", 9), ("Nowhere/Here", 7), ("", 7),
     ("../etc/passwd", 7), ("America", 7), ("tzdata.zi", 7), ("a\0b", 7), ("\ud800", 7), (" ", 7), ("x" * 5000, 7)],
)  # fmt: skip
def test_the_hour_is_the_time_zones_own_and_utcs_where_it_is_unknown(zone: str, hour: int) -> None:
    assert time_hour(zone, 1_783_494_000.0) == hour


async def test_scrapes_that_fail_are_counted_and_the_run_goes_on(
    scripted: ScriptedServer,
) -> None:
    created = Reaction((answer(201, b'{"success":true,"data":{"id":"pol_1"}}'),))
    scripted.script = [created, ACCEPT, Reaction((answer(500),))]
    target = msgspec.structs.replace(scripted.target, patience=Patience(last_answers_seconds=0.05))
    run = Run(scenario("60s", {"machines": 1, "owners": 1}), target)
    async with sockets_closed_after(), trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await until(lambda: run.progress.scrape_failures >= 3)
        nursery.cancel_scope.cancel()
    assert not run.history.scrapes
    assert "answered 500" in run.progress.last_problem


async def test_scripts_wait_for_an_answer_as_long_as_their_run_does(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    target = msgspec.structs.replace(scripted.target, patience=Patience(answer_seconds=0.1))
    played = await play_live("revoke.twice", target)
    causes, waited_ns = losses_of(played.history.rows()["status"])
    assert {*causes} == {Loss.TIMED_OUT}
    assert waited_ns.max() < ANSWER_TIMEOUT_SECONDS * SECOND_NS


async def test_what_owners_did_before_the_run_is_before_its_start() -> None:
    """Noted as still to come, their policies' events would be held against a server whose run ends at once."""
    async with serving() as (_, target):
        run = Run(scenario("60s", {"machines": 4, "owners": 2}), target)
        await run.until(lambda: run.progress.phase in {"running", "ramping"})
    policies = [one for one in run.history.effects if one.type in {"policy_created", "policy_activated"}]
    assert len(policies) == 4
    assert all(one.sent_ns < one.answered_ns <= 0 for one in policies)
    facts = Facts(stale_seconds=60, auth_window_seconds=300, auth_threshold=10, baseline={})
    assert check_audit(run.history, facts).status is not Status.FAIL
