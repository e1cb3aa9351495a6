"""The simulator's locustfile, with a master that counts a worker as lost after half as long a silence.

Whoever awaits the loss of a host awaits that. It is still four times what Locust itself would give.
"""

from simulator.load import master_node

vars(master_node)["WORKER_SILENCE_MAX_SECONDS"] = 12

from simulator.load.locustfile import *  # noqa: E402, F403 - Locust takes its users from here
