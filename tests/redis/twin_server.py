"""Instances that know the same machines: `python -m tests.redis.twin_server`, with settings in the environment.

They wait for Redis with patience, or no longer than they are shipped to where `in-time` is their argument.

The machines are enrolled alike in each, by a seed, before it serves; whatever is drawn afterwards is its own.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec
import trio

from reference_server import outside
from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.http.serve import serve_until_signal
from reference_server.operations.api import Api
from reference_server.settings import load_settings
from reference_server.wire.signing import CertificateSigner
from tests.http.twins import Machine, data_of, enrolment
from tests.support.patience import IN_TIME, PATIENT_LINK

if TYPE_CHECKING:
    from reference_server.wire.values import Instant

MACHINES = 5


def enrolled(api: Api, now: Instant) -> list[Machine]:
    """Enrol the machines, directly at the operation table."""
    machines = []
    for number in range(MACHINES):
        steps = enrolment(f"rack {number}")
        request = next(steps)
        while True:
            reply = api.handle(msgspec.structs.replace(request, client=f"192.0.2.{number}"), now)
            try:
                request = steps.send(data_of(reply.status, reply.body))
            except StopIteration as end:
                machines.append(end.value)
                break
    return machines


def twin(environ: dict[str, str]) -> tuple[Api, list[Machine]]:
    """Make an instance, not yet sharing anything, and its machines."""
    now = SystemClock().now()
    api = Api(load_settings(environ), SeededEntropy("twin"), CertificateSigner.from_seed(bytes(range(32))), now)
    return api, enrolled(api, now)


def main() -> None:
    """Serve until told to stop."""
    api, _ = twin(dict(os.environ))
    entropy = SystemEntropy()
    api.state.entropy = entropy
    bounds = IN_TIME if sys.argv[1:] == ["in-time"] else PATIENT_LINK
    outside.share(api, entropy, SystemClock(), fresh=True, bounds=bounds)
    trio.run(serve_until_signal, api, SystemClock(), entropy)


if __name__ == "__main__":
    main()
