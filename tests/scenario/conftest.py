"""What tests of scenario files share: a right file to break, and the server's own list of settings."""

from __future__ import annotations

import pytest

from reference_server.about import setting_names, settings_problem
from simulator.scenario.server_problems import ServerSettings

SMALL = """\
version = 1
name = "small"
duration = "10s"

[fleet]
machines = 20
"""

WHOLE = """\
version = 1
name = "whole"
description = "Every key of the format."
seed = 3
duration = "1m"
metrics_interval = "500ms"

[server]
instances = 1
redis = false
durable = true
tls = true
command = ["./farm", "--port", "{port}", "--state={hatchfarm_state_file}"]
env = { FARM_KEY = "{hatchfarm_api_token}", FARM_DEBUG = true }
health = "/ready"

[server.settings]
WORKER_STATUS_STALE_SECONDS = 8
METRICS_PUBLIC = true
RATE_LIMIT_REFILL_PER_SECOND = 7.5

[target]
addresses = "shared"

[fleet]
machines = 40
owners = 4
heartbeat_interval = "2s"
jitter = 0.25
certificate_rotation = "1.5m"
hardware = "laptop"
processes = 2

[[fleet.stages]]
duration = "5s"
target = 40

[[fleet.stages]]
duration = "0s"
target = 10

[[fleet.clocks]]
share = 0.1
offset = "-45s"
drift_ppm = -20.5

[[fleet.clocks]]
share = 0.2

[fleet.clocks.step]
at = "20s"
by = "+2m"

[[fleet.silence]]
share = 0.5
at = "12s"
duration = "3s"

[[attacks]]
name = "replay.exact"
start = "1s"
duration = "9s"
rate = 2.5
share = 1

[[faults]]
kind = "server.pause"
instance = 0
at = "3s"
duration = "500ms"

[[load]]
user = "owner-dashboard"
rate = 0.5
stages = [{ duration = "2s", target = 7 }]

[market]
agents = 3
rate = 0.5
jobs_per_minute = 4
minutes = [1, 2]
max_price_usdt = "0.75"
gpu_jobs = 0.5
cancelled = 0.2
withdrawals_per_minute = 1.5
withdrawal_usdt = "0.05"
repeated = 0.3
posts_per_minute = 2

[market.offer]
share = 0.5
cpu_cores = 4
memory_gb = 16
gpus = 2
gpu_model = "a100"
early = 0.4
failing = 0.1
claims_more = 0.1
foreign = 0.2
abandons = 0.3
abandoned_for = "20s"

[thresholds]
"heartbeat.response_time" = ["p(99)<250ms", "max<1s"]
"attacks.accepted" = ["count==0"]

[[abort_on_fail]]
metric = "heartbeat.rate"
threshold = "median>=1"
delay = "10s"
"""


@pytest.fixture
def small() -> str:
    """The least a scenario needs: `[fleet]` is its last table, so that lines can be added to it."""
    return SMALL


@pytest.fixture
def whole() -> str:
    """A scenario with every key of the format, each on a line of its own."""
    return WHOLE


@pytest.fixture(scope="session")
def known() -> ServerSettings:
    """The server's own list, as the command hands it to the loader."""
    return ServerSettings(setting_names(), settings_problem)
