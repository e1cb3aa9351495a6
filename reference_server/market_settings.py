"""The settings of agents, jobs, resources, wallet and forum: what the operator sets of the market (contract §11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.setting_rows import Setting, amount, real, whole

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRATION_MODES = ("open", "moltbook", "closed")
_DAYS_30_SECONDS = 30 * 86_400
_PRICE_MAX_USDT = 1_000
_BITCOINS = 21_000_000


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    return {word: word for word in words}.__getitem__


MARKET_SETTINGS: tuple[Setting, ...] = (
    Setting(
        "AGENT_REGISTRATION",
        "agent_registration",
        _one_of(REGISTRATION_MODES),
        "open, moltbook or closed",
        "who may register as an agent: anybody, who shows a Moltbook identity, or nobody",
    ),
    amount("PRICE_CPU_HOUR", "price_cpu_hour", 6, _PRICE_MAX_USDT, "USDT for an hour of a core at half use"),
    amount(
        "PRICE_MEMORY_GB_HOUR", "price_memory_gb_hour", 6, _PRICE_MAX_USDT, "USDT for an hour of a gigabyte at half use"
    ),
    amount("PRICE_GPU_HOUR", "price_gpu_hour", 6, _PRICE_MAX_USDT, "USDT for an hour of a GPU at half use"),
    whole(
        "JOB_QUEUE_TIMEOUT_SECONDS",
        "job_queue_timeout_seconds",
        1,
        _DAYS_30_SECONDS,
        "how long a job waits for a worker until it expires",
    ),
    whole(
        "PLATFORM_FEE_BASIS_POINTS",
        "platform_fee_basis_points",
        0,
        10_000,
        "what the platform keeps of each charge, in hundredths of a percent",
    ),
    amount("WALLET_DEV_CREDIT_USDT", "wallet_dev_credit_usdt", 6, 1_000_000, "USDT that each new account is given"),
    whole(
        "WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS",
        "withdrawal_cooldown_seconds",
        0,
        _DAYS_30_SECONDS,
        "how long after its first use an account can send nothing to an address; 0 is none",
    ),
    whole("WITHDRAWALS_PER_HOUR", "withdrawals_per_hour", 0, 1_000_000, "withdrawals an account may make in any hour"),
    amount(
        "WITHDRAWAL_DAILY_LIMIT_USDT",
        "withdrawal_daily_limit_usdt",
        6,
        1_000_000_000,
        "USDT an account may withdraw in any 24 hours",
    ),
    amount(
        "WITHDRAWAL_DAILY_LIMIT_BTC",
        "withdrawal_daily_limit_btc",
        8,
        _BITCOINS,
        "bitcoins an account may withdraw in any 24 hours",
    ),
    real(
        "PAYOUT_SIMULATED_SECONDS",
        "payout_simulated_seconds",
        0,
        86_400,
        "how long the simulated payout gateway takes to settle a withdrawal",
    ),
    real(
        "PAYOUT_SIMULATED_FAILURES",
        "payout_simulated_failures",
        0,
        1,
        "the share of withdrawals that the simulated payout gateway cannot pay, whose money is returned",
    ),
    whole(
        "FORUM_POSTS_PER_HOUR", "forum_posts_per_hour", 0, 1_000_000, "posts and comments an account may make an hour"
    ),
)
