"""The tables of the state (contract §7). A new entity is a new row at the end; see `table.Table`."""

from __future__ import annotations

from reference_server.core import consents, machines, owners, policies, statuses
from reference_server.core.identity import logins, sessions
from reference_server.core.keeping import accounts, agents, forum, jobs, withdrawals
from reference_server.core.table import Tables

TABLES = Tables(
    (
        owners.TABLE,
        policies.TABLE,
        machines.TABLE,
        machines.CERTIFICATE_TABLE,
        consents.TABLE,
        statuses.TABLE,
        agents.TABLE,
        accounts.TABLE,
        jobs.OFFERS_TABLE,
        jobs.TABLE,
        withdrawals.TABLE,
        withdrawals.ADDRESSES_TABLE,
        withdrawals.ANSWERS_TABLE,
        accounts.COUNTERS_TABLE,
        forum.TABLE,
        forum.COMMENTS_TABLE,
        sessions.TABLE,
        logins.TABLE,
    )
)
