"""Short copies of the scenarios that the project ships: of each kind of thing in them a little, in a few seconds."""

from __future__ import annotations

import json
import tomllib
from typing import Any

SECONDS = 11
MACHINES_MAX, ATTACKS_MAX, FAULTS_MAX, RATE_MAX = 20, 2, 1, 5
FROM_SECONDS, FOR_SECONDS, FAULT_AT_SECONDS = 2, 2, 7
"""Attacks have ended before the fault begins, which would excuse what they prove."""


def shortened(text: str) -> str:
    """Write a scenario that does a little of what another one does. It has no thresholds: they ask for amounts."""
    scenario = tomllib.loads(text)
    scenario.pop("thresholds", None)
    scenario["duration"] = f"{SECONDS}s"
    fleet = scenario["fleet"]
    fleet["machines"] = min(MACHINES_MAX, fleet["machines"])
    fleet["owners"] = min(4, fleet.get("owners", 1))
    fleet["stages"] = [{"duration": "1s", "target": fleet["machines"]}]
    for silence in fleet.get("silence", []):
        silence |= {"at": f"{FROM_SECONDS}s", "duration": f"{FOR_SECONDS}s"}
    for clock in fleet.get("clocks", []):
        if "step" in clock:
            clock["step"]["at"] = f"{FROM_SECONDS}s"
    scenario["attacks"] = scenario.get("attacks", [])[:ATTACKS_MAX]
    for number, attack in enumerate(scenario["attacks"]):
        start_ms = 1000 * FROM_SECONDS + 300 * number
        attack |= {"start": f"{start_ms}ms", "duration": f"{FOR_SECONDS}s", "rate": min(RATE_MAX, attack["rate"])}
    scenario["faults"] = scenario.get("faults", [])[:FAULTS_MAX]
    for fault in scenario["faults"]:
        fault["at"] = f"{FAULT_AT_SECONDS}s"
    return "".join(f"{name} = {_written(value)}\n" for name, value in scenario.items())


def _written(value: Any) -> str:
    """Write a value of TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_written(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
