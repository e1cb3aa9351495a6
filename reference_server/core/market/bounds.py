"""How much a market may hold, as one value: a composition root passes it, and each bound's reason is in `limits.py`."""

from __future__ import annotations

import msgspec

from reference_server import limits


class MarketBounds(msgspec.Struct, frozen=True):
    """How many of each thing a market keeps; what would be past one is refused, forgotten or folded as its table says.

    `idempotency_*` bound first answers that are kept under keys, `transactions_an_account_max` entries that are kept
    of a ledger's account before the oldest are folded, `deadlines_spare` moments kept past two for each unfinished job.
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
