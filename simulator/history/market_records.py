"""The history's side tables of the market: what accounts asked and were shown, and what machines offered and worked on.

Times are those of `simulator.history.records`. Values are as the wire has them: decimal strings of money, and no keys,
sessions or other secrets. Small beside the rows: a market is asked some times a second, a fleet thousands.
"""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.history.rows import HONEST


class MarketExchange(msgspec.Struct, frozen=True):
    """What an account asked of the market, and what it was answered.

    `account` is `owner:ID` or `agent:ID`, empty for who only registers. `operation` is an `Operation`, `object_id` the
    job, withdrawal or post that the path names. `key` is its `Idempotency-Key`, and `replayed` says that the answer was
    that of an earlier request with it. `asked` is the body, or the query. `data` is that of the envelope; of a refusal
    its `{"message": ...}`. A `status` of 0 says that no whole answer came: it may have taken effect.
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
    """All that an account was shown of its money and jobs, read after the last request of anybody else had ended.

    `transactions` and `jobs` are newest first, as listed; their totals are -1 where the list was not read. Nothing of
    it can have changed between the two times, but for what the server does by itself: what a withdrawal or a job still
    has to come to. `complete` says that every page was read.
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
    """What was offered, all pages of it, as an account was shown it between two moments."""

    sent_ns: int
    answered_ns: int
    resources: list[dict[str, Any]] = []
    complete: bool = True


class CapacityReport(msgspec.Struct, frozen=True):
    """What a machine said in a heartbeat that it has, from when it said so until it says otherwise.

    `capacity` is `metrics.capacity`. One that is not `honest` is more than its policy lets it offer, or is malformed.
    Only of heartbeats that were accepted, or may have been where `answered_ns` is `NEVER_NS`. `rules` are those of the
    policy that it was sent under, empty where they are not known.
    """

    machine: int
    sent_ns: int
    answered_ns: int
    capacity: dict[str, Any]
    honest: bool = True
    rules: dict[str, Any] = {}


class Assignment(msgspec.Struct, frozen=True):
    """A job that the answer to a machine's heartbeat named as its own for the first time, or as `cancelled`."""

    machine: int
    sent_ns: int
    answered_ns: int
    job_id: str
    resources: dict[str, Any] = {}
    duration_minutes: int = 0
    cancelled: bool = False


class JobReport(msgspec.Struct, frozen=True):
    """What a machine said of a job in a heartbeat: `running`, `succeeded` or `failed`.

    One that is not `honest` is of a job that is not the machine's, or claims what it has not done.
    """

    machine: int
    sent_ns: int
    answered_ns: int
    job_id: str
    state: str
    accepted: bool
    honest: bool = True
