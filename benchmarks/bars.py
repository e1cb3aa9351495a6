"""Every bar of the benchmarks, each with its reason. Ratios are `at_least`, times and sizes `at_most`."""

from __future__ import annotations

MIXED_OF_OWN = 0.9
"""A load balancer's pool sends many machines on one connection: that is how most heartbeats come."""
OF_CONSTANT = 0.6
"""Checking, signing and chaining a heartbeat may take two thirds of what a bare loop takes to answer at all."""
LANE_OF_HYPERCORN = 10.0
"""Else the express lane would not be worth its code."""
MANY_OF_FEW = 0.9
"""Of the rate with 1,000 machines, at 100,000: nothing on a heartbeat's way grows with the fleet."""
TLS_OF_PLAIN = 0.6
"""A record each way is encrypted in C; what is left is reading and writing it."""
BEHIND_PROXY_OF_CONSTANT = 0.8
"""What a proxy passes on at all is most of what a heartbeat costs behind it."""
DURABLE_OF_MEMORY = 0.4
"""One core writes, syncs and answers; what waits for the disk is answered in groups."""
DURABLE_P99_MS = 20.0
"""At half load: two syncs of a slow disk."""
REDIS_OF_MEMORY = 0.3
"""Every nonce goes to another process and back, in groups."""
SHARED_OF_MEMORY = 0.2
"""Every change does, with what it changes, and is read by the other instances."""
P99_MS = 5.0
"""At half load, which leaves the server idle half of the time."""
PAUSE_MS = 50.0
"""Of anybody, at 100,000 machines: half of what people notice, and no client's timeout."""
SNAPSHOT_DELAY_MS = 100.0
"""While 100,000 machines are written to disk by the same core."""
START_SECONDS = 10.0
"""From 100,000 machines: what restarts a server, as systemd or Kubernetes does, gives it longer."""
FIRST_PAGE_MS = 5.0
"""Of a scrape, and of each first page, at 100,000 machines: nobody else is answered meanwhile."""
ACCEPTED_OF_LIMITED = 2.0
"""An accepted heartbeat costs at least so many refusals by the rate limit, lest floods be answered by being overrun."""
OFFERING_OF_PLAIN = 0.85
"""Heartbeats that carry capacity and reports are longer, and matched."""
MATCH_MS = 1.0
"""A job that ends or comes, with 10,000 machines and 10,000 jobs waiting."""
IDLE_MACHINE_BYTES = 2_500.0
"""In the server, of a machine that is registered, consented to and not connected: a million in 2.5 GB."""
CONNECTED_SERVER_BYTES = 14_000.0
"""In the server, with 75 live nonces, a connection and its share of full audit streams."""
CONNECTED_SIMULATOR_BYTES = 8_000.0
"""In the simulator, at its peak, less the history that the run is for."""
VIRTUAL_OF_BARE = 0.4
"""All that is played beside the server's decision may take one and a half times what that takes."""
VIRTUAL_GROWTH = 1.15
"""A heartbeat of 50,000 machines, of one of 1,000: what is on its way grows with no fleet, and caches do not either."""
VIRTUAL_HOUR_SECONDS = 120.0
"""Of 10,000 machines: 50 us a heartbeat. What takes longer than a coffee break is not run."""
VIRTUAL_HOUR_BYTES = 2.0 * 1024**3
"""What the smallest machine that runs anything else has left."""
SHARD_OF_LOCUST = 4.0
"""Against Locust's fastest user: else a shard would not be worth its code."""
SHARD_OF_WRK = 0.6
"""Against wrk, which is C and signs nothing."""
CONDUCTED_OF_DIRECT = 0.9
"""A shard beside Locust, which reports everything."""
HEARTBEATS_OF_STARLETTE = 2.0
"""On Uvicorn, with the same checks: else a framework would do."""
HEARTBEATS_OF_FASTAPI = 2.5
"""On Granian: it finds out what a handler needs, at each request."""
HEARTBEATS_OF_QUART = 15.0
"""On Hypercorn, which this server began as."""
ROUTES_OF_STARLETTE = 1.5
"""Every other route is of less weight, and decided as a rival decides it; what is left is transport and routing."""
