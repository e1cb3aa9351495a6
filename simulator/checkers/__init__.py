"""Pure functions from a history to a verdict, one module a property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.alerts import check_alerts
from simulator.checkers.answers import check_answers
from simulator.checkers.attacks import check_attacks
from simulator.checkers.audit import check_audit
from simulator.checkers.clock import check_clock, excuse_unknown_clock
from simulator.checkers.contents import check_contents
from simulator.checkers.credentials import check_credentials
from simulator.checkers.durability import check_durability
from simulator.checkers.endings import excuse_endings
from simulator.checkers.excused import excuse_missing_answers
from simulator.checkers.features import check_features
from simulator.checkers.fitting import with_fits, without_doubted_claims
from simulator.checkers.generator import check_generator
from simulator.checkers.incarnations import excuse_restarts
from simulator.checkers.isolation import check_isolation
from simulator.checkers.ledger import check_ledger
from simulator.checkers.limits import check_limits
from simulator.checkers.market_matching import check_matching
from simulator.checkers.metering import check_metering
from simulator.checkers.nonces import check_nonces
from simulator.checkers.outage import check_outage
from simulator.checkers.reach import check_reach
from simulator.checkers.replay import check_replay
from simulator.checkers.revocation import check_revocation
from simulator.checkers.unknown import undecided
from simulator.checkers.verdict import Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

    Checker = Callable[[History, Facts], Verdict]

CHECKERS: Mapping[str, Checker] = {
    "outage": check_outage,
    "alerts": check_alerts,
    "replay": check_replay,
    "revocation": check_revocation,
    "credentials": check_credentials,
    "audit": check_audit,
    "durability": check_durability,
    "nonces": check_nonces,
    "limits": check_limits,
    "answers": check_answers,
    "contents": check_contents,
    "attacks": check_attacks,
    "ledger": check_ledger,
    "metering": check_metering,
    "matching": check_matching,
    "isolation": check_isolation,
    "reach": check_reach,
    "clock": check_clock,
    "generator": check_generator,
}


def as_known(history: History, facts: Facts) -> History:
    """Return a history that accuses nobody of what a certificate's end, or a fault of the run's own, may explain.

    Nor of what only a known clock, or one incarnation of the server, could prove.
    """
    history = excuse_endings(excuse_unknown_clock(excuse_missing_answers(history), facts))
    return without_doubted_claims(excuse_restarts(history, facts), facts)


def run_checkers(history: History, facts: Facts, checkers: Mapping[str, Checker] = CHECKERS) -> list[Verdict]:
    """Return every checker's verdict. One that crashes is inconclusive, as is one that could not see all: no pass."""
    history = as_known(history, facts)
    verdicts = []
    for name, check in checkers.items():
        try:
            verdicts.append(undecided(history, check(history, facts)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checkers still count
            message = f"The checker crashed: {type(error).__name__}: {error}"
            verdicts.append(Verdict(name, Status.INCONCLUSIVE, message))
    if facts.lacks is not None:
        verdicts.append(check_features(facts.lacks))
    return with_fits(history, facts, verdicts)
