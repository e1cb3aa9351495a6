"""The whole API as one table (contract §3): the rows of each domain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.operations import audit, consents, machines, policies, service, workers
from reference_server.operations.description import self_describing

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
        *service.OPERATIONS,
    ),
    PREFIXES[0],
)
