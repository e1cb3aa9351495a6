"""A machine has one turn at a time, however its fleet is stopped, started and silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.worlds.virtual.shard import VirtualShard
from tests.virtual.tiny_runs import play_tiny

if TYPE_CHECKING:
    import pytest

    from simulator.client.link import Link

STOPPED_IN_ITS_SILENCE = """
version = 1
name = "turns"
duration = "14s"
metrics_interval = "2s"

[fleet]
machines = 2
owners = 1
heartbeat_interval = "1s"
jitter = 0.0
stages = [
  { duration = "1s", target = 2 },
  { duration = "4s", target = 2 },
  { duration = "500ms", target = 0 },
  { duration = "500ms", target = 2 },
]
silence = [{ share = 1.0, at = "3s", duration = "6s" }]
"""


def test_a_machine_that_was_stopped_and_started_in_its_silence_dials_once_at_the_end_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dial, open_before = VirtualShard._dial, 0

    def counted(shard: VirtualShard, link: Link) -> None:
        nonlocal open_before
        open_before += link.machine is not None and link.sock is not None and not link.sock.closed  # type: ignore[attr-defined]
        dial(shard, link)

    monkeypatch.setattr(VirtualShard, "_dial", counted)
    assert play_tiny(1, STOPPED_IN_ITS_SILENCE).rows().size > 20
    assert not open_before
