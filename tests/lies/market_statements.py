"""Each statement of the contract's market that a client can see: what proves it, and a lie that is found.

The lies are those of `tests/checkers/market_lies.py` by the rule that proves them, and the bugs of
`tests/planted_bugs/money_faults.py` by name.
"""

from __future__ import annotations

from tests.lies.statements import PLANTED, Statement, stated

RULE = "told: "
"""A lie about a market day, by its rule."""


def shown(section: str, says: str, rules: str, *planted: str) -> Statement:
    """Write a statement whose rules each have a lie, besides bugs that are planted."""
    return stated(section, says, rules, *(RULE + rule for rule in rules.split()), *(PLANTED + one for one in planted))


MARKET_STATEMENTS = (
    shown("Principals", "another's object is 404, and tells nothing", "isolation.refusal", "another's job is 403"),
    shown("Principals", "nobody is shown another's object", "isolation.foreign", "anybody reads anybody's job"),
    shown("Capacity", "a machine offers what it says it has, scaled by its policy, less what its jobs hold",
          "matching.over-capacity matching.unfit", "a machine has more room after it gave a job back"),
    shown("Capacity", "no owner is shown in what is offered", "isolation.owner-shown"),
    shown("Capacity", "prices follow the utilisation before the job", "metering.price",
          "a price is taken after its job is held"),
    shown("Capacity", "prices are listed with their utilisation", "metering.listed",
          "prices are listed as if nothing were held", "the utilisation of what is free is listed"),
    shown("Jobs", "the maximum is moved to escrow, and released once", "ledger.escrow", "escrow is released twice"),
    shown("Jobs", "a cancelled job is settled for what ran, the rest returned", "ledger.escrow ledger.billed",
          "a cancelled job is not charged for what ran"),
    shown("Jobs", "a queued job goes to a machine that fits when capacity frees up", "matching.starved",
          "who waits is not looked at when room comes free"),
    shown("Jobs", "no account has more than its turn", "matching.turn",
          "an account that was served goes on being served"),
    shown("Jobs", "a price is within the job's maximum", "matching.too-dear"),
    shown("Jobs", "states go one way", "matching.state"),
    shown("Jobs", "a job ends as its machine reports", "matching.outcome", "a job that failed has succeeded"),
    shown("Jobs", "the server ends a job at its duration", "matching.overrun", "a job runs for as long as it likes"),
    shown("Jobs", "a queued job expires after its timeout", "matching.expired"),
    shown("Jobs", "a machine is told of every job that it has not reported", "matching.untold matching.stranger"),
    shown("Jobs", "a cancelled or requeued job is named once in the next answer", "matching.notice",
          "a machine is not told of what was taken from it", "a machine is told so again and again",
          "a machine is told to leave what others have"),
    shown("Jobs", "the third time that a job is given back it has failed", "matching.attempts"),
    shown("Jobs", "requeueing clears worker and price", "matching.requeued"),
    shown("Jobs", "the price is fixed when the job is assigned", "metering.price-changed"),
    shown("Jobs", "a running job is billed between consecutive accepted heartbeats, rounded down", "metering.billed",
          "what ran is rounded up", "a job is billed for the work that its machine claims"),
    shown("Jobs", "never above its escrow", "metering.escrow"),
    shown("Jobs", "to the worker's owner, less the fee", "ledger.fee", "the platform's fee goes to nobody"),
    shown("Wallet", "every transaction's entries sum to zero", "ledger.imbalance ledger.chain"),
    shown("Wallet", "balances are what their entries come to", "ledger.sum", "held money is shown as available"),
    shown("Wallet", "none goes below zero", "ledger.negative"),
    shown("Wallet", "a new account is credited once", "ledger.credit"),
    shown("Wallet", "entries stay as they were made", "ledger.rewritten"),
    shown("Wallet", "amounts are decimal strings with no more decimals than the asset has", "ledger.amount",
          "decimals of USDT and bitcoins are swapped"),
    shown("Wallet", "the same key and body have the first answer, another body is 422",
          "ledger.key-answer ledger.key-twice",
          "idempotency keys are each instance's own", "idempotency keys are not handed over"),
    shown("Wallet", "what was granted is there, and nothing else", "ledger.missing ledger.unexplained"),
    shown("Wallet", "an account's first use of an address starts its cooldown, however it is spelt",
          "ledger.cooldown ledger.refused", "another spelling of an address has no cooldown",
          "another spelling of an address is another address"),
    shown("Wallet", "limits slide, and refused withdrawals do not count", "ledger.limit ledger.refused",
          "refused withdrawals count towards the limit", "one withdrawal more than the limit"),
    shown("Wallet", "a withdrawal is settled or returned, once", "ledger.withdrawal ledger.state",
          "a returned withdrawal is paid back twice"),
    shown("Wallet", "an outcome that is not known is asked about again", "ledger.stuck",
          "what was on its way at a crash is never paid"),
)  # fmt: skip
