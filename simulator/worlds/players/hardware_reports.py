"""Hardware reports of a fleet's machines as JSON: their load, limited by their policies."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from operator import is_not
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from simulator.fleet.hardware import DAY_HOURS, PERCENT_MAX, capped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.fleet.hardware import Column, HardwareLoad
    from simulator.fleet.machine import Machine

MAXIMA = ("max_cpu_percent", "max_memory_percent", "max_gpu_percent")
TENTHS = 10
WRITTEN = [str(tenths / TENTHS) for tenths in range(int(PERCENT_MAX) * TENTHS + 1)]
"""Percentages as JSON, indexed by tenths, because each heartbeat has three of them."""


class HardwareReports:
    """The reports of a fleet with machine numbers from `first` on.

    Limits of policies are columns of arrays, because each load update uses them for all machines; a machine's rules are
    parsed again only when they change.
    """

    def __init__(self, load: HardwareLoad, fleet: Sequence[Machine], first: int) -> None:
        self._load = load
        self._fleet = fleet
        self._first = first
        self._obeyed: list[dict[str, Any] | None] = [None] * len(fleet)
        self._maxima = {name: np.full(len(fleet), PERCENT_MAX) for name in MAXIMA}
        self._hours = np.ones((len(fleet), DAY_HOURS), dtype=np.bool_)
        self._zones: dict[str, int] = {}
        self._zone = np.zeros(len(fleet), dtype=np.intp)
        self._places = np.arange(len(fleet))
        self._columns = tuple(map(_tenths, (load.cpu, load.memory, load.gpu)))
        """CPU, memory and GPU, in tenths of a percent."""

    def advance(self, seconds: float, unix_seconds: float) -> None:
        """Advance the load by `seconds`, to the time `unix_seconds`."""
        load = self._load
        load.advance(seconds, unix_seconds / 3600 % DAY_HOURS)
        rules = [machine.rules for machine in self._fleet]
        if any(map(is_not, rules, self._obeyed)):
            self._obey(rules)
        hours = np.array([time_hour(zone, unix_seconds) for zone in self._zones], dtype=np.intp)
        allowed = self._hours[self._places, hours[self._zone]]
        cpu, memory, gpu = (self._maxima[name] for name in MAXIMA)
        held = capped(load.cpu, cpu, allowed), np.minimum(load.memory, memory), capped(load.gpu, gpu, allowed)
        self._columns = tuple(map(_tenths, held))

    def _obey(self, rules: list[dict[str, Any]]) -> None:
        """Parse the rules of machines whose rules changed."""
        for place, (now, before) in enumerate(zip(rules, self._obeyed, strict=True)):
            if now is before:
                continue
            for name, column in self._maxima.items():
                column[place] = now.get(name, PERCENT_MAX)
            self._zone[place] = self._zones.setdefault(now.get("timezone", "UTC"), len(self._zones))
            self._hours[place] = True
            if "allowed_hours" in now:
                self._hours[place] = np.isin(np.arange(DAY_HOURS), now["allowed_hours"])
        self._obeyed = list(rules)

    def of(self, index: int) -> str:
        """Return a machine's report as JSON. Numbers beyond the fleet's are machines of scripts."""
        cpu, memory, gpu = self._columns
        place = (index - self._first) % len(cpu)
        return (
            f'{{"cpu_percent":{WRITTEN[cpu[place]]},"memory_percent":{WRITTEN[memory[place]]},'
            f'"gpu_percent":{WRITTEN[gpu[place]]}}}'
        )


def _tenths(percent: Column) -> list[int]:
    tenths: list[int] = np.rint(percent * TENTHS).astype(np.intp).tolist()
    return tenths


def time_hour(zone: str, unix_seconds: float) -> int:
    """Return the hour of the day in a time zone; UTC's for a zone this machine does not know."""
    try:
        info: tzinfo = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        info = UTC
    return datetime.fromtimestamp(unix_seconds, info).hour
