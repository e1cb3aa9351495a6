"""Faults in virtual time: as live, judged as live, and found out where the server does not survive them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import trio

from reference_server.adapters.files.private_files import write_new
from reference_server.wire.units import MILLISECOND_NS
from simulator.fuzzing.playing import play_text
from simulator.scenario.values import FAULTS
from simulator.worlds.virtual.disk import SECTOR_BYTES, Mount, VirtualDisk
from simulator.worlds.virtual.faults import FAULT_ACTIONS
from simulator.worlds.virtual.scheduling import Frozen, JumpingClock, run_seeded
from tests.faults.planted import PLANTED
from tests.planted_bugs.faulty_server import planted
from tests.virtual.tiny_runs import FAULTY, play_tiny

PATH = Path("/file")
DURABLE, SHARED, _ = FAULTY


def test_each_fault_that_is_no_network_s_can_be_played() -> None:
    assert {kind for kind in FAULTS if not kind.startswith("network.")} <= FAULT_ACTIONS.keys()


@pytest.mark.parametrize(("text", "seed"), [(DURABLE, 1), (DURABLE, 2), (SHARED, 1), (SHARED, 2)])
def test_the_right_server_survives_them(text: str, seed: int) -> None:
    played = play_text(text.replace("version = 1", f"version = 1\nseed = {seed}"))
    assert not played.failures
    assert played.requests > 20


FORGOTTEN = """
version = 1
name = "forgotten"
seed = 1
duration = "14s"
metrics_interval = "1s"

[server.settings]

[fleet]
machines = 1
owners = 1
heartbeat_interval = "1s"
stages = [{ duration = "1s", target = 1 }]

[[attacks]]
name = "certificate.rotated-out"
start = "3s"
duration = "9s"
rate = 5
share = 1.0

[[faults]]
kind = "server.restart"
at = "2s"
duration = "3s"
"""


def test_a_victim_that_registers_anew_while_it_is_shot_at_is_prepared_again() -> None:
    """The owner's wish that it rotates its certificate was for the worker that the server has forgotten."""
    played = play_text(FORGOTTEN)
    assert not played.failures
    assert not played.undecided, played.doubts


def test_a_fault_is_noted_and_a_server_that_stands_still_answers_nothing() -> None:
    history = play_tiny(3, DURABLE)
    assert [one.kind for one in history.faults] == ["server.kill", "server.pause", "disk.full"]
    assert not any(one.problem for one in history.faults)
    pause = history.faults[1]
    assert pause.ended_from_ns - pause.began_to_ns == 200 * MILLISECOND_NS
    answered_ns = history.rows()["answered_ns"]
    on_their_way_ns = MILLISECOND_NS
    within = (answered_ns > pause.began_to_ns + on_their_way_ns) & (answered_ns < pause.ended_from_ns)
    assert not within.any()
    sent_ns = history.rows()["sent_ns"]
    waited = (sent_ns > pause.began_to_ns) & (sent_ns < pause.ended_from_ns) & (answered_ns > pause.ended_from_ns)
    assert waited.any(), "what was sent meanwhile is answered after it"


@pytest.mark.parametrize("name", ["answers before it has written", "keeps what it refused for a full disk"])
def test_what_only_faults_bring_to_light_is_found(name: str) -> None:
    (fault,) = [one for one in PLANTED if one.name == name]
    texts = [DURABLE.replace("version = 1", f"version = 1\nseed = {seed}") for seed in range(7, 12)]
    with planted(fault.edits):
        failures = [one for text in texts for one in play_text(text).failures]
    assert {one.checker for one in failures} & fault.caught_by


# --- the disk


def crashed(seed: int, synced: bytes, unsynced: bytes) -> bytes:
    """Return what is in a file after a power loss: written and synced first, and written behind that."""
    disk = VirtualDisk(np.random.default_rng(seed))
    mount = Mount(disk)
    write_new(PATH, synced, mount)
    mount.sync_folder(PATH.parent)
    file = mount.open(PATH, os.O_RDWR)
    mount.write(file, unsynced, len(synced))
    mount.cut_off()
    disk.fail()
    return Mount(disk).read(PATH)


def test_what_was_synced_is_there_and_of_the_rest_some_of_its_sectors() -> None:
    synced, unsynced = b"s" * 100, b"u" * 5 * SECTOR_BYTES
    found = {crashed(seed, synced, unsynced) for seed in range(60)}
    assert all(one.startswith(synced) and (synced + unsynced).startswith(one) for one in found)
    assert {len(one) for one in found} == {
        100, *(at * SECTOR_BYTES for at in range(1, 6)), len(synced) + len(unsynced)
    }  # fmt: skip


def test_what_was_renamed_may_be_as_it_was_unless_the_folder_was_synced() -> None:
    def after(seed: int, *, synced: bool) -> bytes:
        disk = VirtualDisk(np.random.default_rng(seed))
        mount = Mount(disk)
        for name in ("/file", "/new"):
            write_new(Path(name), name.encode(), mount)
        mount.sync_folder(PATH.parent)
        mount.rename(Path("/new"), PATH)
        if synced:
            mount.sync_folder(PATH.parent)
        disk.fail()
        return Mount(disk).read(PATH)

    assert {after(seed, synced=False) for seed in range(20)} == {b"/file", b"/new"}
    assert {after(seed, synced=True) for seed in range(20)} == {b"/new"}


def test_a_call_that_is_under_way_may_have_come_as_far_as_any_of_its_steps() -> None:
    async def crash(seed: int) -> bytes:
        disk = VirtualDisk(np.random.default_rng(seed))
        mount = Mount(disk)
        write_new(PATH, b"", mount)
        mount.sync_folder(PATH.parent)
        file = mount.open(PATH, os.O_RDWR)

        def append() -> None:
            begun.set()
            for part in (b"a", b"b"):
                mount.write(file, part, mount.size(file))
                mount.sync(file)

        begun = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.offload, append)
            await begun.wait()
            mount.cut_off()
            disk.fail()
        return Mount(disk).read(PATH)

    assert {run_seeded(crash, seed, seed=seed) for seed in range(30)} == {b"", b"a", b"ab"}


def test_a_process_that_is_no_more_writes_nothing_and_a_full_disk_takes_nothing() -> None:
    disk = VirtualDisk(np.random.default_rng(1))
    mount = Mount(disk)
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        write_new(PATH, b"x", mount)
    disk.full = False
    mount.unlink(PATH)
    mount.cut_off()
    with pytest.raises(OSError, match="Input/output"):
        write_new(PATH, b"x", mount)


def test_a_lock_is_its_process_s_until_that_ends() -> None:
    disk = VirtualDisk(np.random.default_rng(1))
    one, other = Mount(disk), Mount(disk)
    one.lock(one.open(PATH, os.O_CREAT))
    file = other.open(PATH, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        other.lock(file)
    one.cut_off()
    other.lock(file)


# --- standing still


def test_frozen_tasks_go_on_where_they_stood() -> None:
    clock = JumpingClock()
    steps: list[float] = []

    async def tick() -> None:
        for _ in range(6):
            await trio.sleep(1)
            steps.append(trio.current_time())

    async def play() -> None:
        async with trio.open_nursery() as nursery:

            async def within(task_status: trio.TaskStatus[trio.lowlevel.Task]) -> None:
                task_status.started(trio.lowlevel.current_task())
                async with trio.open_nursery() as inner:
                    inner.start_soon(tick)

            root = await nursery.start(within)
            await trio.sleep(2.5)
            frozen = Frozen(root)
            await trio.sleep(2)
            frozen.thaw()

    run_seeded(play, seed=1, clock=clock)
    assert [round(at, 6) for at in steps] == [1, 2, 4.5, 5.5, 6.5, 7.5]
