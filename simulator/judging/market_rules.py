"""The rules of the market that a run can break, as `simulator.judging.rules` has those of all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUMS = "Every transaction's entries sum to zero, and every balance is what its entries come to."
_ONCE = "What was acknowledged has its effect once, whole, and what was not asked for has none."
_ESCROW = "A job's maximum is held once, charged for what ran, and the rest released once."
_KEYS = "The same key and body have the first answer again; the same key with another body is 422."
_LIMITS = "A withdrawal is refused for its cooldown, its limits and its balance exactly where they say so."
_METERED = "A job is billed for the time between accepted heartbeats, at its fixed price, rounded down."
_PRICES = "A price is its base times the factor of the utilisation before the job, fixed when it is assigned."
_LISTED = "Prices are listed with the utilisation that they follow from."
_ROOM = "A machine's jobs fit what it last said it has, scaled by its policy."
_TURNS = "Each queued job goes to a machine that fits as soon as there is one, accounts in turn."
_STATES = "A job goes its states one way; the third time that it is given back it has failed."
_OWN = "Another's object is 404, as an id that is none, and nobody is shown what is another's."

MARKET_RULES: Mapping[str, tuple[str, str, float]] = {
    "ledger.imbalance": ("The ledger does not sum to zero", _SUMS, 9.1),
    "ledger.chain": ("An entry does not follow from the one before it", _SUMS, 8.1),
    "ledger.sum": ("A balance is not what its entries come to", _SUMS, 8.1),
    "ledger.negative": ("An account was below zero", "No account of a principal goes below zero.", 8.8),
    "ledger.rewritten": ("An entry was changed after it was shown", "Entries stay as they were made.", 8.1),
    "ledger.amount": ("A withdrawal was granted otherwise than it was asked for", "Amounts are exact.", 9.1),
    "ledger.missing": ("What was acknowledged is gone", _ONCE, 8.1),
    "ledger.unexplained": ("An account has entries that nobody asked for", _ONCE, 8.1),
    "ledger.withdrawal": ("A withdrawal moved money otherwise than out once, and on or back once", _ONCE, 9.1),
    "ledger.state": ("A withdrawal was in a state that it cannot be in", _ONCE, 6.5),
    "ledger.stuck": ("A withdrawal was debited, and neither paid nor returned", _ONCE, 8.1),
    "ledger.escrow": ("A job's escrow was not held once and released once", _ESCROW, 9.1),
    "ledger.billed": ("A job was charged another amount than it was billed", _ESCROW, 8.1),
    "ledger.fee": ("A charge is not what was earned and the platform's fee", "Charge is earning and fee.", 7.5),
    "ledger.credit": ("An account was credited otherwise than once", "Each new account is credited once.", 8.1),
    "ledger.key-twice": ("One idempotency key had two effects", _KEYS, 9.1),
    "ledger.key-answer": ("A used idempotency key got another answer", _KEYS, 6.5),
    "ledger.cooldown": ("A withdrawal was let past its address's cooldown", _LIMITS, 8.1),
    "ledger.limit": ("Withdrawals went past a limit", _LIMITS, 7.5),
    "ledger.refused": ("A withdrawal was refused for what was not so", _LIMITS, 5.0),
    "metering.billed": ("A job was billed for another time than it ran", _METERED, 8.1),
    "metering.escrow": ("A job was billed more than its maximum", _METERED, 8.1),
    "metering.price": ("A job was assigned at a price that no utilisation gives", _PRICES, 6.5),
    "metering.price-changed": ("A job's price changed after it was fixed", _PRICES, 7.5),
    "metering.listed": ("A price was listed that no utilisation gives", _LISTED, 5.0),
    "matching.over-capacity": ("More was on a machine than it offered", _ROOM, 7.5),
    "matching.unfit": ("A job was on a machine that never offered what it needs", _ROOM, 7.5),
    "matching.too-dear": ("A job was assigned above its maximum", "A job's price is within its maximum.", 7.5),
    "matching.starved": ("A job waited though a machine had room for it", _TURNS, 5.0),
    "matching.turn": ("An account had more than its turn", _TURNS, 5.0),
    "matching.untold": ("A machine was not told of its job", "Each answer names what was not reported yet.", 6.5),
    "matching.notice": (
        "A machine was told of a job that was taken from it more than once, or not at all",
        "A cancelled or requeued job is named once in the next answer to its machine.",
        6.5,
    ),
    "matching.stranger": ("A machine was told of a job that nobody posted", "An assignment is of a job.", 7.5),
    "matching.expired": ("A job expired too early, or too late", "A job waits for its timeout.", 5.0),
    "matching.state": ("A job changed after it had ended", _STATES, 7.5),
    "matching.outcome": ("A job ended otherwise than its machine reported", _STATES, 6.5),
    "matching.overrun": ("A job ran on after its time was over", "A job ends at its duration.", 6.5),
    "matching.attempts": ("A job was given back another number of times than it says", _STATES, 5.0),
    "matching.requeued": ("A job was queued with what its machine gave back", _STATES, 4.0),
    "isolation.foreign": ("An account was shown what is another's", _OWN, 8.6),
    "isolation.refusal": ("A refusal told of another's object", _OWN, 5.3),
    "isolation.owner-shown": ("What is offered said whose it is", "No owner is shown.", 5.3),
}
MARKET_PUBLISHED = """
    ledger.sum ledger.negative ledger.rewritten ledger.amount ledger.missing ledger.unexplained
    metering.escrow matching.too-dear matching.state isolation.foreign
"""
"""The published API has jobs with a maximum price, balances, transactions and withdrawals. Nothing more is needed for
these: money that is shown is there, what is asked for is what is done, and nobody is shown what is another's."""
MARKET_HARDENED = " ".join(sorted(MARKET_RULES.keys() - {*MARKET_PUBLISHED.split()}))
