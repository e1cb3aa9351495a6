"""Record types of the market's side tables: requests and views of accounts, offers and jobs of machines.

Times are those of `simulator.history.records`. Values are as on the wire: money is a decimal string. There are no API
keys, sessions or other secrets in them. The tables are small beside the rows: a market gets a few requests a second, a
fleet sends thousands.
"""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.history.rows import HONEST


class MarketExchange(msgspec.Struct, frozen=True):
    """A request of an account to the market, and its answer.

    `account` is `owner:ID` or `agent:ID`, empty for a registration. `operation` is an `Operation`, `object_id` the job,
    withdrawal or post that the path names. `key` is the `Idempotency-Key`, and `replayed` is true if the answer was
    that of an earlier request with the same key. `asked` is the body, or the query. `data` is the envelope's `data`,
    or `{"message": ...}` for a refusal. If `status` is 0, no whole answer came: the request may have taken effect.
    """

    account: str
    operation: int
    sent_ns: int
    answered_ns: int
    status: int
    object_id: str = ""
    key: str = ""
    replayed: bool = False
    asked: dict[str, Any] = {}
    data: dict[str, Any] = {}
    campaign: int = HONEST


class AccountShown(msgspec.Struct, frozen=True):
    """Everything that an account was shown of its money and jobs, read after all other requests had ended.

    `transactions` and `jobs` are newest first, as listed; their totals are -1 if the list was not read. Between the two
    times only the server's own work can have changed them: the progress of a withdrawal or a job. `complete` is true if
    every page was read.
    """

    account: str
    sent_ns: int
    answered_ns: int
    balances: list[dict[str, Any]] = []
    transactions: list[dict[str, Any]] = []
    transactions_total: int = -1
    jobs: list[dict[str, Any]] = []
    jobs_total: int = -1
    withdrawals: list[dict[str, Any]] = []
    complete: bool = True


class ResourcesShown(msgspec.Struct, frozen=True):
    """All pages of the resources on offer, as shown to an account between two moments."""

    sent_ns: int
    answered_ns: int
    resources: list[dict[str, Any]] = []
    complete: bool = True


class CapacityReport(msgspec.Struct, frozen=True):
    """The capacity that a machine stated in a heartbeat; it holds until the machine states another.

    `capacity` is `metrics.capacity`. If it is not `honest`, it is malformed or more than the machine's policy allows.
    Only heartbeats that were accepted, or may have been (`answered_ns` is `NEVER_NS`), are recorded. `rules` are those
    of the policy in force for the heartbeat, empty if unknown.
    """

    machine: int
    sent_ns: int
    answered_ns: int
    capacity: dict[str, Any]
    honest: bool = True
    rules: dict[str, Any] = {}


class Assignment(msgspec.Struct, frozen=True):
    """A job that the answer to a machine's heartbeat assigned to the machine for the first time, or `cancelled`."""

    machine: int
    sent_ns: int
    answered_ns: int
    job_id: str
    resources: dict[str, Any] = {}
    duration_minutes: int = 0
    cancelled: bool = False


class JobReport(msgspec.Struct, frozen=True):
    """The state of a job that a machine reported in a heartbeat: `running`, `succeeded` or `failed`.

    If it is not `honest`, the job is not the machine's, or the machine claims work that it has not done.
    """

    machine: int
    sent_ns: int
    answered_ns: int
    job_id: str
    state: str
    accepted: bool
    honest: bool = True
