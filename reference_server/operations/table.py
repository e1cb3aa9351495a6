"""The whole API as one table (contract §3): the rows of each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.operations import (
    agents,
    audit,
    consents,
    forum,
    jobs,
    logins,
    machines,
    policies,
    service,
    wallet,
    workers,
)
from reference_server.operations.description import self_describing
from reference_server.operations.people import rows as people

if TYPE_CHECKING:
    from reference_server.operations.operation import Operation

PREFIXES = ("/api/v1", "/v1")
OPERATIONS: tuple[Operation, ...] = self_describing(
    (
        *machines.OPERATIONS,
        *policies.OPERATIONS,
        *consents.OPERATIONS,
        *workers.OPERATIONS,
        *audit.OPERATIONS,
        *logins.OPERATIONS,
        *agents.OPERATIONS,
        *jobs.OPERATIONS,
        *wallet.OPERATIONS,
        *forum.OPERATIONS,
        *service.OPERATIONS,
        *people.OPERATIONS,
    ),
    PREFIXES[0],
)
