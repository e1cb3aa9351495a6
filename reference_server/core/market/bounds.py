"""The bounds of a market, as one value that is passed when it is made; the reasons are in `limits.py`."""

from __future__ import annotations

import msgspec

from reference_server import limits


class MarketBounds(msgspec.Struct, frozen=True):
    """How many records of each kind a market keeps. Beyond a bound, records are refused, forgotten or folded.

    `idempotency_*` bound stored first answers, `transactions_an_account_max` the entries of a ledger account before the
    oldest are folded, `deadlines_spare` the stored deadlines beyond two for each unfinished job.
    """

    jobs_unfinished_max: int = limits.JOBS_UNFINISHED_MAX
    jobs_unfinished_an_account_max: int = limits.JOBS_UNFINISHED_AN_ACCOUNT_MAX
    jobs_finished_max: int = limits.JOBS_FINISHED_MAX
    jobs_a_worker_max: int = limits.JOBS_A_WORKER_MAX
    gpu_models_max: int = limits.GPU_MODELS_MAX
    deadlines_spare: int = limits.DEADLINES_SPARE
    accounts_max: int = limits.MARKET_ACCOUNTS_MAX
    transactions_an_account_max: int = limits.TRANSACTIONS_AN_ACCOUNT_MAX
    addresses_max: int = limits.ADDRESSES_MAX
    addresses_an_account_max: int = limits.ADDRESSES_AN_ACCOUNT_MAX
    idempotency_keys_max: int = limits.IDEMPOTENCY_KEYS_MAX
    idempotency_keys_an_account_max: int = limits.IDEMPOTENCY_KEYS_AN_ACCOUNT_MAX
    idempotency_bytes_max: int = limits.IDEMPOTENCY_BYTES_MAX
    idempotency_bytes_an_account_max: int = limits.IDEMPOTENCY_BYTES_AN_ACCOUNT_MAX


MARKET_BOUNDS = MarketBounds()
