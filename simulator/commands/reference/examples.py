"""An example of each table of a scenario, with every key it has. In the order of the page they are one scenario."""

from __future__ import annotations

EXAMPLES = {
    "top level": """
version = 1
name = "of-everything"
description = "Two attacks, a restart and owners at work: nothing is lost, and nobody gets through."
seed = 7
duration = "2m"
metrics_interval = "1s"
""",
    "[server]": """
[server]
instances = 1
redis = true
durable = true
tls = false
command = ["./farm", "--port", "{port}", "--state", "{hatchfarm_state_file}"]
health = "/health"
""",
    "[server.settings]": """
[server.settings]
WORKER_STATUS_STALE_SECONDS = 20
WORKER_AUTH_FAIL_ALERT_THRESHOLD = 10
METRICS_PUBLIC = false
WALLET_DEV_CREDIT_USDT = "10"
WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS = 0
""",
    "[server.env]": """
[server.env]
FARM_REDIS = "{redis_addr}"
""",
    "[target]": """
[target]
addresses = "own"
""",
    "[fleet]": """
[fleet]
machines = 200
owners = 5
heartbeat_interval = "2s"
processes = 1
jitter = 0.1
certificate_rotation = "10m"
stages = [{ duration = "5s", target = 100 }, { duration = "10s", target = 200 }]
hardware = "mixed"
""",
    "[[fleet.clocks]]": """
[[fleet.clocks]]
share = 0.05
offset = "-45s"
drift_ppm = 200
step = { at = "30s", by = "+2m" }
""",
    "[[fleet.silence]]": """
[[fleet.silence]]
share = 0.1
at = "40s"
duration = "30s"
""",
    "[[attacks]]": """
[[attacks]]
name = "replay.exact"
start = "20s"
duration = "30s"
rate = 10
share = 0.1

[[attacks]]
name = "consent.after-revoke"
start = "60s"
duration = "20s"
rate = 1
""",
    "[[faults]]": """
[[faults]]
kind = "server.kill"
instance = 0
at = "90s"
duration = "500ms"

[[faults]]
kind = "network.latency"
at = "95s"
duration = "10s"
latency = "200ms"
jitter = "50ms"

[[faults]]
kind = "network.loss"
at = "110s"
duration = "5s"
share = 0.05
""",
    "[[load]]": """
[[load]]
user = "owner-dashboard"
stages = [{ duration = "10s", target = 5 }]
rate = 0.5
""",
    "[market]": """
[market]
agents = 5
rate = 1
jobs_per_minute = 2
minutes = [1, 2]
max_price_usdt = "0.50"
gpu_jobs = 0.3
cancelled = 0.1
withdrawals_per_minute = 0.5
withdrawal_usdt = "0.10"
repeated = 0.1
posts_per_minute = 0.2
""",
    "[market.offer]": """
[market.offer]
share = 0.5
cpu_cores = 8
memory_gb = 32
gpus = 4
gpu_model = "rtx-4090"
early = 0.3
failing = 0.05
claims_more = 0.02
foreign = 0.02
abandons = 0.02
abandoned_for = "20s"
""",
    "[thresholds]": """
[thresholds]
"heartbeat.response_time" = ["p(95)<250ms", "p(99)<1s"]
"attacks.accepted" = ["count==0"]
"operation.policy-fetch.accepted" = ["rate>0.99"]
"attack.replay.exact.sent" = ["count>=100"]
"server.memory" = ["max<256MB"]
""",
    "[[abort_on_fail]]": """
[[abort_on_fail]]
metric = "heartbeat.response_time"
threshold = "p(99)<5s"
delay = "20s"
""",
}
