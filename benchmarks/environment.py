"""What the servers that benchmarks measure are started with."""

from __future__ import annotations

TOKEN = "benchmark"  # noqa: S105 - for servers on loopback that live for seconds
ENVIRONMENT = {
    "WORKER_STATUS_STATE_FILE": "",
    "HATCHFARM_API_TOKEN": TOKEN,
    "PORT": "0",
    "RATE_LIMIT_REFILL_PER_SECOND": "1000000",
    "RATE_LIMIT_BURST": "1000000000",
}
