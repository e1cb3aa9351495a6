"""The table of owners, which granted requests create, and which are stored with audit streams (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.core.table import Table
from reference_server.wire.schema1 import OWNERS_NAMED

if TYPE_CHECKING:
    from reference_server.core.records import Owner

TABLE: Table[dict[str, Owner], Any] = Table(section=OWNERS_NAMED)
