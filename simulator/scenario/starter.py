"""The scenario that `hatchfarm init` writes: one to change, with a word on each line that needs one."""

from __future__ import annotations

from simulator.scenario.shipped import SCHEMA_FILE

_STARTER = """\
#:schema ./{schema}
# A scenario of HatchFarm Harness. `hatchfarm validate {name}.toml` checks it, and `hatchfarm run {name}.toml` runs it:
# with --target https://… against a deployment of yours. Times are like 250ms, 30s or 1m30s.
version = 1
name = "{name}"
description = "200 machines stay healthy while a few heartbeats are sent again."
seed = 1 # everything random follows from it: the same seed, the same run
duration = "${{DURATION:-30s}}" # the variable DURATION, where it is set, or `--duration 5m`

[server.settings] # of the server that the run starts for itself; `hatchfarm serve --help` lists them all
WORKER_STATUS_STALE_SECONDS = 8

[fleet]
machines = 200
owners = 4 # who share the machines evenly
heartbeat_interval = "2s"
stages = [{{ duration = "5s", target = 200 }}] # how many machines run when; without, all start at once
hardware = "mixed"

[[fleet.silence]] # a tenth of the machines sends nothing for a while, and is called stale
share = 0.1
at = "8s"
duration = "12s"

[[attacks]] # `hatchfarm attack list` names them all
name = "replay.exact"
start = "8s"
duration = "10s"
rate = 5 # requests a second

# [[faults]] # what goes wrong with the run's own server
# kind = "server.pause"
# at = "10s"
# duration = "1s"

[thresholds] # what must hold; `hatchfarm metrics` explains what can be asked for
"heartbeat.response_time" = ["p(95)<250ms"]
"heartbeat.accepted" = ["rate>0.999"]
"attacks.sent" = ["count>=20"]
"attacks.accepted" = ["count==0"]
"alerts.errors" = ["count==0"]
"alerts.stale_workers.fired" = ["count>=1"]
"""


def starter_scenario(name: str) -> str:
    """Return the text of a scenario of that name. Its schema is looked for beside it."""
    return _STARTER.format(name=name, schema=SCHEMA_FILE)
